"""Rows stored as bfloat16: what they save, and what the rounding costs on the original data."""

import pytest

import fastlsgd as fl
from fastlsgd import theory
from fastlsgd.benchmarks import problems


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("batch_size", [1, 32])
@pytest.mark.parametrize("storage", [None, "bf16"])
def bench_rows_stored_as_bfloat16(timed_pass, problem, storage, batch_size, n_threads):
    """The same passes on both, packed; the bits are those of the run on the rounded problem."""
    options = {"n_threads": n_threads, "batch_size": batch_size, "schedule": fl.FixedPeriod(256)}
    timed_pass(problem, **options, storage=storage)


@pytest.mark.parametrize("d", [100, 1_000])
def bench_what_the_rounding_costs(benchmark, small, d):
    """The excess of the rounded problem's optimum on the original data, beside the statistical floor."""
    problem = problems.logistic(d, small=small)
    rounded = benchmark.pedantic(problem.rounded, rounds=1)
    excess, floor = problem.excess(rounded.optimum()), theory.estimate(problem).floor
    if not problem.excess_resolution() < excess < 1e-3 * floor:
        raise RuntimeError(f"rounding costs {excess:g} of excess, the statistical floor is {floor:g}")
    benchmark.extra_info.update(excess=excess, statistical_floor=floor, of_the_floor=excess / floor)
