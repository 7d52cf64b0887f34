"""LocalSGDClassifier and LocalSGDRegressor: local SGD behind scikit-learn's interface.

Each fit standardises a copy of the columns, picks a step and a number of passes, calls ``local_sgd``,
and folds the scaling back into ``coef_`` and ``intercept_``: see the notes of LocalSGDClassifier.
The only file that imports scikit-learn.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt

from .arguments import switch, whole
from .data import Shards
from .problem import Problem
from .schedules import Schedule
from .solver import Diverged, Result, local_sgd
from .stepsizes import Constant, StepSize

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets, type_of_target
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise ImportError(
        f"the estimators need scikit-learn >= 1.6, and importing it failed ({error}); "
        'run: pip install "fastlsgd[sklearn]"'
    ) from error

log = logging.getLogger("fastlsgd")

Vector = npt.NDArray[np.float64]

# No entry of a standardised column exceeds this. A rare level of a category, in 1 of 10,000 rows, would else
# stand at 100 and make the step that is safe for its rows 50 times smaller than all other columns allow.
LARGEST_ENTRY = 5.0
# n_passes="auto": rows to visit (hundredths of a second), or entries to read where rows are long.
ROWS_TO_VISIT = 2**20
ENTRIES_TO_READ = 2**30
# Shards of fewer rows than this differ so much that the workers drift apart within a round.
SMALLEST_SHARD = 128
# Rows are converted in blocks of about this many entries: 2 MB of float64, which stays in the cache.
BLOCK_ENTRIES = 2**18
# step_size="auto": multiples of 1 / L that are tried, on how many rows, and entries where rows are long.
MULTIPLES = (4, 16)
FEWEST_TRIAL_ROWS, MOST_TRIAL_ROWS = 1000, 2**16
TRIAL_ENTRIES = 2**24


class _LinearLocalSGD(BaseEstimator):
    """What both estimators share: parameters, checks of X, and one fit of a linear model."""

    def __init__(
        self,
        *,
        n_workers: int = 8,
        schedule: Schedule | None = None,
        step_size: StepSize | str = "auto",
        n_passes: int | str = "auto",
        l2: float | str = "auto",
        fit_intercept: bool = True,
        standardize: bool = True,
        average: str | None = "tail:0.5",
        n_threads: int | None = None,
        max_time_s: float | None = None,
        record: int = 0,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.n_workers = n_workers
        self.schedule = schedule
        self.step_size = step_size
        self.n_passes = n_passes
        self.l2 = l2
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.average = average
        self.n_threads = n_threads
        self.max_time_s = max_time_s
        self.record = record
        self.random_state = random_state

    def _arrays(self, X: Any, *y: Any, **options: Any) -> Any:
        """Return X, and y if given, as arrays that kernels read; with y, note the features' number and names."""
        return validate_data(
            self, X, *y, reset=bool(y), accept_sparse="csr", dtype=[np.float64, np.float32], order="C", **options
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _minimise(self, X: Any, y: np.ndarray, rows: _Rows, loss: str) -> tuple[Vector, float]:
        """Return coefficients and intercept for the columns of X; note how the run went."""
        whole("n_workers", self.n_workers)
        columns = None
        if switch("standardize", self.standardize) and isinstance(X, np.ndarray):
            columns = _Columns.measure(X, rows.weights, centred=self.fit_intercept)
        l2 = self.l2
        if isinstance(l2, str) and l2 == "auto":
            l2 = (1.0 if columns is None else columns.mean_square) / rows.total
        problem = Problem(
            X if columns is None else columns.standardised(X),
            y,
            loss,
            l2=l2,  # type: ignore[arg-type]
            sample_weight=rows.weights,
            fit_intercept=self.fit_intercept,
        )
        step_size, result = self._run(problem)
        self.l2_, self.step_size_ = problem.l2, step_size
        self.n_steps_, self.n_rounds_ = result.state.t, result.state.n_rounds
        self.trace_ = result.trace.to_dict()
        w = np.asarray(_iterate(result), dtype=np.float64)
        coef, intercept = w[: X.shape[1]], float(w[-1]) if self.fit_intercept else 0.0
        return (coef, intercept) if columns is None else columns.unscaled(coef, intercept)

    def _run(self, problem: Problem) -> tuple[StepSize, Result]:
        """Run local SGD on the problem, with a step chosen by trials if none is given."""
        n_steps = self._n_steps(problem.n_samples, max(1, problem.n_entries // problem.n_samples))
        options: dict[str, Any] = {
            "n_workers": self.n_workers,
            "schedule": self.schedule,
            "average": self.average,
            "seed": _seed(self.random_state),
            "n_threads": self.n_threads,
        }
        run = {"n_steps": n_steps, "max_time_s": self.max_time_s, "record": self.record} | options
        if not isinstance(self.step_size, str) or self.step_size != "auto":
            return self.step_size, _local_sgd(problem, self.step_size, run)  # type: ignore[return-value]
        trial = {"n_steps": _trial_steps(n_steps, self.n_workers), "record": 0} | options
        etas, bar, held_out = _tried_steps(problem, trial)
        for eta in etas[:-1]:
            result = _local_sgd(problem, Constant(eta), run, may_diverge=True)
            if _reached(held_out, result) <= bar:
                return Constant(eta), result  # type: ignore[return-value]
            log.info("a step of %g did worse in the run than in its trial: a smaller one instead", eta)
        return Constant(etas[-1]), _local_sgd(problem, Constant(etas[-1]), run)  # type: ignore[return-value]

    def _n_steps(self, n_samples: int, entries_a_row: int) -> int:
        n_passes = self.n_passes
        if isinstance(n_passes, str) and n_passes == "auto":
            n_passes = max(1, -(-min(ROWS_TO_VISIT, ENTRIES_TO_READ // entries_a_row) // n_samples))
        n_passes = whole("n_passes", n_passes, hint="; or 'auto'")
        return -(-n_passes * n_samples // int(self.n_workers))


def _local_sgd(
    problem: Problem, step_size: Any, options: dict[str, Any], *, may_diverge: bool = False
) -> Result | None:
    """Run local SGD; None if the run may diverge and does."""
    sampling = "replacement" if problem.n_samples < SMALLEST_SHARD * options["n_workers"] else "reshuffle"
    try:
        return local_sgd(problem, step_size=step_size, sampling=sampling, **options)
    except Diverged:
        if not may_diverge:
            raise
        return None


def _iterate(result: Result) -> np.ndarray:
    return result.w if result.w_bar is None else result.w_bar


def _reached(problem: Problem, result: Result | None) -> float:
    """Return the objective that a run reached, inf if it diverged."""
    if result is None:
        return math.inf
    with np.errstate(over="ignore", invalid="ignore"):
        value = problem.objective(_iterate(result))
    return float(value) if math.isfinite(value) else math.inf


def _tried_steps(problem: Problem, options: dict[str, Any]) -> tuple[list[float], float, Problem]:
    """Return the steps to take, in turn, down to 1 / L; the objective that 1 / L reached in its trial; and where.

    The first is the smallest step whose objective, on rows held out of the trials, comes within 1% of the lowest.
    Small problems go without trials: their many passes make up for a step that is small.
    """
    curvature = problem.loss.curvature * problem.row_norms().largest + problem.l2
    safe = 1.0 / curvature if curvature > 0.0 else 1.0
    if problem.n_samples < FEWEST_TRIAL_ROWS:
        return [safe], math.inf, problem
    entries_a_row = max(1, problem.n_entries // problem.n_samples)
    n_rows = min(MOST_TRIAL_ROWS, max(FEWEST_TRIAL_ROWS, TRIAL_ENTRIES // entries_a_row))
    order = Shards(problem.X, problem.y, n_workers=1, seed=options["seed"]).order[:n_rows]
    n_held_out = len(order) // 5
    held_out, tried_on = _some_rows(problem, order[:n_held_out]), _some_rows(problem, order[n_held_out:])
    bound = min(problem.step_bound(), tried_on.step_bound())
    etas = [safe] + [multiple * safe for multiple in MULTIPLES if multiple * safe <= bound]
    trials = (_local_sgd(tried_on, Constant(eta), options, may_diverge=eta > safe) for eta in etas)
    reached = [_reached(held_out, result) for result in trials]
    best = int(np.flatnonzero(np.array(reached) <= 1.01 * min(reached))[0])
    return etas[best::-1], reached[0], held_out


def _some_rows(problem: Problem, rows: np.ndarray) -> Problem:
    """Return the same problem on some of its rows."""
    rows, s = np.sort(rows), problem.sample_weight
    return Problem(
        problem.X[rows],
        problem.y[rows],
        problem.loss,
        l2=problem.l2,
        sample_weight=None if s is None else s[rows],
        fit_intercept=problem.fit_intercept,
    )


def _trial_steps(n_steps: int, n_workers: int) -> int:
    # An eighth, but not so few that the start is all they show, nor more than choosing needs.
    return min(n_steps, max(1000, n_steps // 8), max(1000, ROWS_TO_VISIT // (8 * n_workers)))


@dataclass(frozen=True)
class _Columns:
    """Where the columns of X lie and how wide they are: standardised = (X - centre) / scale, float64.

    The scale is the standard deviation, or a fifth of the largest deviation where that is more. Columns that are
    constant but for rounding have scale inf: their standardised entries and their coefficients are zero.
    ``mean_square`` is that of the standardised entries of all other columns.
    """

    centre: Vector
    scale: Vector
    mean_square: float

    @classmethod
    def measure(cls, X: np.ndarray, weights: Vector | None, *, centred: bool, name: str = "X") -> _Columns:
        """Measure the columns of X; without an intercept nothing is centred, and deviations are from zero."""
        low, high = X.min(axis=0).astype(np.float64), X.max(axis=0).astype(np.float64)
        centre = np.zeros(X.shape[1])
        with np.errstate(over="ignore", invalid="ignore"):
            if centred:
                # Added row after row: the bits depend neither on the processor nor on BLAS and its threads.
                for rows, block in _blocks(X):
                    centre += np.add.reduce(block if weights is None else block * weights[rows, None], axis=0)
                centre /= len(X)
            bad = np.flatnonzero(~np.isfinite(np.maximum(high - centre, centre - low)))
        if bad.size:
            raise ValueError(
                f"{name} holds numbers too large to be averaged in column {bad[0]}, from {low[bad[0]]:g} to "
                f"{high[bad[0]]:g}; scale it first"
            )
        if centred:
            centre = np.clip(centre, low, high)
        widest = np.maximum(high - centre, centre - low)
        largest = np.maximum(np.abs(low), np.abs(high))
        rounding = 8 * np.finfo(X.dtype).eps * largest if centred else 0.0
        varies = widest > np.maximum(rounding, np.finfo(np.float64).tiny)
        unit = np.where(varies, widest, 1.0)
        square = np.zeros(X.shape[1])
        for rows, block in _blocks(X):
            block -= centre
            block /= unit
            block *= block
            square += np.add.reduce(block if weights is None else block * weights[rows, None], axis=0)
        spread = np.sqrt(square / len(X))
        shrunk = np.maximum(spread, 1.0 / LARGEST_ENTRY)
        mean_square = float(np.mean((spread / shrunk)[varies] ** 2)) if varies.any() else 1.0
        return cls(centre, np.where(varies, unit * shrunk, np.inf), mean_square)

    def standardised(self, X: np.ndarray) -> np.ndarray:
        """Return (X - centre) / scale, a copy in the dtype of X."""
        out = np.empty_like(X, subok=False)
        for rows, block in _blocks(X):
            block -= self.centre
            block /= self.scale
            out[rows] = block
        return out

    def unscaled(self, coef: Vector, intercept: float) -> tuple[Vector, float]:
        """Return the coefficients and the intercept that do to X what those given do to standardised columns."""
        coef = coef / self.scale
        return coef, intercept - math.fsum((coef * self.centre).tolist())


class LocalSGDClassifier(ClassifierMixin, _LinearLocalSGD):
    """Fit logistic regression between two classes by local SGD on all cores.

    Made for columns as they come, of any scale, and for no options: see the notes. ``coef_`` and ``intercept_``
    are for X as it was given. Every fit with the same data, parameters and seed gives the same bits.

    For more than two classes wrap it: ``sklearn.multiclass.OneVsRestClassifier(LocalSGDClassifier())``.

    Parameters
    ----------
    n_workers : int, default 8
        P, the workers that the rows are dealt to and whose iterates are averaged: a statistical parameter that
        changes the result. With fewer than 128 rows a worker, every worker draws from all rows instead.
    schedule : Schedule, default None
        When to average; None is ``FixedPeriod(16)``.
    step_size : StepSize or "auto"
        On the standardised columns. "auto" is the constant step of the notes.
    n_passes : int or "auto"
        Passes over the rows. "auto": as few as visit 2^20 rows, or read 2^30 entries where that is less; at least 1.
    l2 : float or "auto"
        Ridge penalty (l2/2) |w|^2 on the coefficients of the standardised columns, beside the *mean* loss; never on
        the intercept. "auto": v / n_samples (the sum of the weights if given), v the mean square of a standardised
        entry (1, or less where largest deviations set the scale). That is the strength of ``LogisticRegression(C=1)``
        behind a ``StandardScaler``.
    fit_intercept : bool, default True
    standardize : bool, default True
        Whether to standardise a copy of X. False reads X where it lies: for X in memory only once, or mapped
        from a file, whose columns are alike already. Sparse X is never standardised: the columns of
        text are left as they were weighed, others can be brought to one scale by MaxAbsScaler.
    average : "tail:FRACTION", "polyak", "poly:POWER" or None, default "tail:0.5"
        Which of the iterates ``coef_`` is the mean of: see ``local_sgd``. None is the last ones.
    n_threads : int or None
        A resource: changes no bit. None: FASTLSGD_NUM_THREADS, else the cores; at most n_workers.
    max_time_s : float or None
        Stop the run after about so many seconds; the trials of step_size="auto" are not counted.
    record : int or array of int, default 0
        How many records, or which steps, ``trace_`` holds: see ``local_sgd``.
    random_state : int, RandomState or None, default 0
        The seed. None is 0 too: no global state is read. A RandomState gives another seed at each fit.

    Attributes
    ----------
    coef_ : ndarray, shape (1, n_features), dtype of X
    intercept_ : ndarray, shape (1,), dtype of X
    classes_ : ndarray, shape (2,)
        The labels; probabilities and decisions are about the second.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only if X was a DataFrame with column names that are strings.
    step_size_ : StepSize
        The step size of the run.
    l2_ : float
    n_steps_, n_rounds_ : int
        Local steps of each worker, and averagings, of the run.
    trace_ : dict of ndarray
        The columns of the run's ``Trace``, by name; objectives are those of the standardised problem.

    Notes
    -----
    *Columns.* Each is centred and divided by its standard deviation, or by a fifth of its largest deviation where
    that is more: no entry exceeds 5, so that rare levels and long tails do not dictate the step.

    *Step.* 1 / L, L the largest curvature of any one row's loss, cannot diverge: up to 2 / L no row's step moves
    two iterates apart (recalled: co-coercivity of gradients). Long tails still make it small. So from 1,000 rows on,
    1 / L, 4 / L and 16 / L, as far as ``Problem.step_bound`` allows, are tried for an eighth of the run on at
    most 2^16 rows drawn by the seed; the smallest that comes within 1% of the lowest objective, on a fifth of them
    that was held out, is taken. A run with more than 1 / L that diverges, or ends above what the trial of 1 / L
    reached, is begun anew with the next smaller step. No clock is read.

    *Limits.* Rows or entries hundreds of standard deviations from all others leave a step too small to learn the
    rest well: drop them, or take logarithms or ranks of such columns first.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> LocalSGDClassifier().fit(X[::2], y[::2]).score(X[1::2], y[1::2]) > 0.95
    True
    """

    def fit(
        self, X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None
    ) -> LocalSGDClassifier:
        """Fit to X and labels y of two kinds; return self.

        Parameters
        ----------
        X : array, DataFrame or sparse matrix, shape (n_samples, n_features)
            float32 stays float32, all else becomes float64. Sparse formats other than CSR are converted.
        y : array, shape (n_samples,)
            Two distinct labels: numbers, booleans or strings.
        sample_weight : array, shape (n_samples,), or None
            Weights >= 0 of the rows: 2 is as if a row stood there twice. Rows of weight 0 are left out.

        Raises
        ------
        ValueError
            NaN or infinity in X; y has one class or more than two; a parameter is out of range.
        Diverged
            Only with a step size of your own.
        """
        data, labels = self._arrays(X, y)
        check_classification_targets(labels)
        classes, codes = np.unique(labels, return_inverse=True)
        if len(classes) > 2:
            raise ValueError(
                f"Only binary classification is supported. The type of the target is {type_of_target(labels)}: "
                f"y has {len(classes)} classes; use sklearn.multiclass.OneVsRestClassifier({self!r})"
            )
        if len(classes) < 2:
            raise ValueError(f"y must hold two classes, got one class only: {classes[0]!r}")
        rows = _Rows.weighted(sample_weight, data.shape[0])
        signs = np.where(codes[rows.kept] == 1, 1.0, -1.0)
        coef, intercept = _in_dtype(*self._minimise(rows.of(data), signs, rows, "logistic"), data.dtype)
        self.classes_, self.coef_, self.intercept_ = classes, coef[None, :], np.array([intercept])
        return self

    def decision_function(self, X: npt.ArrayLike) -> np.ndarray:
        """Return the log-odds of ``classes_[1]``, shape (n_samples,)."""
        check_is_fitted(self)
        return self._arrays(X) @ self.coef_[0] + self.intercept_[0]

    def predict(self, X: npt.ArrayLike) -> np.ndarray:
        """Return the more probable label of each row, shape (n_samples,)."""
        second = self.decision_function(X) > 0
        return self.classes_[second.astype(np.intp)]

    def predict_proba(self, X: npt.ArrayLike) -> np.ndarray:
        """Return the probabilities of ``classes_``, shape (n_samples, 2)."""
        from scipy.special import expit

        odds = self.decision_function(X)
        return np.column_stack([expit(-odds), expit(odds)])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags


class LocalSGDRegressor(RegressorMixin, _LinearLocalSGD):
    """Fit least squares with a ridge penalty by local SGD on all cores.

    Made for columns and targets as they come, of any scale, and for no options: see the notes of
    LocalSGDClassifier, which hold here too; the targets are standardised like a column. ``coef_`` and
    ``intercept_`` are for X and y as they were given.

    Parameters
    ----------
    n_workers : int, default 8
        P, the workers that the rows are dealt to and whose iterates are averaged: a statistical parameter that
        changes the result. With fewer than 128 rows a worker, every worker draws from all rows instead.
    schedule : Schedule, default None
        When to average; None is ``FixedPeriod(16)``.
    step_size : StepSize or "auto"
        On the standardised columns. "auto" is the constant step of the notes.
    n_passes : int or "auto"
        Passes over the rows. "auto": as few as visit 2^20 rows, or read 2^30 entries where that is less; at least 1.
    l2 : float or "auto"
        Ridge penalty (l2/2) |w|^2 on the coefficients of the standardised columns, beside the *mean* loss; never on
        the intercept. "auto": v / n_samples (the sum of the weights if given), v the mean square of a standardised
        entry (1, or less where largest deviations set the scale). That is the strength of ``Ridge(alpha=1)``
        behind a ``StandardScaler``.
    fit_intercept : bool, default True
    standardize : bool, default True
        Whether to standardise a copy of X. False reads X where it lies: for X in memory only once, or mapped
        from a file, whose columns are alike already. Sparse X is never standardised: the columns of
        text are left as they were weighed, others can be brought to one scale by MaxAbsScaler.
    average : "tail:FRACTION", "polyak", "poly:POWER" or None, default "tail:0.5"
        Which of the iterates ``coef_`` is the mean of: see ``local_sgd``. None is the last ones.
    n_threads : int or None
        A resource: changes no bit. None: FASTLSGD_NUM_THREADS, else the cores; at most n_workers.
    max_time_s : float or None
        Stop the run after about so many seconds; the trials of step_size="auto" are not counted.
    record : int or array of int, default 0
        How many records, or which steps, ``trace_`` holds: see ``local_sgd``.
    random_state : int, RandomState or None, default 0
        The seed. None is 0 too: no global state is read. A RandomState gives another seed at each fit.

    Attributes
    ----------
    coef_ : ndarray, shape (n_features,), dtype of X
    intercept_ : float, dtype of X
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only if X was a DataFrame with column names that are strings.
    step_size_ : StepSize
        The step size of the run.
    l2_ : float
    n_steps_, n_rounds_ : int
        Local steps of each worker, and averagings, of the run.
    trace_ : dict of ndarray
        The columns of the run's ``Trace``, by name; objectives are those of the standardised problem.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True, scaled=False)
    >>> LocalSGDRegressor().fit(X[::2], y[::2]).score(X[1::2], y[1::2]) > 0.4
    True
    """

    def fit(
        self, X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None
    ) -> LocalSGDRegressor:
        """Fit to X and real targets y; return self.

        Parameters
        ----------
        X : array, DataFrame or sparse matrix, shape (n_samples, n_features)
            float32 stays float32, all else becomes float64. Sparse formats other than CSR are converted.
        y : array, shape (n_samples,)
        sample_weight : array, shape (n_samples,), or None
            Weights >= 0 of the rows: 2 is as if a row stood there twice. Rows of weight 0 are left out.

        Raises
        ------
        ValueError
            NaN or infinity in X or y; a parameter is out of range.
        Diverged
            Only with a step size of your own.
        """
        data, targets = self._arrays(X, y, y_numeric=True)
        rows = _Rows.weighted(sample_weight, data.shape[0])
        column = targets[rows.kept].astype(np.float64)[:, None]
        target = _Columns.measure(column, rows.weights, centred=self.fit_intercept, name="y")
        coef, intercept = self._minimise(rows.of(data), target.standardised(column)[:, 0], rows, "squared")
        # A target that is constant has no scale; its coefficients are zero.
        scale = target.scale[0] if np.isfinite(target.scale[0]) else 0.0
        model = coef * scale, intercept * scale + target.centre[0]
        self.coef_, self.intercept_ = _in_dtype(*model, data.dtype)
        return self

    def predict(self, X: npt.ArrayLike) -> np.ndarray:
        """Return the predicted targets, shape (n_samples,)."""
        check_is_fitted(self)
        return self._arrays(X) @ self.coef_ + self.intercept_


def _blocks(X: np.ndarray) -> Iterator[tuple[slice, Vector]]:
    """Yield (which rows, a copy of them in float64)."""
    n_rows = max(1, BLOCK_ENTRIES // X.shape[1])
    for first in range(0, len(X), n_rows):
        rows = slice(first, first + n_rows)
        yield rows, X[rows].astype(np.float64)


@dataclass(frozen=True)
class _Rows:
    """Which rows take part: their index; their weights with mean 1, or None where equal; the sum of those given."""

    kept: Any
    weights: Vector | None
    total: float

    def of(self, X: Any) -> Any:
        """Return the rows of X that take part: X itself where all do."""
        return X if isinstance(self.kept, slice) else X[self.kept]

    @classmethod
    def weighted(cls, sample_weight: Any, n_samples: int) -> _Rows:
        """Return the rows of positive weight."""
        if sample_weight is None:
            return cls(slice(None), None, float(n_samples))
        weights = np.asarray(sample_weight, dtype=np.float64)
        if weights.ndim == 0:
            weights = np.full(n_samples, weights)
        if weights.shape != (n_samples,):
            raise ValueError(f"sample_weight must have shape ({n_samples},), one a row of X, got {weights.shape}")
        bad = np.flatnonzero(~((weights >= 0) & np.isfinite(weights)))
        if bad.size:
            raise ValueError(f"sample_weight must be finite and >= 0, got {weights[bad[0]]:g} at row {bad[0]}")
        if not weights.any():
            raise ValueError("sample_weight must not be zero everywhere")
        kept, total = weights > 0, float(weights.sum())
        weights = weights[kept] / weights.max()
        return cls(
            slice(None) if kept.all() else kept,
            None if (weights == 1.0).all() else weights / weights.mean(),
            total,
        )


def _in_dtype(coef: Vector, intercept: float, dtype: np.dtype) -> tuple[np.ndarray, np.floating]:
    with np.errstate(over="ignore"):
        model = coef.astype(dtype), dtype.type(intercept)
    if not (np.isfinite(model[0]).all() and np.isfinite(model[1])):
        raise ValueError(
            f"the coefficients do not fit into {dtype}: X or y has a column of extreme scale; rescale it"
        )
    return model


def _seed(random_state: Any) -> int:
    if random_state is None:
        return 0
    if isinstance(random_state, Integral):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))
