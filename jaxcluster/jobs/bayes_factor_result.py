"""The result of `bayes_factor`."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Table
from jaxtyping import Float

from jaxcluster.density.stars import Stars
from jaxcluster.field.density import FieldDensity
from jaxcluster.field.mismatch import Mismatch
from jaxcluster.figures.catalogue import THRESHOLD
from jaxcluster.figures.cmd import cmd_figure
from jaxcluster.figures.fit import fit_figure
from jaxcluster.inference.model import Model
from jaxcluster.inference.posterior import Posterior, parameter_table
from jaxcluster.jobs.derived import DERIVED, derive, derived_errors
from jaxcluster.jobs.goodness_of_fit import GoodnessOfFit
from jaxcluster.jobs.model_files import load_model
from jaxcluster.jobs.results import Sampled
from jaxcluster.population.colour_error import AT, SHAPES
from jaxcluster.population.colour_error import NAMES as COLOUR_ERRORS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BIASED = 1.0  # log10 BF
SURE = 2.0  # σ above the threshold
CLEAR = 5.0  # σ from the threshold, where few field stars are no matter


@dataclass(frozen=True, repr=False, eq=False)
class BayesFactor(Sampled):
    """A candidate's Bayes factor, posterior and members."""

    log10_bayes_factor: float | None  # None where the sampler gives no evidence
    log10_bayes_factor_error: float | None  # of the sampler
    log10_bayes_factor_field_error: float  # of the field's density, see `field_error`
    log10_bayes_factor_field_bias: float  # part of it: with half of the field it is so much more
    log_evidence_field: float
    posterior: Posterior
    members: Table  # the sample's rows, in the order of `stars`, and what `stellar_parameters` says
    stars: Stars  # those used, in order of magnitude
    field: FieldDensity
    log_field: Float[np.ndarray, " n"]  # at the stars, of magnitude and colour
    mismatch: Mismatch  # the field's density at its own stars and at the sample's
    goodness: GoodnessOfFit | None  # None of few stars, or where the cluster is no population
    limits: tuple[float, float]
    n_outside: int  # stars of the sample outside the limits
    n_in_field_too: int  # stars of the sample that the field has too
    oddities: tuple[str, ...]  # of sample and field, see `plausible`
    n_dropped: dict[str, dict[str, int]]  # of sample and field, by reason
    build: str | Callable[..., Model]  # name or path of the model file, or its function
    options: dict[str, Any]  # of that
    parallax: str  # how the stars' parallaxes were used
    isochrones: str | None  # what was made of their colours; None where the model says nothing
    systematic: Mapping[str, float]  # σ of parameters, see `colour_error.learnt_of`
    seed: int | str
    cpu_seconds: float  # of the whole job, without compiling
    compile_seconds: float

    units = {  # noqa: RUF012
        "log_age": "log10(yr)",
        "metallicity": "dex",
        "distance_modulus": "mag",
        "a_v": "mag",
        "model_scatter": "mag",
        "extinction_scatter": "mag",
        "parallax_zero_point": "mas",
        **dict.fromkeys((*COLOUR_ERRORS, *SHAPES), "mag"),
        **{name: one.unit for name, one in DERIVED.items()},
    }
    words = {  # noqa: RUF012
        "log_age": "log10 of the age",
        "metallicity": "[M/H]",
        "distance_modulus": "true distance modulus",
        "a_v": "extinction in V",
        "mass_slope": "slope of the mass function, dN/dM ∝ M^slope",
        "binary_fraction": "share of unresolved binaries",
        "mass_ratio_slope": "slope of the distribution of mass ratios",
        "field_fraction": "share of the sample that is field",
        "model_scatter": "scatter of the isochrone in magnitude and colour",
        "extinction_scatter": "scatter of a_v between stars",
        "r_v": "A_V / E(B − V) of the dust",
        "parallax_zero_point": "what Gaia's parallaxes are too large by",
        **{
            name: f"what the isochrones' colour lacks, {'' if where == 'giants' else 'K: '}{where}"
            for name, where in zip(COLOUR_ERRORS, AT, strict=True)
        },
        **dict.fromkeys(SHAPES, "how much of a learnt error the isochrones' colour has"),
        **{name: one.words for name, one in DERIVED.items()},
    }

    @cached_property
    def model(self) -> Model:
        """The model that was sampled, made again where the result was loaded."""
        build = load_model(self.build) if isinstance(self.build, str) else self.build
        field = lambda stars: self.log_field  # noqa: E731
        return build(self.stars, field=field, limits=self.limits, **self.options)

    @property
    def n_members(self) -> int:
        """Stars with a membership above one half."""
        return int((np.asarray(self.members["membership"]) > 0.5).sum())

    @property
    def flagged(self) -> dict[str, list[str]]:
        """What speaks against sample and field, the field's density, the prior, …, by what it is.

        Of a field without a cluster several modes are no matter.
        """
        posterior, value = self.posterior, self.log10_bayes_factor
        modes = None if value is not None and value < 0.0 else posterior.modes_flag
        return {
            "input": list(self.oddities),
            "field": self._field_flags,
            "prior": [posterior.prior_flag] if posterior.prior_flag else [],
            "modes": [modes] if modes else [],
            "fit": [self.fit_flag] if self.fit_flag else [],
            "sampling": posterior.flags,
        }

    @property
    def flags(self) -> list[str]:
        """All of `flagged`."""
        return [flag for said in self.flagged.values() for flag in said]

    @property
    def fit_flag(self) -> str | None:
        """Where the stars are not as cluster + field expect, see `goodness_of_fit`."""
        return None if self.goodness is None else self.goodness.flag(self.stars.columns)

    @property
    def _field_flags(self) -> list[str]:
        biased, bias = None, self.log10_bayes_factor_field_bias
        # more than the scatter √(error² − bias²)
        if abs(bias) > max(BIASED, self.log10_bayes_factor_field_error / math.sqrt(2.0)):
            biased = (
                f"half of the field's stars change log10 BF by {bias:+.1f}: it depends on how many "
                f"there are, and more of them would {'raise' if bias < 0 else 'lower'} it (members "
                "lie where the field is thin, or its density changes fast)"
            )
        flags = self._too_few, *self.mismatch.flags, biased
        return [flag for flag in flags if flag is not None]

    @property
    def _too_few(self) -> str | None:
        """That the field has few stars, where log10 BF is not `CLEAR` of the threshold."""
        value, error = self.log10_bayes_factor, self.log10_bayes_factor_total_error
        if self.field.flag is None or value is None or error is None:
            return self.field.flag
        away = abs(value - THRESHOLD) / error
        if away > CLEAR:
            return None
        return f"{self.field.flag}; log10 BF is {away:.1f} σ from the threshold of {THRESHOLD:g}"

    @property
    def verdict(self) -> str:
        """The Bayes factor (error of sampler and field), numbers of stars, what has a flag."""
        words = f"{len(self.stars)} stars, {self.n_members} with P > 0.5"
        if told := [name for name, said in self.flagged.items() if said]:
            words += f"; flagged: {', '.join(told)}"
        if self.log10_bayes_factor is None:
            return f"{words}; no evidence from this sampler"
        error = self.log10_bayes_factor_total_error
        return f"log₁₀ BF = {self.log10_bayes_factor:.1f} ± {error:.1f}; {words}"

    @property
    def decision(self) -> str | None:
        """What the Bayes factor says by the published threshold; None where there is none."""
        value, error = self.log10_bayes_factor, self.log10_bayes_factor_total_error
        if value is None or error is None:
            return None
        away = abs(value - THRESHOLD) / error
        if value < 0.0:
            return "no cluster: the field alone is the likelier"
        if value < THRESHOLD:
            return (
                f"not decided: a cluster is the likelier, by less than log10 BF = {THRESHOLD:g} "
                f"({away:.1f} σ below)"
            )
        if away < SURE:
            return (
                f"a cluster, but only {away:.1f} σ above the threshold of log10 BF = {THRESHOLD:g}"
            )
        return f"a cluster: log10 BF is above {THRESHOLD:g}"

    @property
    def log10_bayes_factor_total_error(self) -> float | None:
        """σ = √(sampling² + field²)."""
        if self.log10_bayes_factor_error is None:
            return None
        return math.hypot(self.log10_bayes_factor_error, self.log10_bayes_factor_field_error)

    def summary(self) -> dict[str, Any]:
        """Numbers for a table or JSON: the evidence, parameters, cost and provenance."""
        posterior = self.posterior
        return {
            "log10_bayes_factor": self.log10_bayes_factor,
            "decision": self.decision,
            "log10_bayes_factor_total_error": self.log10_bayes_factor_total_error,
            "log10_bayes_factor_error": self.log10_bayes_factor_error,
            "log10_bayes_factor_field_error": self.log10_bayes_factor_field_error,
            "log10_bayes_factor_field_bias": self.log10_bayes_factor_field_bias,
            **posterior.summary(),
            **{f"{name}_flag": "; ".join(said) or None for name, said in self.flagged.items()},
            "derived": parameter_table(derive(posterior.draws)),
            "systematic": {
                **self.systematic,
                **derived_errors(posterior.draws, self.systematic),
            },
            "units": self.units,
            "log_evidence_field": self.log_evidence_field,
            "n_stars": len(self.stars),
            "n_dropped": self.stars.n_dropped + self.n_outside,
            "n_outside_limits": self.n_outside,
            "limits": list(self.limits),
            "n_members": self.n_members,
            "n_field": self.field.n_field,
            "fit_p_value": None if self.goodness is None else self.goodness.p_value,
            "fit_misplaced": None if self.goodness is None else self.goodness.misplaced,
            "field_gap": self.mismatch.gap,
            "field_gap_error": self.mismatch.gap_error,
            "cpu_seconds": self.cpu_seconds,
            "compile_seconds": self.compile_seconds,
            "n_dropped_sample": self.n_dropped["sample"],
            "n_dropped_field": self.n_dropped["field"],
            "n_in_field_too": self.n_in_field_too,
            "seed": self.seed,
            "model": self.build if isinstance(self.build, str) else self.build.__name__,
            "columns": ",".join(self.stars.columns),
            "grid": self.options.get("grid"),
            "isochrones": self.isochrones,
            "parallax": self.parallax,
            **(
                {"why_no_evidence": "NUTS gives no evidence; use --method fast"}
                if self.log10_bayes_factor is None
                else {}
            ),
        }

    def plot_cmd(self, credit: str | None = None) -> "Figure":
        """Colour-magnitude diagram with memberships, isochrones and the field's density."""
        return cmd_figure(self, credit)

    def plot_fit(self, credit: str | None = None) -> "Figure":
        """Where in the diagram are more or fewer stars than cluster + field expect."""
        return fit_figure(self, credit)

    def figures(self, credit: str | None = None) -> dict[str, "Figure"]:
        """All of them by name."""
        fit = {} if self.goodness is None else {"fit": self.plot_fit(credit)}
        return {"cmd": self.plot_cmd(credit), **fit, **super().figures(credit)}
