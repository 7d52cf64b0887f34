"""The objective of recorded iterates: many in one pass over the data, beside one pass and the read stream."""

import numpy as np
import pytest
from conftest import pass_limit_ns

from fastlsgd.benchmarks import problems


@pytest.mark.parametrize("n_iterates", [1, 8, 64])
@pytest.mark.parametrize("d", [20, 100], ids=lambda d: f"d{d}")
def bench_objective(benchmark, timed, iterates, small, d, n_iterates):
    problem = problems.logistic(d, small=small)
    w = iterates(problem, n_iterates)
    X = problem.X.astype(np.float64)
    plain = [np.logaddexp(0.0, -(X @ at) * problem.y).mean() + 0.5 * problem.l2 * at @ at for at in w]
    assert problem.objective(w) == pytest.approx(plain, rel=1e-12)
    benchmark.group = f"objective, d={d}"
    limit_ns = pass_limit_ns(problem, 2, 2 * n_iterates)  # of the margins
    timed(lambda: problem.objective(w), problem.n_samples, "row", limit_ns=limit_ns, n_iterates=n_iterates)


def bench_gradient(benchmark, timed, iterates, problem):
    w = iterates(problem, 1)[0]
    margins = (problem.X.astype(np.float64) @ w) * problem.y
    plain = problem.X.T.astype(np.float64) @ (-problem.y / (1 + np.exp(margins))) / problem.n_samples + problem.l2 * w
    assert problem.gradient(w) == pytest.approx(plain, rel=1e-9, abs=1e-9 * np.abs(plain).max())
    benchmark.group = "gradient"
    timed(lambda: problem.gradient(w), problem.n_samples, "row", limit_ns=pass_limit_ns(problem, 2, 4))
