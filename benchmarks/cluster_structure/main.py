"""Half radii, segregation, elongation and memberships of NGC 2168, the Pleiades and NGC 2682.

    python -m benchmarks.cluster_structure.main [unsegregated]

NGC 2168: members of Gaia Collaboration (Babusiaux et al.) 2018, without probabilities: about 300 of
the 1732 are field by `king`, and they are in these numbers. Pleiades: the probabilities of the
catalogue as weights, and 2MASS's Ks. NGC 2682: the Gaia DR3 cone of 30′, membership by
`find_members` from proper motion and parallax, then together with the position; the cut that
changes with radius beside it. Mean proper motions are those of Hunt & Reffert (2024).
`unsegregated`: Λ(50) of 60 simulated clusters without segregation, those of the tests.
"""

import sys
import time

import jax
import numpy as np
from astropy.table import Table

from benchmarks.shared import DATA
from jaxcluster.catalogue.sky import to_plane
from jaxcluster.catalogue.tables import read_table
from jaxcluster.density.stars import Stars
from jaxcluster.inference.maximum import maximum_likelihood
from jaxcluster.jobs.king_field import read_field
from jaxcluster.jobs.members import find_members
from jaxcluster.jobs.model_files import load_model
from jaxcluster.structure.centre import density_centre
from jaxcluster.structure.cut import joint_membership, probability_cut
from jaxcluster.structure.rings import ring_edges
from jaxcluster.structure.segregation import half_radius, radii_by_magnitude, segregation_ratio
from jaxcluster.structure.shape import angle_between, galactic_plane_angle, motion_angle, shape
from jaxcluster.structure.surface import SurfaceDensity


def describe(name, x, magnitudes, centre, motion, weights=None):
    """Print the structure of members at x [arcmin] about a centre (ra, dec) [deg]."""
    begin = time.process_time()
    rng = np.random.default_rng(0)
    w = np.ones(len(x)) if weights is None else weights
    middle = density_centre(x, 0.1 * np.hypot(*x.T).max(), w)
    x = x - middle
    print(f"\n{name}: {len(x)} stars, Σ P = {w.sum():.0f}, about {middle[0]:.2f}, {middle[1]:.2f}′")
    for words, m in (("half-number", None), ("half-light", magnitudes)):
        half = half_radius(x, rng=rng, weights=w, magnitudes=m)
        print(f"  {words} radius {half.value:.2f} ± {half.error:.2f}′")
    table = radii_by_magnitude(x, magnitudes, rng=rng, weights=w)
    for row in table:
        print(f"  {row['bright']:6.2f} to {row['faint']:6.2f} mag: r50 {row['r50']:.2f} ± "
              f"{row['error']:.2f}′ of {row['expected']:.0f}")  # fmt: skip
    for row in segregation_ratio(x, magnitudes, rng=rng, weights=weights):
        print(f"  Λ of the {row['n']:>3} brightest {row['ratio']:.2f} ± {row['error']:.2f}, "
              f"chance {row['chance']:.3f}")  # fmt: skip
    away = np.hypot(*x.T).max()
    for radius in (None, 0.5 * away):
        found = shape(x, rng=rng, weights=w, radius=radius)
        plane = angle_between(found.position_angle, galactic_plane_angle(centre))
        path = angle_between(found.position_angle, motion_angle(*motion))
        print(
            f"  e{'' if radius is None else f' within {radius:.0f}′'} = {found.ellipticity:.3f} ± "
            f"{found.ellipticity_error:.3f} (round {found.round_ellipticity:.3f}, chance "
            f"{found.chance:.3f}), at {found.position_angle:.0f} ± "
            f"{found.position_angle_error:.0f}°: {plane:+.0f}° to the Galactic plane, {path:+.0f}° "
            "to the proper motion"
        )
    print(f"  {time.process_time() - begin:.1f} CPU s", flush=True)


def ngc2168():
    path = DATA / "ngc2168" / "dr2_member_positions.parquet"
    field, table = read_field(path), read_table(path)
    x = to_plane(np.asarray(table["RAdeg"]), np.asarray(table["DEdeg"]), field.centre)
    inside = field.footprint.contains(x)
    magnitudes = np.asarray(table["Gmag"], float)[inside]
    describe("NGC 2168", x[inside], magnitudes, field.centre, (2.253, -2.895))


