"""One candidate with several grids of isochrones: what each says, and how far they are apart.

    p(θ | D) = Σ_g w_g p(θ | D, g)        w_g = 1 / G, or ∝ Z_g

Half of the distance between the extreme medians is a systematic error that the width of no one
posterior has: on NGC 2682 PARSEC and MIST are 10 to 30 widths apart. Equal weights come first:
where all grids are wrong by more than the stars' errors, the ratio of their Z is that of residual
errors, hundreds of nats for a thousand stars, and weights by evidence are those of one grid, right
or not.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from jaxcluster.density.draws import systematic
from jaxcluster.jobs.bayes_factor_result import BayesFactor
from jaxcluster.jobs.derived import derive
from jaxcluster.jobs.results import finite

DRAWS = 4000  # of all grids together
LEVELS = {"q16": 0.16, "median": 0.5, "q84": 0.84}


def name_of(grid: str) -> str:
    """Name of a grid: its own, or that of its file."""
    return Path(grid).stem if Path(grid).suffix else grid


@dataclass(frozen=True)
class AcrossGrids:
    """Results of one candidate by the grid that each was found with.

    Args:
        results: of the same stars, by grid.

    Raises:
        ValueError: fewer than two, or of different stars or parameters.

    Example:
        >>> found = {g: jc.bayes_factor(sample, field, grid=g) for g in ("parsec", "mist")}
        >>> AcrossGrids(found).table()  # doctest: +SKIP
    """

    results: Mapping[str, BayesFactor]

    def __post_init__(self):
        if len(self.results) < 2:
            raise ValueError(f"results: found {len(self.results)} grid, expected two or more")
        for what, of in (
            ("stars", lambda result: result.stars.x.tobytes()),
            ("parameters", lambda result: frozenset(result.posterior.scalars)),
        ):
            if len({of(result) for result in self.results.values()}) > 1:
                raise ValueError(f"results: grids of different {what}; expected the same of all")

    @property
    def by_evidence(self) -> dict[str, float] | None:
        """Weight of each grid in proportion to its Z; None where a sampler gives none."""
        evidences = [result.posterior.log_evidence for result in self.results.values()]
        known = [z for z in evidences if z is not None]
        if len(known) < len(evidences):
            return None
        weights = np.exp(np.array(known) - max(known))
        return dict(zip(self.results, (weights / weights.sum()).tolist(), strict=True))

    @cached_property
    def _draws(self) -> dict[str, dict[str, np.ndarray]]:
        """Of each grid, parameters and what follows from them."""
        found = {}
        for grid, result in self.results.items():
            draws = {name: values.ravel() for name, values in result.posterior.scalars.items()}
            found[grid] = {**draws, **derive(draws)}
        return found

    def combined(self, weights: Mapping[str, float] | None = None) -> dict[str, dict[str, float]]:
        """Median, 16 and 84 % quantiles of each parameter, and `systematic`.

        Args:
            weights: of each grid; equal ones by default.
        """
        weights = weights or dict.fromkeys(self.results, 1.0)
        share = np.array([weights[grid] for grid in self.results])
        rng, table = np.random.default_rng(0), {}
        which = systematic(share / share.sum(), DRAWS, rng)
        counts = dict(zip(self.results, np.bincount(which, minlength=len(share)), strict=True))
        for name in next(iter(self._draws.values())):
            parts = {grid: draws[name] for grid, draws in self._draws.items()}
            values = [np.resize(rng.permutation(v), counts[grid]) for grid, v in parts.items()]
            medians = [np.median(v) for v in parts.values()]
            quantiles = np.quantile(np.concatenate(values), list(LEVELS.values()))
            table[name] = dict(zip(LEVELS, quantiles.tolist(), strict=True))
            table[name]["systematic"] = float(np.ptp(medians) / 2.0)
        return table

    def table(self) -> Table:
        """Parameters: with equal weights, their systematic error, and each grid's median."""
        rows, any_one = self.combined(), next(iter(self.results.values()))
        table: Any = Table({"parameter": list(rows)})
        for column in ("median", "q16", "q84", "systematic"):
            table[column] = [row[column] for row in rows.values()]
        for grid, draws in self._draws.items():
            table[grid] = [float(np.median(draws[name])) for name in rows]
        table["unit"] = [any_one.units.get(name, "") for name in rows]
        table["description"] = [any_one.words.get(name, "") for name in rows]
        table["systematic"].description = "half the distance between the extreme medians of grids"
        return table

    def summary(self) -> dict[str, Any]:
        """Numbers for JSON: the answer across grids, then each grid's own."""
        weights = self.by_evidence
        return {
            "combined": self.combined(),
            "combined_by_evidence": None if weights is None else self.combined(weights),
            "weights_by_evidence": weights,
            "units": dict(next(iter(self.results.values())).units),
            "grids": {grid: result.summary() for grid, result in self.results.items()},
        }

    def write(self, folder: Path) -> None:
        """Write parameters.ecsv and summary.json; each result saves itself."""
        folder.mkdir(parents=True, exist_ok=True)
        self.table().write(folder / "parameters.ecsv", format="ascii.ecsv", overwrite=True)
        text = json.dumps(finite(self.summary()), indent=2, default=float)
        (folder / "summary.json").write_text(text)
