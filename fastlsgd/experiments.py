"""Experiments: methods x steps x replicates, with intervals.

``tradeoff`` runs a grid of configurations and returns every record as a tidy table. ``compare`` is the main job
of the command line: schedules and baselines on one problem, each at the common safe step and at its own best
step, with what they cost. No ratio stands without both.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from . import baselines, theory
from .problem import Problem
from .schedules import AdaptivePeriod, FixedPeriod, MiniBatch, OneShot, Schedule
from .solver import Diverged, Run, local_sgd
from .stepsizes import Constant, StepSize
from .team import resolve_threads
from .trace import COLUMNS

if TYPE_CHECKING:
    import pandas

Progress = Callable[[int, int], object]
Vector = npt.NDArray[np.float64]

MINI_BATCH, ONE_SHOT, LBFGS = "mini-batch averaging", "one-shot", "L-BFGS"
NEWTON, RICHARDSON, ONE_WORKER = "one-shot + one Newton step", "one-shot, Richardson", "one worker"
SCHEDULES = (MINI_BATCH, "period 16", "period 256", "adaptive (mu)", "adaptive (mu_eff)", ONE_SHOT)

# Tuning seeds lie beyond those that are reported.
TUNING_SEEDS, TUNING_OFFSET = 2, 1000
CURVE_RECORDS = 16
# L-BFGS goes on to this part of the statistical floor: beyond it nothing is learnt about the population.
LBFGS_TARGET = 0.01
# Up to so many parameters a second BLAS thread costs more than it brings
# (the Hessian of 261,877 x 58: 0.07 s on one thread, 0.14 to 0.25 s on two).
ONE_BLAS_THREAD = 256


# ---- the tidy table ----


def tradeoff(
    problem: Problem,
    *,
    n_workers: int | Sequence[int] = 8,
    schedules: Schedule | Sequence[Schedule] = (MiniBatch(), FixedPeriod(16), FixedPeriod(256), OneShot()),
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
    schedules : Schedule or sequence of Schedule
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
        Columns n_workers, schedule and step_size (their repr), replicate, seed; all columns of ``Trace``; excess_w and
        excess_w_bar (objective minus the minimum; nan where no optimum is known; it is computed here if
        n_params <= 2000). A run that diverged ends with a row whose objectives are infinite.

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
    pd = _pandas()
    replicates = _count("replicates", replicates)
    f_star = _f_star(problem)
    sizes = [step_size] if step_sizes is None else list(step_sizes)
    settings = [
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
            own = {"n_workers": workers, "schedule": schedule, "step_size": size, "seed": seed + replicate}
            run = Run(problem, **own, n_steps=n_steps, n_threads=n_threads, record=record, **options)
            parts.append(_records(run, replicate, f_star))
            if progress is not None:
                progress(len(parts), len(settings) * replicates)
    return pd.DataFrame({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def _records(run: Run, replicate: int, f_star: float) -> dict[str, Any]:
    """Finish the run; return its columns, with a last row of infinite objectives if it diverged."""
    end: dict[str, Any] = {}
    try:
        run.advance()
    except Diverged as diverged:
        message = baselines.allreduce_bytes(run.n_workers, run.problem.n_params, run.problem.dtype.itemsize)
        n_rounds = diverged.state.n_rounds
        end = dict.fromkeys(COLUMNS, math.nan) | dict.fromkeys(("objective_w", "objective_w_bar"), math.inf)
        end |= {"t": diverged.t, "n_gradients": diverged.t * run.n_workers * run.batch_size}
        end |= {"n_rounds": n_rounds, "n_bytes": n_rounds * message}
    columns = run.trace.to_dict()
    if end:
        columns = {name: np.append(column, np.array([end[name]], column.dtype)) for name, column in columns.items()}
    facts = run.trace.facts
    keys = {
        "n_workers": run.n_workers,
        "schedule": facts["schedule"],
        "step_size": facts["step_size"],
        "replicate": replicate,
        "seed": run.seed,
    }
    out: dict[str, Any] = {name: np.array([value] * len(columns["t"])) for name, value in keys.items()}
    out |= columns
    return out | {f"excess_{which}": columns[f"objective_{which}"] - f_star for which in ("w", "w_bar")}


def _f_star(problem: Problem) -> float:
    if problem.known_optimum is None and problem.n_params > theory.constants.MOST_PARAMS:
        return math.nan
    try:
        return float(problem.objective(problem.optimum()))
    except ValueError:  # separable data: there is no optimum
        return math.nan


def _pandas() -> Any:
    try:
        import pandas
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'tables need pandas, which is not installed; run: pip install "fastlsgd[cli]"', name="pandas"
        ) from error
    return pandas


# ---- the comparison ----


@dataclass(frozen=True)
class Row:
    """One method at one kind of step: what it cost (one run) and what it reached (all replicates).

    Attributes
    ----------
    method : str
    kind : "schedule" or "baseline"
    step : "common", "own" or "none"
        The common safe step, the method's own best step, or no step at all (L-BFGS). One-shot plus a Newton step
        takes the steps of one-shot.
    eta : float
        The step size of the first local step; nan for L-BFGS. Richardson's is the smaller of its two.
    n_rounds, n_bytes, n_gradients : int
        Of one run.
    gradients_per_s, wall_s, compute_s, wait_s, average_s : float
        Of the run with seed ``seed``, with all threads and nothing beside it; nan where not measured.
    excess : tuple of float
        F(w_bar) minus the minimum, one value a replicate (a deterministic method has one); inf for a run that diverged.
    excess_mean, excess_low, excess_high : float
        Mean and its 95% interval by Student's t over replicates; nan bounds where there is no second replicate or the
        mean is infinite. A deterministic method's interval is a point.
    ratio, ratio_low, ratio_high : float
        Mean excess over that of mini-batch averaging at the same kind of step ("none": at its own), and its 95%
        interval: delta method on the logarithm of the ratio of means, paired over replicates, Student's t.
    test_metric : float
        Mean over replicates on the test part; nan without one.
    curve : tuple of (int, float)
        (n_gradients, excess of w_bar) along the measured run; of L-BFGS at every evaluation.
    """

    method: str
    kind: str
    step: str
    eta: float
    n_rounds: int
    n_bytes: int
    n_gradients: int
    gradients_per_s: float
    wall_s: float
    compute_s: float
    wait_s: float
    average_s: float
    excess: tuple[float, ...] = field(repr=False)
    excess_mean: float
    excess_low: float
    excess_high: float
    ratio: float
    ratio_low: float
    ratio_high: float
    test_metric: float
    curve: tuple[tuple[int, float], ...] = field(repr=False)


@dataclass(frozen=True)
class Comparison:
    """Schedules and baselines on one problem: see ``compare``.

    Attributes
    ----------
    rows : tuple of Row
        Method after method, the common step before the own one.
    facts : dict
        name, n_samples, n_features, loss, l2, fit_intercept, dtype; n_workers, n_steps, n_passes, sampling, replicates,
        seed, n_threads; mu, mu_eff, lipschitz, noise, floor, safe_step, step_bound (``theory.Constants``); f_star;
        metric ("AUC", "R2" or ""), test_metric_at_optimum, test_metric_se (its standard error over test
        rows); wall_s; rounds_lbfgs_to_floor (nan if it never gets there); common_step (repr); tuning: for each method
        the pairs (eta, mean excess on the tuning seeds it was run with).
    """

    rows: tuple[Row, ...]
    facts: dict[str, Any]

    def row(self, method: str, step: str = "own") -> Row:
        """Return the row of a method at a kind of step; a method without a step has only one.

        Raises
        ------
        KeyError
            No such row; the message lists the methods.
        """
        for row in self.rows:
            if row.method == method and row.step in (step, "none"):
                return row
        names = ", ".join(dict.fromkeys(repr(row.method) for row in self.rows))
        raise KeyError(f"no row {method!r} at the step {step!r}; methods are {names}, steps 'common' and 'own'")

    def to_frame(self) -> pandas.DataFrame:
        """Return one row per method, step and replicate, with the costs and the facts that identify the job."""
        pd = _pandas()
        named = ("name", "loss", "l2", "n_workers", "n_steps", "sampling", "mu", "mu_eff", "floor", "f_star")
        job = {name: self.facts[name] for name in named}
        records = []
        for row in self.rows:
            values = {name: value for name, value in asdict(row).items() if name not in ("excess", "curve")}
            for replicate, excess in enumerate(row.excess):
                seed = self.facts["seed"] + replicate
                records.append({**values, "replicate": replicate, "seed": seed, "excess": excess, **job})
        return pd.DataFrame(records)


def compare(
    problem: Problem,
    *,
    test: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    n_workers: int = 8,
    n_passes: float = 4,
    sampling: str = "replacement",
    replicates: int = 10,
    schedules: Sequence[Schedule | str] | None = None,
    step_size: StepSize | float | None = None,
    seed: int = 0,
    n_threads: int | None = None,
    grid: Sequence[float] | None = None,
    progress: Progress | None = None,
    name: str = "",
) -> Comparison:
    """Compare schedules and baselines on one problem, each at the common step and at its own best step.

    Every stochastic method takes n_passes * n_samples gradients in all (Richardson twice as many) and is judged
    by the excess objective of its average w_bar over the replicates seed, seed + 1, ... Its own step is the best of
    a factor-2 grid by mean excess on two tuning seeds that are not reported. The grid begins around the common
    step (around its multiple by the square root of the batch for large mini-batches) and grows upward until the
    excess has become worse twice in a row, a run diverges or ``Problem.step_bound`` is passed, and downward until it
    has become worse; the second seed decides between the best step and its neighbours. All tuning runs of a
    seed see the same samples, so their differences are much surer than their values.

    Seconds are those of one run per method and step with n_threads threads and nothing beside it. All other runs
    go in parallel, one thread each, which changes no bit.

    Parameters
    ----------
    problem : Problem
        With at most 2,000 parameters and an optimum.
    test : (X, y) or None
        Rows to predict: AUC for the logistic loss, R2 for the squared one.
    n_workers : int
    n_passes : float
        Gradients of all workers together, divided by the rows.
    sampling : "replacement" or "reshuffle"
    replicates : int
    schedules : sequence of Schedule or of names
        Default and names: "mini-batch averaging", "period 16", "period 256", "adaptive (mu)", "adaptive (mu_eff)",
        "one-shot"; any "period N". Mini-batch averaging, to which ratios refer, is added if missing. A large mini-batch
        is compared with each fixed period.
    step_size : StepSize, float or None
        The common step; None is the constant ``Problem.safe_step()``. Own steps are multiples of it.
    seed : int
    n_threads : int or None
        Changes the seconds and nothing else.
    grid : sequence of float or None
        Multiples of the common step to choose own steps from, instead of the growing grid.
    progress : function of (done, total), or None
        Called after each run; total is an estimate until the steps are chosen.
    name : str
        Of the data; goes into the facts.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError, TypeError
        A wrong argument, too many parameters, or a problem without an optimum.
    """
    started = time.perf_counter()
    n_workers, replicates = _count("n_workers", n_workers), _count("replicates", replicates)
    if isinstance(n_passes, (bool, str)) or not 0 < n_passes < math.inf:
        raise ValueError(f"n_passes must be a positive number, got {n_passes!r}")
    n_steps = max(1, int(n_passes * problem.n_samples // n_workers))
    tested = None if test is None else _Test(problem, *test)
    with _one_blas_thread(problem.n_params):
        constants = theory.estimate(problem)
        lab = _Lab(problem, _common_step(problem, step_size), sampling, seed, n_threads, progress)
        methods = _methods(schedules, constants, n_workers, n_steps)
        with warnings.catch_warnings():  # a grid that goes up to the bound is meant to
            warnings.filterwarnings("ignore", "step size .* is beyond", RuntimeWarning)
            own, tuning = _tune(lab, methods, max(TUNING_OFFSET, replicates), grid, replicates)
            ledgers = {(m.name, x): lab.measure(m, x) for m in methods for x in dict.fromkeys((1.0, own[m.name]))}
            seeds = [seed + r for r in range(replicates)]
            lab.answer([(m, x, s) for m in methods for x in (1.0, own[m.name]) for s in seeds])
        by_lbfgs = baselines.lbfgs(
            problem, n_workers, LBFGS_TARGET * constants.floor or None, f_star=lab.f_star, tolerance=1e-10
        )
        rows = _rows(lab, methods, own, seeds, ledgers, by_lbfgs, tested)
    facts = _facts(problem, name, n_workers, n_steps, n_passes, sampling, replicates, seed, lab, constants)
    facts |= _test_facts(tested, problem)
    to_floor = np.flatnonzero(np.array(by_lbfgs.objectives) - lab.f_star <= constants.floor)
    facts["rounds_lbfgs_to_floor"] = int(to_floor[0]) + 1 if to_floor.size else math.nan
    facts["tuning"] = tuning
    facts["wall_s"] = time.perf_counter() - started
    return Comparison(rows, facts)


def _facts(
    problem: Problem,
    name: str,
    n_workers: int,
    n_steps: int,
    n_passes: float,
    sampling: str,
    replicates: int,
    seed: int,
    lab: _Lab,
    constants: theory.Constants,
) -> dict[str, Any]:
    return {
        "name": name,
        "n_samples": problem.n_samples,
        "n_features": problem.n_features,
        "loss": problem.loss.name,
        "l2": problem.l2,
        "fit_intercept": problem.fit_intercept,
        "dtype": problem.dtype.name,
        "n_workers": n_workers,
        "n_steps": n_steps,
        "n_passes": n_passes,
        "sampling": sampling,
        "replicates": replicates,
        "seed": seed,
        "n_threads": lab.n_threads,
        **asdict(constants),
        "f_star": lab.f_star,
        "common_step": repr(lab.step),
    }


# ---- what is compared ----


@dataclass(frozen=True, eq=False)
class _Method:
    """A method as options of local_sgd; those built on one-shot averaging have it as their base."""

    name: str
    kind: str
    n_workers: int
    n_steps: int
    schedule: Schedule
    batch_size: int = 1
    base: _Method | None = None

    @property
    def options(self) -> dict[str, Any]:
        names = ("n_workers", "n_steps", "schedule", "batch_size")
        return {name: getattr(self, name) for name in names}

    @property
    def n_gradients(self) -> int:
        return self.n_workers * self.n_steps * self.batch_size

    def runs(self, multiple: float) -> tuple[tuple[_Method, float], ...]:
        """The runs of local_sgd it is made of, each at a multiple of the common step."""
        if self.base is None:
            return ((self, multiple),)
        at = ((self.base, multiple),)
        return (*at, (self.base, 2 * multiple)) if self.name == RICHARDSON else at


def _methods(
    wanted: Sequence[Schedule | str] | None, constants: theory.Constants, n_workers: int, n_steps: int
) -> list[_Method]:
    """Mini-batch averaging first, the schedules asked for, then the baselines."""
    named = dict(_named_schedule(entry, constants) for entry in (SCHEDULES if wanted is None else wanted))
    named = {MINI_BATCH: MiniBatch()} | named
    methods = [_Method(name, "schedule", n_workers, n_steps, schedule) for name, schedule in named.items()]
    for schedule in named.values():
        if isinstance(schedule, FixedPeriod):
            name = f"large mini-batch, rounds of period {schedule.period}"
            matched = baselines.large_minibatch_options(schedule.period, n_steps)
            methods.append(_Method(name, "baseline", **{"n_workers": n_workers, **matched}))
    alone = baselines.one_worker_options(n_workers, n_steps)
    methods.append(_Method(ONE_WORKER, "baseline", **alone))
    one_shot = next((m for m in methods if m.name == ONE_SHOT), None)
    base = one_shot or _Method(ONE_SHOT, "schedule", n_workers, n_steps, OneShot())
    for name in (RICHARDSON, NEWTON):
        methods.append(_Method(name, "baseline", n_workers, n_steps, OneShot(), base=base))
    return methods


def _named_schedule(entry: Schedule | str, constants: theory.Constants) -> tuple[str, Schedule]:
    known: dict[str, Schedule] = {
        MINI_BATCH: MiniBatch(),
        ONE_SHOT: OneShot(),
        "adaptive (mu)": AdaptivePeriod(constants.mu),
        "adaptive (mu_eff)": AdaptivePeriod(constants.mu_eff),
    }
    if isinstance(entry, str):
        word, _, number = entry.partition(" ")
        if word == "period" and number.isdecimal():
            return entry, FixedPeriod(int(number))
        if entry not in known:
            names = ", ".join(map(repr, known))
            raise ValueError(f"schedules must be Schedule objects or {names} or 'period N', got {entry!r}")
        return entry, known[entry]
    if not callable(getattr(entry, "next_periods", None)):
        raise TypeError(f"schedules must be Schedule objects or names such as 'period 16', got {entry!r}")
    if isinstance(entry, FixedPeriod):
        return f"period {entry.period}", entry
    return next((name for name, schedule in known.items() if schedule == entry), repr(entry)), entry


@dataclass(frozen=True)
class _Scaled:
    """A step size times a number."""

    step_size: StepSize
    multiple: float

    def __call__(self, t: npt.NDArray[np.int64]) -> Vector:
        return self.multiple * self.step_size(t)


def _common_step(problem: Problem, step_size: StepSize | float | None) -> StepSize:
    if step_size is None or (isinstance(step_size, str) and step_size == "auto"):
        return Constant(problem.safe_step())
    if isinstance(step_size, (int, float, np.floating)) and not isinstance(step_size, bool):
        step_size = Constant(float(step_size))
    if not callable(step_size):
        raise TypeError(f"step_size must be a number or a StepSize such as Constant(0.01), got {step_size!r}")
    if (eta := _first(step_size)) > problem.step_bound():
        warnings.warn(
            f"the common step {eta:g} is beyond {problem.step_bound():g}, the largest that can be stable here "
            "(Problem.step_bound); expect runs that diverge",
            RuntimeWarning,
            stacklevel=3,
        )
    return step_size


def _first(step_size: StepSize) -> float:
    return float(step_size(np.array([1], dtype=np.int64))[0])


# ---- running ----


@dataclass(frozen=True, eq=False)
class _Ledger:
    """What one run cost, and the iterates along it."""

    n_rounds: int
    n_bytes: int
    n_gradients: int
    wall_s: float = math.nan
    compute_s: float = math.nan
    wait_s: float = math.nan
    average_s: float = math.nan
    points: tuple[tuple[int, Vector], ...] = ()


_Key = tuple[_Method, float, int]


class _Lab:
    """Run methods at multiples of the common step, each run once, and remember every answer and its excess."""

    def __init__(
        self,
        problem: Problem,
        step: StepSize,
        sampling: str,
        seed: int,
        n_threads: int | None,
        progress: Progress | None,
    ) -> None:
        self.problem, self.step, self.sampling, self.seed = problem, step, sampling, seed
        self.n_threads = resolve_threads(n_threads, 1 << 30)
        self.f_star = float(problem.objective(problem.optimum()))
        self.answers: dict[_Key, Vector] = {}
        self.excess: dict[_Key, float] = {}
        self.done = self.expected = 0
        self._progress = progress
        self._ledgers: dict[tuple[_Method, float], _Ledger] = {}

    def at(self, multiple: float) -> StepSize:
        if multiple == 1.0:
            return self.step
        return Constant(self.step.eta * multiple) if isinstance(self.step, Constant) else _Scaled(self.step, multiple)

    def allowed(self, method: _Method, multiple: float) -> bool:
        largest = max(x for _, x in method.runs(multiple))
        return _first(self.step) * largest <= self.problem.step_bound(method.batch_size)

    def answer(self, keys: Iterable[_Key]) -> None:
        """Find what is not known yet of the answers to keys, runs in parallel, and their excess in one pass."""
        fresh = [key for key in dict.fromkeys(keys) if key not in self.excess]
        runs = [(*run, s) for method, multiple, s in fresh for run in method.runs(multiple)]
        runs = [key for key in dict.fromkeys(runs) if key not in self.answers]
        self.expected = max(self.expected, self.done + len(runs))
        for key, w_bar in zip(runs, self._in_parallel(self._w_bar, runs), strict=True):
            self.answers[key] = w_bar
        derived = [key for key in fresh if key[0].base is not None]
        for key, w in zip(derived, self._in_parallel(self._derive, derived, counted=False), strict=True):
            self.answers[key] = w
        for key, excess in zip(fresh, self.excess_of([self.answers[key] for key in fresh]), strict=True):
            self.excess[key] = excess

    def excess_of(self, answers: Sequence[Vector]) -> list[float]:
        """F minus its minimum, all in one pass over the data; inf where an answer is not finite."""
        W = np.array(answers).reshape(-1, self.problem.n_params)
        values = np.full(len(W), math.inf)
        finite = np.isfinite(W).all(axis=1)
        if finite.any():
            values[finite] = self.problem.objective(W[finite]) - self.f_star
        values[np.isnan(values)] = math.inf
        return values.tolist()

    def _run(self, key: _Key, **options: Any) -> Any:
        method, multiple, seed = key
        return local_sgd(
            self.problem, step_size=self.at(multiple), seed=seed, sampling=self.sampling, **method.options, **options
        )

    def _w_bar(self, key: _Key) -> Vector:
        try:
            # layout: a packed copy for each run at once would cost more than it saves, and changes no bit.
            return self._run(key, n_threads=1, record=0, layout="view").w_bar.astype(np.float64)
        except Diverged:
            return np.full(self.problem.n_params, math.nan)

    def _derive(self, key: _Key) -> Vector:
        method, multiple, seed = key
        parts = [self.answers[(*run, seed)] for run in method.runs(multiple)]
        if not all(np.isfinite(part).all() for part in parts):
            return np.full(self.problem.n_params, math.nan)
        return baselines.extrapolate(*parts) if method.name == RICHARDSON else self.problem.newton_step(parts[0])

    def _in_parallel(
        self, function: Callable[[_Key], Vector], keys: list[_Key], counted: bool = True
    ) -> list[Vector]:
        with ThreadPoolExecutor(self.n_threads) as pool:
            futures = [pool.submit(function, key) for key in keys]
            try:
                for _ in as_completed(futures):
                    self._note(counted)
            except BaseException:  # Ctrl-C: what has not begun never will
                for future in futures:
                    future.cancel()
                raise
        return [future.result() for future in futures]

    def _note(self, counted: bool = True) -> None:
        if counted:
            self.done += 1
            if self._progress is not None:
                self._progress(self.done, max(self.done, self.expected))

    def measure(self, method: _Method, multiple: float) -> _Ledger:
        """Make the run whose seconds are reported: all threads, records, nothing beside it."""
        key = (method, multiple)
        if key not in self._ledgers:
            if method.base is None:
                self._ledgers[key] = self._measure_run(method, multiple)
            else:
                parts = [self.measure(*run) for run in method.runs(multiple)]
                if method.name == RICHARDSON:
                    self._ledgers[key] = _both(*parts, n_workers=method.n_workers)
                else:
                    self._ledgers[key] = self._and_newton(parts[0], method.n_workers)
        return self._ledgers[key]

    def _measure_run(self, method: _Method, multiple: float) -> _Ledger:
        key = (method, multiple, self.seed)
        self._note()
        try:
            result = self._run(key, n_threads=self.n_threads, record=CURVE_RECORDS)
        except Diverged as diverged:
            self.answers[key] = np.full(self.problem.n_params, math.nan)
            return self._costs(method, diverged.state.n_rounds, method.n_workers * diverged.t * method.batch_size)
        self.answers[key] = result.w_bar.astype(np.float64)
        last = result.trace.records[-1]
        return self._costs(
            method,
            last.n_rounds,
            last.n_gradients,
            wall_s=last.wall_s,
            compute_s=last.compute_s,
            wait_s=last.wait_s,
            average_s=last.average_s,
            points=tuple((r.n_gradients, r.w_bar.astype(np.float64)) for r in result.trace.records),
        )

    def _costs(self, method: _Method, n_rounds: int, n_gradients: int, **measured: Any) -> _Ledger:
        n_rounds = 0 if method.n_workers == 1 else n_rounds
        message = baselines.allreduce_bytes(method.n_workers, self.problem.n_params, self.problem.dtype.itemsize)
        return _Ledger(n_rounds, n_rounds * message, n_gradients, **measured)

    def _and_newton(self, one_shot: _Ledger, n_workers: int) -> _Ledger:
        if not one_shot.points:
            return one_shot
        step = baselines.newton_step(self.problem, one_shot.points[-1][1], n_workers)
        n_gradients = one_shot.n_gradients + step.n_gradients
        return _Ledger(
            one_shot.n_rounds + step.n_rounds,
            one_shot.n_bytes + step.n_bytes,
            n_gradients,
            one_shot.wall_s + step.wall_s,
            one_shot.compute_s + step.wall_s,
            one_shot.wait_s,
            one_shot.average_s,
            (*one_shot.points, (n_gradients, step.w)),
        )


def _both(first: _Ledger, second: _Ledger, n_workers: int) -> _Ledger:
    """Two one-shot runs whose vectors go in one message."""
    pairs = zip(first.points, second.points, strict=True) if first.points and second.points else ()
    return _Ledger(
        min(1, max(first.n_rounds, second.n_rounds)),
        first.n_bytes + second.n_bytes,
        first.n_gradients + second.n_gradients,
        first.wall_s + second.wall_s,
        first.compute_s + second.compute_s,
        first.wait_s + second.wait_s,
        first.average_s + second.average_s,
        tuple((2 * n, baselines.extrapolate(w, w_twice)) for (n, w), (_, w_twice) in pairs),
    )


# ---- choosing steps ----


class _Ladder:
    """Choose the best of the steps 2^j from scores that are asked for a few at a time; the lowest wins.

    Rungs are judged on the first tuning seed until the best has two worse ones above it (or one that is infinite or
    none allowed) and a worse one below; then the best and its neighbours on all seeds.
    """

    LOWEST = -40

    def __init__(self, seeds: Sequence[int], allowed: Callable[[float], bool], start: int = 0) -> None:
        self.seeds, self.scores = tuple(seeds), {}  # type: tuple[int, ...], dict[int, dict[int, float]]
        self._allowed = lambda j: self.LOWEST <= j <= -self.LOWEST and allowed(2.0**j)
        while start > self.LOWEST and not self._allowed(start):
            start -= 1
        self._start = [j for j in (start - 1, start, start + 1) if self._allowed(j)] or [start]

    def tell(self, j: int, seed: int, score: float) -> None:
        self.scores.setdefault(j, {})[seed] = score

    def wanted(self) -> list[tuple[int, int]]:
        """The (rung, seed) to be scored next; none when the choice is made."""
        if not self.scores:
            return [(j, self.seeds[0]) for j in self._start]
        rungs = self._to_bracket(self._best_of({j: s[self.seeds[0]] for j, s in self.scores.items()}))
        if rungs:
            return [(j, self.seeds[0]) for j in rungs]
        best = self.best
        rungs = [*self._to_bracket(best), *(j for j in (best - 1, best, best + 1) if j in self.scores)]
        return [(j, seed) for j in rungs for seed in self.seeds if seed not in self.scores.get(j, {})]

    def _to_bracket(self, best: int) -> list[int]:
        low, top = min(self.scores), max(self.scores)
        above = top + 1 if top - best < 2 and self._allowed(top + 1) and self._finite(top) else None
        below = low - 1 if best == low and self._allowed(low - 1) else None
        return [j for j in (above, below) if j is not None]

    def _finite(self, j: int) -> bool:
        return all(math.isfinite(score) for score in self.scores[j].values())

    def _best_of(self, scores: dict[int, float]) -> int:
        return min(scores, key=lambda j: (scores[j], j))

    @property
    def best(self) -> int:
        """The best by mean among those scored on all seeds; before there are any, by the first seed."""
        whole = {j: s for j, s in self.scores.items() if len(s) == len(self.seeds)}
        return self._best_of({j: sum(s.values()) / len(s) for j, s in (whole or self.scores).items()})

    def multiple(self, j: int) -> float:
        return 2.0**j


class _Grid(_Ladder):
    """The multiples that were given, all of them on all seeds."""

    def __init__(self, seeds: Sequence[int], grid: Sequence[float]) -> None:
        super().__init__(seeds, lambda _: True)
        self._multiples = sorted({float(multiple) for multiple in grid})
        if not self._multiples or not all(0 < multiple < math.inf for multiple in self._multiples):
            raise ValueError(f"grid must hold positive multiples of the common step, got {grid!r}")

    def wanted(self) -> list[tuple[int, int]]:
        rungs = range(len(self._multiples))
        return [(j, seed) for j in rungs for seed in self.seeds if seed not in self.scores.get(j, {})]

    def multiple(self, j: int) -> float:
        return self._multiples[j]


def _tune(
    lab: _Lab, methods: Sequence[_Method], offset: int, grid: Sequence[float] | None, replicates: int
) -> tuple[dict[str, float], dict[str, tuple[tuple[float, float], ...]]]:
    """Return each method's own multiple of the common step, and the scores it was chosen by."""
    seeds = [lab.seed + offset + i for i in range(TUNING_SEEDS)]
    tuned = dict.fromkeys([*methods, *(m.base for m in methods if m.base is not None)])
    ladders = {method: _ladder(lab, method, seeds, grid) for method in tuned if method.name != NEWTON}
    lab.expected = len(ladders) * (8 + 2 * replicates)
    while asked := [(method, j, seed) for method, ladder in ladders.items() for j, seed in ladder.wanted()]:
        keys = [(method, ladders[method].multiple(j), seed) for method, j, seed in asked]
        lab.answer(keys)
        for (method, j, seed), key in zip(asked, keys, strict=True):
            ladders[method].tell(j, seed, lab.excess[key])
    own = {method.name: ladder.multiple(ladder.best) for method, ladder in ladders.items()}
    own[NEWTON] = own[ONE_SHOT]  # it takes off from one-shot's answer, whatever suits itself
    eta = _first(lab.step)
    tuning = {
        method.name: tuple(
            (eta * ladder.multiple(j), sum(scores.values()) / len(scores))
            for j, scores in sorted(ladder.scores.items())
        )
        for method, ladder in ladders.items()
    }
    lab.expected = lab.done + len(
        {(*run, s) for m in methods for x in (1.0, own[m.name]) for run in m.runs(x) for s in range(replicates)}
    )
    return own, tuning


