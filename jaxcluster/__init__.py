"""Probabilistic models of open star clusters on JAX."""

from jaxcluster import xd as xd
from jaxcluster.cmd import ErrorModel as ErrorModel
from jaxcluster.cmd import PopulationDensity as PopulationDensity
from jaxcluster.cmd import PopulationModel as PopulationModel
from jaxcluster.cmd import plane_of as plane_of
from jaxcluster.density import AbstractDensity as AbstractDensity
from jaxcluster.density import GaussianMixture as GaussianMixture
from jaxcluster.density import Mixture as Mixture
from jaxcluster.density import Product as Product
from jaxcluster.density import Subspace as Subspace
from jaxcluster.fast import fast as fast
from jaxcluster.field import FieldDensity as FieldDensity
from jaxcluster.field import fit_field as fit_field
from jaxcluster.field import published_kde as published_kde
from jaxcluster.importance_sampling import importance as importance
from jaxcluster.isochrone import IsochroneGrid as IsochroneGrid
from jaxcluster.isochrone import load_grid as load_grid
from jaxcluster.mass_function import MassFunction as MassFunction
from jaxcluster.mass_function import kroupa as kroupa
from jaxcluster.members import find_members as find_members
from jaxcluster.model import Model as Model
from jaxcluster.model import within as within
from jaxcluster.nested_sampling import nested as nested
from jaxcluster.no_u_turn import nuts as nuts
from jaxcluster.stars import Stars as Stars
from jaxcluster.stars import from_table as from_table

__version__ = "0.1.0"
