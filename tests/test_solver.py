"""The loop: the ledger, limits, interrupts, divergence, and what each wrong argument is told."""

import os
import subprocess
import sys
import tempfile
import threading
import time
import warnings

import numpy as np
import pytest
from conftest import make_data
from scipy.sparse import csr_array

import fastlsgd as fl
from fastlsgd import _kernels
from fastlsgd.averages import Average


@pytest.fixture
def problem():
    return fl.Problem(*make_data("logistic"), loss="logistic", l2=0.01)


def options(**more):
    return {"n_workers": 4, "n_steps": 60, "schedule": fl.FixedPeriod(7), "step_size": fl.Constant(0.05), **more}


def test_a_tail_is_as_long_as_its_fraction_says():
    """0.07 times 100 is 7.000000000000001 of a processor, which would be eight steps."""
    assert 0.07 * 100 > 7 and Average.parse("tail:0.07", 100).begins_after == 93


# ---- the ledger ----


def test_the_ledger_counts_by_definition(problem):
    trace = fl.local_sgd(problem, **options(record=[6, 7, 8, 60], batch_size=3)).trace
    assert trace.t.tolist() == [6, 7, 8, 60]
    assert trace.n_rounds.tolist() == [0, 1, 1, 9]
    assert trace.n_gradients.tolist() == [4 * 3 * t for t in (6, 7, 8, 60)]
    assert trace.n_bytes.tolist() == [2 * 4 * problem.n_params * 4 * rounds for rounds in (0, 1, 1, 9)]
    assert trace.periods == [(7, 8), (4, 1)]
    assert fl.local_sgd(problem, **options(n_workers=1)).trace.n_bytes.tolist()[-1] == 0


def test_the_seconds_add_up_and_are_measured_only_when_recording(problem):
    trace = fl.local_sgd(problem, **options(n_steps=5000, n_threads=2)).trace
    parts = trace.compute_s + trace.wait_s + trace.average_s
    assert (np.diff(trace.wall_s) > 0).all()
    assert (trace.compute_s > 0).all()
    assert (trace.wait_s >= 0).all()
    np.testing.assert_allclose(parts, trace.wall_s, rtol=1e-9)
    assert trace.step_s > 0
    state = fl.local_sgd(problem, **options(record=0)).state
    assert state.ledger[0] > 0
    assert np.isnan(state.ledger[1:4]).all()


@pytest.mark.parametrize("whole", [False, True])
def test_a_step_s_seconds_are_those_of_the_threads_that_took_part(whole):
    """Rounds of one step are done by one thread, though two are given: see threads_worth in team.c."""
    problem = fl.Problem(fl.GaussianStream(20))
    given = {"n_workers": 2, "n_steps": 3000, "schedule": fl.MiniBatch(), "step_size": fl.Constant(0.01)}
    _kernels.use_whole_team(whole)
    trace = fl.local_sgd(problem, **given, n_threads=2).trace
    assert trace.n_threads == 2
    took_part = 2 if whole else 1
    assert trace.step_s * 2 * 3000 == pytest.approx(took_part * trace.compute_s[-1], rel=1e-9)


def test_a_slice_that_is_gone_back_from_counts_no_seconds(problem):
    with pytest.warns(RuntimeWarning, match="beyond"):
        run = fl.Run(problem, **options(record=[10, 60], step_size=lambda t: np.where(t < 30, 0.05, 1e300)))
    with pytest.raises(fl.Diverged):
        run.advance()
    assert run.t == 10
    assert run._core_s == pytest.approx(run.trace.step_s * 4 * 10, rel=1e-12)


def test_objectives_and_distances_are_evaluated_when_read(problem):
    result = fl.local_sgd(problem, **options(record=5))
    trace = result.trace
    for record, value, bar in zip(trace.records, trace.objective_w, trace.objective_w_bar, strict=True):
        assert value == pytest.approx(problem.objective(record.w), rel=1e-14)
        assert bar == pytest.approx(record.objective_w_bar, rel=1e-14)
    assert np.isnan(trace.distance_w).all()
    optimum = problem.optimum()
    expected = [np.linalg.norm(record.w - optimum) for record in trace.records]
    np.testing.assert_allclose(trace.distance_w, expected, rtol=1e-6)
    assert set(trace.to_dict()) == {
        "t", "n_gradients", "n_rounds", "n_bytes", "wall_s", "compute_s", "wait_s", "average_s", "objective_w",
        "objective_w_bar", "distance_w", "distance_w_bar", "consensus", "n_sparse_floats",
    }  # fmt: skip
    with pytest.raises(AttributeError, match="its columns are t, n_gradients"):
        _ = trace.objective


