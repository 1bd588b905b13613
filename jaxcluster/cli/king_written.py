"""What `jaxcluster king` leaves in its folder."""

import json
from pathlib import Path

from jaxcluster.cli.options import finite
from jaxcluster.cli.written import save_posterior, whole
from jaxcluster.figures.king import corner_figure, profile_figure
from jaxcluster.figures.king_sky import sky_figure
from jaxcluster.figures.king_structure import structure_figure
from jaxcluster.figures.radial_profile import radial_profile_figure
from jaxcluster.jobs.king import Structured


def write(result: Structured, folder: Path) -> None:
    """Write posterior.nc, members.ecsv, summary.json and the figures.

    A binned fit has rings.ecsv and binned.png too, a structure with magnitudes structure.png.

    Args:
        result: from `jaxcluster.king`.
        folder: made where it does not exist.
    """
    found, summary = result.found, result.summary
    with whole(folder) as scratch:
        if "log_likelihood" in found.posterior.data:  # of each star at each draw: 1 GB at 10⁵
            del found.posterior.data["log_likelihood"]
        save_posterior(found.posterior, scratch)
        result.members.write(scratch / "members.ecsv", format="ascii.ecsv")
        (scratch / "summary.json").write_text(json.dumps(finite(summary), indent=2))
        for name, draw in (
            ("profile", profile_figure),
            ("sky", sky_figure),
            ("corner", corner_figure),
        ):
            draw(found, summary).savefig(scratch / f"{name}.png", dpi=150)
        if result.rings is not None:
            result.rings.rings.write(scratch / "rings.ecsv", format="ascii.ecsv")
            radial_profile_figure(result.rings).savefig(scratch / "binned.png", dpi=150)
        if result.structure is not None and len(result.structure.magnitudes):
            structure_figure(result.structure).savefig(scratch / "structure.png", dpi=150)
