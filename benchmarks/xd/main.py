"""Extreme deconvolution: time of a pass, passes needed, memory, and the path of Bovy's code.

python -m benchmarks.xd.main pass       CPU seconds per EM pass beside astroML and pygmmis
python -m benchmarks.xd.main converge   ln L against passes: L-BFGS, SQUAREM and EM
python -m benchmarks.xd.main memory     peak memory of a process that fits 10⁶ stars
python -m benchmarks.xd.main bovy       against what Bovy's code reaches from the same start
"""

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

import jaxcluster as jc
from benchmarks.shared import REFERENCE as FOLDER
from benchmarks.shared import timed
from jaxcluster import xd
from jaxcluster.xd.ascent import METHODS

REFERENCE = FOLDER / "xd_gaia_like_1e4.npz"
K = 10
NAMES = ("weights", "means", "covs")
BARS = {3: 0.045, 5: 0.12}  # CPU seconds a pass
BOVY = {3: 0.58, 5: 1.16}  # of his C code, from the reference's README
CLOSE = 1e-4  # per star


def mixture(which: str, d: int = 3) -> tuple[np.ndarray, ...]:
    """Weights, means and covariances of the reference: "bovy", what he fitted, or "init".

    In 5-d every component has two more coordinates, independent of the others, whose width and
    place differ from component to component; the start has them half as wide again.
    """
    weights, means, covs = (np.load(REFERENCE)[f"{which}_{name}"] for name in NAMES)
    if d > 3:
        wider = 1.0 if which == "bovy" else 1.5
        means = np.c_[means, np.linspace(-1, 1, K), np.linspace(1, -1, K) ** 2]
        width = wider * np.linspace(0.2, 0.8, K)
        more = np.zeros((K, 5, 5))
        more[:, :3, :3] = covs
        more[:, 3, 3], more[:, 4, 4] = width**2, width[::-1] ** 2
        covs = more
    return weights / weights.sum(), means, covs


def simulated(n: int, d: int = 3, seed: int = 0, chunk: int = 50_000):
    """Positions and noise of n stars of the fitted mixture, noise drawn from the stored stars'.

    The noise of the 5-d stars' further coordinates is 0.05 to 0.2.
    """
    rng = np.random.default_rng(seed)
    weights, means, covs = mixture("bovy", d)
    stored = np.load(REFERENCE)["noise"]
    x, noise = np.empty((n, d)), np.zeros((n, d, d))
    for start in range(0, n, chunk):
        part = slice(start, min(n, start + chunk))
        number = part.stop - start
        noise[part, :3, :3] = stored[rng.integers(0, len(stored), number)]
        for a in range(3, d):
            noise[part, a, a] = rng.uniform(0.05, 0.2, number) ** 2
        label = rng.choice(K, number, p=weights)
        root = np.linalg.cholesky(covs[label] + noise[part])
        x[part] = means[label] + np.einsum("nij,nj->ni", root, rng.normal(size=(number, d)))
    return x, noise


def stars_of(x, noise) -> jc.Stars:
    return jc.Stars(x, noise, tuple(f"c{a}" for a in range(x.shape[1])))


def begin(d: int = 3) -> jc.GaussianMixture:
    return jc.GaussianMixture(*(jnp.asarray(a) for a in mixture("init", d)))


def fit(stars: jc.Stars, passes: int, method: str, **options) -> xd.Fit:
    return xd.fit(
        stars,
        K,
        key=jax.random.key(0),
        init=begin(stars.x.shape[1]),
        method=method,
        max_passes=passes,
        tolerance=0.0,
        **options,
    )


def best_of(repeats: int, function: Callable[[], object]) -> float:
    """Least CPU time of a call [s]."""
    return float(timed(function, calls=repeats).min())


def ours(stars: jc.Stars, method: str, pairs, few: int = 5, many: int = 45) -> tuple[float, float]:
    """CPU seconds a pass, the difference between `many` and `few`, and those of the first call."""
    first = best_of(1, lambda: fit(stars, few, method, pairs=pairs))
    less, more = (best_of(5, lambda n=n: fit(stars, n, method, pairs=pairs)) for n in (few, many))
    return (more - less) / (many - few), first - less


def astroml(x, noise, d: int, share: int = 5) -> float:
    """Its step without the likelihood, on a fifth of the stars, times five: a loop over pairs."""
    from astroML.density_estimation import XDGMM

    model = XDGMM(K)
    model.alpha, model.mu, model.V = mixture("init", d)
    part = slice(None, None, share)
    return share * best_of(1, lambda: model._EMstep(x[part], noise[part]))


