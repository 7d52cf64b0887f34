"""Which steps tuning may try on least squares: those at which no round of a run is beyond the limit of stability."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np

from ..problem import Problem
from ..schedules import OneShot
from ..stepsizes import StepSize
from ..theory import AdaptivePeriod, Constants, round_lengths
from ..theory.period_limit import limits_of
from .lab import Method, Scaled


def stable_steps(problem: Problem, constants: Constants, step: StepSize) -> Callable[[Method, float], bool] | None:
    """Return what ``Lab`` takes as ``is_stable``; None for other losses, whose iterates stay finite beyond the limit.

    A run of one round, and one whose rounds are not known before it is made, is taken for one-shot averaging, which
    bears the least.
    """
    if problem.loss.name != "squared":
        return None
    limit = lru_cache(maxsize=None)(limits_of(problem, constants))

    def is_stable(method: Method, multiple: float) -> bool:
        rounds = _rounds(method, Scaled(step, multiple))
        return all(eta <= limit(period, method.n_workers, method.batch_size) for period, eta in rounds)

    return is_stable


def _rounds(method: Method, step: StepSize) -> Iterator[tuple[float, float]]:
    """Yield (period, largest step size of such rounds); different periods are rounded up to powers of two."""
    schedule, etas = method.schedule, step(np.arange(1, method.n_steps + 1, dtype=np.int64))
    asks_the_run = hasattr(schedule, "bind") and not isinstance(schedule, AdaptivePeriod)  # that one is bound
    if isinstance(schedule, OneShot) or asks_the_run or getattr(schedule, "needs_objective", False):
        yield math.inf, float(etas.max())
        return
    lengths = round_lengths(schedule, method.n_workers, etas)
    if len(lengths) == 1:
        yield math.inf, float(etas.max())
        return
    largest = np.maximum.reduceat(etas, np.cumsum(lengths) - lengths)
    if len(lengths) > 2 and (lengths[:-1] != lengths[0]).any():
        lengths = 2 ** np.ceil(np.log2(lengths)).astype(np.int64)
    else:
        lengths[-1] = lengths[0]  # the last round is cut where the run ends
    for period in np.unique(lengths):
        yield float(period), float(largest[lengths == period].max())