def _ladder(lab: _Lab, method: _Method, seeds: Sequence[int], grid: Sequence[float] | None) -> _Ladder:
    if grid is not None:
        return _Grid(seeds, grid)
    # A batch b times as large can use a step between 1 and b times as large: begin in the middle.
    start = round(math.log2(method.batch_size) / 2)
    return _Ladder(seeds, lambda multiple: lab.allowed(method, multiple), start)


# ---- rows, intervals, metrics ----


def _rows(
    lab: _Lab,
    methods: Sequence[_Method],
    own: dict[str, float],
    seeds: Sequence[int],
    ledgers: dict[tuple[str, float], _Ledger],
    by_lbfgs: baselines.BaselineResult,
    tested: _Test | None,
) -> tuple[Row, ...]:
    curves = _curves(lab, ledgers)
    wanted = [(m, step, x) for m in methods for step, x in (("common", 1.0), ("own", own[m.name]))]
    answers = [[lab.answers[m, x, s] for s in seeds] for m, _, x in wanted]
    metrics = [math.nan] * (len(wanted) + 1)
    if tested is not None:
        with ThreadPoolExecutor(lab.n_threads) as pool:
            metrics = list(pool.map(tested.mean_metric, [*answers, [by_lbfgs.w]]))
    reference = {step: [lab.excess[methods[0], x, s] for s in seeds] for _, step, x in wanted[:2]}
    rows = []
    for (method, step, multiple), metric in zip(wanted, metrics[:-1], strict=True):
        ledger = ledgers[method.name, multiple]
        excess = [lab.excess[method, multiple, s] for s in seeds]
        rows.append(
            Row(
                method=method.name,
                kind=method.kind,
                step=step,
                eta=_first(lab.at(multiple)),
                **_costs(ledger),
                **_statistics(excess, reference[step]),
                test_metric=metric,
                curve=curves[method.name, multiple],
            )
        )
    return (*rows, _lbfgs_row(lab, by_lbfgs, reference["own"], metrics[-1]))


