"""Limits: what this machine can do at best, so that every speed can be read as a fraction.

Read bandwidth by working set and threads, a barrier of two threads, arithmetic without fused operations, the bare
loop of a step on sparse rows, the latency of one step's chain, and the words of fresh rows. Every function checks
what its loop computed before it believes the clock, and returns the best of several short repeats: other processes
can only add time.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from .compiled import Missing, load

# Bytes of a vector of each instruction set the kernels are compiled for.
VECTOR_BYTES = {"baseline": 16, "avx2": 32, "avx512": 64}


def flops_a_feature(batch_size: int) -> float:
    """Return the operations of a gradient for each feature of its row, the running average included.

    The row's margin and its share of the update are 2 each; shrinking, stepping and averaging are 3 a step (and one
    more for a batch, whose update is a vector of its own).
    """
    return 7.0 if batch_size == 1 else 4.0 + 4.0 / batch_size


@cache
def _library() -> ctypes.CDLL:
    library = load(Path(__file__).with_name("limits.c"))
    c_int, c_float, i64, pointer = ctypes.c_int, ctypes.c_float, ctypes.c_int64, ctypes.c_void_p
    double, u64 = ctypes.c_double, ctypes.c_uint64
    signatures = {
        "limit_read": [pointer, ctypes.c_size_t, c_int, i64, ctypes.POINTER(u64)],
        "limit_barrier": [i64, ctypes.POINTER(i64)],
        "limit_peak": [c_int, c_int, i64, double, double, ctypes.POINTER(double)],
        "limit_sparse": [pointer, pointer, pointer, i64, i64, c_int, pointer, pointer, pointer],
        "limit_chain": [c_int, i64, c_int, pointer, c_float, c_float, pointer],
        "limit_words": [c_int, i64, u64, ctypes.POINTER(u64)],
    }
    for name, arguments in signatures.items():
        if hasattr(library, name):  # the last two need the kernels' headers
            getattr(library, name).argtypes = arguments
            getattr(library, name).restype = ctypes.c_double
    return library


def _from_headers(name: str, what: str) -> Any:
    """Return a function that is compiled from the kernels' headers, where they are."""
    if not hasattr(_library(), name):
        raise Missing(f"{what} compiled from the kernels' headers, which only a checkout has")
    return getattr(_library(), name)


def _checked(right: bool, what: str) -> None:
    if not right:
        raise RuntimeError(f"the limit {what} computed something wrong, so its time means nothing")


def _took(seconds: float, what: str) -> float:
    if seconds < 0:
        raise Missing(f"{what} cannot be measured on this machine")
    return seconds


def words_sum(array: np.ndarray) -> int:
    """Return the sum of the array's memory as 64-bit words, modulo 2^64: what reading it must give."""
    return int(array.reshape(-1).view(np.uint64).sum(dtype=np.uint64))


def read_s(
    array: np.ndarray, n_threads: int, *, repeats: int = 1, best_of: int = 3, total: int | None = None
) -> float:
    """Return the seconds that n_threads threads take to read the array's memory once, each its own part.

    Parameters
    ----------
    array : ndarray, C order, a whole number of 8-byte words
    repeats : int
        Readings inside one timing, for arrays too small to be timed once.
    best_of : int
        Timings, of which the best is returned.
    total : int or None
        ``words_sum(array)``, where the caller knows it.

    Raises
    ------
    Missing
        No C compiler, or the threads cannot be started.
    """
    total = words_sum(array) if total is None else total
    best, got = np.inf, ctypes.c_uint64()
    for _ in range(best_of):
        seconds = _library().limit_read(array.ctypes.data, array.nbytes, n_threads, repeats, ctypes.byref(got))
        best = min(best, _took(seconds, f"reading by {n_threads} threads"))
        _checked(got.value == total * repeats % 2**64, "read")
    return best / repeats


