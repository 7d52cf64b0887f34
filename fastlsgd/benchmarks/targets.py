"""The targets: what the package promises, as ratios of two sides that were timed in turns in one process.

A *scene* is a set of sides on the same data; a *target* names two of its sides and the limit of their ratio.
What has no limit stands beside the targets, for reading.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np

from ..problem import Problem
from ..schedules import FixedPeriod, MiniBatch, OneShot
from ..team import whole_team
from . import limits, memory, problems
from .compiled import Missing
from .peers import ScikitLearnSGD
from .timing import BusyCore, Pass, Side, alternate

Makers = Mapping[str, Callable[[], Side]]


@dataclass(frozen=True)
class Target:
    """A ratio with a limit: ``ours / against <= limit``, or ``against / ours >= limit`` where faster is the claim.

    Attributes
    ----------
    name : str
        What ``fastlsgd bench --list`` shows, and the words of ``fastlsgd bench WORD`` look for.
    what : str
        The row's sentence.
    scene, ours, against : str
        Where its two sides stand.
    limit, aim : float or None
        The promise, and what lies beyond it; None: shown beside the targets.
    times_faster : bool
        Which of the two ratios it is.
    unit : "ns" or "MB"
        In which its sides are shown.
    """

    name: str
    what: str
    scene: str
    ours: str
    against: str
    limit: float | None = None
    aim: float | None = None
    times_faster: bool = False
    unit: str = "ns"

    def ratio(self, figures: Mapping[str, float]) -> float:
        """Return the ratio of one round's figures."""
        ours, against = figures[self.ours], figures[self.against]
        return against / ours if self.times_faster else ours / against

    def meets(self, ratio: float, limit: float | None) -> bool:
        """Return whether the ratio is on the right side of the limit (of none: no)."""
        return limit is not None and (ratio >= limit if self.times_faster else ratio <= limit)


