"""Choose step sizes: a factor-2 ladder that grows until the best rung is bracketed, or a grid that is given.

Both are asked what they want scored next and told the scores, so that many can be climbed side by side: `tune`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from .lab import NEWTON, Lab, Method


class Ladder:
    """Choose the best of the multiples 2^j, lower scores being better.

    All rungs are scored on the first seed, until the best has two worse ones above it (or one that is infinite,
    or the highest allowed) and, below it, one that is worse by more than CLOSE or PATIENCE that are worse:
    where noise makes all rungs nearly alike, the best may lie beyond several that are a little worse. Rungs
    within CLOSE of the best are then scored on every seed and their mean decides. As all rungs of a seed see
    the same samples, their ratios are known to some 5%, so a rung beyond CLOSE would not win by more seeds.

    Parameters
    ----------
    seeds : sequence of int
    allowed : function of a multiple
        Whether it may be tried.
    start : int
        The rung to begin around; lowered until it is allowed.
    """

    CLOSE = 1.3
    # On 20 problems of pure noise the choice missed the best of a wide grid by up to 39% with 2, 17% with 4 and
    # not at all with 6, for 15% more tuning runs than with 2.
    PATIENCE = 6
    HIGHEST = 40

    def __init__(self, seeds: Sequence[int], allowed: Callable[[float], bool], start: int = 0) -> None:
        self.seeds = tuple(seeds)
        self.scores: dict[int, dict[int, float]] = {}
        self._allowed = allowed
        start = min(start, self.HIGHEST)
        while start > -self.HIGHEST and not allowed(2.0**start):
            start -= 1
        self._start = [start - 1, start, start + 1] if self._may(start + 1) else [start - 1, start]

    def multiple(self, j: int) -> float:
        """Return the multiple of rung j."""
        return 2.0**j

    def tell(self, j: int, seed: int, score: float) -> None:
        """Note a score; inf for a run that diverged."""
        self.scores.setdefault(j, {})[seed] = score

    def wanted(self) -> list[tuple[int, int]]:
        """Return the (rung, seed) to be scored next: none when the choice is made."""
        first = self.seeds[0]
        if not self.scores:
            return [(j, first) for j in self._start]
        if rungs := self._to_bracket(self._leader()):
            return [(j, first) for j in rungs]
        close = self._close()
        missing = [(j, s) for j in close for s in self.seeds if len(close) > 1 and s not in self.scores[j]]
        return missing or [(j, first) for j in self._to_bracket(self.best)]

    @property
    def best(self) -> int:
        """The rung chosen, by what has been scored so far."""
        close = self._close()
        return min(close, key=lambda j: (sum(self.scores[j].values()) / len(self.scores[j]), self._rank(j)))

    def mean_scores(self) -> list[tuple[float, float]]:
        """Return (multiple, mean score over the seeds it was scored on), rising."""
        return [(self.multiple(j), sum(s.values()) / len(s)) for j, s in sorted(self.scores.items())]

    def _rank(self, j: int) -> float:
        """The order of rungs of equal score."""
        return j

    def _on_first(self, j: int) -> float:
        return self.scores[j][self.seeds[0]]

    def _leader(self) -> int:
        return min(self.scores, key=lambda j: (self._on_first(j), j))

    def _close(self) -> list[int]:
        leader = self._leader()
        return [j for j in self.scores if j == leader or not self._is_beyond(j, leader)]

    def _is_beyond(self, j: int, leader: int) -> bool:
        """Whether rung j is worse than the leader by more than noise."""
        return self._on_first(j) > self.CLOSE * self._on_first(leader)

    def _may(self, j: int) -> bool:
        return abs(j) <= self.HIGHEST and self._allowed(2.0**j)

    def _to_bracket(self, best: int) -> list[int]:
        low, top = min(self.scores), max(self.scores)
        rungs = [top + 1] if top - best < 2 and math.isfinite(self._on_first(top)) and self._may(top + 1) else []
        is_open = best - low < self.PATIENCE and not any(self._is_beyond(j, best) for j in range(low, best))
        return [*rungs, low - 1] if is_open and self._may(low - 1) else rungs


class Grid(Ladder):
    """Choose among the multiples given, all of them scored on all seeds; ``preferred`` wins ties, then the lowest."""

    def __init__(self, seeds: Sequence[int], multiples: Sequence[float], preferred: float | None = None) -> None:
        super().__init__(seeds, lambda _: True)
        self._preferred = preferred
        self._multiples = sorted({float(multiple) for multiple in multiples})
        if not self._multiples or not all(0 < multiple < math.inf for multiple in self._multiples):
            raise ValueError(f"grid must hold positive multiples of the common step, got {multiples!r}")

    def multiple(self, j: int) -> float:
        """Return the multiple at place j, rising."""
        return self._multiples[j]

    def wanted(self) -> list[tuple[int, int]]:
        """Return what has not been scored yet."""
        rungs = range(len(self._multiples))
        return [(j, s) for j in rungs for s in self.seeds if s not in self.scores.get(j, {})]

    def _rank(self, j: int) -> float:
        return -1 if self.multiple(j) == self._preferred else j

    def _close(self) -> list[int]:
        return list(self.scores)


def tune(
    lab: Lab, methods: Sequence[Method], seeds: Sequence[int], grid: Sequence[float] | None = None
) -> dict[Method, Ladder]:
    """Score the steps of all methods on the tuning seeds, side by side, until each has chosen its own.

    Parameters
    ----------
    lab : Lab
        Whose runs they are; it remembers them.
    methods : sequence of Method
    seeds : sequence of int
        Not those that are reported.
    grid : sequence of float or None
        Multiples of the common step to choose from, instead of the growing ladder.

    Returns
    -------
    dict of Ladder
        By method, the bases of methods included; ``ladder.multiple(ladder.best)`` is a method's own step.
    """
    tuned = dict.fromkeys([*methods, *(m.base for m in methods if m.base is not None)])
    ladders = {m: _ladder(lab, m, seeds, grid) for m in tuned if m.name != NEWTON}
    _climb(lab, ladders)
    newton = {m: _among_tried(seeds, ladders[m.base]) for m in methods if m.name == NEWTON and m.base}
    # Where a Newton step is exact, what remains is rounding, and no reason for a step of its own.
    _climb(lab, newton, least=10 * lab.rounding)
    return ladders | newton


def _climb(lab: Lab, ladders: Mapping[Method, Ladder], least: float = 0.0) -> None:
    """Score what ladders want, side by side, until they want nothing; excesses below ``least`` count as that."""
    while asked := [(m, j, seed) for m, ladder in ladders.items() for j, seed in ladder.wanted()]:
        keys = [(m, ladders[m].multiple(j), seed) for m, j, seed in asked]
        lab.answer(keys)
        for (m, j, seed), key in zip(asked, keys, strict=True):
            ladders[m].tell(j, seed, max(lab.excess[key], least))


def _among_tried(seeds: Sequence[int], base: Ladder) -> Grid:
    """A Newton step costs a Hessian: choose among the steps its base was run with, preferably the base's own."""
    tried = base.mean_scores()
    finite = [multiple for multiple, score in tried if math.isfinite(score)]
    return Grid(seeds, finite or [multiple for multiple, _ in tried], preferred=base.multiple(base.best))


def _ladder(lab: Lab, method: Method, seeds: Sequence[int], grid: Sequence[float] | None) -> Ladder:
    if grid is not None:
        return Grid(seeds, grid)
    # A batch b times as large bears a step up to b times as large, and where noise rules it is the best: start there.
    start = round(math.log2(method.batch_size))
    return Ladder(seeds, lambda multiple: lab.allowed(method, multiple), start)
