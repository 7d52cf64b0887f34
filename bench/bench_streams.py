"""Fresh rows: what a normal number costs here and by NumPy's generators, a row, a step with it, replicates.

The limit of a normal and of a row are the words that they take, nothing made of them (``limits.words_s``); of a step
and of replicates those words and the same step on rows that lie in the cache, one after the other.
"""

import numpy as np
import pytest
from conftest import cached_step_ns, ledger, words_ns

import fastlsgd as fl
from fastlsgd.experiments import replicates

DTYPES = ["float32", "float64"]


@pytest.mark.parametrize("dtype", DTYPES)
def bench_normals(timed, small, isa, dtype):
    """The noise of a quadratic: normals alone."""
    problem = fl.Problem(fl.QuadraticStream(np.ones(32), dtype=dtype))
    rows, _, _ = problem.rows_for_run(n_workers=1, seed=0, n_visits=1)
    n_blocks = 100 if small else 2000
    n = rows.make_blocks(n_blocks) * 32
    xi = rows.streamed(0, 0, 20_000)[0]
    assert abs(xi.mean()) < 0.01
    assert abs(xi.var() - 1) < 0.02
    timed(lambda: rows.make_blocks(n_blocks), n, "normal", limit_ns=words_ns(dtype), isa=isa)


@pytest.mark.parametrize("generator", ["Philox", "SFC64"])
@pytest.mark.parametrize("dtype", DTYPES)
def bench_normals_by_numpy(timed, small, generator, dtype):
    """Its ziggurat, one stream after the other: what the kernels' are held against."""
    rng = np.random.Generator(getattr(np.random, generator)(0))
    out = np.empty(2048, dtype)
    times = 100 if small else 1000

    def fill():
        for _ in range(times):
            rng.standard_normal(out=out, dtype=dtype)

    fill()
    assert abs(out.mean()) < 0.2
    timed(fill, times * out.size, "normal")


KINDS = {
    "linear": {},
    "signs": {"kurtosis": 1.0},
    "heavy": {"kurtosis": 9.0},
    "logistic": {"target": "logistic"},
}


@pytest.mark.parametrize("d", [20, 100, 1000])
@pytest.mark.parametrize("kind", KINDS)
def bench_rows(timed, small, kind, d):
    """A row and its target, made and not used."""
    problem = fl.Problem(fl.GaussianStream(d, **KINDS[kind]), loss="logistic" if kind == "logistic" else "squared")
    rows, _, _ = problem.rows_for_run(n_workers=1, seed=0, n_visits=1)
    X, y = rows.streamed(0, 0, 4000)
    z = X.astype(np.float64) / np.sqrt(problem.stream.eigenvalues)
    spread = np.sqrt((KINDS[kind].get("kurtosis", 3.0) - 1) / len(X))  # of the mean of a coordinate's square
    assert np.abs(z.mean(axis=0)).max() < 5 / np.sqrt(len(X))
    assert np.abs((z**2).mean(axis=0) - 1).max() < 6 * spread + 1e-6
    at, start = problem.optimum(), np.zeros(d)
    if kind == "logistic":
        assert set(np.unique(y)) == {-1.0, 1.0}
        excess = np.logaddexp(0.0, -y * (X @ at)).mean() - problem.objective(at)
    else:
        excess = 0.5 * ((X @ at - y) ** 2).mean() - problem.objective(at)
    # The targets are of these rows: at the optimum the loss is what it should be.
    assert abs(excess) < 0.1 * problem.objective(start)
    n_blocks = 20 if small else 20_000 // d
    # A word an entry and one for the target; where entries are no normals, or are some of them, one more an entry.
    n_words = d + 1 if kind in ("linear", "logistic") else 2 * d + 1
    timed(
        lambda: rows.make_blocks(n_blocks), rows.make_blocks(n_blocks), "row", limit_ns=n_words * words_ns("float32")
    )


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("d", [20, 100, 1000])
@pytest.mark.parametrize("kind", ["linear", "logistic", "quadratic"])
def bench_steps(timed, small, kind, d, n_threads):
    """Eight workers, one-shot: beside bench_rows the share of a step that its row takes."""
    stream = fl.QuadraticStream(1 / np.arange(1, d + 1)) if kind == "quadratic" else fl.GaussianStream(d, target=kind)
    problem = fl.Problem(stream, loss="logistic" if kind == "logistic" else "squared")
    n_steps = 200 if small else 400_000 // d
    step = fl.Constant(problem.safe_step() / 2)
    run = {"n_workers": 8, "n_steps": n_steps, "schedule": fl.OneShot(), "step_size": step}
    answer = fl.local_sgd(problem, n_threads=n_threads, record=0, **run)
    other = fl.local_sgd(problem, n_threads=3 - n_threads, record=0, **run)
    assert answer.w_bar.tobytes() == other.w_bar.tobytes()
    limit_ns = d * words_ns("float32")
    if kind != "quadratic":  # whose step has no row
        limit_ns += words_ns("float32") + cached_step_ns(problem, 8)
    timed(
        lambda: fl.local_sgd(problem, n_threads=n_threads, record=0, **run), 8 * n_steps, "gradient",
        limit_ns=limit_ns / n_threads, **ledger(problem, 8, n_threads, run["schedule"], answer.state.n_rounds),
    )  # fmt: skip


@pytest.mark.parametrize("n_threads", [1, 2])
def bench_a_million_replicated_steps(timed, small, n_threads):
    """d = 20, four workers, 250 steps, 1,000 replicates in one call."""
    problem = fl.Problem(fl.GaussianStream(20))
    n_replicates = 10 if small else 1000
    schedule = fl.FixedPeriod(16)
    run = {
        "n_workers": 4, "n_steps": 250, "schedule": schedule, "step_size": fl.Constant(0.1), "n_threads": n_threads,
    }  # fmt: skip
    once = replicates(problem, n_replicates=n_replicates, **run)
    one = fl.local_sgd(problem, seed=n_replicates - 1, record=0, **run)
    assert np.array_equal(once.w_bar[-1, 0], one.w_bar)
    limit_ns = 21 * words_ns("float32") + cached_step_ns(problem, 4)
    timed(
        lambda: replicates(problem, n_replicates=n_replicates, **run), 1000 * n_replicates, "gradient",
        limit_ns=limit_ns / n_threads,
        **ledger(problem, 4, n_threads, schedule, n_replicates * once.n_rounds),
    )  # fmt: skip
