"""The maximum of a model's likelihood, with errors from its curvature: a quick look.

    Cov(z) = [−∂² ln L/∂z²]⁻¹,    Cov(θ) = J Cov(z) Jᵀ,   J = ∂θ/∂z

in undescribed space z, where every point is within the prior's bounds; its density plays no part.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PRNGKeyArray

from jaxcluster.density.keys import as_key
from jaxcluster.inference.climb import differences
from jaxcluster.inference.compile import Stopwatch
from jaxcluster.inference.finish import as_rows, require_finite
from jaxcluster.inference.flat import Flat
from jaxcluster.inference.model import Model, Parameters

STEP = 1e-4  # of z, for derivatives
FLAT = 1e-10  # of the largest curvature: as good as none, and no matrix to invert
FAR = 6.0  # |z| in an interval: Φ(−6) = 10⁻⁹ of it from a bound


class Maximum(NamedTuple):
    """The most likely parameters."""

    log_likelihood: float
    parameters: dict[str, np.ndarray]  # those of the prior, and what `derived` makes of them
    errors: dict[str, np.ndarray]  # standard deviations; NaN where ln L does not fall off
    at_bound: list[str]  # parameters whose maximum is a bound of their prior
    agree: int  # of the starts came within 0.01 of the highest ln L


def maximum_likelihood(
    model: Model,
    *,
    key: PRNGKeyArray | int = 0,
    search: int = 300,
    starts: int = 6,
    derived: Callable[[Parameters], dict[str, Array]] | None = None,
) -> Maximum:
    """Climb with BFGS from the best of many prior draws; the highest end wins.

    A parameter of which ln L knows nothing at the maximum (the angle of a circle) has no error,
    and takes those of the others with it: fix it in the model.

    Args:
        model: likelihood, and a prior whose support bounds it.
        key: random key or seed of the draws.
        search: prior draws to look at.
        starts: the best of them, to climb from.
        derived: parameters → more numbers by name, to have errors of too.

    Raises:
        ValueError: from `Flat`, or where no prior draw has a finite likelihood.
    """
    from scipy.optimize import minimize

    flat, watch = Flat(model), Stopwatch()
    keys = jax.random.split(as_key(key), search)
    rows, unravel = as_rows(watch.compile(jax.vmap(flat.draw), keys)(keys))

    slope = watch.compile(
        jax.value_and_grad(lambda row: -flat.log_likelihood(unravel(row))), rows[0]
    )

    def objective(row):
        value, gradient = slope(row)
        return float(np.nan_to_num(value, nan=1e30, posinf=1e30)), np.nan_to_num(gradient)

    values = np.array([objective(row)[0] for row in rows])
    require_finite(np.where(values < 1e30, values, np.nan))
    ends = [
        minimize(objective, row, jac=True, method="BFGS", options={"gtol": 1e-6})
        for row in rows[np.argsort(values)[:starts]]
    ]
    top = min(ends, key=lambda end: end.fun)

    def values_at(row):
        parameters = flat.parameters(unravel(row))
        return {**parameters, **(derived(parameters) if derived else {})}

    describe = watch.compile(values_at, top.x)
    parameters = describe(top.x)
    _, rebuild = ravel_pytree(parameters)
    # differences: what second derivatives take to compile is many times the rest
    at, steps = top.x[None], np.full((1, len(top.x)), STEP)
    hessian, jacobian = (
        differences(lambda rows, f=f: np.stack([f(row) for row in rows]), at, steps)[0].T
        for f in (lambda row: objective(row)[1], lambda row: ravel_pytree(describe(row))[0])
    )
    errors, hessian = np.full(len(jacobian), np.nan), 0.5 * (hessian + hessian.T)
    curvatures = np.linalg.eigvalsh(hessian)
    if curvatures[0] > FLAT * curvatures[-1]:
        errors = np.sqrt(np.einsum("ai,ij,aj->a", jacobian, np.linalg.inv(hessian), jacobian))
    z = unravel(top.x)
    return Maximum(
        log_likelihood=-float(top.fun),
        parameters=jax.tree.map(np.asarray, parameters),
        errors=jax.tree.map(np.asarray, rebuild(jnp.asarray(errors))),
        at_bound=[n for n in flat.bijections if np.abs(z[n]).max() > FAR],
        agree=sum(end.fun < top.fun + 0.01 for end in ends),
    )
