"""Probabilistic models of open star clusters on JAX.

What to try first, after ``jax.config.update("jax_enable_x64", True)``:

- `find_members`: the cluster in a raw Gaia field, and its members;
- `bayes_factor`: whether a candidate is a cluster, its age, distance, masses, members;
- `king`: its structure, from positions;
- `fit`: any `Model`, that is a prior, a density of one star, and stars;
- `batch`: `bayes_factor` of a whole catalogue of candidates, `vet` of one, as a row.

Results have ``summary()``, ``table()``, ``members``, ``figures()`` and ``save``; `load` reads them.
"""

from jaxcluster import xd
from jaxcluster.catalogue.files import write_table
from jaxcluster.catalogue.from_table import from_table
from jaxcluster.catalogue.merge import merge
from jaxcluster.catalogue.preparation import correct_parallax, cut_outliers
from jaxcluster.catalogue.tables import read_table
from jaxcluster.density.mixture import (
    AbstractDensity,
    AbstractMixture,
    GaussianMixture,
    Known,
    Mixture,
    Product,
    Subspace,
)
from jaxcluster.density.stars import Stars
from jaxcluster.field.density import FieldDensity, fit_field, published_kde
from jaxcluster.inference.fast import fast
from jaxcluster.inference.importance import importance
from jaxcluster.inference.maximum import maximum_likelihood
from jaxcluster.inference.model import Model
from jaxcluster.inference.nested import nested
from jaxcluster.inference.nuts import nuts
from jaxcluster.inference.posterior import Posterior
from jaxcluster.inference.priors import supported, within
from jaxcluster.jobs.across_grids import AcrossGrids
from jaxcluster.jobs.batch import batch
from jaxcluster.jobs.bayes_factor import bayes_factor
from jaxcluster.jobs.fit import fit
from jaxcluster.jobs.king import king
from jaxcluster.jobs.members import find_members
from jaxcluster.jobs.model_files import load_model
from jaxcluster.jobs.results import load
from jaxcluster.jobs.vet import vet
from jaxcluster.population.cmd import ErrorModel, PopulationDensity, PopulationModel, plane_of
from jaxcluster.population.colour_error import load_colour_error
from jaxcluster.population.files import read_isochrones
from jaxcluster.population.grids import load_grid
from jaxcluster.population.isochrone import IsochroneGrid
from jaxcluster.population.mass_function import MassFunction, kroupa
from jaxcluster.population.parallax import Parallaxes
from jaxcluster.population.simulate import simulate_cluster, simulate_field, simulate_pair
from jaxcluster.structure.footprint import Footprint, annulus, box, circle, polygon
from jaxcluster.structure.profiles import (
    AbstractProfile,
    ElsonFallFreeman,
    GeneralisedKing,
    King,
    plummer,
    untruncated_king,
)
from jaxcluster.structure.surface import ClusterOnSky, FieldOnSky, SurfaceDensity

__version__ = "0.1.0"
__all__ = [
    "AbstractDensity",
    "AbstractMixture",
    "AbstractProfile",
    "AcrossGrids",
    "ClusterOnSky",
    "ElsonFallFreeman",
    "ErrorModel",
    "FieldDensity",
    "FieldOnSky",
    "Footprint",
    "GaussianMixture",
    "GeneralisedKing",
    "IsochroneGrid",
    "King",
    "Known",
    "MassFunction",
    "Mixture",
    "Model",
    "Parallaxes",
    "PopulationDensity",
    "PopulationModel",
    "Posterior",
    "Product",
    "Stars",
    "Subspace",
    "SurfaceDensity",
    "annulus",
    "batch",
    "bayes_factor",
    "box",
    "circle",
    "correct_parallax",
    "cut_outliers",
    "fast",
    "find_members",
    "fit",
    "fit_field",
    "from_table",
    "importance",
    "king",
    "kroupa",
    "load",
    "load_colour_error",
    "load_grid",
    "load_model",
    "maximum_likelihood",
    "merge",
    "nested",
    "nuts",
    "plane_of",
    "plummer",
    "polygon",
    "published_kde",
    "read_isochrones",
    "read_table",
    "simulate_cluster",
    "simulate_field",
    "simulate_pair",
    "supported",
    "untruncated_king",
    "vet",
    "within",
    "write_table",
    "xd",
]


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
