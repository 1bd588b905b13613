"""Bands of photometric systems that are transformed from those of another.

    J_V = J − 0.031 (J − Ks),   H_V = H + 0.015 (J − Ks),   Ks_V = Ks − 0.006 (J − Ks)

of VISTA from 2MASS (González-Fernández et al. 2018, MNRAS 474, 5459), found from stars of little
reddening, the zero points those of CASU's version 1.5. Extinction follows the same sums.
"""

from collections.abc import Mapping

TRANSFORMED: Mapping[str, Mapping[str, float]] = {
    "J_VISTA": {"J": 1.0 - 0.031, "Ks": 0.031},
    "H_VISTA": {"H": 1.0, "J": 0.015, "Ks": -0.015},
    "Ks_VISTA": {"Ks": 1.0 + 0.006, "J": -0.006},
}
