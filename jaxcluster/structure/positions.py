"""Positions that can have a structure: enough stars, at finite places, and not all at one."""

import numpy as np

LEAST = 10  # stars


SAMPLE = "take a larger sample, or a lower limit of its probabilities"


def enough(n: int, where: str = "", remedy: str = SAMPLE) -> None:
    """Check the number of stars.

    Args:
        n: that number.
        where: which stars they are, for the message.
        remedy: what to do, for the message.

    Raises:
        ValueError: fewer than 10.
    """
    if n < LEAST:
        raise ValueError(
            f"stars: found {n}{where and ' '}{where}, expected {LEAST} or more; {remedy}"
        )


def positions(x: object, name: str = "x") -> np.ndarray:
    """Check positions in the plane and return them as an array [n, 2].

    Args:
        x: positions [arcmin].
        name: of the argument, for messages.

    Raises:
        ValueError: not of shape [n, 2], fewer than 10, not finite, or all at one place.
    """
    array = np.asarray(x, float)
    if array.ndim != 2 or array.shape[1] != 2:
        raise ValueError(
            f"{name}: found shape {array.shape}, expected [n, 2] in arcmin, as from "
            "jaxcluster.catalogue.sky.to_plane"
        )
    enough(len(array))
    if bad := int((~np.isfinite(array)).any(axis=1).sum()):
        raise ValueError(f"{name}: {bad} of {len(array)} are not finite; drop those stars")
    if np.ptp(array, axis=0).max() == 0:
        raise ValueError(
            f"{name}: all {len(array)} stars are at one place, {array[0, 0]:g}, {array[0, 1]:g} "
            "arcmin; expected a field around a cluster, so look at the columns of the table"
        )
    return array


def as_weights(weights: object, n: int, name: str = "weights") -> np.ndarray:
    """Check weights and return them as an array [n]; ones for None.

    Args:
        weights: of each star, such as membership probabilities.
        n: number of stars.
        name: of the argument, for messages.

    Raises:
        ValueError: another number, negative or not finite, or none above 0.
    """
    if weights is None:
        return np.ones(n)
    array = np.asarray(weights, float)
    if array.shape != (n,):
        raise ValueError(f"{name}: found shape {array.shape}, expected [{n}], one for each star")
    if bad := int((~(np.isfinite(array) & (array >= 0))).sum()):
        raise ValueError(
            f"{name}: {bad} of {n} are negative or not finite; expected such as membership "
            "probabilities, so drop those stars or set 0"
        )
    if not array.sum() > 0:
        raise ValueError(f"{name}: all {n} are 0; expected some stars to count")
    return array
