"""A device's way: right as the CPU's, and how long its launches take.

    python -m benchmarks.gpu.main [DATA]        the table, on a GPU in under eight minutes
    python -m benchmarks.gpu.main numbers FILE  what it is compared with, from another process
    python -m benchmarks.gpu.main counts        without a GPU: loops and operations of both ways

DATA is a folder with NGC 2682's cluster.parquet and field.parquet and NGC 2323's table as
ngc2323.parquet, which are packed for the machine (`../shared/tools/pack-for-gpu .gpu FILE …`);
without it stars are simulated, and whole commands are left out. Seconds are of the wall. Goals, on
one H100 or H200 (issue 20): 1.5 ms a batch of up to 1000 likelihoods, 2 µs each of 10⁴, 6 µs each
value and gradient of 10³, 0.5 ms an EM pass of 10⁵ stars and 3 ms of 10⁶, NGC 2323's members in
10 s, NGC 2682 whole in 10 s.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import jaxcluster as jc
from benchmarks.shared import between, header, keep_compiled, state, timed
from jaxcluster.density import backend
from jaxcluster.inference.compile import over_chains
from jaxcluster.inference.flat import Flat
from jaxcluster.jobs.model_files import load_model
from jaxcluster.population.simulate import TRUTH, simulate_pair
from jaxcluster.xd.sums import Parameters, observe, sums

LIMITS = (8.0, 18.0)
CELLS = {"n_masses": 226, "n_mass_ratios": 14}  # 3842 cells; 3840 were measured before
BATCHES, GRADIENTS, PASSES = (1, 96, 960, 9600), (16, 96, 960), (100_000, 1_000_000)
CALLS = 7


def model(data: Path | None) -> jc.Model:
    """NGC 2682's, or one of as many simulated stars."""
    if data is None:
        grid = jc.load_grid("parsec", ("G", "BP", "RP"))
        pair = simulate_pair(jax.random.key(0), 1227, 2000, TRUTH, grid, LIMITS)
    else:
        pair = [jc.read_table(data / f"{name}.parquet") for name in ("cluster", "field")]
    stars, field = (between(jc.from_table(table), LIMITS) for table in pair)
    density = jc.fit_field(field, LIMITS, n_stars=len(stars), key=jax.random.key(0))
    return load_model("mimo_cmd")(stars, field=density, limits=LIMITS, **CELLS)


def stars_of_a_pass(n: int) -> tuple:
    """A packed sample and a mixture of ten components in three dimensions."""
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=(n, 3)), np.tile(0.1 * np.eye(3), (n, 1, 1))
    means, covs = jnp.asarray(rng.normal(size=(10, 3))), jnp.tile(jnp.eye(3), (10, 1, 1))
    return observe(x, noise, dtype=jnp.float32), Parameters(jnp.full(10, 0.1), means, covs)


def points(flat: Flat, n: int):
    """Draws from the prior."""
    return jax.vmap(flat.draw)(jax.random.split(jax.random.key(1), n))


def functions(flat: Flat) -> dict:
    """The likelihood, and it with its gradient."""
    return {
        "likelihood": lambda z, _: flat.log_likelihood(z),
        "with gradient": lambda z, _: jax.value_and_grad(flat.potential)(z),
    }


def numbers(data: Path | None) -> dict[str, np.ndarray]:
    """What both ways have to agree on."""
    flat, found = Flat(model(data)), {}
    for name, function in functions(flat).items():
        result = jax.jit(over_chains(function, 48))(points(flat, 48), None)
        found |= {f"{name} {i}": np.asarray(a) for i, a in enumerate(jax.tree.leaves(result))}
    result = jax.jit(sums)(*stars_of_a_pass(20_000))
    return found | {f"pass {i}": np.asarray(a) for i, a in enumerate(jax.tree.leaves(result))}


