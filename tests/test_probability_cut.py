"""The cut that changes with radius, and the joint model: counts, calibration, purity."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcluster.structure.cut import joint_membership, probability_cut
from jaxcluster.structure.footprint import circle
from jaxcluster.structure.profiles import King
from jaxcluster.structure.rings import ring_edges
from jaxcluster.structure.surface import SurfaceDensity

RADIUS, N_C, N_F = 20.0, 400, 2000
SHAPE = {"centre": (0.5, -0.3), "ellipticity": 0.3, "position_angle": 40.0}


def surface(n_c=float(N_C), n_f=float(N_F)):
    footprint = circle(RADIUS)
    return SurfaceDensity(King(2.0, 12.0), footprint, n_c, n_f / footprint.area, **SHAPE)


def simulated(seed=0):
    """Positions, astrometry's own membership and the truth; proper motions are Gaussians."""
    rng = np.random.default_rng(seed)
    density = surface()
    r = np.linspace(0, 12.0, 4000)
    inside = np.asarray(density.profile.cumulative(r))
    r = np.interp(rng.uniform(0, inside[-1], rng.poisson(N_C)), inside, r)
    turn, angle = rng.uniform(0, 2 * np.pi, len(r)), np.radians(40.0)
    major, minor = r * np.cos(turn) / np.sqrt(0.7), r * np.sin(turn) * np.sqrt(0.7)
    east = major * np.sin(angle) + minor * np.cos(angle) + 0.5
    north = major * np.cos(angle) - minor * np.sin(angle) - 0.3
    field = rng.uniform(-RADIUS, RADIUS, (rng.poisson(N_F * 4 / np.pi), 2))
    field = field[np.hypot(*field.T) < RADIUS]
    x = np.concatenate([np.stack([east, north], -1), field])
    truth = np.arange(len(x)) < len(r)
    motion = np.where(truth[:, None], 0.4, 1.5) * rng.standard_normal((len(x), 2))
    motion[~truth] += [0.5, -0.3]

    def gauss(m, s):
        return np.exp(-0.5 * (m**2).sum(1) / s**2) / s**2

    p_c, p_f = gauss(motion, 0.4), gauss(motion - [0.5, -0.3], 1.5)
    return x, N_C * p_c / (N_C * p_c + N_F * p_f), p_c / p_f, truth


def test_counts_are_those_of_the_profile():
    x, q, _, _ = simulated()
    density, edges = surface(), np.array([0.0, 1.0, 2.0, 4.0, 7.0, 12.0])
    cut = probability_cut(x, q, density, edges)
    table = cut.thresholds
    enough = table["n"] >= table["n_model"]
    assert enough.sum() >= 4
    np.testing.assert_array_equal(table["n_members"][enough], np.round(table["n_model"])[enough])
    np.testing.assert_array_equal(table["n_members"][~enough], table["n"][~enough])
    assert table["n_model"].sum() == pytest.approx(N_C, rel=1e-6)
    assert cut.member.sum() == table["n_members"].sum()
    # equation 9, ring by ring, counted anew
    d = x - np.array(SHAPE["centre"])
    angle = np.radians(40.0)
    major = d @ [np.sin(angle), np.cos(angle)]
    minor = d @ [np.cos(angle), -np.sin(angle)]
    away = np.sqrt(0.7 * major**2 + minor**2 / 0.7)
    for row in table:
        here = (away >= row["inner"]) & (away < row["outer"])
        assert here.sum() == row["n"]
        assert (q[here] >= row["threshold"]).sum() == row["n_members"]
        np.testing.assert_array_equal(cut.member[here], q[here] >= row["threshold"])
    assert not cut.member[away > 12.0].any()
    assert table["threshold"][0] < table["threshold"][-1]


def test_rings_beyond_the_edge_and_poor_ones():
    x, q, _, _ = simulated()
    table = probability_cut(x, q, surface(), np.array([0.0, 12.1, 15.0])).thresholds
    assert np.isinf(table["threshold"][1])
    assert table["n_members"][1] == 0
    few = probability_cut(x, np.where(q > 0.9, q, 0.0), surface(), np.array([0.0, 12.1]))
    assert few.thresholds["n_members"][0] < N_C  # those with P > 0, all


def test_joint_membership_is_bayes_theorem():
    x, q, ratio, _ = simulated()
    density = surface()
    cluster, field = (np.asarray(f(jnp.asarray(x))) for f in (density.cluster, density.field))
    expected = cluster * ratio / (cluster * ratio + field)
    np.testing.assert_allclose(joint_membership(x, q, density), expected, atol=1e-12)
    # the surface's numbers do not count, those of the mixture are in q
    other = joint_membership(x, q, surface(n_c=50.0, n_f=9.0))
    np.testing.assert_allclose(other, expected, atol=1e-12)


def test_joint_membership_is_calibrated_and_beats_the_cut():
    joint, won = [], []
    for seed in range(5):
        x, q, _, truth = simulated(seed)
        p = joint_membership(x, q, surface())
        joint.append((p, truth))
        edges = ring_edges(np.hypot(*(x - np.array(SHAPE["centre"])).T), 16.0, 40)
        cut = probability_cut(x, q, surface(), edges).member
        taken = p >= np.sort(p)[-cut.sum()]  # as many
        plain = q >= np.sort(q)[-cut.sum()]
        won.append([(truth & m).sum() / truth.sum() for m in (taken, cut, plain)])
    p, truth = (np.concatenate(v) for v in zip(*joint, strict=True))
    for low, high in ((0.01, 0.1), (0.1, 0.3), (0.3, 0.5), (0.5, 0.7), (0.7, 0.9), (0.9, 0.99)):
        here = (p >= low) & (p < high)
        sigma = np.sqrt((p[here] * (1 - p[here])).sum())
        assert abs(truth[here].sum() - p[here].sum()) < 3 * sigma, (low, high)
    # of as many members, so that purity and completeness rise together
    joint, cut, plain = np.mean(won, axis=0)
    assert joint > cut + 0.01
    assert cut > plain
    assert np.all(np.array(won)[:, 0] >= np.array(won)[:, 1])


@pytest.mark.parametrize(
    ("alter", "words"),
    [
        (lambda x, q: (x, q + 1), "are not between 0 and 1"),
        (lambda x, q: (x[:5], q[:5]), "stars: found 5, expected 10"),
        (lambda x, q: (x + 9.0, q), "lie outside the footprint, expected none"),
    ],
)
def test_refuses(alter, words):
    x, q, _, _ = simulated()
    with pytest.raises(ValueError, match=words):
        joint_membership(*alter(x, q), surface())


def test_refuses_what_has_no_field_and_edges_that_descend():
    x, q, _, _ = simulated()
    with pytest.raises(ValueError, match="0 of the background"):
        joint_membership(x, q, surface(n_f=0.0))
    with pytest.raises(ValueError, match="edges: found"):
        probability_cut(x, q, surface(), np.array([3.0, 1.0]))
