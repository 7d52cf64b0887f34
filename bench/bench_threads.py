"""Threads on a quiet machine, and with a busy process pinned to one core: the load that breaks plain barriers."""

import contextlib

import pytest
from conftest import ledger, limit_ns, skipped_if_missing

import fastlsgd as fl
from fastlsgd.benchmarks import problems
from fastlsgd.benchmarks.timing import BusyCore, Pass


@pytest.fixture(scope="module")
def busy_core():
    with skipped_if_missing():
        core = BusyCore()
    yield core
    core.close()


@pytest.mark.parametrize("load", ["quiet", "busy"])
@pytest.mark.parametrize("period", [16, 256], ids=lambda period: f"period{period}")
@pytest.mark.parametrize(("n_workers", "n_threads"), [(8, 1), (2, 2), (8, 2), (8, 8)])
def bench_threads(timed, busy_core, small, n_workers, n_threads, period, load):
    problem = problems.logistic(100, small=small)
    n_steps = (2 if small else 20) * problem.n_samples // n_workers
    work = Pass(
        problem, n_workers=n_workers, n_threads=n_threads, n_steps=n_steps, schedule=fl.FixedPeriod(period)
    ).check()
    with busy_core.at_work() if load == "busy" else contextlib.nullcontext():
        timed(work.seconds, work.n_gradients, "gradient", load=load,
              limit_ns=limit_ns(problem, work.run.trace.n_threads),
              **ledger(problem, n_workers, n_threads, work.run.schedule, work.n_rounds))  # fmt: skip
