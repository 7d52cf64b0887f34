"""A team for shared machines: helpers reused, shared, interrupted, late or missing change no bit of a run."""

import dis
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from contextlib import contextmanager
from queue import SimpleQueue

import exact
import numpy as np
import pytest
from conftest import make_data
from sklearn.model_selection import GridSearchCV

import fastlsgd as fl
from fastlsgd import _kernels, team
from fastlsgd.backends import threads as backend

PATIENCE_S = 60  # far beyond what anything here takes


def options(**more):
    return {"n_workers": 8, "n_steps": 400, "schedule": fl.FixedPeriod(3), "step_size": fl.Constant(0.05), **more}


def solve(problem, **more):
    return fl.local_sgd(problem, **options(**more))


def digest(result):
    return b"".join(np.ascontiguousarray(a).tobytes() for a in (result.state.W, result.w_bar, result.state.sums()))


@pytest.fixture(scope="module")
def problem():
    return fl.Problem(*make_data("logistic", n=2000), loss="logistic", l2=0.01)


@pytest.fixture(scope="module")
def alone(problem):
    return digest(solve(problem, n_threads=1, record=0))


@pytest.fixture
def no_helpers_yet(monkeypatch):
    """A process in which no helper has been started; those of the test leave at its end."""
    helpers = []
    monkeypatch.setattr(team, "_helpers", helpers)
    yield helpers
    for helper in helpers:
        helper.inbox.put(None)
        helper.join(PATIENCE_S)
        assert not helper.is_alive()


def until(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.001)


