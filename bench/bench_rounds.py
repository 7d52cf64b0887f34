"""What averaging often costs: workers by period, at most two threads, nothing recorded."""

import contextlib

import pytest

import fastlsgd as fl
from fastlsgd.benchmarks import limits, problems
from fastlsgd.benchmarks.compiled import Missing
from fastlsgd.team import whole_team


@pytest.mark.parametrize("period", [1, 4, 16, 64, 256, None], ids=lambda period: f"period{period or '-all'}")
@pytest.mark.parametrize("n_workers", [2, 8, 64, 1024], ids=lambda n: f"P{n}")
@pytest.mark.parametrize("d", [20, 100], ids=lambda d: f"d{d}")
@pytest.mark.parametrize("team", ["as-many-as-pay", "both"])
def bench_rounds(benchmark, timed_pass, small, d, n_workers, period, team):
    """How many threads pay is the package's choice; both: two, whatever it costs."""
    schedule = fl.FixedPeriod(period) if period else fl.OneShot()
    with whole_team() if team == "both" else contextlib.nullcontext():
        work = timed_pass(problems.logistic(d, small=small), n_workers=n_workers, schedule=schedule)
    if benchmark.stats is not None:
        a_round_ns = 1e9 * benchmark.stats.stats.min / work.n_rounds
        benchmark.extra_info["ns_a_round_min"] = a_round_ns
        try:
            benchmark.extra_info["barriers_a_round"] = a_round_ns / (1e9 * limits.barrier_s())
        except Missing as reason:
            benchmark.extra_info["barriers_a_round"] = str(reason)