@dataclass(frozen=True)
class Outcome:
    """A target with what was measured: a ratio and both sides' figures for each round, or why there are none."""

    target: Target
    ratios: Sequence[float] = ()
    ours: Sequence[float] = ()
    against: Sequence[float] = ()
    skipped: str = ""

    @property
    def median(self) -> float:
        """The median ratio; nan if it was skipped."""
        return statistics.median(self.ratios) if self.ratios else float("nan")

    @property
    def verdict(self) -> str:
        """One of "aim met", "met", "not met", "skipped", and "" for what has no limit."""
        if self.skipped:
            return "skipped"
        if self.target.limit is None:
            return ""
        if self.target.meets(self.median, self.target.aim):
            return "aim met"
        return "met" if self.target.meets(self.median, self.target.limit) else "not met"

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain lists, numbers and text, for JSON."""
        row = asdict(self.target) | {"verdict": self.verdict, "skipped": self.skipped}
        for name in ("ratios", "ours", "against"):
            row[name] = [float(value) for value in getattr(self, name)]
        if self.ratios:
            row |= {"median": self.median, "low": min(self.ratios), "high": max(self.ratios)}
        return row


# ---- scenes: the sides on one problem, made when they are asked for ----


def _pass(problem: Problem, period: int = 256, **options: Any) -> Pass:
    return Pass(problem, schedule=FixedPeriod(period), **options).check()


def _dense(n_features: int, small: bool) -> Makers:
    """P = 2 and 8 at period 256, beside the peer and the read stream of the same rows."""
    problem = problems.logistic(n_features, small=small)
    return {
        "scikit-learn": lambda: ScikitLearnSGD(problem, shuffle=True).check(),
        "scikit-learn, in order": lambda: ScikitLearnSGD(problem).check(),
        "2 on 2": lambda: _pass(problem),
        "2 on 1": lambda: _pass(problem, n_threads=1),
        "8 on 2": lambda: _pass(problem, n_workers=8),
        "2 on 2, later epochs": lambda: _pass(problem, epoch=2),
        "2 on 2, view": lambda: _pass(problem, layout="view"),
        "read stream": lambda: partial(_stream_a_row, problem, limits.words_sum(problem.X)),
    }


def _stream_a_row(problem: Problem, total: int) -> float:
    """Seconds in which two threads read the bytes of a row and its label, as fast as they read all rows."""
    seconds = limits.read_s(problem.X, 2, best_of=1, total=total)
    return seconds / problem.n_samples * (1.0 + 1.0 / problem.n_features)


def _bf16(n_features: int, small: bool) -> Makers:
    """P = 2 at period 256 on rows stored as bfloat16, beside the same rows as float32."""
    problem = problems.logistic(n_features, small=small)
    return {
        "bf16, 2 threads": lambda: _pass(problem, storage="bf16"),
        "float32, 2 threads": lambda: _pass(problem),
        "bf16, 1 thread": lambda: _pass(problem, n_threads=1, storage="bf16"),
        "float32, 1 thread": lambda: _pass(problem, n_threads=1),
    }


def _batches(n_features: int, small: bool) -> Makers:
    problem = problems.logistic(n_features, small=small)
    return {
        "batch 1": lambda: _pass(problem),
        "batch 32": lambda: _pass(problem, batch_size=32),
    }


def _rounds(n_features: int, small: bool) -> Makers:
    problem = problems.logistic(n_features, small=small)
    return {
        "period 1": lambda: Pass(problem, schedule=MiniBatch()).check().a_round,
        "period 1, both": lambda: _both_threads(Pass(problem, schedule=MiniBatch()).check().a_round),
        "barrier": lambda: _barrier,
        "period 16": lambda: _pass(problem, 16),
        "period 16, both": lambda: _both_threads(_pass(problem, 16)),
        "one-shot": lambda: Pass(problem, schedule=OneShot()).check(),
        "8 workers": lambda: _pass(problem, 64, n_workers=8),
        "1,024 workers": lambda: _pass(problem, 64, n_workers=1024),
    }


def _both_threads(side: Side) -> Side:
    """The same with both threads at work, also where one alone would be sooner done."""

    def timed() -> float:
        with whole_team():
            return side()

    return timed


def _barrier() -> float:
    return limits.barrier_s()


def _blocks(n_features: int, small: bool) -> Makers:
    problem = problems.logistic(n_features, small=small)
    return {
        "packed, in order": lambda: _pass(problem),
        "blocks, view": lambda: _pass(problem, sampling="blocks", layout="view"),
    }


def _sparse(small: bool) -> Makers:
    problem = problems.csr(small=small)
    return {
        "scikit-learn": lambda: ScikitLearnSGD(problem, shuffle=True).check(),
        "scikit-learn, in order": lambda: ScikitLearnSGD(problem).check(),
        "2 on 2": lambda: _pass(problem),
        "2 on 1": lambda: _pass(problem, n_threads=1),
        "one-shot": lambda: Pass(problem, schedule=OneShot()).check(),
    }


def _objective(small: bool) -> Makers:
    problem = problems.logistic(100, small=small)
    iterates = np.random.default_rng(1).standard_normal((64, problem.n_params)) / 10

    def evaluate(w: np.ndarray) -> Side:
        X = problem.X.astype(np.float64)
        for value, at in zip(np.atleast_1d(problem.objective(w)), w, strict=True):
            plain = np.logaddexp(0.0, -(X @ at) * problem.y).mean() + 0.5 * problem.l2 * at @ at
            if abs(value - plain) > 1e-12 * plain:
                raise RuntimeError(f"the objective is {value!r}, in plain NumPy {plain!r}")
        return partial(_timed, problem.objective, w)

    return {
        "64 iterates": lambda: evaluate(iterates),
        "one pass": lambda: evaluate(iterates[:1]),
        "read stream": lambda: partial(limits.read_s, problem.X, 2, best_of=1, total=limits.words_sum(problem.X)),
    }


def _timed(function: Callable[..., Any], *arguments: Any) -> float:
    from time import perf_counter

    begin = perf_counter()
    function(*arguments)
    return perf_counter() - begin


def _busy(period: int, small: bool) -> Makers:
    problem = problems.logistic(100, small=small)
    # Long enough for the scheduler to do to it what it does: some tenths of a second.
    work = Pass(problem, n_workers=8, n_steps=20 * problem.n_samples // 8, schedule=FixedPeriod(period))

    def with_a_busy_core() -> Side:
        busy = BusyCore()

        def loaded() -> float:
            with busy.at_work():
                return work()

        return loaded

    return {"quiet": lambda: work.check(), "one core busy": with_a_busy_core}


def _memory(small: bool) -> Makers:
    n, d = (100_000, 100) if small else (1_000_000, 100)

    def sides(layout: str) -> Makers:
        seen: list[memory.Growth] = []

        def grown() -> float:
            seen[:] = [memory.measure(layout, n, d)]
            return float(seen[0].grown)

        return {layout: lambda: grown, f"{layout}, promised": lambda: lambda: float(seen[0].promised)}

    return {name: maker for layout in memory.LAYOUTS for name, maker in sides(layout).items()}


SCENES: dict[str, Callable[[bool], Makers]] = {
    **{f"dense d={d}": partial(_dense, d) for d in (20, 100, 1_000)},
    "bf16 d=1000": partial(_bf16, 1_000),
    **{f"batches d={d}": partial(_batches, d) for d in (32, 100)},
    **{f"rounds d={d}": partial(_rounds, d) for d in (20, 100)},
    **{f"blocks d={d}": partial(_blocks, d) for d in (20, 100)},
    "sparse": _sparse,
    "objective": _objective,
    **{f"busy, period {period}": partial(_busy, period) for period in (16, 256)},
    "memory": _memory,
}


def _dense_targets(d: int, two: tuple[float, float], one: tuple[float, float]) -> list[Target]:
    scene, words = f"dense d={d}", f"d={d}, P=2, period 256"
    row = partial(Target, scene=scene, against="scikit-learn", times_faster=True)
    return [
        row(f"dense-2-threads-d{d}", f"{words}, 2 threads: times faster than scikit-learn", ours="2 on 2",
            limit=two[0], aim=two[1]),
        row(f"dense-1-thread-d{d}", f"{words}, 1 thread: times faster than scikit-learn", ours="2 on 1",
            limit=one[0], aim=one[1]),
        row(f"dense-view-d{d}", f"{words}, 2 threads, layout view: the same", ours="2 on 2, view"),
        row(f"dense-later-d{d}", f"{words}, 2 threads, later epochs: the same", ours="2 on 2, later epochs"),
        row(f"dense-in-order-d{d}", f"{words}, 2 threads: times faster than scikit-learn with shuffle=False",
            ours="2 on 2", against="scikit-learn, in order"),
    ]  # fmt: skip


def _target(name: str, what: str, scene: str, ours: str, against: str, limit: float, aim: float) -> Target:
    return Target(name, what, scene, ours, against, limit, aim)


TARGETS: tuple[Target, ...] = (
    *_dense_targets(20, (18, 22), (9, 12)),
    *_dense_targets(100, (28, 40), (15, 20)),
    *_dense_targets(1_000, (24, 35), (16, 20)),
    _target("8-workers-d20", "8 workers on 2 threads against 2 on 2, a gradient, d=20", "dense d=20",
            "8 on 2", "2 on 2", 0.55, 0.40),
    _target("8-workers-d1000", "8 workers on 2 threads against 2 on 2, a gradient, d=1000", "dense d=1000",
            "8 on 2", "2 on 2", 1.05, 1.0),
    Target("8-workers-scikit-learn", "8 workers on 2 threads, d=20: times faster than scikit-learn", "dense d=20",
           "8 on 2", "scikit-learn", 35, 45, times_faster=True),
    Target("8-workers-in-order", "8 workers on 2 threads, d=20: times faster than scikit-learn with shuffle=False",
           "dense d=20", "8 on 2", "scikit-learn, in order", times_faster=True),
    *(Target(f"bf16-{name.replace(' ', '-')}-d1000", f"rows stored as bf16, P=2, {name}, d=1000: against float32",
             "bf16 d=1000", f"bf16, {name}", f"float32, {name}", 1.8, 2.0, times_faster=True)
      for name in ("2 threads", "1 thread")),
    _target("batch-d32", "batch 32 against batch 1, a gradient, 2 threads, d=32", "batches d=32",
            "batch 32", "batch 1", 0.33, 0.2),
    _target("batch-d100", "batch 32 against batch 1, a gradient, 2 threads, d=100", "batches d=100",
            "batch 32", "batch 1", 0.6, 0.45),
    Target("stream-d1000", "fraction of the read stream, d=1000, P=2, 2 threads", "dense d=1000",
           "2 on 2", "read stream", 0.55, 0.85, times_faster=True),
    *(_target(f"period-1-d{d}", f"a round of period 1, P=2, at most 2 threads, d={d}, in bare barriers",
              f"rounds d={d}", "period 1", "barrier", 4.0, 2.5) for d in (20, 100)),
    *(Target(f"period-1-both-d{d}", f"the same with both threads at work, d={d}", f"rounds d={d}", "period 1, both",
             "barrier") for d in (20, 100)),
    _target("period-16", "period 16 against one-shot, a gradient, P=2, at most 2 threads, d=100", "rounds d=100",
            "period 16", "one-shot", 1.3, 1.15),
    Target("period-16-both", "the same with both threads at work", "rounds d=100", "period 16, both", "one-shot"),
    *(_target(f"1024-workers-d{d}", f"1,024 workers against 8, 2 threads, period 64, a gradient, d={d}",
              f"rounds d={d}", "1,024 workers", "8 workers", 1.3, 1.1) for d in (20, 100)),
    *(_target(f"blocks-d{d}", f"sampling blocks, layout view, against packed in order, d={d}", f"blocks d={d}",
              "blocks, view", "packed, in order", 1.25, 1.15) for d in (20, 100)),
    Target("sparse", "CSR, P=2, period 256, 2 threads: times faster than scikit-learn on the same CSR", "sparse",
           "2 on 2", "scikit-learn", 6, 10, times_faster=True),
    Target("sparse-one-shot", "CSR, the same one-shot", "sparse", "one-shot", "scikit-learn", times_faster=True),
    Target("sparse-1-thread", "CSR, period 256, 1 thread: the same", "sparse", "2 on 1", "scikit-learn",
           times_faster=True),
    Target("sparse-in-order", "CSR, the same against scikit-learn with shuffle=False", "sparse",
           "2 on 2", "scikit-learn, in order", times_faster=True),
    _target("objective", "objective of 64 iterates against one pass, d=100", "objective",
            "64 iterates", "one pass", 6.0, 4.0),
    Target("objective-stream", "objective of one iterate: fraction of the read stream, d=100", "objective",
           "one pass", "read stream", times_faster=True),
    *(_target(f"busy-period-{period}", f"one of two cores busy against quiet, P=8, d=100, period {period}",
              f"busy, period {period}", "one core busy", "quiet", 2.5, 2.0) for period in (16, 256)),
    Target("memory-view", "memory added, layout view, against 8 bytes a row + O(P d) + 4 MB", "memory",
           "view", "view, promised", 1.0, unit="MB"),
    Target("memory-packed", "memory added, layout packed, against data + 8 bytes a row + O(P d) + 4 MB", "memory",
           "packed", "packed, promised", 1.0, unit="MB"),
    Target("memory-mapped", "private memory added, mapped file, against 8 bytes a row + O(P d) + 4 MB", "memory",
           "mapped", "mapped, promised", 1.0, unit="MB"),
)  # fmt: skip


def select(words: Iterable[str]) -> list[Target]:
    """Return the targets whose name contains one of the words, in the order of the table; all, for no words.

    Raises
    ------
    ValueError
        A word names none.
    """
    words = list(words)
    for word in words:
        if not any(word in target.name for target in TARGETS):
            names = ", ".join(target.name for target in TARGETS)
            raise ValueError(f"no row's name contains {word!r}; the rows are {names}")
    return [target for target in TARGETS if not words or any(word in target.name for word in words)]


@dataclass
class Benchmark:
    """Measure targets, scene by scene; ``outcomes`` holds what there is, also after an interrupt.

    Attributes
    ----------
    targets : sequence of Target
    n_rounds : int
        How often the sides take turns.
    small : bool
        Small data, to see that all works: they lie in the caches, so the ratios are others.
    say : function of a line of text
        Told what goes on.
    """

    targets: Sequence[Target]
    n_rounds: int = 5
    small: bool = False
    say: Callable[[str], None] = lambda line: None
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def run(self) -> list[Outcome]:
        """Measure all targets; return their outcomes in the order of the targets."""
        for scene in dict.fromkeys(target.scene for target in self.targets):
            self._scene(scene, [target for target in self.targets if target.scene == scene])
        return self.done()

    def done(self) -> list[Outcome]:
        """Return the outcomes there are, in the order of the targets."""
        return [self.outcomes[target.name] for target in self.targets if target.name in self.outcomes]

    def _scene(self, scene: str, targets: Sequence[Target]) -> None:
        self.say(scene)
        sides: dict[str, Side] = {}
        missing: dict[str, str] = {}
        makers: Makers = {}
        wanted = list(dict.fromkeys(name for target in targets for name in (target.ours, target.against)))
        try:
            makers = SCENES[scene](self.small)
        except Missing as lacking:
            missing = dict.fromkeys(wanted, str(lacking))
        for name in wanted:
            if name in makers:
                try:
                    sides[name] = makers[name]()
                    sides[name]()  # once outside all rounds: what is missing is found now
                except Missing as lacking:
                    missing[name] = str(lacking)
                    sides.pop(name, None)
        figures: list[dict[str, float]] = []
        for number, of_a_round in enumerate(alternate(sides, self.n_rounds if sides else 0), start=1):
            self.say(f"{scene}, round {number} of {self.n_rounds}")
            figures.append(of_a_round)
        for target in targets:
            reason = missing.get(target.ours) or missing.get(target.against) or ""
            self.outcomes[target.name] = (
                Outcome(target, skipped=reason)
                if reason
                else Outcome(
                    target,
                    [target.ratio(row) for row in figures],
                    [row[target.ours] for row in figures],
                    [row[target.against] for row in figures],
                )
            )