def pleiades():
    table = read_table(DATA / "pleiades_dance" / "members.csv")
    stars = Table({"ra": table["RA"], "dec": table["Dec"], "p": table["ps"], "K": table["K_2"]})
    field = read_field(stars["ra", "dec"])
    x = to_plane(np.asarray(stars["ra"]), np.asarray(stars["dec"]), field.centre)
    magnitudes = np.ma.filled(np.ma.asarray(stars["K"], float), np.nan)
    good = field.footprint.contains(x) & np.isfinite(magnitudes)
    weights = np.asarray(stars["p"], float)[good]
    describe("Pleiades", x[good], magnitudes[good], field.centre, (19.955, -45.457), weights)


def ngc2682():
    path = DATA / "ngc2682" / "dr3_cone_30arcmin.parquet"
    centre = (132.846, 11.814)
    found = find_members(path, key=jax.random.key(0), resamplings=0, near=centre)
    table = found.members[np.asarray(found.stars.rows)]
    x = to_plane(np.asarray(table["ra"]), np.asarray(table["dec"]), centre)
    field = read_field(table["ra", "dec"], centre=centre)
    inside = field.footprint.contains(x)
    q, x = found.membership[inside], x[inside]
    magnitudes = np.asarray(table["phot_g_mean_mag"], float)[inside]
    stars = Stars(x, np.zeros((len(x), 2, 2)), ("x", "y"))
    model = load_model("king_profile")(
        stars, footprint=field.footprint, weights=q, max_ellipticity=0
    )
    best = maximum_likelihood(model, key=1)
    surface = SurfaceDensity.of(best.parameters, field.footprint)
    r_core, r_tidal = (float(best.parameters[n]) for n in ("r_core", "r_tidal"))
    print(
        f"\nNGC 2682: profile of the stars weighted by q: r_c {r_core:.2f}, r_t {r_tidal:.1f}′, "
        f"{float(surface.n_inside):.0f} stars of the cluster; bounds: {best.at_bound}"
    )
    p = joint_membership(x, q, surface)
    middle = np.asarray(surface.centre)
    edges = ring_edges(np.hypot(*(x - middle).T), field.footprint.radius - np.hypot(*middle), 40)
    cut = probability_cut(x, q, surface, edges)
    away = np.hypot(*(x - middle).T)
    print(f"  Σ q = {q.sum():.0f}, Σ P = {p.sum():.0f}, cut {cut.member.sum()} stars")
    for words, member in (("q ≥ 0.5", q >= 0.5), ("P ≥ 0.5", p >= 0.5), ("cut", cut.member)):
        far = (member & (away > 20)).sum()
        print(
            f"  {words}: {member.sum()} members, {far} beyond 20′; Σ P of them "
            f"{p[member].sum():.0f}, so {100 * (1 - p[member].mean()):.1f} % are expected field"
        )
    thresholds = ", ".join(f"{t:.2f}" for t in cut.thresholds["threshold"])
    print(f"  thresholds of the rings: {thresholds}")
    good = np.isfinite(magnitudes)
    describe("NGC 2682", x[good], magnitudes[good], centre, (-10.965, -2.906), p[good])


def without_segregation(n_mocks=60):
    """Print Λ(50), and how often its chance is below 0.05, which should be in 5 %."""
    from tests.test_segregation import unsegregated

    found = []
    for seed in range(n_mocks):
        x, magnitudes, membership = unsegregated(seed)
        options = {"weights": membership, "numbers": (50,), "sets": 200}
        ratios = segregation_ratio(x, magnitudes, rng=np.random.default_rng(0), **options)
        found.append((ratios["ratio"][0], ratios["chance"][0]))
    ratio, chance = np.array(found).T
    error = ratio.std() / n_mocks**0.5
    print(f"Λ(50) of {n_mocks} unsegregated clusters {ratio.mean():.3f} ± {error:.3f}, chance")
    print(f"below 0.05 in {100 * (chance < 0.05).mean():.0f} %")


if __name__ == "__main__":
    if sys.argv[1:] == ["unsegregated"]:
        without_segregation()
    else:
        ngc2168()
        pleiades()
        ngc2682()
