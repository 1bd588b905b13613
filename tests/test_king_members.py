"""Members of a fitted profile, and `king --structure`, against sums written out and simulations."""

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from astropy.table import Table
from test_cli import quiet, run  # noqa: F401
from test_king_profile import draw

from jaxcluster.catalogue.sky import to_sky
from jaxcluster.inference.posterior import Posterior
from jaxcluster.jobs.king_field import Field
from jaxcluster.jobs.king_fit import Found
from jaxcluster.jobs.king_members import king_cut, king_membership
from jaxcluster.jobs.king_summary import warnings_of
from jaxcluster.structure.cut import joint_membership
from jaxcluster.structure.footprint import circle
from jaxcluster.structure.surface import SurfaceDensity

RADIUS = 20.0
PARAMETERS = {
    "n_inside": [400.0, 550.0],
    "background_density": [0.4, 0.3],
    "r_core": [2.0, 2.5],
    "r_tidal": [12.0, 15.0],
    "x_centre": [0.5, 0.4],
    "y_centre": [-0.3, -0.2],
    "ellipticity": [0.3, 0.2],
    "position_angle": [40.0, 50.0],
}
TRUE = {name: PARAMETERS[name][0] for name in list(PARAMETERS)[2:]}  # of `draw`
CENTRE: tuple[Any, ...] = ("--radius", 20, "--centre", "0.05,30")


def found_of(x, weights=None, which=(0, 1), **other):
    """A posterior of two draws, or one, of which some parameters may be others."""
    field = Field(x, weights, circle(RADIUS), (0.0, 0.0), RADIUS, {}, np.arange(len(x)))
    parameters = PARAMETERS | {name: [value, value] for name, value in other.items()}
    draws = {name: np.array(values)[list(which)] for name, values in parameters.items()}
    return Found("king62", None, False, field, Posterior({}), draws)


def king(x, i):
    """Density of the cluster written out, normalised on a grid."""
    p = {name: values[i] for name, values in PARAMETERS.items()}

    def base(x):
        d, a = x - [p["x_centre"], p["y_centre"]], np.radians(p["position_angle"])
        major = d @ [np.sin(a), np.cos(a)]
        minor = d @ [np.cos(a), -np.sin(a)]
        q = 1 - p["ellipticity"]
        square = major**2 * q + minor**2 / q
        inner = 1 / np.sqrt(1 + square / p["r_core"] ** 2)
        return np.maximum(inner - 1 / np.sqrt(1 + (p["r_tidal"] / p["r_core"]) ** 2), 0) ** 2

    step = 0.05
    line = np.arange(-RADIUS + step / 2, RADIUS, step)
    grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    total = base(grid[np.hypot(*grid.T) < RADIUS]).sum() * step**2
    return p["n_inside"] * base(x) / total, p["background_density"]


def test_membership_is_the_mean_share_of_the_cluster():
    x = draw()
    shares = [c / (c + b) for c, b in (king(x, 0), king(x, 1))]
    np.testing.assert_allclose(king_membership(found_of(x)), np.mean(shares, axis=0), atol=1e-3)


def test_with_probabilities_it_is_the_joint_membership():
    x = draw()
    q = np.random.default_rng(1).beta(0.5, 0.5, len(x))
    found = found_of(x, q, (0,))
    one = {name: jnp.asarray(values[0]) for name, values in found.draws.items()}
    surface = SurfaceDensity.of(one, found.field.footprint)
    np.testing.assert_allclose(king_membership(found), joint_membership(x, q, surface), atol=1e-12)


def test_as_many_stars_are_members_as_their_memberships_say():
    """20 clusters, of the true profile; five bins of P."""
    expected, variance, members = np.zeros((3, 5))
    for seed in range(20):
        x = draw(seed)
        cluster = draw(seed, background=0.0)
        p = king_membership(found_of(x, n_inside=500.0, background_density=0.38, **TRUE))
        is_member = np.isin(x[:, 0], cluster[:, 0])
        which = np.minimum((5 * p).astype(int), 4)
        expected += np.bincount(which, p, 5)
        variance += np.bincount(which, p * (1 - p), 5)
        members += np.bincount(which, is_member, 5)
    assert (expected > 100).all()
    assert (np.abs(members - expected) < 4 * np.sqrt(variance)).all()


def test_cut_takes_what_the_profile_holds():
    x = draw()
    q = np.random.default_rng(1).uniform(size=len(x))
    cut = king_cut(found_of(x, q, (0,)))
    table = cut.thresholds
    assert (np.asarray(table["n_members"]) <= np.ceil(np.asarray(table["n_model"]))).all()
    assert cut.member.sum() == np.asarray(table["n_members"]).sum()
    for row in table[:3]:
        assert row["n_members"] == min(round(row["n_model"]), row["n"])


