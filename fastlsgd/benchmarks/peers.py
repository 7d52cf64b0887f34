"""What the targets are measured against: scikit-learn's averaged SGD, given what it takes without a copy or a check.

More peers, for reading beside it, stand in ``bench/peers`` of a checkout.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from ..problem import Problem
from .compiled import Missing
from .problems import check_learned, step


class ScikitLearnSGD:
    """``SGDClassifier(average=True)``: one pass of the same loss, penalty, step and number of gradients.

    With ``shuffle`` rows come in its own random order, as its defaults have it and as the targets are set against;
    without, as the rows "in order" beside them, in the order in which they lie (the data are drawn independently, so
    that is as random as any), which it does sooner. Either way float32 in C order, which it takes as it is, and its
    search for NaN is left out (``assume_finite``). BLAS has one thread meanwhile: the fit gains
    nothing from a second (its steps do not call BLAS), which would spin on for a tenth of a second behind it and
    take a core from whatever is timed next.

    Raises
    ------
    Missing
        scikit-learn is not installed.
    """

    def __init__(self, problem: Problem, X: Any = None, *, shuffle: bool = False) -> None:
        try:
            import sklearn
            from sklearn.linear_model import SGDClassifier
        except ImportError:
            raise Missing('scikit-learn is not installed: pip install "fastlsgd[sklearn]"') from None
        self.problem, self._config = problem, sklearn.config_context
        self._X = problem.X if X is None else X
        self.model = SGDClassifier(
            loss="log_loss",
            alpha=problem.l2,
            average=True,
            max_iter=1,
            tol=None,
            learning_rate="constant",
            eta0=step(problem).eta,
            fit_intercept=False,
            shuffle=shuffle,
            random_state=0,
        )

    @property
    def w_bar(self) -> np.ndarray:
        """The averaged iterate of the last fit."""
        return self.model.coef_[0]

    def seconds(self) -> float:
        """Fit once; return the seconds it took."""
        with self._config(assume_finite=True), threadpool_limits(1, user_api="blas"):
            begin = time.perf_counter()
            self.model.fit(self._X, self.problem.y)
            return time.perf_counter() - begin

    def __call__(self) -> float:
        """Fit once; return the seconds a gradient."""
        return self.seconds() / self.problem.n_samples

    def check(self) -> ScikitLearnSGD:
        """Fit once and raise unless it learned."""
        self.seconds()
        check_learned(self.problem, self.w_bar)
        return self
