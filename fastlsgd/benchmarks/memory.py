"""What a problem and its run add to the memory of their process, measured in a process of its own.

``python -m fastlsgd.benchmarks.memory LAYOUT ROWS FEATURES WORKERS`` is that process; it writes one JSON object. The
data are float32, so a copy of the rows, in float64 above all, would show at once.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .compiled import Missing

# The allocator's and the interpreter's own: what an empty run adds.
SLACK = 4 << 20
LAYOUTS = ("view", "packed", "mapped")


@dataclass(frozen=True)
class Growth:
    """Bytes that a problem and its run added at their peak, beside what it was promised to stay within.

    Attributes
    ----------
    grown : int
        Peak resident bytes, less those before the Problem was made; for a mapped file, private bytes alone.
    data : int
        Bytes of X and y.
    n_samples, n_features, n_workers : int
    layout : str
    """

    grown: int
    data: int
    n_samples: int
    n_features: int
    n_workers: int
    layout: str

    @property
    def promised(self) -> int:
        """8 bytes a row, SLACK and O(P d): 64 P d, for iterates, their double buffer, both sums, a copy of all."""
        beside = 8 * self.n_samples + 64 * self.n_workers * (self.n_features + 16) + SLACK
        return beside + (self.data if self.layout == "packed" else 0)


def measure(layout: str, n_samples: int, n_features: int, n_workers: int = 8) -> Growth:
    """Make a Problem and run two passes in a process of its own; return what that added to the process's memory.

    Parameters
    ----------
    layout : "view", "packed", or "mapped" (view of a memory-mapped file)

    Raises
    ------
    Missing
        A system without /proc.
    RuntimeError
        The process failed; its own words follow.
    """
    if not Path("/proc/self/clear_refs").exists():
        raise Missing("peak memory is read from /proc, which only Linux has")
    arguments = [layout, str(n_samples), str(n_features), str(n_workers)]
    done = subprocess.run([sys.executable, "-m", __name__, *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"the process that measures memory failed:\n{done.stderr}")
    return Growth(**json.loads(done.stdout))


def _status(name: str) -> int:
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith(f"{name}:"))


class _PrivatePeak(threading.Thread):
    """Looks at the private bytes every millisecond: the kernel remembers the peak of all bytes only."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.stopped = threading.Event()
        self.peak = 0

    def run(self) -> None:
        while not self.stopped.wait(0.001):
            self.peak = max(self.peak, _status("RssAnon"))

    def finish(self) -> int:
        self.stopped.set()
        self.join()
        return max(self.peak, _status("RssAnon"))


def _rows(n_samples: int, n_features: int, path: Path | None) -> np.ndarray:
    """Return normal float32 rows, in memory or in a mapped file; filled in blocks."""
    shape = n_samples, n_features
    X = np.empty(shape, np.float32) if path is None else np.memmap(path, np.float32, "w+", shape=shape)
    rng = np.random.default_rng(0)
    for first in range(0, n_samples, 4096):
        block = X[first : first + 4096]
        block[...] = rng.standard_normal(block.shape, dtype=np.float32)
    if path is None:
        return X
    assert isinstance(X, np.memmap)
    X.flush()
    del X
    return np.memmap(path, np.float32, "r", shape=shape)


def _measure_here(layout: str, n_samples: int, n_features: int, n_workers: int) -> dict[str, Any]:
    from ..problem import Problem
    from ..solver import Run
    from ..stepsizes import Constant

    with tempfile.TemporaryDirectory() as folder:
        X = _rows(n_samples, n_features, Path(folder) / "X" if layout == "mapped" else None)
        y = np.ones(n_samples, np.float32)
        y[::2] = -1.0
        options: dict[str, Any] = {
            "n_workers": n_workers,
            "layout": "packed" if layout == "packed" else "view",
            "step_size": Constant(1.0 / n_features),
            "record": 0,
        }
        # Imports, and helpers with their stacks, belong to no run.
        few = slice(max(64, n_workers))
        Run(Problem(X[few].copy(), y[few], loss="logistic"), **options).advance()
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak
        before = _status("RssAnon" if layout == "mapped" else "VmRSS")
        watch = _PrivatePeak()
        watch.start()
        problem = Problem(X, y, loss="logistic")
        run = Run(problem, n_steps=2 * n_samples // n_workers, **options)
        run.advance()
        private = watch.finish()
        grown = (private if layout == "mapped" else _status("VmHWM")) - before
        if run.W.dtype != np.float32 or not np.isfinite(run.W).all():
            raise RuntimeError("the run did not stay in float32")
        return {
            "grown": grown,
            "data": X.nbytes + y.nbytes,
            "n_samples": n_samples,
            "n_features": n_features,
            "n_workers": n_workers,
            "layout": layout,
        }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_measure_here(sys.argv[1], *map(int, sys.argv[2:5]))))
