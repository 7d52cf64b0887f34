"""RiskPeriod: as rarely as a given loss of accuracy allows, by prediction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ..problem import Problem
from ..schedules import FixedPeriod, OneShot, Periods_, Schedule, View
from ..stepsizes import StepSize
from .expansion import Expansion
from .predict import predict

# Rows that stand for all of them while periods are tried; the ratio of two predictions needs no more.
TRIED_ROWS = 5_000
# Two neighbours among the periods tried.
RATIO = math.sqrt(2.0)


@dataclass(frozen=True)
class RiskPeriod:
    """The longest period whose predicted excess objective is within 1 + epsilon of that of period 1.

    All shorter ones that are tried (a factor sqrt(2) apart, then by halving the last gap) are within it as well.
    What is compared is the excess of w_bar at the end, at the same step size and n_steps, as ``predict`` has it: to
    second order in the step size, not guaranteed. (Derived for this package; not from a paper.)

    Parameters
    ----------
    epsilon : float
        Loss of accuracy allowed, as a part of the excess of period 1; positive.
    sampling : "reshuffle" or "replacement"
        How the run will draw its rows; runs over arrays reshuffle unless told otherwise. Reshuffled, periods whose
        rounds are too long to be predicted are left out.
    batch_size : int
        Of the run.

    Examples
    --------
    >>> import numpy as np, fastlsgd as fl
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((4000, 3))
    >>> y = np.where(X[:, 0] + rng.logistic(size=4000) > 0, 1.0, -1.0)
    >>> problem = fl.Problem(X, y, loss="logistic", l2=1e-2)
    >>> rule = RiskPeriod(0.1, sampling="replacement")
    >>> bound = rule.bind(problem, fl.Constant(0.1), n_workers=16, n_steps=20_000)
    >>> 1 < bound.period < 100
    True
    """

    epsilon: float
    sampling: Literal["reshuffle", "replacement"] = "reshuffle"
    batch_size: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.epsilon, (str, bool)) or not 0 < self.epsilon < math.inf:
            raise ValueError(f"RiskPeriod: epsilon must be positive and finite, got {self.epsilon!r}")
        if self.sampling not in ("reshuffle", "replacement"):
            raise ValueError(f"RiskPeriod: sampling must be 'reshuffle' or 'replacement', got {self.sampling!r}")

    def next_periods(self, view: View) -> Periods_:
        """Raise: the rule needs the problem's constants."""
        raise ValueError("RiskPeriod must be bound to a problem: local_sgd does it, or rule.bind(problem, ...)")

    def bind(self, problem: Problem | Expansion, step_size: StepSize, n_workers: int, n_steps: int) -> Schedule:
        """Return the schedule with the longest period that keeps the word; ``OneShot()`` where all do.

        Some thirty predictions, each the path of the mean over 5,000 rows: seconds.
        """
        around = problem if isinstance(problem, Expansion) else Expansion(problem, TRIED_ROWS)

        def keeps(period: int) -> bool:
            try:
                return excess(period) <= allowed
            except ValueError:  # beyond what can be predicted, so nothing is promised
                return False

        def excess(period: int) -> float:
            options = {"sampling": self.sampling, "batch_size": self.batch_size}
            return predict(around, period, step_size, n_workers, n_steps, **options).excess  # type: ignore[arg-type]

        if n_workers == 1:
            return OneShot()
        allowed = (1.0 + self.epsilon) * excess(1)
        kept, tried = 1, 2
        while tried < n_steps and keeps(tried):
            kept, tried = tried, max(tried + 1, round(tried * RATIO))
        if tried >= n_steps:
            if keeps(n_steps):
                return OneShot()
            tried = n_steps
        while tried - kept > max(1, kept // 16):
            middle = (kept + tried) // 2
            kept, tried = (middle, tried) if keeps(middle) else (kept, middle)
        return FixedPeriod(kept)
