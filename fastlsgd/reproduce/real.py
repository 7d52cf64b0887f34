"""Real data of the figures that need some: loaded once, run at many methods and steps, predicted beside it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np

from .. import baselines, datasets, theory
from ..datasets.known import SETS
from ..experiments.lab import Lab, Method
from ..experiments.metrics import mean_interval
from ..experiments.tuning import tune
from ..problem import Problem
from ..schedules import FixedPeriod, OneShot
from ..solver import local_sgd
from ..stepsizes import Constant
from ..theory.period_limit import least_squares_limit
from .figure import Request

Sampling = Literal["replacement", "reshuffle"]
SAMPLINGS: tuple[Sampling, ...] = ("replacement", "reshuffle")

FULL_DATA, QUICK_DATA = "flights13_late", "breast_cancer"
# The further problems of the full set: least squares, and sparse rows that are each read once.
BESIDE: tuple[tuple[str, Sampling], ...] = (("flights13", "replacement"), ("census_hashed", "reshuffle"))
# A run takes two passes over a large set, one over a further problem. On a small set it takes so many gradients that
# averaging rarely begins to cost something.
PASSES, PASSES_BESIDE, LEAST_GRADIENTS = 2, 1, 100_000
# Beside many rows a small penalty; few rows with little penalty put the optimum so far that no run gets there.
L2, L2_FEW_ROWS, MANY_ROWS = 1e-4, 1e-2, 100_000
# Rows that stand for all in predictions: within 1% of what all of flights13_late give. With squared loss predictions
# are cheap, and a few large rows decide the limit: there are more.
PREDICTION_ROWS, PREDICTION_ROWS_SQUARED = 5_000, 10_000
# Replicates answered at a time: enough to keep threads busy, few enough that progress is seen.
AT_ONCE = 5
TUNING_SEEDS, TUNING_OFFSET = 2, 100_000
TIMED = 3

Key = tuple[Method, float]  # a method and a multiple of the safe step
RunKey = tuple[Method, float, int]  # and a seed


@dataclass(frozen=True)
class Source:
    """Which problem: a known data set, how its rows are drawn, and whether it stands beside the first one.

    Attributes
    ----------
    data : str
    sampling : "replacement" or "reshuffle"
    beside : bool
        On a coarse grid, with runs of one pass.
    """

    data: str
    sampling: Sampling = "replacement"
    beside: bool = False

    @property
    def name(self) -> str:
        """Data set and, unless with replacement, sampling; part of a file's name."""
        return self.data if self.sampling == "replacement" else f"{self.data}-{self.sampling}"


def sources(names: Sequence[str], sampling: str | None, quick: bool) -> list[Source]:
    """Return the problems asked for; for no names and no sampling those of the full set that are installed.

    Raises
    ------
    ValueError
        No such sampling.
    """
    if sampling is not None and sampling not in SAMPLINGS:
        raise ValueError(f"--sampling must be one of {', '.join(SAMPLINGS)}; got {sampling!r}")
    drawn: Sampling = "reshuffle" if sampling == "reshuffle" else "replacement"
    first = [Source(name, drawn) for name in dict.fromkeys(names or [QUICK_DATA if quick else FULL_DATA])]
    if quick or names or sampling is not None:
        return first
    return first + [Source(name, how, beside=True) for name, how in BESIDE if datasets.is_installed(name)]


def check(name: str) -> None:
    """Raise before anything has run what loading the set would raise.

    Raises
    ------
    ValueError
        No known set with one number or two classes to predict, and fewer than 2,000 columns.
    DatasetNotInstalled
        The message has the command that gets it.
    """
    fitting = [known for known in SETS if _fits(known)]
    if name not in fitting:
        raise ValueError(f"--data must be one of {', '.join(fitting)}; got {name!r}")
    if not datasets.is_installed(name):
        datasets.load(name)


def _fits(name: str) -> bool:
    columns = int(SETS[name].size.split(" x ")[1].replace(",", ""))
    return SETS[name].task != "multiclass" and columns < theory.constants.MOST_PARAMS