def check(data: Path | None) -> None:
    """Compare with a process that goes the CPU's way."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "numbers.npz"
        command = [sys.executable, "-m", "benchmarks.gpu.main", "numbers", str(file)]
        cpu = {**os.environ, "JAX_PLATFORMS": "cpu"}
        subprocess.run([*command, *([str(data)] if data else [])], check=True, env=cpu)
        expected = dict(np.load(file))
    row = header("check", "largest difference", "of values up to", first=18)
    for name, found in numbers(data).items():
        apart = np.abs(found - expected[name])
        row(name, f"{np.nanmax(apart):.2g}", f"{np.nanmax(np.abs(expected[name])):.3g}")


def latencies(data: Path | None) -> None:
    """Seconds of the wall a launch."""
    flat = Flat(model(data))
    row = header("what", "of", "compile s", "ms a launch", "µs each", first=16)

    def time_of(name: str, n: int, function, *arguments) -> None:
        begin = time.perf_counter()
        run = jax.jit(function).lower(*arguments).compile()
        jax.block_until_ready(run(*arguments))
        compiling = time.perf_counter() - begin
        seconds = np.median(timed(run, *arguments, calls=CALLS, clock=time.perf_counter))
        row(name, n, f"{compiling:.1f}", f"{1e3 * seconds:.2f}", f"{1e6 * seconds / n:.2f}")

    for (name, function), sizes in zip(functions(flat).items(), (BATCHES, GRADIENTS), strict=True):
        for n in sizes:
            time_of(name, n, over_chains(function, n), points(flat, n), None)
    for n in PASSES:
        time_of("EM pass", n, sums, *stars_of_a_pass(n))


def whole(data: Path) -> None:
    """Whole commands, each twice, as the first compiles."""
    row = header("whole", "first, s", "again, s", "found", first=16)
    jobs = {
        "NGC 2682": lambda: jc.bayes_factor(
            data / "cluster.parquet", data / "field.parquet", limits=LIMITS, key=1
        ),
        "NGC 2323": lambda: jc.find_members(data / "ngc2323.parquet", key=1),
    }
    for name, job in jobs.items():
        seconds = []
        for _ in range(2):
            begin = time.perf_counter()
            found = job()
            seconds.append(f"{time.perf_counter() - begin:.1f}")
        row(name, *seconds, str(found).splitlines()[0])


def counts() -> None:
    """Loops and operations of one likelihood, gradient and pass, both ways."""
    row = header("what", "way", "loops", "in all", "10⁶ operations", "CPU ms", first=16)
    own = jax.default_backend
    for way in ("cpu", "gpu"):
        jax.default_backend = lambda way=way: way  # pyright: ignore[reportAttributeAccessIssue]
        flat = Flat(model(None))
        z = jax.tree.map(lambda a: a[0], points(flat, 1))
        cases = {n: (f, (z, None)) for n, f in functions(flat).items()}
        cases["EM pass of 10⁵"] = (lambda *a: sums(*a), stars_of_a_pass(100_000))
        for name, (function, arguments) in cases.items():
            lowered = jax.jit(function).lower(*arguments)
            text = lowered.as_text()
            loops = len(re.findall(r"stablehlo\.while", text))
            operations = len(re.findall(r"= stablehlo\.", text))
            run = lowered.compile()
            flops = run.cost_analysis()["flops"]
            seconds = np.median(timed(run, *arguments, calls=3))
            row(name, way, loops, operations, f"{flops / 1e6:.1f}", f"{1e3 * seconds:.1f}")
    jax.default_backend = own


def main() -> None:
    """Run what the command line asks for."""
    what, *rest = sys.argv[1:] or [""]
    if what == "numbers":
        np.savez(rest[0], **numbers(Path(rest[1]) if len(rest) > 1 else None))
    elif what == "counts":
        print(state())
        counts()
    else:
        keep_compiled()
        data = Path(what).resolve() if what else None
        print(f"{state()}, {jax.devices()[0].device_kind}, CPU's way: {backend.on_cpu()}")
        check(data)
        latencies(data)
        if data is not None:
            whole(data)


if __name__ == "__main__":
    main()
