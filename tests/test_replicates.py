"""Replicates in one compiled call are the runs that local_sgd makes with those seeds."""

import inspect
import subprocess
import sys

import numpy as np
import pytest

import fastlsgd as fl
from fastlsgd.experiments import replicates, replication


def dense(loss="squared", dtype=np.float64, **options):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 5)).astype(dtype)
    y = X @ np.ones(5) + rng.standard_normal(200)
    return fl.Problem(X, np.sign(y) if loss == "logistic" else y, loss=loss, **options)


PROBLEMS = {
    "gaussian": lambda: fl.Problem(fl.GaussianStream(20)),
    "labels": lambda: fl.Problem(fl.GaussianStream(6, target="logistic", dtype="float64"), loss="logistic", l2=0.1),
    "quadratic": lambda: fl.Problem(fl.QuadraticStream([1.0, 0.5, 0.2], 0.3)),
    "array": dense,
    "array float32": lambda: dense("logistic", np.float32, fit_intercept=True),
}
SCHEDULES = [fl.MiniBatch(), fl.FixedPeriod(7), fl.OneShot(), fl.GrowingPeriod(2)]


@pytest.mark.parametrize("average", ["polyak", "tail:0.4", "poly:2", None])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("name", PROBLEMS)
def test_each_is_the_run_with_its_seed_bit_for_bit(name, schedule, average):
    problem = PROBLEMS[name]()
    for batch_size, weights in [(1, None), (3, [0.4, 0.1, 0.1, 0.2, 0.2])]:
        options = {
            "n_workers": 5, "n_steps": 1100, "schedule": schedule, "step_size": fl.PolynomialDecay(0.05, 0.3),
            "average": average, "batch_size": batch_size, "weights": weights, "record": [3, 700, 1024, 1100],
            "sampling": None if problem.X is None else "replacement",
        }  # fmt: skip
        many = replicates(problem, n_replicates=3, seed=5, n_threads=2, **options)
        assert many.t.tolist() == [3, 700, 1024, 1100]
        for r in range(3):
            one = fl.local_sgd(problem, seed=5 + r, **options)
            assert many.n_rounds == one.state.n_rounds
            for i, record in enumerate(one.trace.records):
                assert np.array_equal(many.w[r, i], record.w)
                assert np.array_equal(many.w_bar[r, i], record.w if average is None else record.w_bar)
                assert many.consensus[r, i] == pytest.approx(record.consensus, rel=1e-12, abs=1e-30)


def test_threads_and_company_change_no_bit():
    problem = fl.Problem(fl.GaussianStream(20))
    options = {"n_workers": 4, "n_steps": 90, "step_size": fl.Constant(0.1), "record": 5}
    alone = replicates(problem, n_replicates=50, n_threads=1, **options)
    for n_threads in (2, 7):
        assert np.array_equal(alone.w_bar, replicates(problem, n_replicates=50, n_threads=n_threads, **options).w_bar)
    later = replicates(problem, n_replicates=20, seed=30, **options)
    assert np.array_equal(alone.w[30:], later.w)


@pytest.mark.parametrize("schedule", [fl.FixedPeriod(1000), fl.OneShot()], ids=repr)
def test_a_replicate_that_is_left_and_gone_on_with_has_the_same_bits(schedule, monkeypatch):
    monkeypatch.setattr(replication, "A_CALL_S", 0.0)  # left at every look at the clock, which is about a millisecond
    problem = fl.Problem(fl.GaussianStream(20))
    options = {
        "n_workers": 4, "n_steps": 20_000, "batch_size": 3, "step_size": fl.Constant(0.01), "schedule": schedule,
        "record": [7001, 20_000],
    }  # fmt: skip
    many = replicates(problem, n_replicates=3, n_threads=2, **options)
    for r in range(3):
        one = fl.local_sgd(problem, seed=r, **options)
        assert np.array_equal(many.w_bar[r], [record.w_bar for record in one.trace.records])


