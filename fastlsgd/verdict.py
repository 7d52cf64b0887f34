"""A comparison in one sentence: what it means for its user.

The sentence is chosen by a list of rules, the first to hold wins. Every rule is a pure function of a `Case` and never
claims more than the intervals allow. Works on any object with the attributes of ``experiments.Comparison``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .report import REFERENCE, interval, rounds, sig, step

# "As good" is within ten percent: a tenth of the excess objective is far below what any test set can see.
AS_GOOD = 1.1
# A second-order method must win by this much before it is worth d^2 floats and a pass of its own.
FAR_BETTER = 10.0
# Beyond so many floors a test metric that does not move says that the test part is small, not that nothing is lost.
NEAR_FLOOR = 10.0
# A ratio that changes by this factor between the common and the own step misleads.
MISLEADS = 2.0
# One worker with an excess so many times lower leaves the others nothing to do.
ONE_IS_ENOUGH = 2.0
# Fewer steps a worker than this are a start, not a run.
LEAST_STEPS = 10


@dataclass(frozen=True)
class Verdict:
    """What a comparison means for its user.

    Attributes
    ----------
    key : str
        The rule that was chosen: one of the keys of ``RULES``, a stable name.
    sentence : str
        One sentence: the main finding and, after a semicolon, the caveat that matters most.
    caveat : str
        The key of the second clause; empty without one.
    """

    key: str
    sentence: str
    caveat: str = ""


@dataclass(frozen=True)
class Case:
    """A comparison as the rules read it: every method at its own step."""

    reference: Any  # the row of mini-batch averaging, or None
    schedules: tuple[Any, ...]  # the other schedules
    baselines: dict[str, Any]
    common: dict[str, Any]  # schedules at the common step
    floor: float
    metric: str
    metric_se: float
    replicates: int
    all_schedules: tuple[Any, ...] = field(default=())
    squared: bool = False
    n_steps: int = LEAST_STEPS

    @classmethod
    def of(cls, comparison: Any) -> Case:
        """Sort the rows of a comparison."""
        facts = comparison.facts
        own = tuple(row for row in comparison.rows if row.kind == "schedule" and row.step == "own")
        floor = float(facts.get("floor", math.nan))
        return cls(
            reference=next((row for row in own if row.method == REFERENCE), None),
            schedules=tuple(row for row in own if row.method != REFERENCE),
            baselines={row.method: row for row in comparison.rows if row.kind == "baseline" and row.step != "common"},
            common={row.method: row for row in comparison.rows if row.kind == "schedule" and row.step == "common"},
            floor=floor if floor > 0 else math.nan,
            metric=facts.get("metric", ""),
            metric_se=float(facts.get("test_metric_se", math.nan)),
            replicates=int(facts["replicates"]),
            all_schedules=own,
            squared=facts.get("loss") == "squared",
            n_steps=int(facts.get("n_steps", LEAST_STEPS)),
        )

    def baseline(self, word: str) -> Any:
        """Return the baseline whose name holds the word, or None."""
        return next((row for method, row in self.baselines.items() if word in method), None)

    @property
    def rarest(self) -> Any:
        """The schedule with the fewest rounds."""
        return min(self.all_schedules, key=lambda row: row.n_rounds)


def versus(row: Any, other: Any) -> tuple[float, float, float]:
    """Return the ratio of two methods' mean excess and its 95% interval, paired over replicates.

    Delta method on the logarithm of the ratio of means, Student's t (textbook). nan where replicates are missing.
    """
    ratio = row.excess_mean / other.excess_mean if other.excess_mean > 0 else math.nan
    n = max(len(row.excess), len(other.excess))
    parts = []
    for one in (row, other):
        fixed = one.step == "none"  # deterministic: its one value stands for every replicate
        if len(one.excess) != n and not fixed:
            return ratio, math.nan, math.nan
        parts.append([0.0] * n if fixed else [value / one.excess_mean for value in one.excess])
    if n < 2 or not ratio > 0:
        return ratio, math.nan, math.nan
    from scipy.special import stdtrit  # not needed by `import fastlsgd`

    differences = [a - b for a, b in zip(*parts, strict=True)]
    middle = sum(differences) / n
    variance = sum((value - middle) ** 2 for value in differences) / (n - 1)
    half = float(stdtrit(n - 1, 0.975)) * math.sqrt(variance / n)
    return ratio, ratio * math.exp(-half), ratio * math.exp(half)


def _steps(row: Any, other: Any) -> str:
    """Name both steps of a ratio."""
    return f"own steps {step(row.eta)} and {step(other.eta)}"


def diverged(case: Case) -> str | None:
    """A schedule has no finite result even at its own step."""
    bad = [row.method for row in case.all_schedules if not math.isfinite(row.excess_mean)]
    if not bad:
        return None
    where = "their own steps" if len(bad) > 1 else "its own step"
    return (
        f"Nothing can be compared yet: {_and(bad)} diverged even at {where}, so scale the columns of X, raise l2 "
        "or make the steps smaller"
    )


def too_short(case: Case) -> str | None:
    """The runs have so few steps that they say nothing of a schedule."""
    if case.n_steps >= LEAST_STEPS:
        return None
    steps = "1 local step" if case.n_steps == 1 else f"{case.n_steps} local steps"
    return f"Too few steps to compare: {steps} a worker, so ask for more passes or fewer workers"


def unreplicated(case: Case) -> str | None:
    """Without a reference or without intervals nothing may be claimed."""
    if case.reference is None or not case.schedules:
        return "Nothing can be compared: a ratio needs mini-batch averaging and at least one other schedule"
    if case.replicates < 2 or math.isnan(case.reference.excess_low):
        return "A single replicate gives no interval, so nothing can be claimed: ask for at least 5 replicates"
    return None


def below_floor(case: Case) -> str | None:
    """Every schedule at its own step ends within the statistical floor."""
    if not all(row.excess_high <= case.floor for row in case.all_schedules):
        return None
    rarest = case.rarest
    return (
        f"Average as rarely as you like: every schedule at its own step ends within the statistical floor "
        f"({sig(case.floor)}), {rarest.method} with {rounds(rarest.n_rounds)} too, and differences below it do not "
        "change predictions"
    )


def second_order(case: Case) -> str | None:
    """Newton or L-BFGS is at least ten times better than every schedule, in fewer rounds than the best of them."""
    best = min(case.all_schedules, key=lambda row: row.excess_mean)
    found = []
    for word in ("Newton", "L-BFGS"):
        row = case.baseline(word)
        if row is None or not row.n_rounds < best.n_rounds:
            continue
        ceiling = row.excess_mean if math.isnan(row.excess_high) else row.excess_high
        if ceiling * FAR_BETTER <= min(one.excess_low for one in case.all_schedules):
            found.append(row)
    if not found:
        return None
    row = min(found, key=lambda one: (one.n_rounds, one.excess_mean))
    n_rounds = row.n_rounds
    if case.squared and "Newton" in row.method:
        # A Newton step on a quadratic ends at its minimum from any start: no one-shot run is needed before it.
        what, unless = (
            "solving the normal equations (one round of d^2 + d numbers) ends",
            "or d^2 numbers are too many",
        )
        passes, n_rounds = "", 1
    elif row.step == "none":
        passes = f" and {sig(row.n_gradients / best.n_gradients)} times the gradients"
        what, unless = f"{row.method} (no step to choose) ends", "or passes over them are dear"
    else:
        what, unless = (
            f"one-shot averaging (step {step(row.eta)}) and one Newton step end",
            "or the Hessian is too large",
        )
        passes = ""
    _, times, _ = versus(best, row)
    lower = f"at least {sig(times)} times lower than" if times < 1e6 else "at the optimum to rounding, unlike"
    return (
        f"Local SGD is not the answer here: {what} {lower} the best schedule, {best.method} at its own step "
        f"{step(best.eta)}, in {rounds(n_rounds)} instead of {best.n_rounds:,}{passes}, unless rows arrive as a "
        f"stream {unless}"
    )


def same_predictions(case: Case) -> str | None:
    """Every schedule is within a few floors, and the test metrics differ by less than its standard error."""
    if not all(row.excess_high <= NEAR_FLOOR * case.floor for row in case.all_schedules):
        return None
    if not case.metric or not _metric_spread(case) <= case.metric_se:
        return None
    worst = max(row.excess_high for row in case.all_schedules)
    return (
        f"For predictions average as rarely as you like, as far as the test part can tell: every schedule at its own "
        f"step ends within {_times(worst / case.floor)} the statistical floor ({sig(case.floor)}), and their test "
        f"{case.metric} differs by {_at_most(_metric_spread(case))} (standard error {sig(case.metric_se)})"
    )


def richardson(case: Case) -> str | None:
    """Two one-shot runs, extrapolated, are as good as averaging at every step."""
    row = case.baseline("Richardson")
    if row is None or not row.ratio_high <= AS_GOOD:
        return None
    return (
        f"One round is enough: one-shot Richardson (twice the gradients) has {_ratio(row)} times the excess of "
        f"mini-batch averaging with {case.reference.n_rounds:,} ({_steps(row, case.reference)})"
    )


def _pairs(case: Case) -> list[tuple[Any, Any, tuple[float, float, float]]]:
    """Return (schedule, large mini-batch with its rounds, large over schedule with interval)."""
    pairs = []
    for row in case.schedules:
        large = case.baselines.get(f"large mini-batch, rounds of {row.method}")
        if large is not None:
            pairs.append((row, large, versus(large, row)))
    return pairs


def large_batch(case: Case) -> str | None:
    """At equal rounds a large mini-batch is as good as local SGD, at every period compared."""
    pairs = _pairs(case)
    if not pairs or not all(high <= AS_GOOD for *_, (_, _, high) in pairs):
        return None
    row, large, ratio = max(pairs, key=lambda pair: pair[2][0])
    return (
        f"A large mini-batch does as well with the same rounds and gradients: at the {rounds(row.n_rounds)} of "
        f"{row.method} it has {_bracket(ratio)} times the excess of local SGD ({_steps(large, row)})"
    )


def _longest(case: Case) -> Any:
    good = [row for row in case.schedules if row.n_rounds < case.reference.n_rounds]
    good = [row for row in good if row.ratio_high <= AS_GOOD or row.excess_high <= case.floor]
    return min(good, key=lambda row: row.n_rounds, default=None)


def period(case: Case) -> str | None:
    """Some schedule with fewer rounds is as good as mini-batch averaging, or within the floor."""
    row = _longest(case)
    if row is None:
        return None
    saves = f"{_times(case.reference.n_rounds / row.n_rounds)} fewer rounds than mini-batch averaging"
    return (
        f"Use {row.method}, {saves}: it has {_ratio(row)} times the excess "
        f"({_steps(row, case.reference)}){_within(case, row)}"
    )


def _within(case: Case, row: Any) -> str:
    """Say why a schedule counts as good although its ratio alone does not show it."""
    if row.ratio_high <= AS_GOOD:
        return ""
    return f", still within the statistical floor ({sig(case.floor)})"


def _dearer(case: Case) -> bool:
    others = [row for row in case.schedules if row.n_rounds < case.reference.n_rounds]
    return bool(others) and all(row.ratio_low >= AS_GOOD for row in others)


def average_often(case: Case) -> str | None:
    """Every other schedule costs more than ten percent, and the differences are above the floor."""
    if not _dearer(case):
        return None
    others = [row for row in case.schedules if row.n_rounds < case.reference.n_rounds]
    least = 0.0 if math.isnan(case.floor) else case.floor
    if not all(row.excess_low - case.reference.excess_high > least for row in others):
        return None
    row = min(others, key=lambda one: one.ratio)
    above = "" if math.isnan(case.floor) else f" and differs by more than the statistical floor ({sig(case.floor)})"
    return (
        f"Average at every step: even the best other schedule, {row.method}, has {_ratio(row)} times the excess of "
        f"mini-batch averaging ({_steps(row, case.reference)}){above}"
    )


def trade_off(case: Case) -> str | None:
    """Every other schedule costs more than ten percent, but some differ by less than the floor."""
    if not _dearer(case):
        return None
    small = [row for row in case.schedules if row.excess_high - case.reference.excess_low <= case.floor]
    small = [row for row in small if row.n_rounds < case.reference.n_rounds]
    if not small:
        return None
    row = min(small, key=lambda one: one.n_rounds)
    return (
        f"Fewer rounds cost accuracy that predictions do not see: {row.method} has {_ratio(row)} times the excess of "
        f"mini-batch averaging ({_steps(row, case.reference)}), a difference below the statistical floor "
        f"({sig(case.floor)})"
    )


def undecided(case: Case) -> str:
    """No rule holds: the intervals are too wide."""
    row = max(case.schedules, key=lambda one: _breadth(one.ratio_low, one.ratio_high))
    return (
        f"These {case.replicates} replicates do not decide: {row.method} has {_ratio(row)} times the excess of "
        f"mini-batch averaging ({_steps(row, case.reference)}), so ask for more replicates"
    )


RULES: tuple[tuple[str, Callable[[Case], str | None]], ...] = (
    ("diverged", diverged),
    ("too-short", too_short),
    ("undecided", unreplicated),
    ("below-floor", below_floor),
    ("second-order", second_order),
    ("same-predictions", same_predictions),
    ("richardson", richardson),
    ("large-batch", large_batch),
    ("period", period),
    ("average-often", average_often),
    ("trade-off", trade_off),
    ("undecided", undecided),
)


# ---- the second clause ----


def one_worker(case: Case, key: str) -> str | None:
    """One worker alone, with the same gradients, is clearly better than every schedule."""
    one = case.baseline("one worker")
    if one is None or not all(one.n_gradients <= row.n_gradients for row in case.all_schedules):
        return None
    ratios = [(row, versus(row, one)) for row in case.all_schedules]
    if not all(low >= ONE_IS_ENOUGH for _, (_, low, _) in ratios):
        return None
    row, ratio = min(ratios, key=lambda pair: pair[1][0])
    return (
        f"one worker alone reaches {sig(one.excess_mean)} with the same gradients, where even the best schedule, "
        f"{row.method}, has {_bracket(ratio)} times that ({_steps(row, one)}): more passes are worth more than more "
        "workers here"
    )


def common_step(case: Case, key: str) -> str | None:
    """The ratio at the common step is far from the one at own steps, beyond both intervals."""
    if key in ("below-floor", "same-predictions"):  # costs that do not matter need no correction
        return None
    found = []
    for row in case.schedules:
        common = case.common.get(row.method)
        if common is None or not (row.ratio > 0 and math.isfinite(common.ratio) and common.ratio > 0):
            continue
        if common.ratio_low > row.ratio_high or common.ratio_high < row.ratio_low:
            found.append((max(common.ratio / row.ratio, row.ratio / common.ratio), row, common))
    if not found:
        return None
    factor, row, common = max(found, key=lambda item: item[0])
    if factor < MISLEADS:
        return None
    over = common.ratio > row.ratio
    agree = {one.method for times, one, its in found if times >= MISLEADS and (its.ratio > one.ratio) is over}
    rarer = {one.method for one in case.schedules if one.n_rounds < case.reference.n_rounds}
    # One schedule says nothing about rare averaging in general.
    general = len(rarer) > 1 and rarer <= agree
    what = f"rare averaging costs: {row.method}" if general else f"{row.method} costs: it"
    return (
        f"the common step {'overstates' if over else 'understates'} what {what} has {_times(common.ratio)} the "
        f"excess of mini-batch averaging at {step(common.eta)} for both, {_times(row.ratio)} at "
        f"{_steps(row, case.reference)}"
    )


def near_floor(case: Case, key: str) -> str | None:
    """The differences between schedules do not change predictions."""
    if key in ("same-predictions", "below-floor", "trade-off") or same_predictions(case) is None:
        return None
    worst = max(row.excess_high for row in case.all_schedules)
    return (
        f"but every schedule at its own step is within {_times(worst / case.floor)} the statistical floor "
        f"({sig(case.floor)}) and their test {case.metric} differs by {_at_most(_metric_spread(case))} "
        f"(standard error {sig(case.metric_se)}), so the test part cannot tell their predictions apart"
    )


def few_rounds(case: Case, key: str) -> str | None:
    """With few rounds local SGD beats the large mini-batch; where it also loses, both are named."""
    pairs = _pairs(case)
    wins = [pair for pair in pairs if pair[2][1] >= AS_GOOD]
    if key in ("same-predictions", "below-floor") or not wins:
        return None
    row, large, ratio = min(wins, key=lambda pair: pair[0].n_rounds)
    lost = [pair for pair in pairs if pair[2][2] <= 1 / AS_GOOD]
    but = ""
    if lost:
        other, its_large, its_ratio = min(lost, key=lambda pair: pair[2][0])
        but = (
            f", but loses to it with {rounds(other.n_rounds)}, where the large mini-batch has {_bracket(its_ratio)} "
            f"times the excess of {other.method} ({_steps(its_large, other)})"
        )
    few = "" if lost else "as few as "
    return (
        f"with {few}{rounds(row.n_rounds)} local SGD beats the large mini-batch, which has {_bracket(ratio)} "
        f"times the excess of {row.method} ({_steps(large, row)}){but}"
    )


def still_period(case: Case, key: str) -> str | None:
    """The longest good period, where the main finding is another method."""
    row = _longest(case)
    if key not in ("second-order", "richardson", "large-batch") or row is None:
        return None
    return (
        f"among schedules, {row.method} needs {_times(case.reference.n_rounds / row.n_rounds)} fewer rounds than "
        f"mini-batch averaging at {_ratio(row)} times its excess ({_steps(row, case.reference)}){_within(case, row)}"
    )


def squared_period(case: Case, key: str) -> str | None:
    """The longest good period, before all else where the normal equations win: it answers "how often?"."""
    return still_period(case, key) if case.squared and key == "second-order" else None


CAVEATS: tuple[tuple[str, Callable[[Case, str], str | None]], ...] = (
    ("period", squared_period),
    ("one-worker", one_worker),
    ("common-step", common_step),
    ("near-floor", near_floor),
    ("few-rounds", few_rounds),
    ("period", still_period),
)


def verdict(comparison: Any) -> Verdict:
    """Choose the one sentence that says what the comparison means for this user.

    The first rule of ``RULES`` that holds gives the main clause, the first of ``CAVEATS`` the second. A ratio always
    comes with both steps, and holds with its whole 95% interval or is not claimed.

    Parameters
    ----------
    comparison : Comparison
        Or any object with ``rows`` and ``facts`` like it.

    Returns
    -------
    Verdict
    """
    case = Case.of(comparison)
    key, clause = next((key, text) for key, rule in RULES if (text := rule(case)))
    if case.reference is None or key in ("diverged", "undecided", "too-short"):
        return Verdict(key, clause + ".")
    caveat, second = next(((name, text) for name, rule in CAVEATS if (text := rule(case, key))), ("", ""))
    return Verdict(key, f"{clause}; {second}." if second else f"{clause}.", caveat)


# ---- words for numbers ----


def _times(factor: float) -> str:
    return f"{sig(factor)} times"


def _bracket(ratio: tuple[float, float, float]) -> str:
    return interval(*ratio)


def _ratio(row: Any) -> str:
    return interval(row.ratio, row.ratio_low, row.ratio_high)


def _metric_spread(case: Case) -> float:
    values = [row.test_metric for row in case.all_schedules]
    return max(values) - min(values)


def _at_most(difference: float) -> str:
    return "less than 0.0001" if difference < 1e-4 else f"at most {sig(difference)}"


def _breadth(low: float, high: float) -> float:
    return math.inf if math.isnan(low) or math.isnan(high) else high - low


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
