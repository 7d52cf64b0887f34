"""RiskPeriod: as rarely as a given loss of accuracy allows, by prediction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy.typing as npt

from .. import arguments
from ..problem import Problem
from ..schedules import FixedPeriod, OneShot, Periods_, Schedule, View
from ..stepsizes import StepSize
from ..stream_problem import StreamProblem
from .expansion import Expansion
from .predict import Prediction, predict

# Rows that stand for all of them while periods are tried. The doubt leaves out their error: flights13_late, P = 64,
# decaying steps, period 18 is predicted at 1.070 from so many and at 1.061 from 20,000, and measures 1.050.
TRIED_ROWS = 5_000
# Two neighbours among the periods tried.
RATIO = math.sqrt(2.0)


@dataclass(frozen=True)
class RiskPeriod:
    """The longest period whose predicted excess objective is, for all its doubt, within 1 + epsilon of period 1's.

    The predicted ratio of the two and how far it may be off (``Prediction.ratio_to``) are together at most
    1 + epsilon: what both predictions leave out alike cancels, and the rest, taken to be as large as the terms beyond
    second order in the workers' spread that are kept, is held against the period. Without that room the word would be
    broken wherever a ratio near 1 + epsilon is predicted too low.
    All shorter periods that are tried (a factor sqrt(2) apart, then by halving the last gap) keep it as well.
    What is compared is the excess of w_bar, the average of all iterates, at the end, at the same step size, n_steps,
    start, weights, batch and sampling, as ``predict`` has it: to second order in the step size, not guaranteed.
    (Derived for this package; not from a paper.)

    ``local_sgd`` tells the rule how its run is made; what cannot be predicted is refused: another average than
    "polyak", sampling="blocks", rows dealt in blocks unless drawn with replacement, a stream that is not a quadratic.

    Parameters
    ----------
    epsilon : float
        Loss of accuracy allowed, as a part of the excess of period 1; positive.
    sampling : "reshuffle", "replacement" or None
        How the run draws its rows, which must be so; None is as it does. Reshuffled, periods whose rounds are too
        long to be predicted are left out.
    batch_size : int or None
        Likewise.

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

    needs_run: ClassVar[bool] = True

    epsilon: float
    sampling: Literal["reshuffle", "replacement"] | None = None
    batch_size: int | None = None

    def __post_init__(self) -> None:
        arguments.number("RiskPeriod: epsilon", self.epsilon, above=0.0)
        if self.sampling is not None:
            arguments.one_of(
                "RiskPeriod: sampling", self.sampling, ("reshuffle", "replacement"), "; None is the run's"
            )
        if self.batch_size is not None:
            arguments.whole("RiskPeriod: batch_size", self.batch_size)

    def next_periods(self, view: View) -> Periods_:
        """Raise: the rule needs the problem's constants."""
        raise ValueError("RiskPeriod must be bound to a problem: local_sgd does it, or rule.bind(problem, ...)")

    def bind(
        self,
        problem: Problem | Expansion,
        step_size: StepSize,
        n_workers: int,
        n_steps: int,
        *,
        batch_size: int | None = None,
        sampling: str | None = None,
        partition: str = "iid",
        weights: npt.ArrayLike | None = None,
        average: str | None = "polyak",
        w0: npt.ArrayLike | None = None,
    ) -> Schedule:
        """Return the schedule with the longest period that keeps the word; ``OneShot()`` where all do.

        Some thirty predictions, each the path of the mean over 5,000 rows: seconds.

        Parameters
        ----------
        problem : Problem or Expansion
        step_size : StepSize
        n_workers, n_steps : int
        batch_size, sampling, partition, weights, average, w0
            Of the run, as ``local_sgd`` takes them; None is what the rule says, else batches of 1, reshuffled (as
            runs over arrays are unless told otherwise), equal weights and zeros.

        Raises
        ------
        ValueError
            The run is made in another way than the rule says, or in one that cannot be predicted.
        """
        if average != "polyak":
            raise ValueError(
                "RiskPeriod gives its word on the average of all iterates: average must be 'polyak', got "
                f"{average!r}; for another one bind the rule yourself, schedule=rule.bind(problem, ...)"
            )
        n_workers, n_steps = arguments.whole("n_workers", n_workers), arguments.whole("n_steps", n_steps)
        options = self._options(batch_size, sampling, isinstance(problem, StreamProblem))
        options |= {"partition": partition, "weights": weights, "w0": w0}
        is_known = isinstance(problem, (Expansion, StreamProblem))
        around = problem if is_known else Expansion(problem, TRIED_ROWS)  # type: ignore[arg-type]

        def keeps(period: int) -> bool:
            try:
                found = predicted(period)
            except ValueError:  # beyond what can be predicted, so nothing is promised
                return False
            return sum(found.ratio_to(often)) <= 1.0 + self.epsilon

        def predicted(period: int) -> Prediction:
            return predict(around, period, step_size, n_workers, n_steps, **options)

        if n_workers == 1:
            return OneShot()
        often = predicted(1)
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

    def _options(self, batch_size: int | None, sampling: str | None, of_stream: bool) -> dict[str, Any]:
        """Return batch and sampling of the run, which must be what the rule says of them."""
        for name, ours, theirs in (
            ("sampling", self.sampling, sampling),
            ("batch_size", self.batch_size, batch_size),
        ):
            if ours is not None and theirs is not None and ours != theirs:
                raise ValueError(
                    f"RiskPeriod({name}={ours!r}) predicts another run than the one with {name}={theirs!r}; leave "
                    f"{name} out of the rule, which then takes the run's"
                )
        options: dict[str, Any] = {"batch_size": batch_size or self.batch_size or 1}
        if of_stream:  # predictions of streams are of fresh rows
            return options
        drawn = sampling or self.sampling or "reshuffle"
        if drawn not in ("reshuffle", "replacement"):
            raise ValueError(
                f'RiskPeriod predicts sampling="reshuffle" and "replacement", got {drawn!r}; take one of these'
            )
        return options | {"sampling": drawn}
