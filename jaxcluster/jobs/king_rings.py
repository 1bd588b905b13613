"""The numbers of a binned fit."""

from typing import Any

import numpy as np

from jaxcluster.catalogue.sky import to_sky
from jaxcluster.jobs.king_field import Field
from jaxcluster.structure.radial_profile import RadialProfile


def binned_summary(binned: RadialProfile, field: Field) -> dict[str, Any]:
    """Return the numbers of a binned fit by name, as `king --json` prints them.

    Each parameter has value and error, one at a bound neither; a limiting radius that the rings do
    not reach, or do not tell from the background, has a `lower_limit` (95 %) too.
    """
    ((ra, dec),) = to_sky(binned.centre[None], field.centre)
    reach, fits, said = float(np.asarray(binned.rings["outer"])[-1]), [], []
    for fit in binned.fits:
        rows: dict[str, dict[str, float | None]] = {}
        # β = 1: inside its limiting radius that and the background are one constant, and where
        # along their ridge a fit stops is rounding: its radius is a limit on either side of `reach`
        blurred = np.isnan(fit.covariance).all()
        beyond = blurred or fit.parameters["r_tidal"] > reach or "r_tidal" in fit.at_bound
        for name, value in fit.parameters.items():
            follows = name == "concentration" and "r_tidal" in fit.at_bound
            follows |= blurred and name not in ("amplitude", "r_core")
            hidden = name in fit.at_bound or follows
            error = fit.errors[name]
            known = np.isfinite(error) and not hidden
            rows[name] = {
                "value": None if hidden or not np.isfinite(value) else value,
                "error": error if known else None,
            }
        if beyond:
            rows["r_tidal"]["lower_limit"] = fit.tidal_limit
            said.append(
                f"binned, beta {fit.beta}: r_tidal > {fit.tidal_limit:.3g} arcmin is a lower limit "
                f"(95 %), the rings end at {reach:.4g} arcmin"
            )
        if blurred:
            said.append(
                f"binned, beta {fit.beta}: the rings do not tell its edge from a background"
            )
        said += [
            f"binned, beta {fit.beta}: {name} is at the bound of what was allowed"
            for name in fit.at_bound
            if name != "r_tidal"
        ]
        fits.append(
            {
                "beta": fit.beta,
                "parameters": rows,
                "chi2": fit.chi2,
                "degrees_of_freedom": fit.degrees,
                "reduced_chi2": fit.reduced_chi2,
                "at_bound": list(fit.at_bound),
            }
        )
    return {
        "centre": {"ra": float(ra), "dec": float(dec)},
        "n_rings": len(binned.rings),
        "preferred_beta": binned.best.beta,
        "fits": fits,
        "warnings": said,
    }
