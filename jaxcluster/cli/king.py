"""The command `jaxcluster king`."""

from typing import Annotated, Any

import typer

from jaxcluster.cli.options import (
    Json,
    Method,
    Out,
    Seed,
    Table,
    emit,
    errors,
    progress,
    start,
)

HOLE = "92.1,24.1,5 (degrees and arcmin)"


def king(
    table: Table,
    profile: Annotated[
        str | None, typer.Option(help="king62 (default), generalised, untruncated, eff, plummer.")
    ] = None,
    beta: Annotated[
        str | None, typer.Option(help="1, 2 or free, of the generalised profile.")
    ] = None,
    centre: Annotated[
        str | None, typer.Option(help="RA,DEC [deg]; by default the median position.")
    ] = None,
    radius: Annotated[
        float | None,
        typer.Option(
            help="Of a circular footprint [arcmin]; stars beyond are dropped. By default the "
            "largest circle about the centre inside the stars' convex hull."
        ),
    ] = None,
    hole: Annotated[
        list[str] | None, typer.Option(help="RA,DEC,R [deg, deg, arcmin] of a circle to leave out.")
    ] = None,
    membership: Annotated[
        str | None, typer.Option(help="Column of membership probabilities, as weights.")
    ] = None,
    gradient: Annotated[
        bool, typer.Option("--gradient", help="A background that changes linearly.")
    ] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Evidence of other profiles too.")
    ] = False,
    binned: Annotated[bool, typer.Option("--binned", help="Rings and least squares too.")] = False,
    structure: Annotated[
        bool,
        typer.Option("--structure", help="Half radii, mass segregation and elongation too."),
    ] = False,
    magnitude: Annotated[
        str | None, typer.Option(help="Column of magnitudes of --structure; by default Gaia's G.")
    ] = None,
    method: Method = "fast",
    seed: Seed = 0,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Structure of a cluster: radii, densities, shape, from the positions of its stars or a field.

    Every star counts by itself, as a Poisson process of a profile and a uniform background inside
    the footprint; no rings. members.ecsv has each star's membership by its place, and by
    --membership where that is given. A tidal radius that the data do not bound is given as a
    lower limit.
    """
    start()
    from jaxcluster.cli.king_shown import print_king
    from jaxcluster.cli.typed import numbers, position, shape_of
    from jaxcluster.jobs.king import king as fit_king
    from jaxcluster.jobs.results import CHECKPOINT

    with errors(out), progress() as say:
        name, power = shape_of(profile, beta)
        holes: Any = [numbers("--hole", text, "RA,DEC,R", HOLE) for text in hole or []]
        result = fit_king(
            table,
            profile=name,
            beta=power,
            centre=position("--centre", centre),
            radius=radius,
            holes=holes,
            membership=membership,
            gradient=gradient,
            compare=compare,
            binned=binned,
            structural=structure,
            magnitude=magnitude,
            method=method,
            key=seed,
            checkpoint=None if out is None else out / CHECKPOINT,
            progress=say,
        )
        if out is not None:
            say(f"writing {out}")
            result.save(out)
    emit(result.summary(), as_json, print_king)
