"""The moments of a run at which its step sizes and periods are looked at."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
Steps = npt.NDArray[np.int64]

# Where step sizes or periods change there are so many moments, evenly in log t; more where the way between two of
# them is not a power of t, up to MOST.
MOMENTS, MOST = 12, 40
# So far, on the mean over the steps, may a power of t be from what it stands for: as a part of it.
OFF = 0.02
# Changes from one step to the next by more than this (of the logarithm; and more than those of steps t^-3) are jumps.
# Both of their sides are moments unless there are more than so many.
JUMP, JUMPS = 0.5, 8
# What is up and down all along is looked at in so many stretches of equal length, by its means over them.
STRETCHES = 16


def moments_of(etas: Vector, lengths: Steps) -> tuple[Steps, Vector, Vector]:
    """Return steps 1 = t_1 < t_2 < .. <= n_steps, and step size and period there.

    A jump of the step size or of the period has a moment on both of its sides. Of a run whose step size and period
    stay what they are, the first step alone.

    Parameters
    ----------
    etas : array, shape (n_steps,)
    lengths : int array, shape (n_rounds,)
        Of all rounds.

    Examples
    --------
    >>> etas = np.where(np.arange(1000) < 600, 0.5, 0.05)
    >>> t, eta, period = moments_of(etas, np.full(100, 10))
    >>> bool(((eta == 0.5) == (t <= 600)).all()), bool(600 in t), bool(601 in t)
    (True, True, True)
    """
    n = len(etas)
    rounds = lengths.copy()
    if len(rounds) > 1:  # the last one is cut at n_steps, which would count for all since the moment before
        rounds[-1] = max(rounds[-2:])
    of_step = np.repeat(rounds, lengths).astype(np.float64)
    if (etas == etas[0]).all() and (rounds == rounds[0]).all():
        return np.array([1]), etas[:1], of_step[:1]
    chosen = np.unique(np.rint(np.geomspace(1, n, MOMENTS)).astype(np.int64))
    log_t, seen = np.log(np.arange(1, n + 1)), np.log([etas, of_step])
    jumps = 1 + np.flatnonzero((np.abs(np.diff(seen)) > np.maximum(JUMP, 3.0 * np.diff(log_t))).any(axis=0))
    if len(jumps) <= JUMPS:
        chosen = np.unique(np.concatenate([chosen, jumps, jumps + 1]))
    while len(chosen) < MOST:
        off = sum(np.abs(np.interp(log_t, log_t[chosen - 1], known[chosen - 1]) - known) for known in seen)
        if off.mean() <= OFF:
            return chosen, etas[chosen - 1], of_step[chosen - 1]
        between = np.add.reduceat(off, chosen[:-1] - 1)
        worst = int(np.argmax(between))
        begin, end = chosen[worst], chosen[worst + 1]
        chosen = np.insert(chosen, worst + 1, begin + int(np.argmax(off[begin - 1 : end])))
    ends = np.unique(np.rint(np.linspace(0, n, STRETCHES + 1)).astype(np.int64))
    counts = np.diff(ends)
    # What adds to the spread over a round is eta^2 times its steps so far: so means over steps, weighted by eta.
    passed = np.add.reduceat(etas, ends[:-1])
    mean_eta = np.add.reduceat(etas**2, ends[:-1]) / passed
    mean_period = np.add.reduceat(of_step, ends[:-1]) / counts
    both = np.unique(np.concatenate([ends[:-1] + 1, ends[1:]]))
    place = np.searchsorted(ends, both) - 1
    return both, mean_eta[place], mean_period[place]
