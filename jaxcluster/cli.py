"""The command line: `jaxcluster members`, `bayes-factor`, `fit`, `demo`, `simulate`, `check`.

Float64, the cores and JAX's persistent compilation cache are switched on here, before anything
else of jax is used; the library leaves them to its user.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from jaxcluster.run import (
    finite,
    magnitude_limits,
    print_summary,
    read_stars,
    run_bayes_factor,
    sampler_of,
)

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Is this candidate a star cluster, who belongs to it, and what is it like?",
)
screen = Console(stderr=True, highlight=False)

Table = Annotated[Path, typer.Argument(help="Gaia table: parquet, VOTable, FITS, ECSV or CSV.")]
FieldTable = Annotated[
    Path | None, typer.Option("--field", help="Table of field stars, same columns.")
]
Seed = Annotated[int, typer.Option(help="Random seed; the same seed gives the same answer.")]
Method = Annotated[str, typer.Option(help="fast, nested (both give the evidence) or nuts.")]
Live = Annotated[
    int, typer.Option(help="Live points, where nested samples; error of ln Z ∝ live^-½.")
]
Bands = Annotated[str, typer.Option(help="Magnitude and colour: G,BP-RP or Ks,J-Ks …")]
MagnitudeColumn = Annotated[
    str | None, typer.Option(help="Column of the magnitude, e.g. correct_phot_g_mean_mag.")
]
Floor = Annotated[float, typer.Option(help="Least colour error [mag].")]
Limits = Annotated[
    str | None, typer.Option(help="Magnitudes LO,HI between which sample and field are complete.")
]
Prior = Annotated[
    list[str] | None,
    typer.Option(help="NAME=DISTRIBUTION of numpyro, e.g. 'distance_modulus=Normal(9.7,0.1)'."),
]
Grid = Annotated[str, typer.Option(help="Isochrones: parsec, mist or a PARSEC/MIST/BaSTI file.")]
Out = Annotated[
    Path | None,
    typer.Option(
        help="Folder for posterior, members and figures. It keeps a checkpoint every 30 s: after a "
        "kill the same command goes on."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
MaxRuwe = Annotated[float | None, typer.Option(help="Drop stars with a larger ruwe.")]
MaxExcess = Annotated[
    float | None, typer.Option(help="Drop stars with |C*| above this many σ (Riello et al. 2021).")
]


def _start() -> None:
    """Switch on float64, the cores that pay and the compilation cache.

    On two devices XLA spends half as much CPU again as on one thread, and is hardly done sooner.
    """
    import warnings

    warnings.filterwarnings("ignore", category=FutureWarning, module="arviz")
    import jax

    jax.config.update("jax_enable_x64", True)
    if "JAX_NUM_CPU_DEVICES" not in os.environ:
        # the cores that a scheduler or taskset grants, where the system tells (not macOS)
        granted = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0)
        devices = min(len(granted), 8) if len(granted) > 2 else 1
        jax.config.update("jax_num_cpu_devices", devices)
        if devices == 1:
            os.environ.setdefault("NPROC", "1")  # of XLA's threads, which split small loops
    base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    jax.config.update("jax_compilation_cache_dir", str(base / "jaxcluster"))
    # everything: the small ones are many
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


@contextmanager
def _errors():
    """Print what went wrong in one line and leave with status 1.

    A user's likelihood may raise anything while it is traced; JAXCLUSTER_DEBUG=1 shows where.
    """
    likely = (ArithmeticError, AttributeError, ImportError, LookupError, OSError)
    try:
        yield
    except (*likely, RuntimeError, TypeError, ValueError) as error:
        if os.environ.get("JAXCLUSTER_DEBUG"):
            raise
        text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
        if not isinstance(error, (ValueError, KeyError, OSError)):
            text = f"{type(error).__name__}: {text} (JAXCLUSTER_DEBUG=1 shows where)"
        screen.print(f"error: {text}", style="bold red", soft_wrap=True, markup=False)
        raise typer.Exit(1) from None


@contextmanager
def _progress(quiet: bool = False):
    """Yield a function that shows a line of text with the time gone by."""
    begin = time.monotonic()
    if quiet or not screen.is_terminal:

        def say(line: str) -> None:
            if not quiet:
                screen.print(f"{time.monotonic() - begin:6.0f} s  {line}", soft_wrap=True)

        yield say
        return
    with screen.status("starting") as status:
        yield lambda line: status.update(f"{time.monotonic() - begin:.0f} s  {line}")


def _emit(summary: dict[str, Any], as_json: bool, show: Callable = print_summary) -> None:
    if as_json:
        sys.stdout.write(json.dumps(finite(summary), allow_nan=False, default=float) + "\n")
    else:
        show(summary)


@app.command("bayes-factor")
def bayes_factor_command(
    cluster: Table,
    field: FieldTable = None,
    field_from_members: Annotated[
        bool,
        typer.Option(
            "--field-from-members",
            help="TABLE is what `members` wrote: P ≥ 0.5 is the sample, P < 0.1 its field.",
        ),
    ] = False,
    model: Annotated[
        str, typer.Option(help="Model by name, or a .py file with build().")
    ] = "mimo_cmd",
    seed: Seed = 0,
    method: Method = "fast",
    live: Live = 400,
    bands: Bands = "G,BP-RP",
    magnitude_column: MagnitudeColumn = None,
    colour_error_floor: Floor = 0.0,
    limits: Limits = None,
    prior: Prior = None,
    grid: Grid = "parsec",
    max_ruwe: MaxRuwe = None,
    max_excess: MaxExcess = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Bayes factor of cluster + field against field alone, with posterior and members.

    The field should be stars from outside the sample that went through the same selection.
    log10 BF > 2 is the published threshold (Li, Li & Shao 2025). A field from members is what an
    astrometric selection left over, not what it let through: for a claim, put random fields
    through the same `members` and `bayes-factor`, and compare.
    """
    _start()
    with _errors(), _progress() as say:
        sample = cluster
        if field_from_members:
            from jaxcluster.run_members import split

            if field is not None:
                raise ValueError(
                    "--field-from-members: the field is in the table; leave --field out"
                )
            sample, others = split(cluster)
        elif (others := field) is None:
            raise ValueError("--field: expected a table of field stars, or --field-from-members")
        result, summary = run_bayes_factor(
            sample,
            others,
            seed=seed,
            method=method,
            live=live,
            model=model,
            bands=bands,
            magnitude_column=magnitude_column,
            colour_error_floor=colour_error_floor,
            limits=limits,
            prior=prior,
            grid=grid,
            max_ruwe=max_ruwe,
            max_excess=max_excess,
            out=out,
            say=say,
        )
        if out is not None:
            say(f"writing {out}")
            from jaxcluster.output import write

            write(result, summary, sample, out)
    _emit(summary, as_json)


