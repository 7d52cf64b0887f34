"""The laws of the package: each test bears its law as its name."""

import itertools
import os
import subprocess
import sys
import threading

import exact
import numpy as np
import pytest
import reference
from conftest import make_data
from scipy import sparse

import fastlsgd as fl
from fastlsgd import _kernels

LOSSES = ["squared", "logistic"]
DTYPES = [np.float32, np.float64]
WORKERS = [1, 2, 3, 8, 33]
PERIODS = [3, 1, 1, 7, 2]  # the last repeats
STEPS = 26


def bits(array):
    return np.ascontiguousarray(array).tobytes()


def same_bits(result, other):
    return (
        bits(result.w) == bits(other.w)
        and bits(result.w_bar) == bits(other.w_bar)
        and bits(result.state.W) == bits(other.state.W)
        and bits(result.state.sums()) == bits(other.state.sums())
    )


def solve(problem, **options):
    settings = {
        "n_workers": 3,
        "n_steps": STEPS,
        "schedule": fl.Periods(PERIODS),
        "step_size": fl.PolynomialDecay(0.01, 0.5),
        "record": 0,
    }
    return fl.local_sgd(problem, **{**settings, **options})


def etas(n=STEPS):
    return fl.PolynomialDecay(0.01, 0.5)(np.arange(1, n + 1))


def periods(n=STEPS):
    return (PERIODS + [PERIODS[-1]] * n)[:n]


CASES = list(itertools.product(LOSSES, DTYPES))
FORMS = [
    {},
    {"sampling": "replacement"},
    {"partition": "contiguous"},
    {"partition": "contiguous", "sampling": "replacement"},
    {"batch_size": 5},
    {"batch_size": 5, "sampling": "replacement"},
]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: "-".join(map(str, form.values())) or "plain")
@pytest.mark.parametrize(("loss", "dtype"), CASES)
def test_one_worker_is_serial_sgd(loss, dtype, form):
    X, y = make_data(loss, dtype)
    n_steps = 450  # more than two epochs of 203 rows
    result = solve(fl.Problem(X, y, loss=loss, l2=0.01), n_workers=1, n_steps=n_steps, **form)
    w, w_bar = reference.local_sgd(
        X, y, loss=loss, l2=0.01, n_workers=1, etas=etas(n_steps), periods=[n_steps], **form
    )
    tolerance = 1e-12 if dtype == np.float64 else 1e-5
    assert np.abs(result.w - w).max() <= tolerance * np.abs(w).max()
    assert np.abs(result.w_bar - w_bar).max() <= tolerance * np.abs(w_bar).max()


@pytest.mark.parametrize("form", FORMS, ids=lambda form: "-".join(map(str, form.values())) or "plain")
@pytest.mark.parametrize("n_workers", WORKERS)
@pytest.mark.parametrize(("loss", "dtype"), CASES)
def test_every_run_is_the_exact_twin_bit_for_bit(loss, dtype, n_workers, form):
    X, y = make_data(loss, dtype)
    problem = fl.Problem(X, y, loss=loss, l2=0.01)
    twin = exact.Twin(X, y, loss=loss, l2=0.01, n_workers=n_workers, seed=7, **form).run(etas(), periods())
    for n_threads, layout in itertools.product([1, 2, 4], ["view", "packed"]):
        result = solve(problem, n_workers=n_workers, seed=7, n_threads=n_threads, layout=layout, **form)
        assert bits(result.state.W) == bits(twin.W), (n_threads, layout)
        assert bits(result.w_bar) == bits(twin.w_bar), (n_threads, layout)