def _curves(
    lab: _Lab, ledgers: dict[tuple[str, float], _Ledger]
) -> dict[tuple[str, float], tuple[tuple[int, float], ...]]:
    """The excess along all measured runs, in one pass over the data."""
    values = iter(lab.excess_of([w for ledger in ledgers.values() for _, w in ledger.points]))
    return {key: tuple((n, next(values)) for n, _ in ledger.points) for key, ledger in ledgers.items()}


def _costs(ledger: _Ledger) -> dict[str, Any]:
    names = ("n_rounds", "n_bytes", "n_gradients", "wall_s", "compute_s", "wait_s", "average_s")
    costs = {name: getattr(ledger, name) for name in names}
    return costs | {"gradients_per_s": ledger.n_gradients / ledger.wall_s if ledger.wall_s else math.nan}


def _lbfgs_row(lab: _Lab, by: baselines.BaselineResult, reference: Sequence[float], metric: float) -> Row:
    n_samples = lab.problem.n_samples
    excess = [min(by.objectives) - lab.f_star]
    return Row(
        method=LBFGS,
        kind="baseline",
        step="none",
        eta=math.nan,
        n_rounds=by.n_rounds,
        n_bytes=by.n_bytes,
        n_gradients=by.n_gradients,
        gradients_per_s=by.n_gradients / by.wall_s,
        wall_s=by.wall_s,
        compute_s=math.nan,
        wait_s=math.nan,
        average_s=math.nan,
        **_statistics(excess, reference, deterministic=True),
        test_metric=metric,
        curve=tuple(((i + 1) * n_samples, value - lab.f_star) for i, value in enumerate(by.objectives)),
    )


