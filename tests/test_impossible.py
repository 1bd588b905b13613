"""Tables that were read without a word, and wrong."""

import warnings

import astropy.units as u
import numpy as np
import pytest
from astropy.table import Table, vstack

from jaxcluster.catalogue.from_table import from_table

G, BP, RP = (f"phot_{band}_mean_mag" for band in ("g", "bp", "rp"))


def stars(n=60, seed=0) -> Table:
    """Bands of stars between BP−RP = 0 and 3, G as Gaia's stars have it; no identifiers."""
    rng = np.random.default_rng(seed)
    colour = rng.uniform(0.0, 3.0, n)
    table = Table({RP: rng.uniform(9.0, 17.0, n)})
    table[BP] = table[RP] + colour
    table[G] = table[RP] + 0.6 * colour - 0.03 * colour**2
    for band in (G, BP, RP):
        table[f"{band}_error"] = rng.uniform(0.003, 0.02, n)
    table["j_m"] = table[RP] - 0.5 - 0.3 * colour
    table["ks_m"] = table["j_m"] - 0.1 - 0.3 * colour
    table["j_m_error"] = table["ks_m_error"] = np.full(n, 0.02)
    table["pmra"], table["pmra_error"] = rng.normal(size=n), np.full(n, 0.1)
    return table


def exchanged(a, b):
    def change(table):
        table[a], table[b] = table[b].copy(), table[a].copy()
        return table

    return change


def in_mmag(table):
    for band in (G, BP, RP):
        table[f"{band}_error"] *= 1000
    return table


def complex_numbers(table):
    table[G] = table[G] + 1j
    return table


REFUSED = {
    "errors in mmag": (in_mmag, r"phot_g_mean_mag_error: .* of G of 60 stars .* in mmag"),
    "complex": (complex_numbers, "phot_g_mean_mag: found complex numbers"),
    "twice": (lambda t: vstack([t, t]), "rows: 60 of 120 repeat .*first row 60.* source_id"),
    "one star": (lambda t: t[np.zeros(60, int)], "rows: 59 of 60 repeat"),
    "BP and RP exchanged": (exchanged(BP, RP), r"BP-RP: \d\d of 60 stars are bluer .*BP and RP ex"),
    "G and BP exchanged": (exchanged(G, BP), r"in \d\d of \d\d stars G is not between BP and RP"),
    "G and RP exchanged": (exchanged(G, RP), r"in \d\d of \d\d stars G is not between BP and RP"),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(change, message):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(from_table(stars())) == 60
    with pytest.raises(ValueError, match=message):
        from_table(change(stars()))


def test_near_infrared_bands_exchanged():
    assert len(from_table(stars(), ("Ks", "J-Ks"))) == 60
    for columns in (("Ks", "J-Ks"), ("Ks", "Ks-J")):  # of whatever order
        with pytest.raises(ValueError, match=r"bluer than any star.*exchanged"):
            from_table(exchanged("j_m", "ks_m")(stars()), columns)
    assert len(from_table(stars(), ("Ks", "Ks-J"))) == 60


def test_mmag_with_their_unit_are_right():
    table = in_mmag(stars())
    for band in (G, BP, RP):
        table[f"{band}_error"].unit = u.mmag
    np.testing.assert_allclose(from_table(table).noise, from_table(stars()).noise, rtol=1e-12)


def test_few_that_agree_are_a_warning():
    table = vstack([stars(), stars()[:3]])
    with pytest.warns(UserWarning, match="rows: 3 of 63 without a source_id .*first row 60"):
        assert len(from_table(table)) == 63
    both = vstack([stars(), stars()])
    both["cluster"] = np.arange(120) // 60  # members of two that overlap
    with pytest.warns(UserWarning, match="rows: 60 of 120"):
        from_table(both)


def test_identifiers_tell_rows_apart():
    table = vstack([stars(), stars()])
    table["source_id"] = np.arange(1, 121)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(from_table(table)) == 120
    table["source_id"][30:] = 0  # of these nobody knows
    with pytest.raises(ValueError, match="rows: 30 of 120 repeat an earlier one"):
        from_table(table)


def test_a_few_strange_colours_are_let_through():
    table = stars()
    table[BP][:4] = table[RP][:4] - 2.0
    assert len(from_table(table)) == 60
    table[G][:9] = table[BP][:9] + 1.0
    assert len(from_table(table)) == 60
    # errors that allow it
    table = exchanged(BP, RP)(stars())
    table[f"{BP}_error"] = 0.9
    assert len(from_table(table)) == 60
