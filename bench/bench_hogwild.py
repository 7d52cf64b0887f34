"""Hogwild, asynchronous steps on one shared iterate, beside local SGD: time and accuracy after the same gradients."""

import ctypes
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from conftest import excess, ledger, limit_ns, skipped_if_missing

import fastlsgd as fl
from fastlsgd.benchmarks import problems
from fastlsgd.benchmarks.compiled import load


@cache
def kernel():
    function = load(Path(__file__).with_name("hogwild.c"), "-ffast-math").hogwild
    pointer, i64, c_float = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
    function.argtypes = [pointer, pointer, i64, i64, ctypes.c_int, c_float, c_float, pointer, pointer]
    function.restype = ctypes.c_double
    return function


def hogwild(problem, n_threads):
    """Return (the shared iterate, the mean of all iterates seen) after one pass."""
    w, sums = np.zeros(problem.n_params, np.float32), np.zeros((n_threads, problem.n_params))
    eta = problems.step(problem).eta
    seconds = kernel()(problem.X.ctypes.data, problem.y.ctypes.data, problem.n_samples, problem.n_params, n_threads,
                       eta, eta * problem.l2, w.ctypes.data, sums.ctypes.data)  # fmt: skip
    assert seconds > 0
    return w, sums.sum(axis=0) / problem.n_samples


@pytest.mark.parametrize("n_threads", [1, 2])
def bench_hogwild(benchmark, timed, problem, n_threads):
    with skipped_if_missing():
        kernel()
    w, w_bar = hogwild(problem, n_threads)
    problems.check_learned(problem, w_bar)
    if n_threads == 1:  # then it is serial SGD, which is ours with one worker
        run = fl.Run(problem, n_workers=1, step_size=problems.step(problem), partition="contiguous", record=0)
        assert excess(problem, w_bar) == pytest.approx(excess(problem, run.advance().w_bar), rel=0.5)
    benchmark.group = f"hogwild, {problem!r}"
    timed(lambda: hogwild(problem, n_threads), problem.n_samples, "gradient",
          limit_ns=limit_ns(problem, n_threads),
          **ledger(problem, 1, n_threads, "one shared iterate", 0),
          excess=excess(problem, w_bar), excess_w=excess(problem, w))  # fmt: skip


@pytest.mark.parametrize("period", [1, 16, 256], ids=lambda period: f"period{period}")
@pytest.mark.parametrize(("n_workers", "n_threads"), [(2, 2), (8, 2)])
def bench_local_sgd(benchmark, timed_pass, problem, n_workers, n_threads, period):
    """At the same step size: averaging removes noise of the steps, and P workers have n / P steps to go as far."""
    work = timed_pass(
        problem, n_workers=n_workers, n_threads=n_threads, schedule=fl.FixedPeriod(period), group="hogwild"
    )
    benchmark.extra_info |= {"excess": excess(problem, work.run.w_bar), "excess_w": excess(problem, work.run.w)}