def _statistics(excess: Sequence[float], reference: Sequence[float], deterministic: bool = False) -> dict[str, Any]:
    mean, low, high = _mean_interval(excess, deterministic)
    ratio, ratio_low, ratio_high = _ratio_interval(excess, reference)
    return {
        "excess": tuple(excess),
        "excess_mean": mean,
        "excess_low": low,
        "excess_high": high,
        "ratio": ratio,
        "ratio_low": ratio_low,
        "ratio_high": ratio_high,
    }


def _t_quantile(n: int) -> float:
    from scipy import stats  # half a second to import

    return float(stats.t.ppf(0.975, n - 1))


def _mean_interval(values: Sequence[float], deterministic: bool = False) -> tuple[float, float, float]:
    """The mean and its 95% interval by Student's t; nan bounds where there is none."""
    mean, n = float(np.mean(values)), len(values)
    if deterministic:
        return mean, mean, mean
    if n < 2 or not math.isfinite(mean):
        return mean, math.nan, math.nan
    half = _t_quantile(n) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return mean, mean - half, mean + half


def _ratio_interval(values: Sequence[float], reference: Sequence[float]) -> tuple[float, float, float]:
    """The ratio of means and its 95% interval: delta method on its logarithm, replicates paired."""
    a, b = np.broadcast_arrays(np.array(values, np.float64), np.array(reference, np.float64))
    mean_a, mean_b, n = float(a.mean()), float(b.mean()), len(b)
    if not math.isfinite(mean_b) or mean_b <= 0:
        return math.nan, math.nan, math.nan
    ratio = mean_a / mean_b
    if n < 2 or not 0 < ratio < math.inf:
        return ratio, math.nan, math.nan
    half = _t_quantile(n) * float(np.std(a / mean_a - b / mean_b, ddof=1)) / math.sqrt(n)
    return ratio, ratio * math.exp(-half), ratio * math.exp(half)


