"""Schedule: when to average. Pure, memoryless functions that name the next round lengths.

A round is `period` local steps on every worker, then one averaging. Period 1 is mini-batch
averaging, period n_steps is one-shot averaging, everything between is local SGD; the kernels
know only round lengths. Those that ask the theory for constants of the problem, AdaptivePeriod and
RiskPeriod, live there. To write a schedule of your own: a frozen dataclass with ``next_periods(view)``; set
``needs_objective = True`` on the class to be given ``view.objective``. One with a method ``bind(problem, step_size,
n_workers, n_steps)`` is replaced by what that returns; with ``needs_run = True`` it is told by name how the run
is made as well: batch_size, sampling, partition, weights, average and w0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .scalars import number, whole

Periods_ = int | Sequence[int] | npt.NDArray[np.int64]

# Equal rounds are named this many at a time: the solver then asks once a slice, not once a round.
MANY = 1 << 16


class View(Protocol):
    """What a schedule may look at when it is asked: at a round's end, never in between."""

    @property
    def n_workers(self) -> int:
        """P."""
        ...

    @property
    def n_steps(self) -> int:
        """Local steps asked for, per worker."""
        ...

    @property
    def t(self) -> int:
        """Local steps done."""
        ...

    @property
    def n_rounds(self) -> int:
        """Averagings done."""
        ...

    @property
    def objective(self) -> tuple[float, ...]:
        """F(w) at t = 0 and at every round end where the schedule was asked, now last.

        Empty unless the schedule's class says ``needs_objective = True``.
        """
        ...

    def eta(self, t: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return the step sizes of the steps t (>= 1)."""
        ...


class Schedule(Protocol):
    """What the solver asks of a schedule."""

    def next_periods(self, view: View) -> Periods_:
        """Return the lengths (>= 1) of the next round or rounds; lengths beyond n_steps are cut."""
        ...


def _equal_rounds(period: int, view: View) -> npt.NDArray[np.int64]:
    left = view.n_steps - view.t
    return np.full(min(MANY, -(-left // period)), min(period, left), dtype=np.int64)


@dataclass(frozen=True)
class MiniBatch:
    """Average after every step: mini-batch SGD with n_workers * batch_size rows a step.

    Examples
    --------
    >>> import fastlsgd as fl
    >>> fl.theory.round_lengths(MiniBatch(), n_workers=4, etas=np.full(3, 0.1))
    array([1, 1, 1])
    """

    def next_periods(self, view: View) -> Periods_:
        """Return rounds of one step."""
        return _equal_rounds(1, view)


@dataclass(frozen=True)
class OneShot:
    """Average once, after the last step.

    Examples
    --------
    >>> import fastlsgd as fl
    >>> fl.theory.round_lengths(OneShot(), n_workers=4, etas=np.full(3, 0.1))
    array([3])
    """

    def next_periods(self, view: View) -> Periods_:
        """Return one round of all steps left."""
        return view.n_steps - view.t


@dataclass(frozen=True)
class FixedPeriod:
    """Average after every `period` steps.

    Parameters
    ----------
    period : int, >= 1
        Local steps a round; of the last round, what is left of n_steps.

    Raises
    ------
    TypeError, ValueError
        No int, or one below 1.

    Examples
    --------
    >>> import fastlsgd as fl
    >>> fl.theory.round_lengths(FixedPeriod(4), n_workers=4, etas=np.full(10, 0.1))
    array([4, 4, 2])
    """

    period: int

    def __post_init__(self) -> None:
        whole("FixedPeriod: period", self.period, hint="; use OneShot() to average only once")

    def next_periods(self, view: View) -> Periods_:
        """Return rounds of `period` steps."""
        return _equal_rounds(int(self.period), view)


@dataclass(frozen=True)
class GrowingPeriod:
    """Round j = 1, 2, ... has ceil(first * j^power) steps.

    Parameters
    ----------
    first : int, >= 1
        Steps of the first round.
    power : float, >= 0
        0 is a fixed period.

    Raises
    ------
    TypeError, ValueError
        No such numbers.

    Examples
    --------
    >>> import fastlsgd as fl
    >>> fl.theory.round_lengths(GrowingPeriod(2), n_workers=4, etas=np.full(20, 0.1))
    array([2, 4, 6, 8])
    """

    first: int
    power: float = 1.0

    def __post_init__(self) -> None:
        whole("GrowingPeriod: first", self.first)
        number("GrowingPeriod: power", self.power, least=0.0)

    def next_periods(self, view: View) -> Periods_:
        """Return the next thousand rounds of the sequence."""
        rounds = np.arange(view.n_rounds + 1, view.n_rounds + 1025, dtype=np.float64)
        with np.errstate(over="ignore"):  # what is beyond every number is beyond n_steps
            first = float(min(self.first, view.n_steps))
            lengths = np.minimum(np.ceil(first * rounds ** float(self.power) - 1e-9), view.n_steps)
        lengths = lengths.astype(np.int64)
        enough = np.searchsorted(np.cumsum(lengths), view.n_steps - view.t) + 1
        return lengths[:enough]


@dataclass(frozen=True)
class PostLocal:
    """Average every step up to step `switch`, then every `period` steps.

    Source: Lin, Stich, Patel and Jaggi, ICLR 2020 (recalled).

    Parameters
    ----------
    switch : int, >= 0
        Local steps after each of which is averaged.
    period : int, >= 1
        Local steps a round from then on.

    Raises
    ------
    TypeError, ValueError
        No such numbers.

    Examples
    --------
    >>> import fastlsgd as fl
    >>> fl.theory.round_lengths(PostLocal(3, period=4), n_workers=4, etas=np.full(10, 0.1))
    array([1, 1, 1, 4, 3])
    """

    switch: int
    period: int

    def __post_init__(self) -> None:
        whole("PostLocal: switch", self.switch, least=0)
        whole("PostLocal: period", self.period)

    def next_periods(self, view: View) -> Periods_:
        """Return rounds of one step before the switch, of `period` steps after it."""
        if view.t < self.switch:
            return np.ones(min(MANY, self.switch - view.t), dtype=np.int64)
        return _equal_rounds(int(self.period), view)


@dataclass(frozen=True)
class Periods:
    """The round lengths given, the last one repeated.

    Parameters
    ----------
    lengths : sequence of int, each >= 1

    Raises
    ------
    TypeError
        No sequence of ints.
    ValueError
        An empty one, or a length below 1.

    Examples
    --------
    >>> import fastlsgd as fl
    >>> fl.theory.round_lengths(Periods([1, 4]), n_workers=4, etas=np.full(10, 0.1))
    array([1, 4, 4, 1])
    """

    lengths: tuple[int, ...]

    def __init__(self, lengths: Sequence[int]) -> None:
        if isinstance(lengths, (str, bytes)) or not hasattr(lengths, "__iter__"):
            raise TypeError(f"Periods: lengths must be a sequence of ints, got {lengths!r}")
        values = tuple(lengths)
        if not values:
            raise ValueError("Periods: lengths must not be empty")
        checked = tuple(whole(f"Periods: lengths[{i}]", value) for i, value in enumerate(values))
        object.__setattr__(self, "lengths", checked)

    def next_periods(self, view: View) -> Periods_:
        """Return what is left of the lengths, or the last one again and again."""
        if view.n_rounds < len(self.lengths):
            return [min(length, view.n_steps) for length in self.lengths[view.n_rounds :]]
        return _equal_rounds(self.lengths[-1], view)
