import io

import jax.numpy as jnp
import numpy as np
import pytest
from astropy.table import MaskedColumn, Table
from matplotlib.collections import PathCollection
from matplotlib.patches import Ellipse
from matplotlib.text import Text
from scipy.integrate import quad
from scipy.stats import norm

import jaxcluster as jc
from jaxcluster.figures.members import CLUSTER, components_figure, members_figure
from jaxcluster.figures.projections import ellipse_of, expected_counts, marginal_covs, sky_offsets

COLUMNS = ("pmra", "pmdec", "parallax")
MIXTURE = jc.GaussianMixture(
    jnp.array([0.7, 0.3]),
    jnp.array([[0.0, -1.0, 0.5], [-2.0, 1.0, 1.2]]),
    jnp.array([np.diag([9.0, 16.0, 0.1]), np.diag([0.1, 0.15, 0.02]) ** 2]),
)


def sample(n=300, ra=120.0, columns=COLUMNS):
    """A cluster of 0.3 n stars in a field of 20', its stars and the table."""
    rng = np.random.default_rng(0)
    which = np.arange(n) < 0.3 * n
    root = np.sqrt(np.diagonal(MIXTURE.covs, axis1=1, axis2=2))[which.astype(int)]
    sigma = rng.uniform(0.05, 0.3, (n, 3))
    mean = np.asarray(MIXTURE.means)[which.astype(int)]
    x = mean + root * rng.normal(size=(n, 3)) + sigma * rng.normal(size=(n, 3))
    table = Table()
    for i, name in enumerate(COLUMNS):
        table[name], table[f"{name}_error"] = x[:, i], sigma[:, i]
    table["dec"] = 60.0 + rng.uniform(-0.17, 0.17, n)
    table["ra"] = (ra + rng.uniform(-0.34, 0.34, n)) % 360
    table["phot_g_mean_mag"] = rng.uniform(10, 18, n)
    table["bp_rp"] = rng.uniform(0.2, 2, n)
    stars = jc.from_table(table, columns)
    axes = [COLUMNS.index(name) for name in columns]
    mixture = jc.GaussianMixture(
        MIXTURE.weights, MIXTURE.means[:, np.array(axes)], jnp.array(marginal_covs(MIXTURE, axes))
    )
    return stars, mixture, np.asarray(mixture.membership(stars)[:, 1]), table


def words(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=40)  # what cannot be drawn fails here
    assert buffer.tell() > 3000
    return " ".join(text.get_text() for text in figure.findobj(Text))


def points(ax):
    return [c for c in ax.collections if isinstance(c, PathCollection)]


def test_cluster():
    stars, mixture, p, table = sample()
    figure = members_figure(stars, mixture, (1,), p, table)
    said = words(figure)
    assert f"{(p >= 0.9).sum()} stars with $P \\geq 0.9$, of 300" in said
    assert "ESA/Gaia/DPAC" in said
    assert "Simulated" in words(members_figure(stars, mixture, (1,), p, table, credit="Simulated"))
    motions, parallaxes, sky, diagram, bar = figure.axes
    assert bar.get_ylabel() == "membership probability"
    assert len(parallaxes.lines) == 2
    left, right = sky.get_xlim()
    assert left > right  # east is to the left
    faint, bright = diagram.get_ylim()
    assert faint > bright
    (inset,) = motions.child_axes
    low, high = inset.get_xlim()
    assert 0.5 * (low + high) == pytest.approx(-2.0)
    assert high - low < 0.5 * np.ptp(motions.get_xlim())
    for ax in (motions, inset):
        red = [e for e in ax.patches if isinstance(e, Ellipse) and e.get_edgecolor()[0] > 0.7]
        np.testing.assert_allclose([e.width for e in red], [0.3, 0.6], rtol=1e-6)
        np.testing.assert_allclose([e.height for e in red], [0.2, 0.4], rtol=1e-6)
    (drawn,) = points(diagram)
    assert np.all(np.diff(drawn.get_array()) >= 0)  # members on top
    assert CLUSTER in {line.get_color() for line in parallaxes.lines}


def test_no_cluster():
    stars, mixture, p, table = sample()
    figure = members_figure(stars, mixture, (), np.zeros(len(p)), table)
    assert "no cluster found in 300 stars" in words(figure)
    motions, parallaxes, *rest = figure.axes
    assert not motions.child_axes
    assert len(parallaxes.lines) == 1
    assert len(rest) == 2  # and no colour bar


def test_columns_that_are_not_there():
    stars, mixture, p, table = sample(columns=("pmdec", "pmra"))
    assert "no parallax" in words(members_figure(stars, mixture, (1,), p, table))
    del table["phot_g_mean_mag"]
    said = words(members_figure(stars, mixture, (1,), p, table))
    assert "no G and BP − RP" in said
    assert "Gaia" not in said
    del table["ra"]
    assert "no positions" in words(members_figure(stars, mixture, (1,), p, table))
    table["BPmag"] = table["Gmag"] = MaskedColumn(np.full(300, 15.0), mask=np.ones(300, bool))
    table["RPmag"] = 14.0
    assert "no G and BP − RP" in words(members_figure(stars, mixture, (1,), p, table))


