"""Problems whose truth is known, and means over replicates of runs on them: what figures (a) to (d) share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import theory
from ..experiments.metrics import mean_interval
from ..experiments.replication import Replicates, replicates
from ..problem import Problem
from ..schedules import Schedule
from ..stepsizes import StepSize
from ..stream_problem import StreamProblem
from ..streams import GaussianStream, QuadraticStream
from .figure import Request

Vector = npt.NDArray[np.float64]

# Rows of the logistic problem, and how strongly its labels follow them.
LOGISTIC_ROWS, LOGISTIC_FEATURES, SIGNAL = 4_000, 10, 2.0


@lru_cache(maxsize=1)
def logistic() -> theory.Expansion:
    """Return a logistic problem of 4,000 normal rows with eigenvalues 1/k, and what predictions on it need.

    Rows of an array and not of a stream: runs draw them with replacement, so the optimum is theirs, and predictions
    are of these rows as well.
    """
    w_star = SIGNAL * np.full(LOGISTIC_FEATURES, LOGISTIC_FEATURES**-0.5)
    stream = GaussianStream(LOGISTIC_FEATURES, "1/k", target="logistic", w_star=w_star)
    X, y = StreamProblem(stream, loss="logistic").sample(LOGISTIC_ROWS, seed=2**40)
    return theory.Expansion(Problem(X, y, loss="logistic", l2=1e-3))


@dataclass(frozen=True, eq=False)
class Quadratic:
    """A stream and what ``theory.exact_moments`` is to be told of it."""

    stream: GaussianStream | QuadraticStream
    noise: dict[str, Any]

    @cached_property
    def problem(self) -> Problem:
        """The problem of the stream."""
        return Problem(self.stream)

    def exact(
        self,
        schedule: Schedule,
        step_size: StepSize,
        n_workers: int,
        t: npt.NDArray[np.int64],
        w0: Vector | None = None,
    ) -> theory.ExactMoments:
        """Return the exact moments at steps t, ascending; the workers start at w0, None is zeros."""
        delta0 = (0.0 if w0 is None else w0) - self.stream.w_star
        etas = step_size(np.arange(1, int(t[-1]) + 1, dtype=np.int64))
        return theory.exact_moments(
            self.stream.eigenvalues, delta0, schedule, etas, n_workers, record=t, **self.noise
        )


def additive(n_features: int = 20) -> Quadratic:
    """Return a quadratic with eigenvalues 1/k and additive noise of the same covariance."""
    spectrum = 1.0 / np.arange(1, n_features + 1)
    return Quadratic(QuadraticStream(spectrum, spectrum, dtype="float64"), {"noise_cov": spectrum})


def least_squares(n_features: int = 20) -> Quadratic:
    """Return least squares on normal rows with eigenvalues 1/k, noise of variance 1."""
    stream = GaussianStream(n_features, "1/k", noise=1.0, dtype="float64")
    return Quadratic(stream, {"noise": "gaussian", "target_variance": 1.0})


def many(problem: Problem, request: Request, n_replicates: int, **options: Any) -> Replicates:
    """Return replicates of a run, with the request's seeds and threads; rows are drawn with replacement."""
    options["sampling"] = None if problem.X is None else "replacement"
    return replicates(problem, n_replicates=n_replicates, seed=request.seed, n_threads=request.n_threads, **options)


def excesses(problem: Problem, found: Vector) -> Vector:
    """Return F - F* of iterates (n_replicates, m, n_params), as (n_replicates, m)."""
    flat = problem.excess(found.reshape(-1, found.shape[-1]))
    return np.asarray(flat).reshape(found.shape[:-1])


def points(values: Vector, names: Sequence[str] = ("measured", "low", "high")) -> list[dict[str, Any]]:
    """Return mean and 95% interval over replicates of each column of (n_replicates, m)."""
    return [
        dict(zip(names, mean_interval(column.tolist()), strict=True)) | {"replicates": len(column)}
        for column in values.T
    ]


def bootstrap(
    values: Vector, statistic: Callable[[Vector], float], seed: int, times: int = 400
) -> tuple[float, float]:
    """Return the 95% interval of a statistic of means over replicates, (n_replicates, m), by resampling them."""
    rng = np.random.default_rng(seed)
    found = [statistic(values[rng.integers(len(values), size=len(values))].mean(axis=0)) for _ in range(times)]
    return float(np.quantile(found, 0.025)), float(np.quantile(found, 0.975))
