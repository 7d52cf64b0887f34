"""StepSize: eta as a function of step numbers, arrays in and arrays out.

Step t counts from 1 over the whole run and is never reset by a round. Powers are computed in
the package's own arithmetic, so every processor gives the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from . import _kernels
from .scalars import number, whole

# Of clocks: with any number of steps they stay within 64 bits.
LATEST = 2**62

Steps = npt.NDArray[np.int64]
Etas = npt.NDArray[np.float64]


@runtime_checkable
class StepSize(Protocol):
    """What the solver asks of a step size: a pure function, no memory."""

    def __call__(self, t: Steps) -> Etas:
        """Return eta of the steps t (int64, >= 1), float64, positive and finite."""
        ...


def _inverse_power(t: Steps, alpha: float) -> Etas:
    t = np.ascontiguousarray(t, dtype=np.int64)
    out = np.empty(t.shape)
    _kernels.inverse_power(t, alpha, out)
    return out


@dataclass(frozen=True)
class Constant:
    """eta_t = eta.

    Parameters
    ----------
    eta : float, > 0

    Raises
    ------
    TypeError, ValueError
        No positive, finite number.

    Examples
    --------
    >>> Constant(0.1)(np.array([1, 2, 3]))
    array([0.1, 0.1, 0.1])
    """

    eta: float

    def __post_init__(self) -> None:
        number("Constant: eta", self.eta, above=0.0)

    def __call__(self, t: Steps) -> Etas:
        """Return eta, once a step."""
        return np.full(t.shape, float(self.eta))


@dataclass(frozen=True)
class PolynomialDecay:
    """eta_t = min(eta_max, c t^-alpha).

    alpha in (1/2, 1) is the range in which the Polyak-Ruppert average is statistically optimal.
    eta_max keeps the first steps stable where c is large.

    Parameters
    ----------
    c : float, > 0
    alpha : float, from 0 to 1
    eta_max : float, > 0
        May be infinite.

    Raises
    ------
    TypeError, ValueError
        No such numbers.

    Examples
    --------
    >>> PolynomialDecay(1.0, alpha=0.5)(np.array([1, 4, 16]))
    array([1.  , 0.5 , 0.25])
    """

    c: float
    alpha: float = 0.5
    eta_max: float = float("inf")

    def __post_init__(self) -> None:
        number("PolynomialDecay: c", self.c, above=0.0)
        number("PolynomialDecay: eta_max", self.eta_max, above=0.0, infinite=True)
        number("PolynomialDecay: alpha", self.alpha, least=0.0, most=1.0)

    def __call__(self, t: Steps) -> Etas:
        """Return min(eta_max, c t^-alpha)."""
        return np.minimum(float(self.eta_max), float(self.c) * _inverse_power(t, float(self.alpha)))


@dataclass(frozen=True)
class InverseTime:
    """eta_t = 1 / (mu (t + t0)), for mu-strongly convex objectives.

    Parameters
    ----------
    mu : float, > 0
        Strong convexity. The first step is 1 / (mu (1 + t0)), which has to be stable: ``Problem.step_bound``.
    t0 : int, >= 0

    Raises
    ------
    TypeError, ValueError
        No such numbers.

    Examples
    --------
    >>> InverseTime(mu=0.5, t0=1)(np.array([1, 3]))
    array([1. , 0.5])
    """

    mu: float
    t0: int = 0

    def __post_init__(self) -> None:
        number("InverseTime: mu", self.mu, above=0.0)
        if whole("InverseTime: t0", self.t0, least=0) > LATEST:
            raise ValueError(f"InverseTime: t0 must be at most 2^62, got {self.t0}")

    def __call__(self, t: Steps) -> Etas:
        """Return 1 / (mu (t + t0))."""
        return 1.0 / (float(self.mu) * (np.asarray(t) + int(self.t0)).astype(np.float64))
