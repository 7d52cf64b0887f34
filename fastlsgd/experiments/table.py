"""Run a grid of configurations and return every record as a tidy table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .. import theory
from ..arguments import whole
from ..problem import Problem
from ..schedules import FixedPeriod, MiniBatch, OneShot, Schedule
from ..solver import Diverged, Run
from ..stepsizes import StepSize
from ..trace import COLUMNS, allreduce_bytes
from .comparison import check_problem, need_pandas
from .lab import Progress

if TYPE_CHECKING:
    import pandas


def tradeoff(
    problem: Problem,
    *,
    n_workers: int | Sequence[int] = 8,
    schedules: Schedule | Sequence[Schedule] | None = None,
    step_sizes: Sequence[StepSize | str] | None = None,
    step_size: StepSize | str = "auto",
    replicates: int = 20,
    n_steps: int | None = None,
    seed: int = 0,
    n_threads: int | None = None,
    record: int | npt.ArrayLike = 32,
    progress: Progress | None = None,
    **options: Any,
) -> pandas.DataFrame:
    """Run every n_workers x schedule x step size x replicate; return one row per run and record.

    Runs follow one another, each with n_threads threads and nothing beside it, so that the seconds in the ledger are
    true. Replicate r is the run with seed + r, the same for all configurations: compare them pairwise.

    Parameters
    ----------
    problem : Problem
    n_workers : int or sequence of int
    schedules : Schedule, sequence of Schedule, or None
        None is MiniBatch(), FixedPeriod(16), FixedPeriod(256), OneShot().
    step_sizes : sequence of StepSize or "auto"; or step_size, a single one
    replicates : int
    n_steps : int or None
        Local steps per worker; None is one pass over the data, whatever n_workers.
    seed : int
    n_threads : int or None
        Changes the seconds and nothing else.
    record : int or array of int
        As in ``local_sgd``.
    progress : function of (done, total), or None
        Called after each run.
    **options
        Further ones of ``local_sgd``: batch_size, sampling, partition, weights, average, ...

    Returns
    -------
    DataFrame
        Columns n_workers, schedule and step_size (their repr), replicate, seed; all columns of ``Trace``;
        excess_w and excess_w_bar (objective minus the minimum, which is computed here if n_params <= 2000; nan
        where there is none or it is not known). A run that diverged ends with a row whose objectives are infinite.

    Raises
    ------
    ModuleNotFoundError
        pandas is not installed; the message has the command.
    ValueError, TypeError
        As ``local_sgd``.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((200, 3))
    >>> table = tradeoff(Problem(X, X @ np.ones(3)), schedules=[MiniBatch(), OneShot()], replicates=2, record=4)
    >>> table.groupby("schedule").n_rounds.max().to_dict()
    {'MiniBatch()': 25, 'OneShot()': 1}
    """
    check_problem(problem)
    pd = need_pandas()
    replicates = whole("replicates", replicates)
    has_minimum = _has_minimum(problem)
    sizes = [step_size] if step_sizes is None else list(step_sizes)
    if schedules is None:
        schedules = (MiniBatch(), FixedPeriod(16), FixedPeriod(256), OneShot())
    settings: list[tuple[int, Any, StepSize | str]] = [
        (workers, schedule, size)
        for workers in ([n_workers] if isinstance(n_workers, (int, np.integer)) else n_workers)
        for schedule in ([schedules] if hasattr(schedules, "next_periods") else schedules)
        for size in sizes
    ]
    if not settings:
        raise ValueError("n_workers, schedules and step_sizes must each name at least one")
    parts: list[dict[str, Any]] = []
    for workers, schedule, size in settings:
        for replicate in range(replicates):
            own: dict[str, Any] = {
                "n_workers": workers,
                "schedule": schedule,
                "step_size": size,
                "seed": seed + replicate,
            }
            run = Run(problem, **own, n_steps=n_steps, n_threads=n_threads, record=record, **options)
            schedule = run.schedule  # bound to the problem: once for all replicates
            parts.append(_records(run, replicate, has_minimum))
            if progress is not None:
                progress(len(parts), len(settings) * replicates)
    return pd.DataFrame({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def _records(run: Run, replicate: int, has_minimum: bool) -> dict[str, Any]:
    """Finish the run; return its columns, with a last row of infinite objectives if it diverged."""
    end: dict[str, Any] = {}
    try:
        run.advance()
    except Diverged as diverged:
        message = allreduce_bytes(run.n_workers, run.problem.n_params, run.problem.dtype.itemsize)
        n_rounds = diverged.state.n_rounds
        end = dict.fromkeys(COLUMNS, math.nan) | dict.fromkeys(("objective_w", "objective_w_bar"), math.inf)
        end |= {"t": diverged.t, "n_gradients": diverged.t * run.n_workers * run.batch_size}
        end |= {"n_rounds": n_rounds, "n_bytes": n_rounds * message}
    columns = run.trace.to_dict()
    if end:
        columns = {name: np.append(column, np.array([end[name]], column.dtype)) for name, column in columns.items()}
    keys = {
        "n_workers": run.n_workers,
        "schedule": repr(run.schedule),
        "step_size": repr(run.step_size),
        "replicate": replicate,
        "seed": run.seed,
    }
    out: dict[str, Any] = {name: np.array([value] * len(columns["t"])) for name, value in keys.items()}
    out |= columns
    for which in ("w", "w_bar"):
        excess = run.trace.excess(which) if has_minimum else np.full(len(run.trace), math.nan)
        out[f"excess_{which}"] = np.append(excess, math.inf if has_minimum else math.nan) if end else excess
    return out


def _has_minimum(problem: Problem) -> bool:
    if problem.known_optimum is None and problem.n_params > theory.constants.MOST_PARAMS:
        return False
    try:
        problem.optimum()
    except ValueError:  # separable data
        return False
    return True
