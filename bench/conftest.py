"""What the benchmarks share. FASTLSGD_BENCH_SIZE=small shrinks data and repeats so that CI can run every one."""

import os
from contextlib import contextmanager

import numpy as np
import pytest

import fastlsgd as fl
from fastlsgd.benchmarks import limits, problems
from fastlsgd.benchmarks.compiled import Missing
from fastlsgd.benchmarks.timing import Pass
from fastlsgd.cores import available_cores
from fastlsgd.trace import allreduce_bytes

SIZES = ("full", "small")
SIZE = os.environ.get("FASTLSGD_BENCH_SIZE", "full")
if SIZE not in SIZES:
    raise pytest.UsageError(f"FASTLSGD_BENCH_SIZE must be one of {', '.join(SIZES)}, got {SIZE!r}")
SMALL = SIZE == "small"


@contextmanager
def skipped_if_missing():
    """Skip what this machine cannot measure, with the reason; CI has a compiler and two cores, so there it fails."""
    try:
        yield
    except Missing as reason:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(reason))


ROUNDS = 3 if SMALL else 9


@pytest.fixture(scope="session")
def small():
    return SMALL


@pytest.fixture(params=[20, 100, 1_000], ids=lambda d: f"d{d}")
def problem(request):
    return problems.logistic(request.param, small=SMALL)


@pytest.fixture(params=fl._kernels.isas())
def isa(request):
    """Each instruction set that this processor has, in turn."""
    before = fl._kernels.isa()
    fl._kernels.use_isa(request.param)
    yield request.param
    fl._kernels.use_isa(before)


LEDGER = {"n_workers", "n_threads", "schedule", "n_rounds", "n_bytes"}


def ledger(problem, n_workers, n_threads, schedule, n_rounds):
    """Return what every benchmark of gradients carries beside its times, as extra for ``timed``."""
    a_round = allreduce_bytes(n_workers, problem.n_params, problem.dtype.itemsize)
    return {
        "n_workers": n_workers,
        "n_threads": n_threads,
        "schedule": schedule if isinstance(schedule, str) else repr(schedule),
        "n_rounds": n_rounds,
        "n_bytes": n_rounds * a_round,
    }


@pytest.fixture
def timed(benchmark):
    """Call timed(function, n, unit, **extra): times calls, and says what one of their n units took.

    Of gradients also how many a second there are; the extra they need is a ``ledger``.
    """

    def run(function, n, unit, *, rounds=ROUNDS, limit_ns=None, **extra):
        if unit == "gradient" and not extra.keys() >= LEDGER:
            raise TypeError(f"a benchmark of gradients carries a ledger: {', '.join(sorted(LEDGER - extra.keys()))}")
        benchmark.pedantic(function, rounds=rounds, warmup_rounds=rounds > 1)
        if benchmark.stats is None:  # --benchmark-disable: it has run once
            return
        stats = benchmark.stats.stats
        least, middle = 1e9 * stats.min / n, 1e9 * stats.median / n
        fraction = {} if limit_ns is None else {"fraction_of_limit": limit_ns / least}
        if unit == "gradient":
            extra["gradients_per_s"] = 1e9 / least
        benchmark.extra_info.update(fraction | {f"ns_a_{unit}_min": least, f"ns_a_{unit}_median": middle} | extra)

    return run


@pytest.fixture
def timed_pass(benchmark, timed):
    """Call timed_pass(problem, **options of Run): checks the bits, then times whole passes from the same state."""

    def run(problem, *, group="local SGD", **options):
        work = Pass(problem, **options).check()
        run = work.run
        benchmark.group = f"{group}, {problem!r}"
        timed(
            work.seconds,
            work.n_gradients,
            "gradient",
            limit_ns=limit_ns(problem, run.trace.n_threads, run.batch_size, stored_share(run)),
            **ledger(problem, run.n_workers, run.trace.n_threads, run.schedule, work.n_rounds),
        )
        return work

    return run


_streams: dict[tuple[int, int], float] = {}


def stored_share(run):
    """Return the bytes of the rows that a run reads, in those of the problem's."""
    return run.trace.n_copied_bytes / (run.problem.X.nbytes + run.problem.y.nbytes) if run.storage else 1.0


def limit_ns(problem, n_threads, batch_size=1, share=1.0):
    """Return the nanoseconds a gradient cannot go under: reading its row, or its arithmetic; nan without a compiler.

    The row, share of its bytes, at the rate at which n_threads threads read these rows; the arithmetic at the rate of
    the vectors that the kernels use on as many cores.
    """
    try:
        flops = problem.n_features * limits.flops_a_feature(batch_size)
        arithmetic_s = flops / (peak(problem.dtype.itemsize) * on_cores(n_threads))
        return 1e9 * max(share * row_s(problem, n_threads), arithmetic_s)
    except Missing:
        return float("nan")


