"""The command line: `jaxcluster members`, `bayes-factor`, `fit`, `demo`, `simulate`, `check` …"""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from jaxcluster.cli.batch import batch
from jaxcluster.cli.bayes_factor import bayes_factor
from jaxcluster.cli.king import king
from jaxcluster.cli.members import members, merge
from jaxcluster.cli.options import (
    ColumnNames,
    Columns,
    Floor,
    Grid,
    IsochroneError,
    Json,
    Limits,
    Live,
    Method,
    Out,
    Seed,
    Table,
    emit,
    errors,
    progress,
    screen,
    start,
)
from jaxcluster.cli.shown import print_summary
from jaxcluster.cli.typed import column_names, magnitude_limits, settings

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    invoke_without_command=True,
    rich_markup_mode="markdown",  # rich's own markup leaves out all that is in brackets: units
)


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", is_eager=True)
    ] = False,
) -> None:
    """Is this candidate a star cluster, who belongs to it, and what is it like?"""
    if version:
        from jaxcluster import __version__

        print(f"jaxcluster {__version__}")
        raise typer.Exit


app.command()(members)
app.command()(merge)
app.command()(king)
app.command()(batch)
app.command("bayes-factor")(bayes_factor)


@app.command()
def fit(
    model: Annotated[str, typer.Argument(help="Model by name, or a .py file with build().")],
    table: Table,
    field: Annotated[Path | None, typer.Option(help="Table of field stars.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="OPTION=VALUE for the model's build().")
    ] = None,
    seed: Seed = 0,
    method: Method = "nuts",
    live: Live = 400,
    columns: Columns = "G,BP-RP",
    column: ColumnNames = None,
    colour_error_floor: Floor = 0.0,
    limits: Limits = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Sample any model file: build(stars, field=…, limits=…, **options) -> Model."""
    start()
    from jaxcluster.inference.samplers import sampler_of
    from jaxcluster.jobs.fit import fit as fit_model
    from jaxcluster.jobs.results import CHECKPOINT

    with errors(out), progress() as say:
        result = fit_model(
            model,
            table,
            field=field,
            columns=columns.split(","),
            names=column_names(column or []),
            colour_error_floor=colour_error_floor,
            limits=magnitude_limits(limits),
            sampler=sampler_of(method, live, None if out is None else out / CHECKPOINT),
            key=seed,
            progress=say,
            **settings(set_ or []),
        )
        if out is not None:
            say(f"writing {out}")
            result.save(out)
    emit(result.summary(), as_json, print_summary)


@app.command()
def demo(seed: Seed = 0, out: Out = None, as_json: Json = False) -> None:
    """The whole job on a simulated cluster of known truth that comes with jaxcluster."""
    start()
    from jaxcluster.catalogue.tables import read_table
    from jaxcluster.inference.samplers import sampler_of
    from jaxcluster.jobs.bayes_factor import bayes_factor
    from jaxcluster.jobs.results import CHECKPOINT
    from jaxcluster.population.grids import DATA

    with errors(out), progress() as say:
        table = read_table(DATA / "mock_cluster.ecsv")
        truth = dict((table.meta or {})["truth"])
        result = bayes_factor(
            table,
            DATA / "mock_field.ecsv",
            limits=(10.0, 18.0),
            sampler=sampler_of("fast", 400, None if out is None else out / CHECKPOINT),
            key=seed,
            progress=say,
            grid="parsec",
            isochrone_error=0,  # the stars were made with these isochrones
        )
        summary = result.summary() | {"truth": truth}
        if out is not None:
            result.save(out, credit="simulated stars", truth=truth)
    emit(summary, as_json, partial(print_summary, truth=truth))


@app.command()
def simulate(
    out: Annotated[Path, typer.Option(help="Folder for cluster.ecsv and field.ecsv.")],
    n_stars: Annotated[int, typer.Option(help="Stars in the sample.")] = 300,
    n_field: Annotated[int, typer.Option(help="Field stars beside it.")] = 1000,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="PARAMETER=VALUE of the truth.")
    ] = None,
    limits: Annotated[str, typer.Option(help="G between which stars are kept.")] = "10,18",
    grid: Grid = "parsec",
    isochrone_error: IsochroneError = None,
    seed: Seed = 0,
) -> None:
    """Simulate a cluster and its field of known truth as Gaia would see them.

    Members' colours have what isochrones lack of real stars', as `bayes-factor` expects; those that
    are simulated with `--isochrone-error 0` need that there too.
    """
    start()
    with errors():
        import jax

        from jaxcluster.jobs.results import whole
        from jaxcluster.population.colour_error import load_colour_error
        from jaxcluster.population.grids import load_grid
        from jaxcluster.population.simulate import GAIA_BANDS, TRUTH, simulate_pair

        parameters = dict(TRUTH)
        for item in set_ or []:
            name, separator, value = item.partition("=")
            if not separator or name not in {*TRUTH, "mass_ratio_slope"}:
                raise ValueError(f"--set {item!r}: expected one of {', '.join(TRUTH)}=VALUE")
            parameters[name] = float(value)
        interval = magnitude_limits(limits)
        assert interval is not None
        tables = simulate_pair(
            jax.random.key(seed),
            n_stars,
            n_field,
            parameters,
            load_grid(grid, GAIA_BANDS),
            interval,
            load_colour_error(isochrone_error, grid),
        )
        with whole(out) as folder:
            for name, table in zip(("cluster", "field"), tables, strict=True):
                table.meta = {"truth": parameters, "seed": seed}
                table.round(6)
                table.write(folder / f"{name}.ecsv", format="ascii.ecsv")
    screen.print(f"wrote {out}/cluster.ecsv ({n_stars} stars) and field.ecsv ({n_field})")


@app.command()
def check(as_json: Json = False) -> None:
    """Show device, precision, versions and grids, run a short self-test, print what to cite."""
    start()
    from jaxcluster.jobs.self_test import report

    with errors():
        lines = report()
    if as_json:
        sys.stdout.write(json.dumps(lines) + "\n")
    else:
        out = Console(highlight=False)
        for name, value in lines.items():
            out.print(f"[bold]{name}[/]: {value}", soft_wrap=True)
    if not lines["self_test"].startswith("passed"):
        raise typer.Exit(1)