@app.command()
def members(
    table: Table,
    columns: Annotated[
        str, typer.Option(help="pmra, pmdec and any others that tell the cluster, or not.")
    ] = "pmra,pmdec,parallax",
    components: Annotated[int, typer.Option(help="Gaussians of the mixture.")] = 10,
    near: Annotated[
        str | None,
        typer.Option(help="RA,DEC [deg]: of several clusters the one concentrated there."),
    ] = None,
    bootstrap: Annotated[int, typer.Option(help="Resamplings of the stars, 0 for none.")] = 200,
    zero_point: Annotated[
        bool,
        typer.Option("--zero-point", help="Correct Gaia's parallaxes (Lindegren et al. 2021)."),
    ] = False,
    seed: Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Table with `probability`, .parquet, .ecsv, .fits …; a figure beside it."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Find the cluster in a raw Gaia field, and its members, by extreme deconvolution.

    A mixture of Gaussians in proper motion and parallax is fitted with every star's covariance;
    the most compact component that stands out is the cluster (Peña Ramírez et al. 2022). "No
    cluster" is a possible answer. `bayes-factor OUT --field-from-members` goes on from there.
    """
    _start()
    from jaxcluster.run_members import print_members, run_members

    with _errors(), _progress() as say:
        _, summary = run_members(
            table,
            columns=columns,
            components=components,
            near=near,
            bootstrap=bootstrap,
            zero_point=zero_point,
            seed=seed,
            out=out,
            say=say,
        )
    _emit(summary, as_json, print_members)


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
    bands: Bands = "G,BP-RP",
    magnitude_column: MagnitudeColumn = None,
    colour_error_floor: Floor = 0.0,
    limits: Limits = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Sample any model file: build(stars, field=…, limits=…, **options) -> Model."""
    _start()
    import ast

    with _errors(), _progress() as say:
        import jax

        from jaxcluster.bayes_factor import default_limits, inside, parameter_table
        from jaxcluster.field import fit_field
        from jaxcluster.model_files import load_model

        build = load_model(model)
        options: dict[str, Any] = {}
        for item in set_ or []:
            name, separator, value = item.partition("=")
            if not separator:
                raise ValueError(f"--set {item!r}: expected OPTION=VALUE")
            try:
                options[name] = ast.literal_eval(value)
            except (ValueError, SyntaxError):
                options[name] = value
        reading: dict[str, Any] = {
            "columns": tuple(bands.split(",")),
            "magnitude_column": magnitude_column,
            "colour_error_floor": colour_error_floor,
        }
        _, stars = read_stars(table, reading)
        field_key, key = jax.random.split(jax.random.key(seed))
        if field is not None:
            _, others = read_stars(field, reading)
            interval = magnitude_limits(limits) or default_limits(others)
            stars = inside(stars, interval)
            density = fit_field(others, interval, n_stars=len(stars), key=field_key)
            options.update(field=density, limits=interval)
        built = build(stars, **options)
        posterior = sampler_of(method, live, out)(built, stars, key=key, progress=say)
        attributes = posterior["posterior"].attrs
        summary = {
            "parameters": parameter_table(posterior),
            "priors": built.describe_prior(),
            "n_stars": len(stars),
            "log_evidence": attributes.get("log_evidence"),
            "log_evidence_error": attributes.get("log_evidence_error"),
            **{n: attributes[n] for n in ("method", "evaluations", "cpu_seconds")},
            "compile_seconds": attributes["compile_seconds"],
            "fallback": attributes.get("fallback"),
            "seed": seed,
            "model": model,
            "versions": ast.literal_eval(attributes["versions"]),
        }
        if out is not None:
            from jaxcluster.output import save_posterior, whole

            with whole(out) as folder:
                save_posterior(posterior, folder)
                (folder / "summary.json").write_text(json.dumps(finite(summary), indent=2))
    _emit(summary, as_json)


@app.command()
def demo(seed: Seed = 0, out: Out = None, as_json: Json = False) -> None:
    """The whole job on a simulated cluster of known truth that comes with jaxcluster."""
    _start()
    folder = Path(__file__).parent / "data"
    with _errors(), _progress() as say:
        result, summary = run_bayes_factor(
            folder / "mock_cluster.ecsv",
            folder / "mock_field.ecsv",
            seed=seed,
            limits="10,18",
            out=out,
            say=say,
        )
        from jaxcluster.table import read_table

        truth = dict((read_table(folder / "mock_cluster.ecsv").meta or {})["truth"])
        summary["truth"] = truth
        if out is not None:
            from jaxcluster.output import write

            write(result, summary, folder / "mock_cluster.ecsv", out, credit="simulated stars")
    _emit(summary, as_json, partial(print_summary, truth=truth))


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
    seed: Seed = 0,
) -> None:
    """Simulate a cluster and its field of known truth as Gaia would see them."""
    _start()
    with _errors():
        import jax

        from jaxcluster.isochrone import load_grid
        from jaxcluster.output import whole
        from jaxcluster.simulate import BANDS, TRUTH, simulate_pair

        parameters = dict(TRUTH)
        for item in set_ or []:
            name, separator, value = item.partition("=")
            if not separator or name not in {*TRUTH, "mass_ratio_slope"}:
                raise ValueError(f"--set {item!r}: expected one of {', '.join(TRUTH)}=VALUE")
            parameters[name] = float(value)
        interval = magnitude_limits(limits)
        assert interval is not None
        tables = simulate_pair(
            jax.random.key(seed), n_stars, n_field, parameters, load_grid(grid, BANDS), interval
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
    _start()
    from jaxcluster.self_test import report

    with _errors():
        lines = report()
    if as_json:
        sys.stdout.write(json.dumps(lines) + "\n")
    else:
        out = Console(highlight=False)
        for name, value in lines.items():
            out.print(f"[bold]{name}[/]: {value}", soft_wrap=True)
    if not lines["self_test"].startswith("passed"):
        raise typer.Exit(1)


@app.command()
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
    probability: Annotated[
        str | None, typer.Option(help="Column of membership probabilities, as weights.")
    ] = None,
    gradient: Annotated[
        bool, typer.Option("--gradient", help="A background that changes linearly.")
    ] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Evidence of other profiles too.")
    ] = False,
    binned: Annotated[bool, typer.Option("--binned", help="Rings and least squares too.")] = False,
    method: Method = "fast",
    seed: Seed = 0,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Structure of a cluster: radii, densities, shape, from the positions of its stars or a field.

    Every star counts by itself, as a Poisson process of a profile and a uniform background inside
    the footprint; no rings. A tidal radius that the data do not bound is given as a lower limit.
    """
    _start()
    from jaxcluster.king_summary import print_king
    from jaxcluster.run_king import run_king

    with _errors(), _progress() as say:
        _, summary = run_king(
            table,
            profile=profile,
            beta=beta,
            centre=centre,
            radius=radius,
            holes=hole,
            probability=probability,
            gradient=gradient,
            compare=compare,
            binned=binned,
            method=method,
            seed=seed,
            out=out,
            say=say,
        )
    _emit(summary, as_json, print_king)


if __name__ == "__main__":
    app()