@pytest.mark.parametrize(("loss", "dtype"), CASES)
@pytest.mark.parametrize("d", [1, 2, 7, 8, 15, 16, 31, 32, 33, 64, 100])
def test_the_exact_twin_holds_for_every_width_of_a_row_with_weights_and_intercept(loss, dtype, d):
    X, y = make_data(loss, dtype, n=60, d=d)
    s = np.random.default_rng(1).uniform(0, 2, 60).astype(dtype)
    weights = np.array([0.5, 0.3, 0.2])
    problem = fl.Problem(X, y, loss=loss, l2=0.05, sample_weight=s, fit_intercept=True)
    for batch_size in (1, 3):
        result = solve(problem, weights=weights, batch_size=batch_size, w0=np.full(d + 1, 0.1))
        twin = exact.Twin(
            X, y, loss=loss, l2=0.05, sample_weight=s, intercept=True, n_workers=3, weights=weights,
            batch_size=batch_size, w0=np.full(d + 1, 0.1),
        ).run(etas(), periods())  # fmt: skip
        assert bits(result.state.W) == bits(twin.W)
        assert bits(result.w_bar) == bits(twin.w_bar)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_weighted_averages_are_the_exact_twins(dtype, batch_size):
    X, y = make_data("logistic", dtype, d=9)
    twin = exact.Twin(X, y, loss="logistic", n_workers=3, batch_size=batch_size)
    for t, eta in enumerate(etas(), start=1):
        twin.step(float(eta), alpha=(t / STEPS) ** 1.0)
    result = solve(fl.Problem(X, y, loss="logistic"), average="poly:1", batch_size=batch_size, schedule=fl.OneShot())
    sums = twin.sum64 + twin.sum if dtype == np.float32 else twin.sum64
    # (t / n)^1 by way of logarithms: the weights agree to a few ulp, the sums as well.
    np.testing.assert_allclose(result.state.sums(), sums, rtol=2e-5 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_running_sums_flush_where_t_is_a_multiple_of_1024_wherever_rounds_end(dtype, batch_size):
    X, y = make_data("logistic", dtype, d=5)
    n_steps = 2100 if batch_size == 1 else 1100
    twin = exact.Twin(X, y, loss="logistic", n_workers=2, batch_size=batch_size).run(etas(n_steps), [700] * 3)
    result = solve(
        fl.Problem(X, y, loss="logistic"), n_workers=2, n_steps=n_steps, schedule=fl.FixedPeriod(700),
        batch_size=batch_size,
    )  # fmt: skip
    assert bits(result.state.sums()) == bits(twin.sum64 + (twin.sum if dtype == np.float32 else 0))
    assert bits(result.w_bar) == bits(twin.w_bar)


@pytest.mark.parametrize(("loss", "dtype"), CASES)
@pytest.mark.parametrize("n_workers", WORKERS)
def test_period_one_is_minibatch_sgd_on_the_mean_gradient(loss, dtype, n_workers):
    X, y = make_data(loss, dtype)
    visits = exact.Visits(len(X), n_workers, sampling="reshuffle", partition="iid", seed=0)
    w = np.zeros(X.shape[1])
    n_steps = 1000
    X64, y64 = X.astype(np.float64), y.astype(np.float64)
    for t, eta in enumerate(etas(n_steps)):
        rows = [visits(k, t) for k in range(n_workers)]
        z = X64[rows] @ w
        g = z - y64[rows] if loss == "squared" else -y64[rows] / (1 + np.exp(y64[rows] * z))
        w = w - eta * (g @ X64[rows] / n_workers + 0.01 * w)
    result = solve(
        fl.Problem(X, y, loss=loss, l2=0.01), n_workers=n_workers, n_steps=n_steps, schedule=fl.MiniBatch()
    )
    tolerance = 1e-12 if dtype == np.float64 else 2e-5
    assert np.abs(result.w - w).max() <= tolerance * np.abs(w).max()


@pytest.mark.parametrize(("loss", "dtype"), CASES)
@pytest.mark.parametrize("n_workers", [2, 3, 8, 33])
def test_one_shot_averaging_is_p_runs_of_the_exact_twin_and_one_mean(loss, dtype, n_workers):
    X, y = make_data(loss, dtype)
    dealt = exact.shards(len(X), n_workers, "iid", 3)
    rows = np.zeros((n_workers, X.shape[1]), dtype)
    for k, shard in enumerate(dealt):
        # A run of one worker that owns nothing but shard k, with worker k's draws.
        alone = exact.Twin(X, y, loss=loss, l2=0.01, n_workers=1, seed=3)
        alone.visits = lambda _, v, k=k, shard=shard: (
            shard[v] if v < len(shard)
            else exact.shuffled(shard, 3, k, exact.EPOCH + v // len(shard))[v % len(shard)]
        )  # fmt: skip
        for eta in etas():
            alone.step(float(eta))
        rows[k] = alone.W[0]
    result = solve(
        fl.Problem(X, y, loss=loss, l2=0.01), n_workers=n_workers, seed=3, schedule=fl.OneShot(), n_threads=2
    )
    assert bits(result.w) == bits(exact.mean(rows, np.full(n_workers, 1 / n_workers)))
    assert result.state.n_rounds == 1


@pytest.mark.parametrize("n_workers", [2, 3, 8, 33, 1000])
def test_threads_change_no_bit(n_workers):
    X, y = make_data("logistic", n=2000, d=50)
    problem = fl.Problem(X, y, loss="logistic", l2=0.01)
    for schedule in (fl.MiniBatch(), fl.FixedPeriod(5), fl.OneShot()):
        runs = [
            solve(problem, n_workers=n_workers, n_steps=300, schedule=schedule, n_threads=n_threads)
            for n_threads in (1, 2, 4, 16)
            for _ in range(3)
        ]
        assert all(same_bits(run, runs[0]) for run in runs)


@pytest.mark.parametrize(("n_workers", "d"), [(20, 1003), (1000, 37)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_averagings_shared_out_by_features_are_the_same_means(n_workers, d, dtype):
    """Beyond 64 KB of iterates threads average slices of features, in place."""
    X, y = make_data("logistic", dtype, n=n_workers, d=d)
    problem = fl.Problem(X, y, loss="logistic", l2=0.01)
    lengths, n_steps = [2, 1, 3], 7
    twin = exact.Twin(X, y, loss="logistic", l2=0.01, n_workers=n_workers).run(etas(n_steps), [*lengths, 3])
    options = {"n_workers": n_workers, "n_steps": n_steps, "schedule": fl.Periods(lengths)}
    for n_threads in (1, 2, 5):
        result = solve(problem, n_threads=n_threads, **options)
        assert bits(result.state.W) == bits(twin.W)
        assert bits(result.w_bar) == bits(twin.w_bar)
    run = fl.Run(
        problem, step_size=fl.PolynomialDecay(0.01, 0.5), n_threads=2, record=np.arange(1, n_steps + 1), **options
    )
    while not run.finished:  # a record asks for the consensus before the averaging of its step
        run.advance(n_rounds=1)
    assert bits(run.W) == bits(twin.W)
    alone = solve(problem, n_threads=1, record=np.arange(1, n_steps + 1), **options)
    np.testing.assert_array_equal(run.trace.consensus, alone.trace.consensus)


def test_threads_change_no_bit_under_load():
    """Busy neighbours and runs in several Python threads at once share the helpers."""
    X, y = make_data("logistic", n=2000, d=50)
    problem = fl.Problem(X, y, loss="logistic", l2=0.01)
    options = {"n_workers": 8, "n_steps": 3000, "schedule": fl.FixedPeriod(3)}
    alone = solve(problem, n_threads=1, **options)
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        results: list = []
        threads = [
            threading.Thread(target=lambda: results.append(solve(problem, n_threads=4, **options))) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        busy.kill()
        busy.wait()
    assert len(results) == 4
    assert all(same_bits(result, alone) for result in results)


@pytest.mark.parametrize(("loss", "dtype"), CASES)
@pytest.mark.parametrize("average", ["polyak", "tail:0.3", "poly:2", None])
@pytest.mark.parametrize(
    "form",
    [{}, {"layout": "packed"}, {"sampling": "replacement"}, {"batch_size": 3},
     {"sampling": "replacement", "batch_size": 3}],
    ids=lambda form: "-".join(map(str, form.values())) or "view",
)  # fmt: skip
def test_cutting_a_run_anywhere_changes_no_bit(loss, dtype, average, form, tmp_path):
    X, y = make_data(loss, dtype, n=60)
    problem = fl.Problem(X, y, loss=loss, l2=0.01)
    options = {"average": average, "n_steps": 70, "n_workers": 4, **form}
    whole = solve(problem, **options)
    for cut in range(1, 70, 6):
        first = solve(problem, **options, record=[cut], callback=lambda record: True)
        assert first.state.t == cut
        path = tmp_path / "state"
        first.state.save(path)
        for state in (first.state, fl.State.load(path)):
            rest = solve(problem, **options, state=state)
            assert bits(rest.state.W) == bits(whole.state.W)
            assert bits(rest.state.sums()) == bits(whole.state.sums())
            assert average is None or bits(rest.w_bar) == bits(whole.w_bar)
            assert rest.state.n_rounds == whole.state.n_rounds


def test_cutting_a_run_into_slices_of_any_length_changes_no_bit(monkeypatch):
    X, y = make_data("logistic", n=500)
    problem = fl.Problem(X, y, loss="logistic", l2=0.01)
    options = {"n_workers": 5, "n_steps": 1000, "schedule": fl.GrowingPeriod(1)}
    whole = solve(problem, **options)
    for most in (1, 7, 64, 333):
        monkeypatch.setattr("fastlsgd.solver.MAX_SLICE_STEPS", most)
        assert same_bits(solve(problem, **options), whole)


def test_recording_changes_no_bit():
    X, y = make_data("squared", np.float64)
    problem = fl.Problem(X, y)
    runs = [solve(problem, record=record) for record in (0, 1, 7, [1, 2, 3, 20], 100)]
    assert all(same_bits(run, runs[0]) for run in runs)


ON_ONE_PROCESSOR = """
import hashlib, itertools, numpy as np, fastlsgd as fl
from fastlsgd import _kernels
rng = np.random.default_rng(0)
X = rng.standard_normal((500, 100)); y = np.sign(X[:, 0] + rng.standard_normal(500)); s = rng.uniform(0.5, 2, 500)
digest = hashlib.sha256()
def run(problem, **options):
    settings = dict(n_workers=5, n_steps=400, step_size=fl.PolynomialDecay(0.02, 0.6), schedule=fl.FixedPeriod(7))
    result = fl.local_sgd(problem, **{**settings, "record": 5, **options})
    arrays = [result.w, result.state.W, result.state.sums(), result.trace.objective_w, problem.gradient(result.w)]
    for array in arrays if result.w_bar is None else [*arrays, result.w_bar]:
        digest.update(np.ascontiguousarray(array).tobytes())
for dtype, loss in itertools.product((np.float32, np.float64), ("squared", "logistic")):
    A, b = X.astype(dtype), y.astype(dtype)
    problem = fl.Problem(np.ascontiguousarray(A[:, :43]), b, loss=loss, l2=0.01, fit_intercept=True)
    for batch_size, average, sampling in itertools.product(
        (1, 4), ("polyak", "tail:0.3", "poly:2", None), ("reshuffle", "replacement")
    ):
        run(problem, batch_size=batch_size, average=average, sampling=sampling)
    for schedule in (fl.MiniBatch(), fl.OneShot(), fl.GrowingPeriod(2), fl.AdaptivePeriod(0.01)):
        run(problem, schedule=schedule, step_size=fl.InverseTime(0.1, 2000), n_threads=2)
    for d in (1, 2, 7, 8, 16, 17, 100):
        narrow = fl.Problem(np.ascontiguousarray(A[:, :d]), b, loss=loss, sample_weight=s.astype(dtype))
        for n_workers in (1, 4, 33):
            run(narrow, n_workers=n_workers, weights="rows", step_size="auto", layout="packed")
print(_kernels.isa(), digest.hexdigest())
"""


def test_the_processor_changes_no_bit():
    """Whole runs with each compiled instruction set, forced in a process of its own."""
    found = {}
    for isa in _kernels.isas():
        done = subprocess.run(
            [sys.executable, "-c", ON_ONE_PROCESSOR],
            env={**os.environ, "FASTLSGD_ISA": isa},
            capture_output=True,
            text=True,
            check=True,
        )
        used, found[isa] = done.stdout.split()
        assert used == isa
    assert len(set(found.values())) == 1, found


@pytest.mark.parametrize(("loss", "dtype"), CASES)
@pytest.mark.parametrize("n_workers", [1, 3, 8])
def test_csr_equals_dense_to_a_few_ulp(loss, dtype, n_workers):
    """4 ulp of max|w| after one round from a common state, and 1e-12 / 2e-5 relative after 1,000 rounds."""
    X, y = make_data(loss, dtype)
    X[np.random.default_rng(0).random(X.shape) < 0.7] = 0
    problems = [fl.Problem(rows, y, loss=loss, l2=0.01, fit_intercept=True) for rows in (X, sparse.csr_array(X))]
    w0 = np.random.default_rng(1).standard_normal(38)
    one_round = {"n_workers": n_workers, "n_steps": 5, "schedule": fl.OneShot(), "w0": w0}
    dense, csr = (solve(problem, **one_round) for problem in problems)
    assert csr.w.dtype == csr.w_bar.dtype == csr.state.W.dtype == dtype
    assert np.abs(csr.w - dense.w).max() <= 4 * np.finfo(dtype).eps * np.abs(dense.w).max()
    many = {"n_workers": n_workers, "n_steps": 3000, "schedule": fl.FixedPeriod(3)}
    dense, csr = (solve(problem, **many) for problem in problems)
    tolerance = 1e-12 if dtype == np.float64 else 2e-5
    assert np.abs(csr.w - dense.w).max() <= tolerance * np.abs(dense.w).max()
    assert np.abs(csr.w_bar - dense.w_bar).max() <= tolerance * np.abs(dense.w_bar).max()


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_dtype_of_the_data_is_kept(dtype):
    X, y = make_data("squared", dtype)
    result = solve(fl.Problem(X, y))
    assert result.w.dtype == result.w_bar.dtype == result.state.W.dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weights", [None, "rows", [0.5, 0.25, 0.125, 0.125]])
def test_averaging_keeps_the_mean(dtype, weights):
    X, y = make_data("logistic", dtype)
    problem = fl.Problem(X, y, loss="logistic")
    options = {"n_workers": 4, "weights": weights, "schedule": fl.FixedPeriod(10), "n_steps": 20}
    before = fl.Run(problem, **options, step_size=fl.Constant(0.1), record=[9], callback=lambda record: True)
    before.advance()
    w = before.weights @ before.W.astype(np.float64)
    assert np.abs(before.w - w).max() <= 4 * np.finfo(dtype).eps * np.abs(w).max()
    assert before.n_rounds == 0
    # The tenth step and its averaging, against the twin's tenth step and the plain mean.
    twin = exact.Twin(X, y, loss="logistic", n_workers=4, weights=before.weights)
    for _ in range(10):
        twin.step(0.1)
    after = fl.Run(problem, **options, step_size=fl.Constant(0.1), record=0)
    after.advance(n_rounds=1)
    assert (after.W == after.W[0]).all()
    assert bits(after.W[0]) == bits(exact.mean(twin.W, before.weights))


def test_a_run_that_reaches_n_steps_ends_averaged():
    X, y = make_data("logistic")
    for n_steps, schedule, n_rounds in (
        (10, fl.FixedPeriod(4), 3), (12, fl.FixedPeriod(4), 3), (7, fl.OneShot(), 1), (5, fl.MiniBatch(), 5),
    ):  # fmt: skip
        result = solve(fl.Problem(X, y, loss="logistic"), n_steps=n_steps, schedule=schedule)
        assert (result.state.W == result.w).all()
        assert result.state.n_rounds == n_rounds


def test_a_run_that_is_stopped_keeps_its_local_iterates():
    X, y = make_data("logistic")
    run = fl.Run(
        fl.Problem(X, y, loss="logistic"), n_workers=3, n_steps=20, schedule=fl.FixedPeriod(8),
        step_size=fl.Constant(0.1), record=[5], callback=lambda record: True,
    ).advance()  # fmt: skip
    assert run.t == 5
    assert not (run.W[0] == run.W[1]).all()
    inside = run.W.copy()
    _ = run.w
    assert bits(run.W) == bits(inside)


@pytest.mark.parametrize(("loss", "dtype"), CASES)
def test_w_bar_is_the_mean_of_all_local_iterates_after_their_updates(loss, dtype):
    X, y = make_data(loss, dtype)
    twin = exact.Twin(X, y, loss=loss, n_workers=3)
    ends, iterates = set(np.cumsum(periods()).tolist()) | {STEPS}, []
    for eta in etas():
        twin.step(float(eta))
        iterates.append(twin.W.astype(np.float64).mean(axis=0))
        if twin.t in ends:
            twin.average()
    result = solve(fl.Problem(X, y, loss=loss))
    expected = np.mean(iterates, axis=0)
    tolerance = 1e-14 if dtype == np.float64 else 1e-6
    assert np.abs(result.w_bar - expected).max() <= tolerance * np.abs(expected).max()
    tail = solve(fl.Problem(X, y, loss=loss), average="tail:0.5").w_bar
    expected = np.mean(iterates[13:], axis=0)
    assert np.abs(tail - expected).max() <= tolerance * np.abs(expected).max()
    t = np.arange(1, STEPS + 1.0)
    poly = solve(fl.Problem(X, y, loss=loss), average="poly:3").w_bar
    expected = np.average(iterates, axis=0, weights=t**3)
    assert np.abs(poly - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize("loss", LOSSES)
def test_dloss_is_the_derivative_of_loss(loss):
    z = np.linspace(-30, 30, 241)
    function = fl.Loss(loss)
    for y in (-1.0, 1.0):
        h = 1e-3
        difference = (
            8 * (function(z + h, y) - function(z - h, y)) - (function(z + 2 * h, y) - function(z - 2 * h, y))
        ) / (12 * h)
        assert np.abs(difference - function.dloss(z, y)).max() < 1e-9


@pytest.mark.parametrize(("loss", "dtype"), CASES)
def test_the_objective_and_its_gradient_agree_with_finite_differences(loss, dtype):
    X, y = make_data(loss, dtype)
    s = np.random.default_rng(1).uniform(0, 2, len(X)).astype(dtype)
    problem = fl.Problem(X, y, loss=loss, l2=0.1, sample_weight=s, fit_intercept=True)
    rng = np.random.default_rng(2)
    w = 0.3 * rng.standard_normal(problem.n_params)
    value, gradient = problem.objective_and_gradient(w)
    z = X.astype(np.float64) @ w[:-1] + w[-1]
    losses = 0.5 * (z - y) ** 2 if loss == "squared" else np.logaddexp(0, -y.astype(np.float64) * z)
    assert value == pytest.approx(np.mean(s.astype(np.float64) * losses) + 0.05 * w[:-1] @ w[:-1], rel=1e-13)
    assert problem.objective(w) == pytest.approx(value, rel=1e-13)
    for _ in range(5):
        direction = rng.standard_normal(problem.n_params)
        h = 1e-4
        slope = (problem.objective(w + h * direction) - problem.objective(w - h * direction)) / (2 * h)
        assert slope == pytest.approx(gradient @ direction, rel=1e-6, abs=1e-8)
        curve = (problem.gradient(w + h * direction) - problem.gradient(w - h * direction)) / (2 * h)
        np.testing.assert_allclose(problem.hessian(w) @ direction, curve, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("layout", ["view", "packed"])
@pytest.mark.parametrize("sampling", ["reshuffle", "replacement"])
def test_inputs_are_never_modified_and_may_be_read_only(layout, sampling):
    X, y = make_data("logistic")
    s = np.ones(len(X), np.float32)
    before = [array.copy() for array in (X, y, s)]
    for array in (X, y, s):
        array.setflags(write=False)
    problem = fl.Problem(X, y, loss="logistic", sample_weight=s)
    assert problem.X is X
    solve(problem, layout=layout, sampling=sampling, n_steps=200)
    problem.optimum()
    for array, copy in zip((X, y, s), before, strict=True):
        assert bits(array) == bits(copy)


def test_memory_mapped_inputs_work_without_a_copy(tmp_path):
    X, y = make_data("logistic")
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    problem = fl.Problem(mapped, y, loss="logistic")
    assert problem.X is mapped
    result = solve(problem, n_steps=400)
    assert result.trace.layout == "view"
    assert result.trace.n_copied_bytes == 0
    assert same_bits(result, solve(fl.Problem(X, y, loss="logistic"), n_steps=400, layout="packed"))
