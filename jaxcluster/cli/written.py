"""What a run leaves in its folder: posterior, members, figures, summary; all of it or nothing."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from jaxcluster.cli.options import CHECKPOINT
from jaxcluster.figures.bayes_factor import save_figures
from jaxcluster.inference.posterior import Posterior
from jaxcluster.jobs.bayes_factor import Result


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """Yield a scratch folder whose files move to `folder` at the end, if nothing was raised.

    Then the checkpoint of the run goes.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield scratch
        folder.mkdir(exist_ok=True)
        for path in scratch.iterdir():
            path.replace(folder / path.name)
        shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def save_posterior(posterior: Posterior, folder: Path) -> None:
    """Write posterior.nc, which `arviz.from_netcdf` reads."""
    posterior.data.to_netcdf(str(folder / "posterior.nc"))


def members_table(result: Result) -> Table:
    """Return the sample's own table, cut to the stars used, with what was found out about each."""
    assert result.table is not None
    assert result.stars.rows is not None
    table: Any = result.table[np.asarray(result.stars.rows)]
    for name, values in result.members.items():
        table[name] = values
    return table[np.argsort(-result.members["membership"], kind="stable")]


def write(
    result: Result,
    summary: dict[str, Any],
    folder: Path,
    credit: str | None = None,
) -> None:
    """Write posterior.nc, members.ecsv, summary.json and the figures to `folder`.

    Args:
        result: from `bayes_factor`.
        summary: its summary, as printed.
        folder: made where it does not exist; files of an earlier run are replaced at the end.
        credit: of the data, at the bottom of each figure; by default that of Gaia where the bands
            are Gaia's.
    """
    with whole(folder) as scratch:
        save_posterior(result.posterior, scratch)
        members_table(result).write(scratch / "members.ecsv", format="ascii.ecsv")
        (scratch / "summary.json").write_text(json.dumps(summary, indent=2, default=float))
        save_figures(result, scratch, credit)
