"""The result of `find_members`."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Table
from jaxtyping import Float

from jaxcluster import xd
from jaxcluster.catalogue.files import write_table
from jaxcluster.catalogue.preparation import preparation
from jaxcluster.density.stars import Stars
from jaxcluster.figures.members import components_figure, members_figure
from jaxcluster.inference.posterior import versions
from jaxcluster.jobs.cluster_table import cluster_row, stack
from jaxcluster.jobs.results import Result
from jaxcluster.xd.bootstrap import Bootstrap
from jaxcluster.xd.cluster_component import MIN_STARS, SURE, Candidate

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False, eq=False)
class Members(Result):
    """A field taken apart.

    Args:
        members: all rows of the prepared table with `membership` and, if asked for, `stability`;
            masked for stars without any of the columns used.
        stars: those that were used.
        fit: the mixture.
        ranking: its components, the most compact first.
        cluster: of those that nothing speaks against the one that adds most to ln L, or None.
        membership: of each of `stars`, 0 where there is no cluster.
        bootstrap: resamplings, or None.
        n_resamplings: that were asked for.
        comparison: of the numbers of components tried, where there were several.
        seed: of the random numbers.
        cpu_seconds: spent, compiling included.
    """

    members: Table
    stars: Stars
    fit: xd.Fit
    ranking: list[Candidate]
    cluster: Candidate | None
    membership: Float[np.ndarray, " n"]
    bootstrap: Bootstrap | None
    n_resamplings: int
    comparison: Table | None
    seed: int | str
    cpu_seconds: float

    posterior = None

    @property
    def stability(self) -> Float[np.ndarray, " n"]:
        """Share of the resamplings in which each of `stars` is of the cluster (P > ½).

        It says how sure it is on which side of ½ the membership lies, and is no probability.
        """
        if self.bootstrap is None or self.cluster is None:
            return np.zeros(len(self.stars))
        return self.bootstrap.stability

    @cached_property
    def row(self) -> dict[str, float | int | None] | None:
        """Where the cluster is, how it moves, how wide it is; see `cluster_row`."""
        return cluster_row(self)

    @property
    def why_none(self) -> str | None:
        """What speaks against the most compact component that is more than a few stars."""
        if self.cluster is not None:
            return None
        several = (one for one in self.ranking if one.n_stars >= MIN_STARS)
        return next(several, self.ranking[0]).refused

    @property
    def verdict(self) -> str:
        """The cluster's place, or why there is none."""
        if (row := self.row) is None:
            return f"no cluster in {len(self.stars)} stars: {self.why_none}"
        return (
            f"cluster at ra {row['ra']:.4f}, dec {row['dec']:.4f} deg: {row['n_members']} of "
            f"{len(self.stars)} stars with P ≥ {SURE}"
        )

    def table(self) -> Table:
        """The cluster's row with units; no row where there is none."""
        return stack({} if self.row is None else {"cluster": self.row})

    def summary(self) -> dict[str, Any]:
        """Numbers for JSON, as `jaxcluster members --json` prints them."""
        rows = None if self.comparison is None else [dict(row) for row in self.comparison]
        stable = None if self.bootstrap is None else int((self.stability >= SURE).sum())
        return {
            "cluster": self.row,
            "why_none": self.why_none,
            "ranking": [one._asdict() for one in self.ranking],
            "columns": list(self.stars.columns),
            "n_stars": len(self.stars),
            "n_dropped": dict(self.stars.dropped),
            "n_incomplete": int(np.isnan(self.stars.x).any(axis=1).sum()),
            "n_components": len(self.fit.mixture.weights),
            "comparison": rows,
            "n_bootstrap": self.n_resamplings,
            "n_stable": stable,
            "mean_log_likelihood": self.fit.mean_log_likelihood,
            "passes": self.fit.passes,
            "converged": self.fit.converged,
            "preparation": preparation(self.members),
            "seed": self.seed,
            "versions": versions(),
            "cpu_seconds": self.cpu_seconds,
        }

    def plot_members(self, credit: str | None = None) -> "Figure":
        """Stars by membership: motions, parallaxes, sky, colour and magnitude."""
        parts = () if self.cluster is None else self.cluster.parts
        return members_figure(
            self.stars, self.fit.mixture, parts, self.membership, self.members, credit
        )

    def figures(self, credit: str | None = None) -> dict[str, "Figure"]:
        """That of the members, and of the numbers of components tried."""
        drawn = {"members": self.plot_members(credit)}
        if self.comparison is not None:
            drawn["components"] = components_figure(self.comparison)
        return drawn

    def write_members(self, path: Path) -> None:
        """Write `members` in the format of the suffix, the cluster's row in its ``meta``."""
        summary, table = self.summary(), self.members.copy(copy_data=False)
        table.meta = {
            **({} if self.row is None else {"cluster": self.row}),
            "jaxcluster": {n: summary[n] for n in ("columns", "n_components", "seed", "versions")},
            "preparation": summary["preparation"],
        }
        write_table(table, path)

    def write_stars(self, folder: Path) -> None:
        """Write members.parquet, all rows in their order, for a field may be large."""
        self.write_members(folder / "members.parquet")
