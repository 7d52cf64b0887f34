"""Instructions and cache misses of the kernels, counted by valgrind: what a clock on a shared machine cannot say.

    python -m bench.counts [SCENE ...]

Each scene is run once in a process of its own under callgrind, which counts inside the compiled function only;
set-up and Python are outside. Counts depend on the binary and the data, not on what else the machine does. Valgrind
knows no AVX-512, so the AVX2 kernels are counted; its caches are simulated with the sizes of the machine at hand and
without prefetching, so misses count the lines that had to come, not the time they took.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

# Runs a scene; it alone is under valgrind.
CHILD = """
import sys
import numpy as np
import fastlsgd as fl
from scipy import sparse

kind, d, period, batch, n = sys.argv[1], *map(int, sys.argv[2:])
rng = np.random.default_rng(0)
if kind == "csr":
    columns = np.sort(rng.integers(0, d, (n, 72), dtype=np.int32), axis=1).ravel()
    X = sparse.csr_matrix((rng.standard_normal(n * 72, dtype=np.float32), columns,
                           np.arange(0, n * 72 + 1, 72, dtype=np.int32)), (n, d))
else:
    X = rng.standard_normal((n, d), dtype=np.float32)
problem = fl.Problem(X, np.where(rng.standard_normal(n) > 0, 1, -1), loss="logistic", l2=1e-4)
if kind == "objective":
    problem.objective(rng.standard_normal((period, d)))
else:
    run = fl.Run(problem, n_workers=2, n_threads=1, schedule=fl.FixedPeriod(period), batch_size=batch,
                 step_size=fl.Constant(1e-3), n_steps=n // (2 * batch), layout="packed", record=0)
    run.advance()
"""

EVENTS = {"Ir": "instructions", "D1mr": "L1 read misses", "D1mw": "L1 write misses", "DLmr": "last-level read misses"}


@dataclass(frozen=True)
class Scene:
    """What is run, inside which function it is counted, and how many units the count is divided by."""

    kind: str
    d: int
    period: int  # of objectives: how many iterates
    batch: int
    n: int
    unit: str = "gradient"

    @property
    def function(self) -> str:
        """The compiled function inside which is counted."""
        return "evaluate_float_avx2" if self.kind == "objective" else "fl_slice_work"

    @property
    def n_units(self) -> int:
        """Units in the whole run."""
        return {"gradient": self.n, "entry": 72 * self.n, "round": self.n // (2 * self.period),
                "row and iterate": self.n * self.period}[self.unit]  # fmt: skip


ONCE = 1 << 30  # a period longer than any run: one-shot averaging
SCENES = {
    **{f"dense d={d}, period 256": Scene("dense", d, 256, 1, 40_960 // max(1, d // 20)) for d in (20, 100, 1_000)},
    "dense d=100, one-shot": Scene("dense", 100, ONCE, 1, 8_192),
    "dense d=100, period 16": Scene("dense", 100, 16, 1, 8_192),
    "dense d=20, period 1": Scene("dense", 20, 1, 1, 8_192, "round"),
    "dense d=100, period 1": Scene("dense", 100, 1, 1, 8_192, "round"),
    "batch 32, d=32": Scene("dense", 32, 256, 32, 65_536),
    "batch 32, d=100": Scene("dense", 100, 256, 32, 65_536),
    "CSR, one-shot": Scene("csr", 47_000, ONCE, 1, 8_192, "entry"),
    "CSR, period 256": Scene("csr", 47_000, 256, 1, 8_192, "entry"),
    "objective of 1, d=100": Scene("objective", 100, 1, 1, 8_192, "row and iterate"),
    "objective of 64, d=100": Scene("objective", 100, 64, 1, 8_192, "row and iterate"),
}


def count(scene: Scene) -> dict[str, float]:
    """Return the events of one unit of the scene.

    Raises
    ------
    RuntimeError
        The run failed, or valgrind counted nothing.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "counts")
        command = [
            "valgrind", "--tool=callgrind", "--cache-sim=yes", f"--toggle-collect={scene.function}",
            f"--callgrind-out-file={out}", sys.executable, "-c", CHILD, scene.kind,
            *map(str, (scene.d, scene.period, scene.batch, scene.n)),
        ]  # fmt: skip
        done = subprocess.run(
            command, env=os.environ | {"FASTLSGD_ISA": "avx2"}, capture_output=True, text=True, check=False
        )
        if done.returncode != 0 or not out.exists():
            raise RuntimeError(f"the run under valgrind failed: {done.stderr.strip()[-500:]}")
        lines = dict(
            line.split(":", 1) for line in out.read_text().splitlines() if line.startswith(("events", "totals"))
        )
    totals = dict(zip(lines["events"].split(), map(int, lines["totals"].split()), strict=False))
    if not totals.get("Ir"):
        raise RuntimeError(f"valgrind counted nothing inside {scene.function}: are the module's symbols stripped?")
    return {event: totals.get(event, 0) / scene.n_units for event in EVENTS}


def main() -> None:
    """Print a row a scene."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scene", nargs="*", help="scenes whose name contains one of these words; default: all")
    words = parser.parse_args().scene
    if shutil.which("valgrind") is None:
        sys.exit("bench.counts needs valgrind (Debian: apt-get install valgrind)")
    print(f"{'scene':<26}{'unit':<18}" + "".join(f"{name:>24}" for name in EVENTS.values()))
    for name, scene in SCENES.items():
        if not words or any(word in name for word in words):
            counted = count(scene)
            print(f"{name:<26}{scene.unit:<18}" + "".join(f"{counted[event]:>24.3g}" for event in EVENTS), flush=True)


if __name__ == "__main__":
    main()
