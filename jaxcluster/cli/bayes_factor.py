"""The main job's command: `jaxcluster bayes-factor`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from jaxcluster.cli.options import (
    ColumnNames,
    Columns,
    FieldTable,
    Floor,
    IsochroneError,
    Json,
    Limits,
    Live,
    MaxExcess,
    MaxRuwe,
    Method,
    ModelFile,
    Out,
    Parallax,
    Prior,
    Seed,
    Table,
    emit,
    errors,
    progress,
    start,
)
from jaxcluster.cli.shown import print_across_grids, print_summary
from jaxcluster.cli.typed import colour_error, column_names, magnitude_limits, priors


def bayes_factor(
    cluster: Table,
    field: FieldTable = None,
    field_from_members: Annotated[
        bool,
        typer.Option(
            "--field-from-members",
            help="TABLE is what `members` wrote: P ≥ 0.5 is the sample, P < 0.1 of like parallax "
            "and proper motion its field.",
        ),
    ] = False,
    model: ModelFile = "mimo_cmd",
    seed: Seed = 0,
    method: Method = "fast",
    live: Live = 400,
    columns: Columns = "G,BP-RP",
    column: ColumnNames = None,
    colour_error_floor: Floor = 0.0,
    limits: Limits = None,
    prior: Prior = None,
    grid: Annotated[
        str,
        typer.Option(
            help="Isochrones: parsec, mist or a PARSEC/MIST/BaSTI file; several by commas, "
            "parsec,mist, are compared."
        ),
    ] = "parsec",
    isochrone_error: IsochroneError = None,
    parallax: Parallax = True,
    max_ruwe: MaxRuwe = None,
    max_excess: MaxExcess = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Bayes factor of cluster + field against field alone, with posterior and members.

    The field should be stars from outside the sample that went through the same selection.
    log10 BF > 2 is the published threshold (Li, Li & Shao 2025). A field from members is what an
    astrometric selection left over, cut to the sample's parallax, and not quite what it let
    through: for a claim, put random fields through the same `members` and `bayes-factor`.
    Where the sample has parallaxes of one distance, its distance modulus has a prior from their
    median. The isochrones' colours are corrected by what well-known clusters say they lack;
    `--isochrone-error 0` trusts them, as simulated stars need. Widths of a posterior do not contain
    what isochrones are still wrong by: ± system. and `--grid parsec,mist` show it.
    """
    start()
    from jaxcluster.inference.samplers import sampler_of
    from jaxcluster.jobs import bayes_factor as job
    from jaxcluster.jobs.across_grids import AcrossGrids, name_of
    from jaxcluster.jobs.results import CHECKPOINT
    from jaxcluster.population.cmd import plane_of
    from jaxcluster.population.grids import load_grid

    with errors(out), progress() as say:
        sample: Any = cluster
        if field_from_members:
            from jaxcluster.jobs.split import split

            if field is not None:
                raise ValueError(
                    "--field-from-members: the field is in the table; leave --field out"
                )
            sample, others = split(cluster)
        elif (others := field) is None:
            raise ValueError("--field: expected a table of field stars, or --field-from-members")
        options: dict[str, Any] = {
            "columns": columns.split(","),
            "names": column_names(column or []),
            "colour_error_floor": colour_error_floor,
            "max_ruwe": max_ruwe,
            "max_excess": max_excess,
            "limits": magnitude_limits(limits),
            "model": model,
            "key": seed,
            "parallax": parallax,
        }
        if isochrone_error is not None:
            read = colour_error(isochrone_error, grid.split(","), tuple(options["columns"]))
            options["isochrone_error"] = read
        if prior:
            options["prior"] = priors(prior)

        def run(one: str, folder: Path | None, say):
            # a user's model need not have isochrones
            own: dict[str, Any] = {"grid": one} if one != "parsec" or model == "mimo_cmd" else {}
            kept = None if folder is None else folder / CHECKPOINT
            sampler = sampler_of(method, live, kept)
            result = job.bayes_factor(
                sample, others, sampler=sampler, progress=say, **options, **own
            )
            if folder is not None:
                say(f"writing {folder}")
                result.save(folder)
            return result

        if "," not in grid:
            summary, show = run(grid, out, say).summary(), print_summary
        else:
            results, grids = {}, grid.split(",")
            named = {name_of(one): one for one in grids}
            if len(named) < len(grids):
                raise ValueError(f"--grid {grid!r}: expected different grids, found one twice")
            for one in grids:  # one that cannot be read is told before minutes go into another
                load_grid(one, plane_of(tuple(options["columns"]))[0])
            for name, one in named.items():
                folder = None if out is None else out / name
                results[name] = run(one, folder, lambda line, n=name: say(f"{n}: {line}"))
            found = AcrossGrids(results)
            summary, show = found.summary(), print_across_grids
            if out is not None:
                found.write(out)
    emit(summary, as_json, show)