def test_consensus_is_taken_just_before_the_averaging(problem):
    run = fl.Run(problem, **options(record=[6, 7]))
    run.advance()
    inside = fl.Run(problem, **options(schedule=fl.OneShot(), record=[7], callback=lambda record: True)).advance()
    W = inside.W.astype(np.float64)
    expected = ((W - W.mean(axis=0)) ** 2).sum() / 4
    assert run.trace.consensus[1] == pytest.approx(expected, rel=1e-4)


def test_records_are_log_spaced_with_both_ends(problem):
    steps = fl.local_sgd(problem, **options(n_steps=1000, record=10)).trace.t
    assert (steps[0], steps[-1], len(steps)) == (1, 1000, 10)
    assert np.diff(np.log(steps[4:])).std() < 0.05
    assert len(fl.local_sgd(problem, **options(record=0)).trace) == 0


def test_without_an_average_there_is_no_w_bar(problem):
    result = fl.local_sgd(problem, **options(average=None, record=3))
    assert result.w_bar is None
    assert np.isnan(result.trace.objective_w_bar).all()


def test_reprs_say_where_a_run_stands(problem):
    result = fl.local_sgd(problem, **options())
    assert "t=60" in repr(result)
    assert "n_rounds=9" in repr(result.trace)
    assert "t=60 of 60" in repr(result.state)
    assert "203 x 37 float32" in repr(problem)
    assert "4 workers" in repr(fl.Shards(problem.X, problem.y, n_workers=4))


# ---- going on and stopping ----


def test_a_run_advances_round_by_round_in_the_same_memory(problem):
    run = fl.Run(problem, **options())
    W = run.W
    for rounds in range(1, 5):
        run.advance(n_rounds=1)
        assert (run.t, run.n_rounds) == (7 * rounds, rounds)
        assert run.W is W or np.shares_memory(run.W, W)
    run.advance()
    assert run.finished
    assert run.w.tobytes() == fl.local_sgd(problem, **options()).w.tobytes()


def test_a_simulator_may_move_the_workers(problem):
    run = fl.Run(problem, **options())
    run.advance(n_rounds=1)
    run.W[...] = 1.0
    assert (run.w == 1.0).all()
    run.advance(n_rounds=1)
    moved = fl.Run(problem, **options())
    moved.advance(n_rounds=1)
    moved.advance(n_rounds=1)
    assert not np.allclose(run.w, moved.w)


def test_a_callback_stops_and_a_time_limit_returns_a_whole_result(problem):
    seen = []
    result = fl.local_sgd(problem, **options(record=[3, 20, 40], callback=lambda r: seen.append(r.t) or r.t >= 20))
    assert seen == [3, 20]
    assert result.state.t == 20
    long = options(n_steps=10**9, max_time_s=0.2, record=0)
    started = time.monotonic()
    result = fl.local_sgd(problem, **long)
    assert 0 < result.state.t < 10**9
    assert time.monotonic() - started < 30  # it came back at all


def test_replicates_differ_and_seeds_repeat(problem):
    runs = [fl.local_sgd(problem, **options(seed=seed)).w.tobytes() for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]


