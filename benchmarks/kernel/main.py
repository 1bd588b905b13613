"""Time of the kernel: value and gradient, dense and local, in either precision.

`python -m benchmarks.kernel.main [--quick]` measures n stars on a bent sequence of nine magnitudes,
with errors of 0.003 to 0.03 mag, against k cells in order along it, as many as NGC 2682 has:

    dense   `log_density`, all pairs          local   `log_density_local`, pairs within reach
    value   Σ ln(field + p)                   +grad   its value and gradient by x, S, w, μ and V

in milliseconds, medians of calls that follow a first one (which compiles, and is timed apart), all
in turn in one process: figures in one line compare. `peer` is the value and gradient of the same
sum by plain autodiff of numpyro's `MixtureSameFamily` of `MultivariateNormal`, over the dense
kernel's, where its n × k arrays fit in memory. `|Δ|` is the largest difference in ln(field + p) of
one star, local in this precision against dense in float64.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from benchmarks.shared import state
from jaxcluster.density.gaussian import log_density
from jaxcluster.density.local import log_density_local

FIELD = 0.05 / 20  # of the diagram's size, as in every model
PEER_PAIRS = 700_000  # some 100 bytes a pair and array, a few dozen arrays


def sequence(n: int, k: int) -> tuple[jax.Array, ...]:
    rng = np.random.default_rng(1)

    def on_it(t):
        return np.c_[9.0 + 9.0 * t, 0.4 + 1.5 * t**2]

    x = on_it(rng.uniform(0, 1, n)) + rng.normal(0, 0.05, (n, 2))
    errors = 10 ** rng.uniform(-2.5, -1.5, (n, 1, 1))
    along = np.array([4.5, 1.0]) / k
    covs = np.outer(along, along) + 4e-4 * np.eye(2)
    arrays = (
        x[np.argsort(x[:, 0])],
        errors**2 * np.diag([1.0, 2.0]),
        np.full(k, 1.0 / k),
        on_it(np.linspace(0, 1, k)),
        np.broadcast_to(covs, (k, 2, 2)),
    )
    return tuple(jnp.asarray(a) for a in arrays)


def numpyro_density(x, noise, weights, means, covs):
    def one(a, s):
        parts = dist.MultivariateNormal(means, covs + s)
        return dist.MixtureSameFamily(dist.Categorical(probs=weights), parts).log_prob(a)

    return jax.vmap(one)(x, noise)


def measured(function: Callable, arguments: Any, calls: int) -> tuple[float, float]:
    """Median time of a call, and the time of the first [ms]."""
    times = []
    for _ in range(1 + calls):
        start = time.perf_counter()
        jax.block_until_ready(function(arguments))
        times.append(1e3 * (time.perf_counter() - start))
    return float(np.median(times[1:])), times[0]


def with_field(density: Callable, **options) -> Callable:
    def each(arguments):
        return jnp.logaddexp(jnp.log(FIELD), jnp.log(0.95) + density(*arguments, **options))

    return each


def large(n: int, k: int) -> str:
    """Float32 values only: a dense gradient would take a minute."""
    arguments = sequence(n, k)
    found = []
    for density in (log_density, log_density_local):
        each = with_field(density, pairs=jnp.float32)
        function = jax.jit(lambda a, e=each: e(a).sum())
        found.append(measured(function, arguments, 3)[0])
    return (
        f"{n} | {k} | float32 | {found[0]:.0f} | – | {found[1]:.1f} | – | {found[0] / found[1]:.0f}"
    )


def line(n: int, k: int, name: str, calls: int) -> str:
    pairs = jnp.dtype(name)
    arguments = sequence(n, k)
    dense = with_field(log_density, pairs=pairs)
    local = with_field(log_density_local, pairs=pairs)
    exact = jax.jit(with_field(log_density))(arguments)
    difference = float(jnp.abs(jax.jit(local)(arguments) - exact).max())
    found, first = [], 0.0
    for each in (dense, local):
        for function in (
            jax.jit(lambda a, e=each: e(a).sum()),
            jax.jit(jax.value_and_grad(lambda a, e=each: e(a).sum())),
        ):
            median, compiled = measured(function, arguments, calls)
            found.append(median)
            first += compiled
    peer = "–"
    if n * k <= PEER_PAIRS:
        # the pairs' precision throughout: the peer has no mixed one
        same = tuple(a.astype(pairs) for a in arguments)
        autodiff = jax.jit(jax.value_and_grad(lambda a: with_field(numpyro_density)(a).sum()))
        peer = f"{measured(autodiff, same, max(3, calls // 3))[0] / found[1]:.0f}"
    cells = [n, k, name, *(f"{t:.2f}" for t in found), f"{1e-6 * n * k / found[0]:.2f}"]
    cells += [f"{found[1] / found[0]:.1f}", f"{found[3] / found[2]:.1f}", peer]
    return " | ".join(str(c) for c in [*cells, f"{difference:.0e}", f"{first / 1e3:.1f}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="without n = 10 000 and 100 000")
    quick = parser.parse_args().quick
    print(state())
    print(
        "n | k | pairs | dense value | dense +grad | local value | local +grad | 10⁹ pairs/s dense"
    )
    print("  | grad/value dense | local | peer/dense +grad | |Δ| | first calls [s]")
    for n in (100, 1228) if quick else (100, 1228, 10_000):
        for k in (500, 5760):
            for name in ("float32", "float64"):
                print(line(n, k, name, 9 if n > 5000 else 25), flush=True)
    if not quick:
        print("n | k | pairs | dense value | – | local value | – | ratio")
        print(large(100_000, 5760))


if __name__ == "__main__":
    main()
