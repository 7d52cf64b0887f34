"""Helper threads, and how they take part in the work of a call.

Threads are a resource: they change the speed of a run and never a bit of it. A helper is a
Python thread that waits in a queue of its own, is handed a piece of compiled work, helps
without the GIL until that work is done, and goes back to wait. Work never waits for a
helper that has not come (team.h), so runs in several Python threads share the helpers.

Nobody owns a helper: it is offered work if it looks free, and says itself when it is busy. An
interrupt at any instant therefore loses none, and an offer too many is only work that is done
when the helper comes to it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Protocol

import numpy as np

from . import _kernels

_LEAVING_S = 1.0


class Work(Protocol):
    """Compiled work that helpers can join."""

    def help(self) -> None:
        """Take part until the work is done, or return at once if it is already."""


class _Helper(threading.Thread):
    def __init__(self) -> None:
        # daemon: threading joins the others before atexit could tell them to leave.
        super().__init__(name="fastlsgd-helper", daemon=True)
        self.inbox: SimpleQueue[Work | None] = SimpleQueue()
        self.busy = False
        self.there = threading.Event()

    @property
    def is_free(self) -> bool:
        return not self.busy and self.inbox.empty()

    def run(self) -> None:
        _helpers.append(self)  # by itself: whoever started it may be interrupted meanwhile
        self.there.set()
        while (work := self.inbox.get()) is not None:
            self.busy = True
            with contextlib.suppress(MemoryError):  # without buffers of its own it cannot help
                work.help()
            del work  # else its arrays stay alive while the helper waits
            self.busy = False


_helpers: list[_Helper] = []
_growing = threading.Lock()


def share(work: Work, n_helpers: int) -> None:
    """Offer work to at most n_helpers helpers that are free now; start those that do not exist yet.

    A thread that cannot be started is done without.
    """
    n_offers = 0
    for helper in list(_helpers):
        if n_offers < n_helpers and helper.is_free:
            helper.inbox.put(work)
            n_offers += 1
    while n_offers < n_helpers and len(_helpers) < n_helpers:
        if not _start(work, n_helpers):
            return
        n_offers += 1


def _start(work: Work, most: int) -> bool:
    """Start a helper with this work, unless there are as many by now or no thread is to be had."""
    with _growing:
        if len(_helpers) >= most:
            return False
        helper = _Helper()
        helper.inbox.put(work)
        try:
            helper.start()
        except RuntimeError:
            return False
        helper.there.wait()
        return True


@contextlib.contextmanager
def whole_team() -> Iterator[None]:
    """Have every thread that a run may use take part, in this block.

    In rounds so short that threads would rather wait for each other than work, fewer take part otherwise: sooner
    done, and the same bits. For tests and benchmarks.
    """
    before = _kernels.use_whole_team(True)
    try:
        yield
    finally:
        _kernels.use_whole_team(before)


def run_pass(work: _kernels.Pass, n_threads: int) -> np.ndarray:
    """Finish a pass over the data with n_threads threads; return its blocks' results, a row each."""
    share(work, n_threads - 1)
    return work.finish()


def _forget() -> None:
    """In a forked child only the thread that forked lives on."""
    global _growing
    _growing = threading.Lock()
    _helpers.clear()


def _dismiss() -> None:
    leaving = list(_helpers)
    for helper in leaving:
        helper.inbox.put(None)
    deadline = time.monotonic() + _LEAVING_S
    for helper in leaving:
        helper.join(timeout=max(0.0, deadline - time.monotonic()))


os.register_at_fork(after_in_child=_forget)
atexit.register(_dismiss)
