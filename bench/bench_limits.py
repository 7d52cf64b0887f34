"""What the machine can do at best: the denominators of all other benchmarks. Each loop checks its own result."""

from statistics import median

import numpy as np
import pytest
from conftest import ROUNDS, skipped_if_missing

from fastlsgd import _kernels
from fastlsgd.benchmarks import limits, problems


def or_skip(function, *arguments, **options):
    with skipped_if_missing():
        return function(*arguments, **options)


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("mib", [0.03125, 0.5, 8, 256])
def bench_read_stream(benchmark, timed, small, mib, n_threads):
    words = np.arange(int((min(mib, 8) if small else mib) * (1 << 20)) // 8, dtype=np.uint64)
    total = limits.words_sum(words)
    repeats = max(1, (1 << 22) // words.nbytes)
    or_skip(limits.read_s, words, n_threads, total=total)
    timed(lambda: limits.read_s(words, n_threads, repeats=repeats, best_of=1, total=total),
          repeats * words.nbytes, "byte", n_threads=n_threads, n_bytes=words.nbytes)  # fmt: skip
    benchmark.extra_info["gb_s"] = words.nbytes / limits.read_s(words, n_threads, repeats=repeats, total=total) / 1e9


def bench_barrier(benchmark, timed):
    or_skip(limits.barrier_s, 200, best_of=2)
    timed(lambda: limits.barrier_s(20_000, best_of=1), 20_000, "barrier", n_threads=2)
    benchmark.extra_info["ns"] = 1e9 * limits.barrier_s()


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize("v_bytes", [16, 32])
def bench_latency_chain(benchmark, timed, v_bytes, width):
    or_skip(limits.chain_s, v_bytes, width, best_of=1)
    timed(lambda: limits.chain_s(v_bytes, width, best_of=1), 20_000 * width, "step", n_workers=width)
    benchmark.extra_info["ns"] = 1e9 * limits.chain_s(v_bytes, width)


@pytest.mark.parametrize("n_threads", [1, 2])
def bench_steps_on_sparse_rows(benchmark, small, n_threads):
    X = problems.csr(small=small).X
    ns = []  # the loop's own: to check what it computed takes longer
    benchmark.pedantic(lambda: ns.append(1e9 * or_skip(limits.sparse_s, X, n_threads) / X.shape[0]), rounds=ROUNDS)
    benchmark.extra_info.update(ns_a_row_min=min(ns), ns_a_row_median=median(ns), n_threads=n_threads)


V_BYTES = [limits.VECTOR_BYTES[isa] for isa in _kernels.isas()]


@pytest.mark.parametrize("v_bytes", V_BYTES)
def bench_words(benchmark, timed, v_bytes):
    or_skip(limits.words_s, v_bytes, best_of=1)
    timed(lambda: limits.words_s(v_bytes, best_of=1), 64 * 4_000, "word")
    benchmark.extra_info["ns"] = 1e9 * limits.words_s(v_bytes)


@pytest.mark.parametrize("itemsize", [4, 8], ids=["float32", "float64"])
@pytest.mark.parametrize("v_bytes", V_BYTES)
def bench_arithmetic_peak(benchmark, timed, v_bytes, itemsize):
    or_skip(limits.peak_flops, v_bytes, itemsize=itemsize, best_of=1)
    n = 200_000 * 28 * v_bytes // itemsize
    timed(lambda: limits.peak_flops(v_bytes, itemsize=itemsize, best_of=1), n, "operation")
    benchmark.extra_info["gflop_s"] = limits.peak_flops(v_bytes, itemsize=itemsize) / 1e9
