"""The trade-off: every schedule on the same problem with the same gradients and step; what it costs and reaches."""

import pytest
from conftest import excess

import fastlsgd as fl
from fastlsgd.benchmarks import problems

SCHEDULES = (
    fl.MiniBatch(),
    fl.FixedPeriod(4),
    fl.FixedPeriod(16),
    fl.FixedPeriod(64),
    fl.FixedPeriod(256),
    fl.GrowingPeriod(4),
    fl.PostLocal(1_000, 64),
    fl.AdaptivePeriod(0.1),  # of the order of the smallest eigenvalue here
    fl.OneShot(),
)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def bench_schedules(benchmark, timed_pass, small, schedule):
    problem = problems.logistic(100, small=small)
    work = timed_pass(problem, n_workers=8, schedule=schedule)
    reached = excess(problem, work.run.w_bar)
    assert 0 < reached < excess(problem, work.run.w * 0.0)
    benchmark.extra_info["excess"] = reached
