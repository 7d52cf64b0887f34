"""The language of ``--schedules``: "minibatch,16,growing:4" as a list of schedules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .schedules import FixedPeriod, GrowingPeriod, MiniBatch, OneShot, Periods, PostLocal, Schedule

SCHEDULE_ITEMS = (
    "minibatch, one-shot, a period such as 16, adaptive (mu), adaptive-eff (mu_eff), adaptive:MU, "
    "growing:FIRST[:POWER], post-local:SWITCH:PERIOD, periods:8:16:32"
)

SCHEDULES_HELP = (
    "When to average, separated by commas; default: minibatch,16,256,adaptive,adaptive-eff,one-shot. "
    "minibatch: at every step; one-shot: once, at the end; N: every N steps; adaptive and adaptive-eff: ever more "
    "rarely, by the measured mu or mu_eff; adaptive:MU: by that mu; growing:FIRST[:POWER]: periods that grow with "
    "the round; post-local:SWITCH:PERIOD: every step up to step SWITCH, then every PERIOD; periods:8:16:32: these."
)
# What the kernels can count to.
LARGEST = 2**62


def parse_schedules(text: str) -> list[Schedule]:
    """Turn "minibatch,16,one-shot" into the schedules that ``experiments.compare`` takes.

    Raises
    ------
    ValueError
        An item is no schedule; the message names it and lists what there is.

    Examples
    --------
    >>> parse_schedules("minibatch,16,growing:4")
    [MiniBatch(), FixedPeriod(period=16), GrowingPeriod(first=4, power=1.0)]
    """
    items = [item.strip() for item in text.split(",") if item.strip()]
    if not items:
        raise ValueError(f"--schedules names none; separate with commas: {SCHEDULE_ITEMS}")
    return [_schedule(item) for item in items]


def _schedule(item: str) -> Schedule:
    word, *values = item.lower().split(":")
    from .theory import AdaptivePeriod  # not before a list is parsed: --help needs none of it

    makers: dict[tuple[str, int], Callable[..., Any]] = {
        ("minibatch", 0): MiniBatch,
        ("mini-batch", 0): MiniBatch,
        ("one-shot", 0): OneShot,
        ("oneshot", 0): OneShot,
        ("adaptive", 0): lambda: AdaptivePeriod("auto"),
        ("adaptive-eff", 0): lambda: AdaptivePeriod("effective"),
        ("adaptive", 1): lambda mu: AdaptivePeriod(float(mu)),
        ("growing", 1): lambda first: GrowingPeriod(_whole(first)),
        ("growing", 2): lambda first, power: GrowingPeriod(_whole(first), float(power)),
        ("post-local", 2): lambda switch, period: PostLocal(_whole(switch), _whole(period)),
    }
    try:
        if word == "periods" and values:
            return Periods([_whole(value) for value in values])
        if not values and word.lstrip("-").isdecimal():
            return FixedPeriod(_whole(word))
        if (word, len(values)) in makers:
            return makers[word, len(values)](*values)
    except ValueError as error:
        reason = str(error)
        if "invalid literal" in reason or "could not convert" in reason:
            reason = "not a number where one is needed"
        raise ValueError(f"--schedules: {_shown(item)!r}: {reason}") from None
    raise ValueError(f"--schedules: {_shown(item)!r} is not a schedule; there are {SCHEDULE_ITEMS}")


def _whole(text: str) -> int:
    # int() itself refuses thousands of digits, in words that do not help here.
    if len(text) > 20 or int(text) > LARGEST:
        raise ValueError("a number of steps may be at most 2^62; one-shot averages only once")
    return int(text)


def _shown(item: str) -> str:
    return item if len(item) <= 60 else f"{item[:57]}..."
