"""The step loop: one thing varied at a time around two workers on two threads, packed rows, period 256."""

import pytest

import fastlsgd as fl
from fastlsgd.benchmarks import problems

PERIOD = fl.FixedPeriod(256)


@pytest.mark.parametrize("n_workers", [1, 2, 4, 8])
def bench_one_thread(timed_pass, problem, n_workers):
    """Several workers on one thread go in lockstep where that pays."""
    timed_pass(problem, n_workers=n_workers, n_threads=1, schedule=PERIOD)


@pytest.mark.parametrize("n_workers", [2, 8])
def bench_two_threads(timed_pass, problem, n_workers):
    timed_pass(problem, n_workers=n_workers, schedule=PERIOD)


@pytest.mark.parametrize("batch_size", [1, 4, 32])
@pytest.mark.parametrize("d", [32, 100])
def bench_batches(timed_pass, small, d, batch_size):
    timed_pass(problems.logistic(d, small=small), batch_size=batch_size, schedule=PERIOD)


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize(
    "options",
    [
        {"layout": "view"},
        {"layout": "packed", "epoch": 2},
        {"layout": "view", "sampling": "replacement"},
        {"layout": "view", "sampling": "blocks"},
        {"layout": "packed", "average": None},
    ],
    ids=lambda options: "-".join(str(value) for value in options.values()),
)
def bench_how_rows_are_visited(timed_pass, problem, options, n_threads):
    """Packed rows in order are the others' limit."""
    timed_pass(problem, n_threads=n_threads, schedule=PERIOD, **options)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", ["squared", "logistic"])
@pytest.mark.parametrize("d", [20, 100])
def bench_types_and_losses(timed_pass, small, d, loss, dtype):
    timed_pass(problems.logistic(d, small=small, dtype=dtype, loss=loss), n_threads=1, schedule=PERIOD)
