"""Time of the kernel: value and gradient, dense and local, in either precision.

`python benchmarks/kernel.py [--quick]` measures n stars on a bent sequence of nine magnitudes, with
errors of 0.003 to 0.03 mag, against k cells in order along it (as many as NGC 2682's fit has):

    dense   `log_density`, all pairs          local   `log_density_local`, pairs within reach
    value   Σ ln(field + p)                   +grad   its value and gradient by x, S, w, μ and V

in milliseconds, medians of calls that follow a first one (which compiles, and is timed apart), all
in turn in one process: figures in one line compare. `peer` is the value and gradient of the same
sum by plain autodiff of numpyro's `MixtureSameFamily` of `MultivariateNormal`, over the dense
kernel's, where its n × k arrays fit in memory. `|Δ|` is the largest difference in ln(field + p) of
one star, local in this precision against dense in float64.

On one core of an EPYC, the other busy, jax 0.10.2, 2026-11-22:

        n     k  pairs    dense   +grad   local   +grad  10⁹/s  ratio: dense  local  peer    |Δ|
      100   500  float32    0.20    0.70    0.09    0.45   0.25           3.5    4.8    34  4e-06
      100   500  float64    0.37    1.51    0.11    0.55   0.13           4.0    5.2    16  2e-13
      100  5760  float32    1.60    7.14    0.30    2.49   0.36           4.5    8.3    36  4e-06
      100  5760  float64    3.76   11.37    0.60    4.04   0.15           3.0    6.7    32  1e-13
     1228   500  float32    1.56    6.03    0.22    1.38   0.39           3.9    6.2    47  8e-06
     1228   500  float64    3.96   12.58    0.48    3.31   0.15           3.2    6.9    32  2e-13
     1228  5760  float32   27.96   80.04    1.08    7.20   0.25           2.9    6.6     –  1e-05
     1228  5760  float64   38.40  128.40    1.93   20.14   0.18           3.3   10.4     –  2e-15
    10000   500  float32   11.97   36.14    0.99    6.64   0.42           3.0    6.7     –  3e-05
    10000   500  float64   25.79   75.57    2.19   13.71   0.19           2.9    6.3     –  2e-13
    10000  5760  float32  165.32  660.99    9.15   59.20   0.35           4.0    6.5     –  2e-05
    10000  5760  float64  332.90 1160.61   13.47  111.48   0.17           3.5    8.3     –  2e-15
   100000  5760  float32    1888     –     132       –      –             –      –     –      –

Skipping pairs makes a value 2 to 26 times faster, a value and gradient 2 to 11 times. The gradient,
here by all arguments, costs 5 to 10 local values; models need it by w, μ and V only, one of the two
passes (`benchmarks/ngc2682.py cost`). Compiling the functions of a line takes 9 to 13 s.
"""

import argparse
import os
import platform
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

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
    jax.config.update("jax_enable_x64", True)
    print(f"{os.cpu_count()} cores, {platform.machine()}, jax {jax.__version__}")
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
