"""Compare schedules and baselines on one problem, each at the common safe step and at its own best step.

The main job of the command line. No ratio stands without both steps.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from .. import baselines, theory
from ..arguments import a_problem, number, reals, seed_of, whole
from ..cores import one_blas_thread
from ..problem import DENSE_HESSIAN, Problem
from ..schedules import Schedule
from ..stepsizes import StepSize
from .lab import Key, Lab, Ledger, Method, Progress, common_step, first_eta, methods_of, told
from .metrics import TestPart, mean_interval, ratio_interval
from .stability import stable_steps
from .tuning import tune

if TYPE_CHECKING:
    import pandas

LBFGS = "L-BFGS"
# Tuning seeds lie beyond those that are reported.
TUNING_SEEDS, TUNING_OFFSET = 2, 1000
# A number of steps has fewer than 2^63.
MOST_PASSES = 1e9
# L-BFGS goes on to this part of the statistical floor (beyond it nothing is learnt about the population), or so far.
LBFGS_TARGET, LBFGS_PASSES = 0.01, 200


@dataclass(frozen=True)
class Row:
    """One method at one kind of step: what it cost (one run) and what it reached (all replicates).

    Attributes
    ----------
    method : str
    kind : "schedule" or "baseline"
    step : "common", "own" or "none"
        The common safe step, the method's own best step, or no step at all (L-BFGS). The own step of one-shot plus
        a Newton step is the best for it among those that one-shot was tuned with.
    eta : float
        The step size of the first local step; nan for L-BFGS. Richardson's is the smaller of its two.
    n_rounds, n_bytes, n_gradients : int
        Of one run.
    gradients_per_s, wall_s, compute_s, wait_s, average_s : float
        Of the run with seed ``seed``, with all threads and nothing beside it; nan where not measured.
    excess : tuple of float
        F(w_bar) minus the minimum, one value a replicate (a deterministic method has one); inf for a run that
        diverged; nowhere below ``Problem.excess_resolution``.
    excess_mean, excess_low, excess_high : float
        Mean and its 95% interval by Student's t over replicates; nan bounds where there is no second replicate
        or the mean is infinite. A deterministic method's interval is a point.
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
        The job: name, n_samples, n_features, loss, l2, fit_intercept, dtype, n_workers, n_steps, n_passes, sampling,
        replicates, seed, n_threads, common_step (repr). The problem (``theory.Constants``): mu, mu_eff, lipschitz,
        noise, floor, bias, stability_limit, safe_step, step_bound; constants_by and constants_intervals, its method
        and intervals; f_star, excess_resolution. The test part: metric ("AUC", "R2" or ""),
        n_test (its rows, or 0), test_metric_at_optimum, test_metric_se (its standard error over test rows). Further:
        rounds_lbfgs_to_floor (nan if it never gets there), wall_s, and tuning: for each method the pairs (eta,
        mean excess on the tuning seeds it was run with).
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
        """Return one row per method, step and replicate, with the costs and the facts that identify the job.

        Raises
        ------
        ModuleNotFoundError
            pandas is not installed; the message has the command. ``to_columns`` does without.
        """
        return need_pandas().DataFrame(self.to_columns())

    def to_columns(self) -> dict[str, list[Any]]:
        """Return the columns of ``to_frame`` as lists of equal length, for writers that need no pandas.

        Returns
        -------
        dict of list
            Every column of str, int or float only.
        """
        named = ("name", "loss", "l2", "n_workers", "n_steps", "sampling", "mu", "mu_eff", "floor", "f_star")
        job = {name: self.facts[name] for name in named}
        records: list[dict[str, Any]] = []
        for row in self.rows:
            values = {name: value for name, value in asdict(row).items() if name not in ("excess", "curve")}
            for replicate, excess in enumerate(row.excess):
                seed = self.facts["seed"] + replicate
                records.append({**values, "replicate": replicate, "seed": seed, "excess": excess, **job})
        return {name: [record[name] for record in records] for name in records[0]}


