"""Fresh rows: what a normal number costs here and by NumPy's generators, a row, a step with it, replicates."""

import numpy as np
import pytest

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
    timed(lambda: rows.make_blocks(n_blocks), n, "normal", isa=isa)


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
    rows, _, _ = fl.Problem(fl.GaussianStream(d, **KINDS[kind])).rows_for_run(n_workers=1, seed=0, n_visits=1)
    n_blocks = 20 if small else 20_000 // d
    timed(lambda: rows.make_blocks(n_blocks), rows.make_blocks(n_blocks), "row")


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
    bits = {fl.local_sgd(problem, n_threads=n, record=0, **run).w_bar.tobytes() for n in (1, n_threads)}
    assert len(bits) == 1
    timed(
        lambda: fl.local_sgd(problem, n_threads=n_threads, record=0, **run), 8 * n_steps, "gradient",
        n_workers=8, n_threads=n_threads,
    )  # fmt: skip


@pytest.mark.parametrize("n_threads", [1, 2])
def bench_a_million_replicated_steps(timed, small, n_threads):
    """d = 20, four workers, 250 steps, 1,000 replicates in one call."""
    problem = fl.Problem(fl.GaussianStream(20))
    n_replicates = 10 if small else 1000
    run = {"n_workers": 4, "n_steps": 250, "step_size": fl.Constant(0.1), "n_threads": n_threads}
    once = replicates(problem, n_replicates=n_replicates, **run)
    one = fl.local_sgd(problem, seed=n_replicates - 1, record=0, **run)
    assert np.array_equal(once.w_bar[-1, 0], one.w_bar)
    timed(lambda: replicates(problem, n_replicates=n_replicates, **run), 1000 * n_replicates, "gradient")