def cache_sweep(largest_bytes: int = 1 << 32, n_threads: tuple[int, ...] = (1, 2)) -> list[dict[str, float]]:
    """Return the read bandwidth over working sets of 32 KB, 64 KB, ... largest_bytes: rows of n_bytes and gb_s_N.

    The largest set is cut to a quarter of the memory that is free.
    """
    largest = min(largest_bytes, available_bytes() // 4)
    words = np.arange(largest // 8, dtype=np.uint64)
    rows, n_bytes = [], 1 << 15
    while n_bytes <= largest:
        part = words[: n_bytes // 8]
        total = len(part) * (len(part) - 1) // 2 % 2**64
        # Many timings, each of a millisecond or two where that is enough: the best of them met no other process.
        repeats, best_of = max(1, (1 << 27) // n_bytes), 40 if n_bytes <= 1 << 27 else 5
        row = {"n_bytes": float(n_bytes)}
        for n in n_threads:
            seconds = read_s(part, n, repeats=repeats, best_of=best_of, total=total)
            row[f"gb_s_{n}"] = n_bytes / seconds / 1e9
        rows.append(row)
        n_bytes *= 2
    return rows


def barrier_s(n: int = 200, *, best_of: int = 300) -> float:
    """Return the seconds of a barrier of two threads that do nothing else: each stores, and waits for the other.

    Raises
    ------
    Missing
        No C compiler, or fewer than two cores: two threads on one core do not meet by spinning.
    """
    from ..cores import available_cores

    if available_cores() < 2:
        raise Missing("a barrier of two threads needs two cores")
    best, wrong = np.inf, ctypes.c_int64()
    for _ in range(best_of):
        best = min(best, _took(_library().limit_barrier(n, ctypes.byref(wrong)), "a barrier"))
        _checked(wrong.value == 0, "barrier")
    return best / n


def peak_flops(v_bytes: int, *, itemsize: int = 4, best_of: int = 10) -> float:
    """Return the operations a second of one core: a multiplication and an addition each, never fused.

    Parameters
    ----------
    v_bytes : 16, 32 or 64
        Bytes of a vector: those of the baseline, of AVX2, of AVX-512.
    itemsize : 4 or 8
        Bytes of a number: float32 or float64.

    Raises
    ------
    Missing
        The processor has no such vectors, or there is no C compiler.
    """
    library, sum_ = _library(), ctypes.c_double()
    entries, n = 14 * v_bytes // itemsize, 200_000
    # x <- x/2 + 1 from 0: 2 - 2^-9 after ten steps, exactly, and 2 in the end.
    seconds = library.limit_peak(v_bytes, itemsize == 4, 10, 0.5, 1.0, ctypes.byref(sum_))
    _took(seconds, f"arithmetic on {v_bytes}-byte vectors")
    _checked(sum_.value == entries * (2.0 - 2.0**-9), "peak")
    best = min(library.limit_peak(v_bytes, itemsize == 4, n, 0.5, 1.0, ctypes.byref(sum_)) for _ in range(best_of))
    _checked(sum_.value == entries * 2.0, "peak")
    return 2.0 * entries * n / best


def sparse_s(X: Any, n_threads: int, *, best_of: int = 5) -> float:
    """Return the seconds of a bare loop over CSR rows: it reads v at a row's columns, adds to v and to u there.

    The pattern is that of X, the entries are their signs, so that every sum is exact; v is float32, u float64, and
    each thread has its own and its own rows. No loss, no average, no check of a column: no step takes less.

    Parameters
    ----------
    X : csr_matrix or csr_array, no column twice in a row and no zero stored
    n_threads : int

    Raises
    ------
    Missing
        No C compiler, or the threads cannot be started.
    """
    (n_rows, d), signs = X.shape, np.where(X.data > 0, np.float32(1), np.float32(-1))
    indptr, indices = X.indptr.astype(np.int32), X.indices.astype(np.int32)
    sums, best, kept = np.empty(n_threads), np.inf, []
    of_columns, of_margins = np.empty((n_threads, d)), np.empty(n_threads)
    for i in range(n_threads):
        part = slice(*indptr[[n_rows * i // n_threads, n_rows * (i + 1) // n_threads]])
        of_columns[i] = np.bincount(indices[part], signs[part], d)
        # Each row's margin is with the sum of the rows before it, and |x|^2 the number of its entries.
        of_margins[i] = (of_columns[i] @ of_columns[i] - (part.stop - part.start)) / 2
    for _ in range(best_of):
        # Other memory each time: which pages they are decides what stays in the second cache.
        v, u = np.full((n_threads, d), 0.0, np.float32), np.full((n_threads, d), 0.0)
        kept.append((v, u))
        arrays = (array.ctypes.data for array in (indptr, indices, signs))
        seconds = _library().limit_sparse(
            *arrays, n_rows, d, n_threads, v.ctypes.data, u.ctypes.data, sums.ctypes.data
        )
        best = min(best, _took(seconds, f"steps on sparse rows by {n_threads} threads"))
        right = np.array_equal(v, of_columns) and np.array_equal(u, of_columns) and np.array_equal(sums, of_margins)
        _checked(right, "sparse")
    return best


def chain_s(v_bytes: int, width: int = 1, *, n: int = 20_000, best_of: int = 10) -> float:
    """Return the seconds of one logistic step of 32 features with everything in registers: no step takes less.

    Reduction, sigmoid, broadcast and update in the package's own lanes and arithmetic: the iterates are those of a
    run on that row, bit for bit. With width 4, four workers in lockstep, and the seconds of a step of one of them.

    Raises
    ------
    Missing
        An installed package without the kernels' headers, no C compiler, or no such vectors.
    """
    chain = _from_headers("limit_chain", "the latency chain is")
    row, eta, l2 = chain_row(), 0.125, 0.0625
    w = np.zeros((width, row.size), np.float32)
    best = np.inf
    for _ in range(best_of):
        seconds = chain(v_bytes, n, width, row.ctypes.data, eta, eta * l2, w.ctypes.data)
        best = min(best, _took(seconds, f"the chain on {v_bytes}-byte vectors"))
    _checked(np.array_equal(w, np.tile(_chain_result(n, eta, l2), (width, 1))), "chain")
    return best / (n * width)


def chain_row() -> np.ndarray:
    """Return the row of the latency chain, float32, shape (32,); its label is 1."""
    return (np.arange(1, 33, dtype=np.float32) / 32).astype(np.float32)


@cache
def _chain_result(n: int, eta: float, l2: float) -> np.ndarray:
    from ..problem import Problem
    from ..solver import Run
    from ..stepsizes import Constant

    problem = Problem(chain_row()[None, :], np.ones(1, np.float32), loss="logistic", l2=l2)
    run = Run(problem, n_workers=1, n_steps=n, step_size=Constant(eta), average=None, record=0)
    return run.advance().w


def words_s(v_bytes: int, *, n: int = 4_000, best_of: int = 10) -> float:
    """Return the seconds of a random word of 32 bits: Philox as fresh rows draw it, and nothing made of its words.

    A normal takes one of them in float32 and two in float64.

    Parameters
    ----------
    v_bytes : 16, 32 or 64
        Bytes of a vector: those of the baseline, of AVX2, of AVX-512.
    n : int
        Chunks of 64 words in one timing.

    Raises
    ------
    Missing
        An installed package without the kernels' headers, no C compiler, or no such vectors.
    """
    words = _from_headers("limit_words", "the words are")
    best, sum_ = np.inf, ctypes.c_uint64()
    for _ in range(best_of):
        seconds = words(v_bytes, n, WORDS_SEED, ctypes.byref(sum_))
        best = min(best, _took(seconds, f"words on {v_bytes}-byte vectors"))
        _checked(sum_.value == _words_result(n), "words")
    return best / (64 * n)


WORDS_SEED = 12345


@cache
def _words_result(n: int) -> int:
    """The sum of the words: Philox4x32 in NumPy, eight rounds; worker 0, the purpose of a stream's features."""
    low, shift = np.uint64(2**32 - 1), np.uint64(32)
    numbers = np.arange(16 * n, dtype=np.uint64)
    c0, c1 = numbers & low, numbers >> shift
    c2, c3 = np.zeros_like(numbers), np.full_like(numbers, 0xFFFFFFF0)
    for turn in range(8):
        k0, k1 = WORDS_SEED + turn * 0x9E3779B9, turn * 0xBB67AE85
        a, b = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1 = (b >> shift) ^ c1 ^ np.uint64(k0 % 2**32), b & low
        c2, c3 = (a >> shift) ^ c3 ^ np.uint64(k1 % 2**32), a & low
    return int((c0 + (c1 << shift) + c2 + (c3 << shift)).sum(dtype=np.uint64))


def available_bytes() -> int:
    """Return the bytes of memory that are free for a new array."""
    try:
        with open("/proc/meminfo") as file:
            lines = dict(line.split(":") for line in file)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):  # not Linux
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
