"""Trace: what happened, one record a row: the communication ledger.

Costs are written down when they occur. Objectives and distances are evaluated when
they are first read, in float64, all iterates in one pass over the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from .problem import Problem

COST_COLUMNS = (
    "t",
    "n_gradients",
    "n_rounds",
    "n_bytes",
    "wall_s",
    "compute_s",
    "wait_s",
    "average_s",
)
# Counts that hold for CSR rows only.
SPARSE_COLUMNS = ("n_sparse_floats",)
LAZY_COLUMNS = ("objective_w", "objective_w_bar", "distance_w", "distance_w_bar")
COLUMNS = (*COST_COLUMNS, *LAZY_COLUMNS, "consensus", *SPARSE_COLUMNS)


def allreduce_bytes(n_workers: int, n_numbers: int, itemsize: int = 8) -> int:
    """Return the bytes of one all-reduce, sent and received by all workers; 0 for one worker.

    The ledger's definition of communication, the same on every backend.

    Parameters
    ----------
    n_workers, n_numbers : int
        Who sends, and how many numbers a message holds.
    itemsize : int
        Bytes of a number.

    Examples
    --------
    >>> allreduce_bytes(8, 100, itemsize=4)
    6400
    """
    return 0 if n_workers == 1 else 2 * n_workers * n_numbers * itemsize


@dataclass(frozen=True)
class Record:
    """One row of the trace, as callbacks get it: cumulative costs at step t, and the iterates there.

    ``w`` is the mean of the local iterates, ``w_bar`` the average over the run (None with average=None), in the
    dtype of the problem. The objectives cost a pass over the data each time they are read.
    """

    problem: Problem
    t: int
    n_gradients: int
    n_rounds: int
    n_bytes: int
    wall_s: float
    compute_s: float
    wait_s: float
    average_s: float
    consensus: float
    w: np.ndarray
    w_bar: np.ndarray | None
    n_sparse_floats: float = float("nan")

    @property
    def objective_w(self) -> float:
        """F(w), by one pass over the data."""
        return float(self.problem.objective(self.w))

    @property
    def objective_w_bar(self) -> float:
        """F(w_bar), by one pass over the data; nan without an average."""
        return float("nan") if self.w_bar is None else float(self.problem.objective(self.w_bar))


class Trace:
    """The records of a run as columns: ``trace.t``, ``trace.n_bytes``, ``trace.objective_w_bar``, ...

    Columns (arrays of one entry a record, cumulative up to its step t):

    - ``t``: local steps, per worker; ``n_gradients``: of all workers; ``n_rounds``: averagings;
    - ``n_bytes``: 2 n_workers n_params itemsize per averaging (sent and received), 0 for one worker;
    - ``wall_s`` = ``compute_s`` + ``wait_s`` + ``average_s``: seconds, means over the threads that took part
      (fewer than the run's where rounds are too short to share); the parts are measured only when recording, on a
      sample of the rounds where rounds are short, else nan;
    - ``objective_w``, ``objective_w_bar``: F at the mean iterate and at the average, float64;
    - ``distance_w``, ``distance_w_bar``: |. - w*|, nan unless the problem's optimum is known;
    - ``consensus``: (1/P) sum |w_k - w|^2 just before the averaging;
    - ``n_sparse_floats``: numbers that a sparse exchange would have sent instead of the 2 n_workers n_params of an
      averaging: each worker sends the coordinates that its rows of the round held (intercept included), and is sent
      those that any worker's did; 0 for one worker, nan for dense rows. Their indices are not counted.

    ``step_s``: seconds of one local step on one core. ``periods``: the round lengths as (length, count)
    pairs. ``layout``, ``storage``, ``n_threads``, ``n_copied_bytes``: what the run used.

    Examples
    --------
    >>> import fastlsgd as fl
    >>> problem = fl.Problem(np.eye(4), np.ones(4))
    >>> options = {"n_workers": 2, "n_steps": 8, "schedule": fl.FixedPeriod(2), "step_size": fl.Constant(0.5)}
    >>> trace = fl.local_sgd(problem, record=[2, 8], **options).trace
    >>> trace.t, trace["n_rounds"], trace.n_bytes, trace.periods
    (array([2, 8]), array([1, 4]), array([128, 512]), [(2, 4)])
    """

    def __init__(
        self, problem: Problem, *, layout: str, n_threads: int, storage: str | None, n_copied_bytes: int
    ) -> None:
        self.problem = problem
        self.records: list[Record] = []
        self.step_s = float("nan")
        self.layout, self.storage = layout, storage
        self.n_threads, self.n_copied_bytes = n_threads, n_copied_bytes
        self._periods: list[list[int]] = []
        self._noted_upto = 0
        self._lazy: dict[str, list[float]] = {name: [] for name in LAZY_COLUMNS}
        self._evaluated_optimum: Any = None

    def __len__(self) -> int:
        return len(self.records)

    def __getattr__(self, name: str) -> np.ndarray:
        if name not in COLUMNS:
            raise AttributeError(f"a trace has no {name!r}; its columns are {', '.join(COLUMNS)}")
        return self[name]

    def __getitem__(self, name: str) -> np.ndarray:
        """Return a column by its name."""
        if name in LAZY_COLUMNS:
            self._evaluate()
            return np.array(self._lazy[name])
        if name not in COLUMNS:
            raise KeyError(f"{name!r}; the columns are {', '.join(COLUMNS)}")
        kind = np.int64 if name in COST_COLUMNS[:4] else np.float64
        return np.array([getattr(record, name) for record in self.records], dtype=kind)

    def excess(self, of: str = "w_bar") -> np.ndarray:
        """Return F minus its minimum at every record's w_bar or w (``Problem.excess``), in one pass over the data.

        nan where there is no w_bar. Finds the problem's optimum if that has not been done.

        Raises
        ------
        ValueError
            Another name, or F has no minimum (``Problem.optimum``).
        """
        if of not in ("w", "w_bar"):
            raise ValueError(f"of must be 'w' or 'w_bar', got {of!r}")
        out = np.full(len(self), np.nan)
        iterates = {i: w for i, record in enumerate(self.records) if (w := getattr(record, of)) is not None}
        if iterates:
            out[list(iterates)] = self.problem.excess(np.array(list(iterates.values())))
        return out

    @property
    def periods(self) -> list[tuple[int, int]]:
        """The round lengths named by the schedule, run-length encoded: [(length, count), ...]."""
        return [(length, count) for length, count in self._periods]

    def note_periods(self, lengths: np.ndarray, first_t: int) -> None:
        """Append the lengths of rounds from step first_t on; those that have been noted are not noted again."""
        if first_t < self._noted_upto:
            return
        self._noted_upto = first_t + int(lengths.sum())
        changes = np.flatnonzero(np.diff(lengths)) + 1
        for first, last in pairwise([0, *changes.tolist(), len(lengths)]):
            if self._periods and self._periods[-1][0] == lengths[first]:
                self._periods[-1][1] += last - first
            else:
                self._periods.append([int(lengths[first]), last - first])

    def to_dict(self) -> dict[str, np.ndarray]:
        """Return all columns, for a table of any library: ``pandas.DataFrame(trace.to_dict())``."""
        return {name: self[name] for name in COLUMNS}

    def _evaluate(self) -> None:
        """Evaluate what has not been: all iterates of all new records in one pass."""
        optimum = self.problem.known_optimum
        if optimum is not self._evaluated_optimum:
            self._lazy["distance_w"], self._lazy["distance_w_bar"] = [], []
            self._evaluated_optimum = optimum
        nan = float("nan")
        fresh = self.records[len(self._lazy["objective_w"]) :]
        if fresh:
            iterates = [record.w for record in fresh]
            iterates += [record.w if record.w_bar is None else record.w_bar for record in fresh]
            values = np.atleast_1d(self.problem.objective(np.array(iterates, dtype=np.float64))).tolist()
            self._lazy["objective_w"] += values[: len(fresh)]
            self._lazy["objective_w_bar"] += [
                nan if record.w_bar is None else value
                for record, value in zip(fresh, values[len(fresh) :], strict=True)
            ]
        for record in self.records[len(self._lazy["distance_w"]) :]:
            for name, iterate in (("distance_w", record.w), ("distance_w_bar", record.w_bar)):
                distance = nan
                if optimum is not None and iterate is not None:
                    with np.errstate(over="ignore"):  # of a run that is about to diverge
                        distance = float(np.linalg.norm(iterate.astype(np.float64) - optimum))
                self._lazy[name].append(distance)

    def __repr__(self) -> str:
        if not self.records:
            return "Trace(no records)"
        last = self.records[-1]
        return (
            f"Trace({len(self)} records, t={last.t}, n_rounds={last.n_rounds}, "
            f"n_bytes={last.n_bytes}, wall_s={last.wall_s:.4g})"
        )
