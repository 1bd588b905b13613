"""Are the sample's stars where cluster and field say? A test of the posterior's own predictions.

Of a draw θ of the posterior, stars are drawn from cluster + field, ten for each of the sample and
5000 at least. They part the diagram into K cells that expect as many stars each: strips of
magnitude, each cut in the (first) colour. Then

    T(θ) = Σ_k (O_k − N/K)² / (N/K)

of the sample's numbers O_k is χ² distributed with K − 1 degrees of freedom, however many parameters
were fitted (Johnson 2004, of θ *drawn* from the posterior, not its maximum). The p-value is the
median over draws, as one draw's is chance (`benchmarks/trust` has those of real clusters).

A test says whether a misfit is more than chance, which it always is for stars enough; how large it
is, `misplaced` says: the share of the sample that would have to move.
"""

import math
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int
from scipy.special import chdtrc  # scipy.stats takes 0.4 s to import

from jaxcluster.density.stars import Stars
from jaxcluster.field.density import FieldDensity
from jaxcluster.jobs.stellar import Populations

DRAWS = 20  # of the posterior
PREDICTED, LEAST = 10, 5000  # stars for each of the sample, and at least
EXPECTED = 8.0  # stars in a cell at least
MOST_CELLS = 8  # strips of magnitude, and cells of colour in each
HIDDEN = -60.0  # ln of the share of a population between the limits
# from which on a misfit is told; of 46 real clusters 4 are told
LEAST_P, MISPLACED = 1e-3, 0.05


class Cell(NamedTuple):
    """A piece of the diagram, with the stars that are there and those expected."""

    magnitudes: tuple[float, float]
    colours: tuple[float, float]
    found: int
    expected: float


class GoodnessOfFit(NamedTuple):
    """How well cluster + field tell where the stars are; see the module.

    Args:
        p_value: of T, the median over draws of the posterior.
        misplaced: share of the sample beyond what chance misplaces, ½ Σ |O − E| / N less that.
        cells: of all draws' predictions together, the one with the largest misfit first.
    """

    p_value: float
    misplaced: float
    cells: tuple[Cell, ...]

    def flag(self, columns: tuple[str, ...]) -> str | None:
        """Sentence on a misfit that is no chance and not small, with its worst cell."""
        if self.p_value > LEAST_P or self.misplaced < MISPLACED:
            return None
        worst, (magnitude, colour) = self.cells[0], columns[:2]
        return (
            f"{self.misplaced:.0%} of the stars are not where cluster + field expect them "
            f"(p = {self.p_value:.1g}): {worst.found} with {magnitude} {worst.magnitudes[0]:.2f} "
            f"to {worst.magnitudes[1]:.2f} and {colour} {worst.colours[0]:.2f} to "
            f"{worst.colours[1]:.2f} where {worst.expected:.0f} are expected"
        )


def goodness_of_fit(
    stars: Stars, field: FieldDensity, found: Populations, rng: np.random.Generator
) -> GoodnessOfFit | None:
    """Test a posterior's predictions against the sample; None of fewer stars than four cells need.

    Args:
        stars: the sample, in order of magnitude.
        field: their competitor.
        found: populations of draws of the posterior.
        rng: for predictions.
    """
    x = np.asarray(stars.x, float)[:, :2]
    if len(x) < 4 * EXPECTED:
        return None
    across = min(int(math.sqrt(len(x) / EXPECTED)), MOST_CELLS)
    chosen = np.linspace(0, len(found.share) - 1, DRAWS).astype(int)
    number = max(PREDICTED * len(x), LEAST)
    predicted = [_predicted(stars, field, found, int(i), number, rng) for i in chosen]
    # cells of finitely many predictions are as unequal as those are by chance
    loose = 1.0 + len(x) / number
    freedom, mean = across**2 - 1, len(x) / across**2
    values = [
        np.sum((Parted.by(each, across).count(x) - mean) ** 2) / mean / loose for each in predicted
    ]
    parted = Parted.by(np.concatenate(predicted), across)
    counts = parted.count(x)
    moved = 0.5 * np.abs(counts - mean).sum() / len(x)
    chance = 0.5 * across**2 * math.sqrt(2.0 * mean / math.pi) / len(x)  # of Poisson numbers
    order = np.argsort(-np.abs(counts - mean), kind="stable").tolist()
    return GoodnessOfFit(
        p_value=float(np.median(chdtrc(freedom, values))),
        misplaced=max(float(moved - chance), 0.0),
        cells=tuple(Cell(*parted.edges(k), int(counts[k]), mean) for k in order),
    )


def _predicted(
    stars: Stars, field: FieldDensity, found: Populations, draw: int, number: int, rng
) -> Float[np.ndarray, "m 2"]:
    """Stars of one draw's cluster + field."""
    magnitude, noise = np.asarray(stars.x)[:, 0], np.asarray(stars.noise)

    def noise_at(where):
        return noise[np.minimum(np.searchsorted(magnitude, where), len(magnitude) - 1)]

    cluster = jax.tree.map(lambda a: a[draw], found.cluster)
    # a population that the limits hide altogether is no part of the sample, whatever its share
    seen = float(cluster.log_selected) > HIDDEN
    members = round(number * float(found.share[draw])) if seen else 0
    drawn = cluster.sample(members, noise_at, rng), field.sample(number - members, rng)
    return np.concatenate(drawn)[:, :2]


class Parted(NamedTuple):
    """The diagram in strips of magnitude, each in as many cells of colour."""

    magnitudes: Float[np.ndarray, " e"]  # between strips
    colours: Float[np.ndarray, "s e"]  # between the cells of each
    ends: Float[np.ndarray, "2 2"]  # least and largest magnitude and colour

    @classmethod
    def by(cls, x: Float[np.ndarray, "m 2"], across: int) -> "Parted":
        """Part so that each cell has as many of these stars."""
        strips = np.array_split(x[np.argsort(x[:, 0])], across)
        shares = np.arange(1, across) / across
        return cls(
            magnitudes=np.array([strip[0, 0] for strip in strips[1:]]),
            colours=np.array([np.quantile(strip[:, 1], shares) for strip in strips]),
            ends=np.stack([x.min(axis=0), x.max(axis=0)]).T,
        )

    def count(self, x: Float[np.ndarray, "n 2"]) -> Int[np.ndarray, " k"]:
        """Stars in each cell."""
        strip = np.searchsorted(self.magnitudes, x[:, 0], side="right")
        cell = (x[:, 1:] >= self.colours[strip]).sum(axis=1)
        across = len(self.colours)
        return np.bincount(strip * across + cell, minlength=across**2)

    def edges(self, cell: int) -> tuple[tuple[float, float], tuple[float, float]]:
        """Ends of a cell in magnitude and colour."""
        strip, column = divmod(cell, len(self.colours))
        (low, high), (blue, red) = self.ends
        along = [low, *self.magnitudes, high]
        beside = [blue, *self.colours[strip], red]
        magnitudes, colours = along[strip : strip + 2], beside[column : column + 2]
        return (float(magnitudes[0]), float(magnitudes[1])), (float(colours[0]), float(colours[1]))
