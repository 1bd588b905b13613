"""What every sampler hands out: draws as ArviZ data, whose `attrs` record cost and versions."""

import ast
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from jaxtyping import Float

Progress = Callable[[str], None]
MEASURES = ("information", "ess", "insertion_rank_p", "tail_index", "disagreement")  # of evidences
LEAST_P = 1e-3  # of insertion ranks
HEAVIEST = 0.7  # Pareto k̂: beyond, a mean has not the error that its variance says
PACKAGES = ("jaxcluster", "jax", "numpyro", "blackjax", "numpy", "arviz")


def versions() -> dict[str, str]:
    """Of the packages that results depend on."""
    return {name: version(name) for name in PACKAGES}


@dataclass(frozen=True)
class Posterior:
    """What every sampler hands out.

    Args:
        data: ArviZ data [chain, draw, …] for all of ArviZ's functions: ``posterior``,
            ``sample_stats``, ``log_likelihood`` of each star. Its `attrs` keep the rest, so that
            nothing is lost in a file.
    """

    data: Any

    def __getitem__(self, group: str):
        """A group of the ArviZ data."""
        return self.data[group]

    @property
    def record(self) -> dict[str, Any]:
        """Everything that the sampler noted of its run, by name."""
        return self.data["posterior"].attrs

    @property
    def method(self) -> str:
        """importance, nested or nuts."""
        return self.record["method"]

    @property
    def log_evidence(self) -> float | None:
        """Ln Z, None where the sampler gives none."""
        return self.record.get("log_evidence")

    @property
    def log_evidence_error(self) -> float | None:
        """Standard error of ln Z."""
        return self.record.get("log_evidence_error")

    @property
    def evaluations(self) -> int:
        """Likelihoods and gradients."""
        return int(self.record["evaluations"])

    @property
    def cpu_seconds(self) -> float:
        """Of running."""
        return self.record["cpu_seconds"]

    @property
    def compile_seconds(self) -> float:
        """CPU seconds of compiling, not contained in `cpu_seconds`."""
        return self.record["compile_seconds"]

    @property
    def resumed_seconds(self) -> float:
        """Of both, those of a killed run that this one went on with."""
        return self.record["resumed_seconds"]

    @property
    def priors(self) -> dict[str, str]:
        """Prior of each sampled site in words."""
        return ast.literal_eval(self.record["priors"])

    @property
    def versions(self) -> dict[str, str]:
        """Of the packages that the result depends on."""
        return ast.literal_eval(self.record["versions"])

    @property
    def fallback(self) -> str | None:
        """Why nested sampling was needed; "" where it was not, None of other samplers."""
        return self.record.get("fallback")

    @property
    def prior_flag(self) -> str | None:
        """Of which parameters the posterior lies at an end of the prior, see `at_ends`."""
        return self.record.get("prior_flag") or None

    @property
    def modes_flag(self) -> str | None:
        """Of which parameters the posterior has several modes, see `several_modes`."""
        return self.record.get("modes_flag") or None

    @property
    def draws(self) -> dict[str, np.ndarray]:
        """All draws of each parameter, chains joined."""
        return {
            str(name): np.asarray(values).reshape(-1, *values.shape[2:])
            for name, values in self.data["posterior"].data_vars.items()
        }

    @property
    def scalars(self) -> dict[str, Float[np.ndarray, "chains draws"]]:
        """Draws of each parameter that is one number."""
        return {
            str(name): np.asarray(values, float)
            for name, values in self.data["posterior"].data_vars.items()
            if values.ndim == 2
        }

    @property
    def likeliest(self) -> dict[str, float]:
        """The `scalars` of the draw with the highest likelihood.

        Where a posterior has two modes no draw is at the medians.
        """
        total = np.asarray(self.data["log_likelihood"]["stars"]).sum(axis=-1)
        chain, draw = np.unravel_index(total.argmax(), total.shape)
        return {name: float(values[chain, draw]) for name, values in self.scalars.items()}

    @property
    def memberships(self) -> Float[np.ndarray, "draws n"] | None:
        """Of the mixture's first part, of each star at each draw; None of other densities."""
        statistics = self.data["sample_stats"]
        if "membership" not in statistics:
            return None
        values = np.asarray(statistics["membership"])
        return values.reshape(-1, values.shape[-1])

    @property
    def quality(self) -> dict[str, float]:
        """How well the sampler did, by name: each method has its own measures.

        ``ess`` effective draws; of evidences ``tail_index`` (Pareto k̂) and ``disagreement`` of
        two estimates [standard errors or tolerances], or ``insertion_rank_p``, and ``information``
        [nat];
        of chains ``r_hat``, the largest of all parameters (of a single chain between its halves),
        ``ess``, the least, and ``divergences``.
        Chains that never moved have R̂ = ∞ and one effective draw.
        """
        if self.method != "nuts":
            return {name: self.record[name] for name in MEASURES if name in self.record}
        import arviz

        numbers = [
            entry
            for values in self.data["posterior"].data_vars.values()
            for entry in np.moveaxis(np.asarray(values).reshape(*values.shape[:2], -1), -1, 0)
            if np.ptp(entry) > 0
        ]
        halves = [e[:, : e.shape[1] // 2 * 2].reshape(2, -1) if len(e) == 1 else e for e in numbers]
        diverging = np.asarray(self.data["sample_stats"]["diverging"])
        with np.errstate(divide="ignore", invalid="ignore"):  # chains that each stand still
            r_hats = [float(arviz.rhat(entry)) for entry in halves]
        return {
            "r_hat": max(r_hats, default=math.inf),
            "ess": min((float(arviz.ess(entry)) for entry in numbers), default=1.0),
            "divergences": int(diverging.sum()),
        }

    @property
    def flags(self) -> list[str]:
        """What speaks against the evidence."""
        said = []
        # what no search has confirmed has an error of its own for that
        confirmed = self.method != "importance" or "disagreement" in self.record
        if confirmed and (k_hat := self.record.get("tail_index", 0.0)) > HEAVIEST:
            said.append(
                f"the weights of draws have a heavy tail (Pareto k = {k_hat:.2f}, more than "
                f"{HEAVIEST}), which the error of ln Z may not know of; try a second seed"
            )
        if confirmed and (error := self.record.get("log_evidence_error", 0.0)) > (
            asked := self.record.get("tolerance", math.inf)
        ):
            said.append(f"the error of ln Z is {error:.2g} where {asked:g} was asked for")
        if too_low := self.record.get("estimates_too_low", 0):
            said.append(
                f"{too_low} of {np.size(self.record['estimate_log_evidence'])} estimates missed a "
                "part of the posterior, so the others may have missed another; try a second seed"
            )
        if (p := self.record.get("insertion_rank_p", 1.0)) < LEAST_P:
            said.append(
                f"new points do not lie among the live ones as draws from the prior would (p of "
                f"insertion ranks = {p:.1g}): the walks are too short; raise inner_steps"
            )
        if why := self.fallback:
            said.append(f"nested sampling was needed: {why}")
        return said

    def summary(self) -> dict[str, Any]:
        """Numbers for a table or JSON."""
        return {
            "log_evidence": self.log_evidence,
            "log_evidence_error": self.log_evidence_error,
            **dict.fromkeys(MEASURES),
            **self.quality,
            "parameters": parameter_table(self.draws),
            "priors": self.priors,
            "method": self.method,
            "fallback": self.fallback,
            "sampling_flag": "; ".join(self.flags) or None,
            "prior_flag": self.prior_flag,
            "modes_flag": self.modes_flag,
            "searches": np.size(self.record.get("search_length", [])) or None,
            "evaluations": self.evaluations,
            "cpu_seconds": self.cpu_seconds,
            "compile_seconds": self.compile_seconds,
            "versions": self.versions,
        }

    def __repr__(self) -> str:
        """One line."""
        evidence = (
            ""
            if self.log_evidence is None
            else (f", ln Z = {self.log_evidence:.2f} ± {self.log_evidence_error:.2f}")
        )
        return f"Posterior({self.method}, {', '.join(self.draws)}{evidence})"


def parameter_table(draws: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Median and 16 and 84 % quantiles of each parameter, of arrays by entry: mean[0,1].

    Constant entries and repeated ones (half of a correlation matrix) are left out.
    """
    table = {}
    for name, values in draws.items():
        seen = set()
        for index in np.ndindex(values.shape[1:]):
            entry = values[:, *index]
            if index and (np.ptp(entry) < 1e-12 * np.abs(entry).max() or entry.tobytes() in seen):
                continue
            seen.add(entry.tobytes())
            low, middle, high = np.quantile(entry, [0.16, 0.5, 0.84])
            row = {"median": float(middle), "q16": float(low), "q84": float(high)}
            table[f"{name}[{','.join(map(str, index))}]" if index else name] = row
    return table
