"""Timing: one run again and again, and sides alternated in one process, so that noise hits all of them.

A *side* is a function of nothing that does its work once and returns what it cost: seconds a gradient (a round, a
pass), set-up outside its clock.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..cores import available_cores
from ..problem import Problem
from ..solver import Run
from .compiled import Missing
from .problems import step

Side = Callable[[], float]

# A side is repeated for so long in every round of a comparison, and its best counts.
SIDE_S = 0.06
MOST_REPEATS = 50


class Pass:
    """A run over rows that have been laid out, to be timed again and again from the same state.

    Parameters
    ----------
    problem : Problem
    epoch : int
        Which pass over the shards is timed, from 1. Every pass before it is made, outside the clock; of later
        epochs two are timed together, so that each time both orders are drawn anew.
    n_steps : int or None
        Steps of every worker that are timed; None: whole shards, the same number on each.
    options
        Of ``Run``; what is not given is one row a step, record=0 and the step of ``problems.step``.
    """

    def __init__(self, problem: Problem, *, epoch: int = 1, n_steps: int | None = None, **options: Any) -> None:
        given: dict[str, Any] = {"n_workers": 2, "n_threads": 2, "layout": "packed", "batch_size": 1, "record": 0}
        given |= {"step_size": step(problem)} | options
        steps = n_steps or max(1, problem.n_samples // (given["n_workers"] * given["batch_size"]))
        before: int = (epoch - 1) * steps
        self.problem, self.options = problem, given
        self.run = Run(problem, n_steps=before + (steps if epoch == 1 else 2 * steps), **given)
        while self.run.t < before:
            self.run.advance(n_rounds=1)
        self._start = self.run.state.copy()

    @property
    def n_gradients(self) -> int:
        """Gradients of all workers that one call times."""
        return (self.run.n_steps - self._start.t) * self.run.n_workers * self.run.batch_size

    @property
    def n_rounds(self) -> int:
        """Averagings that one call has made."""
        return self.run.n_rounds - self._start.n_rounds

    def seconds(self) -> float:
        """Run from the start again; return the seconds it took."""
        self.run.state.restore(self._start)
        begin = time.perf_counter()
        self.run.advance()
        return time.perf_counter() - begin

    def __call__(self) -> float:
        """Run from the start again; return the seconds a gradient."""
        return self.seconds() / self.n_gradients

    def a_round(self) -> float:
        """Run from the start again; return the seconds a round."""
        return self.seconds() / self.n_rounds

    def check(self) -> Pass:
        """Run once and raise unless the objective fell and one thread on the rows as they lie gives the same bits.

        Both of the workers' iterates and of their running average. Of storage="bf16" on the rounded problem's rows.
        """
        self.seconds()
        options = self.options | {"n_threads": 1, "layout": "view", "storage": None}
        problem = self.problem.rounded() if self.run.storage else self.problem
        plain = Run(problem, n_steps=self.run.n_steps, **options)
        plain.advance()
        reached_by, once_more = ([w for w in (r.W, r.w, r.w_bar) if w is not None] for r in (self.run, plain))
        if any(a.tobytes() != b.tobytes() for a, b in zip(reached_by, once_more, strict=True)):
            raise RuntimeError(f"{self.run!r}: one thread gives other bits, so its time means nothing")
        iterates = np.stack([np.zeros(self.problem.n_params), *reached_by[1:]])
        start, *reached = np.atleast_1d(self.problem.objective(iterates)).tolist()
        if not max(reached) < start:
            raise RuntimeError(f"{self.run!r} did not lower the objective, so its time means nothing")
        return self


def alternate(sides: Mapping[str, Side], n_rounds: int) -> Iterator[dict[str, float]]:
    """Yield, for each round, every side's best of a few repeats; the sides take turns within the round."""
    for _ in range(n_rounds):
        yield {name: best_of_a_while(side) for name, side in sides.items()}


def best_of_a_while(side: Side) -> float:
    """Return the smallest figure of the side over about SIDE_S of work: other processes can only add time."""
    until, best = time.perf_counter() + SIDE_S, float("inf")
    for _ in range(MOST_REPEATS):
        best = min(best, side())
        if time.perf_counter() >= until:
            break
    return best


# Pinned to one core and busy for as long as the process that started it lives.
BUSY = """
import os, sys
os.sched_setaffinity(0, {int(sys.argv[1])})
parent = os.getppid()
sys.stdout.write("."); sys.stdout.flush()
while os.getppid() == parent:
    for _ in range(100_000):
        pass
"""


class BusyCore:
    """A process that keeps one core busy while ``at_work()`` holds, and sleeps otherwise.

    Raises
    ------
    Missing
        Fewer than two cores, or a system on which processes cannot be pinned.
    """

    def __init__(self) -> None:
        if not hasattr(os, "sched_setaffinity"):
            raise Missing("processes cannot be pinned to cores on this system")
        if available_cores() < 2:
            raise Missing("a busy core beside a quiet one needs two cores")
        core = min(os.sched_getaffinity(0))
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-c", BUSY, str(core)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert self._process.stdout is not None
        self._process.stdout.read(1)
        self._signal("SIGSTOP")

    def _signal(self, name: str) -> None:
        self._process.send_signal(getattr(signal, name))

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Keep the core busy in this block."""
        self._signal("SIGCONT")
        try:
            time.sleep(0.01)  # the scheduler's first reaction is not what is measured
            yield
        finally:
            self._signal("SIGSTOP")

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def __del__(self) -> None:
        if hasattr(self, "_process") and self._process.returncode is None:
            self.close()
