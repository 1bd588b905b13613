"""Probabilistic models of open star clusters on JAX."""

from jaxcluster import xd as xd
from jaxcluster.catalogue.from_table import from_table as from_table
from jaxcluster.density.mixture import AbstractDensity as AbstractDensity
from jaxcluster.density.mixture import GaussianMixture as GaussianMixture
from jaxcluster.density.mixture import Known as Known
from jaxcluster.density.mixture import Mixture as Mixture
from jaxcluster.density.mixture import Product as Product
from jaxcluster.density.mixture import Subspace as Subspace
from jaxcluster.density.stars import Stars as Stars
from jaxcluster.field.density import FieldDensity as FieldDensity
from jaxcluster.field.density import fit_field as fit_field
from jaxcluster.field.density import published_kde as published_kde
from jaxcluster.inference.fast import fast as fast
from jaxcluster.inference.importance import importance as importance
from jaxcluster.inference.model import Model as Model
from jaxcluster.inference.model import within as within
from jaxcluster.inference.nested import nested as nested
from jaxcluster.inference.nuts import nuts as nuts
from jaxcluster.jobs.members import find_members as find_members
from jaxcluster.population.cmd import ErrorModel as ErrorModel
from jaxcluster.population.cmd import PopulationDensity as PopulationDensity
from jaxcluster.population.cmd import PopulationModel as PopulationModel
from jaxcluster.population.cmd import plane_of as plane_of
from jaxcluster.population.grids import load_grid as load_grid
from jaxcluster.population.isochrone import IsochroneGrid as IsochroneGrid
from jaxcluster.population.mass_function import MassFunction as MassFunction
from jaxcluster.population.mass_function import kroupa as kroupa

__version__ = "0.1.0"
