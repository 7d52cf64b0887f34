"""Intervals of means and ratios over replicates, and how well predictions do on a test part."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..problem import Problem

Vector = npt.NDArray[np.float64]
Interval = tuple[float, float, float]


def mean_interval(values: Sequence[float]) -> Interval:
    """Return the mean and its 95% interval by Student's t; nan bounds for a single value or an infinite mean."""
    mean, n = float(np.mean(values)), len(values)
    if n < 2 or not math.isfinite(mean):
        return mean, math.nan, math.nan
    half = _t_quantile(n) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return mean, mean - half, mean + half


def ratio_interval(values: Sequence[float], reference: Sequence[float]) -> Interval:
    """Return mean(values) / mean(reference) and its 95% interval, the two paired replicate by replicate.

    Delta method on the logarithm of the ratio of means, with Student's t: the standard error is that of the mean of
    a_r / mean(a) - b_r / mean(b). A single value stands for all replicates (a deterministic method).
    """
    a, b = np.broadcast_arrays(np.array(values, np.float64), np.array(reference, np.float64))
    mean_a, mean_b, n = float(a.mean()), float(b.mean()), len(b)
    if not math.isfinite(mean_b) or mean_b <= 0:
        return math.nan, math.nan, math.nan
    ratio = mean_a / mean_b
    if n < 2 or not 0 < ratio < math.inf:
        return ratio, math.nan, math.nan
    half = _t_quantile(n) * float(np.std(a / mean_a - b / mean_b, ddof=1)) / math.sqrt(n)
    return ratio, ratio * math.exp(-half), ratio * math.exp(half)


def _t_quantile(n: int) -> float:
    from scipy import stats  # half a second to import

    return float(stats.t.ppf(0.975, n - 1))


class TestPart:
    """Rows to predict, and how well a w does on them: AUC for binary losses, R2 for the others.

    Parameters
    ----------
    problem : Problem
        Whose w are to be judged.
    X, y : arrays, shapes (m, n_features) and (m,); X may be CSR
        Prepared as those of the problem.

    Raises
    ------
    ValueError
        Wrong shapes, or labels other than -1 and +1 for a binary loss.
    """

    __test__ = False  # pytest takes classes named Test... for tests

    def __init__(self, problem: Problem, X: npt.ArrayLike, y: npt.ArrayLike) -> None:
        rows: Any = X
        self.X = rows if hasattr(X, "tocsr") else np.asarray(X)
        self.y = np.asarray(y, dtype=np.float64)
        if self.X.ndim != 2 or self.X.shape[1] != problem.n_features or self.y.shape != self.X.shape[:1]:
            raise ValueError(
                f"test must be (X, y) with shapes (m, {problem.n_features}) and (m,), "
                f"got {self.X.shape} and {self.y.shape}"
            )
        binary = problem.loss.is_binary
        if binary and not (np.abs(self.y) == 1).all():
            raise ValueError("the test part's y must hold the labels -1 and +1, as the training part's does")
        self.name = "AUC" if binary else "R2"
        self._value: Callable[[Vector, Vector], float] = auc if binary else r2
        self._error: Callable[[Vector, Vector], float] = auc_error if binary else r2_error

    def mean(self, answers: Sequence[Vector]) -> float:
        """Return the mean of the metric over answers; nan if one of them is not finite."""
        W = np.array(answers)
        if not np.isfinite(W).all():
            return math.nan
        return float(np.mean([self._value(column, self.y) for column in self._predict(W)]))

    def value_and_error(self, w: Vector) -> tuple[float, float]:
        """Return the metric at w and its standard error over test rows."""
        predictions = self._predict(w[None])[0]
        return self._value(predictions, self.y), self._error(predictions, self.y)

    def _predict(self, W: Vector) -> Vector:
        """Predictions, float64, shape (len(W), m); the intercept, if there is one, is the last coordinate."""
        d = self.X.shape[1]
        firsts = range(0, self.X.shape[0], 8192)
        blocks = [(self.X[i : i + 8192].astype(np.float64) @ W[:, :d].T).T for i in firsts]
        return np.concatenate(blocks, axis=1) + W[:, d:].sum(axis=1, keepdims=True)


def _won(mine: Vector, others: Vector) -> Vector:
    """The part of the others that each of mine is above, ties counting half; in the order of sorted mine."""
    mine, others = np.sort(mine), np.sort(others)
    return (np.searchsorted(others, mine, "left") + np.searchsorted(others, mine, "right")) / (2 * len(others))


def auc(scores: Vector, labels: Vector) -> float:
    """Return the area under the ROC curve: how often a positive row scores above a negative one, ties half.

    Parameters
    ----------
    scores, labels : arrays, shape (m,)
        Labels -1 and +1; nan if only one of them occurs.

    Examples
    --------
    >>> auc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([-1, -1, 1, 1]))
    0.75
    """
    positive = labels > 0
    if positive.all() or not positive.any():
        return math.nan
    return float(_won(scores[positive], scores[~positive]).mean())


def auc_error(scores: Vector, labels: Vector) -> float:
    """Return the standard error of the AUC over rows (DeLong, DeLong and Clarke-Pearson 1988; recalled)."""
    positive = labels > 0
    n1, n0 = int(positive.sum()), int((~positive).sum())
    if min(n0, n1) < 2:
        return math.nan
    above = _won(scores[positive], scores[~positive])
    below = _won(-scores[~positive], -scores[positive])
    return math.sqrt(above.var(ddof=1) / n1 + below.var(ddof=1) / n0)


def r2(predictions: Vector, targets: Vector) -> float:
    """Return R2 = 1 - mean squared error / variance of the targets; nan if they do not vary.

    Examples
    --------
    >>> r2(np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 3.0]))
    0.5
    """
    variance = float(np.var(targets))
    return 1.0 - float(np.mean((targets - predictions) ** 2)) / variance if variance else math.nan


def r2_error(predictions: Vector, targets: Vector) -> float:
    """Return the standard error of R2 over rows, by the delta method on the ratio of two means."""
    variance = float(np.var(targets))
    if len(targets) < 2 or variance == 0:
        return math.nan
    squared, spread = (targets - predictions) ** 2, (targets - targets.mean()) ** 2
    influence = (squared - squared.mean() / variance * spread) / variance
    return float(influence.std(ddof=1)) / math.sqrt(len(targets))
