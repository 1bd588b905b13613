"""Runs side by side: the numbers of each alone, fewer launches, and errors where they belong."""

from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import norm
from numpyro.distributions import Uniform

import jaxcluster as jc
from jaxcluster.inference.compile import Program, Stopwatch
from jaxcluster.inference.flat import Flat
from jaxcluster.inference.together import Together
from jaxcluster.population.simulate import TRUTH, simulate_pair


def side_by_side(jobs):
    """The jobs' futures, all done."""
    together = Together()

    def run(job):
        with together.joined():
            return job()

    with ThreadPoolExecutor(len(jobs)) as pool:
        futures = [pool.submit(run, job) for job in jobs]
    return futures


def model(centre: float) -> jc.Model:
    data = jnp.asarray(centre + np.random.default_rng(0).normal(size=20))
    prior = {"mean": Uniform(-10.0, 10.0), "width": Uniform(0.1, 5.0)}
    return jc.Model.from_likelihood(prior, lambda p: norm.logpdf(data, p["mean"], p["width"]))


def test_same_evidence_as_alone():
    models = [model(centre) for centre in (-3.0, 0.0, 4.0)]
    jobs = [lambda one=one: jc.importance(one, key=1, draws=200) for one in models]
    together = [future.result() for future in side_by_side(jobs)]
    for one, job in zip(together, jobs, strict=True):
        alone = job()
        assert one.log_evidence == pytest.approx(alone.log_evidence, abs=1e-6)
        np.testing.assert_allclose(one.draws["mean"], alone.draws["mean"], atol=1e-6)


def test_one_launch_for_all(monkeypatch):
    launches, many = [], Program.many
    monkeypatch.setattr(
        Program, "many", lambda self, runs: launches.append(len(runs)) or many(self, runs)
    )
    large = jnp.arange(1e5)

    def job(offset):
        run = Stopwatch().compile(lambda x: (x + offset).sum() + large[-1], jnp.ones(3))
        return [float(run(jnp.full(3, float(i)))) for i in range(4)]

    offsets = jnp.arange(5.0)
    found = [f.result() for f in side_by_side([lambda a=a: job(a) for a in offsets])]
    expected = [[3.0 * (i + a) + 99999.0 for i in range(4)] for a in range(5)]
    np.testing.assert_allclose(found, expected)
    assert launches == 4 * [8]  # five and three copies


def test_a_run_that_ends_or_fails_does_not_hold_up_the_others():
    run = Stopwatch().compile

    def long():
        return sum(float(run(lambda x: x + 1.0, jnp.ones(()))(jnp.ones(()))) for _ in range(3))

    def fails():
        run(lambda x: x + 1.0, jnp.ones(()))(jnp.ones(()))
        raise RuntimeError("of this one")

    def without():
        return 7.0

    ends = side_by_side([long, fails, without, long])
    assert [ends[i].result() for i in (0, 2, 3)] == [6.0, 7.0, 6.0]
    with pytest.raises(RuntimeError, match="of this one"):
        ends[1].result()


def test_an_error_of_a_launch_reaches_those_that_asked():
    def asks(n):
        run = Stopwatch().compile(lambda x: x + 1.0, jnp.ones(3))
        return run(jnp.ones(n))

    ends = side_by_side([lambda: asks(4), lambda: asks(3)])
    for end in ends:
        with pytest.raises((ValueError, TypeError)):
            end.result()


def test_keys_are_stacked():
    def draws(seed):
        keys = jax.random.split(jax.random.key(seed), 2)
        run = Stopwatch().compile(jax.vmap(jax.random.normal), keys)
        return np.asarray(run(keys))

    found = [f.result() for f in side_by_side([lambda s=s: draws(s) for s in (1, 2)])]
    for seed, one in zip((1, 2), found, strict=True):
        np.testing.assert_array_equal(one, draws(seed))


@pytest.mark.slow
def test_likelihoods_of_real_models():
    """Two samples of other stars and limits: values and gradients of both in one launch."""
    grid = jc.load_grid("parsec", ("G", "BP", "RP"))
    flats = []
    for seed, limits in ((3, (10.0, 18.0)), (4, (11.0, 17.5))):
        sample, field = simulate_pair(jax.random.key(seed), 60, 400, TRUTH, grid, limits)
        density = jc.fit_field(jc.from_table(field), limits, n_stars=60, key=jax.random.key(0))
        cells = {"n_masses": 40, "n_mass_ratios": 4, "isochrone_error": 0}
        stars = jc.from_table(sample)
        one = jc.load_model("mimo_cmd")(stars, field=density, limits=limits, **cells)
        flats.append(Flat(one))
    z = jax.vmap(flats[0].draw)(jax.random.split(jax.random.key(1), 6))

    def job(flat):
        each = lambda z: jax.lax.map(jax.value_and_grad(flat.potential), z)  # noqa: E731
        return Stopwatch().compile(each, z)(z)

    together = [f.result() for f in side_by_side([lambda f=f: job(f) for f in flats])]
    for (value, gradient), flat in zip(together, flats, strict=True):
        expected, slope = job(flat)
        np.testing.assert_allclose(value, expected, rtol=1e-9)
        for name, found in gradient.items():
            np.testing.assert_allclose(found, slope[name], rtol=1e-4, atol=1e-4)
