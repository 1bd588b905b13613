"""What all commands share: their options, the start of JAX, errors, progress and JSON."""

import json
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

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
Columns = Annotated[
    str,
    typer.Option(
        help="What to read of the table: a magnitude and colours, G,BP-RP or Ks,J-Ks or "
        "G,BP-RP,J-Ks, or bands that the isochrones of --grid have, PS_g,PS_g-PS_i. Stars that "
        "lack one are left out of sample and field."
    ),
]
ColumnNames = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        help="BAND=NAME: column of a band, e.g. G=correct_phot_g_mean_mag or PS_g=gmag.",
    ),
]
Floor = Annotated[float, typer.Option(help="Least colour error [mag].")]
Limits = Annotated[
    str | None, typer.Option(help="Magnitudes LO,HI between which sample and field are complete.")
]
ModelFile = Annotated[
    str, typer.Option("--model", help="Model by name, or a .py file with build().")
]
Prior = Annotated[
    list[str] | None,
    typer.Option(help="NAME=DISTRIBUTION of numpyro, e.g. 'distance_modulus=Normal(9.7,0.1)'."),
]
IsochroneError = Annotated[
    str | None,
    typer.Option(
        help="What the isochrones' colour is wrong by: mean, what well-known clusters say; "
        "learnt, and how these differ; a file like that; or a standard deviation at each of six "
        "effective temperatures, and of giants [mag]; 0 trusts them, as stars that were made with "
        "them need. By default mean for parsec and mist in G,BP-RP, and 0 for others.",
    ),
]
Parallax = Annotated[
    bool,
    typer.Option(
        "--parallax/--no-parallax",
        help="Whether the stars' parallaxes count, or magnitudes and colours alone.",
    ),
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


def start() -> None:
    """Say warnings in one line, and switch on what `jobs.start` does."""
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    from jaxcluster.jobs.start import start

    start()


@contextmanager
def errors(out: Path | None = None):
    """Print in one line what went wrong or who stopped the command, and leave with its status.

    That is 1 for an error and 128 + its number for a signal, as of every Unix command. A user's
    likelihood may raise anything while it is traced; JAXCLUSTER_DEBUG=1 shows where.

    Args:
        out: the folder in which the command keeps its checkpoint.
    """
    likely = (ArithmeticError, AttributeError, ImportError, LookupError, OSError)
    try:
        with _signals_raise():
            yield
    except KeyboardInterrupt as stop:
        number = stop.args[0] if stop.args else signal.SIGINT
        from jaxcluster.jobs.results import CHECKPOINT

        kept = None if out is None else out / CHECKPOINT
        goes_on = f"; the same command goes on from {kept}" if kept and kept.is_dir() else ""
        text = f"stopped by {signal.Signals(number).name} before it was done{goes_on}"
        screen.print(text, style="bold red", soft_wrap=True, markup=False)
        raise typer.Exit(128 + number) from None
    except (*likely, RuntimeError, TypeError, ValueError) as error:
        if os.environ.get("JAXCLUSTER_DEBUG"):
            raise
        text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
        if not isinstance(error, (ValueError, KeyError, OSError)):
            text = f"{type(error).__name__}: {text} (JAXCLUSTER_DEBUG=1 shows where)"
        screen.print(f"error: {text}", style="bold red", soft_wrap=True, markup=False)
        raise typer.Exit(1) from None


@contextmanager
def _signals_raise():
    """Raise KeyboardInterrupt at signals that end a command, so that scratch files go first.

    One that is ignored, as SIGHUP under nohup, stays so.
    """

    def stop(number, _):
        raise KeyboardInterrupt(number)

    before = {}
    if threading.current_thread() is threading.main_thread():
        numbers = [getattr(signal, n) for n in ("SIGHUP", "SIGTERM") if hasattr(signal, n)]
        handled = [n for n in numbers if signal.getsignal(n) is not signal.SIG_IGN]
        before = {number: signal.signal(number, stop) for number in handled}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def progress(quiet: bool = False):
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


def emit(summary: dict[str, Any], as_json: bool, show: Callable) -> None:
    """Print a summary as one JSON object, or with `show`."""
    if as_json:
        from jaxcluster.jobs.results import finite

        sys.stdout.write(json.dumps(finite(summary), allow_nan=False, default=float) + "\n")
    else:
        show(summary)