def test_across_0h_with_masked_ra():
    stars, mixture, p, table = sample(ra=0.0)
    table["ra"] = MaskedColumn(table["ra"], mask=np.arange(300) % 10 == 0)
    figure = members_figure(stars, mixture, (1,), p, table)
    words(figure)
    (drawn,) = points(figure.axes[2])
    assert len(drawn.get_offsets()) == 270
    assert np.abs(drawn.get_offsets()).max() < 15


def test_few_stars_of_many_rows_and_missing_values():
    stars, mixture, p, table = sample()
    some = stars[np.flatnonzero(p > 0.3)[:20]]
    x = np.array(some.x)
    x[0, 2] = np.nan
    some = jc.Stars(x, some.noise, some.columns, some.rows)
    figure = members_figure(
        some, mixture, (1,), jnp.asarray(p)[np.flatnonzero(p > 0.3)[:20]], table
    )
    assert "of 20" in words(figure)
    colour = np.asarray(table["bp_rp"])[np.asarray(some.rows)]
    np.testing.assert_allclose(np.sort(points(figure.axes[3])[0].get_offsets()[:, 0]),
                               np.sort(colour))  # fmt: skip


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"cluster": (2,)}, "cluster"),
        ({"membership": np.zeros(3)}, "membership"),
        ({"membership": np.full(300, np.nan)}, "membership"),
        ({"table": Table({"ra": [1.0], "dec": [1.0]})}, "table"),
        ({"stars": jc.Stars(np.zeros((1, 1)), np.ones((1, 1, 1)), ("pmra",))}, "stars"),
    ],
)
def test_what_does_not_fit_is_told(change, match):
    names = ("stars", "mixture", "membership", "table")
    arguments = dict(zip(names, sample(), strict=True)) | {"cluster": (1,)} | change
    with pytest.raises(ValueError, match=match):
        members_figure(**arguments)


def test_ellipse_has_the_roots_of_the_eigenvalues():
    angle = np.radians(25.0)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    long, short, degrees = ellipse_of(turn @ np.diag([9.0, 0.25]) @ turn.T)
    np.testing.assert_allclose([long, short, degrees % 180], [3.0, 0.5, 25.0])


@pytest.mark.parametrize("n", [150, 5000])  # the latter by quantiles of the noise
def test_counts_are_the_integral_of_the_blurred_mixture(n):
    rng = np.random.default_rng(1)
    sigma = rng.lognormal(-2.0, 0.8, n)
    width = 0.05
    at = np.arange(-6.0, 7.0, width)
    counts = expected_counts(at, width, MIXTURE, 2, sigma)
    np.testing.assert_allclose(counts.sum(axis=1), n * np.asarray(MIXTURE.weights), rtol=1e-3)
    scale = np.sqrt(0.02**2 + sigma**2)
    bin_ = int(np.argmin(np.abs(at - 1.3)))
    low, high = at[bin_] - width / 2, at[bin_] + width / 2
    total, _ = quad(lambda y: norm.pdf(y, 1.2, scale).sum(), low, high)
    assert counts[1, bin_] == pytest.approx(0.3 * total, rel=2e-3)


def test_curves_agree_with_simulated_stars():
    stars, mixture, *_ = sample(n=20_000)
    sigma = np.sqrt(np.asarray(stars.noise[:, 2, 2]))
    edges = np.linspace(-1.0, 2.5, 15)
    at, width = 0.5 * (edges[1:] + edges[:-1]), edges[1] - edges[0]
    expected = expected_counts(at, float(width), mixture, 2, sigma).sum(axis=0)
    number, _ = np.histogram(np.asarray(stars.x[:, 2]), edges)
    assert np.sum((number - expected) ** 2 / expected) < 14 + 4 * np.sqrt(28)


def test_offsets_are_east_and_north_in_arcmin():
    offsets = sky_offsets(np.array([0.1, 359.9, 0.0, np.nan]), np.array([60.0, 60.0, 60.0, 1.0]))
    np.testing.assert_allclose(offsets[:3, 0], [3.0, -3.0, 0.0], atol=1e-3)
    np.testing.assert_allclose(offsets[:3, 1], 0.0, atol=0.01)
    assert np.isnan(offsets[3]).all()
    assert np.isnan(sky_offsets(np.array([np.nan]), np.array([0.0]))).all()


def test_components():
    k = np.array([1, 5, 2, 3, 4])
    rows = Table({"k": k, "bic": 100.0 * (k - 3) ** 2 + 7, "aic": 90.0 * (k - 4) ** 2})
    rows["held_out"] = MaskedColumn(-1.0 - 0.01 * (k - 2) ** 2, mask=k == 5)
    figure = components_figure(rows)
    said = words(figure)
    assert "BIC, best with 3" in said
    assert "AIC, best with 4" in said
    assert "held-out stars, best with 2" in said
    criteria, held_out = figure.axes
    np.testing.assert_array_equal(criteria.lines[0].get_xdata(), [1, 2, 3, 4, 5])
    np.testing.assert_allclose(criteria.lines[0].get_ydata(), [400, 100, 0, 100, 400])
    np.testing.assert_allclose(held_out.lines[0].get_ydata(), [-0.01, 0, -0.01, -0.04])
    rows["held_out"] = np.nan
    assert "not computed" in words(components_figure(rows))
