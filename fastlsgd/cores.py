"""How many threads a call may use, and why.

The argument n_threads; else what a run around the call was given; else FASTLSGD_NUM_THREADS; else the limit that
threadpoolctl has set; else the cores: those of the affinity mask, at most the quota of the control groups.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import threadpoolctl

from . import _kernels
from .scalars import whole

# Up to so many parameters a second BLAS thread costs more than it brings (the Hessian of 261,877 x 58 on two
# cores: 0.07 s on one thread, 0.14 to 0.25 s on two).
ONE_BLAS_THREAD = 256
# Where control groups are found; tests put a folder of their own here.
ROOT = Path("/")

_given: ContextVar[int | None] = ContextVar("fastlsgd n_threads", default=None)


def resolve_threads(n_threads: Any, n_workers: int) -> int:
    """Return how many threads a call uses, at most n_workers (the pieces its work falls into).

    Raises
    ------
    ValueError
        n_threads, or FASTLSGD_NUM_THREADS if that decides, is not an int >= 1.
    """
    if n_threads is None:
        n_threads = _given.get() or from_environment() or _kernels.thread_limit() or available_cores()
    n_threads = whole("n_threads", n_threads, hint="; None is all cores")
    return min(n_threads, n_workers, _kernels.MAX_THREADS)


@contextmanager
def threads_given(n_threads: int | None) -> Iterator[None]:
    """Have n_threads=None mean this many inside: what a run evaluates uses the run's threads."""
    token = _given.set(n_threads if n_threads is not None else _given.get())
    try:
        yield
    finally:
        _given.reset(token)


def from_environment() -> int | None:
    """Return FASTLSGD_NUM_THREADS, None if it is not set."""
    text = os.environ.get("FASTLSGD_NUM_THREADS", "")
    if not text:
        return None
    if not text.strip().isdecimal() or int(text) < 1:
        raise ValueError(f"FASTLSGD_NUM_THREADS must be an int >= 1, got {text!r}")
    return int(text)


def deciding() -> str:
    """Return in words what n_threads=None goes by here and now."""
    if from_environment():
        return f"FASTLSGD_NUM_THREADS is {from_environment()}"
    if _kernels.thread_limit():
        return f"threadpoolctl's limit is {_kernels.thread_limit()}"
    return "the cores; FASTLSGD_NUM_THREADS is not set, threadpoolctl sets no limit"


def available_cores() -> int:
    """Return the cores this process may use: its affinity, at most the quota of its control groups, rounded up."""
    cores, quota = affinity(), group_quota()
    return cores if quota is None else min(cores, max(1, -int(-quota // 1)))


def affinity() -> int:
    """Return the number of cores that the calling thread may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS has no affinity
        return os.cpu_count() or 1


@functools.cache  # asked by every pass over the data, and read from many small files
def group_quota() -> float | None:
    """Return the processor time, in cores, that this process's control groups allow; None without a limit.

    A group's limit holds for all groups inside it, so the smallest on the way up counts. Version 2 writes
    "quota period" in cpu.max, version 1 has a file for each.
    """
    quotas = [quota for folder in _groups() if (quota := _quota_in(folder)) is not None]
    return min(quotas, default=None)


def _groups() -> Iterator[Path]:
    """Yield the folders of this process's control groups, each with all above it."""
    top = ROOT / "sys/fs/cgroup"
    try:
        lines = (ROOT / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    # In a container the path may be the host's while the container's own group is mounted at the top.
    yield from (top, top / "cpu", top / "cpu,cpuacct")
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        group = top / controllers / path.lstrip("/")
        while group != top and top in group.parents:
            yield group
            group = group.parent


def _quota_in(folder: Path) -> float | None:
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        return int(quota) / int(period) if quota not in ("max", "-1") else None
    except (OSError, ValueError, ZeroDivisionError):
        return None


def caches() -> list[str]:
    """Return the data caches of the first core, such as "L2 1024K", first level first; nothing where unknown."""
    found = []
    for folder in sorted((ROOT / "sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            level, kind, size = ((folder / name).read_text().strip() for name in ("level", "type", "size"))
        except OSError:
            continue
        if kind != "Instruction":
            found.append(f"L{level} {size}")
    return found


class _Controller(threadpoolctl.LibController):
    """Shows fastlsgd in ``threadpoolctl.threadpool_info`` and has ``threadpool_limits`` hold for it."""

    user_api = "fastlsgd"
    internal_api = "fastlsgd"
    filename_prefixes = ("_kernels",)
    check_symbols = ("fastlsgd_get_num_threads", "fastlsgd_set_num_threads")

    def get_num_threads(self) -> int | None:
        if not hasattr(self.dynlib, "fastlsgd_get_num_threads"):  # another package's _kernels
            return None
        return self.dynlib.fastlsgd_get_num_threads() or available_cores()

    def set_num_threads(self, num_threads: int) -> None:
        if hasattr(self.dynlib, "fastlsgd_set_num_threads"):
            # Back at the cores there is no limit any more.
            self.dynlib.fastlsgd_set_num_threads(0 if num_threads == available_cores() else num_threads)

    def get_version(self) -> str | None:
        return None


threadpoolctl.register(_Controller)


class _OneBlasThread:
    """BLAS has one limit for the whole process: the first user sets it and the last one takes it away."""

    def __init__(self) -> None:
        self._lock, self._n_users = threading.Lock(), 0
        self._limit: threadpoolctl.threadpool_limits | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        with self._lock:
            if self._limit is None:
                self._limit = threadpoolctl.threadpool_limits(1, user_api="blas")
            self._n_users += 1
        try:
            yield
        finally:
            with self._lock:
                self._n_users -= 1
                if self._n_users == 0:
                    self._limit.restore_original_limits()
                    self._limit = None


_one_blas_thread = _OneBlasThread()


def one_blas_thread(n_params: int) -> AbstractContextManager[None]:
    """Hold BLAS to one thread where a second one costs more than it brings; several Python threads may at a time."""
    return _one_blas_thread.held() if n_params <= ONE_BLAS_THREAD else nullcontext()
