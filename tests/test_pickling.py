"""What may be sent to another process or copied: problems, results, states and errors; a run may not."""

import copy
import pickle

import joblib
import numpy as np
import pytest
from conftest import make_data

import fastlsgd as fl
from fastlsgd import _kernels


def pickled(thing):
    return pickle.loads(pickle.dumps(thing))


WAYS = [pickled, copy.deepcopy, copy.copy]
DTYPES = [np.float32, np.float64]


def options(**more):
    return {"n_workers": 3, "n_steps": 60, "schedule": fl.FixedPeriod(7), "step_size": fl.Constant(0.05), **more}


def make_problem(dtype=np.float32, **more):
    X, y = make_data("logistic", dtype)
    s = np.random.default_rng(1).uniform(0.5, 2.0, len(X)).astype(dtype)
    return fl.Problem(X, y, loss="logistic", l2=0.01, sample_weight=s, fit_intercept=True, **more)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_problem_comes_back_the_same(way, dtype):
    problem = make_problem(dtype)
    optimum = problem.optimum()
    other = way(problem)
    assert other is not problem
    assert (repr(other), other.fingerprint()) == (repr(problem), problem.fingerprint())
    assert other.known_optimum.tobytes() == optimum.tobytes()
    assert not other.optimum().flags.writeable
    assert other.row_norms() == problem.row_norms()
    w = np.linspace(-1, 1, problem.n_params)
    assert other.gradient(w).tobytes() == problem.gradient(w).tobytes()
    assert fl.local_sgd(other, **options()).w.tobytes() == fl.local_sgd(problem, **options()).w.tobytes()
    assert np.shares_memory(other.X, problem.X) == (way is copy.copy)


def test_a_copied_problem_outlives_the_first():
    problem = make_problem()
    expected = problem.objective(np.ones(problem.n_params))
    other = copy.copy(problem)
    del problem
    assert other.objective(np.ones(other.n_params)) == expected


@pytest.mark.parametrize("way", WAYS)
def test_a_problem_of_a_mapped_file_carries_its_rows_and_is_searched_for_nan(way, tmp_path):
    X, y = make_data("logistic")
    np.save(tmp_path / "X.npy", X)
    mapped = fl.Problem(np.load(tmp_path / "X.npy", mmap_mode="r"), y, loss="logistic")
    other = way(mapped)
    assert other.X.tobytes() == X.tobytes()
    assert fl.local_sgd(other, **options()).w.tobytes() == fl.local_sgd(mapped, **options()).w.tobytes()
    X[50, 3] = np.nan
    np.save(tmp_path / "Y.npy", X)
    wrong = fl.Problem(np.load(tmp_path / "Y.npy", mmap_mode="r"), y, loss="logistic")
    if way is copy.copy:  # still the file, which the run searches
        assert way(wrong).fingerprint() == wrong.fingerprint()
    else:
        with pytest.raises(ValueError, match="X must be finite, got nan at row 50, column 3"):
            way(wrong)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_result_comes_back_and_its_state_is_gone_on_from(way, dtype):
    problem = make_problem(dtype)
    whole = fl.local_sgd(problem, **options())
    part = fl.local_sgd(problem, **options(record=[5, 30], callback=lambda record: record.t == 30))
    other = way(part)
    assert repr(other) == repr(part)
    assert other.w.tobytes() == part.w.tobytes()
    assert other.w_bar.tobytes() == part.w_bar.tobytes()
    for name, column in part.trace.to_dict().items():
        np.testing.assert_array_equal(other.trace[name], column)
    for data in (problem, other.trace.problem):
        rest = fl.local_sgd(data, **options(state=other.state))
        assert rest.state.W.tobytes() == whole.state.W.tobytes()
        assert rest.w_bar.tobytes() == whole.w_bar.tobytes()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_state_comes_back_aligned_as_kernels_need_it_and_without_the_data(way, dtype):
    problem = make_problem(dtype)
    state = fl.local_sgd(problem, **options(record=[30], callback=lambda record: True)).state
    other = way(state)
    for name in ("padded_W", "padded_sum", "padded_sum64"):
        array = getattr(other, name)
        assert array.tobytes() == getattr(state, name).tobytes()
        assert array.__array_interface__["data"][0] % 64 == 0
        assert array.shape[1] % _kernels.PAD == 0
    assert (other.padded_sum is other.padded_sum64) == (dtype == np.float64)
    assert (other.t, other.n_rounds, other.fingerprint) == (30, 4, problem.fingerprint())
    assert len(pickle.dumps(state)) < problem.X.nbytes / 4
    other.W[...] = 7.0
    assert not (state.W == 7.0).any()


@pytest.mark.parametrize("way", WAYS)
def test_errors_come_back_from_another_process(way):
    problem = fl.Problem(*make_data("squared"))
    with pytest.warns(RuntimeWarning, match="may diverge"), pytest.raises(fl.Diverged) as caught:
        fl.local_sgd(problem, **options(n_steps=3000, step_size=fl.Constant(1.0)))
    error, other = caught.value, way(caught.value)
    assert (str(other), other.t, other.worker, other.eta) == (str(error), error.t, error.worker, error.eta)
    assert other.state.W.tobytes() == error.state.W.tobytes()
    result = fl.local_sgd(problem, **options(step_size="auto"))
    other = way(fl.Interrupted(result))
    assert str(other) == "interrupted at t=60; .result is the result so far"
    assert other.result.w.tobytes() == result.w.tobytes()


@pytest.mark.parametrize("way", WAYS)
def test_a_run_says_what_to_keep_instead(way):
    run = fl.Run(make_problem(), **options()).advance(n_rounds=2)
    W = run.W
    with pytest.raises(TypeError, match=r"a Run holds threads .* keep its run.state"):
        way(run)
    # And what it says works.
    rest = fl.Run(run.problem, **options(state=way(run.state))).advance()
    assert W is not rest.W
    assert rest.w.tobytes() == run.advance().w.tobytes()
    assert np.shares_memory(run.W, W)


def _objective_after(problem, seed):
    result = fl.local_sgd(problem, **options(seed=seed, n_threads=2))
    return result.trace.objective_w.tolist()


def test_joblib_sends_problems_to_its_processes():
    """loky maps large arrays into the children, read-only."""
    X, y = make_data("logistic", n=4000, d=40)
    problem = fl.Problem(X, y, loss="logistic")
    jobs = [joblib.delayed(_objective_after)(problem, seed) for seed in range(3)]
    found = joblib.Parallel(n_jobs=2, max_nbytes=1000)(jobs)
    assert found == [_objective_after(problem, seed) for seed in range(3)]


def test_loading_a_state_reads_no_pickle(tmp_path):
    state = fl.local_sgd(make_problem(), **options()).state
    (tmp_path / "state").write_bytes(pickle.dumps(state))
    with pytest.raises(fl.CheckpointError, match="it does not begin as one"):
        fl.State.load(tmp_path / "state")