@dataclass(frozen=True, eq=False)
class RealData:
    """A real problem, how many gradients a run takes on it, and how rows are drawn.

    Attributes
    ----------
    name : str
    problem : Problem
        Logistic loss for two classes, squared loss for a number; with intercept.
    n_gradients : int
        Of all workers together.
    sampling : "replacement" or "reshuffle"
    """

    name: str
    problem: Problem
    n_gradients: int
    sampling: Sampling = "replacement"

    @property
    def is_quadratic(self) -> bool:
        """Whether beyond the stability limit the mean excess grows without bound."""
        return self.problem.loss.name == "squared"

    @cached_property
    def around(self) -> theory.Expansion:
        """What predictions are made of."""
        return theory.Expansion(self.problem, PREDICTION_ROWS_SQUARED if self.is_quadratic else PREDICTION_ROWS)

    @cached_property
    def floor(self) -> float:
        """The statistical floor, tr(H^-1 S) / (2 n): what the minimum itself is off, for want of rows."""
        around = self.around
        return float((np.diag(around.covariance) / around.eigenvalues).sum()) / (2 * self.problem.n_samples)

    @cached_property
    def _limits(self) -> dict[tuple[float, ...], float]:
        return {}

    @cached_property
    def methods(self) -> dict[tuple[str, int, int | None], Method]:
        """The methods made so far: figures that ask for the same one share its runs."""
        return {}

    @cached_property
    def known(self) -> tuple[dict[RunKey, Any], dict[RunKey, float]]:
        """What a Lab has found at multiples of the safe step: answers and excesses, whatever the figure."""
        return {}, {}

    def limit(self, method: Method) -> float:
        """Return the stability limit of a constant step, that of the second moment.

        With squared loss the method's own; else that of one worker, or of all together where they average at every
        step: beyond it iterates stay finite.
        """
        if self.is_quadratic:
            period = math.inf if isinstance(method.schedule, OneShot) else float(period_of(method))
            setting = (period, method.n_workers, method.batch_size)
            if setting not in self._limits:
                self._limits[setting] = least_squares_limit(self.around, *setting)
            return self._limits[setting]
        rows = method.rows_a_step
        if (rows,) not in self._limits:
            self._limits[rows,] = theory.data_stability_limit(self.around, rows)
        return self._limits[rows,]

    def n_steps(self, n_workers: int) -> int:
        """Return the local steps of each of so many workers."""
        return max(1, self.n_gradients // n_workers)

    @property
    def title(self) -> str:
        """Name, size, loss and length of the runs, for the head of a picture."""
        problem = self.problem
        sparse = " (CSR)" if problem.is_sparse else ""
        passes = f"{self.n_gradients / problem.n_samples:.3g}"
        drawn = "drawn with replacement" if self.sampling == "replacement" else "reshuffled"
        return (
            f"{self.name}: {problem.n_samples:,} rows x {problem.n_features} features{sparse}, "
            f"{problem.loss.name} loss, l2 {problem.l2:g}; {self.n_gradients:,} gradients a run "
            f"({passes} {'pass' if passes == '1' else 'passes'}), rows {drawn}"
        )


# All that one job asks for: each figure goes over all of its problems before the next one does.
@lru_cache(maxsize=4)
def load(name: str, sampling: Sampling = "replacement", beside: bool = False) -> RealData:
    """Load a known set; the last few are kept, as figures follow one another on the same sets."""
    data = datasets.load(name)
    n = len(data.y_train)
    loss = "logistic" if data.task == "binary" else "squared"
    l2 = L2 if n >= MANY_ROWS else L2_FEW_ROWS
    problem = Problem(data.X_train, data.y_train, loss=loss, l2=l2, fit_intercept=True)
    return RealData(name, problem, max((PASSES_BESIDE if beside else PASSES) * n, LEAST_GRADIENTS), sampling)


# ---- methods ----

LOCAL, LARGE = "local SGD", "large mini-batch"


def local(data: RealData, n_workers: int, period: int | None) -> Method:
    """Return local SGD with a period; None is one-shot averaging."""
    n_steps, key = data.n_steps(n_workers), (LOCAL, n_workers, period)
    if key not in data.methods:
        schedule = OneShot() if period is None or period >= n_steps else FixedPeriod(period)
        data.methods[key] = Method(LOCAL, "schedule", n_workers, n_steps, schedule)
    return data.methods[key]


def large(data: RealData, n_workers: int, period: int | None) -> Method:
    """Return the mini-batch with the rounds and gradients of local SGD with that period."""
    n_steps, key = data.n_steps(n_workers), (LARGE, n_workers, period)
    if key not in data.methods:
        options = baselines.large_minibatch_options(period or n_steps, n_steps)
        data.methods[key] = Method(LARGE, "baseline", n_workers, **options)
    return data.methods[key]


def period_of(method: Method) -> int:
    """Return the local steps between two averagings; n_steps for one-shot averaging."""
    if isinstance(method.schedule, OneShot):
        return method.n_steps
    return getattr(method.schedule, "period", 1)


def rounds_of(method: Method) -> int:
    """Return the averagings of a run; one worker has none."""
    return 0 if method.n_workers == 1 else -(-method.n_steps // period_of(method))


# ---- runs ----


@contextmanager
def _steps_meant() -> Iterator[None]:
    """Say nothing of large steps: those up to the limit and beyond are meant to be seen."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "step size .* is beyond", RuntimeWarning)
        yield


class Bench:
    """Runs on one real problem for one figure: a Lab around the safe step, with the request's seeds and progress.

    Attributes
    ----------
    data : RealData
    lab : Lab
        Multiples are of the safe step. With squared loss tuning tries none beyond the stability limit: where a few
        rows are large, two runs look well there and the mean of many is huge.
    safe : float
    """

    def __init__(self, data: RealData, request: Request, label: str) -> None:
        self.data, self.request = data, request
        self.safe = data.problem.safe_step()
        self.lab = Lab(
            data.problem,
            Constant(self.safe),
            sampling=data.sampling,
            seed=request.seed,
            n_threads=request.n_threads,
            progress=lambda done, total: request.progress(done, total, label),
            is_stable=self._is_stable if data.is_quadratic else None,
        )
        self.lab.answers, self.lab.excess = data.known
        offset = request.seed + TUNING_OFFSET
        self.tuning_seeds = range(offset, offset + TUNING_SEEDS)

    def _is_stable(self, method: Method, multiple: float) -> bool:
        return multiple * self.safe <= self.data.limit(method)

    def own_multiples(self, methods: Sequence[Method]) -> dict[Method, float]:
        """Return the multiple of the safe step that is best for each method, by seeds that are not reported."""
        with _steps_meant():
            ladders = tune(self.lab, methods, self.tuning_seeds)
        return {method: ladder.multiple(ladder.best) for method, ladder in ladders.items()}

    def run(self, keys: Iterable[Key], predicted: Iterable[Key], label: str) -> dict[Key, theory.Prediction | None]:
        """Run methods at multiples of the safe step with all seeds, and return what predictions say of some of them.

        The predictions are made beside the runs, which leave the interpreter to them; None where the predictor
        refuses.
        """
        _ = self.data.around  # computed here: not by every thread that predicts
        with ThreadPoolExecutor(self.lab.n_threads) as pool:
            asked = {key: pool.submit(self._predict, *key) for key in predicted}
            try:
                self._replicate(list(keys))
                found = {}
                for i, (key, future) in enumerate(asked.items()):
                    self.request.progress(i, len(asked), label)
                    found[key] = future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return found

    def _replicate(self, keys: list[Key]) -> None:
        lab, seeds = self.lab, self.request.seeds
        lab.expected = lab.done + len(lab.runs_left((*key, seed) for seed in seeds for key in keys))
        with _steps_meant():
            for i in range(0, len(seeds), AT_ONCE):
                lab.answer((*key, seed) for seed in seeds[i : i + AT_ONCE] for key in keys)

    def _predict(self, method: Method, multiple: float) -> theory.Prediction | None:
        try:
            return theory.predict(
                self.data.around, method.schedule, Constant(multiple * self.safe), method.n_workers, method.n_steps,
                batch_size=method.batch_size, sampling=self.data.sampling,
            )  # fmt: skip
        except ValueError:  # beyond the stability limit, or reshuffled shards that differ too much
            return None

    def excesses(self, method: Method, multiple: float) -> list[float]:
        """Return the excess objective of w_bar of every replicate."""
        return [self.lab.excess[method, multiple, seed] for seed in self.request.seeds]

    def point(
        self, method: Method, multiple: float, step: str, prediction: theory.Prediction | None
    ) -> dict[str, Any]:
        """Return the columns that every measured point has."""
        problem, request = self.data.problem, self.request
        mean, low, high = mean_interval(self.excesses(method, multiple))
        expected = (math.nan,) * 3
        if prediction is not None:
            expected = prediction.excess, prediction.low, prediction.high
        return {
            "data": self.data.name,
            "loss": problem.loss.name,
            "l2": problem.l2,
            "sampling": self.lab.sampling,
            "method": method.name,
            "n_workers": method.n_workers,
            "period": period_of(method),
            "one_shot": rounds_of(method) == 1,
            "batch_size": method.batch_size,
            "n_steps": method.n_steps,
            "n_rounds": rounds_of(method),
            "n_gradients": method.n_workers * method.n_steps * method.batch_size,
            "step": step,
            "eta": multiple * self.safe,
            "seed": request.seed,
            "replicates": request.replicates,
            "excess": mean,
            "excess_low": low,
            "excess_high": high,
            **dict(zip(("predicted", "predicted_low", "predicted_high"), expected, strict=True)),
            "floor": self.data.floor,
        }

    def ns_per_gradient(self, methods: Sequence[Method], label: str) -> list[float]:
        """Return the nanoseconds a gradient takes at the safe step, with all threads and nothing beside.

        The fastest of three runs each, in turns: a disturbance that lasts meets one run of a method, not all.
        """
        walls = np.full((TIMED, len(methods)), math.inf)
        for turn in range(TIMED):
            for i, method in enumerate(methods):
                result = local_sgd(
                    self.data.problem, **method.options(), step_size=Constant(self.safe), record=2,
                    seed=self.request.seed, sampling=self.lab.sampling, n_threads=self.request.n_threads,
                )  # fmt: skip
                walls[turn, i] = float(result.trace["wall_s"][-1])
                self.request.progress(turn * len(methods) + i + 1, walls.size, label)
        n_gradients = [method.n_workers * method.n_steps * method.batch_size for method in methods]
        return (walls.min(axis=0) / n_gradients * 1e9).tolist()
