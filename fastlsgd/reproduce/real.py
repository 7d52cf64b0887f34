"""Real data of the figures that need some: loaded once, run at many methods and steps, predicted beside it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from .. import baselines, datasets, theory
from ..datasets.known import SETS
from ..experiments.lab import Lab, Method
from ..experiments.metrics import mean_interval
from ..problem import Problem
from ..schedules import FixedPeriod, OneShot
from ..solver import local_sgd
from ..stepsizes import Constant
from .figure import Request

FULL_DATA, QUICK_DATA = "flights13_late", "breast_cancer"
# A run takes two passes over a large set. On a small one it takes so many gradients that averaging rarely begins
# to cost something.
PASSES, LEAST_GRADIENTS = 2, 100_000
# Beside many rows a small penalty; few rows with little penalty put the optimum so far that no run gets there.
L2, L2_FEW_ROWS, MANY_ROWS = 1e-4, 1e-2, 100_000
# Rows that stand for all in predictions: within 1% of what 50,000 give on flights13_late, in a sixth of the time.
PREDICTION_ROWS = 10_000
# Replicates answered at a time: enough to keep threads busy, few enough that progress is seen.
AT_ONCE = 5
TUNING_SEEDS, TUNING_OFFSET = 2, 100_000
TIMED = 3

Key = tuple[Method, float]  # a method and a multiple of the safe step


def default_data(quick: bool) -> str:
    """Return the data set used if none is named."""
    return QUICK_DATA if quick else FULL_DATA


def check(name: str) -> None:
    """Raise before anything has run what loading the set would raise.

    Raises
    ------
    ValueError
        No known set with one number or two classes to predict, and at most 2,000 parameters.
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
    """A real problem and how many gradients a run takes on it.

    Attributes
    ----------
    name : str
    problem : Problem
        Logistic loss for two classes, squared loss for a number; with intercept.
    n_gradients : int
        Of all workers together.
    """

    name: str
    problem: Problem
    n_gradients: int

    @cached_property
    def constants(self) -> theory.Constants:
        """Curvature, noise and statistical floor."""
        return theory.estimate(self.problem)

    @cached_property
    def around(self) -> theory.Expansion:
        """What predictions are made of."""
        return theory.Expansion(self.problem, PREDICTION_ROWS)

    def limit(self, batch_size: int = 1) -> float:
        """Return the stability limit of a constant step."""
        return theory.data_stability_limit(self.around, batch_size)

    def n_steps(self, n_workers: int) -> int:
        """Return the local steps of each of so many workers."""
        return max(1, self.n_gradients // n_workers)

    @property
    def title(self) -> str:
        """Name, size, loss and length of the runs, for the head of a picture."""
        problem = self.problem
        return (
            f"{self.name}: {problem.n_samples:,} rows x {problem.n_features} features, {problem.loss.name} loss, "
            f"l2 {problem.l2:g}; {self.n_gradients:,} gradients a run "
            f"({self.n_gradients / problem.n_samples:.3g} passes), rows drawn with replacement"
        )


@lru_cache(maxsize=1)
def load(name: str) -> RealData:
    """Load a known set; the last one is kept, as figures follow one another on the same set."""
    data = datasets.load(name)
    n = len(data.y_train)
    loss = "logistic" if data.task == "binary" else "squared"
    l2 = L2 if n >= MANY_ROWS else L2_FEW_ROWS
    problem = Problem(data.X_train, data.y_train, loss=loss, l2=l2, fit_intercept=True)
    return RealData(name, problem, max(PASSES * n, LEAST_GRADIENTS))


# ---- methods ----

LOCAL, LARGE = "local SGD", "large mini-batch"


def local(data: RealData, n_workers: int, period: int | None) -> Method:
    """Return local SGD with a period; None is one-shot averaging."""
    n_steps = data.n_steps(n_workers)
    schedule = OneShot() if period is None or period >= n_steps else FixedPeriod(period)
    return Method(LOCAL, "schedule", n_workers, n_steps, schedule)


def large(data: RealData, n_workers: int, period: int | None) -> Method:
    """Return the mini-batch with the rounds and gradients of local SGD with that period."""
    n_steps = data.n_steps(n_workers)
    return Method(LARGE, "baseline", n_workers, **baselines.large_minibatch_options(period or n_steps, n_steps))


def period_of(method: Method) -> int:
    """Return the local steps between two averagings; n_steps for one-shot averaging."""
    if isinstance(method.schedule, OneShot):
        return method.n_steps
    return getattr(method.schedule, "period", 1)


def rounds_of(method: Method) -> int:
    """Return the averagings of a run; one worker has none."""
    return 0 if method.n_workers == 1 else -(-method.n_steps // period_of(method))


# ---- runs ----


class Bench:
    """Runs on one real problem for one figure: a Lab around the safe step, with the request's seeds and progress.

    Attributes
    ----------
    data : RealData
    lab : Lab
        Multiples are of the safe step.
    safe : float
    """

    def __init__(self, data: RealData, request: Request, label: str) -> None:
        self.data, self.request = data, request
        self.safe = data.problem.safe_step()
        self.lab = Lab(
            data.problem,
            Constant(self.safe),
            sampling="replacement",
            seed=request.seed,
            n_threads=request.n_threads,
            progress=lambda done, total: request.progress(done, total, label),
        )
        offset = request.seed + TUNING_OFFSET
        self.tuning_seeds = range(offset, offset + TUNING_SEEDS)

    def run(self, keys: Iterable[Key], predicted: Iterable[Key], label: str) -> dict[Key, theory.Prediction | None]:
        """Run methods at multiples of the safe step with all seeds, and return what predictions say of some of them.

        The predictions are made beside the runs, which leave the interpreter to them; None where the predictor
        refuses.
        """
        with ThreadPoolExecutor(1) as pool:
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
        with warnings.catch_warnings():  # steps up to the limit and beyond are meant to be seen
            warnings.filterwarnings("ignore", "step size .* is beyond", RuntimeWarning)
            for i in range(0, len(seeds), AT_ONCE):
                lab.answer((*key, seed) for seed in seeds[i : i + AT_ONCE] for key in keys)

    def _predict(self, method: Method, multiple: float) -> theory.Prediction | None:
        try:
            return theory.predict(
                self.data.around, method.schedule, Constant(multiple * self.safe), method.n_workers, method.n_steps,
                batch_size=method.batch_size,
            )  # fmt: skip
        except ValueError:  # beyond the stability limit
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
            "floor": self.data.constants.floor,
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