def compare(
    problem: Problem,
    *,
    test: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    n_workers: int = 8,
    n_passes: float = 4,
    sampling: str = "replacement",
    replicates: int = 10,
    schedules: Sequence[Schedule | str] | Schedule | str | None = None,
    step_size: StepSize | float | None = None,
    seed: int = 0,
    n_threads: int | None = None,
    grid: Sequence[float] | None = None,
    progress: Progress | None = None,
    name: str = "",
) -> Comparison:
    """Compare schedules and baselines on one problem, each at the common step and at its own best step.

    Every stochastic method takes n_passes * n_samples gradients in all (Richardson twice as many) and is judged by
    the excess objective of its average w_bar over the replicates seed, seed + 1, ... Its own step is the best of
    a factor-2 grid around the common step by mean excess on tuning seeds that are not reported (``tuning.Ladder``
    says how the grid grows). The grid ends at the limit of stability: with squared loss that of the method's rounds,
    beyond which the mean over all runs is infinite however well a few look (or a little below that, where rounds are
    neither one step nor the whole run); else at 2 / l2.

    Seconds are those of one run per method and step with n_threads threads and nothing beside it. All other runs
    go in parallel, one thread each, which changes no bit.

    Parameters
    ----------
    problem : Problem
        With an optimum. Beyond 2,000 parameters its constants are estimates (``theory.estimate``); beyond 5,000 there
        is no Newton step, which takes a Hessian.
    test : (X, y) or None
        Rows to predict: AUC for the logistic loss, R2 for the squared one.
    n_workers : int
    n_passes : float
        Gradients of all workers together, divided by the rows.
    sampling : "replacement", "reshuffle" or "blocks"
    replicates : int
    schedules : sequence of Schedule or of names, or one
        Default and names: "mini-batch averaging", "period 16", "period 256", "adaptive (mu)", "adaptive (mu_eff)",
        "one-shot"; any "period N". Mini-batch averaging, to which ratios refer, is added if missing. A large
        mini-batch is compared with each fixed period.
    step_size : StepSize, float or None
        The common step; None is the constant ``Problem.safe_step()``. Own steps are multiples of it.
    seed : int
    n_threads : int or None
        Changes the seconds and nothing else.
    grid : sequence of float or None
        Multiples of the common step to choose own steps from, instead of the growing grid; all are tried, those
        beyond the limit of stability too.
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
    KeyboardInterrupt
        Ctrl-C. Once the steps are chosen and the seconds measured, its attribute ``result`` is the Comparison of the
        replicates that are whole. A second Ctrl-C leaves it out.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((200, 3)); y = np.where(X[:, 0] + rng.logistic(size=200) > 0, 1.0, -1.0)
    >>> problem = Problem(X, y, loss="logistic", l2=1e-2)
    >>> found = compare(problem, n_workers=4, n_passes=2, replicates=2, schedules=["period 16", "one-shot"])
    >>> often, rarely = found.row("mini-batch averaging"), found.row("one-shot")
    >>> often.n_rounds, rarely.n_rounds, often.n_gradients == rarely.n_gradients == 2 * 200
    (100, 1, True)
    >>> rarely.ratio == rarely.excess_mean / often.excess_mean  # each at its own best step
    True
    """
    started = time.perf_counter()
    problem = a_problem(problem)
    n_workers, replicates = whole("n_workers", n_workers), whole("replicates", replicates)
    seed, progress = seed_of(seed), told(progress)
    beyond = max(TUNING_OFFSET, replicates) + TUNING_SEEDS
    if seed + beyond >= 2**64:
        raise ValueError(
            f"seed must be below 2^64 - {beyond}, got {seed}: steps are chosen with seeds that far beyond"
        )
    n_passes = number("n_passes", n_passes, above=0.0, most=MOST_PASSES)
    n_steps = int(n_passes * problem.n_samples // n_workers)
    if n_steps < 1:
        raise ValueError(
            f"n_passes={n_passes:g} of {problem.n_samples} rows are fewer gradients than n_workers={n_workers}, each "
            "of which takes one at least; use fewer workers or more passes"
        )
    if test is not None and not (isinstance(test, (tuple, list)) and len(test) == 2):
        raise TypeError(f"test must be a pair (X, y) or None, got {type(test).__name__}")
    if grid is not None:
        grid = reals("grid", grid).ravel().tolist()
    tested = None if test is None else TestPart(problem, *test)
    with one_blas_thread(problem.n_params):
        constants = theory.estimate(problem)
        step = common_step(problem, step_size)
        lab = Lab(
            problem, step, sampling=sampling, seed=seed, n_threads=n_threads, progress=progress,
            is_stable=stable_steps(problem, constants, step),
        )  # fmt: skip
        methods = methods_of(schedules, constants, step, n_workers, n_steps, problem.n_params <= DENSE_HESSIAN)
        seeds = [seed + r for r in range(replicates)]
        with warnings.catch_warnings():  # a grid that goes up to the bound is meant to
            warnings.filterwarnings("ignore", "step size .* is beyond", RuntimeWarning)
            own, tuning = _own_steps(lab, methods, seeds, grid)
            reported = [_Reported(m, s, x) for m in methods for s, x in (("common", 1.0), ("own", own[m.name]))]
            lab.expected = lab.done + len(lab.runs_left(_keys(reported, seeds)))
            ledgers = {row.at: lab.measure(*row.at) for row in reported}
            by_lbfgs = _lbfgs(lab, n_workers, LBFGS_TARGET * constants.floor)
            curves = _curves(lab, ledgers)  # before the replicates, that little be left to do after an interrupt
            facts = {"name": name, **_problem_facts(problem, constants, lab, tested)}
            interrupt = _replicate(lab, reported, seeds)
        facts |= {"n_workers": n_workers, "n_steps": n_steps, "n_passes": n_passes, "sampling": sampling}
        facts |= {"seed": seed, "n_threads": lab.n_threads, "common_step": repr(step), "tuning": tuning}

        def finish() -> Comparison:
            left = [s for s in seeds if not lab.runs_left(_keys(reported, [s]))]
            rows = _rows(lab, reported, left, ledgers, curves, by_lbfgs, tested)
            below = [i + 1 for i, (_, excess) in enumerate(rows[-1].curve) if excess <= constants.floor]
            found = {"replicates": len(left), "rounds_lbfgs_to_floor": min(below, default=math.nan)}
            return Comparison(rows, facts | found | {"wall_s": time.perf_counter() - started})

        if interrupt is None:
            try:
                return finish()
            except KeyboardInterrupt as late:
                interrupt = late
        interrupt.result = finish()  # type: ignore[attr-defined]
    raise interrupt


def _problem_facts(
    problem: Problem, constants: theory.Constants, lab: Lab, tested: TestPart | None
) -> dict[str, Any]:
    names = ("n_samples", "n_features", "l2", "fit_intercept")
    facts = {name: getattr(problem, name) for name in names}
    metric: tuple[str, float, float] = ("", math.nan, math.nan)
    if tested is not None:
        metric = (tested.name, *tested.value_and_error(problem.optimum()))
    return {
        **facts,
        "loss": problem.loss.name,
        "dtype": problem.dtype.name,
        **{name: getattr(constants, name) for name in theory.constants.NAMES},
        "constants_by": constants.method,
        "constants_intervals": dict(constants.intervals),
        "f_star": lab.f_star,
        "excess_resolution": lab.resolution,
        "n_test": 0 if tested is None else len(tested.y),
        **dict(zip(("metric", "test_metric_at_optimum", "test_metric_se"), metric, strict=True)),
    }


def _lbfgs(lab: Lab, n_workers: int, target: float) -> baselines.BaselineResult:
    """Run L-BFGS to the target, or until its gradient is zero to rounding where the target is zero (no noise)."""
    return baselines.lbfgs(
        lab.problem, n_workers, target or None, tolerance=1e-10, f_star=lab.f_star, max_passes=LBFGS_PASSES
    )


@dataclass(frozen=True)
class _Reported:
    """A row to be: a method at a kind of step, which is a multiple of the common one."""

    method: Method
    step: str
    multiple: float

    @property
    def at(self) -> tuple[Method, float]:
        return self.method, self.multiple


def _keys(reported: Sequence[_Reported], seeds: Sequence[int]) -> list[Key]:
    """The answers that rows consist of, replicate after replicate."""
    return [(*row.at, seed) for seed in seeds for row in reported]


def _replicate(lab: Lab, reported: Sequence[_Reported], seeds: Sequence[int]) -> KeyboardInterrupt | None:
    """Find all answers; after Ctrl-C those to the replicates that are whole, and return the interrupt.

    A few replicates at a time, enough to keep all threads busy: what has been judged need not be after an interrupt.
    """
    at_once = max(2, lab.n_threads // 4)
    try:
        for i in range(0, len(seeds), at_once):
            lab.answer(_keys(reported, seeds[i : i + at_once]))
    except KeyboardInterrupt as interrupt:
        lab.answer(_keys(reported, [seed for seed in seeds if not lab.runs_left(_keys(reported, [seed]))]))
        return interrupt
    return None


_Ledgers = dict[tuple[Method, float], Ledger]
_Curves = dict[tuple[Method, float], tuple[tuple[int, float], ...]]
_Tuning = dict[str, tuple[tuple[float, float], ...]]


def _own_steps(
    lab: Lab, methods: Sequence[Method], seeds: Sequence[int], grid: Sequence[float] | None
) -> tuple[dict[str, float], _Tuning]:
    """Return each method's own multiple of the common step, and the scores it was chosen by."""
    offset = lab.seed + max(TUNING_OFFSET, len(seeds))
    lab.expected = len(methods) * (6 + 2 * len(seeds))
    ladders = tune(lab, methods, range(offset, offset + TUNING_SEEDS), grid)
    own = {m.name: ladder.multiple(ladder.best) for m, ladder in ladders.items()}
    eta = first_eta(lab.step)
    tuning = {m.name: tuple((eta * x, score) for x, score in ladder.mean_scores()) for m, ladder in ladders.items()}
    return own, tuning


def _rows(
    lab: Lab,
    reported: Sequence[_Reported],
    seeds: Sequence[int],
    ledgers: _Ledgers,
    curves: _Curves,
    by_lbfgs: baselines.BaselineResult,
    tested: TestPart | None,
) -> tuple[Row, ...]:
    excess = [[lab.excess[(*row.at, seed)] for seed in seeds] for row in reported]
    # Mini-batch averaging comes first, at the common step and at its own.
    reference = {row.step: values for row, values in zip(reported[:2], excess[:2], strict=True)}
    answers = [[lab.answers[(*row.at, seed)] for seed in seeds] for row in reported]
    metrics = [math.nan] * (len(reported) + 1)
    if tested is not None:
        with ThreadPoolExecutor(lab.n_threads) as pool:
            metrics = list(pool.map(tested.mean, [*answers, [by_lbfgs.w]]))
    rows = [
        Row(
            method=row.method.name,
            kind=row.method.kind,
            step=row.step,
            eta=first_eta(lab.at(row.multiple)),
            **_costs(ledgers[row.at]),
            excess=tuple(values),
            **_named("excess", ("mean", "low", "high"), mean_interval(values)),
            **_named("ratio", ("", "low", "high"), ratio_interval(values, reference[row.step])),
            test_metric=metric,
            curve=curves[row.at],
        )
        for row, values, metric in zip(reported, excess, metrics[:-1], strict=True)
    ]
    return (*rows, _lbfgs_row(lab, by_lbfgs, reference["own"], metrics[-1]))


def _curves(lab: Lab, ledgers: _Ledgers) -> _Curves:
    """Return the excess along all measured runs, evaluated in one pass; ledgers may share points."""
    points = {id(w): w for ledger in ledgers.values() for _, w in ledger.points}
    excess = dict(zip(points, lab.excess_of(list(points.values())), strict=True))
    return {at: tuple((n, excess[id(w)]) for n, w in ledger.points) for at, ledger in ledgers.items()}


def _costs(cost: Ledger | baselines.BaselineResult) -> dict[str, Any]:
    names = ("n_rounds", "n_bytes", "n_gradients", "wall_s")
    costs = {name: getattr(cost, name) for name in names}
    costs |= {name: getattr(cost, name, math.nan) for name in ("compute_s", "wait_s", "average_s")}
    return costs | {"gradients_per_s": cost.n_gradients / cost.wall_s if cost.wall_s else math.nan}


def _named(prefix: str, names: Sequence[str], values: Sequence[float]) -> dict[str, Any]:
    return {f"{prefix}_{name}".rstrip("_"): value for name, value in zip(names, values, strict=True)}


def _lbfgs_row(lab: Lab, by: baselines.BaselineResult, reference: Sequence[float], metric: float) -> Row:
    curve, n = lab.excess_of(by.iterates), lab.problem.n_samples
    excess = min(curve)
    return Row(
        method=LBFGS,
        kind="baseline",
        step="none",
        eta=math.nan,
        **_costs(by),
        excess=(excess,),
        **_named("excess", ("mean", "low", "high"), (excess,) * 3),
        **_named("ratio", ("", "low", "high"), ratio_interval([excess], reference)),
        test_metric=metric,
        curve=tuple(((i + 1) * n, value) for i, value in enumerate(curve)),
    )


def need_pandas() -> Any:
    """Return pandas, or say how to install it."""
    try:
        import pandas
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'tables need pandas, which is not installed; run: pip install "fastlsgd[cli]"', name="pandas"
        ) from error
    return pandas
