"""Did a commit make the kernels slower? Two commits, built side by side, run in turns on one machine.

    python -m bench.regress BASE HEAD [--rounds N] [--small]

Each commit is built from a worktree into a temporary folder and gets a process of its own, which times a fixed
set of kernels whenever it is told to. The two take turns kernel by kernel, so that the load hits both. Minima are
compared, as other processes can only add time; a kernel is slower only if it is so by more than RELATIVE and by
more than ABSOLUTE_NS a gradient (of a pass over the data: a row and iterate). Before they are timed the two must
give the same answer but for rounding (SAME): half the work is no gain. Exits with 1 if one is slower or answers
otherwise, as it also does where a commit draws other rows.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

RELATIVE, ABSOLUTE_NS, SAME = 0.10, 2.0, 1e-3
ROOT = Path(__file__).parents[1]

# What runs in each commit's process: it may use only names that both commits have, so it stands alone.
WORKER = """
import importlib.util, inspect, json, sys, time
import numpy as np
import fastlsgd as fl

small = sys.argv[1] == "small"
CASES = {
    f"d={d} P={P} on {threads}, period {period}, batch {batch}, {dtype}": (d, P, threads, period, batch, dtype)
    for d, P, threads, period, batch, dtype in [
        (20, 2, 1, 256, 1, "float32"), (20, 8, 1, 256, 1, "float32"), (20, 2, 2, 16, 1, "float32"),
        (100, 2, 1, 256, 1, "float32"), (100, 8, 2, 256, 1, "float32"), (100, 2, 1, 256, 32, "float32"),
        (100, 2, 1, 256, 1, "float64"), (1000, 2, 1, 256, 1, "float32"), (100, 2, 2, 1, 1, "float32"),
    ]
}
CSR = {"CSR, P=2 on 1, one-shot": None, "CSR, P=2 on 1, period 256": 256}
if importlib.util.find_spec("fastlsgd.sparse") is None:  # a commit without CSR
    CSR = {}
OBJECTIVES = {f"objective of {m}, d=100": m for m in (1, 64)}
PASSES = {"gradient, d=100": "gradient", "excess of 64, d=100": "excess"}
PASSES = {name: method for name, method in PASSES.items() if hasattr(fl.Problem, method)}
# Where rows come from another place, or lie otherwise: what Run is told. Each only of commits that have it.
WAYS = {
    "in place, d=100": {"layout": "view"}, "blocks in place, d=100": {"layout": "view", "sampling": "blocks"},
    "replacement in place, d=100": {"layout": "view", "sampling": "replacement"},
    "bf16, d=1000": {"storage": "bf16"},
}
if "storage" not in inspect.signature(fl.Run).parameters:
    del WAYS["bf16, d=1000"]
STREAMS = {"stream, d=20": 20, "stream, d=100": 100} if hasattr(fl, "GaussianStream") else {}
REPLICATES = {"replicates of a stream, d=20": 20}
if importlib.util.find_spec("fastlsgd.experiments") is None or not hasattr(fl.experiments, "replicates"):
    REPLICATES = {}
works = {}