INTERRUPTED = """
import signal, sys, threading, time, os
import numpy as np, fastlsgd as fl
rng = np.random.default_rng(0)
X = rng.standard_normal((2000, 50)).astype(np.float32); y = np.sign(rng.standard_normal(2000)).astype(np.float32)
problem = fl.Problem(X, y, loss="logistic", l2=0.01)
options = dict(n_workers=8, n_steps=300_000_000, schedule=fl.FixedPeriod(3), step_size=fl.Constant(0.01), record=0)
sent = []
def interrupt():
    time.sleep(0.5); sent.append(time.monotonic()); os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt).start()
try:
    fl.local_sgd(problem, **options)
except fl.Interrupted as error:
    late, state = time.monotonic() - sent[0], error.result.state
    print(late)
assert isinstance(error_type := fl.Interrupted, type) and issubclass(error_type, KeyboardInterrupt)
t = state.t
assert 0 < t < 300_000_000
# Whole: the same t without the interrupt has the same bits.
again = fl.local_sgd(problem, **{**options, "record": [t], "callback": lambda record: True})
assert again.state.W.tobytes() == state.W.tobytes()
assert again.state.sums().tobytes() == state.sums().tobytes()
run = fl.Run(problem, **options, state=state)
threading.Thread(target=interrupt).start(); sent.clear()
try:
    run.advance(); raise SystemExit("not interrupted")
except KeyboardInterrupt:
    pass
assert run.t > t and not run.finished
before = run.n_rounds
run.advance(n_rounds=2)
assert run.n_rounds == before + 2
print("whole")
"""


def test_ctrl_c_leaves_the_run_whole_and_usable():
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    late, whole = done.stdout.split()
    assert whole == "whole"
    assert float(late) < 20  # far beyond the promised 0.2 s, and far below an uninterruptible run


def test_a_checkpoint_is_written_and_gone_on_from(problem, tmp_path):
    path = tmp_path / "run.state"
    first = fl.local_sgd(problem, **options(checkpoint=path, record=[30], callback=lambda record: True))
    state = fl.State.load(path)
    assert state.t == first.state.t == 30
    rest = fl.local_sgd(problem, **options(state=state, checkpoint=path))
    assert fl.State.load(path).t == 60
    assert rest.w.tobytes() == fl.local_sgd(problem, **options()).w.tobytes()


# ---- divergence ----


@pytest.mark.parametrize("n_threads", [1, 2, 4])
@pytest.mark.parametrize("schedule", [fl.MiniBatch(), fl.FixedPeriod(50), fl.OneShot()])
def test_a_diverging_run_names_the_first_step_and_worker(n_threads, schedule):
    X, y = make_data("squared", np.float32)
    problem = fl.Problem(X, y)
    settings = options(n_steps=3000, schedule=schedule, step_size=fl.Constant(1.0), n_threads=n_threads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        with pytest.raises(fl.Diverged, match=r"not finite after step \d+ \(eta = 1\)") as caught:
            fl.local_sgd(problem, **settings)
        error = caught.value
        assert np.isfinite(error.state.W).all()
        assert error.state.t < error.t
        # Step by step from the state it carries: finite before, and that worker the first to go.
        run = fl.Run(problem, **settings | {"schedule": schedule, "record": [error.t - 1], "state": error.state})
        run.callback = lambda record: True
        run.advance()
        assert run.t == error.t - 1
        assert np.isfinite(run.W).all()
        run.callback = None
        with pytest.raises(fl.Diverged) as again:
            run.advance()
        assert (again.value.t, again.value.worker) == (error.t, error.worker)
        assert run.t == error.t - 1
        # What its docstring says of a smaller step.
        smaller = settings | {"step_size": fl.Constant(problem.safe_step()), "w0": error.state.W.mean(axis=0)}
        assert np.isfinite(fl.local_sgd(problem, **smaller).w).all()


def test_an_interrupt_in_a_diverging_slice_leaves_a_finite_run(monkeypatch):
    """The signal arrives right behind the compiled call, before its answer has been looked at."""
    problem = fl.Problem(*make_data("squared"))
    monkeypatch.setattr(problem, "step_bound", lambda batch_size=1: np.inf)
    run = fl.Run(problem, **options(n_steps=3000, step_size=fl.Constant(1.0)))
    steps = run._steps

    def interrupted(*args, **more):
        steps(*args, **more)
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "_steps", interrupted)
    for _ in range(20):
        with pytest.raises(KeyboardInterrupt):
            run.advance()
        assert np.isfinite(run.W).all()
    monkeypatch.undo()
    with pytest.raises(fl.Diverged) as caught:
        run.advance()
    assert np.isfinite(caught.value.state.W).all()


