"""Joints: where the number of stars along an isochrone jumps, and that no cell reaches across."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxcluster as jc
from jaxcluster.population.cells import population_cells
from jaxcluster.population.cmd import ErrorModel
from jaxcluster.population.joints import find_joints
from jaxcluster.population.mass_function import MassFunction

# the best fit of NGC 2682 (`benchmarks/ngc2682`)
NGC_2682 = {
    "log_age": 9.6515,
    "metallicity": 0.1948,
    "distance_modulus": 9.4954,
    "a_v": 0.0072,
    "mass_slope": -0.966,
    "binary_fraction": 0.5238,
    "model_scatter": 0.0191,
}


def line(numbers, step):
    """One isochrone of these numbers of stars on segments of `step` mag, all of about 1 M☉."""
    mass = 1.0 + 1e-4 * np.cumsum([0.0, *numbers])
    magnitude = step * np.arange(len(mass))
    return mass[None, None], magnitude[None, None, :, None]


def test_the_end_of_a_desert_is_a_joint():
    numbers = np.ones(60)
    numbers[20:35] = 0.0
    # stars end at EEP 20 and begin again at 35
    assert {20, 35} <= set(find_joints(*line(numbers, 0.1)))


def test_joints_move_cells_and_lose_no_star():
    """Weight and mean of all cells with joints and without, and of the isochrone's own segments."""
    isochrone = jc.load_grid("parsec", ("G", "BP", "RP")).isochrone(9.0, 0.0)
    to_plane = jnp.array([[1.0, 0.0, 0.0], [0.0, 1.0, -1.0]])
    found = []
    for joints in ((), (163, 178, 222, 236)):
        cells = population_cells(
            isochrone,
            to_plane,
            (-30.0, 40.0),
            MassFunction((-2.0,)),
            binary_fraction=0.0,
            joints=joints,
            n_masses=200,
            n_mass_ratios=4,
        )
        found.append((cells.weights.sum(), cells.weights @ cells.means))
    mass, x = np.asarray(isochrone.initial_mass), np.asarray(isochrone.magnitudes @ to_plane.T)
    number = 1.0 / mass[:-1] - 1.0 / mass[1:]
    mean = number @ (0.5 * (x[1:] + x[:-1])) / number.sum()
    for weight, middle in found:
        np.testing.assert_allclose(weight, 1.0, rtol=1e-9)
        np.testing.assert_allclose(middle, mean, atol=3e-3)


def test_as_many_joints_as_runs_are_refused():
    isochrone = jc.load_grid("parsec", ("G", "BP", "RP")).isochrone(9.0, 0.0)
    with pytest.raises(ValueError, match="n_masses: found 4, expected more than the 4 joints"):
        population_cells(
            isochrone,
            jnp.array([[1.0, 0.0, 0.0]]),
            (-30.0, 40.0),
            MassFunction((-2.0,)),
            binary_fraction=0.0,
            joints=(1, 2, 3, 4),
            n_masses=4,
        )


def test_helium_burning_begins_at_a_joint_of_parsec():
    # EEP 631: giants begin with 445 at node 160 and have every third (`grids`)
    assert 222 in jc.load_grid("parsec", ("G", "BP", "RP")).joints


@pytest.mark.parametrize(
    "cells", [(96, 6), *(pytest.param(c, marks=pytest.mark.slow) for c in ((128, 8), (200, 14)))]
)
def test_no_cell_reaches_from_the_clump_to_the_blue(cells):
    """Two blue stragglers of NGC 2682, G 10.9, far from any star that the model has.

    With runs that straddle the start of helium burning (no joints) ln p is −7.7 to −13.5 there.
    """
    density = jc.PopulationModel(
        grid=jc.load_grid("parsec", ("G", "BP", "RP")),
        errors=ErrorModel(jnp.array([10.0]), jnp.array([0.01])),
        columns=("G", "BP-RP"),
        limits=(8.0, 18.0),
        n_masses=cells[0],
        n_mass_ratios=cells[1],
    )(NGC_2682)
    x = jnp.array([[10.93, 0.12], [10.87, 0.28]])
    stars = jc.Stars(x, jnp.broadcast_to(1e-4 * jnp.eye(2), (2, 2, 2)), columns=("G", "BP-RP"))
    assert np.asarray(density(stars)).max() < -13.0