class _Test:
    """The test part, and how well predictions from w do on it: AUC or R2."""

    def __init__(self, problem: Problem, X: npt.ArrayLike, y: npt.ArrayLike) -> None:
        self.X, self.y = np.asarray(X), np.asarray(y, dtype=np.float64)
        if self.X.ndim != 2 or self.X.shape[1] != problem.n_features or self.y.shape != self.X.shape[:1]:
            raise ValueError(
                f"test must be (X, y) with shapes (m, {problem.n_features}) and (m,), "
                f"got {self.X.shape} and {self.y.shape}"
            )
        if problem.loss.is_binary and not (np.abs(self.y) == 1).all():
            raise ValueError("test: y must hold the labels -1 and +1, as for training")
        self.name = "AUC" if problem.loss.is_binary else "R2"
        self._parts = auc_parts if problem.loss.is_binary else r2_parts

    def metric(self, w: Vector) -> tuple[float, float]:
        """The metric and its standard error over test rows."""
        return self._parts(self._predict(w[None])[:, 0], self.y)

    def mean_metric(self, answers: Sequence[Vector]) -> float:
        W = np.array(answers)
        if not np.isfinite(W).all():
            return math.nan
        return float(np.mean([self._parts(column, self.y)[0] for column in self._predict(W).T]))

    def _predict(self, W: Vector) -> Vector:
        """Predictions of all w, shape (m, len(W)), float64; the intercept, if any, is the last coordinate."""
        d = self.X.shape[1]
        blocks = [self.X[i : i + 8192].astype(np.float64) @ W[:, :d].T for i in range(0, len(self.X), 8192)]
        return np.concatenate(blocks) + W[:, d:].sum(axis=1)


