"""What the pictures of ``fastlsgd reproduce`` have in common: colours of P, axes, points with intervals, legends.

Draws into figures and axes it is given: matplotlib itself is imported by ``plots`` alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..plots import FLOOR, FONT
from ..report import sig

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# P is an ordered quantity: its colours go from dark to light, and every P has its own marker.
_ORDERED = ("#2B0B57", "#3B528B", "#21918C", "#35B779", "#8CC63F", "#E3B505")
_MARKERS = ("s", "o", "^", "D", "v", "h")


def look_of(n_workers: int) -> tuple[str, str]:
    """Return colour and marker of a number of workers, the same in every picture."""
    place = min(int(math.log2(max(n_workers, 1))), len(_ORDERED) - 1)
    return _ORDERED[place], _MARKERS[place]


def frame(ax: Axes, title: str, xlabel: str, ylabel: str, *, x: str = "log", y: str = "log") -> None:
    """Give a panel its title, labels and scales."""
    ax.set_xscale(x)
    ax.set_yscale(y)
    ax.set_title(title, loc="left", fontsize=FONT + 1, color="#333333", pad=5)
    ax.set_xlabel(xlabel, fontsize=FONT + 1)
    ax.set_ylabel(ylabel, fontsize=FONT + 1)
    ax.tick_params(labelsize=FONT)
    ax.grid(True, color="#EEEEEE", linewidth=0.6)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def ticks(ax: Axes, which: str, at: Sequence[float], words: Sequence[str] | None = None) -> None:
    """Put the ticks of the axis "x" or "y" where they are wanted, and no others."""
    put = ax.set_xticks if which == "x" else ax.set_yticks
    put(list(at), list(words or (f"{value:g}" for value in at)))
    put([], minor=True)


def decades(ax: Axes, which: str) -> None:
    """Put ticks at the powers of ten; over less than two decades at 2 and 5 times them, or at more, too."""
    low, high = ax.get_xlim() if which == "x" else ax.get_ylim()
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    sets: list[tuple[float, ...]] = [(1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)]
    at: list[float] = []
    for mantissas in sets[0 if high >= 100 * low else 1 :]:
        at = [m * 10.0**k for k in powers for m in mantissas if low <= m * 10.0**k <= high]
        if len(at) >= 2:
            break
    if len(at) < 2:
        at = [(low**0.9) * (high**0.1), (low**0.1) * (high**0.9)]
    ticks(ax, which, at, [_tick(value) for value in at])


def _tick(value: float) -> str:
    """One digit where that says it all."""
    one, two = sig(value, 1), sig(value, 2)
    return one if float(one.replace(",", "")) == float(two.replace(",", "")) else two


def points(
    ax: Axes, x: npt.ArrayLike, mean: Any, low: Any, high: Any, color: str, marker: str = "o", **look: Any
) -> None:
    """Draw means with their intervals; what is not finite is left out."""
    x, mean, low, high = (np.asarray(values, dtype=float) for values in (x, mean, low, high))
    there = np.isfinite(mean)
    below = np.where(np.isfinite(low), np.maximum(mean - low, 0.0), 0.0)[there]
    above = np.where(np.isfinite(high), np.maximum(high - mean, 0.0), 0.0)[there]
    options: dict[str, Any] = {"markersize": 4, "elinewidth": 1.0, "linestyle": "none", "zorder": 4} | look
    ax.errorbar(x[there], mean[there], (below, above), color=color, marker=marker, **options)


def line(ax: Axes, x: npt.ArrayLike, y: npt.ArrayLike, color: str, style: str = "-", width: float = 1.1) -> None:
    """Draw a line through what is finite."""
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    there = np.isfinite(y)
    ax.plot(x[there], y[there], color=color, linestyle=style, linewidth=width, zorder=3)


def floor_band(ax: Axes, floor: float) -> None:
    """Shade what lies below the statistical floor, if the panel reaches so far."""
    low, high = ax.get_ylim()
    if low < floor:
        ax.axhspan(low, min(floor, high), color=FLOOR, zorder=0, linewidth=0)
        ax.set_ylim(low, high)


def legend(figure: Figure, entries: Iterable[tuple[str, dict[str, Any]]], y: float, ncols: int = 10) -> None:
    """Write a legend into a row across the figure, outside all panels: (words, options of a line) each."""
    ax = figure.axes[0]
    handles = [ax.plot([], [], label=words, **options)[0] for words, options in entries]
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0.055, y), ncols=ncols, fontsize=FONT, frameon=False,
        borderaxespad=0.0, columnspacing=1.6, handlelength=2.2,
    )  # fmt: skip


def head(figure: Figure, title: str, below: str) -> None:
    """Write the head of a picture in two lines: what it shows, and on what."""
    figure.suptitle(title, x=0.06, y=0.985, ha="left", va="top", fontsize=FONT + 3)
    height = figure.get_size_inches()[1]
    figure.text(0.06, 0.985 - 0.22 / height, below, ha="left", va="top", fontsize=FONT + 0.5, color="#444444")
