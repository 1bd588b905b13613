"""Extreme deconvolution with errors: a Gaussian mixture, blurred by each star's noise, and a prior.

    p(x_i | θ) = Σ_k w_k N(x_i | μ_k, V_k + S_i)          (Bovy, Hogg & Roweis 2011, eq. 4)
    V_k,ab = s_ka C_k,ab s_kb

`jaxcluster.xd.fit` gives the most likely mixture; sampled with `nuts`, its parameters have errors,
among them the cluster's mean and intrinsic dispersion. For few components: k (d + 1)(d + 2)/2 − 1
parameters. From the command line

    jaxcluster fit xd_membership FIELD.parquet --columns pmra,pmdec,parallax --set k=3

The prior, weak and equal for all components, in the units of the columns (c median, σ standard
deviation of the sample in each column):

    w ~ Dirichlet(1, …, 1)                    all weights alike
    μ_ka ~ Normal(c_a, σ_a)
    s_ka ~ HalfCauchy(σ_a)                    flat below σ_a (Gelman 2006)
    C_k ~ LKJ(1)                              all correlations alike (Lewandowski et al. 2009)

Such a posterior has k! equal modes, which differ by the order of the components. They are named by
the order of the start and not by the prior: the chains begin at the EM solution, and components
that are well apart never change places in a run of finite length. Where components overlap they
may: look at the traces, or take fewer. For the same reason this is for `nuts`; `importance` and
`nested` take no notice of the start, and the evidence that they find counts all orders.
"""

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import LKJ, Dirichlet, HalfCauchy, Normal

import jaxcluster as jc
from jaxcluster import xd

LEAST_EIGENVALUE = 0.01  # of a correlation matrix to start from: EM goes to the edge of what is
LEAST_DISPERSION = 0.1  # to start from, in units of the smallest error of the column


def build(stars, *, mixture=None, k=2, key=None, prior=None):
    """Return the model of `stars`, which starts at the EM solution.

    Parameters of the posterior, components in order of their differential entropy
    ½ ln |2πe V_k| in the EM solution, the most compact one first: component 0 is the cluster.

    - ``weight`` [k]: share of the stars.
    - ``mean`` [k, d]: μ_k, in the units of the columns.
    - ``dispersion`` [k, d]: s_k, intrinsic standard deviations in the units of the columns.
    - ``correlation`` [k, d, d]: C_k, intrinsic correlations; absent for one column.

    Look whether component 0 is the cluster: `xd.fit` may miss one of few stars, and component 0 is
    a part of the field then. Give as `mixture` what `xd.fit` makes of an `init` that has a
    component where the literature puts the cluster.

    Component 0 is the mixture's first part, so that the posterior's memberships are those of it.

    Args:
        stars: the sample, any columns, for instance (pmra, pmdec, parallax); no coordinate missing.
        mixture: a `GaussianMixture` to start from and to name the components by; by default that
            of `xd.fit`.
        k: components, where there is no `mixture`.
        key: random key of the starts of `xd.fit`; `jax.random.key(0)` by default.
        prior: replaces distributions by the names above, for instance
            {"dispersion": HalfNormal(0.5)}; expanded to the parameter's shape.

    Raises:
        ValueError: a missing coordinate, a column without spread, a mixture of other columns, or a
            prior of an unknown name or of a shape that does not fit.
    """
    x = np.asarray(stars.x)
    if count := int((~np.isfinite(x)).any(axis=1).sum()):
        raise ValueError(
            f"x: {count} of {len(x)} stars have a coordinate that is NaN or infinite; expected "
            "numbers, so drop those stars"
        )
    centre, width = np.median(x, axis=0), x.std(axis=0)
    if not (width > 0).all():
        flat = [c for c, w in zip(stars.columns, width, strict=True) if not w > 0]
        raise ValueError(f"x: all stars have the same {', '.join(flat)}; leave the column out")
    if mixture is None:
        mixture = xd.fit(stars, k, key=jax.random.key(0) if key is None else key).mixture
    k, d = mixture.means.shape
    if d != x.shape[1]:
        raise ValueError(
            f"mixture: expected components of {x.shape[1]} columns {stars.columns}, found means of "
            f"shape {(k, d)}"
        )
    default = {
        "weight": Dirichlet(jnp.ones(k)),
        "mean": Normal(jnp.asarray(centre), jnp.asarray(width)),
        "dispersion": HalfCauchy(jnp.asarray(width)),
        "correlation": LKJ(d, 1.0) if d > 1 else None,
    }
    start = _start(stars, mixture, width)
    given = dict(prior or {})
    if unknown := set(given) - set(start):
        raise ValueError(f"prior: expected any of {list(start)}, found {sorted(unknown)}")
    support = {n: default[n].support for n in given if default[n] is not None}
    chosen = default | {n: jc.supported(n, given[n], support.get(n)) for n in given}
    return jc.Model(
        {n: _expanded(n, chosen[n], a.shape) for n, a in start.items()},
        density,
        stars,
        start=start,
    )


def density(parameters):
    """Return the `GaussianMixture` of one draw of the parameters, as in `build`."""
    scale = parameters["dispersion"]
    covs = scale[:, :, None] * scale[:, None, :]
    if "correlation" in parameters:
        covs = covs * parameters["correlation"]
    weights = parameters["weight"]
    return jc.GaussianMixture(weights / weights.sum(), parameters["mean"], covs)


def _start(stars, mixture, width):
    """Parameters of a mixture, components by entropy; those at an edge of the prior moved off it.

    A dispersion that EM finds to be zero has a posterior up to the noise, a correlation of such
    ones has any value, and a component that has died a weight of less than a star's.
    """
    (k, d), n = mixture.means.shape, len(stars)
    covs = np.broadcast_to(np.asarray(mixture.covs), (k, d, d))
    order = np.argsort(np.linalg.slogdet(covs)[1], kind="stable")
    weight = np.maximum(np.asarray(mixture.weights), 0.5 / n)[order]
    scale = np.sqrt(np.diagonal(covs, axis1=1, axis2=2))
    smallest = np.sqrt(np.diagonal(np.asarray(stars.noise), axis1=1, axis2=2).min(axis=0))
    floor = np.maximum(LEAST_DISPERSION * smallest, 1e-6 * width)
    start = {
        "weight": weight / weight.sum(),
        "mean": np.asarray(mixture.means)[order],
        "dispersion": np.maximum(scale, floor)[order],
    }
    if d > 1:
        correlation = covs / (scale[:, :, None] * scale[:, None, :])
        values, vectors = np.linalg.eigh(correlation)
        raised = (vectors * np.maximum(values, LEAST_EIGENVALUE)[:, None]) @ vectors.mT
        size = np.sqrt(np.diagonal(raised, axis1=1, axis2=2))
        raised = raised / (size[:, :, None] * size[:, None, :])
        inside = values[:, :1, None] >= LEAST_EIGENVALUE
        start["correlation"] = np.where(inside, correlation, raised)[order]
    return {name: jnp.asarray(value) for name, value in start.items()}


def _expanded(name, distribution, shape):
    """Distribution of an array of this shape, from one that broadcasts to it."""
    event = distribution.event_dim
    batch = shape[: len(shape) - event]
    try:
        expanded = distribution.expand(batch) if distribution.batch_shape != batch else distribution
        if expanded.shape() != shape:
            raise ValueError
    except ValueError:
        raise ValueError(
            f"prior of {name}: expected a distribution that broadcasts to shape {shape}, found "
            f"{distribution.shape()}"
        ) from None
    return expanded
