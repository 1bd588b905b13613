"""The density of field stars in magnitude and colours.

    φ(x) = (1 − ε) [ω Σ_j K_j(x) / n  +  (1 − ω) Σ_f G_f(x) / 5]  +  ε u(x),        ε = 1 / (n + 1)

K_j: one Gaussian kernel per field star, as wide as the distance to its neighbours; G_f: a mixture
of a few Gaussians, fitted to all field stars but a fifth; u: a uniform floor. Each is normalised
to 1 inside the magnitude limits. A Bayes factor is only as good as φ (0.07 nat per star is 3 in
log10 BF for 100 stars), so what is free is chosen by the likelihood of stars left out of the fit,
and what the field's number of stars leaves open in a Bayes factor is told (`error.field_error`).
"""

from dataclasses import replace
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxcluster.density.backend import as_array
from jaxcluster.density.draws import draw_between
from jaxcluster.density.keys import generator
from jaxcluster.density.mixture import AbstractDensity, GaussianMixture
from jaxcluster.density.stars import Stars, pick
from jaxcluster.field import gaussians as truncated_mixture
from jaxcluster.field import kernels as kernel_density
from jaxcluster.field.floor import draw_uniform, log_uniform
from jaxcluster.field.gaussians import filled_up, log_density_at
from jaxcluster.field.kernels import to_mixture

LEAST = 24  # each half of the field must have an 11th neighbour


class Hyperparameters(NamedTuple):
    """What the field chose: kernel widths, number of Gaussians, weight ω of the kernels."""

    neighbours: int
    metric: float
    scale: float
    components: int
    kde_weight: float