def prepare(name):
    if name in OBJECTIVES:
        problem = dense(100, "float32")
        w = np.random.default_rng(1).standard_normal((OBJECTIVES[name], 100)) / 10
        return lambda: problem.objective(w), lambda: None, problem.n_samples * len(w), lambda: problem.objective(w)
    if name in PASSES:
        problem = dense(100, "float32")
        w = np.random.default_rng(1).standard_normal((64, 100)) / 10
        w = w[0] if name.startswith("gradient") else w
        over = () if PASSES[name] == "gradient" else (np.zeros(100),)
        method = getattr(problem, PASSES[name])
        return lambda: method(w, *over), lambda: None, problem.n_samples * (w.size // 100), lambda: method(w, *over)
    if name in STREAMS:
        problem = fl.Problem(fl.GaussianStream(STREAMS[name]))
        return steps(problem, layout="auto", n_workers=2, n_threads=1, n_steps=5_000 if small else 200_000,
                     schedule=fl.FixedPeriod(256), step_size=fl.Constant(0.01))
    if name in REPLICATES:
        problem, n_steps = fl.Problem(fl.GaussianStream(REPLICATES[name])), 50 if small else 1_000
        def many():
            return fl.experiments.replicates(problem, n_replicates=64, n_workers=2, n_threads=1, n_steps=n_steps,
                                             schedule=fl.FixedPeriod(16), step_size=fl.Constant(0.01))
        return many, lambda: None, 64 * 2 * n_steps, lambda: many().w_bar
    if name in WAYS:
        problem = dense(int(name.split("d=")[1]), "float32")
        return steps(problem, n_workers=2, n_threads=1, schedule=fl.FixedPeriod(256),
                     step_size=fl.Constant(1.0 / problem.n_features), **WAYS[name])
    if name in CSR:
        schedule = fl.FixedPeriod(CSR[name]) if CSR[name] else fl.OneShot()
        return steps(csr(), n_workers=2, n_threads=1, schedule=schedule, step_size=fl.Constant(0.5))
    d, P, threads, period, batch, dtype = CASES[name]
    return steps(dense(d, dtype), n_workers=P, n_threads=threads, schedule=fl.FixedPeriod(period), batch_size=batch,
                 step_size=fl.Constant(1.0 / d))

def dense(d, dtype):
    n = (400_000 if small else 8_000_000) // d
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d)).astype(dtype)
    y = np.where(X[:, 0] + rng.standard_normal(n) > 0, 1, -1).astype(dtype)
    return fl.Problem(X, y, loss="logistic", l2=1e-4)

def csr():
    from scipy import sparse

    n, d, entries = 4_000 if small else 100_000, 47_000, 72
    rng = np.random.default_rng(0)
    columns = np.sort(rng.integers(0, d, (n, entries)), axis=1).ravel().astype(np.int32)
    values = np.abs(rng.standard_normal(n * entries)).astype(np.float32) / np.float32(np.sqrt(entries))
    X = sparse.csr_matrix((values, columns, np.arange(0, n * entries + 1, entries, dtype=np.int32)), shape=(n, d))
    y = np.where(X @ rng.standard_normal(d) + 0.3 * rng.standard_normal(n) > 0, 1, -1)
    return fl.Problem(X, y.astype(np.float32), loss="logistic", l2=1e-5)

def steps(problem, *, layout="packed", n_steps=None, **options):
    visits = options["n_workers"] * options.get("batch_size", 1)
    run = fl.Run(problem, layout=layout, record=0, n_steps=n_steps or problem.n_samples // visits, **options)
    start = run.state.copy()
    run.advance()
    assert problem.objective(run.w) < problem.objective(np.zeros(problem.n_params))
    return run.advance, lambda: run.state.restore(start), run.t * visits, lambda: np.concatenate([run.w, run.w_bar])

def few(values):
    # Inner products with random vectors: of what is right but for rounding these are too.
    values = np.ravel(np.asarray(values, dtype=np.float64))
    assert np.isfinite(values).all()
    return (np.random.default_rng(2).standard_normal((8, values.size)) @ values).tolist()

kernels = [*CASES, *WAYS, *STREAMS, *REPLICATES, *CSR, *OBJECTIVES, *PASSES]
sys.stdout.write(json.dumps([fl.__file__, kernels]) + "\\n"); sys.stdout.flush()
for line in sys.stdin:
    name, asked = json.loads(line)
    if name not in works:
        works.clear()
        works[name] = prepare(name)
    work, begin_again, n, answer = works[name]
    if asked == "answer":
        sys.stdout.write(json.dumps(few(answer())) + "\\n"); sys.stdout.flush()
        continue
    best = float("inf")
    for _ in range(5):
        begin_again()
        begin = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - begin)
    sys.stdout.write(json.dumps(1e9 * best / n) + "\\n"); sys.stdout.flush()
