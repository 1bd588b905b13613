"""The joints of a grid's isochrones: EEPs where the number of stars along them jumps.

At the start of core helium burning, say, a way on which hardly a star is met ends in a clump that
holds many. A cell that reaches across puts stars where none are: two blue stragglers of NGC 2682
gained two nats each (`benchmarks/cells`). So cells end there.
"""

import numpy as np
from jaxtyping import Float

N_JOINTS = 4  # with three NGC 2682's ln L is off by 3 more (MIST)
WINDOW = 0.2  # mag along the isochrone, to both sides
FEWEST = 1e-6  # share of all stars that counts as none


def find_joints(
    initial_mass: Float[np.ndarray, "m a e"], magnitudes: Float[np.ndarray, "m a e b"]
) -> tuple[int, ...]:
    """The four EEPs where the numbers of stars before and after differ most.

    By the mean over the isochrones of |ln n₊ / n₋|, the Salpeter stars within 0.2 mag to both
    sides; one after the other, each without the neighbourhood of those before. For PARSEC they are
    the end of the main sequence, the base of the giant branch, the start of helium burning and its
    middle (EEPs 454, 499, 631, 673; Dotter 2016).

    Args:
        initial_mass: never decreasing along EEP [solar].
        magnitudes: in each band.
    """
    step = np.sqrt((np.diff(magnitudes, axis=2) ** 2).mean(axis=-1))
    number = np.diff(initial_mass, axis=-1) * initial_mass[..., 1:] ** -2.35
    # a grid may have an isochrone of one star
    number = number / np.maximum(number.sum(axis=-1, keepdims=True), 1e-30)

    def upto(x):
        return np.pad(np.cumsum(x, axis=-1), ((0, 0), (0, 0), (1, 0))).reshape(-1, x.shape[-1] + 1)

    # EEPs that an isochrone lacks have no length
    place = upto(step) + 1e-9 * np.arange(step.shape[-1] + 1)
    jumps = np.empty_like(place)
    for x, stars, jump in zip(place, upto(number), jumps, strict=True):
        before, here, after = (np.interp(x + by, x, stars) for by in (-WINDOW, 0.0, WINDOW))
        jump[:] = np.abs(np.log((after - here + FEWEST) / (here - before + FEWEST)))
        jump[(x < WINDOW) | (x > x[-1] - WINDOW)] = 0.0
    found: list[int] = []
    while len(found) < N_JOINTS and jumps.any():
        found.append(int(jumps.mean(axis=0).argmax()))
        jumps[np.abs(place - place[:, found[-1:]]) < WINDOW] = 0.0
    return tuple(sorted(found))
