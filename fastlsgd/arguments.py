"""Arguments of a run: each checked once, with a message that says what to do.

Those that are single values are looked at in ``scalars``, whose functions stand here too: rooms above this one take
them from here, those below it, which cannot, from there.
"""

from __future__ import annotations

import dataclasses
import math
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .data import is_memory_mapped, shard_sizes
from .problem import NoRowsError, Problem
from .scalars import number, one_of, reals, seed_of, switch, whole
from .schedules import Schedule
from .stepsizes import Constant, StepSize

__all__ = ["number", "one_of", "reals", "seed_of", "switch", "whole"]


def a_problem(problem: Any) -> Problem:
    """Return the problem, which must be one."""
    if not isinstance(problem, Problem):
        raise TypeError(f"problem must be a fastlsgd.Problem, got {type(problem).__name__}; pass Problem(X, y)")
    return problem


def seconds(name: str, value: Any) -> float | None:
    """Return value as a positive number of seconds, or None."""
    return None if value is None else number(name, value, above=0.0, infinite=True, hint="; None is no limit")


def averaging_weights(weights: Any, n_workers: int, n_samples: int) -> npt.NDArray[np.float64]:
    """Return the weights of the averaging, float64, shape (n_workers,), of None, "rows" or an array.

    n_samples of 0: there are no rows to weight by, and "rows" is refused.
    """
    if weights is None:
        return np.full(n_workers, 1.0 / n_workers)
    if isinstance(weights, str):
        if weights != "rows" or not n_samples:
            named = "None, 'rows'" if n_samples else "None"
            raise ValueError(f"weights must be {named} or an array, got {weights!r}")
        return shard_sizes(n_samples, n_workers) / n_samples
    values = reals("weights", weights)
    if values.shape != (n_workers,):
        raise ValueError(f"weights must have shape ({n_workers},), one a worker, got {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"weights must be finite, >= 0 and sum to 1, got {weights!r}")
    if (values < 0).any() or abs(values.sum() - 1.0) > 1e-9:
        raise ValueError(f"weights must be >= 0 and sum to 1, got sum {values.sum():g}; pass weights / weights.sum()")
    return values / values.sum()  # else what the sum lacks would shrink w at every averaging


def record_steps(record: Any, n_steps: int) -> npt.NDArray[np.int64]:
    """Return the steps at which records are made: none, so many log-spaced ones with both ends, or those given."""
    if isinstance(record, (int, np.integer)) and not isinstance(record, bool):
        record = whole("record", record, least=0)
        if record <= 1:
            return np.array([n_steps] * int(record), dtype=np.int64)
        if record > n_steps * math.log(n_steps) + 2:  # so many that no step is left out
            return np.arange(1, n_steps + 1, dtype=np.int64)
        return np.unique(np.rint(np.geomspace(1, n_steps, int(record)))).astype(np.int64)
    given = np.asarray(record)
    steps = np.unique(given)
    if steps.dtype.kind not in "iu" or given.ndim != 1 or (steps.size and (steps[0] < 1 or steps[-1] > n_steps)):
        raise ValueError(f"record must be an int >= 0 or step numbers from 1 to {n_steps}, got {record!r}")
    return steps.astype(np.int64)


def described(thing: Any) -> str:
    """Return what a checkpoint says of a schedule or step size: the same in every process for the same numbers."""
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        values = {field.name: getattr(thing, field.name) for field in dataclasses.fields(thing)}
        plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()}
        return f"{type(thing).__name__}({', '.join(f'{name}={value!r}' for name, value in plain.items())})"
    text = repr(thing)
    if " at 0x" not in text:
        return text
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{named.__module__}.{named.__qualname__}"


def function_of_a_record(callback: Any) -> Callable[[Any], bool] | None:
    """Return the callback, which must be callable, or None."""
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be a function of a record or None, got {callback!r}")
    return callback


