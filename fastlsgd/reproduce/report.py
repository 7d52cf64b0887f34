"""What was made, for people: a table for the terminal and a page with the pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .figure import Request

if TYPE_CHECKING:
    import pandas

    from .running import Outcome


def table(outcomes: Sequence[Outcome]) -> Any:
    """Return the outcomes as a rich Table: figure, claim, what was measured (the first sentence), seconds.

    Raises
    ------
    ImportError
        rich is not installed.
    """
    import rich.box
    import rich.table
    import rich.text

    grid = rich.table.Table(box=rich.box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_lines=True)
    grid.add_column("figure", no_wrap=True)
    grid.add_column("claim", ratio=2, overflow="fold")
    grid.add_column("measured", ratio=3, overflow="fold")
    grid.add_column("seconds", justify="right", no_wrap=True)
    for outcome in outcomes:
        figure = outcome.figure
        grid.add_row(
            f"({figure.key}) {figure.name}" + (f"\n{outcome.about}" if outcome.about else ""),
            rich.text.Text(figure.claim),
            rich.text.Text(outcome.made.words[0]),
            f"{outcome.seconds:.1f}",
        )
    return grid


def details(outcome: Outcome) -> list[Any]:
    """Return what says what a figure shows: its name, its sentences, and its grids as rich Tables."""
    import rich.box
    import rich.table

    figure, made = outcome.figure, outcome.made
    out: list[Any] = [f"({figure.key}) {outcome.title}", *(f"  - {words}" for words in made.words)]
    for title, frame in made.grids.items():
        grid = rich.table.Table(box=rich.box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        head, *rows = _cells(frame)
        for i, words in enumerate(head):
            grid.add_column(words, justify="left" if i == 0 else "right", no_wrap=True)
        for row in rows:
            grid.add_row(*row)
        out += ["", f"{title}:", grid]
    return out


def _cells(frame: pandas.DataFrame) -> list[list[str]]:
    """A small table as words, its head first; what is not known is empty."""
    head = [str(frame.index.name or ""), *map(str, frame.columns)]
    rows = [[str(name), *("" if value != value else str(value) for value in row)]
            for name, row in zip(frame.index, frame.to_numpy().tolist(), strict=True)]  # fmt: skip
    return [head, *rows]


def _markdown(frame: pandas.DataFrame) -> list[str]:
    head, *rows = _cells(frame)
    plain = ([cell.replace("|", r"\|") for cell in row] for row in (head, ["---"] * len(head), *rows))
    return [f"| {' | '.join(row)} |" for row in plain]


def page(outcomes: Sequence[Outcome], request: Request) -> str:
    """Return the page that stands beside the files, in Markdown."""
    size = f"{'quick, ' if request.quick else ''}at least {request.replicates} replicates"
    lines = ["# fastlsgd reproduce", "", f"{size}; seed {request.seed}.", ""]
    for outcome in outcomes:
        figure, (csv, parquet, png) = outcome.figure, (path.name for path in outcome.files)
        lines += [
            f"## ({figure.key}) {outcome.title}",
            "",
            f"Claim: {figure.claim}",
            "",
            f"![{outcome.title}]({png})",
            "",
        ]
        lines += [f"- {sentence}" for sentence in outcome.made.words]
        for title, frame in outcome.made.grids.items():
            lines += ["", f"{title}:", "", *_markdown(frame)]
        lines += ["", f"Numbers: [{csv}]({csv}), [{parquet}]({parquet}). {outcome.seconds:.1f} seconds.", ""]
    return "\n".join(lines)
