"""The targets' outcomes as a table for the terminal, and as one sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from .targets import Outcome

STYLES = {"aim met": "bold green", "met": "green", "not met": "red", "skipped": "yellow", "": "dim"}


def table(outcomes: Sequence[Outcome]) -> Any:
    """Return the outcomes as a rich Table, a row each; what has no limit is dim.

    Beside median and range of the ratio stand both sides' best: a gradient's, a round's or a pass's time.

    Raises
    ------
    ImportError
        rich is not installed.
    """
    import rich.box
    import rich.table
    import rich.text

    grid = rich.table.Table(box=rich.box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    grid.add_column("what", overflow="fold")
    for heading in ("target", "aim", "median", "range", "ours : against"):
        grid.add_column(heading, justify="right", no_wrap=True)
    grid.add_column("", overflow="fold")
    for outcome in outcomes:
        target, verdict = outcome.target, outcome.verdict
        sign = ">=" if target.times_faster else "<="
        figures = ["-", "-", "-"]
        if outcome.ratios:
            figures = [number(outcome.median), f"{number(min(outcome.ratios))} .. {number(max(outcome.ratios))}"]
            figures.append(f"{_shown(outcome.ours, target.unit)} : {_shown(outcome.against, target.unit)}")
        grid.add_row(
            target.what,
            "" if target.limit is None else f"{sign} {number(target.limit)}",
            "" if target.aim is None else number(target.aim),
            *figures,
            rich.text.Text(f"skipped: {outcome.skipped}" if outcome.skipped else verdict, style=STYLES[verdict]),
            style="dim" if target.limit is None else None,
        )
    return grid


def _shown(values: Sequence[float], unit: str) -> str:
    """Return the best of the rounds with its unit: nanoseconds grow to milliseconds."""
    best = min(values)
    if unit == "MB":
        return f"{number(best / 1e6)} MB"
    return f"{number(best * 1e9)} ns" if best < 1e-5 else f"{number(best * 1e3)} ms"


def number(value: float) -> str:
    """Return the number with two digits behind the point, fewer where it is large."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def sentence(outcomes: Sequence[Outcome]) -> str:
    """Return how many targets were met, missed and skipped."""
    counts = Counter(outcome.verdict for outcome in outcomes if outcome.target.limit is not None)
    met = counts["met"] + counts["aim met"]
    return (
        f"{met} of {sum(counts.values())} targets met, {counts['aim met']} of them with the aim beyond; "
        f"{counts['not met']} not met, {counts['skipped']} skipped."
    )
