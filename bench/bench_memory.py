"""What a run adds to memory, layout by layout, in a process of its own; the time is not the point."""

import pytest
from conftest import skipped_if_missing

from fastlsgd.benchmarks import memory


@pytest.mark.parametrize("n_workers", [8, 1024], ids=lambda n: f"P{n}")
@pytest.mark.parametrize("layout", memory.LAYOUTS)
def bench_memory(benchmark, small, layout, n_workers):
    n_samples = 50_000 if small else 1_000_000
    with skipped_if_missing():
        growth = benchmark.pedantic(memory.measure, args=(layout, n_samples, 100, n_workers), rounds=1)
    assert growth.grown <= growth.promised
    benchmark.extra_info.update(
        fraction_of_promise=growth.grown / growth.promised,
        n_bytes=growth.grown,
        data_bytes=growth.data,
        layout=layout,
    )
