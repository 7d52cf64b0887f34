"""The rows of every worker where shards differ, and what the workers see of them.

Everything stands in the eigenbasis of the Hessian at w*, the optimum of all rows, as in ``expansion``; arrays over
workers have them first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..data import shard_sizes
from ..problem import Problem
from .affine import Steps
from .expansion import FEW, LITTLE, MANY, Expansion

Array = npt.NDArray[np.float64]

# There are a dozen matrices of this size a worker, and twice this size are squared some twenty times a stretch.
MOST_PARAMS = 200
# Rows are kept up to so many numbers; of more, a sample of every shard. Four times as many change predictions of
# flights13_late (15 million) by 0.2 to 1%, and take three times as long.
MOST_ENTRIES = 1 << 22
# Second derivatives of slopes are differences over so many standard deviations of the predictions.
NEAR = 1e-2
# Two distributions are the same if their means and their distances from w* differ by less than this part of those.
SAME = 1e-2


@dataclass(frozen=True)
class Normal:
    """Where the workers are: means, shape (n_workers, m), and covariances, shape (n_workers, m, m)."""

    mean: Array
    spread: Array

    def after(self, steps: Steps) -> Normal:
        """Return where they are after the steps."""
        mean = times(steps.B, self.mean) + steps.a[:, :, 0]
        return Normal(mean, steps.B @ self.spread @ np.swapaxes(steps.B, 1, 2) + steps.noise)

    def size(self, eigenvalues: Array) -> float:
        """Return the largest E |H^(1/2) (theta - w*)|^2 of a worker."""
        variances = np.einsum("i,kii->k", eigenvalues, self.spread)
        return float(((eigenvalues * self.mean**2).sum(axis=1) + variances).max())

    def is_near(self, other: Normal, eigenvalues: Array) -> bool:
        """Return whether the two are the same for all that is asked of them."""
        moved = float((eigenvalues * (self.mean - other.mean) ** 2).sum(axis=1).max())
        ours, theirs = self.size(eigenvalues), other.size(eigenvalues)
        return moved <= SAME**2 * ours and abs(ours - theirs) <= SAME * ours

    def half_way(self, other: Normal) -> Normal:
        """Return what lies between the two."""
        return Normal(0.5 * (self.mean + other.mean), 0.5 * (self.spread + other.spread))


class Dealt:
    """All rows dealt to workers in blocks, as they lie, around the optimum of all.

    Of more than 2^22 numbers a sample of every shard stands for its Hessian, its noise, and what the workers' spread
    adds to its gradient; gradients themselves come from all rows.

    Parameters
    ----------
    around : Expansion
        With at most 200 parameters. One pass over the data.
    n_workers : int
    """

    def __init__(self, around: Expansion, n_workers: int) -> None:
        problem, m = around.problem, len(around.eigenvalues)
        if m > MOST_PARAMS:
            raise ValueError(
                f"shards that differ can be predicted for at most {MOST_PARAMS} parameters, got {m}; "
                'use fewer features, or predict partition="iid"'
            )
        if n_workers > problem.n_samples:
            raise ValueError(
                f"n_workers must be at most the {problem.n_samples} rows, so that each worker has a row of its own, "
                f"got {n_workers}"
            )
        self.around, self.n_workers = around, n_workers
        self._ends = np.cumsum(shard_sizes(problem.n_samples, n_workers))
        most = max(1, MOST_ENTRIES // (m * n_workers))
        self._sample(most)
        self._is_sample = problem.n_samples > most * n_workers
        self._parts = self._shards()
        self._slopes = self._weights * self._dloss(self._margins)
        self._gradients = self._of_parts(np.zeros((n_workers, m)))
        if around.is_quadratic:
            self._hessians = np.array([around.into(part.hessian(around.w_star)) for part in self._parts])
            self._hessians -= around.penalty

    def _shards(self) -> list[Problem]:
        """Return the shards as problems of their own, which share the rows."""
        problem, begin, parts = self.around.problem, 0, []
        for end in map(int, self._ends):
            rows, begin = slice(begin, end), end
            weight = None if problem.sample_weight is None else problem.sample_weight[rows]
            parts.append(
                Problem(
                    problem.X[rows], problem.y[rows], loss=problem.loss, l2=problem.l2, sample_weight=weight,
                    fit_intercept=problem.fit_intercept,
                )
            )  # fmt: skip
        return parts

    def _sample(self, most: int) -> None:
        """Keep at most so many rows of each shard, those of shorter shards filled up with rows that weigh nothing."""
        problem, around, P = self.around.problem, self.around, self.n_workers
        rng, begin, chosen = np.random.default_rng(0), 0, []
        for end in self._ends:
            n = int(end) - begin
            chosen.append(begin + (np.arange(n) if n <= most else np.sort(rng.choice(n, most, replace=False))))
            begin = int(end)
        shape = (P, max(map(len, chosen)))
        self._rows, self._share = np.zeros((*shape, len(around.eigenvalues)), np.float32), np.zeros(shape)
        self._margins, self._targets, self._weights = np.zeros(shape), np.ones(shape), np.ones(shape)
        for k, own in enumerate(chosen):
            n, X = len(own), problem.X[own]
            block = np.ones((n, problem.n_params))
            block[:, : problem.n_features] = X.toarray() if problem.is_sparse else X
            self._rows[k, :n], self._share[k, :n] = block @ around.directions, 1.0 / n
            self._margins[k, :n], self._targets[k, :n] = block @ around.w_star, problem.y[own]
            if problem.sample_weight is not None:
                self._weights[k, :n] = problem.sample_weight[own]

    def averaged(self, where: Normal) -> tuple[Array, Array, Array]:
        """Return gradients, Hessians and the noise of one row, averaged over where the workers are.

        Returns
        -------
        gradients : array, shape (n_workers, m, 2)
            The averaged one; and what it would be if only terms of second order in the spread were kept.
        hessians, noise : array, shape (n_workers, m, m)
        """
        around, mean = self.around, where.mean
        z = self._margins + times(self._rows, mean.astype(np.float32))
        variance = np.einsum("kij,kij->ki", self._rows @ where.spread.astype(np.float32), self._rows)
        width = np.sqrt(np.maximum(variance, 0.0).astype(np.float64))
        nodes, shares = FEW if width.max() ** 2 < LITTLE else MANY
        slopes, curvature, squares = np.zeros_like(z), np.zeros_like(z), np.zeros_like(z)
        for node, share in zip(nodes, shares / shares.sum(), strict=True):
            point = z + width * node
            slope = self._weights * self._dloss(point)
            slopes += share * slope
            squares += share * slope**2
            if not around.is_quadratic:
                curvature += share * self._weights * around.problem.loss.d2loss(point)
        if around.is_quadratic:
            hessians = self._hessians
            gradients = np.repeat((self._gradients + times(hessians, mean))[:, :, None], 2, axis=2)
        else:
            below, middle, above = (self._weights * self._dloss(z + width * h) for h in (-NEAR, 0.0, NEAR))
            second = middle + (below - 2.0 * middle + above) / (2.0 * NEAR**2)
            added = np.stack([self._mean_row(values - middle) for values in (slopes, second)], axis=2)
            gradients = self._of_data(mean, middle)[:, :, None] + added
            hessians = self._mean_square(curvature)
        own = gradients[:, :, 0]
        noise = self._mean_square(squares) - hessians @ where.spread @ hessians - own[:, :, None] * own[:, None, :]
        return gradients + (around.pull + mean @ around.penalty)[:, :, None], hessians + around.penalty, noise

    def _of_data(self, mean: Array, slopes: Array) -> Array:
        """Return the gradients of all shards, each at its own mean, without the penalty."""
        if self._is_sample:
            return self._of_parts(mean)
        return self._gradients + self._mean_row(slopes - self._slopes)

    def _of_parts(self, mean: Array) -> Array:
        """Return the same by a pass over all rows."""
        around = self.around
        w = around.w_star + mean @ around.directions.T
        gradients = np.array([part.gradient(at) for part, at in zip(self._parts, w, strict=True)])
        return gradients @ around.directions - around.pull - mean @ around.penalty

    def _dloss(self, z: Array) -> Array:
        return np.asarray(self.around.problem.loss.dloss(z, self._targets))

    def _mean_row(self, weight: Array) -> Array:
        share = (self._share * weight).astype(np.float32)
        return np.asarray((share[:, None, :] @ self._rows)[:, 0], dtype=np.float64)

    def _mean_square(self, weight: Array) -> Array:
        share = (self._share * weight).astype(np.float32)
        return (np.swapaxes(self._rows * share[:, :, None], 1, 2) @ self._rows).astype(np.float64)


def times(matrices: Any, vectors: Any) -> Array:
    """Return a product of matrix and vector for each worker."""
    return (matrices @ vectors[:, :, None])[:, :, 0]
