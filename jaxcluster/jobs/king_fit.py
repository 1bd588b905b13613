"""The posterior of one profile."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from jaxcluster.density.stars import Stars
from jaxcluster.inference.model import Model
from jaxcluster.inference.posterior import Posterior, Progress
from jaxcluster.jobs.king_field import Field
from jaxcluster.jobs.model_files import load_model
from jaxcluster.structure.surface import SurfaceDensity

Shape = tuple[str, int | None]  # profile, and β where it is held


@dataclass(frozen=True)
class Found:
    """Posterior of one profile.

    Args:
        profile: one of `PROFILES`.
        beta: of the generalised profile, where it was held.
        gradient: whether the background might change linearly.
        field: the stars in their footprint.
        posterior: of the model's parameters.
        draws: all draws of these and of what follows from them (`SurfaceDensity.derived`).
    """

    profile: str
    beta: int | None
    gradient: bool
    field: Field
    posterior: Posterior
    draws: dict[str, np.ndarray]

    @cached_property
    def model(self) -> Model:
        """The model that was sampled."""
        return model_of(self.field, (self.profile, self.beta), self.gradient)

    def __getstate__(self) -> dict[str, Any]:
        """Without the model, which is made again: it cannot be pickled."""
        return {name: value for name, value in vars(self).items() if name != "model"}

    @property
    def label(self) -> str:
        """Name of the profile for a person."""
        return label(self.profile, self.beta)

    @property
    def centre(self) -> Float[np.ndarray, "2"]:
        """Median of the cluster's centre [arcmin]; the origin where it was held there."""
        if "x_centre" not in self.draws:
            return np.zeros(2)
        return np.array([np.median(self.draws[name]) for name in ("x_centre", "y_centre")])

    def some_draws(self, n: int) -> dict[str, np.ndarray]:
        """About n of the draws, evenly taken."""
        step = max(len(self.draws["r_core"]) // n, 1)
        return {name: values[::step] for name, values in self.draws.items()}

    def surface(self, parameters):
        """Return the surface density of parameters by name."""
        return SurfaceDensity.of(parameters, self.field.footprint, self.profile, self.beta)


def model_of(field: Field, shape: Shape, gradient: bool) -> Model:
    """Return the model of a profile in a field (`models/king_profile.py`)."""
    profile, beta = shape
    stars = Stars(field.x, np.zeros((len(field.x), 2, 2)), ("x", "y"))
    options = {"profile": profile, "beta": beta, "weights": field.weights, "gradient": gradient}
    return load_model("king_profile")(stars, footprint=field.footprint, **options)


def fit_profile(
    field: Field,
    shape: Shape,
    sampler: Callable[..., Posterior],
    key: PRNGKeyArray,
    say: Progress,
    gradient: bool = False,
) -> Found:
    """Sample one profile.

    Args:
        field: the stars in their footprint.
        shape: profile and fixed β.
        sampler: as `fast`.
        key: random key.
        say: called with lines of text.
        gradient: whether the background may change linearly.
    """
    profile, beta = shape
    posterior = sampler(model_of(field, shape, gradient), key=key, progress=say)
    draws = {name: jnp.asarray(values) for name, values in posterior.draws.items()}

    def derived(parameters):
        return SurfaceDensity.of(parameters, field.footprint, profile, beta).derived()

    draws |= jax.jit(jax.vmap(derived))(draws)
    arrays = {name: np.asarray(values) for name, values in draws.items()}
    if profile in ("king62", "generalised") and "beta" not in arrays:  # held
        arrays["beta"] = np.full(len(arrays["r_core"]), float(beta or 2))
    return Found(profile, beta, gradient, field, posterior, arrays)


def label(profile: str, beta: int | None) -> str:
    """Name of a profile for a person."""
    if profile == "generalised":
        return f"generalised beta {'free' if beta is None else beta}"
    return profile