def path_to_write(name: str, path: Any) -> Path | None:
    """Return the path of a file that can be written, or None.

    Looked at here as what hours of computing end with: it would otherwise be lost in a line of the log.
    """
    if path is None:
        return None
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"{name} must be a path or None, got {path!r}")
    shown, path = repr(os.fspath(path)), Path(path)
    if path.is_dir():
        raise ValueError(f"{name} must be the path of a file, got the folder {shown}; add a file's name")
    if not path.parent.is_dir():
        raise ValueError(f"{name} must be a path in a folder that exists, got {shown}; make the folder first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise ValueError(f"{name} must be in a folder that can be written to, got {shown}; choose another folder")
    return path


def start_at(w0: Any, problem: Problem) -> np.ndarray:
    """Return where all workers start, in the dtype of the problem; None is zeros."""
    if w0 is None:
        return np.zeros(problem.n_params, problem.dtype)
    start = reals("w0", w0)
    if start.shape != (problem.n_params,):
        raise ValueError(
            f"w0 must have shape ({problem.n_params},), got {start.shape}"
            + ("; its last entry is the intercept" if problem.fit_intercept else "")
        )
    with np.errstate(over="ignore"):  # what a cast makes infinite is refused here
        start = start.astype(problem.dtype)
    if not np.isfinite(start).all():
        raise ValueError(f"w0 must be finite, in {problem.dtype} as the run computes")
    return start


def point_of(problem: Problem, name: str, w: Any) -> npt.NDArray[np.float64]:
    """Return w as finite parameters of the problem, float64."""
    point = reals(name, w)
    if point.shape != (problem.n_params,):
        raise ValueError(f"{name} must have shape ({problem.n_params},), got {point.shape}")
    if not np.isfinite(point).all():
        raise ValueError(f"{name} must be finite")
    return point


def resolve_step_size(step_size: Any, problem: Problem, batch_size: int, n_steps: int) -> StepSize:
    """Return the step size, "auto" made a number; warn of one that cannot be stable."""
    if isinstance(step_size, str):
        if step_size != "auto":
            raise ValueError(f"step_size must be a StepSize or 'auto', got {step_size!r}; try Constant(0.01)")
        return Constant(problem.safe_step())
    if isinstance(step_size, type) or not callable(step_size):
        raise TypeError(f"step_size must be a StepSize such as Constant(0.01), got {step_size!r}")
    if not is_memory_mapped(problem.X):  # the bound costs a pass, which in-memory data has had
        bound = problem.step_bound(batch_size)
        looked_at = np.unique(np.rint(np.geomspace(1, n_steps, 64))).astype(np.int64)
        largest = float(step_sizes_at(step_size, looked_at).max())
        if largest > bound:
            warnings.warn(
                f"step size {largest:g} is beyond {bound:g}, the largest that can be stable here "
                "(Problem.step_bound); the run may diverge",
                RuntimeWarning,
                stacklevel=4,
            )
    return step_size


def bound_schedule(
    schedule: Any, problem: Problem, step_size: StepSize, n_workers: int, n_steps: int, **run: Any
) -> Schedule:
    """Return the schedule; one that needs constants of the problem is bound to it.

    One whose class says ``needs_run = True`` is told by name how the run is made as well: its batch_size, sampling,
    partition, weights (an array), average (its name) and w0.
    """
    if isinstance(schedule, type) or not callable(getattr(schedule, "next_periods", None)):
        raise TypeError(
            f"schedule must have a method next_periods, got {schedule!r}; "
            "try MiniBatch(), FixedPeriod(16) or OneShot()"
        )
    bind = getattr(schedule, "bind", None)
    if bind is None:
        return schedule
    try:
        return bind(problem, step_size, n_workers, n_steps, **(run if getattr(schedule, "needs_run", False) else {}))
    except NoRowsError as error:
        raise ValueError(f"{schedule!r} cannot find its period on a stream: {error}") from None


@dataclasses.dataclass(frozen=True)
class _View:
    """What a schedule sees: see ``schedules.View``."""

    n_workers: int
    n_steps: int
    t: int
    n_rounds: int
    eta: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.float64]]
    objective: tuple[float, ...]


def next_lengths(
    schedule: Schedule,
    n_workers: int,
    n_steps: int,
    t: int,
    n_rounds: int,
    eta: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.float64]],
    objective: tuple[float, ...] = (),
) -> npt.NDArray[np.int64]:
    """Ask the schedule for the rounds from step t on; return their lengths, cut where n_steps is reached."""
    answer = schedule.next_periods(_View(n_workers, n_steps, t, n_rounds, eta, objective))
    values, left = np.atleast_1d(np.asarray(answer)), n_steps - t
    if values.dtype == object and all(isinstance(length, int) for length in values.flat):
        values = np.array([min(length, left) for length in values.flat], dtype=np.int64)  # ints beyond 64 bits
    if values.dtype.kind not in "iu" or values.ndim != 1 or values.size == 0 or (values < 1).any():
        raise ValueError(f"{schedule!r}: next_periods must return an int >= 1 or a sequence of them, got {answer!r}")
    values = np.minimum(values.astype(np.uint64), np.uint64(left)).astype(np.int64)
    ends = np.cumsum(values)
    last = int(np.searchsorted(ends, left))
    if last < len(values):  # the round that reaches n_steps is cut there
        values = values[: last + 1]
        values[last] = left - (int(ends[last - 1]) if last else 0)
    return values


def step_sizes_at(step_size: StepSize, steps: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return eta of the steps, checked: one each, positive and finite."""
    if isinstance(step_size, type) or not callable(step_size):
        raise TypeError(f"step_size must be a StepSize such as Constant(0.01), got {step_size!r}")
    answer = step_size(steps)
    eta = np.ascontiguousarray(answer, dtype=np.float64)
    if np.shape(answer) != steps.shape:
        raise ValueError(f"{step_size!r} must return one eta a step, shape {steps.shape}, got {np.shape(answer)}")
    good = (eta > 0) & np.isfinite(eta)
    if not good.all():
        i = int(np.flatnonzero(~good)[0])
        raise ValueError(f"{step_size!r} must return positive, finite step sizes, got {eta[i]} at step {steps[i]}")
    return eta
