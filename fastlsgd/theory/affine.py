"""Affine recursions with noise, many steps at once: an iterate, the sum of its positions, their mean and covariance.

One step takes an iterate theta to B theta + a + noise and adds the new theta to a sum S. So do n steps, with other B
and a, and a C with which theta enters S. ``Steps`` is such a stretch; ``then`` joins two of them, so n equal ones
cost log2 n joins. Means and covariances are sums of terms that do not cancel, however small 1 - B is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Steps:
    """A stretch of steps: theta <- B theta + a, S <- S + C theta + s, with noise in both; a first axis is workers.

    Attributes
    ----------
    B, C : array, shape (..., m, m)
    a, s : array, shape (..., m, c)
        Of c means that the same steps take along.
    noise, cross, noise_s : array, shape (..., m, m)
        Covariance of theta's noise, of theta's with S's, and of S's.
    """

    B: Array
    C: Array
    a: Array
    s: Array
    noise: Array
    cross: Array
    noise_s: Array

    def then(self, later: Steps) -> Steps:
        """Return this stretch followed by another."""
        B, C = later.B, later.C
        carried = C @ self.cross
        return Steps(
            B @ self.B,
            self.C + C @ self.B,
            B @ self.a + later.a,
            self.s + C @ self.a + later.s,
            B @ self.noise @ _t(B) + later.noise,
            B @ (self.cross + self.noise @ _t(C)) + later.cross,
            self.noise_s + carried + _t(carried) + C @ self.noise @ _t(C) + later.noise_s,
        )

    def repeated(self, n: int) -> Steps:
        """Return n such stretches, one after the other."""
        return power(self, n, Steps.then)

    def mean_of(self, weights: Array) -> Steps:
        """Return the weighted mean over workers that start together, their noises independent."""

        def mean(values: Array, by: Array) -> Array:
            return np.tensordot(by, values, axes=1)

        squares = weights**2
        return Steps(
            mean(self.B, weights), mean(self.C, weights), mean(self.a, weights), mean(self.s, weights),
            mean(self.noise, squares), mean(self.cross, squares), mean(self.noise_s, squares),
        )  # fmt: skip


def at(theta: Array) -> Steps:
    """Return where a run starts: a stretch that forgets what was before it, at theta, shape (m, c), with S = 0."""
    none = np.zeros((len(theta), len(theta)))
    return Steps(none, none, theta, np.zeros_like(theta), none, none, none)


def power(thing: Thing, n: int, then: Callable[[Thing, Thing], Thing]) -> Thing:
    """Return n >= 1 of the thing joined, by squaring."""
    result = None
    while True:
        if n & 1:
            result = thing if result is None else then(result, thing)
        n >>= 1
        if not n:
            assert result is not None
            return result
        thing = then(thing, thing)


def diagonal_steps(rho: Array, directions: Array, a: Array, noise: Array, n: int) -> Steps:
    """Return n equal steps of symmetric B.

    Parameters
    ----------
    rho : array, shape (..., m)
        Eigenvalues of B.
    directions : array, shape (..., m, m)
        Its eigenvectors, as columns.
    a : array, shape (..., m, c)
        Of one step, along the eigenvectors.
    noise : array, shape (..., m, m)
        Covariance of one step's noise, between eigenvectors.
    n : int
    """
    one = np.ones_like(rho)
    along = power(_Along(rho, rho, one, one, noise, noise, noise), n, _Along.then)

    def back(matrix: Array) -> Array:
        return directions @ matrix @ _t(directions)

    def spread(values: Array) -> Array:
        return (directions * values[..., None, :]) @ _t(directions)

    to_a, to_s = (directions @ (factor[..., None] * a) for factor in (along.e, along.f))
    noises = back(along.noise), back(along.cross), back(along.noise_s)
    return Steps(spread(along.b), spread(along.c), to_a, to_s, *noises)


@dataclass(frozen=True)
class _Along:
    """``Steps`` along the eigenvectors of B: B = diag b, C = diag c, a and s e and f times that of one step."""

    b: Array
    c: Array
    e: Array
    f: Array
    noise: Array
    cross: Array
    noise_s: Array

    def then(self, later: _Along) -> _Along:
        b, c = later.b, later.c
        carried = c[..., :, None] * self.cross
        return _Along(
            b * self.b,
            self.c + c * self.b,
            b * self.e + later.e,
            self.f + c * self.e + later.f,
            _pairs(b, b) * self.noise + later.noise,
            b[..., :, None] * (self.cross + self.noise * c[..., None, :]) + later.cross,
            self.noise_s + carried + _t(carried) + _pairs(c, c) * self.noise + later.noise_s,
        )


def averages(rho: Array, moves: Array, start: Array, noise: Array, n: int) -> tuple[Array, Array]:
    """Return mean (less the start's) and covariance of theta, averaged over the positions before each of n steps.

    Parameters
    ----------
    rho, moves : array, shape (..., m)
        Eigenvalues of B; the first step of the mean, along its eigenvectors.
    start, noise : array, shape (..., m, m)
        Covariance of theta before the first step, and of one step's noise.

    Returns
    -------
    mean : array, shape (..., m)
    covariance : array, shape (..., m, m)
        How the mean moves counts too.
    """
    one, pairs = np.ones_like(rho), np.ones_like(noise)
    sums = power(_Sums(rho, one, 0.0 * one, pairs, 0.0 * pairs, 0.0 * pairs, 0.0 * pairs), n, _Sums.then)
    before = sums.before / n
    path = sums.products / n - _pairs(before, before)
    covariance = start * sums.pairs / n + noise * sums.pairs_before / n + _pairs(moves, moves) * path
    return before * moves, covariance


@dataclass(frozen=True)
class _Sums:
    """Sums over i < n, with E_i = sum of rho^j over j < i: of theta_i - theta_0 as a multiple of the first step.

    b = rho^n and e = E_n; before = sum E_i; for pairs of eigenvalues pairs = sum (rho rho')^i, pairs_before the sum
    over i of its part below i, mixed = sum rho^i E'_i, products = sum E_i E'_i.
    """

    b: Array
    e: Array
    before: Array
    pairs: Array
    pairs_before: Array
    mixed: Array
    products: Array

    def then(self, later: _Sums) -> _Sums:
        left, right = self.e[..., :, None], self.e[..., None, :]
        mixed = later.mixed + right * later.pairs
        return _Sums(
            self.b * later.b,
            later.e + later.b * self.e,
            self.before + later.before + self.e * later.e,
            self.pairs + _pairs(self.b, self.b) * later.pairs,
            self.pairs_before + later.pairs_before + self.pairs * later.pairs,
            self.mixed + self.b[..., :, None] * mixed,
            self.products + later.products + left * mixed + right * _t(later.mixed),
        )


def _pairs(left: Array, right: Array) -> Array:
    return left[..., :, None] * right[..., None, :]


def _t(matrix: Array) -> Array:
    return np.swapaxes(matrix, -1, -2)
