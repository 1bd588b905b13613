"""What all benchmarks share. Importing it sets float64 and one thread of XLA.

They run from the checkout, as modules: `python -m benchmarks.<question>.main`, and their figures
are in `benchmarks/<question>/results.md`, with commit, machine and date.
"""

import os
import platform
import subprocess
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)
os.environ.setdefault("NPROC", "1")  # of XLA's threads: CPU seconds are then of one core

from jaxcluster.density.stars import Stars  # noqa: E402  (jax first)
from jaxcluster.jobs.inputs import inside  # noqa: E402

HERE = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("JAXCLUSTER_SHARED", HERE.parent / "shared"))
DATA, REFERENCE = SHARED / "data", SHARED / "reference"


def keep_compiled() -> None:
    """Keep executables on disk, for benchmarks that do not ask what compiling takes."""
    jax.config.update("jax_compilation_cache_dir", str(Path.home() / ".cache" / "jaxcluster"))


def between(stars: Stars, limits: tuple[float, float]) -> Stars:
    """Stars between two magnitudes, in order of magnitude."""
    return stars[inside(stars, limits)]


def timed(
    function: Callable, *arguments, calls: int, clock: Callable[[], float] = time.process_time
) -> np.ndarray:
    """CPU seconds of calls, results waited for; with time.perf_counter those of the wall."""
    seconds = []
    for _ in range(calls):
        begin = clock()
        jax.block_until_ready(function(*arguments))
        seconds.append(clock() - begin)
    return np.array(seconds)


def header(*names: str, first: int = 11) -> Callable[..., None]:
    """Print a table's header; returns what prints a row of cells, at once.

    Args:
        names: of the columns.
        first: width of the first column; the others are as wide as their names, and 9 at least.
    """
    widths = [first, *(max(len(name), 9) for name in names[1:])]

    def row(*cells) -> None:
        print(" ".join(f"{cell!s:>{w}}" for cell, w in zip(cells, widths, strict=True)), flush=True)

    row(*names)
    return row


def state() -> str:
    """Commit, machine and date, which belong above figures in results.md."""
    git = ["git", "-C", str(HERE), "describe", "--always", "--dirty"]
    commit = subprocess.run(git, capture_output=True, text=True).stdout.strip() or "no commit"
    packages = ", ".join(f"{name} {version(name)}" for name in ("jax", "jaxlib", "numpy"))
    return (
        f"commit {commit}, {time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores {_processor()}, "
        f"Python {platform.python_version()}, {packages}"
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.split(":")[1].strip() for line in lines.splitlines() if "model name" in line]
    return names[0] if names else platform.machine()
