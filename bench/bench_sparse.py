"""One pass of averaged logistic SGD over CSR rows beside scikit-learn's on the same matrix.

As in bench_peers.py: packing outside our clock, checks outside the peer's, the same loss, step and gradients,
each result asserted before it is timed. ``extra_info`` has nanoseconds a stored entry, and the fraction of the limit:
for steps the bare loop that reads v and adds to v and u (``limits.sparse_s``), for passes the read stream or the
arithmetic in float64. The columns of a row are
uniform, which is the hardest for averaging: a round changes nearly as many coordinates as it holds entries.
"""

import importlib
from functools import lru_cache

import numpy as np
import pytest
from conftest import SMALL, ledger, pass_limit_ns

import fastlsgd as fl
from fastlsgd.benchmarks import limits, problems
from fastlsgd.benchmarks.compiled import Missing


@pytest.fixture(scope="module", params=[np.int32, np.int64], ids=["int32", "int64"])
def problem(request):
    return problems.csr(small=SMALL, index=np.dtype(request.param).name)


def _assert_learned(problem, w):
    assert problem.objective(w) < 0.999 * problem.objective(np.zeros(problem.n_params))


@lru_cache(maxsize=4)
def _bare_ns(problem, n_threads):
    """Return the nanoseconds a row of the bare loop on so many threads; nan without a compiler."""
    try:
        return 1e9 * limits.sparse_s(problem.X, n_threads) / problem.n_samples
    except Missing:
        return float("nan")


def _note(benchmark, problem, limit_ns=None, **more):
    benchmark.group = f"CSR {problem!r}, {problem.entries_a_row:.0f} a row, {problem.X.indices.dtype}"
    if benchmark.stats:
        per = 1e9 / problem.n_entries
        more["ns_an_entry_min"] = per * benchmark.stats.stats.min
        more["ns_an_entry_median"] = per * benchmark.stats.stats.median
        if limit_ns is not None:
            more = {"fraction_of_limit": limit_ns * problem.n_samples / (1e9 * benchmark.stats.stats.min)} | more
        if "schedule" in more:
            more["gradients_per_s"] = problem.n_samples / benchmark.stats.stats.min
    benchmark.extra_info.update(n_gradients=problem.n_samples, **more)


@pytest.mark.parametrize("layout", ["packed", "view"])
@pytest.mark.parametrize("schedule", [fl.FixedPeriod(256), fl.FixedPeriod(4096), fl.OneShot()], ids=repr)
@pytest.mark.parametrize(("n_workers", "n_threads"), [(2, 1), (2, 2), (8, 2)])
def bench_local_sgd_on_csr(benchmark, problem, n_workers, n_threads, schedule, layout):
    options = {"n_workers": n_workers, "schedule": schedule, "step_size": problems.step(problem), "record": 0}
    runs = []

    def lay_out():
        runs.append(fl.Run(problem, **options, n_threads=n_threads, layout=layout))
        return (runs[-1],), {}

    (run,), _ = lay_out()
    _assert_learned(problem, run.advance().w_bar)
    plain = fl.Run(problem, **options, n_threads=1, layout="view").advance()
    assert plain.w_bar.tobytes() == run.w_bar.tobytes()
    benchmark.pedantic(lambda run: run.advance(), setup=lay_out, rounds=7, warmup_rounds=1)
    counted = fl.Run(problem, **{**options, "record": 1}, layout="view").advance()
    _note(
        benchmark, problem, _bare_ns(problem, n_threads),
        **ledger(problem, n_workers, n_threads, schedule, run.n_rounds), layout=layout,
        n_sparse_floats=int(counted.trace.n_sparse_floats[-1]),
    )  # fmt: skip


def bench_checks_of_csr(benchmark, problem):
    made = benchmark.pedantic(
        fl.Problem,
        args=(problem.X, problem.y),
        kwargs={"loss": "logistic", "l2": problem.l2},
        rounds=7,
        warmup_rounds=1,
    )
    assert made.row_norms() == problem.row_norms()
    _note(benchmark, problem, pass_limit_ns(problem, 2, 2))


@pytest.mark.parametrize("n_iterates", [1, 64])
def bench_objective_of_csr(benchmark, problem, n_iterates):
    w = np.random.default_rng(1).standard_normal((n_iterates, problem.n_params)) / 10
    values = problem.objective(w)
    X = problem.X.astype(np.float64)
    plain = [np.logaddexp(0.0, -(X @ at) * problem.y).mean() + 0.5 * problem.l2 * at @ at for at in w]
    assert values == pytest.approx(plain, rel=1e-12)
    benchmark.pedantic(problem.objective, args=(w,), rounds=5, warmup_rounds=1)
    _note(benchmark, problem, pass_limit_ns(problem, 2, 2 * n_iterates), n_iterates=n_iterates)


# scikit-learn's SGD takes int32 indices only.
@pytest.mark.parametrize("problem", [np.int32], ids=["int32"], indirect=True)
def bench_scikit_learn_on_csr(benchmark, problem):
    linear_model = pytest.importorskip("sklearn.linear_model")
    model = linear_model.SGDClassifier(
        loss="log_loss", alpha=problem.l2, average=True, max_iter=1, tol=None, learning_rate="constant",
        eta0=problems.step(problem).eta, fit_intercept=False, random_state=0,
    )  # fmt: skip
    _assert_learned(problem, model.fit(problem.X, problem.y).coef_[0])
    with importlib.import_module("sklearn").config_context(assume_finite=True):
        benchmark.pedantic(model.fit, args=(problem.X, problem.y), rounds=5, warmup_rounds=1)
    _note(benchmark, problem, **ledger(problem, 1, 1, "serial", 0))
