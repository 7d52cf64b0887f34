"""The stops of a run: the steps at which predictions look at where its workers are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
Steps = npt.NDArray[np.int64]

# With s the sum of the step sizes so far and L the largest eigenvalue, the first stop is where s = FIRST / L, and
# every later one at GROWTH times its s: as what is curved the most comes to rest, what is curved less still goes on.
# (Against stops at a third of the distance, w_bar's mean and covariance are within 0.3% on breast_cancer, digits and
# flights13_late; with 0.25 and 1.25 within 3%, most of it at the beginning, which is far from quadratic.)
FIRST, GROWTH = 0.05, 1.15
# After a jump of the step size stops begin anew, further and further from it by this factor.
AFTER_JUMP = 2.0
# More stops where what a step or a period is between two of them is not a power of t, up to MOST: so far, on the mean
# over the steps, may it be from one, as a part of it.
OFF, MOST = 0.02, 40
# Changes from one step to the next by more than this (of the logarithm; and more than those of steps t^-3) are jumps.
# Both of their sides are stops unless there are more than so many.
JUMP, JUMPS = 0.5, 8
# What is up and down all along is looked at in so many stretches of equal length, by its means over them.
STRETCHES = 16


def stops_of(etas: Vector, lengths: Steps, largest: float) -> tuple[Steps, Vector, Vector]:
    """Return steps t_1 < t_2 < .. = n_steps, and step size and period there.

    A jump of the step size or of the period has a stop on both of its sides, and so has the end of a round
    that is longer than all before it.

    Parameters
    ----------
    etas : array, shape (n_steps,)
    lengths : int array, shape (n_rounds,)
        Of all rounds.
    largest : float
        Largest eigenvalue of the Hessian.

    Examples
    --------
    >>> etas = np.where(np.arange(1000) < 600, 0.5, 0.05)
    >>> t, eta, period = stops_of(etas, np.full(100, 10), 1.0)
    >>> bool(((eta == 0.5) == (t <= 600)).all()), bool(600 in t), bool(601 in t)
    (True, True, True)
    """
    n = len(etas)
    rounds = lengths.copy()
    if len(rounds) > 1:  # the last one is cut at n_steps, which would count for all since the stop before
        rounds[-1] = max(rounds[-2:])
    of_step = np.repeat(rounds, lengths).astype(np.float64)
    passed = np.concatenate([[0.0], np.cumsum(etas)])
    ends = np.cumsum(lengths)
    is_longest = (lengths > ends - lengths) & (largest * (passed[ends] - passed[ends - lengths]) > FIRST)
    longest = ends[:-1][is_longest[:-1]]
    chosen = np.concatenate([_geometric(passed, 0, FIRST / largest, GROWTH), longest, longest + 1, [n]])
    if not ((etas == etas[0]).all() and (rounds == rounds[0]).all()):
        log_t, seen = np.log(np.arange(1, n + 1)), np.log([etas, of_step])
        changes = np.abs(np.diff(seen)) > np.maximum(JUMP, 3.0 * np.diff(log_t))
        jumps = 1 + np.flatnonzero(changes.any(axis=0))
        if len(jumps) <= JUMPS:
            again = [
                _geometric(passed, t, FIRST / largest, AFTER_JUMP) for t in (1 + np.flatnonzero(changes[0])).tolist()
            ]
            chosen = np.concatenate([chosen, [1], jumps, jumps + 1, *again])
        chosen, is_found = _refined(np.unique(chosen), log_t, seen)
        if not is_found:
            return _stretches(chosen, etas, of_step)
    chosen = np.unique(chosen)
    return chosen, etas[chosen - 1], of_step[chosen - 1]


def _geometric(passed: Vector, begin: int, first: float, growth: float) -> Steps:
    """Return steps after which s has gone on from ``begin`` by first, first * growth, ... ."""
    most = passed[-1] - passed[begin]
    if most <= first:
        return np.array([], dtype=np.int64)
    gone = first * growth ** np.arange(int(np.log(most / first) / np.log(growth)) + 1)
    return np.clip(np.searchsorted(passed, passed[begin] + gone), begin + 1, len(passed) - 1)


def _refined(chosen: Steps, log_t: Vector, seen: Vector) -> tuple[Steps, bool]:
    """Return the stops with more where the logarithms seen are not linear in log t, and whether those are enough."""
    for _ in range(MOST):
        off = sum(np.abs(np.interp(log_t, log_t[chosen - 1], known[chosen - 1]) - known) for known in seen)
        if off.mean() <= OFF:
            return chosen, True
        between = np.add.reduceat(off, chosen[:-1] - 1)
        worst = int(np.argmax(between))
        begin, end = chosen[worst], chosen[worst + 1]
        chosen = np.insert(chosen, worst + 1, begin + int(np.argmax(off[begin - 1 : end])))
    return chosen, False


def _stretches(chosen: Steps, etas: Vector, of_step: Vector) -> tuple[Steps, Vector, Vector]:
    """Return stops with the means of step and period over the stretches they lie in."""
    n = len(etas)
    ends = np.unique(np.rint(np.linspace(0, n, STRETCHES + 1)).astype(np.int64))
    # What adds to the spread over a round is eta^2 times its steps so far: so means over steps, weighted by eta.
    mean_eta = np.add.reduceat(etas**2, ends[:-1]) / np.add.reduceat(etas, ends[:-1])
    mean_period = np.add.reduceat(of_step, ends[:-1]) / np.diff(ends)
    both = np.unique(np.concatenate([chosen, ends[:-1] + 1, ends[1:]]))
    place = np.searchsorted(ends, both) - 1
    return both, mean_eta[place], mean_period[place]