INTERRUPTED = """
import os, signal, threading, time
import fastlsgd as fl
from fastlsgd.experiments import replicates
problem = fl.Problem(fl.GaussianStream(20))
def interrupt():
    time.sleep(0.3); os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt).start()
try:  # half an hour of work, in many replicates or in two
    replicates(problem, n_workers=4, step_size=fl.Constant(0.01), n_threads=2, {shape})
except KeyboardInterrupt:
    print("heard")
# The helper is free again, and the next call is whole.
print(replicates(problem, n_replicates=3, n_workers=4, n_steps=10, step_size=fl.Constant(0.01)).w_bar.shape)
"""


@pytest.mark.parametrize(
    "shape", ["n_replicates=100_000, n_steps=100_000", "n_replicates=2, n_steps=1_000_000, batch_size=5_000"]
)
def test_ctrl_c_is_heard_between_replicates_and_within_one(shape):
    program = INTERRUPTED.replace("{shape}", shape)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "heard\n(3, 1, 20)\n"


def test_one_that_diverges_leaves_the_others_alone():
    problem = fl.Problem(fl.GaussianStream(20, dtype="float64", kurtosis=9.0))
    step = 1.2 * problem.safe_step()
    options = {"n_workers": 1, "n_steps": 400, "step_size": fl.Constant(step), "record": 1}
    bounds = np.abs(replicates(problem, n_replicates=200, **options).w).max(axis=(1, 2))
    assert np.isfinite(bounds).all()
    with pytest.warns(RuntimeWarning, match="beyond"):
        wild = replicates(problem, n_replicates=20, **(options | {"step_size": fl.Constant(50.0), "n_steps": 4000}))
    assert not np.isfinite(wild.w).all(axis=(1, 2)).any()


@pytest.mark.parametrize(
    ("problem", "options", "message"),
    [
        (
            dense,
            {"sampling": None},
            "'reshuffle' deals rows anew for every seed; pass sampling='replacement' here and",
        ),
        (dense, {"sampling": "blocks"}, "deals rows anew"),
        (dense, {"n_replicates": 0}, "n_replicates must be an int >= 1"),
        (PROBLEMS["gaussian"], {"record": [0]}, "record must be"),
        (dense, {"seed": 2**64 - 1}, "seeds must stay below"),
        (PROBLEMS["gaussian"], {"weights": "rows"}, "weights must be None or an array"),
        (PROBLEMS["gaussian"], {"sampling": "replacement"}, "sampling must be"),
    ],
)
def test_what_does_not_fit_is_named(problem, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        replicates(problem(), **({"n_replicates": 2, "n_steps": 5, "step_size": fl.Constant(0.1)} | options))


def test_arguments_that_are_left_out_are_those_of_local_sgd():
    """But for record: what is compared with a run must not differ from it without a word."""
    ours, theirs = (inspect.signature(function).parameters for function in (replicates, fl.local_sgd))
    for name in ours.keys() - {"n_replicates", "n_steps", "step_size", "record"}:
        assert ours[name].default == theirs[name].default, name


def test_nan_in_a_memory_mapped_file_is_named_as_a_run_names_it(tmp_path):
    X = np.random.default_rng(0).standard_normal((200, 5))
    X[77, 3] = np.nan
    np.save(tmp_path / "X.npy", X)
    problem = fl.Problem(np.load(tmp_path / "X.npy", mmap_mode="r"), np.ones(200))
    options = {"n_steps": 500, "step_size": fl.Constant(0.01), "sampling": "replacement"}
    for run in (lambda: fl.local_sgd(problem, **options), lambda: replicates(problem, n_replicates=3, **options)):
        with pytest.raises(ValueError, match="X must be finite, got nan at row 77, column 3"):
            run()


def test_csr_rows_are_refused():
    from scipy.sparse import csr_array

    with pytest.raises(ValueError, match="dense rows"):
        replicates(
            fl.Problem(csr_array(np.eye(9)), np.ones(9)), n_replicates=2, n_steps=5, step_size=fl.Constant(0.1)
        )
