"""`jaxcluster check`: what this machine runs, whether it computes rightly, and what to cite."""

import time

import jax
import jax.numpy as jnp
import numpy as np

CITE = (
    "PARSEC isochrones: Bressan et al. (2012), MNRAS 427, 127; Chen et al. (2014, 2015); Tang et "
    "al. (2014). MIST isochrones and bolometric corrections: Choi et al. (2016), ApJ 823, 102; "
    "Dotter (2016), ApJS 222, 8; Paxton et al. (2011, 2013, 2015). Model: Li & Shao (2022), ApJ "
    "930, 44; Li, Li & Shao (2025). Nested slice sampling: Yallup, Kroupa & Handley (2026). Gaia "
    "data: ESA/Gaia/DPAC"
)


def report() -> dict[str, str]:
    """Return device, precision, versions, grids, result of the self-test and citations."""
    from jaxcluster.inference.posterior import versions

    begin = time.monotonic()
    failed = [name for name, test in TESTS.items() if not test()]
    verdict = f"FAILED: {', '.join(failed)}" if failed else f"passed {len(TESTS)} tests"
    return {
        "device": ", ".join(str(device) for device in jax.devices()),
        "precision": "float64" if jnp.zeros(()).dtype == jnp.float64 else "float32",
        "versions": ", ".join(f"{name} {number}" for name, number in versions().items()),
        "grids": _grids(),
        "self_test": f"{verdict} in {time.monotonic() - begin:.0f} s",
        "cite": CITE,
    }


def _grids() -> str:
    from jaxcluster.population.grids import EMBEDDED, load_grid

    lines = []
    for name in EMBEDDED:
        grid = load_grid(name, ("G", "BP", "RP"))
        m, a, e = grid.initial_mass.shape
        lines.append(f"{name} ({m} [M/H] × {a} ages × {e} EEPs)")
    return "; ".join(lines)


def _kernel() -> bool:
    """Two Gaussians against the textbook formula."""
    from jaxcluster.density.gaussian import log_density

    x = jnp.array([[0.3, -0.2]])
    noise, covs = jnp.eye(2)[None] * 0.1, jnp.array([[[1.0, 0.3], [0.3, 2.0]]])
    got = log_density(x, noise, jnp.array([1.0]), jnp.zeros((1, 2)), covs)[0]
    total = np.asarray(covs[0] + noise[0])
    chi2 = np.asarray(x[0]) @ np.linalg.solve(total, np.asarray(x[0]))
    expected = -0.5 * (chi2 + np.log(np.linalg.det(2 * np.pi * total)))
    return bool(abs(got - expected) < 1e-10)


def _equal_pair() -> bool:
    """Two equal stars are 0.7526 mag brighter than one."""
    from jaxcluster.population.cells import brightening

    return bool(abs(brightening(jnp.array(1.0)) - 0.7526) < 1e-4)


def _evidence() -> bool:
    """Nested sampling of a Gaussian with a known evidence."""
    from numpyro.distributions import Uniform

    from jaxcluster.inference.model import Model
    from jaxcluster.inference.nested import nested

    model = Model.from_likelihood(
        {"x": Uniform(-10, 10), "y": Uniform(-10, 10)},
        lambda p: -0.5 * jnp.array([p["x"] ** 2, p["y"] ** 2]),
    )
    found = nested(model, key=0, live=200)
    expected = np.log(2 * np.pi / 400.0)
    assert found.log_evidence is not None
    assert found.log_evidence_error is not None
    return bool(abs(found.log_evidence - expected) < 4 * found.log_evidence_error)


TESTS = {"kernel": _kernel, "equal-mass binary": _equal_pair, "evidence": _evidence}
