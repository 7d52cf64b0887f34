"""The round lengths of a whole run, before it runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .. import arguments
from ..schedules import FixedPeriod, Periods, Schedule

Etas = npt.NDArray[np.float64]


def round_lengths(
    periods: int | Sequence[int] | npt.NDArray[np.int64] | Schedule, n_workers: int, etas: npt.ArrayLike
) -> npt.NDArray[np.int64]:
    """Return the lengths of all rounds of a run of len(etas) steps, as the solver would ask for them.

    Parameters
    ----------
    periods : int, sequence of int, or Schedule
        The period; or round lengths, the last of which repeats; or a schedule, which is asked.
    n_workers : int
    etas : array, shape (n_steps,)
        Step sizes of the steps 1 .. n_steps.

    Raises
    ------
    ValueError
        A schedule that looks at the objective: its rounds are known only when it has run. A period below 1.
    TypeError
        Something else than these, a period of 2.0 among them.

    Examples
    --------
    >>> round_lengths([1, 4], n_workers=8, etas=np.full(11, 0.1))
    array([1, 4, 4, 2])
    """
    steps, n_workers = step_sizes(etas), arguments.whole("n_workers", n_workers)
    schedule = _schedule(periods)
    if getattr(schedule, "needs_objective", False):
        raise ValueError(
            f"{schedule!r} looks at the objective: its rounds are not known before the run; give lengths"
        )
    parts: list[npt.NDArray[np.int64]] = []
    t = n_rounds = 0
    while t < len(steps):
        parts.append(arguments.next_lengths(schedule, n_workers, len(steps), t, n_rounds, lambda at: steps[at - 1]))
        t, n_rounds = t + int(parts[-1].sum()), n_rounds + len(parts[-1])
    return np.concatenate(parts)


def step_sizes(etas: npt.ArrayLike) -> Etas:
    """Return the step sizes as a float64 array, which must be one-dimensional, positive and finite."""
    if callable(etas):
        raise TypeError(
            f"etas must be an array, one step size a step, got {etas!r}; pass it at np.arange(1, n_steps + 1)"
        )
    try:
        steps = np.asarray(etas, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"etas must be an array of numbers, one step size a step, got {etas!r}") from None
    if steps.ndim != 1 or steps.size == 0:
        hint = f"; for a constant step pass np.full(n_steps, {steps:g})" if steps.ndim == 0 else ""
        raise ValueError(f"etas must be one step size a step, shape (n_steps,), got shape {steps.shape}{hint}")
    steps = np.ascontiguousarray(steps)
    if not ((steps > 0) & np.isfinite(steps)).all():
        raise ValueError("etas must be positive and finite")
    return steps


def _schedule(periods: int | Sequence[int] | npt.NDArray[np.int64] | Schedule) -> Schedule:
    if callable(getattr(periods, "next_periods", None)):
        return periods  # type: ignore[return-value]
    if isinstance(periods, (int, np.integer)):
        return FixedPeriod(periods)  # type: ignore[arg-type]
    if isinstance(periods, (str, bytes)) or not np.iterable(periods):
        raise TypeError(f"periods must be an int, a sequence of ints or a Schedule, got {periods!r}")
    return Periods(list(periods))  # type: ignore[arg-type]
