"""The result of `king`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astropy.table import Table

from jaxcluster.figures.king import corner_figure, profile_figure
from jaxcluster.figures.king_sky import sky_figure
from jaxcluster.figures.king_structure import structure_figure
from jaxcluster.figures.radial_profile import radial_profile_figure
from jaxcluster.inference.posterior import Posterior
from jaxcluster.jobs.king_fit import Found
from jaxcluster.jobs.king_structure import Structure
from jaxcluster.jobs.results import Result
from jaxcluster.structure.profiles import PROFILES
from jaxcluster.structure.radial_profile import RadialProfile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

UNITS = {
    "amplitude": "arcmin-2",
    "x_centre": "arcmin",
    "y_centre": "arcmin",
    "central_density": "arcmin-2",
    "background_density": "arcmin-2",
    "position_angle": "deg",
}


def units_of(profile: str) -> dict[str, str]:
    """Units of a profile's parameters and what follows from them, where they have one."""
    return UNITS | {p.name: p.unit for p in PROFILES[profile].parameters if p.unit}


@dataclass(frozen=True, repr=False, eq=False)
class KingFit(Result):
    """What `king` found in a table."""

    found: Found  # the profile asked for
    members: Table  # the table's stars in the footprint, the most probable first
    rings: RadialProfile | None  # of the binned fit
    structure: Structure | None
    numbers: dict[str, Any]  # see `summary`

    words = {  # noqa: RUF012
        "r_core": "core radius, of the geometric mean of the axes",
        "r_tidal": "limiting radius",
        "n_inside": "stars of the cluster in the footprint",
        "n_cluster": "stars of the whole profile",
        "central_density": "of the cluster alone",
        "background_density": "of the background, at the centre",
        "density_contrast": "1 + central over background density",
        "concentration": "r_tidal / r_core",
        "ellipticity": "1 − axis ratio",
        "position_angle": "of the major axis, from north through east",
        "x_centre": "to the east of the footprint's centre",
        "y_centre": "to the north of the footprint's centre",
        "gradient": "of the background over the footprint's radius",
    }

    @property
    def posterior(self) -> Posterior:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Of the profile asked for."""
        return self.found.posterior

    @property
    def units(self) -> dict[str, str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Of the parameters."""
        return units_of(self.found.profile)

    @property
    def verdict(self) -> str:
        """The profile, its evidence against a uniform field, and the number of stars."""
        words = f"{self.found.label}; {self.numbers['n_stars']} stars"
        if (value := self.numbers["log_evidence"]) is None:
            return words
        null = self.numbers["log_evidence_uniform"]
        return f"{words}; ln Z = {value:.1f}, without cluster {null:.1f}"

    def summary(self) -> dict[str, Any]:
        """Numbers for JSON, as `jaxcluster king --json` prints them."""
        return self.numbers

    def plot_profile(self, credit: str | None = None) -> "Figure":
        """Density against radius."""
        return profile_figure(self.found, self.numbers, credit)

    def plot_sky(self, credit: str | None = None) -> "Figure":
        """Stars on the sky and what the profile leaves over."""
        return sky_figure(self.found, self.numbers, credit)

    def plot_corner(self, credit: str | None = None) -> "Figure":
        """Posterior in pairs of parameters."""
        return corner_figure(self.found, self.numbers, credit)

    def figures(self, credit: str | None = None) -> dict[str, "Figure"]:
        """All of them by name."""
        drawn = {
            "profile": self.plot_profile(credit),
            "sky": self.plot_sky(credit),
            "corner": self.plot_corner(credit),
        }
        if self.rings is not None:
            drawn["binned"] = radial_profile_figure(self.rings, credit)
        if self.structure is not None and len(self.structure.magnitudes):
            drawn["structure"] = structure_figure(self.structure, credit)
        return drawn

    def write(self, folder: Path, credit: str | None = None, **more: Any) -> None:
        """As of other results, and rings.ecsv of a binned fit."""
        if "log_likelihood" in self.posterior.data:  # of each star at each draw: 1 GB at 10⁵
            del self.posterior.data["log_likelihood"]
        super().write(folder, credit, **more)
        if self.rings is not None:
            self.rings.rings.write(folder / "rings.ecsv", format="ascii.ecsv")