@pytest.fixture(scope="module")
def segregated(tmp_path_factory):
    """A cluster whose brightest fifth is half as wide, in a thin field, with magnitudes."""
    rng = np.random.default_rng(5)
    cluster = draw(3, background=0.0)
    bright = rng.uniform(size=len(cluster)) < 0.2
    cluster[bright] *= 0.5
    field = rng.uniform(-RADIUS, RADIUS, (80, 2))
    field = field[np.hypot(*field.T) < RADIUS]
    x = np.concatenate([cluster, field])
    m = np.concatenate([np.where(bright, 11.0, 15.0), np.full(len(field), 15.0)])
    sky = to_sky(x, (0.05, 30.0))
    motion = np.array([3.0, -4.0])
    path = tmp_path_factory.mktemp("segregated") / "cluster.ecsv"
    columns = {"ra": sky[:, 0], "dec": sky[:, 1], "K": m + rng.uniform(0, 2, len(x))}
    columns |= {"pmra": np.full(len(x), motion[0]), "pmdec": np.full(len(x), motion[1])}
    Table({**columns, "membership": np.full(len(x), 0.9)}).write(path)
    return path


def test_command_measures_the_structure(segregated):
    out = segregated.parent / "out"
    options = ("--structure", "--magnitude", "K", "--membership", "membership")
    result = run("king", segregated, *CENTRE, *options, "--out", out, "--json")
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    found = summary["structure"]
    bright, *_, faint = found["radii_by_magnitude"]
    assert bright["r50"] + 2 * bright["error"] < faint["r50"]
    ratios = {row["n"]: row for row in found["segregation_ratio"]}
    assert all(ratios[n]["ratio"] > 1 + 2 * ratios[n]["error"] for n in (50, 100))
    half = found["half_number_radius"]
    assert half["low"] < half["value"] < half["high"]
    assert found["shape"]["chance"] < 0.05  # elongated by 0.3 at 40 deg
    angle = np.degrees(np.arctan2(3.0, -4.0))
    gap = (found["shape"]["position_angle"] - angle - found["shape"]["angle_to_motion"]) % 180
    assert min(gap, 180 - gap) < 1e-6
    members = Table.read(out / "members.ecsv")
    assert members["membership"].sum() == pytest.approx(summary["sum_of_memberships"])
    assert (np.diff(members["membership"]) <= 0).all()
    assert {"radius", "cut", "K"} <= set(members.colnames)
    assert (members["membership_given"] == 0.9).all()  # what it was given is not lost
    assert 0 < members["cut"].sum() < len(members)
    assert (out / "structure.png").stat().st_size > 10_000


@pytest.mark.slow
def test_command_without_magnitudes_and_with_a_wrong_column(segregated):
    result = run("king", segregated, *CENTRE, "--structure")
    assert result.exit_code == 0, result.stderr
    for words in ("half_number_radius", "elongation", "proper motion"):
        assert words in result.stdout
    assert "half_light_radius" not in result.stdout
    for options, words in (
        (("--structure", "--magnitude", "Kmag"), "--magnitude: looked for Kmag"),
        (("--magnitude", "K"), "--structure"),
    ):
        result = run("king", segregated, *CENTRE, *options)
        assert result.exit_code == 1
        assert words in result.stderr


@pytest.mark.slow
def test_too_few_members_cost_no_more_than_the_structure(segregated, tmp_path):
    table = Table.read(segregated)
    away = np.hypot((table["ra"] - 0.05 + 180) % 360 - 180, table["dec"] - 30.0)
    table["K"][np.argsort(away)[:-12]] = np.nan  # magnitudes of the outermost stars only
    table.write(tmp_path / "few.ecsv")
    options = ("--structure", "--magnitude", "K", "--membership", "membership", "--json")
    result = run("king", tmp_path / "few.ecsv", *CENTRE, *options)
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    assert summary["structure"] is None
    assert any(line.startswith("--structure:") for line in summary["warnings"])
    assert 1.0 < summary["parameters"]["r_core"]["median"] < 3.0


def test_a_sampler_in_trouble_is_told():
    x = draw()
    found = found_of(x)
    found.draws["n_cluster"] = found.draws["n_inside"]
    for attributes, told in (
        ({"tail_index": 0.9}, "Pareto k = 0.90"),
        ({"tail_index": 0.4, "fallback": "after 24 rounds"}, "nested sampling was needed: after"),
        ({"tail_index": 0.4, "fallback": ""}, None),
    ):
        record = {"log_evidence": 0.0, "method": "importance", **attributes}
        posterior = Posterior({"posterior": SimpleNamespace(attrs=record)})
        said = warnings_of([replace(found, posterior=posterior)])
        assert [line for line in said if "Pareto" in line or "nested" in line] == [
            line for line in said if told and told in line
        ]
        assert told is None or any(told in line for line in said)
