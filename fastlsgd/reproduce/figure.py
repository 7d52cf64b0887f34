"""Figure: what one figure of ``fastlsgd reproduce`` is, what it is asked, and what it hands back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import matplotlib.figure
    import pandas

# Replicates of a measured point: what every interval of the full set rests on at least, and of the quick one.
REPLICATES, QUICK_REPLICATES = 100, 20

Progress = Callable[[int, int, str], object]


def silent(done: int, total: int, label: str) -> None:
    """Take no note of the progress."""


@dataclass(frozen=True)
class Request:
    """What a figure is asked for: the same for all figures of one run.

    Attributes
    ----------
    quick : bool
        A small version, which shows that all works; its intervals rest on 20 replicates instead of 100.
    data : str
        The known data set of the figures that need one.
    sampling : "replacement" or "reshuffle"
        Of the runs on that data set.
    beside : bool
        A further problem of the full set: a coarse grid and runs of one pass.
    seed : int
        Of the first replicate; replicate r has seed + r.
    n_threads : int or None
        Changes the seconds and nothing else.
    progress : function of (done, total, label)
        To be called now and then.
    """

    quick: bool = False
    data: str = ""
    sampling: Literal["replacement", "reshuffle"] = "replacement"
    beside: bool = False
    seed: int = 0
    n_threads: int | None = None
    progress: Progress = field(default=silent, compare=False)

    @property
    def replicates(self) -> int:
        """How many runs a measured point is the mean of."""
        return QUICK_REPLICATES if self.quick else REPLICATES

    @property
    def seeds(self) -> range:
        """One for each replicate."""
        return range(self.seed, self.seed + self.replicates)


@dataclass(frozen=True)
class Made:
    """A figure that has been made.

    Attributes
    ----------
    table : DataFrame
        Every number that is drawn, with its interval, the replicates it rests on and what was predicted; tidy:
        strings, integers, booleans and floats only.
    draw : function of a matplotlib Figure
        Draws the picture into an empty figure of ``size_in`` inches; needs no import of matplotlib.
    words : list of str
        Sentences with figures: what the picture supports and what it does not.
    size_in : (float, float)
    grids : dict of DataFrame
        Small tables to be read, not drawn, by title; shown as they stand, their index too.
    """

    table: pandas.DataFrame
    draw: Callable[[matplotlib.figure.Figure], None]
    words: list[str]
    size_in: tuple[float, float] = (10.6, 4.7)
    grids: dict[str, pandas.DataFrame] = field(default_factory=dict)


@dataclass(frozen=True)
class Figure:
    """A figure that can be made: one file of this package each.

    Attributes
    ----------
    key : str
        What ``--figure`` takes: one letter.
    name : str
        Of its files, after the key.
    title : str
    claim : str
        What it is to show, in one sentence, before anything is measured.
    make : function of a Request, returning Made
        Runs all it needs. Interrupted by Ctrl-C it may lose what it has.
    needs_data : bool
        Whether it reads ``Request.data``; it is made once for each data set.
    beside : bool
        Whether the full set has it on further problems, too.
    """

    key: str
    name: str
    title: str
    claim: str
    make: Callable[[Request], Made]
    needs_data: bool = False
    beside: bool = False

    @property
    def stem(self) -> str:
        """How its files are called, without ending."""
        return f"{self.key}-{self.name}"
