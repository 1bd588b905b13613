"""The command that vets a whole catalogue: `jaxcluster batch`."""

from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from jaxcluster.cli.options import (
    ColumnNames,
    Columns,
    Floor,
    Grid,
    IsochroneError,
    Limits,
    MaxExcess,
    MaxRuwe,
    ModelFile,
    Parallax,
    Prior,
    Seed,
    errors,
    screen,
    start,
)
from jaxcluster.cli.typed import colour_error, column_names, magnitude_limits, priors


def batch(
    candidates: Annotated[
        Path,
        typer.Argument(
            help="List with columns candidate, ra, dec [deg], pmra, pmdec [mas/yr], parallax "
            "[mas], r50_arcmin and stars (file of each one's field, or a HATS catalogue)."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the rows; the same command goes on there.")],
    stars: Annotated[
        str | None,
        typer.Option(
            help="One table of stars or HATS catalogue (folder or address) for all, instead of the "
            "column stars."
        ),
    ] = None,
    seed: Seed = 0,
    workers: Annotated[
        int | None, typer.Option(help="Processes, as many as cores by default; 0: in this one.")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Dask scheduler that runs already, tcp://HOST:PORT; its workers work."),
    ] = None,
    together: Annotated[
        int,
        typer.Option(
            min=1,
            help="Candidates that a process works on at once, whose likelihoods are evaluated "
            "together: 64 for a GPU, 1 for a CPU. A scheduler's workers need as many threads.",
        ),
    ] = 1,
    status: Annotated[
        bool, typer.Option("--status", help="Say how far the run is, and leave.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Vet those that failed once more.")
    ] = False,
    parallax: Parallax = True,
    model: ModelFile = "mimo_cmd",
    parameters: Annotated[
        str | None,
        typer.Option(help="Names, by commas, whose quantiles rows have; of mimo_cmd by default."),
    ] = None,
    tolerance: Annotated[float, typer.Option(help="Error of ln Z to reach.")] = 0.1,
    confirm_nulls: Annotated[
        bool,
        typer.Option(
            "--confirm-nulls",
            help="Confirm log10 BF < 0 by a second search too, as bayes-factor does: twice the "
            "time, for an error of 0.03 instead of 0.1.",
        ),
    ] = False,
    columns: Columns = "G,BP-RP",
    column: ColumnNames = None,
    colour_error_floor: Floor = 0.0,
    limits: Limits = None,
    prior: Prior = None,
    grid: Grid = "parsec",
    isochrone_error: IsochroneError = None,
    max_ruwe: MaxRuwe = None,
    max_excess: MaxExcess = None,
) -> None:
    """Bayes factors of a whole catalogue of candidates, in parallel, killed and resumed at will.

    Each candidate's sample are the stars inside 2.5 r50 whose proper motion and parallax are its
    own within 3 σ (σ at least 0.12 mas/yr and 0.05 mas, or columns pm_scatter and
    parallax_scatter), its field those of the same parallax outside 5 r50 or of another proper
    motion, of the nearest ones 4 times as many as the sample has and 330 at least. Each star's
    parallax counts as that of the cluster's distance or of the field's stars in the same window;
    with files of sample and field, where column parallax says which window that was, else as a
    prior of the distance. Columns bright and faint give magnitude limits. OUT/results.parquet and
    .ecsv have one row a candidate, OUT/members.parquet the stars, OUT/index.html is a page to look
    at.
    """
    start()
    from jaxcluster.catalogue.candidates import read_candidates
    from jaxcluster.jobs import batch as job
    from jaxcluster.jobs.catalogue_results import write_results
    from jaxcluster.jobs.model_files import load_model
    from jaxcluster.jobs.vet import PARAMETERS

    options: dict[str, Any] = {
        "tolerance": tolerance,
        "confirm_nulls": confirm_nulls,
        "parallax": parallax,
        "columns": tuple(columns.split(",")),
        "names": column_names(column or []),
        "colour_error_floor": colour_error_floor,
        "max_ruwe": max_ruwe,
        "max_excess": max_excess,
    }
    # as in `bayes-factor`: a user's model need not have isochrones
    if grid != "parsec" or model == "mimo_cmd":
        options["grid"] = grid
    with errors(out):
        if isochrone_error is not None:
            read = colour_error(isochrone_error, [grid], options["columns"])
            options["isochrone_error"] = read
        if model != "mimo_cmd":  # a path must mean the same to workers of any folder
            options["model"] = str(Path(model).resolve()) if model.endswith(".py") else model
            load_model(model)
        if limits:
            options["limits"] = magnitude_limits(limits)
        if prior:
            options["prior"] = priors(prior)
        options["parameters"] = tuple(parameters.split(",")) if parameters else PARAMETERS
        listed = read_candidates(candidates, stars)
        if status:
            Console(highlight=False).print(str(job.status(listed, out, seed=seed, **options)))
            return
        with _shown(len(listed)) as show:
            rows = job.batch(
                listed,
                out,
                seed=seed,
                workers=workers,
                scheduler=scheduler,
                together=together,
                again=again,
                progress=show,
                **options,
            )
        written = write_results(rows, out, seed=seed, options=options)
    found: Any = rows["log10_bayes_factor"]
    most: Any = rows["memory"].max()
    held = f"; the largest process held {most:.1f} GB" if most > 0 else ""
    screen.print(
        f"{(found > 2).sum()} of {len(rows)} have log10 BF > 2, "
        f"{(rows['status'] == 'failed').sum()} failed{held}; wrote {', '.join(map(str, written))}",
        soft_wrap=True,
    )


@contextmanager
def _shown(total: int):
    """Yield what shows a candidate that is done: a bar on terminals, a line for each elsewhere."""
    if not screen.is_terminal:
        yield lambda status, row: screen.print(
            f"{_line(row)}  ({status})", soft_wrap=True, markup=False
        )
        return
    shown = TextColumn("{task.description}")
    with Progress(BarColumn(), shown, TimeElapsedColumn(), console=screen) as bar:
        task = bar.add_task("starting workers", total=total)

        def show(status, row: dict[str, Any]) -> None:
            bar.update(task, completed=status.done + status.failed, description=str(status))
            if row["status"] == "failed":
                bar.console.print(_line(row), soft_wrap=True, markup=False)

        yield show


def _line(row: dict[str, Any]) -> str:
    if row["status"] == "failed":
        return f"{row['candidate']}: failed: {row['message']}"
    value, error = row["log10_bayes_factor"], row["log10_bayes_factor_total_error"]
    return f"{row['candidate']}: log10 BF {value:.1f} ± {error:.1f}, {row['n_stars']} stars"
