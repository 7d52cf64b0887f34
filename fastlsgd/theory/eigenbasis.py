"""A problem at one point in the eigenbasis of its Hessian: up to 2,000 parameters, from all rows, exactly."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from ..problem import Problem
from .constants import Constants, check_size, gradient_covariance
from .rows import Terms, drawn, form, some_of, terms
from .stability import second_moment_limit

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]
Block = tuple[Matrix, Terms]

# The stability limit is iterated for on so many rows, of so many numbers, and then checked on all of them.
LIMIT_ROWS, LIMIT_ENTRIES = 10_000, 1 << 23


class Eigenbasis:
    """A problem at w, in the eigenbasis of the Hessian there.

    Parameters
    ----------
    problem : Problem
        With at most 2,000 parameters. Two passes over the data and one eigendecomposition; each constant that needs
        more makes its own passes.
    w : array, shape (n_params,), float64

    Attributes
    ----------
    eigenvalues : array, shape (m,)
        Ascending; those that are zero to rounding are left out.
    directions : array, shape (n_params, m)
        Eigenvectors, as columns.
    covariance : array, shape (m, m)
        Of the gradient of one row.
    """

    def __init__(self, problem: Problem, w: Vector) -> None:
        check_size(problem)
        self.problem, self.w = problem, w
        eigenvalues, directions = np.linalg.eigh(problem.hessian(w))
        present = eigenvalues > problem.n_params * np.finfo(np.float64).eps * eigenvalues[-1]
        if not present.any():
            raise ValueError("the Hessian is zero: X holds nothing but zeros, so there is nothing to estimate")
        self.eigenvalues = eigenvalues[present]
        self.directions = np.ascontiguousarray(directions[:, present])
        self.covariance = self._into(gradient_covariance(problem, w))

    @property
    def sums(self) -> Matrix:
        """lambda_i + lambda_j: what A -> H A + A H multiplies by."""
        return self.eigenvalues[:, None] + self.eigenvalues

    @property
    def noise(self) -> float:
        """tr S."""
        return float(np.trace(self.covariance))

    @property
    def spread(self) -> float:
        """tr(H^-1 S)."""
        return float((np.diag(self.covariance) / self.eigenvalues).sum())

    @property
    def mu_eff(self) -> float:
        """tr S / tr(H^-1 S)."""
        mu, lipschitz = float(self.eigenvalues[0]), float(self.eigenvalues[-1])
        # Without noise nothing drifts and any value would do; the largest gives the shortest period.
        return float(np.clip(self.noise / self.spread, mu, lipschitz)) if self.spread > 0 else lipschitz

    @property
    def drift(self) -> Matrix:
        """A with H A + A H = S: the covariance of an iterate, as a multiple of a small constant step size."""
        return self.covariance / self.sums

    def blocks(self, problem: Problem | None = None) -> Iterator[Block]:
        """Yield all rows, or those of another problem, in the eigenbasis, and what they contribute."""
        problem = problem or self.problem
        for rows, block in problem.blocks():
            yield block @ self.directions, terms(problem, rows, block @ self.w)

    def mean_slope(self) -> Vector:
        """Return the mean gradient of the data, shape (m,): without the penalty's part."""
        total = sum((at.slope @ block for block, at in self.blocks()), np.zeros(len(self.eigenvalues)))
        return total / self.problem.n_samples

    def third(self, spread: Matrix) -> Vector:
        """Return F'''[A] in the eigenbasis, shape (m,)."""
        total = np.zeros(len(self.eigenvalues))
        if self.problem.loss.name == "squared":
            return total
        for block, at in self.blocks():
            total += (at.third * form(block, spread)) @ block
        return total / self.problem.n_samples

    def limit(self, batch_size: int = 1) -> tuple[float, float, Matrix]:
        """Return bounds of the stability limit, proved for these rows, and the spread that grows beyond it.

        Of steps of ``batch_size`` rows: what they add to H A H is so much less.
        """
        most = max(1, min(LIMIT_ROWS, LIMIT_ENTRIES // len(self.eigenvalues)))
        if self.problem.n_samples <= most:
            held = list(self.blocks())
            return second_moment_limit(self.eigenvalues, lambda spread: self._of_batch(spread, held, batch_size))
        sample = list(self.blocks(some_of(self.problem, drawn(self.problem, most, seed=0))))
        return second_moment_limit(
            self.eigenvalues,
            lambda spread: self._of_batch(spread, self.blocks(), batch_size),
            lambda spread: self._of_batch(spread, sample, batch_size),
        )

    def _of_batch(self, spread: Matrix, blocks: Iterable[Block], batch_size: int) -> Matrix:
        mean = np.outer(self.eigenvalues, self.eigenvalues) * spread
        return mean + (self._image(spread, blocks) - mean) / batch_size

    def _image(self, spread: Matrix, blocks: Iterable[Block]) -> Matrix:
        """Return E[G A G], G = s l'' x x' + R: mean over the rows of these blocks."""
        total, n = np.zeros_like(spread), 0
        for block, at in blocks:
            total += (block * (at.curvature**2 * form(block, spread))[:, None]).T @ block
            n += len(block)
        # With D of the data: D A R + R A D + R A R = H A R + R A H - R A R.
        on_right = self.penalised(spread)
        crossed = self.eigenvalues[:, None] * on_right
        return total / n + crossed + crossed.T - self.penalised(on_right.T)

    def penalised(self, matrix: Matrix) -> Matrix:
        """Return the matrix times R, which is l2 but along the intercept."""
        if not self.problem.fit_intercept:
            return self.problem.l2 * matrix
        free = self.directions[-1]
        return self.problem.l2 * (matrix - np.outer(matrix @ free, free))

    def _into(self, matrix: Matrix) -> Matrix:
        return self.directions.T @ matrix @ self.directions


def values_of(at: Eigenbasis) -> tuple[dict[str, float], tuple[float, float], Matrix]:
    """Return the constants by name, tr(H^-1 S) as "spread"; bounds of the stability limit; what grows beyond it."""
    low, high, growing = at.limit()
    values = {
        "mu": float(at.eigenvalues[0]),
        "mu_eff": at.mu_eff,
        "lipschitz": float(at.eigenvalues[-1]),
        "noise": at.noise,
        "spread": at.spread,
        "bias": 0.5 * float(np.linalg.norm(at.third(at.drift))),
        "stability_limit": high,
    }
    return values, (low, high), growing


def constants_of(problem: Problem, w: Vector) -> Constants:
    """Return the constants at w; but for the stability limit they are exact."""
    values, limits, _ = values_of(Eigenbasis(problem, w))
    return Constants(
        floor=values.pop("spread") / (2 * problem.n_samples),
        safe_step=problem.safe_step(),
        step_bound=problem.step_bound(),
        intervals={"stability_limit": limits},
        **values,  # type: ignore[arg-type]
    )
