"""A problem around its optimum: what predictions are made of, computed once.

Everything stands in the eigenbasis of the Hessian at the optimum w*. Averages over the workers' spread are means over
rows, so a sample of the rows serves: what is added to gradient, Hessian and noise comes from the sample, what they
are at w* from all rows. The sample is drawn so that rare and large rows are in it (``representatives``), then moved
to where it has the Hessian of all rows at w*: what it says of changes is that much nearer.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .. import arguments
from ..problem import Problem
from .constants import check_size, gradient_covariance
from .representatives import representatives
from .rows import form

if TYPE_CHECKING:
    from .dealt import Dealt

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]

# The rows that stand for all of them: so many, and of so many numbers, at the most.
SAMPLED_ROWS = 50_000
SAMPLED_ENTRIES = 1 << 25
# Where the sample's Hessian is off by more than this factor it is left as it is; a part of a Hessian that is nothing.
MOST_OFF, NOTHING = 4.0, 1e-6

# Averages over a normal variable. Nodes and weights of Gauss and Hermite, exact for polynomials of degree 5 and 13,
# do for predictions that vary little. Seen over wide ones a logistic slope is a step, which evenly spaced nodes take
# better: their error is about exp(-2 pi^2 / (0.6 sd)), 2e-5 at variance 9. Of few rows that vary so much (digits,
# one-shot, half the limit) seven Gauss points made 0.87 of the measured excess, these make 0.96.
FEW, MANY = (np.polynomial.hermite_e.hermegauss(n) for n in (3, 7))
EVEN = (0.6 * np.arange(-8, 9), np.exp(-0.18 * np.arange(-8, 9) ** 2))
LITTLE, MUCH = 0.1, 1.0
# An excess kurtosis k multiplies their weights by 1 + k He4 / 24 (Gram and Charlier), which is nowhere negative up to
# here (Barton and Dennis, 1952; recalled). Of little variance it makes no difference.
MOST_KURTOSIS = 4.0
# Fourth moments of gradients are those of so many rows, found so many rows at a time.
KICKS, BLOCK = 256, 4096
# Rows multiplied at a time.
NEAR_BY = 1024

# An optimum that is given may be above the minimum by this part of the statistical floor.
NEAR = 1e-6


class Expansion:
    """A problem around its optimum.

    Parameters
    ----------
    problem : Problem
        With at most 2,000 parameters, and an optimum. Two passes over the data and one eigendecomposition.
    n_rows : int or None
        Rows that stand for all of them away from the optimum (``representatives``). None: 50,000, or as many as hold
        2^25 numbers. Their share of the error of a prediction falls with the root of it.
    w_star : array, shape (n_params,), or None
        The optimum, if it is known already; None: ``Problem.optimum`` finds it.

    Attributes
    ----------
    w_star : array, shape (n_params,)
        The optimum.
    eigenvalues : array, shape (m,)
        Of the Hessian at w_star, ascending; those that are zero to rounding are left out.
    directions : array, shape (n_params, m)
        Its eigenvectors, as columns.
    covariance : array, shape (m, m)
        Of the gradient of one row, at w_star in the eigenbasis.
    rows : array, shape (n_rows, m)
        The sampled rows in the eigenbasis; unless the loss is quadratic, moved a little, so that their Hessian at
        w_star is that of all rows.
    penalty : array, shape (m, m)
        The Hessian of the penalty, in the eigenbasis.
    pull : array, shape (m,)
        Its gradient at w_star.

    Examples
    --------
    >>> X = np.array([[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0], [0.0, -2.0]])
    >>> around = Expansion(Problem(X, X @ [1.0, 3.0]))
    >>> around.w_star, around.eigenvalues, around.gradient(np.array([1.0, 1.0]))
    (array([1., 3.]), array([0.5, 2. ]), array([0.5, 2. ]))
    """

    def __init__(self, problem: Problem, n_rows: int | None = None, w_star: npt.ArrayLike | None = None) -> None:
        check_size(problem)
        n_rows = None if n_rows is None else arguments.whole("n_rows", n_rows)
        if problem.X is not None:
            problem.row_norms()  # of a mapped file they are not known yet, nor whether it holds NaN
        self.problem = problem
        self.w_star = problem.optimum() if w_star is None else arguments.point_of(problem, "w_star", w_star)
        eigenvalues, directions = np.linalg.eigh(problem.hessian(self.w_star))
        present = eigenvalues > problem.n_params * np.finfo(np.float64).eps * eigenvalues[-1]
        if not present.any():
            raise ValueError("the Hessian is zero: X holds nothing but zeros, so there is nothing to predict")
        self.eigenvalues = eigenvalues[present]
        self.directions = np.ascontiguousarray(directions[:, present])
        self.covariance = self.into(gradient_covariance(problem, self.w_star))
        penalised = np.ones(problem.n_params)
        penalised[problem.n_features :] = 0.0
        self.penalty = problem.l2 * self.into(np.diag(penalised))
        self.pull = self.directions.T @ (problem.l2 * penalised * self.w_star)
        if w_star is not None:
            self._check_optimum()
        self._sample(n_rows)
        # The rows as last dealt to workers: predictions of the same n_workers share it.
        self.dealt: Dealt | None = None

    def _check_optimum(self) -> None:
        gradient = self.directions.T @ self.problem.gradient(self.w_star)
        off = 0.5 * float(gradient**2 @ (1.0 / self.eigenvalues))
        floor = float((np.diag(self.covariance) / self.eigenvalues).sum()) / (2 * self.problem.n_samples)
        if off > NEAR * floor + 1e-12 * abs(float(self.problem.objective(self.w_star))):
            raise ValueError(
                f"w_star must be the optimum, where the gradient is 0; its norm is {np.linalg.norm(gradient):.3g} "
                f"and F about {off:.3g} above its minimum there; leave w_star out to have it computed"
            )

    def _sample(self, n_rows: int | None) -> None:
        problem = self.problem
        most = n_rows or max(1, min(SAMPLED_ROWS, SAMPLED_ENTRIES // len(self.eigenvalues)))
        chosen, self._stand_for = np.arange(problem.n_samples), np.ones(problem.n_samples)
        if most < problem.n_samples:
            chosen, self._stand_for = representatives(problem, self.eigenvalues, self.directions, most)
        block = np.ones((len(chosen), problem.n_params))
        X = problem.X[chosen]
        block[:, : problem.n_features] = X.toarray() if problem.is_sparse else X
        loss, self._targets = problem.loss, problem.y[chosen].astype(np.float64)
        self._margins = block @ self.w_star
        self._slopes = self._dloss(self._margins)
        self._weights = np.ones(len(chosen))
        if problem.sample_weight is not None:
            self._weights = problem.sample_weight[chosen].astype(np.float64)
        self.rows = block @ self.directions
        self._curvature = loss.d2loss(self._margins)
        self._as_drawn = self.rows
        if len(chosen) < problem.n_samples and not self.is_quadratic:
            self._have_hessian()

    def _have_hessian(self) -> None:
        """Move the sampled rows, as little as may be, to where their Hessian at w* is that of all rows.

        Without that a direction in which the sample has too many or too large rows would lose more curvature than all
        rows have. (5,000 rows of flights13_late, one-shot averaging at half the limit: what the bent slopes take the
        mean away by is off by 2% over seeds without, by 0.6% with it.)
        """
        scale = np.sqrt(self.eigenvalues)
        parts, directions = np.linalg.eigh((np.diag(self.eigenvalues) - self.penalty) / np.outer(scale, scale))
        seen = parts > NOTHING
        root, directions = np.sqrt(parts[seen]), directions[:, seen]
        # Coordinates in which the Hessian of all rows is 1.
        own = (self.rows / scale) @ directions / root
        values, turn = np.linalg.eigh(
            (own * (self._stand_for * self._weights * self._curvature)[:, None]).T @ own / len(own)
        )
        is_near = (values > 1.0 / MOST_OFF) & (values < MOST_OFF)
        turn = turn[:, is_near]
        added = own @ (turn * (values[is_near] ** -0.5 - 1.0)) @ turn.T
        self.rows = self.rows + ((added * root) @ directions.T) * scale

    @property
    def is_quadratic(self) -> bool:
        """Whether F has no third derivative."""
        return self.problem.loss.name == "squared"

    def into(self, matrix: Matrix) -> Matrix:
        """Return a matrix over parameters in the eigenbasis."""
        return self.directions.T @ matrix @ self.directions

    def row_variance(self, spread: Matrix) -> Vector:
        """Return x' A x of the sampled rows: the variance of their predictions under a spread A of the iterate."""
        return np.maximum(np.einsum("ij,ij->i", self.rows @ spread, self.rows), 0.0)

    def gradient(self, delta: Vector, variance: Matrix | None = None, kurtosis: Matrix | None = None) -> Vector:
        """Return F'(w* + delta), averaged over predictions of that variance and excess kurtosis."""
        if self.is_quadratic:
            return self.eigenvalues * delta
        (slopes,) = self._averages(delta, variance, kurtosis, lambda z: (self._dloss(z),))
        return self._change_of_gradient(slopes) + self.penalty @ delta

    def hessian(self, delta: Vector, variance: Matrix | None = None, kurtosis: Matrix | None = None) -> Matrix:
        """Return F''(w* + delta), averaged likewise."""
        if self.is_quadratic:
            return np.diag(self.eigenvalues)
        (curvature,) = self._averages(delta, variance, kurtosis, lambda z: (self.problem.loss.d2loss(z),))
        return self._with_curvature(curvature)

    def averaged(
        self, delta: Vector, variance: Matrix, kurtosis: Matrix | None = None
    ) -> tuple[Vector, Matrix, Matrix, Vector]:
        """Return gradient, Hessian, E l'^2 x x' and what ``_fourth`` says at w* + delta, averaged likewise."""

        if self.is_quadratic:
            return self._averaged_of_quadratic(delta, variance)

        def looked_at(z: Vector) -> tuple[Vector, ...]:
            slope = self._dloss(z)
            square = slope**2
            return slope, self.problem.loss.d2loss(z), square, square**2

        slopes, curvature, squares, fourth = self._averages(delta, variance, kurtosis, looked_at)
        gradient = self._change_of_gradient(slopes) + self.penalty @ delta
        return (
            gradient,
            self._with_curvature(curvature),
            self._squares(squares - self._slopes**2),
            self._fourth(fourth),
        )

    def _averaged_of_quadratic(self, delta: Vector, variance: Matrix) -> tuple[Vector, Matrix, Matrix, Vector]:
        """Return the same where slopes are linear: no average over predictions is to be taken, nor a fourth power."""
        moved = self.rows @ delta
        added = moved * (moved + 2.0 * self._slopes) + np.atleast_2d(variance).mean(axis=0)
        hessian = np.diag(self.eigenvalues)
        return self.eigenvalues * delta, hessian, self._squares(added), np.zeros(len(self.rows))

    def _squares(self, added: Vector) -> Matrix:
        """Return E l'^2 x x' where it is so much more than at w*, for each row."""
        # The covariance at w* is a mean of squares: there the mean gradient of the data is minus the penalty's.
        at_optimum = self.covariance + np.outer(self.pull, self.pull)
        return at_optimum + self._mean_of_rows(self._weights**2 * added)

    def _change_of_gradient(self, slopes: Vector) -> Vector:
        return (self._stand_for * self._weights * (slopes - self._slopes)) @ self.rows / len(self.rows)

    def _with_curvature(self, curvature: Vector) -> Matrix:
        """Return the Hessian with the sampled rows' curvatures; no row's part of it is below 0, nor is their sum.

        What the sample loses may be more than all rows have, along a feature that it holds too often: without a
        bound that direction would drive the mean away.
        """
        hessian = np.diag(self.eigenvalues) + self._mean_of_rows(self._weights * (curvature - self._curvature))
        data = hessian - self.penalty
        try:
            np.linalg.cholesky(data)
        except np.linalg.LinAlgError:
            values, directions = np.linalg.eigh(data)
            return self.penalty + (directions * np.maximum(values, 0.0)) @ directions.T
        return hessian

    def _fourth(self, powers: Vector) -> Vector:
        """Return E (x' g)^4 for each sampled row x, g the gradient of a row whose E l'^4 is given."""
        drawn, share, scale, table = self._kicks
        return scale**2 * (table @ (share * powers[drawn]).astype(np.float32))

    @cached_property
    def _kicks(self) -> tuple[npt.NDArray[np.int64], Vector, Vector, npt.NDArray[np.float32]]:
        """Rows whose gradients stand for all, what each counts over l'^4, and (x' g)^4 at w* over scale^2; scale."""
        gradients = (self._weights * self._slopes)[:, None] * self.rows
        # Large ones decide: they are taken as often as they are large, evenly along the sum of all sizes.
        size = gradients**2 @ self.eigenvalues
        passed = np.cumsum(self._stand_for * size)
        drawn, share = np.zeros(KICKS, dtype=np.int64), np.zeros(KICKS)
        if passed[-1] > 0.0:
            drawn = np.searchsorted(passed, passed[-1] * (np.arange(KICKS) + 0.5) / KICKS)
            share = passed[-1] / (KICKS * len(size) * size[drawn] * self._slopes[drawn] ** 4)
        scale = self.row_variance(self.covariance)
        table = np.empty((len(self.rows), KICKS), dtype=np.float32)
        for begin in range(0, len(table), BLOCK):
            block = slice(begin, begin + BLOCK)
            seen = (self.rows[block] @ gradients[drawn].T) ** 2
            table[block] = (seen / np.where(scale[block] > 0.0, scale[block], 1.0)[:, None]) ** 2
        return drawn, share, scale, table

    def added_noise(self, spread: Matrix) -> Matrix:
        """Return E l''^2 (x' A x) x x' - D A D: what a small spread A adds to the noise's covariance; linear in A.

        Of the rows as they were drawn: moved ones have the second moments of all rows, and fourth ones further off.
        """
        data_hessian = np.diag(self.eigenvalues) - self.penalty
        weight = (self._weights * self._curvature) ** 2
        rows = self._as_drawn
        return self._mean_of_rows(weight * form(rows, spread), rows) - data_hessian @ spread @ data_hessian

    def _dloss(self, z: Vector) -> Vector:
        return np.asarray(self.problem.loss.dloss(z, self._targets))

    def _averages(
        self,
        delta: Vector,
        variance: Matrix | None,
        kurtosis: Matrix | None,
        functions: Callable[[Vector], tuple[Vector, ...]],
    ) -> tuple[Vector, ...]:
        """Functions of the sampled rows' predictions, averaged over those of that variance and excess kurtosis.

        Of several, (n, n_rows), the mean.
        """
        z = self._margins + self.rows @ delta
        if variance is None:
            return functions(z)
        several, most = np.atleast_2d(variance), variance.max()
        nodes, weights = FEW if most < LITTLE else MANY if most < MUCH else EVEN
        weights = weights / weights.sum() / len(several)
        tilts: list[Vector | None] = [None] * len(several)
        if kurtosis is not None and most >= LITTLE:
            bounded = np.minimum(np.atleast_2d(kurtosis), MOST_KURTOSIS) / 24.0
            tilts = [tilt if tilt.any() else None for tilt in bounded]
        sums: tuple[Vector, ...] = ()
        for width, tilt in zip(np.sqrt(several), tilts, strict=True):
            for node, weight in zip(nodes, weights, strict=True):
                values, by = functions(z + width * node), weight
                if tilt is not None:
                    by = tilt * (weight * (node**4 - 6.0 * node**2 + 3.0))
                    by += weight
                sums = sums or tuple(np.zeros_like(value) for value in values)
                for total, value in zip(sums, values, strict=True):
                    total += by * value
        return sums

    def _mean_of_rows(self, weight: Vector, rows: Matrix | None = None) -> Matrix:
        rows = self.rows if rows is None else rows
        by, total = self._stand_for * weight, np.zeros((rows.shape[1],) * 2)
        # So many rows at a time stay in the cache, with what they are multiplied to.
        for begin in range(0, len(by), NEAR_BY):
            block = rows[begin : begin + NEAR_BY]
            total += (block * by[begin : begin + NEAR_BY, None]).T @ block
        return total / len(by)
