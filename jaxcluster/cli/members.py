"""Commands that take a raw catalogue apart: `jaxcluster members`, and `merge` before it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from jaxcluster.cli.options import Json, Seed, Table, emit, errors, progress, screen, start


def members(
    table: Table,
    columns: Annotated[
        str, typer.Option(help="pmra, pmdec and any others that tell the cluster, or not.")
    ] = "pmra,pmdec,parallax",
    components: Annotated[
        str, typer.Option(help="Gaussians of the mixture, or LO-HI: as many as unseen stars want.")
    ] = "10",
    near: Annotated[
        str | None,
        typer.Option(help="RA,DEC [deg]: of several clusters the one concentrated there."),
    ] = None,
    bootstrap: Annotated[
        int, typer.Option(help="Resamplings of the stars, for errors and `stability`; 0 for none.")
    ] = 200,
    zero_point: Annotated[
        bool,
        typer.Option("--zero-point", help="Correct Gaia's parallaxes (Lindegren et al. 2021)."),
    ] = False,
    cut: Annotated[
        float | None,
        typer.Option(help="Drop stars further off in proper motion than so many robust σ."),
    ] = None,
    cut_centre: Annotated[
        str | None,
        typer.Option(help="PMRA,PMDEC [mas/yr] that --cut is about; the median by default."),
    ] = None,
    max_magnitude_error: Annotated[
        float | None, typer.Option(help="Drop stars with a larger error in any band [mag].")
    ] = None,
    seed: Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Table with `membership` and `stability`, .parquet, .ecsv, .fits …; "
            "figures beside it."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Find the cluster in a raw Gaia field, and its members, by extreme deconvolution.

    A mixture of Gaussians in proper motion and parallax is fitted with every star's covariance;
    a compact component that stands out is the cluster (after Peña Ramírez et al. 2022). "No
    cluster" is a possible answer. `bayes-factor OUT --field-from-members` goes on from there.
    """
    start()
    from jaxcluster.catalogue.files import format_of
    from jaxcluster.cli.members_shown import print_members
    from jaxcluster.cli.typed import numbers, numbers_of_components, position
    from jaxcluster.jobs.members import find_members

    with errors(), progress() as say:
        if out is not None:
            format_of(out)
        about: Any = numbers("--cut-centre", cut_centre, "PMRA,PMDEC", "-1.2,5.5 (mas/yr)")
        result = find_members(
            table,
            columns.split(","),
            components=numbers_of_components(components),
            near=position("--near", near),
            resamplings=bootstrap,
            zero_point=zero_point,
            cut=cut,
            cut_centre=about,
            max_magnitude_error=max_magnitude_error,
            key=seed,
            progress=say,
        )
        if out is not None:
            say(f"writing {out}")
            result.write_members(out)
            for name, figure in result.figures().items():  # members.png, members.components.png
                end = ".png" if name == "members" else f".{name}.png"
                figure.savefig(out.with_suffix(end), dpi=150)
    emit(result.summary(), as_json, print_members)


def merge(
    table: Table,
    other: Annotated[Path, typer.Argument(help="Catalogue of the same stars by another survey.")],
    out: Annotated[Path, typer.Option(help="Table to write, .parquet, .ecsv, .fits …")],
    epoch: Annotated[float, typer.Option(help="Of positions in TABLE, Julian years.")] = 2016.0,
    other_epoch: Annotated[
        float, typer.Option(help="Of positions in OTHER (2MASS about 1999, VIRAC 2014).")
    ] = 2016.0,
    radius: Annotated[float, typer.Option(help="Largest separation of a match [arcsec].")] = 1.0,
    quantities: Annotated[
        str | None,
        typer.Option(help="Which to average, as J,H,Ks,pmra; all that OTHER has with an error."),
    ] = None,
    outer: Annotated[
        bool, typer.Option("--outer", help="Append stars that only OTHER has.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Join two catalogues of the same stars; where both measure, errors weigh them.

    Stars match by position at the other's epoch, each gone there by its proper motion. 2MASS and
    VVV photometry, or Gaia and VIRAC astrometry, become one table for `members`.
    """
    start()
    with errors():
        from jaxcluster.catalogue.files import format_of, write_table
        from jaxcluster.catalogue.merge import merge as merge_tables
        from jaxcluster.catalogue.preparation import preparation

        format_of(out)
        merged = merge_tables(
            table,
            other,
            epoch=epoch,
            other_epoch=other_epoch,
            radius=radius,
            quantities=None if quantities is None else quantities.split(","),
            outer=outer,
        )
        write_table(merged, out)
        summary = {"n_stars": len(merged), "out": str(out), "preparation": preparation(merged)}

    def show(summary):
        for line in summary["preparation"]:
            screen.print(line, soft_wrap=True)
        screen.print(f"wrote {out} ({len(merged)} stars)")

    emit(summary, as_json, show)
