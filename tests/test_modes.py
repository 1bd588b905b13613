"""Modes of marginals that are known."""

import numpy as np
import pytest

from jaxcluster.inference.modes import several_modes


def draws(*parts, n=1000, seed=0):
    """Of normal parts (share, mean, width)."""
    rng = np.random.default_rng(seed)
    each = [rng.normal(mean, width, round(share * n)) for share, mean, width in parts]
    return {"log_age": rng.permutation(np.concatenate(each))[None]}


@pytest.mark.parametrize("shape", ["normal", "uniform", "exponential", "t", "beta"])
def test_one_mode_is_not_two(shape):
    rng = np.random.default_rng(1)
    make = {
        "normal": rng.normal,
        "uniform": rng.uniform,
        "exponential": rng.exponential,
        "t": lambda size: rng.standard_t(3, size=size),
        "beta": lambda size: rng.beta(0.8, 4.0, size=size),
    }[shape]
    odd = [several_modes({"x": make(size=(1, 1000))}) for _ in range(50)]
    assert sum(map(bool, odd)) == 0


def test_two_modes_and_their_shares():
    (told,) = several_modes(draws((0.3, 9.1, 0.02), (0.7, 9.5, 0.05)))
    assert told == "the posterior of log_age has 2 modes, about 9.10 (30 %) and 9.50 (70 %)"


def test_three_modes():
    (told,) = several_modes(draws((0.3, 8.0, 0.05), (0.4, 8.6, 0.05), (0.3, 9.2, 0.05), n=9000))
    assert "3 modes, about 8.00 (30 %), 8.60 (40 %) and 9.20 (30 %)" in told


@pytest.mark.parametrize(
    "parts",
    [
        [(0.95, 9.1, 0.02), (0.05, 9.5, 0.02)],  # few draws
        [(0.5, 9.10, 0.05), (0.5, 9.20, 0.05)],  # hardly a valley
        [(1.0, 9.1, 0.0)],  # a fixed parameter
    ],
)
def test_what_is_no_mode(parts):
    assert several_modes(draws(*parts)) == []
