"""Predictions against runs: what ``theory.predict`` says beside replicates, and whether RiskPeriod keeps its word."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..problem import Problem
from ..schedules import FixedPeriod, MiniBatch, Schedule
from ..solver import local_sgd
from ..stepsizes import StepSize
from ..theory import Expansion, RiskPeriod, predict

Sampling = Literal["replacement", "reshuffle"]
Partition = Literal["iid", "contiguous"]

# Replicates are added this many at a time.
AT_ONCE = 25


@dataclass(frozen=True)
class Setting:
    """A run but for its schedule: the same for prediction and replicates.

    Attributes
    ----------
    problem : Problem
    step_size : StepSize
    n_workers, n_steps : int
    sampling : "replacement" or "reshuffle"
    partition : "iid" or "contiguous"
    batch_size : int
    """

    problem: Problem
    step_size: StepSize
    n_workers: int
    n_steps: int
    sampling: Sampling = "replacement"
    partition: Partition = "iid"
    batch_size: int = 1

    def excesses(self, schedule: Schedule, seeds: Iterable[int]) -> npt.NDArray[np.float64]:
        """Return F(w_bar) - F* of a run a seed, from zero."""
        averages = [
            local_sgd(
                self.problem, n_workers=self.n_workers, n_steps=self.n_steps, schedule=schedule, seed=seed,
                step_size=self.step_size, sampling=self.sampling, partition=self.partition,
                batch_size=self.batch_size, record=0,
            ).w_bar
            for seed in seeds
        ]  # fmt: skip
        return np.atleast_1d(self.problem.excess(np.array(averages)))


@dataclass(frozen=True)
class Compared:
    """A prediction beside replicates.

    Attributes
    ----------
    predicted, measured, standard_error : float
        Excess objective of w_bar: predicted; mean over the replicates, with its standard error.
    n_replicates : int
    """

    predicted: float
    measured: float
    standard_error: float
    n_replicates: int

    @property
    def ratio(self) -> float:
        """Predicted over measured."""
        return self.predicted / self.measured


def compare_prediction(
    setting: Setting,
    schedule: Schedule,
    *,
    around: Expansion | None = None,
    precision: float = 0.025,
    most: int = 400,
) -> Compared:
    """Predict the run, then make replicates until the standard error of their mean is below precision, or `most`."""
    expected = predict(
        around or Expansion(setting.problem), schedule, setting.step_size, setting.n_workers, setting.n_steps,
        sampling=setting.sampling, partition=setting.partition, batch_size=setting.batch_size,
    ).excess  # fmt: skip
    found = np.zeros(0)
    while len(found) < most:
        found = np.append(found, setting.excesses(schedule, range(len(found), min(most, len(found) + AT_ONCE))))
        error = float(found.std(ddof=1) / np.sqrt(len(found)))
        if error <= precision * found.mean():
            break
    return Compared(expected, float(found.mean()), error, len(found))


@dataclass(frozen=True)
class Kept:
    """Whether a period kept within 1 + epsilon of period 1.

    Attributes
    ----------
    period : int
        n_steps stands for one-shot averaging.
    ratio, low, high : float
        excess(period) / excess(1) of the replicates' means, and its 95% interval from pairs with common seeds.
    n_replicates : int
    saved : float
        Averagings of period 1 over those of the period.
    """

    period: int
    ratio: float
    low: float
    high: float
    n_replicates: int
    saved: float


def paired_ratio(setting: Setting, period: int, half_width: float, most: int = 1000) -> Kept:
    """Measure excess(period) / excess(1) until its 95% interval is half_width to either side; `most` replicates."""
    ours, theirs = np.zeros(0), np.zeros(0)
    schedule = FixedPeriod(period)
    while True:
        seeds = range(len(ours), min(most, len(ours) + AT_ONCE))
        ours = np.append(ours, setting.excesses(schedule, seeds))
        theirs = np.append(theirs, setting.excesses(MiniBatch(), seeds)) if period > 1 else ours
        ratio = float(ours.mean() / theirs.mean())
        # Delta method: of a ratio of means, the residuals are those of ours - ratio theirs.
        error = float((ours - ratio * theirs).std(ddof=1) / np.sqrt(len(ours)) / theirs.mean())
        if 1.96 * error <= half_width or len(ours) >= most:
            saved = setting.n_steps / -(-setting.n_steps // period)
            return Kept(period, ratio, ratio - 1.96 * error, ratio + 1.96 * error, len(ours), saved)


def check_risk_period(setting: Setting, epsilon: float, *, around: Expansion | None = None, most: int = 1000) -> Kept:
    """Let RiskPeriod choose, and measure what its period costs against period 1.

    It has kept its word if ``low <= 1 + epsilon``.
    """
    rule = RiskPeriod(epsilon, sampling=setting.sampling)
    bound = rule.bind(
        around or setting.problem, setting.step_size, setting.n_workers, setting.n_steps,
        partition=setting.partition, batch_size=setting.batch_size,
    )  # fmt: skip
    period = getattr(bound, "period", setting.n_steps)
    return paired_ratio(setting, period, epsilon / 3.0, most)


def best_fixed_period(setting: Setting, epsilon: float, periods: Sequence[int], most: int = 1000) -> Kept:
    """Return the longest of the periods (ascending) that measures within 1 + epsilon, found by bisection.

    The first one is taken to; if the last one does, it is the answer. What RiskPeriod is to be held against.
    """

    def measured(place: int) -> Kept:
        return paired_ratio(setting, periods[place], epsilon / 3.0, most)

    low, high = 0, len(periods) - 1
    last = measured(high)
    if last.ratio <= 1.0 + epsilon:
        return last
    best = measured(low)
    while high - low > 1:
        middle = (low + high) // 2
        found = measured(middle)
        if found.ratio <= 1.0 + epsilon:
            low, best = middle, found
        else:
            high = middle
    return best
