"""How far a prediction may be off, and how far the ratio of two.

Of the terms beyond second order in the workers' spread predictions keep those that a normal spread has, and those of
its kurtosis, and leave out others of the same order: those of its skewness. What is kept of them moves the mean of
w_bar by D (``Path.beyond``). What is left out is taken to move it as much, by d: along each eigenvector of the
Hessian at w* by a normal variable of standard deviation |D_i|, independent of the others, since nothing says which
way. With B the mean less w*, all times the root of the eigenvalue, so that |B|^2 / 2 is the excess, that changes by
d B + |d|^2 / 2. The doubt is LIKELY roots of its mean square: to either side 1 in 20 is further off.

Two runs that differ in the period alone leave out much the same. Of d the other run's d' is shared, and d - d' its
own, of standard deviation |D_i - D_i'|; so E - r E', with r the predicted ratio of the two, is off by

    (d - d') (B + d') + |d - d'|^2 / 2 + d' (B - r B') + (1 - r) |d'|^2 / 2.

(Derived for this package. A model of what is not known, no bound: docs/predictions.md has how often it was enough.)
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]

# Of a normal variable so many standard deviations and more above its mean are 1 in 20.
LIKELY = NormalDist().inv_cdf(0.95)


@dataclass(frozen=True)
class Doubt:
    """What of a prediction its doubt comes from.

    Attributes
    ----------
    mean : array, shape (m,)
        B, of the mean of w_bar.
    beyond : array, shape (m,)
        D, what of it is of terms beyond second order in the spread.
    """

    mean: Vector
    beyond: Vector

    def of_excess(self) -> float:
        """Return how far the excess may be off."""
        return LIKELY * float(np.sqrt(_mean_square([(self.beyond**2, self.mean, 1.0)])))

    def of_excess_beside(self, other: Doubt, ratio: float) -> float:
        """Return how far the excess may be off from ratio times that of the other run.

        >>> often, rarely = Doubt(np.array([1.0]), np.array([0.0])), Doubt(np.array([1.2]), np.array([0.2]))
        >>> round(rarely.of_excess_beside(often, 1.44), 2), rarely.of_excess_beside(rarely, 1.0)
        (0.4, 0.0)
        """
        shared, own = other.beyond**2, (self.beyond - other.beyond) ** 2
        of_own = own, np.sqrt(self.mean**2 + shared), 1.0
        of_shared = shared, self.mean - ratio * other.mean, 1.0 - ratio
        return LIKELY * float(np.sqrt(_mean_square([of_own, of_shared])))


def _mean_square(terms: list[tuple[Vector, Vector, float]]) -> float:
    """Return the mean square of the sum of d b + c |d|^2 / 2, d normal, for (variances of d, b, c)."""
    mean = sum(0.5 * c * variance.sum() for variance, _, c in terms)
    return float(mean**2 + sum(variance @ b**2 + 0.5 * c**2 * variance @ variance for variance, b, c in terms))
