"""Instructions and simulated cache misses of the kernels, by valgrind: ``python -m bench.counts [SCENE ...]``.

Counts do not depend on what else the machine does, and hardly on which machine it is. Each scene runs twice, on one
thread, one run longer than the other; the difference counts, so that what is done once cancels. What is counted is
the work of the team and all below it (fl_slice_work, fl_pass_work), not the Python around. Valgrind up to 3.19
knows no AVX-512: the kernels run as on a processor with AVX2. They are the installed build's, threads excepted.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
from scipy import sparse

import fastlsgd as fl
from fastlsgd.benchmarks.compiled import Missing, load
from fastlsgd.benchmarks.limits import flops_a_feature
from fastlsgd.benchmarks.problems import step

ISA, LANES, DOUBLE_LANES = "avx2", 8, 4
# Caches of the simulation: of no machine in particular; every matrix here is larger than the last one.
D1, LL = (32768, 8, 64), (1 << 20, 16, 64)
COUNTED = ("fl_slice_work", "fl_pass_work")
ENTRIES_A_ROW = 72


@dataclass(frozen=True)
class Scene:
    """Two runs of different length, and what the arithmetic asks for at least per unit of their difference.

    Attributes
    ----------
    unit : str
        Of what ``n_units`` are the difference of the two runs.
    least : float
        Instructions a unit: one for each operation on a vector (an entry of CSR), a load taken along by the
        operation that needs it where there is one; nothing for loops, folding, losses and finding rows.
    flops, n_bytes : float
        Operations a unit, and bytes of X, its indices and y.
    make : function of nothing
        Returns (the short run, the long run, n_units).
    """

    unit: str
    least: float
    flops: float
    n_bytes: float
    make: Callable[[], tuple[Callable[[], object], Callable[[], object], int]]


@cache
def dense(n_features: int) -> fl.Problem:
    """Return 16 MB of rows, more than the simulated caches hold, and 12,288 rows at least."""
    n = max(12_288, (1 << 22) // n_features)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, n_features), dtype=np.float32)
    y = np.where(X[:, 0] + rng.standard_normal(n) > 0, 1.0, -1.0)
    return fl.Problem(X, y, loss="logistic", l2=1e-4)


@cache
def csr() -> fl.Problem:
    """Return rows of 72 entries in uniform columns of 47,000, as bench_sparse.py has them, but fewer."""
    n, d = 12_288, 47_000
    rng = np.random.default_rng(0)
    columns = np.sort(rng.integers(0, d, (n, ENTRIES_A_ROW)), axis=1).astype(np.int32)
    values = np.abs(rng.standard_normal(n * ENTRIES_A_ROW, dtype=np.float32)) / np.float32(np.sqrt(ENTRIES_A_ROW))
    X = sparse.csr_matrix(
        (values, columns.ravel(), np.arange(0, values.size + 1, ENTRIES_A_ROW, dtype=np.int32)), shape=(n, d)
    )
    return fl.Problem(X, np.where(rng.standard_normal(n) > 0, 1.0, -1.0), loss="logistic", l2=1e-5)


def runs(problem: Callable[[], fl.Problem], period: int | None, units_a_gradient: float = 1.0, **options: int):
    """Return runs of 1,024 steps and of 2,048: both a multiple of every period and of the flushes."""
    given = {"n_workers": 2, "batch_size": 1} | options
    schedule = fl.FixedPeriod(period) if period else fl.OneShot()

    def run(n_steps):
        return fl.Run(problem(), n_steps=n_steps, n_threads=1, layout="packed", record=0, schedule=schedule,
                      step_size=step(problem()), **given).advance  # fmt: skip

    gradients = 1_024 * given["n_workers"] * given["batch_size"]
    assert 2 * gradients <= problem().n_samples, "a second epoch draws its order, which is not what is counted"
    return run(1_024), run(2_048), round(gradients * units_a_gradient)


def passes(n_features: int, n_iterates: int):
    """Return the objective of that many iterates over a third of the rows and over all."""
    whole = dense(n_features)
    third = fl.Problem(whole.X[: whole.n_samples // 3], whole.y[: whole.n_samples // 3], loss="logistic")
    w = np.random.default_rng(1).standard_normal((n_iterates, n_features)) / 10
    rows = whole.n_samples - third.n_samples
    return partial(third.objective, w), partial(whole.objective, w), rows * n_iterates


def a_row(d: int) -> int:
    return 4 * d + 4


def a_step(n_features: int, period: int | None, **options: int) -> Scene:
    """Return one row a step. Ten instructions a vector.

    Load w, multiply by eta l2 and by the slope, add, subtract, store; add to the running sum and store it; multiply
    with the next row and add.
    """
    return Scene(
        "gradient", 10 * -(-n_features // LANES), flops_a_feature(1) * n_features, a_row(n_features),
        partial(runs, partial(dense, n_features), period, **options),
    )  # fmt: skip


def a_batch(n_features: int, batch_size: int) -> Scene:
    """Return batches. A row: load, multiply and add for the margin, multiply and add to the sum.

    The sum is loaded and stored once for four rows, and the iterate updated once a batch (nine instructions).
    """
    each = 3 + 2 + 2 / 4 + 9 / batch_size
    return Scene(
        "gradient", each * -(-n_features // LANES), flops_a_feature(batch_size) * n_features, a_row(n_features),
        partial(runs, partial(dense, n_features), 256, batch_size=batch_size),
    )  # fmt: skip


def a_round(n_features: int, n_workers: int) -> Scene:
    """Return rounds of one step: a step of every worker, and a mean in float64.

    The mean: load and widen, multiply, add of every worker; narrow, and stores to every worker.
    """
    mean = (3 * n_workers + 1) * -(-n_features // DOUBLE_LANES) + n_workers * -(-n_features // LANES)
    one = a_step(n_features, 1)
    flops = n_workers * (one.flops + 2 * n_features)
    return Scene(
        "round", n_workers * one.least + mean, flops, n_workers * one.n_bytes,
        partial(runs, partial(dense, n_features), 1, 1 / n_workers, n_workers=n_workers),
    )  # fmt: skip


def an_objective(n_features: int, n_iterates: int) -> Scene:
    """Return an objective in float64.

    One iterate: widen the row, multiply, add, four features at a time. Many: multiply and add, four iterates at a
    time, and one broadcast of each feature for sixteen of them.
    """
    of_many = (2 / DOUBLE_LANES + 1 / 16) * n_features
    least = 3 * -(-n_features // DOUBLE_LANES) if n_iterates == 1 else of_many
    return Scene(
        "row and iterate", least, 2 * n_features, a_row(n_features) / n_iterates,
        partial(passes, n_features, n_iterates),
    )  # fmt: skip


def of_csr(period: int | None) -> Scene:
    """Return steps on CSR rows, a stored entry.

    Margin: load the column and the value, multiply, add. Update: load both again and v, multiply, subtract, store;
    widen v before and after, subtract, multiply, add to u, store. Rounds also mark the column: shift twice, set,
    store.
    """
    return Scene("entry", 16 if period is None else 20, 8, 8, partial(runs, csr, period, ENTRIES_A_ROW))


SCENES = {
    "d = 20": a_step(20, 256),
    "d = 100": a_step(100, 256),
    "d = 1000": a_step(1_000, 256),
    "d = 20, P = 8": a_step(20, 256, n_workers=8),
    "d = 100, period 16": a_step(100, 16),
    "d = 100, one-shot": a_step(100, None),
    "d = 32, batch 32": a_batch(32, 32),
    "d = 20, period 1": a_round(20, 2),
    "d = 100, period 1": a_round(100, 2),
    "CSR, one-shot": of_csr(None),
    "CSR, period 256": of_csr(256),
    "objective, d = 100": an_objective(100, 1),
    "objective of 64, d = 100": an_objective(100, 64),
}  # fmt: skip


# ---- inside valgrind ----


def run_scenes(names: list[str]) -> None:
    """Run both lengths of these scenes, each between the marks that counts.c makes, and print their units."""
    marks = load(Path(__file__).with_name("counts.c"))
    assert marks.running_on_valgrind(), "--inside is for valgrind"
    for name in names:
        short, long, n_units = SCENES[name].make()
        for length, run in (("short", short), ("long", long)):
            marks.begin()
            run()
            marks.end(f"{name}:{length}".encode())
        print(f"{name}:{n_units}", flush=True)


# ---- outside ----


def have_what_it_needs() -> None:
    """Raise Missing, with the reason, where nothing can be counted."""
    if shutil.which("valgrind") is None:
        raise Missing("valgrind is not installed (Debian: apt-get install valgrind)")
    if ISA not in fl._kernels.isas():
        raise Missing(f"the kernels are counted with {ISA}, which this processor or build does not have")
    load(Path(__file__).with_name("counts.c"))  # Missing without a compiler or valgrind's headers


def count(names: list[str]) -> dict[str, dict[str, float]]:
    """Return what valgrind counts in each scene, a unit: Ir and, a miss a line, D1mr, D1mw, DLmr, DLmw.

    Raises
    ------
    Missing
        No valgrind, no compiler, no AVX2, or a build without names of functions.
    """
    have_what_it_needs()
    with tempfile.TemporaryDirectory(prefix="fastlsgd-") as folder:
        command = [
            "valgrind", "--tool=callgrind", "-q", "--instr-atstart=no", "--cache-sim=yes",
            *(f"--toggle-collect={name}" for name in COUNTED),
            f"--D1={','.join(map(str, D1))}", f"--LL={','.join(map(str, LL))}",
            f"--callgrind-out-file={folder}/out", sys.executable, "-m", "bench.counts", "--inside", *names,
        ]  # fmt: skip
        env = os.environ | {
            "FASTLSGD_ISA": ISA, "FASTLSGD_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }  # fmt: skip
        done = subprocess.run(command, env=env, cwd=Path(__file__).parents[1], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"valgrind ended with {done.returncode}: {done.stderr[-2000:]}")
        counted = dict(filter(None, (dump(path) for path in Path(folder).glob("out.*"))))
    found = {}
    for name, n_units in (line.rsplit(":", 1) for line in done.stdout.splitlines()):
        short, long = counted[f"{name}:short"], counted[f"{name}:long"]
        if not long["Ir"]:
            raise Missing("this build names no functions (it is stripped), so its work cannot be told from Python's")
        found[name] = {event: (long[event] - short[event]) / int(n_units) for event in long}
    return found


def dump(path: Path) -> tuple[str, dict[str, int]] | None:
    """Return (the mark at which callgrind wrote this file, the total of each event); None for its last file."""
    text = path.read_text()
    mark = re.search(r"^desc: Trigger: Client Request: (.*)$", text, re.MULTILINE)
    if mark is None:
        return None
    events = re.search(r"^events: (.*)$", text, re.MULTILINE).group(1).split()
    totals = re.search(r"^(?:totals|summary): (.*)$", text, re.MULTILINE).group(1).split()
    return mark.group(1), dict.fromkeys(events, 0) | dict(zip(events, map(int, totals), strict=False))


def table(found: dict[str, dict[str, float]]) -> str:
    """Return the counts beside what the arithmetic asks for, as Markdown."""
    lines = [
        "| scene | one | instructions | at least | ratio | operations | bytes | misses, first cache | reads, last |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, events in found.items():
        scene = SCENES[name]
        n, first_cache = events["Ir"], events["D1mr"] + events["D1mw"]
        lines.append(
            f"| {name} | {scene.unit} | {n:,.1f} | {scene.least:,.1f} | {n / scene.least:.1f} | {scene.flops:,.0f} | "
            f"{scene.n_bytes:,.1f} | {first_cache:,.2f} | {events['DLmr']:,.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.counts", description=__doc__.splitlines()[0])
    parser.add_argument("scenes", nargs="*", metavar="SCENE", help=f"of: {'; '.join(SCENES)}; default: all")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    names = given.scenes or list(SCENES)
    if unknown := [name for name in names if name not in SCENES]:
        parser.error(f"no scene is called {unknown[0]!r}; there are: {'; '.join(SCENES)}")
    if given.inside:
        run_scenes(names)
        return
    try:
        print(table(count(names)))
    except Missing as reason:
        print(f"skipped: {reason}")


if __name__ == "__main__":
    main()