def pygmmis(x, noise, d: int) -> float:
    """Its step in this process: copies to and from the workers of its pool are not counted."""
    import pygmmis as peer

    def starmap(function, arguments, *more, **_):
        return [function(*each, *more) for each in arguments]

    peer.parmap = SimpleNamespace(starmap=starmap)
    model = peer.GMM(K, d)
    model.amp[:], model.mean[:], model.covar[:] = mixture("init", d)
    everything = {"amp": slice(None), "mean": slice(None), "covar": slice(None)}

    def step():
        log_p, U, T_inv = [[] for _ in range(K)], [None] * K, [None] * K
        peer._EMstep(
            model, log_p, U, T_inv, np.zeros(len(x)), len(x), x, noise, changeable=everything
        )

    return best_of(2, step)


def one_pass() -> None:
    print(f"jax {jax.__version__}, CPU seconds a pass, 10⁵ stars, {K} components")
    for d in (3, 5):
        x, noise = simulated(100_000, d)
        stars, float64 = stars_of(x, noise), 0.0
        for method, pairs in (("em", None), ("em", jnp.float32), ("lbfgs", None)):
            seconds, first = ours(stars, method, pairs)
            float64 = float64 or seconds
            name = "float64" if pairs is None else "float32"
            bar = f"bar {BARS[d]}: {'met' if seconds <= BARS[d] else 'MISSED'}"
            print(f"{d}-d {method} {name}: {seconds:.4f}, compiling {first:.1f}, {bar}", flush=True)
        for peer in (pygmmis, astroml):
            try:
                seconds = peer(x, noise, d)
            except ImportError as error:
                print(f"{d}-d {peer.__name__}: absent ({error})")
                continue
            print(f"{d}-d {peer.__name__}: {seconds:.2f}, {seconds / float64:.0f} ×", flush=True)
        print(f"{d}-d Bovy's C: {BOVY[d]}, {BOVY[d] / float64:.0f} × (quoted, not measured here)")


def passes_to(stars: jc.Stars, method: str, level: float, most: int) -> str:
    """Fewest passes that reach mean ln L = `level`, by doubling and bisection: it never falls."""

    def reached(passes: int) -> bool:
        return fit(stars, passes, method).mean_log_likelihood >= level

    high = 8
    while not reached(min(high, most)):
        if high >= most:
            return f"> {most}"
        high *= 2
    low, high = high // 2, min(high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return str(high)


def converge() -> None:
    ref = np.load(REFERENCE)
    problems = {"10⁴, reference": (ref["x"], ref["noise"]), "10⁵, simulated": simulated(100_000)}
    print("stars | method | mean ln L after 100 | 1000 passes | passes to within 1e-4 per star of")
    print("  | what the best has after 100 | its own end | the best end")
    for name, arrays in problems.items():
        stars = stars_of(*arrays)
        after, end = (
            {m: fit(stars, n, m).mean_log_likelihood for m in METHODS} for n in (100, 1000)
        )
        for m in after:
            levels = [max(after.values()), end[m], max(end.values())]
            counts = [passes_to(stars, m, level - CLOSE, 1000) for level in levels]
            line = [name, m, f"{after[m]:.6f}", f"{end[m]:.6f}", *counts]
            print(" | ".join(line), flush=True)
        short = max(after.values()) - after["lbfgs"]
        print(f"lbfgs after 100 passes: {short:.1e} below the best after 100; bar {CLOSE}")


def resident() -> float:
    """Peak of this process so far [GB]."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6 * 1.024


def memory_of_this_process(n: int, passes: int) -> None:
    jnp.zeros(3).block_until_ready()
    print(f"before the data {resident():.2f} GB", flush=True)
    stars = stars_of(*simulated(n))
    print(f"with the data {resident():.2f} GB", flush=True)
    start = time.process_time()
    found = fit(stars, passes, "lbfgs")
    print(
        f"{n} stars, {passes} passes: peak {resident():.2f} GB (bar 0.6), mean ln L "
        f"{found.mean_log_likelihood:.4f}, {time.process_time() - start:.1f} CPU s"
    )


def bovy() -> None:
    ref = np.load(REFERENCE)
    stars = stars_of(ref["x"], ref["noise"])
    reported = {82: -5.196706249231, 83: -5.196696714280542}
    for passes, expected in reported.items():
        found = fit(stars, passes, "em")
        off = found.mean_log_likelihood - expected
        print(f"{passes} updates: mean ln L {found.mean_log_likelihood:.12f}, ours − his {off:.0e}")
    for name in NAMES:
        off = np.abs(np.asarray(getattr(found.mixture, name)) - ref[f"bovy_{name}"]).max()
        print(f"{name} after 83: largest difference {off:.0e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("pass", "converge", "memory", "bovy"))
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not REFERENCE.exists():
        sys.exit(f"{REFERENCE} is absent: it holds the stars and the start")
    if arguments.command == "memory" and not arguments.inside:
        again = [sys.executable, "-m", "benchmarks.xd.main", "memory", "--inside"]
        subprocess.run(again, check=True)
    elif arguments.command == "memory":
        memory_of_this_process(1_000_000, 20)
    else:
        {"pass": one_pass, "converge": converge, "bovy": bovy}[arguments.command]()


if __name__ == "__main__":
    main()
