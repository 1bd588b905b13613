"""What all figures share: colours, labels, credit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LABELS = {
    "log_age": r"$\log_{10}$(age/yr)",
    "metallicity": "[M/H]",
    "distance_modulus": "distance\nmodulus [mag]",
    "a_v": "$A_V$ [mag]",
    "mass_slope": "mass-function\nslope",
    "binary_fraction": "binary\nfraction",
    "mass_ratio_slope": "mass-ratio\nslope",
    "field_fraction": "field\nfraction",
    "model_scatter": "model\nscatter [mag]",
    "extinction_scatter": "scatter of\n$A_V$ [mag]",
    "r_v": "$R_V$",
}
GAIA = {"G", "BP", "RP", "parallax", "pmra", "pmdec"}
CREDIT = "Data: ESA/Gaia/DPAC"
POSTERIOR, PRIOR = "#1f4e79", "#d08700"


def draw_credit(figure: Figure, columns: Sequence[str], credit: str | None) -> None:
    """Write the credit at the bottom right; None is that of Gaia where columns are Gaia's."""
    if credit is None:
        names = {name for column in columns for name in column.split("-")}
        credit = CREDIT if GAIA & names else ""
    if credit:
        figure.supxlabel(credit, x=0.99, y=0.004, ha="right", va="bottom", fontsize=7, color="0.4")


def axis_label(column: str) -> str:
    """Of a magnitude or colour."""
    return f"{column.replace('-', ' − ')} [mag]"
