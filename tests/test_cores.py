"""How many threads a call may use, and what decides it."""

import os
import threading

import numpy as np
import pytest
import threadpoolctl
from conftest import make_data

import fastlsgd as fl
from fastlsgd import _kernels, cores
from fastlsgd import problem as problem_room


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine of eight cores without limits, whose files the test writes."""
    monkeypatch.setattr(cores, "ROOT", tmp_path)
    monkeypatch.setattr(cores, "affinity", lambda: 8)
    monkeypatch.delenv("FASTLSGD_NUM_THREADS", raising=False)

    def write(path, text):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
        cores.group_quota.cache_clear()

    cores.group_quota.cache_clear()
    yield write
    cores.group_quota.cache_clear()


def options(**more):
    return {"n_workers": 4, "n_steps": 60, "schedule": fl.FixedPeriod(7), "step_size": fl.Constant(0.05), **more}


@pytest.fixture
def problem():
    return fl.Problem(*make_data("logistic"), loss="logistic", l2=0.01)


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        ({"sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ({"sys/fs/cgroup/cpu.max": "300000 100000\n"}, 3.0),
        ({"sys/fs/cgroup/cpu.max": "50000 100000\n"}, 0.5),
        ({"sys/fs/cgroup/cpu.max": "nonsense\n"}, None),
        ({"sys/fs/cgroup/cpu.max": "1 0\n"}, None),
        # Version 2, a group inside a slice: the smaller limit of the two.
        (
            {
                "proc/self/cgroup": "0::/jobs/mine\n",
                "sys/fs/cgroup/jobs/cpu.max": "150000 100000\n",
                "sys/fs/cgroup/jobs/mine/cpu.max": "400000 100000\n",
            },
            1.5,
        ),
        # Version 1, in a container: the host's path, the container's own group at the top.
        (
            {
                "proc/self/cgroup": "4:memory:/box/1\n3:cpu,cpuacct:/box/1\n0::/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/memory/box/1/cpu.cfs_quota_us": "1\n",
                "sys/fs/cgroup/memory/box/1/cpu.cfs_period_us": "1\n",
            },
            2.0,
        ),
        # Version 1, on the host.
        (
            {
                "proc/self/cgroup": "3:cpu,cpuacct:/box\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us": "250000\n",
                "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us": "100000\n",
            },
            2.5,
        ),
        ({"proc/self/cgroup": "0::/../..\n"}, None),
    ],
)
def test_the_quota_of_the_control_groups(machine, files, quota):
    for path, text in files.items():
        machine(path, text)
    assert cores.group_quota() == quota
    assert cores.available_cores() == (8 if quota is None else max(1, int(np.ceil(quota))))


def test_a_quota_beyond_the_affinity_gives_no_more_cores(machine):
    machine("sys/fs/cgroup/cpu.max", "1600000 100000\n")
    assert cores.available_cores() == 8


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_a_process_held_to_one_core_uses_one_thread(monkeypatch):
    monkeypatch.delenv("FASTLSGD_NUM_THREADS", raising=False)
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert cores.resolve_threads(None, 8) == 1
    finally:
        os.sched_setaffinity(0, before)


def test_the_order_of_what_decides(machine, monkeypatch):
    assert cores.resolve_threads(None, 99) == 8
    assert cores.deciding().startswith("the cores")
    machine("sys/fs/cgroup/cpu.max", "600000 100000\n")
    assert cores.resolve_threads(None, 99) == 6
    with threadpoolctl.threadpool_limits(5, user_api="fastlsgd"):
        assert cores.resolve_threads(None, 99) == 5
        assert cores.deciding() == "threadpoolctl's limit is 5"
        monkeypatch.setenv("FASTLSGD_NUM_THREADS", "4")
        assert cores.resolve_threads(None, 99) == 4
        assert cores.deciding() == "FASTLSGD_NUM_THREADS is 4"
        with cores.threads_given(3):
            assert cores.resolve_threads(None, 99) == 3
            with cores.threads_given(None):
                assert cores.resolve_threads(None, 99) == 3
            assert cores.resolve_threads(2, 99) == 2
            assert cores.resolve_threads(None, 1) == 1
        assert cores.resolve_threads(None, 99) == 4
    monkeypatch.delenv("FASTLSGD_NUM_THREADS")
    assert cores.resolve_threads(None, 99) == 6
    assert cores.resolve_threads(10**6, 10**6) == _kernels.MAX_THREADS


@pytest.mark.parametrize("wrong", [0, -1, True, 1.0, "2"])
def test_a_wrong_number_of_threads_is_named(wrong):
    with pytest.raises((TypeError, ValueError), match=r"n_threads must be an int.*, got .*; None is all cores"):
        cores.resolve_threads(wrong, 8)


@pytest.mark.parametrize("wrong", ["0", "-1", "many", "1.5"])
def test_a_wrong_environment_is_named(wrong, problem, monkeypatch):
    monkeypatch.setenv("FASTLSGD_NUM_THREADS", wrong)
    with pytest.raises(ValueError, match=f"FASTLSGD_NUM_THREADS must be an int >= 1, got '{wrong}'"):
        fl.local_sgd(problem, **options())


def test_threads_follow_the_environment_and_never_exceed_the_workers(problem, monkeypatch):
    monkeypatch.setenv("FASTLSGD_NUM_THREADS", "3")
    assert fl.local_sgd(problem, **options()).trace.n_threads == 3
    assert fl.local_sgd(problem, **options(n_workers=2)).trace.n_threads == 2
    assert fl.local_sgd(problem, **options(n_threads=1)).trace.n_threads == 1


def test_threadpoolctl_sees_and_limits_the_threads(problem, monkeypatch):
    monkeypatch.delenv("FASTLSGD_NUM_THREADS", raising=False)
    ours = [lib for lib in threadpoolctl.threadpool_info() if lib["internal_api"] == "fastlsgd"]
    assert len(ours) == 1
    assert ours[0]["num_threads"] == cores.available_cores()
    with threadpoolctl.threadpool_limits(1):
        assert fl.local_sgd(problem, **options()).trace.n_threads == 1
        assert fl.local_sgd(problem, **options(n_threads=2)).trace.n_threads == 2
    assert fl.local_sgd(problem, **options()).trace.n_threads == min(4, cores.available_cores())


class _Asking:
    """A schedule that wants the objective, and asks the problem for more itself."""

    needs_objective = True

    def bind(self, problem, step_size, n_workers, n_steps):
        problem.gradient(np.zeros(problem.n_params))
        return self

    def next_periods(self, view):
        assert len(view.objective) >= 1
        return 5


def test_what_a_run_evaluates_for_its_schedule_uses_the_threads_of_the_run(monkeypatch):
    monkeypatch.setenv("FASTLSGD_NUM_THREADS", "2")
    problem = fl.Problem(*make_data("squared", n=20_000, d=3))
    used = []
    run_pass = problem_room.run_pass
    monkeypatch.setattr(problem_room, "run_pass", lambda work, n: used.append(n) or run_pass(work, n))
    for n_threads, expected in ((1, 1), (3, 3), (None, 2)):
        used.clear()
        fl.local_sgd(problem, **options(n_steps=15, schedule=_Asking(), n_threads=n_threads, record=0))
        assert used == [expected] * 4, n_threads  # bind, and three times the objective
    problem.objective(np.zeros(3))
    assert used[-1] == 2


def test_threads_given_hold_for_the_thread_that_was_given_them(monkeypatch):
    monkeypatch.setenv("FASTLSGD_NUM_THREADS", "2")
    seen = []
    with cores.threads_given(7):
        other = threading.Thread(target=lambda: seen.append(cores.resolve_threads(None, 99)))
        other.start()
        other.join()
    assert seen == [2]


def test_the_caches_are_read_where_the_system_shows_them(machine):
    assert cores.caches() == []
    for index, (level, kind, size) in enumerate(
        [("1", "Data", "48K"), ("1", "Instruction", "32K"), ("2", "Unified", "1024K")]
    ):
        for name, text in (("level", level), ("type", kind), ("size", size)):
            machine(f"sys/devices/system/cpu/cpu0/cache/index{index}/{name}", text + "\n")
    assert cores.caches() == ["L1 48K", "L2 1024K"]


def test_blas_has_its_threads_back_when_the_last_of_several_has_left():
    def n_threads():
        return {entry["num_threads"] for entry in threadpoolctl.threadpool_info() if entry["user_api"] == "blas"}

    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = n_threads()
        first, second = cores.one_blas_thread(3), cores.one_blas_thread(3)
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert n_threads() == {1}
        second.__exit__(None, None, None)
        assert n_threads() == before
        with cores.one_blas_thread(3):
            assert n_threads() == {1}
        with cores.one_blas_thread(10_000):
            assert n_threads() == before
