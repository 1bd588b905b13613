"""Priors as users give them: as numpyro distributions or as text, and where a parameter can be.

A prior that reaches to where its parameter means nothing (a negative share of binaries) would not
fail: the likelihood is a number there too, and the evidence a wrong one. So each model says where
its parameters can be, and `supported` asks before anything is sampled.
"""

import ast
from collections.abc import Mapping
from inspect import signature
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as distributions
from numpyro.distributions import (
    Distribution,
    ExpandedDistribution,
    Independent,
    Normal,
    TruncatedNormal,
    Uniform,
)
from numpyro.distributions.constraints import Constraint
from numpyro.distributions.truncated import (
    LeftTruncatedDistribution,
    RightTruncatedDistribution,
    TwoSidedTruncatedDistribution,
)

Prior = Distribution | str
TRUNCATED = (LeftTruncatedDistribution, RightTruncatedDistribution, TwoSidedTruncatedDistribution)
DRAWS = 10_000  # that a prior is judged by
MOST_OUTSIDE = 0.9  # of a normal prior that is cut off


def from_text(text: str) -> Distribution:
    """Read a numpyro distribution of numbers; nothing is evaluated.

    Args:
        text: such as "Normal(9.7, 0.1)".

    Raises:
        ValueError: anything else.

    Example:
        >>> from_text("Uniform(0, 1)").high  # doctest: +SKIP
    """
    likely = (AttributeError, RuntimeError, SyntaxError, ValueError, TypeError)
    try:
        call = ast.parse(text.strip(), mode="eval").body
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
            raise ValueError(text)
        kind = getattr(distributions, call.func.id)
        _require_all(kind, call)
        prior = kind(
            *(float(ast.literal_eval(a)) for a in call.args),
            **{k.arg: float(ast.literal_eval(k.value)) for k in call.keywords if k.arg},
            validate_args=True,
        )
        prior.sample(jax.random.key(0))  # a base class cannot
        return prior
    except (*likely, MemoryError, RecursionError) as error:  # of brackets in hundreds of brackets
        shown = text if len(text) <= 60 else f"{text[:60]}…"
        raise ValueError(
            f"{shown!r}: expected a numpyro distribution of numbers, such as Normal(9.7,0.1) or "
            "Uniform(0,1)"
        ) from error


def _require_all(kind, call: ast.Call) -> None:
    """Refuse a call that leaves a number to numpyro: "Uniform(0.2)" would end at 1."""
    named = [keyword.arg for keyword in call.keywords]
    for name, parameter in list(signature(kind).parameters.items())[len(call.args) :]:
        if isinstance(parameter.default, float) and name not in named:
            raise ValueError(f"no {name}")


def supported(name: str, prior: Prior, support: Constraint | None = None) -> Distribution:
    """Return a prior that is nowhere but where its parameter can be.

    A normal one that reaches beyond is cut off there, as `TruncatedNormal`.

    Args:
        name: of the parameter, for messages.
        prior: a distribution, or its text.
        support: where the parameter can be; anywhere by default.

    Raises:
        ValueError: text that is no distribution, a prior that has no width or gives no numbers, or
            one that is elsewhere.
    """
    try:
        prior = from_text(prior) if isinstance(prior, str) else prior
    except ValueError as error:
        raise ValueError(f"prior of {name}: {error}") from error
    low, high = _ends(prior.support)
    if low is not None and high is not None and not np.all(np.asarray(low) < np.asarray(high)):
        raise ValueError(
            f"prior of {name}: {describe(prior)} has no width, or its ends the wrong way round; "
            "expected (low, high) with low < high"
        )
    draws = prior.sample(jax.random.key(0), (DRAWS,))
    if not np.isfinite(draws).all():
        raise ValueError(
            f"prior of {name}: {describe(prior)} gives values that are no numbers; expected "
            "finite arguments"
        )
    if support is None:
        return prior
    outside = 1.0 - float(np.mean(np.asarray(support(draws))))
    if outside == 0:
        return prior
    low, high = _ends(support)
    if type(prior) is Normal and prior.shape() == () and outside < MOST_OUTSIDE:
        moments: Any = prior.loc, prior.scale
        return TruncatedNormal(*moments, low=low, high=high)
    ends = f"{-np.inf if low is None else low:g} to {np.inf if high is None else high:g}"
    if low is None and high is None:
        ends = type(support).__name__.strip("_").replace("_", " ")
    raise ValueError(
        f"prior of {name}: {100 * outside:.2g} % of {describe(prior)} is where {name} cannot be; "
        f"expected {ends}, so narrow it, or cut it off: TruncatedNormal(…, low=…, high=…)"
    )


def within(
    prior: Mapping[str, Distribution],
    bounds: Mapping[str, tuple[float, float]],
    given: Mapping[str, Prior] | None = None,
    support: Mapping[str, Constraint] | None = None,
) -> tuple[dict[str, Distribution], dict[str, float]]:
    """Fit a prior to what its parameters can be and to what a table covers.

    Uniform defaults are narrowed to the bounds; a parameter whose bounds are one value (a single
    isochrone) is fixed there.

    Args:
        prior: the defaults by parameter name.
        bounds: (lowest, highest) value of some of the parameters, in a table.
        given: replaces or adds to the defaults; distributions or their texts.
        support: where parameters can be, of some of them.

    Returns:
        The prior, and the fixed parameters.

    Raises:
        ValueError: from `supported`, or a default that lies outside of the bounds altogether.
    """
    given, support = given or {}, support or {}
    asked = {n: supported(n, p, support.get(n)) for n, p in given.items()}
    merged, fixed = {**prior, **asked}, {}
    for name, (low, high) in bounds.items():
        distribution = merged.get(name)
        if low == high and name not in given:
            fixed[name] = low
            merged.pop(name, None)
        elif isinstance(distribution, Uniform):
            start, stop = map(float, _arguments(distribution))  # low, high
            if (name in given and (start < low or stop > high)) or start >= high or stop <= low:
                raise ValueError(
                    f"prior of {name}: {describe(distribution)} reaches beyond the isochrones, "
                    f"which cover {low:g} to {high:g}; narrow it or use another grid"
                )
            merged[name] = Uniform(max(start, low), min(stop, high))
        elif distribution is not None and low < high:
            inside = distributions.constraints.interval(low, high)
            merged[name] = supported(name, distribution, inside)
    return merged, fixed


def describe(prior: Distribution) -> str:
    """Write a numpyro distribution the way it is typed: Uniform(6.2,10.15), Normal([0,1],[3,3]).

    Matrices are left out.
    """
    while isinstance(prior, ExpandedDistribution | Independent):
        prior = prior.base_dist
    if isinstance(prior, TRUNCATED):
        base: Any = prior.base_dist
        ends = zip(("low", "high"), _ends(prior.support), strict=True)
        cut = "".join(f",{name}={_typed(end)}" for name, end in ends if end is not None)
        return f"Truncated{type(base).__name__}({_typed(base.loc)},{_typed(base.scale)}{cut})"
    values = [_typed(v) for v in _arguments(prior) if jnp.ndim(v) < 2]
    return f"{type(prior).__name__}({','.join(values)})"


def _typed(value) -> str:
    if jnp.ndim(value) == 0:
        return f"{float(value):.6g}"
    return f"[{','.join(_typed(v) for v in value)}]"


def _arguments(prior):
    return [getattr(prior, name) for name in prior.arg_constraints if hasattr(prior, name)]


def _ends(support):
    """Lower and upper end of an interval, None where it has none."""
    support = getattr(support, "base_constraint", support)
    return getattr(support, "lower_bound", None), getattr(support, "upper_bound", None)
