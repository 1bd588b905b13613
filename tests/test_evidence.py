"""ln Z from dead points, against runs of perfect nested sampling: exact draws, known X(L)."""

import numpy as np
import pytest
from scipy.special import gammainc, gammaln
from scipy.stats import kstest

from jaxcluster.inference.evidence import insertion_rank_p, integrate, live_counts

WIDTH = 0.02  # of the Gaussian, in a ball of radius 1


def log_likelihood_at(volume, dimension):
    """Gaussian in a ball, as a function of the prior volume inside: X = r^d."""
    return -0.5 * volume ** (2.0 / dimension) / WIDTH**2


def analytic_log_z(dimension):
    """∫ L dX = (2σ²)^(d/2) Γ(d/2 + 1) P(d/2, 1/2σ²)."""
    half = 0.5 * dimension
    inside = np.log(gammainc(half, 0.5 / WIDTH**2))
    return half * np.log(2.0 * WIDTH**2) + gammaln(half + 1.0) + inside


def perfect_run(seed, live=50, dimension=2, n_delete=1, place=lambda u: u):
    """Exact nested sampling until the live points' share of Z is far below the error.

    `place` puts a new point at X = place(u) X_contour: the identity is a perfect draw.
    """
    rng = np.random.default_rng(seed)
    volume, contour = rng.uniform(size=live), np.full(live, -np.inf)
    dead, born = [], []
    for _ in range(live * (10 + 2 * dimension) // n_delete):
        worst = np.argsort(-volume)[:n_delete]
        dead.append(volume[worst])
        born.append(contour[worst])
        edge = volume[worst].min()
        volume[worst] = edge * place(rng.uniform(size=n_delete))
        contour[worst] = log_likelihood_at(edge, dimension)
    log_l = log_likelihood_at(np.concatenate([*dead, volume]), dimension)
    order = np.argsort(log_l)
    return log_l[order], np.concatenate([*born, contour])[order]


def test_live_counts_by_hand():
    # three prior draws die at −5, −4, −3; the births at −5 and −4 keep it at three, then it ends
    log_l = np.array([-5.0, -4.0, -3.0, -2.0, -1.0])
    birth = np.array([-np.inf, -np.inf, -np.inf, -5.0, -4.0])
    np.testing.assert_array_equal(live_counts(log_l, birth), [3, 3, 3, 2, 1])


def test_live_counts_of_a_batch_fall_within_it():
    # two die together of four, both new ones are born at the second's contour
    log_l = np.array([-6.0, -5.0, -4.0, -3.0, -2.0, -1.0])
    birth = np.array([-np.inf, -np.inf, -np.inf, -5.0, -np.inf, -5.0])
    np.testing.assert_array_equal(live_counts(log_l, birth), [4, 3, 4, 3, 2, 1])


@pytest.mark.parametrize(("dimension", "n_delete"), [(2, 1), (5, 1), (2, 5)])
def test_evidence_and_its_error_over_seeds(dimension, n_delete):
    seeds = range(40)
    runs = [
        integrate(*perfect_run(s, dimension=dimension, n_delete=n_delete), np.random.default_rng(s))
        for s in seeds
    ]
    log_z = np.array([r.log_evidence for r in runs])
    error = np.array([r.log_evidence_error for r in runs])
    truth = analytic_log_z(dimension)
    assert abs(log_z.mean() - truth) < 4.0 * log_z.std(ddof=1) / np.sqrt(len(log_z))
    # the scatter of 40 draws is known to 11 %
    assert 0.65 < error.mean() / log_z.std(ddof=1) < 1.5
    assert np.all(np.abs(log_z - truth) < 4.0 * error)


@pytest.mark.parametrize("set_aside", [True, False])
def test_impossible_part_of_a_prior(set_aside):
    """Two thirds of the prior have no likelihood: set aside, or among the dead points."""
    off = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        log_l, birth = perfect_run(seed)
        impossible = int(rng.negative_binomial(50, 1 / 3))  # failures before 50 successes
        if not set_aside:
            none = np.full(impossible, -np.inf)
            log_l, birth = np.concatenate([none, log_l]), np.concatenate([none, birth])
        found = integrate(log_l, birth, rng, impossible if set_aside else 0)
        truth = analytic_log_z(2) + np.log(1 / 3)
        off.append((found.log_evidence - truth) / found.log_evidence_error)
    assert abs(np.mean(off)) < 4.0 / np.sqrt(40)
    assert 0.65 < np.std(off) < 1.5


def test_a_plateau_shrinks_by_the_share_of_points_on_it():
    """Nine tenths of the prior are level, the rest rises."""
    off = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        low, top = -2.0, rng.uniform(size=20)  # X of points above the plateau, in units of 0.1
        n_level = int(rng.negative_binomial(20, 0.1))
        log_l = np.concatenate([np.full(n_level, low), np.sort(-top)])
        found = integrate(log_l, np.full(len(log_l), -np.inf), rng)
        truth = np.log(0.9 * np.exp(low) + 0.1 * (1 - np.exp(-1)))
        off.append((found.log_evidence - truth) / found.log_evidence_error)
    assert abs(np.mean(off)) < 4.0 / np.sqrt(40)
    assert 0.65 < np.std(off) < 1.5


def test_information_weights_and_effective_size():
    # a Gaussian far inside the ball: H = −ln Z + E[ln L], with E[ln L] = −d/2
    runs = [integrate(*perfect_run(s, live=100), np.random.default_rng(s)) for s in range(10)]
    expected = -analytic_log_z(2) - 1.0
    errors = [r.log_evidence_error for r in runs]
    assert np.mean([r.information for r in runs]) == pytest.approx(expected, abs=max(errors))
    for run in runs:
        assert np.exp(run.log_weights).sum() == pytest.approx(1.0, abs=1e-10)
        assert 1.0 < run.ess < len(run.log_weights)


@pytest.mark.parametrize("n_delete", [1, 5])
def test_insertion_ranks_of_perfect_runs_are_uniform(n_delete):
    p = [
        insertion_rank_p(*perfect_run(s, n_delete=n_delete), np.random.default_rng(s))
        for s in range(60)
    ]
    assert kstest(p, "uniform").pvalue > 1e-3


@pytest.mark.parametrize(
    "place", [lambda u: 0.5 + 0.5 * u, lambda u: 0.5 * u], ids=["stays outside", "falls inwards"]
)
def test_insertion_ranks_of_spoiled_runs_are_not(place):
    log_l, birth = perfect_run(0, place=place)
    assert insertion_rank_p(log_l, birth, np.random.default_rng(0)) < 1e-4


def test_too_few_births_give_no_p_value():
    log_l, birth = np.arange(30.0), np.full(30, -np.inf)
    assert np.isnan(insertion_rank_p(log_l, birth, np.random.default_rng(0)))


def test_integrate_is_reproducible():
    run = perfect_run(3)
    one, two = (integrate(*run, np.random.default_rng(7)) for _ in range(2))
    assert one[:3] == two[:3]
    np.testing.assert_array_equal(one.log_weights, two.log_weights)