def pass_limit_ns(problem, n_threads, flops):
    """Return the nanoseconds a row cannot go under in a pass in float64 of so many operations an entry."""
    try:
        entries = problem.n_entries / problem.n_samples if problem.is_sparse else problem.n_features
        arithmetic_s = flops * entries / (peak(8) * on_cores(n_threads))
        return 1e9 * max(row_s(problem, n_threads), arithmetic_s)
    except Missing:
        return float("nan")


def row_s(problem, n_threads):
    """Return the seconds in which n_threads threads read a row and its label, at their rate for all rows."""
    key = (repr(problem), str(problem.X.indices.dtype) if problem.is_sparse else "", n_threads)
    if key not in _streams:
        X = problem.X
        arrays = [X.data, X.indices] if problem.is_sparse else [X]
        read_s = sum(limits.read_s(whole_words(array), on_cores(n_threads), best_of=10) for array in arrays)
        n_bytes = sum(array.nbytes for array in arrays)
        _streams[key] = read_s / problem.n_samples * (1 + problem.y.nbytes / n_bytes)
    return _streams[key]


def whole_words(array):
    """Return the array without what its last bytes are beyond words of 64 bits."""
    flat = array.reshape(-1)
    return flat[: flat.nbytes // 8 * 8 // flat.itemsize]


def on_cores(n_threads):
    return min(n_threads, available_cores())


def peak(itemsize):
    """Return the operations a second of one core with the kernels' vectors of numbers so wide."""
    return _once("peak", lambda: limits.peak_flops(v_bytes(), itemsize=itemsize), itemsize)


def words_ns(dtype):
    """Return the nanoseconds of the words that a normal takes, on one core; nan where they cannot be measured."""
    n_words = np.dtype(dtype).itemsize // 4
    try:
        return n_words * 1e9 * _once("words", lambda: limits.words_s(v_bytes()))
    except Missing:
        return float("nan")


def cached_step_ns(stream, n_workers):
    """Return the nanoseconds of a step on rows of the stream that lie in the second cache; workers on one core.

    The same loss and step on rows made beforehand, packed, one-shot: what a shard takes beyond half of it, which
    leaves out how a run begins.
    """

    def measure():
        a_shard = max(4, CACHED_BYTES // (stream.n_features * stream.dtype.itemsize * n_workers)) // 2 * 2
        problem = fl.Problem(*stream.sample(n_workers * a_shard), loss=stream.loss)
        run = {"n_workers": n_workers, "n_threads": 1, "schedule": fl.OneShot(),
               "step_size": fl.Constant(stream.safe_step() / 2)}  # fmt: skip
        half, whole = (Pass(problem, n_steps=n, **run).check() for n in (a_shard // 2, a_shard))
        took = [min(work.seconds() for _ in range(300)) for work in (half, whole)]
        return 1e9 * (took[1] - took[0]) / half.n_gradients

    return _once("step", measure, repr(stream), n_workers)


CACHED_BYTES = 1 << 19


def v_bytes():
    return limits.VECTOR_BYTES.get(fl._kernels.isa(), 16)


def _once(what, measure, *which):
    key = (what, fl._kernels.isa(), *which)
    if key not in _measured:
        _measured[key] = measure()
    return _measured[key]


_measured: dict[tuple, float] = {}


def excess(problem, w):
    """Return how far F(w) is above the optimum."""
    return float(problem.objective(w) - problem.objective(problem.optimum()))


@pytest.fixture(scope="session")
def iterates():
    return lambda problem, m: np.random.default_rng(1).standard_normal((m, problem.n_params)) / 10


def pytest_terminal_summary(terminalreporter, config):
    """Show what pytest-benchmark's table has no column for: first of all the fraction of the limit."""
    session = getattr(config, "_benchmarksession", None)
    rows = [bench for bench in getattr(session, "benchmarks", ()) if bench.extra_info]
    if not rows or session.disabled:
        return
    terminalreporter.section(f"of the limit; min and median of what one takes (size {SIZE})")
    for bench in rows:
        info = bench.extra_info
        fraction = info.get("fraction_of_limit", info.get("fraction_of_promise"))
        unit = next((key[5:-4] for key in info if key.startswith("ns_a_") and key.endswith("_min")), None)
        times = (
            ""
            if unit is None
            else f"{info[f'ns_a_{unit}_min']:12.2f} {info[f'ns_a_{unit}_median']:12.2f} ns a {unit}"
        )
        reached = f"  excess {info['excess']:.2e}" if "excess" in info else ""
        reached += f"  ({info['setting']})" if "setting" in info else ""
        shown = "     -" if fraction is None else f"{fraction:6.2f}"
        terminalreporter.write_line(f"{shown} {times}  {bench.name}{reached}")