def auc_parts(scores: Vector, labels: Vector) -> tuple[float, float]:
    """Return the area under the ROC curve and its standard error (DeLong, DeLong and Clarke-Pearson 1988; recalled).

    Parameters
    ----------
    scores, labels : arrays, shape (m,)
        Labels -1 and +1. With fewer than two of either, nan.

    Examples
    --------
    >>> auc_parts(np.array([0.1, 0.4, 0.35, 0.8]), np.array([-1, -1, 1, 1]))[0]
    0.75
    """
    from scipy.stats import rankdata

    positive = labels > 0
    n1, n0 = int(positive.sum()), int((~positive).sum())
    if min(n0, n1) < 2:
        return math.nan, math.nan
    ranks = rankdata(scores)
    # How much of the other class each row is on the right side of, ties counting half.
    above = (ranks[positive] - rankdata(scores[positive])) / n0
    below = 1.0 - (ranks[~positive] - rankdata(scores[~positive])) / n1
    return float(above.mean()), math.sqrt(above.var(ddof=1) / n1 + below.var(ddof=1) / n0)


def r2_parts(predictions: Vector, targets: Vector) -> tuple[float, float]:
    """Return R2 = 1 - mean squared error / variance of the targets, and its standard error by the delta method.

    Examples
    --------
    >>> r2_parts(np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 3.0]))[0]
    0.5
    """
    squared = (targets - predictions) ** 2
    spread = (targets - targets.mean()) ** 2
    variance = float(spread.mean())
    if len(targets) < 2 or variance == 0:
        return math.nan, math.nan
    unexplained = float(squared.mean()) / variance
    influence = (squared - unexplained * spread) / variance
    return 1.0 - unexplained, float(influence.std(ddof=1)) / math.sqrt(len(targets))


def _test_facts(tested: _Test | None, problem: Problem) -> dict[str, Any]:
    metric, error = (math.nan, math.nan) if tested is None else tested.metric(problem.optimum())
    return {
        "metric": "" if tested is None else tested.name,
        "test_metric_at_optimum": metric,
        "test_metric_se": error,
    }


# ---- small things ----


def _one_blas_thread(n_params: int) -> Any:
    import contextlib

    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, user_api="blas") if n_params <= ONE_BLAS_THREAD else contextlib.nullcontext()


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an int, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be an int >= 1, got {value}")
    return int(value)
