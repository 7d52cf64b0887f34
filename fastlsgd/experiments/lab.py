"""Lab: run methods at multiples of a common step, each run once, in parallel, and judge many answers in one pass.

What ``experiments.compare`` stands on. A method is what ``local_sgd`` is called with; baselines built on one-shot
averaging (Richardson, a Newton step) use its runs.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import baselines
from ..arguments import averaging_weights, bound_schedule, step_sizes_at
from ..cores import resolve_threads
from ..problem import Problem
from ..schedules import FixedPeriod, MiniBatch, OneShot, Schedule
from ..solver import Diverged, Result, local_sgd
from ..stepsizes import Constant, StepSize
from ..theory import AdaptivePeriod, Constants, richardson
from ..trace import allreduce_bytes

Progress = Callable[[int, int], object]
Vector = npt.NDArray[np.float64]

MINI_BATCH, ONE_SHOT, ONE_WORKER = "mini-batch averaging", "one-shot", "one worker"
RICHARDSON, NEWTON = "one-shot, Richardson", "one-shot + one Newton step"
SCHEDULES = (MINI_BATCH, "period 16", "period 256", "adaptive (mu)", "adaptive (mu_eff)", ONE_SHOT)

CURVE_RECORDS = 16


def several(given: Any) -> list[Any]:
    """Return the things given, or a list of the one, of which its user says what is wrong with it."""
    return [given] if isinstance(given, str) or not np.iterable(given) else list(given)


def told(progress: Any) -> Progress | None:
    """Return the function that is told the progress, which must be one, or None."""
    if progress is not None and not callable(progress):
        raise TypeError(f"progress must be a function of (done, total) or None, got {progress!r}")
    return progress


# ---- methods ----


@dataclass(frozen=True, eq=False)
class Method:
    """A method as options of ``local_sgd``; one built on one-shot averaging has that as its base."""

    name: str
    kind: str
    n_workers: int
    n_steps: int
    schedule: Schedule
    batch_size: int = 1
    base: Method | None = None

    @property
    def rows_a_step(self) -> int:
        """Rows whose mean gradient the iterates follow: with averaging at every step those of all workers."""
        together = self.schedule in (MiniBatch(), FixedPeriod(1))
        return self.batch_size * (self.n_workers if together else 1)

    def options(self) -> dict[str, Any]:
        """Return what ``local_sgd`` is called with, but for step size and seed."""
        names = ("n_workers", "n_steps", "schedule", "batch_size")
        return {name: getattr(self, name) for name in names}

    def runs(self, multiple: float) -> list[tuple[Method, float]]:
        """Return the runs it is made of, each at a multiple of the common step."""
        if self.base is None:
            return [(self, multiple)]
        return [(self.base, multiple * factor) for factor in ((1, 2) if self.name == RICHARDSON else (1,))]


def methods_of(
    schedules: Sequence[Schedule | str] | Schedule | str | None,
    constants: Constants,
    step: StepSize,
    n_workers: int,
    n_steps: int,
    with_newton: bool = True,
) -> list[Method]:
    """Return mini-batch averaging first, then the schedules (or their names), then the baselines.

    Adaptive periods are bound here, once for all runs.

    Raises
    ------
    ValueError, TypeError
        A name that is not known, or no schedule.
    """
    named = dict(_named(entry) for entry in (SCHEDULES if schedules is None else several(schedules)))
    named = {MINI_BATCH: MiniBatch()} | named
    for name, schedule in named.items():
        if isinstance(schedule, AdaptivePeriod):
            named[name] = schedule.bind(constants, step, n_workers, n_steps)
    methods = [Method(name, "schedule", n_workers, n_steps, schedule) for name, schedule in named.items()]
    for schedule in named.values():
        if isinstance(schedule, FixedPeriod):
            name = f"large mini-batch, rounds of period {schedule.period}"
            matched = baselines.large_minibatch_options(schedule.period, n_steps)
            methods.append(Method(name, "baseline", n_workers, **matched))
    methods.append(Method(ONE_WORKER, "baseline", **baselines.one_worker_options(n_workers, n_steps)))
    one_shot = next((method for method in methods if method.name == ONE_SHOT), None)
    base = one_shot or Method(ONE_SHOT, "schedule", n_workers, n_steps, OneShot())
    names = (RICHARDSON, NEWTON) if with_newton else (RICHARDSON,)
    built_on = [Method(name, "baseline", n_workers, n_steps, OneShot(), base=base) for name in names]
    return [*methods, *built_on]


def _named(entry: Schedule | str) -> tuple[str, Schedule]:
    known: dict[str, Schedule] = {
        MINI_BATCH: MiniBatch(),
        ONE_SHOT: OneShot(),
        "adaptive (mu)": AdaptivePeriod("auto"),
        "adaptive (mu_eff)": AdaptivePeriod("effective"),
    }
    if isinstance(entry, str):
        word, _, number = entry.partition(" ")
        if word == "period" and number.isdecimal():
            return entry, FixedPeriod(int(number))
        if entry not in known:
            names = ", ".join(map(repr, known))
            raise ValueError(f"schedules must be Schedule objects, {names} or 'period N', got {entry!r}")
        return entry, known[entry]
    if not callable(getattr(entry, "next_periods", None)):
        raise TypeError(f"schedules must be Schedule objects or names such as 'period 16', got {entry!r}")
    if isinstance(entry, FixedPeriod):
        return f"period {entry.period}", entry
    return next((name for name, schedule in known.items() if schedule == entry), repr(entry)), entry


# ---- steps ----


@dataclass(frozen=True)
class Scaled:
    """A step size times a number."""

    step_size: StepSize
    multiple: float

    def __call__(self, t: npt.NDArray[np.int64]) -> Vector:
        """Return multiple x step_size(t)."""
        return self.multiple * self.step_size(t)


def first_eta(step_size: StepSize) -> float:
    """Return eta of the first step."""
    return float(step_sizes_at(step_size, np.array([1], dtype=np.int64))[0])


def common_step(problem: Problem, step_size: StepSize | float | str | None) -> StepSize:
    """Return the step that all methods share: the one given, or the safe one for None and "auto".

    Raises
    ------
    TypeError, ValueError
        Neither a step size nor a positive number.
    """
    if step_size is None or (isinstance(step_size, str) and step_size == "auto"):
        return Constant(problem.safe_step())
    if isinstance(step_size, (int, float, np.floating)) and not isinstance(step_size, bool):
        step_size = Constant(float(step_size))
    if not callable(step_size):
        raise TypeError(f"step_size must be a number or a StepSize such as Constant(0.01), got {step_size!r}")
    if (eta := first_eta(step_size)) > problem.step_bound():
        warnings.warn(
            f"the common step {eta:g} is beyond {problem.step_bound():g}, the largest that can be stable here "
            "(Problem.step_bound); expect runs that diverge",
            RuntimeWarning,
            stacklevel=3,
        )
    return step_size


# ---- the lab ----


@dataclass(frozen=True, eq=False)
class Ledger:
    """What one run cost, and the points (n_gradients, w_bar) along it; nan and no points if it diverged."""

    n_rounds: int
    n_bytes: int
    n_gradients: int
    wall_s: float = math.nan
    compute_s: float = math.nan
    wait_s: float = math.nan
    average_s: float = math.nan
    points: tuple[tuple[int, Vector], ...] = ()


Key = tuple[Method, float, int]  # method, multiple of the common step, seed


class Lab:
    """Run methods at multiples of a common step and remember every answer and its excess.

    Parameters
    ----------
    problem : Problem
        Its optimum is computed here.
    step : StepSize
        The common step.
    sampling : str
    seed : int
        Of the runs whose costs are measured.
    n_threads : int or None
    progress : function of (done, total), or None
    is_stable : function of a Method and a multiple, or None
        Whether tuning may try that; None is up to ``Problem.step_bound``, which costs nothing and is no more than
        necessary: where a few rows are large, the second moment grows at steps far below it (``stable_steps``).

    Attributes
    ----------
    answers : dict of ndarray, shape (n_params,), float64
        By (method, multiple, seed); nan where a run diverged.
    excess : dict of float
        F(answer) minus the minimum, nowhere below ``resolution``; inf where a run diverged.
    resolution : float
        ``Problem.excess_resolution``.
    expected : int
        Runs there will be in all, for the progress.
    """

    def __init__(
        self,
        problem: Problem,
        step: StepSize,
        *,
        sampling: str,
        seed: int,
        n_threads: int | None,
        progress: Progress | None,
        is_stable: Callable[[Method, float], bool] | None = None,
    ) -> None:
        self.problem, self.step, self.sampling, self.seed = problem, step, sampling, seed
        self.n_threads = resolve_threads(n_threads, 1 << 30)
        self.f_star = float(problem.objective(problem.optimum()))
        self.resolution = problem.excess_resolution()
        self.answers: dict[Key, Vector] = {}
        self.excess: dict[Key, float] = {}
        self.done = self.expected = 0
        self._progress = progress
        self._is_stable = is_stable or self._within_bound
        self._ledgers: dict[tuple[Method, float], Ledger] = {}
        self._bound: dict[tuple[Method, float], Schedule] = {}
        self._binding = Lock()

    def at(self, multiple: float) -> StepSize:
        """Return the common step times a multiple."""
        if multiple == 1.0:
            return self.step
        return Constant(self.step.eta * multiple) if isinstance(self.step, Constant) else Scaled(self.step, multiple)

    def schedule(self, method: Method, multiple: float) -> Schedule:
        """Return the schedule of a method at a multiple; one that asks how its run is made is bound once for all.

        Raises
        ------
        ValueError
            It finds no period for such a run.
        """
        if not getattr(method.schedule, "needs_run", False):
            return method.schedule
        with self._binding:
            if (method, multiple) not in self._bound:
                self._bound[method, multiple] = bound_schedule(
                    method.schedule, self.problem, self.at(multiple), method.n_workers, method.n_steps,
                    batch_size=method.batch_size, sampling=self.sampling, partition="iid",
                    weights=averaging_weights(None, method.n_workers, 0), average="polyak", w0=None,
                )  # fmt: skip
            return self._bound[method, multiple]

    def allowed(self, method: Method, multiple: float) -> bool:
        """Return whether tuning may try the runs of the method at this multiple."""
        if not all(self._is_stable(*run) for run in method.runs(multiple)):
            return False
        try:
            self.schedule(method, multiple)
        except ValueError:  # a step at which it cannot say what its word rests on
            return False
        return True

    def _within_bound(self, method: Method, multiple: float) -> bool:
        return multiple * first_eta(self.step) <= self.problem.step_bound(method.rows_a_step)

    def runs_left(self, keys: Iterable[Key]) -> list[Key]:
        """Return the runs of ``local_sgd`` still to be made for the answers to keys, each once."""
        runs = ((*run, seed) for method, multiple, seed in keys for run in method.runs(multiple))
        return [key for key in dict.fromkeys(runs) if key not in self.answers]

    def answer(self, keys: Iterable[Key]) -> None:
        """Find the answers to keys that are not known yet, runs in parallel, and their excess in one pass."""
        fresh = [key for key in dict.fromkeys(keys) if key not in self.excess]
        runs = self.runs_left(fresh)
        self.expected = max(self.expected, self.done + len(runs))
        self._in_parallel(self._w_bar, runs, self._note)
        self._in_parallel(self._derive, [key for key in fresh if key[0].base is not None])
        self.excess.update(zip(fresh, self.excess_of([self.answers[key] for key in fresh]), strict=True))

    def excess_of(self, answers: Sequence[Vector]) -> list[float]:
        """Return F minus its minimum, at least ``resolution``, in one pass; inf where an answer is not finite."""
        W = np.array(answers).reshape(-1, self.problem.n_params)
        excess = np.full(len(W), math.inf)
        finite = np.isfinite(W).all(axis=1)
        if finite.any():
            excess[finite] = np.maximum(self.problem.excess(W[finite]), self.resolution)
        excess[np.isnan(excess)] = math.inf
        return excess.tolist()

    @property
    def rounding(self) -> float:
        """The rounding error of F at its minimum: 2^-52 times the minimum."""
        return float(np.finfo(np.float64).eps) * abs(self.f_star)

    def measure(self, method: Method, multiple: float) -> Ledger:
        """Return the costs of a method, by a run with all threads, records, and nothing beside it; made once."""
        key = (method, multiple)
        if key not in self._ledgers:
            parts = [self.measure(*run) for run in method.runs(multiple)] if method.base else []
            if method.name == RICHARDSON:
                self._ledgers[key] = _in_one_message(*parts)
            elif method.base is not None:
                self._ledgers[key] = self._and_newton(parts[0], method.n_workers)
            else:
                self._ledgers[key] = self._measured(method, multiple)
        return self._ledgers[key]

    # ---- runs ----

    def _run(self, key: Key, **options: Any) -> Result:
        method, multiple, seed = key
        step_size = self.at(multiple)
        options |= {"step_size": step_size, "seed": seed, "sampling": self.sampling}
        return local_sgd(self.problem, **(method.options() | options | {"schedule": self.schedule(method, multiple)}))

    def _w_bar(self, key: Key) -> Vector:
        try:
            # view: packed copies for all runs at once would cost more than they save.
            return _float64(self._run(key, n_threads=1, record=0, layout="view").w_bar)
        except Diverged:
            return np.full(self.problem.n_params, math.nan)

    def _derive(self, key: Key) -> Vector:
        method, multiple, seed = key
        parts = [self.answers[(*run, seed)] for run in method.runs(multiple)]
        if not all(np.isfinite(part).all() for part in parts):
            return np.full(self.problem.n_params, math.nan)
        return richardson(*parts) if method.name == RICHARDSON else self.problem.newton_step(parts[0])

    def _in_parallel(
        self, function: Callable[[Key], Vector], keys: list[Key], note: Callable[[], None] = lambda: None
    ) -> None:
        """Fill in the answers to keys, in that order but for a few; what was found before an interrupt stays."""
        with ThreadPoolExecutor(self.n_threads) as pool:
            futures = {pool.submit(function, key): key for key in keys}
            try:
                for future in as_completed(futures):
                    self.answers[futures[future]] = future.result()
                    note()
            except BaseException:  # an error, or Ctrl-C: what has not begun never will
                for future in futures:
                    future.cancel()
                raise

    def _note(self) -> None:
        self.done += 1
        if self._progress is not None:
            self._progress(self.done, max(self.done, self.expected))

    # ---- ledgers ----

    def _measured(self, method: Method, multiple: float) -> Ledger:
        key = (method, multiple, self.seed)
        try:
            result = self._run(key, n_threads=self.n_threads, record=CURVE_RECORDS)
        except Diverged as diverged:
            self.answers[key] = np.full(self.problem.n_params, math.nan)
            n_gradients = method.n_workers * diverged.t * method.batch_size
            return self._costs(method, diverged.state.n_rounds, n_gradients)
        finally:
            self._note()
        self.answers[key] = _float64(result.w_bar)
        last = result.trace.records[-1]
        return self._costs(
            method,
            last.n_rounds,
            last.n_gradients,
            wall_s=last.wall_s,
            compute_s=last.compute_s,
            wait_s=last.wait_s,
            average_s=last.average_s,
            points=tuple((record.n_gradients, _float64(record.w_bar)) for record in result.trace.records),
        )

    def _costs(self, method: Method, n_rounds: int, n_gradients: int, **measured: Any) -> Ledger:
        n_rounds = 0 if method.n_workers == 1 else n_rounds
        problem = self.problem
        message = allreduce_bytes(method.n_workers, problem.n_params, problem.dtype.itemsize)
        return Ledger(n_rounds, n_rounds * message, n_gradients, **measured)

    def _and_newton(self, one_shot: Ledger, n_workers: int) -> Ledger:
        if not one_shot.points:
            return one_shot
        step = baselines.newton_step(self.problem, one_shot.points[-1][1], n_workers)
        n_gradients = one_shot.n_gradients + step.n_gradients
        return Ledger(
            one_shot.n_rounds + step.n_rounds,
            one_shot.n_bytes + step.n_bytes,
            n_gradients,
            one_shot.wall_s + step.wall_s,
            one_shot.compute_s + step.wall_s,
            one_shot.wait_s,
            one_shot.average_s,
            (*one_shot.points, (n_gradients, step.w)),
        )


def _in_one_message(first: Ledger, second: Ledger) -> Ledger:
    """Two one-shot runs, at a step and at twice the step, whose vectors go in one message."""
    pairs = zip(first.points, second.points, strict=True) if first.points and second.points else ()
    return Ledger(
        max(first.n_rounds, second.n_rounds),
        first.n_bytes + second.n_bytes,
        first.n_gradients + second.n_gradients,
        first.wall_s + second.wall_s,
        first.compute_s + second.compute_s,
        first.wait_s + second.wait_s,
        first.average_s + second.average_s,
        tuple((2 * n, richardson(w, w_twice)) for (n, w), (_, w_twice) in pairs),
    )


def _float64(w: np.ndarray | None) -> Vector:
    assert w is not None  # every run here keeps its average
    return w.astype(np.float64)
