"""What all jobs hand out: a result that prints, draws, saves and loads itself."""

import abc
import json
import math
import pickle
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Table

from jaxcluster.figures.corner import corner_figure
from jaxcluster.figures.run import run_figure
from jaxcluster.inference.model import Model
from jaxcluster.inference.posterior import Posterior

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHECKPOINT = "checkpoint"  # folder inside a run's folder
SYSTEMATIC = "σ beyond the interval: well-known clusters, with parallaxes, less what others say"
PICKLE = "result.pickle"


class Result(abc.ABC):
    """A result of a job; it can be pickled, saved and drawn."""

    posterior: Posterior | None
    members: Table | None  # one row a star, with its membership

    @property
    @abc.abstractmethod
    def verdict(self) -> str:
        """The answer in one line, as figures show it."""

    @abc.abstractmethod
    def summary(self) -> dict[str, Any]:
        """Numbers for JSON: parameters, evidence, cost and provenance."""

    @abc.abstractmethod
    def figures(self, credit: str | None = None) -> dict[str, "Figure"]:
        """All figures by name.

        Args:
            credit: of the data, at the bottom; by default that of Gaia where columns are Gaia's.
        """

    units: Mapping[str, str] = MappingProxyType({})  # of parameters
    words: Mapping[str, str] = MappingProxyType({})  # what they are

    def table(self) -> Table:
        """Parameters and what follows from them: quantiles, unit, prior and description."""
        summary = self.summary()
        rows = {**summary["parameters"], **summary.get("derived", {})}
        table: Any = Table({"parameter": list(rows)})
        for column in ("median", "q16", "q84"):
            values = [np.nan if row[column] is None else row[column] for row in rows.values()]
            table[column] = np.array(values)
        if systematic := summary.get("systematic"):
            table["systematic"] = [systematic.get(name, np.nan) for name in rows]
            table["systematic"].description = SYSTEMATIC
        names = [name.split("[")[0] for name in rows]
        table["unit"] = [self.units.get(name, "") for name in names]
        table["prior"] = [summary["priors"].get(name, "") for name in names]
        table["description"] = [self.words.get(name, "") for name in names]
        return table

    def write(self, folder: Path, credit: str | None = None, **more: Any) -> None:
        """Write what a person looks at: posterior.nc, tables, summary.json and figures.

        Args:
            folder: that exists.
            credit: see `figures`.
            **more: for summary.json.
        """
        if self.posterior is not None:  # for `arviz.from_netcdf`
            self.posterior.data.to_netcdf(str(folder / "posterior.nc"))
        self.write_stars(folder)
        text = json.dumps(finite({**self.summary(), **more}), indent=2, default=float)
        (folder / "summary.json").write_text(text)
        for name, figure in self.figures(credit).items():
            figure.savefig(folder / f"{name}.png", dpi=150)

    def write_stars(self, folder: Path) -> None:
        """Write members.ecsv, the most probable first, where there are memberships."""
        if self.members is not None:
            by_membership(self.members).write(folder / "members.ecsv", format="ascii.ecsv")

    def save(self, folder: str | Path, credit: str | None = None, **more: Any) -> Path:
        """Write everything to a folder, whole or not at all; `load` reads it.

        Args:
            folder: made where it does not exist; files of an earlier run are replaced at the end.
            credit: see `figures`.
            **more: for summary.json.
        """
        folder = Path(folder)
        with whole(folder) as scratch:
            self.write(scratch, credit, **more)
            (scratch / PICKLE).write_bytes(pickle.dumps(self))
        return folder

    def __getstate__(self) -> dict[str, Any]:
        """Without what is rebuilt when asked for, such as a model of closures."""
        lazy = {n for c in type(self).__mro__ for n, v in vars(c).items() if _is_lazy(v)}
        return {name: value for name, value in vars(self).items() if name not in lazy}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)

    def __repr__(self) -> str:
        """One line."""
        return f"{type(self).__name__}({self.verdict})"

    def _repr_html_(self) -> str:
        """For notebooks: the answer and the table of parameters."""
        return f"<p>{self.verdict}</p>{self.table()._repr_html_()}"


class Sampled(Result):
    """A result that is the posterior of a model."""

    posterior: Posterior
    model: Model

    def write(self, folder: Path, credit: str | None = None, **more: Any) -> None:
        """Write all that, and parameters.ecsv, the `table`."""
        super().write(folder, credit, **more)
        self.table().write(folder / "parameters.ecsv", format="ascii.ecsv")

    def plot_corner(
        self, truth: Mapping[str, float] | None = None, credit: str | None = None
    ) -> "Figure":
        """Posterior in pairs of parameters."""
        return corner_figure(self, truth, credit)

    def plot_run(self, credit: str | None = None) -> "Figure":
        """How the sampler ran."""
        return run_figure(self, credit)

    def figures(self, credit: str | None = None) -> dict[str, "Figure"]:
        """All of them by name."""
        varies = any(np.ptp(values) > 0 for values in self.posterior.scalars.values())
        corner = {"corner": self.plot_corner(credit=credit)} if varies else {}
        return {**corner, "run": self.plot_run(credit)}


def _is_lazy(attribute):
    return isinstance(attribute, cached_property)


def by_membership(members: Table) -> Table:
    """The most probable members first."""
    order = np.argsort(-np.asarray(members["membership"]), kind="stable")
    table: Any = members[order]
    return table


def load(folder: str | Path) -> Result:
    """Read a result that `Result.save` or a command's --out wrote.

    It is a pickle: read only what you or someone you trust has written, with the same version.

    Raises:
        FileNotFoundError: no result there.
        ValueError: the file cannot be read.
    """
    path = Path(folder) / PICKLE
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a folder that `save` wrote")
    try:
        return pickle.loads(path.read_bytes())
    except (AttributeError, ImportError, EOFError, pickle.UnpicklingError, TypeError) as error:
        raise ValueError(
            f"{path}: cannot be read: {error}. Versions other than the one that wrote it, which "
            "summary.json names, may not; posterior.nc and members.ecsv can be read by any"
        ) from error


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


def finite(value: Any) -> Any:
    """Return the same with None for NaN and infinity, which JSON has not."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