"""


@dataclass(frozen=True)
class Change:
    """Nanoseconds a gradient (of an objective: a row and iterate) of one kernel in both commits.

    answers_agree: whether the two give the same but for rounding.
    """

    kernel: str
    base_ns: float
    head_ns: float
    answers_agree: bool = True

    @property
    def is_slower(self) -> bool:
        """Whether both limits are passed: a share alone is noise where steps are short, nanoseconds where long."""
        return self.head_ns > self.base_ns * (1.0 + RELATIVE) and self.head_ns > self.base_ns + ABSOLUTE_NS

    def __str__(self) -> str:
        word = "SLOWER" if self.is_slower else "" if self.answers_agree else "OTHER ANSWER"
        share = self.head_ns / self.base_ns - 1.0
        return f"{self.kernel:<48} {self.base_ns:9.2f} {self.head_ns:9.2f} {share:+7.1%}  {word}"


class Commit:
    """A commit's own process, which times the kernels it is asked for."""

    def __init__(self, folder: Path, small: bool) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", WORKER, "small" if small else "full"],
            cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)}, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )  # fmt: skip
        self.kernels: list[str]
        package, self.kernels = self._answer()
        if not Path(package).is_relative_to(folder):
            raise RuntimeError(f"the process was to import fastlsgd from {folder}, and took {package}")

    def time(self, kernel: str) -> float:
        """Return the nanoseconds a gradient of this kernel, the best of a few repeats."""
        return float(self._asked(kernel, "time"))

    def answer(self, kernel: str) -> list[float]:
        """Return what the kernel computes, in a few numbers."""
        return list(self._asked(kernel, "answer"))

    def _asked(self, kernel: str, what: str):
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([kernel, what]) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self):
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a commit's process ended; what it said stands above")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


@contextmanager
def built(commit: str, where: Path):
    """Build the commit from a worktree of its own; yield the folder it is installed in; remove both at the end."""
    worktree, installed = where / "worktree", where / "installed"
    _run("git", "-C", str(ROOT), "worktree", "add", "--detach", str(worktree), commit)
    try:
        _run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(installed), str(worktree))
        yield installed
    finally:
        _run("git", "-C", str(ROOT), "worktree", "remove", "--force", str(worktree))


def _run(*command: str, cwd: Path | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr.strip()}")


def measure(base: Commit, head: Commit, n_rounds: int) -> list[Change]:
    """Time every kernel n_rounds times in each commit, in turns, and the order turned round each time.

    What looks slower is measured three times as often again before it is believed: minima only fall.
    """
    changes = []
    for kernel in base.kernels:
        if kernel in head.kernels:
            agree = _agree(base.answer(kernel), head.answer(kernel))
            times: tuple[list[float], list[float]] = ([], [])
            for number in range(4 * n_rounds):
                if number >= n_rounds and not _change(kernel, times, agree).is_slower:
                    break
                for which in (0, 1) if number % 2 == 0 else (1, 0):
                    times[which].append((base, head)[which].time(kernel))
            changes.append(_change(kernel, times, agree))
    return changes


def _agree(ours: list[float], theirs: list[float]) -> bool:
    return max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) <= SAME * max(map(abs, theirs))


def _change(kernel: str, times: tuple[list[float], list[float]], agree: bool) -> Change:
    return Change(kernel, min(times[0]), min(times[1]), agree)


def main(arguments: list[str] | None = None) -> int:
    """Build, measure, show; return 1 if a kernel became slower or gives another answer."""
    parser = argparse.ArgumentParser(prog="python -m bench.regress", description=__doc__.splitlines()[0])
    parser.add_argument("base", help="the commit to compare with")
    parser.add_argument("head", nargs="?", default="HEAD", help="the commit in question (default: HEAD)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="small data: for trying it out")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error(f"--rounds must be at least 1, got {options.rounds}")
    with tempfile.TemporaryDirectory(prefix="fastlsgd-") as folder, ExitStack() as stack:
        commits = []
        for name in ("base", "head"):
            where = stack.enter_context(built(getattr(options, name), Path(folder) / name))
            commits.append(Commit(where, options.small))
            stack.callback(commits[-1].close)
        changes = measure(*commits, options.rounds)
    sys.stdout.write(f"{'nanoseconds a gradient':<48} {options.base[:9]:>9} {options.head[:9]:>9}\n")
    sys.stdout.writelines(f"{change}\n" for change in changes)
    slower = [change for change in changes if change.is_slower]
    sys.stdout.write(
        f"{len(slower)} of {len(changes)} kernels slower by more than {RELATIVE:.0%} and {ABSOLUTE_NS:g} ns\n"
    )
    others = [change.kernel for change in changes if not change.answers_agree]
    if others:
        sys.stdout.write(f"{len(others)} give another answer, so their times mean nothing: {'; '.join(others)}\n")
    return 1 if slower or others else 0


if __name__ == "__main__":
    sys.exit(main())
