"""LocalSGDClassifier and LocalSGDRegressor: local SGD behind scikit-learn's interface.

Each fit standardises the columns, picks a step that cannot diverge and a number of passes, calls
``local_sgd`` once, and folds the scaling back into ``coef_`` and ``intercept_``. The only file that
imports scikit-learn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse
from scipy.special import expit

from .problem import Problem
from .schedules import Schedule
from .solver import local_sgd
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

Vector = npt.NDArray[np.float64]

# No entry of a standardised column exceeds this. A rare level of a category, 1 in 10,000 rows, would else stand
# at 100, and the step that is safe for its rows would be 40 times smaller than all other columns allow.
LARGEST_ENTRY = 5.0
# n_passes="auto": rows to visit (a few hundredths of a second), and entries to read where rows are long.
ROWS_TO_VISIT = 2**20
ENTRIES_TO_READ = 2**30
# Shards of fewer rows differ so much that the workers drift apart within a round.
SMALLEST_SHARD = 128
# Rows are scaled in blocks of about this many entries: 8 MB of float64.
BLOCK_ENTRIES = 2**20


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

    def _validate(self, X: Any, y: Any = None, **options: Any) -> Any:
        """Return X (and y) as arrays that kernels can read; note names and number of features when fitting."""
        if issparse(X):
            raise TypeError(
                f"X must be a dense array in this version, got the sparse {type(X).__name__}; "
                "pass X.toarray() if it fits in memory"
            )
        options |= {"dtype": [np.float64, np.float32], "order": "C"}
        return validate_data(self, X, reset=False, **options) if y is None else validate_data(self, X, y, **options)

    def _minimise(
        self, X: np.ndarray, y: np.ndarray, loss: str, weights: Vector | None
    ) -> tuple[np.ndarray, np.floating]:
        """Fit coefficients and intercept in the columns of X, dtype of X; set what a fit leaves behind."""
        columns = _Columns.measure(X, weights, centred=self.fit_intercept) if self.standardize else None
        problem = Problem(
            X if columns is None else columns.standardised(X),
            y,
            loss,
            l2=1.0 / len(X) if self.l2 == "auto" else self.l2,
            sample_weight=weights,
            fit_intercept=self.fit_intercept,
        )
        self.l2_, self.step_size_ = problem.l2, self._step_size(problem)
        few_rows = len(X) < SMALLEST_SHARD * self.n_workers
        result = local_sgd(
            problem,
            n_workers=self.n_workers,
            n_steps=self._n_steps(*X.shape),
            schedule=self.schedule,
            step_size=self.step_size_,
            sampling="replacement" if few_rows else "reshuffle",
            average=self.average,
            seed=_seed(self.random_state),
            n_threads=self.n_threads,
            max_time_s=self.max_time_s,
            record=self.record,
        )
        self.n_steps_, self.n_rounds_ = result.state.t, result.state.n_rounds
        self.trace_ = result.trace.to_dict()
        w = np.asarray(result.w if result.w_bar is None else result.w_bar, dtype=np.float64)
        coef, intercept = w[: X.shape[1]], float(w[-1]) if self.fit_intercept else 0.0
        return (coef, intercept) if columns is None else columns.unscaled(coef, intercept)

    def _step_size(self, problem: Problem) -> StepSize:
        if not (isinstance(self.step_size, str) and self.step_size == "auto"):
            return self.step_size
        curvature = problem.loss.curvature * problem.row_norms().largest + problem.l2
        return Constant(1.0 / curvature if curvature > 0 else 1.0)

    def _n_steps(self, n_samples: int, n_features: int) -> int:
        n_passes = self.n_passes
        if isinstance(n_passes, str) and n_passes == "auto":
            visits = min(ROWS_TO_VISIT, ENTRIES_TO_READ // n_features)
            n_passes = max(1, -(-visits // n_samples))
        if isinstance(n_passes, bool) or not isinstance(n_passes, Integral) or n_passes < 1:
            raise ValueError(f"n_passes must be an int >= 1 or 'auto', got {self.n_passes!r}")
        return -(-int(n_passes) * n_samples // self.n_workers)