def test_a_step_size_that_changes_its_mind_cannot_hang_the_search():
    calls = []

    def noisy(t):
        calls.append(len(t))
        return np.full(t.shape, 1e30 if len(calls) == 2 else 1e-3)

    problem = fl.Problem(*make_data("squared"))
    with pytest.raises(fl.Diverged):
        fl.local_sgd(problem, **options(n_steps=500, step_size=noisy, record=0, schedule=fl.OneShot()))


def test_a_run_belongs_to_one_thread_at_a_time(problem):
    run = fl.Run(problem, **options(n_steps=10**7, schedule=fl.MiniBatch(), record=0, max_time_s=1.0))
    refused = []

    def advance():
        try:
            run.advance()
        except RuntimeError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=advance) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)
    assert all("advanced by another thread" in text for text in refused)


def test_weights_that_nearly_sum_to_one_do_not_shrink_the_mean():
    problem = fl.Problem(np.zeros((4, 1)), np.zeros(4))
    result = fl.local_sgd(
        problem, n_workers=2, n_steps=100_000, schedule=fl.MiniBatch(), weights=[0.5, 0.5 - 9e-10], w0=[1.0], record=0
    )
    assert abs(result.w[0] - 1) < 1e-9


def test_a_folder_that_cannot_be_written_to_is_refused_before_the_run(problem, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda folder, mode: not mode & os.W_OK)  # as root all can be written
    with pytest.raises(ValueError, match="checkpoint must be in a folder that can be written to, got "):
        fl.Run(problem, **options(checkpoint=tmp_path / "x"))


def test_a_disk_that_refuses_the_checkpoint_does_not_cost_the_result(problem, tmp_path, monkeypatch):
    folder = tmp_path / "gone"
    folder.mkdir()
    run = fl.Run(problem, **options(checkpoint=folder / "x"))
    folder.rmdir()
    assert run.advance().finished


def test_shards_refuse_what_the_kernels_cannot_read():
    X, y = make_data("squared")
    for wrong_X, wrong_y in (
        (X.astype(np.int32), y),
        (X, y[:-1]),
        (X, y.astype(np.float64)),
        (np.asfortranarray(X), y),
    ):
        with pytest.raises((TypeError, ValueError)):
            fl.Shards(wrong_X, wrong_y, n_workers=4, layout="packed")


def test_long_adaptive_periods_cost_no_memory(problem):
    schedule = fl.AdaptivePeriod(1e-6)
    run = fl.Run(problem, **options(n_steps=3 * 10**8, schedule=schedule, record=0, max_time_s=0.2)).advance()
    assert run.trace.periods[0][0] == schedule.period(4, 0.05, 3 * 10**8)


def test_a_run_that_is_gone_on_with_keeps_its_own_ledger(problem):
    first = fl.local_sgd(problem, **options(n_steps=21, record=[10], callback=lambda record: True))
    rest = fl.local_sgd(problem, **options(n_steps=21), state=first.state)
    assert rest.trace.periods == [(7, 2)]  # from the round that was open
    assert rest.trace.step_s > 0
    assert rest.trace.t[0] == 11


def test_nan_in_a_memory_mapped_file_is_found_by_the_run(tmp_path):
    X, y = make_data("logistic")
    X[77, 5] = np.nan
    np.save(tmp_path / "X.npy", X)
    problem = fl.Problem(np.load(tmp_path / "X.npy", mmap_mode="r"), y, loss="logistic")
    with pytest.raises(ValueError, match="X must be finite, got nan at row 77, column 5"):
        fl.local_sgd(problem, **options(n_steps=300))


def test_the_automatic_step_never_diverges():
    rng = np.random.default_rng(0)
    for seed in range(20):
        scale = np.exp(3 * np.random.default_rng(seed).standard_normal(20))
        X = (rng.standard_t(2, (300, 20)) * scale).astype(np.float64)
        for loss in ("squared", "logistic"):
            y = rng.standard_t(2, 300) if loss == "squared" else np.sign(rng.standard_normal(300))
            problem = fl.Problem(X, y, loss=loss, l2=0.1, fit_intercept=True)
            result = fl.local_sgd(problem, n_workers=4, n_steps=500, seed=seed)
            assert problem.objective(result.w_bar) <= problem.objective(np.zeros(21)) * (1 + 1e-9)


