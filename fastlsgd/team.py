"""Helper threads: how many a call may use, and how they take part in its work.

Threads are a resource: they change the speed of a run and never a bit of it. A helper is a
Python thread that waits in a queue of its own, is handed a piece of compiled work, helps
without the GIL until that work is done, and goes back to wait. Work never waits for a
helper that has not come (team.h), so runs in several Python threads share the helpers.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections import deque
from queue import SimpleQueue
from typing import Any, Protocol

import numpy as np
import threadpoolctl

from . import _kernels


class Work(Protocol):
    """Compiled work that helpers can join."""

    def help(self) -> None:
        """Take part until the work is done, or return at once if it is already."""


class _Helper(threading.Thread):
    def __init__(self) -> None:
        # daemon: threading joins the others before atexit could tell them to leave.
        super().__init__(name="fastlsgd-helper", daemon=True)
        self.inbox: SimpleQueue[Work | None] = SimpleQueue()

    def run(self) -> None:
        while (work := self.inbox.get()) is not None:
            try:
                work.help()
            finally:
                del work  # else its arrays stay alive while the helper waits
                _idle.append(self)


_all: list[_Helper] = []
_idle: deque[_Helper] = deque()
_growing = threading.Lock()


def share(work: Work, n_helpers: int) -> None:
    """Offer work to at most n_helpers helpers that are free now; start those that do not exist yet.

    A thread that cannot be started is done without.
    """
    for _ in range(n_helpers):
        try:
            helper = _idle.pop()
        except IndexError:
            with _growing:
                if len(_all) >= n_helpers:
                    return
                helper = _Helper()
                try:
                    helper.start()
                except RuntimeError:
                    return
                _all.append(helper)
        try:
            helper.inbox.put(work)
        except BaseException:  # an interrupt must not lose the helper
            _idle.append(helper)
            raise


def run_pass(work: _kernels.Pass, n_threads: int) -> np.ndarray:
    """Finish a pass over the data with n_threads threads; return its blocks' results, a row each."""
    share(work, n_threads - 1)
    return work.finish()


def _forget() -> None:
    """In a forked child only the thread that forked lives on."""
    global _growing
    _growing = threading.Lock()
    _all.clear()
    _idle.clear()


def _dismiss() -> None:
    for helper in _all:
        helper.inbox.put(None)
    for helper in _all:
        helper.join(timeout=1.0)


os.register_at_fork(after_in_child=_forget)
atexit.register(_dismiss)


def available_cores() -> int:
    """Return the cores this process may use: its affinity, and the quota of its control group."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS has no affinity
        cores = os.cpu_count() or 1
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()
        if quota != "max":
            cores = min(cores, max(1, -(-int(quota) // int(period))))
    except (OSError, ValueError):
        pass  # no control groups, or a version whose file lies elsewhere
    return cores


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


def resolve_threads(n_threads: Any, n_workers: int) -> int:
    """Return how many threads a call uses, at most n_workers.

    The argument; if it is None FASTLSGD_NUM_THREADS, else threadpoolctl's limit, else the cores.
    """
    if n_threads is None:
        text = os.environ.get("FASTLSGD_NUM_THREADS", "")
        try:
            n_threads = int(text) if text else _kernels.thread_limit() or available_cores()
        except ValueError:
            n_threads = 0
        if text and n_threads < 1:
            raise ValueError(f"FASTLSGD_NUM_THREADS must be an int >= 1, got {text!r}")
    if isinstance(n_threads, bool) or not isinstance(n_threads, (int, np.integer)) or n_threads < 1:
        raise ValueError(f"n_threads must be an int >= 1 or None for all cores, got {n_threads!r}")
    return min(int(n_threads), n_workers, _kernels.MAX_THREADS)
