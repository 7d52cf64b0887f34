"""One pass of averaged local SGD beside scikit-learn's averaged SGD: the same loss, rows, step and gradients.

Ours is the first epoch of packed shards with packing outside the clock, and its second epoch and the
view layout beside it; the peer's clock leaves out its checks of the data (it is given float32 in C order,
which it takes as it is). Both are asked for one pass; each result is asserted before it is timed.
"""

import importlib

import numpy as np
import pytest

import fastlsgd as fl


def _eta(problem):
    """A constant step well inside what is stable, for both sides."""
    return 2.0 / problem.n_features


def _assert_learned(problem, w):
    """One pass brings the averaged iterate a tenth of the way down (a fiftieth where rows are few)."""
    start = problem.objective(np.zeros(problem.n_params))
    share = 0.1 if problem.n_samples > problem.n_features * 40 else 0.02
    assert problem.objective(w) < start - share * (start - problem.objective(problem.optimum()))


def _extra(benchmark, problem, run, n_gradients):
    benchmark.extra_info.update(
        n_workers=run.n_workers,
        n_threads=run.trace.n_threads,
        schedule=repr(run.schedule),
        n_rounds=run.n_rounds,
        n_gradients=n_gradients,
        ns_a_gradient_min=1e9 * benchmark.stats.stats.min / n_gradients if benchmark.stats else None,
        ns_a_gradient_median=1e9 * benchmark.stats.stats.median / n_gradients if benchmark.stats else None,
    )


@pytest.mark.parametrize("layout", ["packed", "view"])
@pytest.mark.parametrize("schedule", [fl.FixedPeriod(256), fl.FixedPeriod(16), fl.MiniBatch()], ids=repr)
@pytest.mark.parametrize(("n_workers", "n_threads"), [(2, 1), (2, 2), (8, 2)])
def bench_local_sgd(benchmark, problem, n_workers, n_threads, schedule, layout):
    def lay_out():
        run = fl.Run(
            problem, n_workers=n_workers, n_threads=n_threads, schedule=schedule, layout=layout,
            step_size=fl.Constant(_eta(problem)), record=0,
        )  # fmt: skip
        runs.append(run)
        return (run,), {}

    runs: list[fl.Run] = []
    (run,), _ = lay_out()
    _assert_learned(problem, run.advance().w_bar)
    plain = fl.Run(
        problem, n_workers=n_workers, n_threads=1, schedule=schedule, layout="view", record=0,
        step_size=fl.Constant(_eta(problem)),
    )  # fmt: skip
    assert plain.advance().w_bar.tobytes() == run.w_bar.tobytes()
    benchmark.group = f"{problem.n_samples} x {problem.n_features}"
    benchmark.pedantic(lambda run: run.advance(), setup=lay_out, rounds=7, warmup_rounds=1)
    _extra(benchmark, problem, runs[-1], runs[-1].t * n_workers)


def bench_scikit_learn(benchmark, problem):
    linear_model = pytest.importorskip("sklearn.linear_model")
    model = linear_model.SGDClassifier(
        loss="log_loss", alpha=problem.l2, average=True, max_iter=1, tol=None, learning_rate="constant",
        eta0=_eta(problem), fit_intercept=False, random_state=0,
    )  # fmt: skip
    _assert_learned(problem, model.fit(problem.X, problem.y).coef_[0])
    benchmark.group = f"{problem.n_samples} x {problem.n_features}"
    with importlib.import_module("sklearn").config_context(assume_finite=True):
        benchmark.pedantic(model.fit, args=(problem.X, problem.y), rounds=7, warmup_rounds=1)
    if benchmark.stats:
        per = 1e9 / problem.n_samples
        benchmark.extra_info.update(
            ns_a_gradient_min=per * benchmark.stats.stats.min,
            ns_a_gradient_median=per * benchmark.stats.stats.median,
        )