def test_a_flat_objective_has_a_safe_step():
    problem = fl.Problem(np.zeros((5, 2)), np.ones(5))
    assert problem.safe_step() == 1.0
    assert not fl.local_sgd(problem, n_workers=2, n_steps=3).w.any()


# ---- wrong arguments ----


def _x(**changes):
    X, y = make_data("logistic", np.float64, n=20, d=3)
    return X, y


BAD_DATA = {
    "nan in X": (lambda X, y: (np.where(np.arange(60).reshape(20, 3) == 31, np.nan, X), y),
                 "X must be finite, got nan at row 10, column 1"),
    "inf in X": (lambda X, y: (np.where(np.arange(60).reshape(20, 3) == 0, np.inf, X), y),
                 "X must be finite, got inf at row 0, column 0"),
    "nan in y": (lambda X, y: (X, np.where(np.arange(20) == 3, np.nan, y)), "y must be finite, got nan at row 3"),
    "short y": (lambda X, y: (X, y[:-1]), r"y must have shape \(20,\), one value a row of X, got \(19,\)"),
    "column y": (lambda X, y: (X, y[:, None]), r"got \(20, 1\); pass y.ravel\(\)"),
    "1-d X": (lambda X, y: (X[:, 0].copy(), y), r"X must have two dimensions .* X.reshape\(-1, 1\)"),
    "Fortran order": (lambda X, y: (np.asfortranarray(X), y), "in C order, got Fortran order; pass np.asc"),
    "strided": (lambda X, y: (np.repeat(X, 2, axis=1)[:, ::2], y), "in C order, got strided"),
    "integers": (lambda X, y: (X.astype(int), y), r"must be float32 or float64, got int64; pass X.astype"),
    "objects": (lambda X, y: (X.astype(object), y), "must be float32 or float64, got object"),
    "half": (lambda X, y: (X.astype(np.float16), y), "must be float32 or float64, got float16"),
    "big-endian": (lambda X, y: (X.astype(">f8"), y), "machine's byte order, got dtype '>f8'"),
    "a list": (lambda X, y: (X.tolist(), y), "X must be a NumPy array, got list"),
    "no rows": (lambda X, y: (X[:0], y[:0]), "at least one row and one column"),
    "no columns": (lambda X, y: (X[:, :0].copy(), y), "at least one row and one column"),
    "0/1": (lambda X, y: (X, (y + 1) / 2), r"labels -1 and \+1 .* got 0 and 1; pass 2 \* y - 1"),
    "booleans": (lambda X, y: (X, y > 0), r"got booleans; pass np.where\(y, 1.0, -1.0\)"),
    "strings": (lambda X, y: (X, np.where(y > 0, "yes", "no")), r"pass np.where\(y == 'yes', 1.0, -1.0\)"),
    "1/2": (lambda X, y: (X, (y + 3) / 2), r"got 1 and 2; pass np.where\(y == 2, 1.0, -1.0\)"),
    "classes": (lambda X, y: (X, np.arange(20.0) % 3), "got 0 at row 0 .* one class against the rest"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data_is_refused_with_what_to_do(case):
    change, message = BAD_DATA[case]
    X, y = change(*_x())
    with pytest.raises((ValueError, TypeError), match=message):
        fl.Problem(X, y, loss="logistic")


def test_sparse_data_that_is_not_csr_is_refused_with_what_to_do():
    from scipy import sparse

    X, y = _x()
    with pytest.raises(TypeError, match=r"must be CSR if it is sparse.*tocsr"):
        fl.Problem(sparse.csc_array(X), y, loss="logistic")


BAD_ARGUMENTS = {
    "n_workers=0": ({"n_workers": 0}, "n_workers must be an int >= 1, got 0"),
    "n_workers=1.5": ({"n_workers": 1.5}, "n_workers must be an int, got 1.5"),
    "more workers than rows": ({"n_workers": 1000}, "n_workers must be between 1 and the 203 rows"),
    "n_steps=0": ({"n_steps": 0}, "n_steps must be an int >= 1"),
    "batch_size=0": ({"batch_size": 0}, "batch_size must be an int >= 1"),
    "seed": ({"seed": -1}, "seed must be an int >= 0"),
    "huge seed": ({"seed": 2**64}, "seed must be below 2\\^64"),
    "threads": ({"n_threads": 0}, "n_threads must be an int >= 1, got 0; None is all cores"),
    "sampling": ({"sampling": "all"}, "sampling must be 'reshuffle' or 'replacement' or 'blocks', got 'all'"),
    "partition": ({"partition": "by"}, "partition must be 'iid' or 'contiguous'"),
    "layout": ({"layout": "dense"}, "layout must be 'auto' or 'view' or 'packed'"),
    "average": ({"average": "mean"}, "average must be 'polyak', 'tail:FRACTION'"),
    "tail": ({"average": "tail:2"}, "average must be 'polyak'"),
    "step size": ({"step_size": 0.1}, r"step_size must be a StepSize such as Constant\(0.01\), got 0.1"),
    "step word": ({"step_size": "fast"}, "step_size must be a StepSize or 'auto', got 'fast'"),
    "negative step": ({"step_size": lambda t: -0.1 * np.ones(t.shape)}, "positive, finite step sizes, got -0.1 at"),
    "nan step": ({"step_size": lambda t: np.where(t == 5, np.nan, 0.1)}, "got nan at step 5"),
    "short step": ({"step_size": lambda t: np.ones(1)}, "must return one eta a step"),
    "a single step": ({"step_size": lambda t: 0.1}, r"must return one eta a step, shape .*got \(\)"),
    "step class": ({"step_size": fl.Constant}, "step_size must be a StepSize such as"),
    "schedule class": ({"schedule": fl.OneShot}, "schedule must have a method next_periods, got <class"),
    "callback": ({"callback": 3}, "callback must be a function of a record or None, got 3"),
    "checkpoint": ({"checkpoint": "/no/such/folder/x"}, "checkpoint must be a path in a folder that exists"),
    "checkpoint folder": (
        {"checkpoint": tempfile.gettempdir()},
        "checkpoint must be the path of a file, got the fold",
    ),
    "checkpoint number": ({"checkpoint": 3}, "checkpoint must be a path or None, got 3"),
    "unknown": ({"bogus": 1}, r"^local_sgd\(\) got an unexpected keyword argument 'bogus'$"),
    "misspelt": ({"n_worker": 2}, r"^local_sgd\(\) got .* 'n_worker'; did you mean 'n_workers'\?"),
    "schedule": ({"schedule": 16}, "schedule must have a method next_periods, got 16"),
    "weights": ({"weights": [0.5, 0.5]}, r"weights must have shape \(4,\)"),
    "weights sum": ({"weights": [1.0, 1, 1, 1]}, "must be >= 0 and sum to 1, got sum 4"),
    "weights word": ({"weights": "equal"}, "weights must be None, 'rows' or an array"),
    "w0": ({"w0": np.zeros(3)}, r"w0 must have shape \(37,\), got \(3,\)"),
    "nan w0": ({"w0": np.full(37, np.nan)}, "w0 must be finite"),
    "record": ({"record": -1}, "record must be an int >= 0, got -1"),
    "record steps": ({"record": [0, 5]}, "step numbers from 1 to 60"),
    "time": ({"max_time_s": -1}, "max_time_s must be positive, got -1; None is no limit"),
    "state": ({"state": "file"}, r"state must be a State, got str; State.load\(path\)"),
}


@pytest.mark.parametrize("case", BAD_ARGUMENTS)
def test_wrong_arguments_are_refused_with_what_to_do(problem, case):
    wrong, message = BAD_ARGUMENTS[case]
    with pytest.raises((ValueError, TypeError), match=message):
        fl.local_sgd(problem, **options(**wrong))


def test_a_problem_is_needed_and_its_numbers_are_checked():
    X, y = make_data("squared")
    with pytest.raises(TypeError, match=r"must be a fastlsgd.Problem, got ndarray; pass Problem\(X, y\)"):
        fl.local_sgd(X)
    for wrong in (
        {"loss": "hinge"},
        {"l2": -1.0},
        {"l2": float("nan")},
        {"sample_weight": -np.ones(len(y))},
        {"sample_weight": np.zeros(len(y))},
    ):
        with pytest.raises(ValueError):
            fl.Problem(X, y, **wrong)
    with pytest.raises(ValueError, match=r"w must have shape \(38,\) or \(m, 38\), got \(37,\); its last entry"):
        fl.Problem(X, y, fit_intercept=True).objective(np.zeros(37))


def test_labels_that_are_numbers_of_dtype_object_are_told_what_makes_them_floats():
    X, y = make_data("logistic")
    for given in (y.astype(object), np.array([int(label) for label in y], dtype=object)):
        with pytest.raises(ValueError, match=r"numbers of dtype object; pass y.astype\(float\)"):
            fl.Problem(X, given, loss="logistic")
        assert np.array_equal(fl.Problem(X, given.astype(float), loss="logistic").y, y)
    with pytest.raises(ValueError, match=r"text such as \['-1.0', '1.0'\]"):
        fl.Problem(X, np.array([str(label) for label in y], dtype=object), loss="logistic")


def test_a_step_beyond_the_bound_is_warned_of(problem):
    X, y = make_data("squared")
    squared = fl.Problem(X, y)
    norms = (X.astype(np.float64) ** 2).sum(axis=1)
    assert squared.step_bound(4) == pytest.approx(8 * norms.mean() / (norms**2).mean(), rel=1e-12)
    with pytest.warns(RuntimeWarning, match=rf"beyond {squared.step_bound():g}, the largest"):
        fl.local_sgd(squared, **options(step_size=fl.Constant(1.01 * squared.step_bound()), n_steps=1))
    assert fl.Problem(X, y, l2=1e3).step_bound() == pytest.approx(2e-3, rel=0.05)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fl.local_sgd(squared, **options(step_size=fl.Constant(0.99 * squared.step_bound()), n_steps=1))


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("l2", [0.0, 0.1, 3.0])
def test_the_bound_is_where_a_second_moment_grows_from_the_isotropic_start(l2, intercept):
    """E |(I - eta (x x' + l2 I)) z|^2 = E |z|^2 there, z isotropic; and the limit of stability is no higher."""
    from fastlsgd.theory import data_stability_limit

    X = np.random.default_rng(3).standard_normal((300, 6)) * np.arange(1.0, 7)
    problem = fl.Problem(X, X.sum(axis=1), l2=l2, fit_intercept=intercept)
    rows = np.column_stack([X, np.ones((300, int(intercept)))])
    penalty = l2 * np.diag(np.arange(rows.shape[1]) < 6)
    steps = np.eye(rows.shape[1]) - problem.step_bound() * (rows[:, :, None] * rows[:, None, :] + penalty)
    assert (steps**2).sum(axis=(1, 2)).mean() == pytest.approx(rows.shape[1], rel=1e-10)
    assert data_stability_limit(problem) <= problem.step_bound() * (1 + 1e-3)


FAR = [[1e160, 0, 0], [-1e160, 0, 0], [1e200, -1e200, 0], [1e308, 1e308, 1], [np.inf] * 3, [np.inf, -np.inf, 0]]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("as_rows", [np.asarray, csr_array])
@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("l2", [0.0, 0.1])
@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_the_objective_of_a_w_far_out_is_infinite_or_finite_but_never_no_number(loss, l2, intercept, as_rows):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((50, 3))
    problem = fl.Problem(
        as_rows(X), np.where(X[:, 0] + rng.logistic(size=50) > 0, 1.0, -1.0), loss, l2, fit_intercept=intercept
    )
    W = np.column_stack([FAR, np.zeros((len(FAR), int(intercept)))])
    near = np.zeros((1, problem.n_params))
    for values in (problem.objective(W), problem.objective_and_gradient(W)[0], problem.excess(W)):
        assert not np.isnan(values).any()
        assert (values > 1e100).all()
        if loss == "squared" or l2:
            assert (values == np.inf).all()
    assert problem.objective(np.vstack([near, W]))[0] == problem.objective(near[0])
    assert np.isnan(problem.objective(np.full(problem.n_params, np.nan)))


def test_a_run_that_diverges_has_no_records_that_look_as_if_they_were_missing():
    X = np.random.default_rng(0).standard_normal((200, 3))
    problem = fl.Problem(X, X.sum(axis=1))
    problem.optimum()
    with pytest.warns(RuntimeWarning, match="is beyond"):
        run = fl.Run(
            problem, n_workers=2, n_steps=5000, step_size=fl.Constant(5.0), record=64, schedule=fl.MiniBatch()
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(fl.Diverged):
            run.advance()
        for name in ("objective_w", "objective_w_bar", "distance_w", "distance_w_bar"):
            assert not np.isnan(run.trace[name]).any()
        assert run.trace.objective_w[-1] == np.inf


def test_a_logistic_objective_on_separable_data_has_no_optimum():
    X = np.array([[1.0], [-1.0]])
    with pytest.raises(ValueError, match=r"separable data has none unless l2 > 0"):
        fl.Problem(X, np.array([1.0, -1.0]), loss="logistic").optimum()


@pytest.mark.parametrize("weight", [None, 1.0])
def test_where_all_rows_that_count_have_one_label_there_is_no_optimum(weight):
    """The intercept is not penalised: it grows for ever, whatever l2 and the rows of weight 0."""
    X = np.random.default_rng(0).standard_normal((200, 3))
    y = np.where(X[:, 0] > 0, 1.0, -1.0)
    weights = np.where(y > 0, weight or 1.0, 0.0)
    model = {"loss": "logistic", "l2": 1e-2, "fit_intercept": True}
    problem = (
        fl.Problem(X, np.ones(200), **model) if weight is None else fl.Problem(X, y, **model, sample_weight=weights)
    )
    with pytest.raises(ValueError, match="there are two labels"):
        problem.optimum()
    assert np.isfinite(fl.Problem(X, y, **model, sample_weight=weights + 1e-3).optimum()).all()
    assert np.isfinite(fl.Problem(X, y, **{**model, "fit_intercept": False}, sample_weight=weights).optimum()).all()


@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_the_optimum_scales_as_weights_columns_and_targets_do(loss):
    """By powers of two, of which rounding knows nothing: the same digits, however small the gradient is."""
    X, y = _noisy(loss, 300, 4)
    model = {"loss": loss, "fit_intercept": True}
    optimum = fl.Problem(X, y, **model).optimum()
    scales = [2.0**k for k in (-100, -60, -30, -20, 20, 60)]
    for scale in scales:
        weighted = fl.Problem(X, y, **model, sample_weight=np.full(300, scale))
        np.testing.assert_allclose(weighted.optimum(), optimum, rtol=1e-13)
        # One by one, so that no column of X stands for another.
        for columns in ([0, 1, 2, 3], [2], [0, 1]):
            factors = np.ones(5)
            factors[columns] = scale
            scaled = fl.Problem(X * factors[:4], y, **model)
            if columns == [0, 1, 2, 3] or 2**-31 < scale < 2**31:
                np.testing.assert_allclose(scaled.optimum() * factors, optimum, rtol=1e-8)
        if loss == "squared":
            np.testing.assert_allclose(fl.Problem(X, y * scale, **model).optimum(), optimum * scale, rtol=1e-13)


def test_an_optimum_is_found_in_few_passes_whatever_the_scale_of_the_columns(monkeypatch):
    """An absolute target misses, or costs passes for nothing where rounding keeps the gradient above it."""
    X, y = _noisy("logistic", 300, 4)
    passes, old = [], fl.Problem._pass
    monkeypatch.setattr(
        fl.Problem, "_pass", lambda self, kind, **rest: passes.append(kind) or old(self, kind, **rest)
    )
    for scale in (1e-8, 1.0, 1e8):
        passes.clear()
        fl.Problem(X * [1.0, 1.0, 1.0, scale], y, loss="logistic", fit_intercept=True).optimum()
        assert passes.count("gradient") <= 12
    with pytest.raises(ValueError, match="X is too large"):
        fl.Problem(X * 1e160, y, loss="logistic").optimum()


def _noisy(loss, n, d):
    rng = np.random.default_rng(7)
    X = rng.standard_normal((n, d))
    z = X @ np.linspace(-1.0, 1.0, d) + 0.3
    return X, z + rng.standard_normal(n) if loss == "squared" else np.where(z + rng.logistic(size=n) > 0, 1.0, -1.0)
