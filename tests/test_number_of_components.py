"""Sizes of mixtures: a simulated one of three components, and formulas by hand."""

import jax
import numpy as np
import pytest

import jaxcluster as jc
from jaxcluster.xd.number_of_components import compare_components, number_of_parameters


@pytest.fixture(scope="module")
def stars():
    rng = np.random.default_rng(0)
    centre = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 5.0]])[rng.integers(0, 3, 400)]
    x = centre + rng.normal(size=(400, 2)) * np.sqrt(0.5**2 + 0.3**2)
    return jc.Stars(x, np.tile(0.09 * np.eye(2), (400, 1, 1)), ("pmra", "pmdec"))


def test_numbers_of_parameters():
    assert number_of_parameters(1, 3) == 9
    assert number_of_parameters(10, 3) == 99


@pytest.mark.slow
def test_three_components_are_found(stars):
    said = []
    table = compare_components(
        stars, (1, 2, 3, 5), key=jax.random.key(0), folds=4, progress=said.append
    )
    assert list(table["k"]) == [1, 2, 3, 5]
    assert table["k"][np.argmin(table["bic"])] == 3
    assert table["k"][np.argmax(table["held_out"])] == 3
    assert (np.diff(table["log_likelihood"]) > 0).all()
    p = np.array([5, 11, 17, 29])
    np.testing.assert_allclose(table["aic"], 2 * p - 2 * table["log_likelihood"])
    np.testing.assert_allclose(table["bic"], p * np.log(400) - 2 * table["log_likelihood"])
    # one Gaussian: the fit to all stars is known; leaving stars out costs p / n = 0.013 where the
    # stars are Gaussian, and somewhat more where they are not
    x = np.asarray(stars.x)
    cov = np.cov(x.T, bias=True)
    alone = -0.5 * np.linalg.slogdet(2 * np.pi * cov)[1] - 1.0
    assert table["log_likelihood"][0] / 400 == pytest.approx(alone, abs=1e-6)
    assert alone - 0.04 < table["held_out"][0] < alone - 0.005
    assert len(said) == 4


def test_bad_arguments(stars):
    for options in ({"numbers": ()}, {"numbers": (2,), "folds": 1}):
        with pytest.raises(ValueError, match="expected sizes and 2 to 400 folds"):
            compare_components(stars, key=jax.random.key(0), **options)