@contextmanager
def running(function, n=1):
    """Run function(stop) in n threads beside the test, until it is done."""
    stop = threading.Event()
    threads = [threading.Thread(target=function, args=(stop,)) for _ in range(n)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


@contextmanager
def busy_machine():
    """Two processes and a Python thread that do nothing but keep the processors busy."""

    def spin(stop):
        while not stop.is_set():
            sum(range(1000))

    # No longer than the patience, whatever becomes of the test.
    code = f"import time\nend = time.monotonic() + {PATIENCE_S}\nwhile time.monotonic() < end: pass"
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    try:
        with running(spin):
            yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


# ---- persistent helpers ----


def test_helpers_are_reused(problem, no_helpers_yet):
    for _ in range(20):
        solve(problem, n_threads=4)
        until(lambda: all(helper.is_free for helper in no_helpers_yet))
    assert len(no_helpers_yet) == 3
    assert all(helper.is_alive() for helper in no_helpers_yet)


def test_a_free_helper_keeps_nothing_alive(no_helpers_yet):
    problem = fl.Problem(*make_data("squared"))
    solve(problem, n_threads=4)
    watched = weakref.ref(problem.X)
    until(lambda: all(helper.is_free for helper in no_helpers_yet))
    del problem
    gc.collect()
    assert watched() is None


def test_helpers_that_are_busy_elsewhere_are_not_waited_for(problem, alone, no_helpers_yet):
    release, inside = threading.Event(), threading.Semaphore(0)

    class Elsewhere:
        def help(self):
            inside.release()
            release.wait(PATIENCE_S)

    team.share(Elsewhere(), 3)
    for _ in range(3):
        assert inside.acquire(timeout=PATIENCE_S)
    assert digest(solve(problem, n_threads=4, record=0)) == alone
    assert len(no_helpers_yet) == 3 and all(helper.busy for helper in no_helpers_yet)
    release.set()


def test_a_run_goes_on_with_fewer_threads_if_none_can_be_started(problem, alone, no_helpers_yet, monkeypatch):
    real, started = threading.Thread.start, []

    def start(thread):
        if started:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    assert digest(solve(problem, n_threads=4, record=0)) == alone
    assert len(no_helpers_yet) == 1
    until(lambda: no_helpers_yet[0].is_free)
    started.clear()
    assert digest(solve(problem, n_threads=4, record=0)) == alone
    assert len(no_helpers_yet) == 2


def test_a_helper_without_memory_does_not_help_and_stays(no_helpers_yet):
    asked = threading.Event()

    class Large:
        def help(self):
            asked.set()
            raise MemoryError

    team.share(Large(), 1)
    assert asked.wait(PATIENCE_S)
    until(lambda: no_helpers_yet[0].is_free)
    assert no_helpers_yet[0].is_alive()


@pytest.mark.parametrize("ending", ["", "threading.Thread(target=run, daemon=True).start(); time.sleep(0.3)"])
def test_a_process_ends_while_helpers_wait_or_work(ending):
    code = (
        "import threading, time, numpy as np, fastlsgd as fl\n"
        "X = np.ones((5000, 30)); problem = fl.Problem(X, X[:, 0], l2=0.1)\n"
        "def run(n_steps=10**9):\n"
        "    fl.local_sgd(problem, n_steps=n_steps, n_threads=4, record=0, step_size=fl.Constant(1e-3))\n"
        f"run(1000)\n{ending}\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stderr) == (0, "")


# ---- late, early and unwanted helpers ----


def test_a_helper_that_knocks_all_the_time_changes_no_bit(problem, alone, monkeypatch):
    """It comes in twice in a slice, after the slice, and before the next is open."""
    works = []
    monkeypatch.setattr(backend, "share", lambda work, n: works.append(work))

    def knock(stop):
        while not stop.is_set():
            for work in works[-1:]:
                work.help()

    with running(knock, n=3):
        for n_threads in (2, 3, 16):
            assert digest(solve(problem, n_threads=n_threads, record=40)) == alone
    assert works


def test_a_helper_that_comes_when_all_is_done_finds_the_door_closed(problem, alone, monkeypatch):
    works = []
    monkeypatch.setattr(backend, "share", lambda work, n: works.append(work))
    run = fl.Run(problem, **options(n_threads=4, record=0))
    run.advance(n_rounds=5)
    W = run.W.tobytes()
    works[-1].help()
    assert run.W.tobytes() == W
    assert digest(run.advance().result()) == alone


def test_more_helpers_than_were_asked_for_find_no_seat(problem, alone, monkeypatch):
    def crowd(work, n_helpers):
        threads = [threading.Thread(target=work.help) for _ in range(8)]
        for thread in threads:
            thread.start()

    monkeypatch.setattr(backend, "share", crowd)
    assert digest(solve(problem, n_threads=2, record=0)) == alone


# ---- interrupts ----


def interrupted_at(n, function):
    """Call function with a KeyboardInterrupt at the n-th place in team.py where one may come; return whether one did.

    Python looks for signals behind calls, at the begin of functions, and where loops jump back.
    """
    left, before = n, {}

    def trace(frame, event, _):
        nonlocal left
        if not frame.f_code.co_filename.endswith("team.py"):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            if before.get(frame, "RESUME").startswith(("CALL", "RESUME", "JUMP_BACKWARD")):
                left -= 1
                if left == 0:
                    raise KeyboardInterrupt
            before[frame] = dis.opname[frame.f_code.co_code[frame.f_lasti]]
        return trace

    sys.settrace(trace)
    try:
        function()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    return False


def test_an_interrupt_at_any_instant_of_sharing_loses_no_helper(no_helpers_yet):
    class Quick:
        def __init__(self):
            self.seen = SimpleQueue()

        def help(self):
            self.seen.put(threading.current_thread())

    for first in (True, False):
        n = 1
        while True:
            if first:  # helpers have still to be started
                for helper in no_helpers_yet:
                    helper.inbox.put(None)
                    helper.join(PATIENCE_S)
                no_helpers_yet.clear()
            there = interrupted_at(n, lambda: team.share(Quick(), 2))
            assert not team._growing.locked()
            until(lambda: all(helper.is_free for helper in no_helpers_yet))
            work = Quick()
            team.share(work, 2)
            assert len({work.seen.get(timeout=PATIENCE_S) for _ in range(2)}) == 2 == len(no_helpers_yet)
            until(lambda: all(helper.is_free for helper in no_helpers_yet))
            if not there:
                break
            n += 1
        assert n > 10


def test_an_interrupt_while_a_slice_is_shared_leaves_the_run_whole(problem, alone, monkeypatch):
    run = fl.Run(problem, **options(n_threads=4, record=0))
    share, calls = team.share, []

    def interrupted(work, n_helpers):
        calls.append(n_helpers)
        if len(calls) % 2:
            raise KeyboardInterrupt
        share(work, n_helpers)

    monkeypatch.setattr(backend, "share", interrupted)
    for n_rounds in range(1, 6):
        with pytest.raises(KeyboardInterrupt):
            run.advance(n_rounds=1)
        assert run.n_rounds == 2 * n_rounds - 1
        run.advance(n_rounds=1)
    monkeypatch.undo()
    assert digest(run.advance().result()) == alone


def test_an_interrupted_pass_leaves_the_problem_usable(monkeypatch):
    problem = fl.Problem(*make_data("squared", n=50_000, d=4))
    expected = problem.gradient(np.ones(4))
    share = team.share

    def interrupted(work, n_helpers):
        share(work, n_helpers)
        raise KeyboardInterrupt

    monkeypatch.setattr(team, "share", interrupted)
    monkeypatch.setenv("FASTLSGD_NUM_THREADS", "4")
    for _ in range(20):
        with pytest.raises(KeyboardInterrupt):
            problem.gradient(np.ones(4))
    monkeypatch.setattr(team, "share", share)
    assert problem.gradient(np.ones(4)).tobytes() == expected.tobytes()


# ---- fork ----


def in_a_fork(function):
    """Return the exit code of a forked child that calls function: 0 if it returns True."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if function() else 2
        finally:
            os._exit(code)
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return "hangs"


forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@forks
def test_a_forked_child_runs_with_the_same_bits(problem, alone):
    solve(problem, n_threads=4)  # there are helpers, which the child will not have
    assert in_a_fork(lambda: digest(solve(problem, n_threads=4, record=0)) == alone) == 0


@forks
def test_a_child_of_a_child_too(problem, alone):
    def child():
        again = digest(solve(problem, n_threads=3, record=0)) == alone
        return again and in_a_fork(lambda: digest(solve(problem, n_threads=4, record=0)) == alone) == 0

    assert in_a_fork(child) == 0


@forks
def test_a_fork_in_the_middle_of_other_runs_is_safe(problem, alone):
    def run(stop):
        while not stop.is_set():
            solve(problem, n_threads=4, record=0)

    with running(run, n=2):
        codes = [in_a_fork(lambda: digest(solve(problem, n_threads=4, record=0)) == alone) for _ in range(10)]
    assert codes == [0] * 10


def _digest_of_seed(problem_and_seed):
    problem, seed = problem_and_seed
    return digest(solve(problem, n_threads=2, record=0, seed=seed))


@pytest.mark.parametrize("method", sorted({"fork", "spawn"} & set(multiprocessing.get_all_start_methods())))
def test_a_pool_of_processes_gives_the_same_bits(problem, method):
    solve(problem, n_threads=4)
    jobs = [(problem, seed) for seed in range(4)]
    with multiprocessing.get_context(method).Pool(2) as pool:
        found = pool.map_async(_digest_of_seed, jobs).get(timeout=PATIENCE_S)
    assert found == [_digest_of_seed(job) for job in jobs]
    assert len(set(found)) == 4


# ---- several at once ----


@pytest.mark.parametrize("n", [2, 8])
def test_runs_in_several_python_threads_each_have_the_bits_of_a_run_alone(problem, n):
    alone = [_digest_of_seed((problem, seed)) for seed in range(n)]
    found = [[] for _ in range(n)]
    begin = threading.Barrier(n)

    def run(seed):
        begin.wait(PATIENCE_S)
        for _ in range(4):
            found[seed].append(_digest_of_seed((problem, seed)))

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert found == [[each] * 4 for each in alone]


@pytest.mark.parametrize("backend_name", ["loky", "threading"])
def test_a_grid_search_with_two_jobs_has_the_scores_of_one(backend_name):
    import joblib

    X, y = make_data("logistic", n=400)
    model = fl.LocalSGDClassifier(n_workers=4, random_state=0)
    scores = []
    for n_jobs in (1, 2):
        with joblib.parallel_config(backend_name):
            search = GridSearchCV(model, {"l2": [1e-4, 1e-2, 1.0]}, cv=3, n_jobs=n_jobs).fit(X, y)
        scores.append(search.cv_results_["mean_test_score"].tolist())
    assert scores[0] == scores[1]
    assert len(set(scores[0])) > 1


# ---- laws 4 and 5 under load ----


@pytest.mark.parametrize("n_threads", [2, 8, 16])
def test_threads_change_no_bit_beside_busy_processes(problem, alone, n_threads):
    with busy_machine():
        assert all(digest(solve(problem, n_threads=n_threads, record=0)) == alone for _ in range(3))


@pytest.mark.parametrize("n_threads", [8, 16])
def test_cutting_a_run_anywhere_changes_no_bit_beside_busy_processes(problem, alone, n_threads, tmp_path):
    with busy_machine():
        for cut in (1, 3, 100, 257, 399):
            part = solve(problem, n_threads=n_threads, record=[cut], callback=lambda record: True)
            assert part.state.t == cut
            part.state.save(tmp_path / "state")
            for state in (part.state, fl.State.load(tmp_path / "state")):
                assert digest(solve(problem, n_threads=n_threads, record=0, state=state)) == alone


# ---- edges ----


def test_short_rounds_ask_for_no_helper_and_have_the_same_bits(problem, monkeypatch):
    """Two workers on one thread are sooner done than two threads that meet after every step."""
    asked = []

    def solved(**more):
        asked.clear()
        return solve(problem, n_steps=20_000, **more)

    monkeypatch.setattr(backend, "share", lambda work, n: (asked.append(n), team.share(work, n)))
    for schedule, n_helpers in ((fl.MiniBatch(), 0), (fl.FixedPeriod(500), 1)):
        both = solved(n_workers=2, n_threads=2, schedule=schedule, record=0)
        assert set(asked) == {1}
        _kernels.use_whole_team(False)
        # Slices are as long as they were fast: on a loaded machine one may be over before a helper could come.
        for _ in range(20):
            fewer = solved(n_workers=2, n_threads=2, schedule=schedule, record=5)
            assert max(asked) <= n_helpers
            if max(asked) == n_helpers:
                break
        _kernels.use_whole_team(True)
        assert max(asked) == n_helpers
        assert digest(fewer) == digest(both)
        trace = fewer.trace
        np.testing.assert_allclose(trace.compute_s + trace.wait_s + trace.average_s, trace.wall_s, rtol=1e-6)
    # A round in which several threads have enough to do is theirs, but not of all that may come.
    _kernels.use_whole_team(False)
    solved(n_workers=64, n_threads=16, schedule=fl.FixedPeriod(8), record=0)
    assert 1 <= max(asked) < 15  # a last slice may be over before a helper could come


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_very_many_small_workers(dtype):
    X, y = make_data("squared", dtype, n=5000, d=3)
    problem = fl.Problem(X, y)
    found = [
        digest(solve(problem, n_workers=4096, n_steps=20, n_threads=n_threads, record=0))
        for n_threads in (1, 2, 16, _kernels.MAX_THREADS)
    ]
    assert len(set(found)) == 1
    twin = exact.Twin(X, y, loss="squared", n_workers=4096).run(np.full(20, 0.05), [3] * 7)
    assert found[0].startswith(twin.W.tobytes())


@pytest.mark.parametrize("schedule", [fl.MiniBatch(), fl.FixedPeriod(3), fl.OneShot()])
def test_an_averaging_larger_than_a_cache_is_the_same_shared_out_or_not(schedule):
    X, y = make_data("squared", np.float64, n=300, d=5000)
    problem = fl.Problem(X, y)
    found = [
        digest(solve(problem, n_workers=64, n_steps=7, schedule=schedule, n_threads=n, step_size=fl.Constant(1e-4)))
        for n in (1, 2, 3, 16)
    ]
    assert len(set(found)) == 1
    assert np.isfinite(np.frombuffer(found[0])).all()


@pytest.mark.parametrize("n_workers", [1, 2, 3])
def test_more_threads_than_workers_are_as_many_as_workers(problem, n_workers):
    result = solve(problem, n_workers=n_workers, n_threads=64)
    assert result.trace.n_threads == n_workers
    assert digest(result) == digest(solve(problem, n_workers=n_workers, n_threads=1))


@pytest.mark.parametrize("n_threads", [1, 2, 4])
def test_what_is_written_to_W_between_advances_is_gone_on_from(problem, n_threads):
    """Against the exact twin, whose iterates are written to as well."""
    twin = exact.Twin(problem.X, problem.y, loss="logistic", l2=0.01, n_workers=8)
    run = fl.Run(problem, **options(n_steps=12, n_threads=n_threads, record=0))
    memory = run.W.__array_interface__["data"][0]
    for add in (0.25, -0.5, 0.125):
        run.advance(n_rounds=1)
        run.W[3] += np.float32(add)
        twin.run(np.full(3, 0.05), [3])
        twin.W[3] += np.float32(add)
    run.advance()
    twin.run(np.full(3, 0.05), [3])
    assert run.W.tobytes() == twin.W.tobytes()
    assert run.W.__array_interface__["data"][0] == memory


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("n_threads", [1, 4])
def test_a_worker_that_is_not_finite_on_entering_is_named(problem, n_threads, value):
    run = fl.Run(problem, **options(n_threads=n_threads, record=0)).advance(n_rounds=2)
    run.W[5, 7] = value
    kept = run.W.copy()
    with pytest.raises(ValueError, match=rf"W must be finite .* got {value} for worker 5, coordinate 7 at t=6"):
        run.advance()
    assert run.t == 6
    assert run.W.tobytes() == kept.tobytes()
    run.W[5, 7] = 0.0
    assert run.advance().finished


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="affinity of threads is read from /proc")
def test_helpers_that_move_to_another_core_may_run_where_they_might_before():
    X, y = make_data("logistic", n=2000, d=50)
    problem = fl.Problem(X, y, loss="logistic")
    for _ in range(20):
        fl.local_sgd(problem, n_workers=4, n_steps=200, n_threads=4)
        problem.objective(np.zeros(50))
    allowed = os.sched_getaffinity(0)
    for task in os.listdir("/proc/self/task"):
        assert os.sched_getaffinity(int(task)) == allowed
