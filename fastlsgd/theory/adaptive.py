"""AdaptivePeriod: as rarely as the step size allows, by a constant of the problem."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..arguments import number, one_of
from ..problem import Problem
from ..schedules import OneShot, Periods_, Schedule, View
from ..stepsizes import StepSize
from ..stream_problem import StreamProblem
from .constants import Constants
from .estimation import estimate
from .streamed import mu_eff_of, mu_of

# An estimated mu is kept to so many digits: the others depend on the linear algebra library and its threads, and
# would make another run of the one that a checkpoint came from.
DIGITS = 6


@dataclass(frozen=True)
class AdaptivePeriod:
    """As rarely as the step size allows: period <= c / (mu P eta), eta of the round's first step.

    Our reading of Dieuleveut and Patel (NeurIPS 2019), whose abstract alone was at hand: the drift
    of the workers within a round stays below c times the variance that averaging over P
    leaves anyway. form="mu" gives max(1, floor(c / (mu P eta))), form="sharp"
    1 + floor(c / (mu (P - 1) eta)). One worker: one round.

    Parameters
    ----------
    mu : float, "auto" or "effective"
        Strong convexity: the smallest eigenvalue of the Hessian at the optimum, which "auto" is. In badly
        conditioned problems the effective constant tr S / tr(H^-1 S), S the covariance of the gradient noise, keeps
        the variance more surely: "effective". A run finds both by ``estimate``, and computes the optimum if it is not
        known yet; of a stream it knows them.
    c : float
        Drift allowed, as a multiple of the variance of mini-batch averaging.
    form : "mu" or "sharp"

    Raises
    ------
    TypeError, ValueError
        A number that is none, or not positive; another word.

    Examples
    --------
    >>> import fastlsgd as fl
    >>> X = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 0.0], [0.0, 2.0]])
    >>> problem = fl.Problem(X, np.array([1.0, 2.0, -1.0, -2.0]))
    >>> AdaptivePeriod("effective").bind(problem, fl.Constant(0.01), n_workers=4, n_steps=1000)
    AdaptivePeriod(mu=1.7, c=1.0, form='mu')
    """

    mu: float | Literal["auto", "effective"]
    c: float = 1.0
    form: Literal["mu", "sharp"] = "mu"

    def __post_init__(self) -> None:
        if not (isinstance(self.mu, str) and self.mu in ("auto", "effective")):
            number("AdaptivePeriod: mu", self.mu, above=0.0, hint="; or 'auto' or 'effective'")
        number("AdaptivePeriod: c", self.c, above=0.0)
        one_of("AdaptivePeriod: form", self.form, ("mu", "sharp"))

    def bind(self, problem: Problem | Constants, step_size: StepSize, n_workers: int, n_steps: int) -> Schedule:
        """Return the schedule with mu a number, estimated unless it is one: two passes and an eigendecomposition.

        Constants of the problem, where they are known, spare that; of a stream they are. One worker has one round,
        whatever mu.

        Parameters
        ----------
        problem : Problem or Constants
        step_size : StepSize
        n_workers, n_steps : int
            Of the run.

        Raises
        ------
        ValueError
            What ``estimate`` refuses; "effective" of a stream whose gradients' covariance has no closed form.
        """
        if not isinstance(self.mu, str):
            return self
        if n_workers == 1:
            return OneShot()
        if isinstance(problem, StreamProblem):
            mu = mu_of(problem) if self.mu == "auto" else mu_eff_of(problem)
        else:
            found = problem if isinstance(problem, Constants) else estimate(problem)
            mu = found.mu if self.mu == "auto" else found.mu_eff
        return replace(self, mu=float(f"{mu:.{DIGITS}g}"))

    def period(self, n_workers: int, eta: npt.ArrayLike, longest: int) -> npt.NDArray[np.int64]:
        """Return the period at step sizes eta, at most `longest`."""
        eta = np.asarray(eta, dtype=np.float64)
        if isinstance(self.mu, str):
            raise ValueError(f"{self!r} must be bound to a problem: local_sgd does it, or rule.bind(problem, ...)")
        others = n_workers if self.form == "mu" else n_workers - 1
        if n_workers == 1:
            return np.full(eta.shape, longest, dtype=np.int64)
        with np.errstate(over="ignore", divide="ignore"):
            allowed = self.c / (self.mu * others * eta)
        # A quotient that is an integer but for rounding must not fall to the one below; and the clip
        # comes before the cast, as eta -> 0 overflows every integer.
        allowed = np.floor(np.minimum(allowed * (1 + 1e-12), float(longest)))
        if self.form == "sharp":
            allowed = allowed + 1.0
        return np.clip(allowed, 1.0, float(longest)).astype(np.int64)

    def next_periods(self, view: View) -> Periods_:
        """Return the rounds that the step sizes ahead allow, as many as are cheap to name at once."""
        left = view.n_steps - view.t
        first = int(self.period(view.n_workers, view.eta(np.array([view.t + 1])), left)[0])
        if left <= first:
            return left
        if first >= 4096:  # few rounds: one at a time is cheap
            return first
        # eta is known ahead: walk through the step sizes of the next stretch.
        stretch = min(left, max(4096, 64 * first))
        at_step = self.period(view.n_workers, view.eta(np.arange(view.t + 1, view.t + 1 + stretch)), left)
        if at_step[0] == at_step[-1] and (at_step == first).all():
            return np.full(stretch // first, first, dtype=np.int64)
        lengths, at = [], 0
        while at < stretch and at + at_step[at] <= stretch:
            lengths.append(int(at_step[at]))
            at += lengths[-1]
        return lengths or first