class FieldDensity(AbstractDensity):
    """Density of field stars, normalised to 1 inside the magnitude limits; see the module.

    The noise of a star is ignored: the kernels are made of observed magnitudes, which carry it.

    Args:
        kernels: all Gaussians; their weights contain 1 − ε, ω and the normalisation, and are 0
            where the number was rounded up.
        floor: ε.
        box: (lo, hi) of the magnitudes and of each colour, mag: the selection, and the colours
            that the field covers. Redder and bluer the floor falls off exponentially, so that no
            star inside the limits has ln φ = −∞.
        leave_one_out: ln φ of each star of the field as given, itself left out of the fit; −∞
            for those outside the magnitude limits.
        hyperparameters: what was chosen.
        flag: why a Bayes factor with this field is not to be trusted, or None.
    """

    kernels: GaussianMixture
    floor: Float[Array, ""]
    box: Float[Array, "d 2"]
    leave_one_out: Float[Array, " n_field"]
    hyperparameters: Hyperparameters
    flag: str | None = eqx.field(static=True)

    @property
    def limits(self) -> Float[Array, " 2"]:
        """Magnitude limits inside which φ is normalised."""
        return self.box[0]

    @property
    def n_field(self) -> int:
        """Number of field stars inside the limits."""
        return int(np.isfinite(self.leave_one_out).sum())

    @property
    def n_kernels(self) -> int:
        """How many of `kernels` are a star's, the first ones; those of the five fits follow."""
        each = 1 if self.hyperparameters.components == 0 else 2  # with its mirror image
        return each * self.n_field

    @property
    def x(self) -> Float[np.ndarray, "m d"]:
        """(Magnitude, colours) of the field's stars inside the limits, mag."""
        return np.asarray(self.kernels.means)[: self.n_kernels : self.n_kernels // self.n_field]

    @property
    def mean_left_out(self) -> tuple[float, float]:
        """Mean of the leave-one-out ln φ and its standard error, nat per star."""
        values = np.asarray(self.leave_one_out, float)
        return _mean_and_error(values[np.isfinite(values)])

    def log_prob(self, x: Float[Array, " d"], noise: Float[Array, "d d"]) -> Float[Array, ""]:
        """Return ln φ at one (magnitude, colours); −∞ outside the magnitude limits."""
        return jnp.logaddexp(*self.parts(x[None]))[0]

    def __call__(self, stars: Stars) -> Float[Array, " n"]:
        """Return ln φ of each star, through the chunked kernel."""
        found = jnp.logaddexp(*self.parts(stars.filled_up().x))
        return as_array(pick(found, np.arange(len(stars))))

    def without(self, stars: Stars, rows: Int[Array, " n"]) -> Float[Array, " n"]:
        """Return ln φ of stars some of which are in the field too, each left out of the fit.

        A star that is its own neighbour at distance 0 looks like field whatever it is.

        Args:
            stars: the sample.
            rows: index of each in the field that was fitted, −1 for stars that are not in it.

        Raises:
            ValueError: a row that the field does not have.
        """
        n = self.leave_one_out.shape[0]
        if (bad := int(((rows < -1) | (rows >= n)).sum())) > 0:
            raise ValueError(f"rows: {bad} of {len(stars)} are not −1 or 0 … {n - 1}")
        return jnp.where(rows >= 0, self.leave_one_out[rows], self(stars))

    def marginal(self, colour: int) -> "FieldDensity":
        """Density of the magnitude and one of the colours, the other ones integrated over."""
        axes, k = np.array([0, colour]), self.kernels
        kernels = GaussianMixture(
            k.weights, k.means[:, axes], k.covs[:, axes[:, None], axes[None, :]]
        )
        return replace(self, kernels=kernels, box=self.box[axes])

    def sample(self, n: int, rng: np.random.Generator) -> Float[np.ndarray, "n d"]:
        """Draw (magnitude, colours) of n stars from φ."""
        of_floor = rng.uniform(size=n) < float(self.floor)
        floor = draw_uniform(n, np.asarray(self.box), rng)
        k = self.kernels
        kernels = draw_between((k.weights, k.means, k.covs), self.limits, n, rng)
        return np.where(of_floor[:, None], floor, kernels)

    @eqx.filter_jit
    def parts(self, x: Float[Array, "n d"]) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
        """Return ln of the Gaussians' and of the floor's share of φ."""
        x = jnp.asarray(x)
        inside = (x[:, 0] >= self.box[0, 0]) & (x[:, 0] <= self.box[0, 1])
        kernels = log_density_at(x, self.kernels)
        floor = jnp.log(self.floor) + log_uniform(x, self.box)
        return jnp.where(inside, kernels, -jnp.inf), jnp.where(inside, floor, -jnp.inf)


def published_kde(field: Stars, limits: tuple[float, float]) -> FieldDensity:
    """Mean of the kernels of Li, Li & Shao (2025), see `published_kernels`, without a floor.

    It oversmooths small fields, `fit_field` does better; it is here to compare with published
    Bayes factors. Arguments and errors are those of `fit_field`.
    """
    kept, x, box = _select(field, limits)
    errors2 = np.asarray(field.noise, float)[kept][:, (0, 1), (0, 1)]
    tiny = np.finfo(np.float32).tiny  # without a floor a lone star, left out, may have φ = 0

    kernels = kernel_density.published_kernels(x, errors2)
    left_out = np.log(kernel_density.leave_one_out(kernels, x, limits) + tiny)
    return FieldDensity(
        kernels=filled_up(to_mixture(kernels, limits)),
        floor=jnp.asarray(0.0),
        box=jnp.asarray(box),
        leave_one_out=_spread(left_out, kept),
        hyperparameters=Hyperparameters(10, 1.0, 1.0, 0, 1.0),
        flag=None,
    )


def fit_field(
    field: Stars, limits: tuple[float, float], *, n_stars: int, key: PRNGKeyArray
) -> FieldDensity:
    """Fit φ, see the module, to field stars: kernels and Gaussians stacked by held-out likelihood.

    The kernels' widths maximise the leave-one-out likelihood of the field, the number of Gaussians
    minimises BIC, ω maximises the likelihood of stars left out: one by one of the kernels, in
    folds of the Gaussians. The mean of the five Gaussian fits is no worse than one fit to all, and
    the sum of ln φ at NGC 2682's stars scatters less from seed to seed
    (`benchmarks/ngc2682 field`).

    Args:
        field: stars *outside* the sample, columns (magnitude, colours), mag; cut to the limits
            here.
        limits: magnitude limits (lo, hi) of the sample.
        n_stars: number of stars in the sample. Below `needed_stars` the result is flagged.
        key: random key, for the starts of the Gaussian mixture and the folds.

    Raises:
        ValueError: no colour, values that are not finite, lo ≥ hi, or fewer than
            24 field stars inside the limits.
    """
    kept, x, box = _select(field, limits)
    n = len(x)
    rng = generator(key)
    uniform = np.exp(log_uniform(x, box))

    widths = kernel_density.choose_widths(x, limits, uniform)
    kernels = kernel_density.adaptive_kernels(x, limits, *widths)
    numbers = range(1, n // 12 + 1)
    components = len(truncated_mixture.fit_gaussians(x, limits, numbers, rng).weights)
    folds = truncated_mixture.fit_folds(x, limits, components, rng)
    kernels_out = kernel_density.leave_one_out(kernels, x, limits)
    omegas = np.linspace(0.01, 0.99, 99)  # neither part is dropped altogether
    stacks = [stack(kernels_out, folds.left_out, omega, uniform, n) for omega in omegas]
    omega, left_out = max(zip(omegas, stacks, strict=True), key=lambda pair: pair[1].sum())

    needed = needed_stars(n_stars)
    too_few = (
        f"{n} field stars for {n_stars} stars, fewer than {needed}, so that the error of their "
        "density decides: take a wider annulus"
    )
    kde, gaussians = to_mixture(kernels, limits), average(folds.mixtures)
    both = jax.tree.map(lambda *a: np.concatenate(a), kde, gaussians)
    share = np.repeat(
        n / (n + 1) * np.array([omega, 1 - omega]), [len(kde.weights), len(gaussians.weights)]
    )
    parts = share * both.weights, both.means, both.covs
    return FieldDensity(
        kernels=filled_up(GaussianMixture(*map(as_array, parts))),
        floor=jnp.asarray(1.0 / (n + 1)),
        box=jnp.asarray(box),
        leave_one_out=_spread(left_out, kept),
        hyperparameters=Hyperparameters(*widths, components, float(omega)),
        flag=too_few if n < needed else None,
    )


def needed_stars(n_stars: int) -> int:
    """Return how many field stars a sample of n needs: three times as many, and at least 300."""
    return max(300, 3 * n_stars)


def require_finite_columns(stars: Stars) -> None:
    """Raise a ValueError that names a column of which values are NaN; there must be a colour."""
    if len(stars.columns) < 2:
        raise ValueError(f"columns: expected a magnitude and colours, found {stars.columns}")
    for name, bad in zip(stars.columns, np.sum(~np.isfinite(stars.x), axis=0), strict=True):
        if bad:
            raise ValueError(
                f"{name}: {bad} of {len(stars)} values are not finite; drop these stars from "
                "sample and field alike"
            )


def _select(field: Stars, limits: tuple[float, float]):
    """Return which stars lie inside the limits, their (magnitude, colours), and the floor's box."""
    require_finite_columns(field)
    lo, hi = limits
    if not lo < hi:
        raise ValueError(f"limits: expected (lo, hi) with lo < hi, found {limits}")
    x = np.asarray(field.x, float)
    kept = (x[:, 0] >= lo) & (x[:, 0] <= hi)
    if kept.sum() < LEAST:
        raise ValueError(
            f"field: {kept.sum()} of {len(x)} stars have {lo:g} <= {field.columns[0]} <= {hi:g}, "
            f"expected at least {LEAST}; take a wider annulus or check the limits"
        )
    x = x[kept]
    box = np.stack([x.min(axis=0), x.max(axis=0)], axis=1)
    box[0] = limits
    return kept, x, box


def _mean_and_error(values: np.ndarray) -> tuple[float, float]:
    return float(values.mean()), float(values.std() / np.sqrt(max(len(values) - 1, 1)))


def _spread(left_out: np.ndarray, kept: np.ndarray) -> Array:
    full = np.full(len(kept), -np.inf)
    full[kept] = left_out
    return as_array(full)


def stack(
    kernels: Float[np.ndarray, " m"],
    gaussians: Float[np.ndarray, " m"],
    kde_weight: float,
    uniform: Float[np.ndarray, " m"],
    n: int,
) -> Float[np.ndarray, " m"]:
    """Return ln φ, see the module, from its parts at m points, for n field stars."""
    density = kde_weight * kernels + (1 - kde_weight) * gaussians
    return np.log(density * n / (n + 1) + uniform / (n + 1))


def average(mixtures: GaussianMixture) -> GaussianMixture:
    """Make one mixture of several [f, k]."""
    flat = jax.tree.map(lambda a: np.asarray(a).reshape(-1, *a.shape[2:]), mixtures)
    return GaussianMixture(flat.weights / len(mixtures.weights), flat.means, flat.covs)
