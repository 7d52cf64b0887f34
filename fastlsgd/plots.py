"""Pictures: a comparison (excess against rounds and against gradients) and a single run.

Functions draw into the axes they are given, or into a new figure, and never show it. Labels are placed by a
small deterministic search, so that the same numbers give the same picture and no two labels overlap.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .report import LARGE_BATCH, REFERENCE, by_method, passes, plain, short_name, sig

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Look", "looks", "save", "save_tradeoff", "trace", "tradeoff"]

# Okabe and Ito's palette (recalled): told apart by the colour-blind, which a test simulates for the first six.
BLACK, BLUE, VERMILLION, GREEN, PURPLE, ORANGE = "#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"
SKY, GREY, BROWN, OLIVE = "#3B94C9", "#7F7F7F", "#7A4B2A", "#8A8A1F"
FLOOR = "#DDDDDD"

SIZE_IN, DPI = (1600 / 150, 700 / 150), 150
FONT = 7.5
# Points between the end of the longest curve and its label.
LEADER = 26

Limits = tuple[float, float]
Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in points


@dataclass(frozen=True)
class Look:
    """How a method is drawn, the same in every panel."""

    color: str
    marker: str = "o"
    line: str = "-"
    filled: bool = True


def looks(methods: Iterable[str]) -> dict[str, Look]:
    """Return the look of each method: schedules are filled dots, baselines hollow markers and broken lines.

    A large mini-batch has the colour of the schedule whose rounds it has, what follows a one-shot run the colour
    of one-shot averaging.
    """
    fixed = {
        REFERENCE: Look(BLACK),
        "one-shot": Look(ORANGE),
        "one worker": Look(GREY, "s", ":", filled=False),
        "L-BFGS": Look(SKY, "P", "-.", filled=False),
    }
    after_one_shot = {
        "Richardson": Look(ORANGE, "D", "--", filled=False),
        "Newton": Look(ORANGE, "^", ":", filled=False),
    }
    free = [BLUE, VERMILLION, GREEN, PURPLE, BROWN, OLIVE]
    methods = list(dict.fromkeys(methods))
    out: dict[str, Look] = {}
    for method in methods:
        last_word = next((look for word, look in after_one_shot.items() if word in method), None)
        if method in fixed:
            out[method] = fixed[method]
        elif last_word is not None:
            out[method] = last_word
        elif not LARGE_BATCH.fullmatch(method):
            out[method] = Look(free[sum(look.color in free for look in out.values()) % len(free)])
    for method in methods:
        match = LARGE_BATCH.fullmatch(method)
        if match is not None:
            twin = out.get(match[1], Look(GREY))
            out[method] = Look(twin.color, "s", "--", filled=False)
    return out


def tradeoff(comparison: Any, axes: Sequence[Axes] | None = None) -> Figure:
    """Draw what rounds and gradients buy: every method at its own step, and the statistical floor.

    Left, the excess objective of w_bar against rounds (both logarithmic; a method that never averages stands at
    zero): a dot a method with its 95% interval. Right, the excess against gradients, one curve a method. What lies
    outside the panel is marked at its edge, with its value.

    Parameters
    ----------
    comparison : Comparison
        Or any object with ``rows`` and ``facts`` like it.
    axes : sequence of two Axes, or None
        None makes a figure of 1600 x 700 pixels at 150 dots per inch.

    Returns
    -------
    Figure
        Not shown; ``figure.savefig(path)`` writes it.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    ValueError
        Not two axes, or no method with a finite result at its own step.
    """
    rows = [row for row in by_method(comparison.rows) if row.step != "common" and math.isfinite(row.excess_mean)]
    if not rows:
        raise ValueError("there is nothing to draw: no method has a finite excess objective at its own step")
    if axes is None:
        figure = _matplotlib("pyplot").figure(figsize=SIZE_IN, dpi=DPI)
        left, right = _two_panels(figure, comparison)
    else:
        if len(axes) != 2:
            raise ValueError(f"axes must be two Axes (rounds, gradients), got {len(axes)}")
        left, right = axes
        figure = left.figure
    floor = float(comparison.facts.get("floor", math.nan))
    look = looks([row.method for row in by_method(comparison.rows)])
    limits = _excess_limits(rows, floor)
    _against_rounds(left, rows, look, floor, limits)
    _against_gradients(right, rows, look, floor, limits, comparison.facts["seed"])
    return figure


def save_tradeoff(comparison: Any, path: str | os.PathLike[str]) -> None:
    """Write the picture of ``tradeoff`` as a PNG; the file appears whole or not at all.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    OSError
        The file cannot be written.
    """
    save(lambda figure: tradeoff(comparison, axes=_two_panels(figure, comparison)), path, SIZE_IN)


def save(draw: Callable[[Figure], object], path: str | os.PathLike[str], size_in: tuple[float, float]) -> None:
    """Write what ``draw`` puts into an empty figure as a PNG; the file appears whole or not at all.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    OSError
        The file cannot be written.
    """
    # Not a figure of pyplot: no window system is asked, and nothing stays open.
    figure = _matplotlib("figure").Figure(figsize=size_in, dpi=DPI)
    draw(figure)
    part = f"{os.fspath(path)}.part"
    try:
        figure.savefig(part, dpi=DPI, format="png")
        os.replace(part, path)
    except BaseException:
        if os.path.exists(part):
            os.remove(part)
        raise


def trace(trace: Any, ax: Axes | None = None) -> Axes:
    """Draw one run: the objective of w_bar (of w without an average) against rounds.

    The excess over the optimum, on a logarithmic axis, if ``problem.optimum()`` has been called; F itself if not.

    Parameters
    ----------
    trace : Trace
    ax : Axes or None
        None makes a new figure.

    Returns
    -------
    Axes

    Raises
    ------
    ImportError
        matplotlib is not installed.
    ValueError
        The trace has no records.
    """
    if len(trace) == 0:
        raise ValueError("the trace has no records; run with record=32 or more")
    if ax is None:
        ax = _matplotlib("pyplot").subplots()[1]
    column = "objective_w" if np.isnan(trace["objective_w_bar"]).all() else "objective_w_bar"
    rounds = trace["n_rounds"]
    optimum = trace.problem.known_optimum
    name = column.removeprefix("objective_")
    values = trace[column] if optimum is None else trace.excess(name)
    if optimum is not None:
        ax.set_yscale("log")
    ax.plot(rounds, values, marker="o", markersize=3, linewidth=1.2, color=BLUE)
    _rounds_axis(ax, float(rounds.max()))
    ax.set_ylabel(f"F({name})" if optimum is None else f"excess objective F({name}) - F(w*)")
    ax.grid(True, color="#EEEEEE", linewidth=0.6)
    ax.set_axisbelow(True)
    return ax


# ---- the two panels ----


def _two_panels(figure: Figure, comparison: Any) -> tuple[Axes, Axes]:
    left, right = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.065, right=0.99, top=0.865, bottom=0.115, wspace=0.16)
    figure.suptitle(_title(comparison), x=0.065, y=0.975, ha="left", fontsize=FONT + 2)
    return left, right


def _against_rounds(ax: Axes, rows: list[Any], look: dict[str, Look], floor: float, limits: Limits) -> None:
    low, high = limits
    outside = any(not low < row.excess_mean < high for row in rows)
    note = "; triangles: beyond the panel" if outside else ""
    _frame(ax, "rounds (averagings)", limits, f"one mark a method, mean and 95% interval{note}")
    _rounds_axis(ax, max(row.n_rounds for row in rows))
    points, taken = [], []
    for row in rows:
        style, x = look[row.method], row.n_rounds
        inside = low < row.excess_mean < high
        y = min(max(row.excess_mean, low * 1.12), high / 1.12)
        if inside and row.excess_high > row.excess_low:
            ends = max(row.excess_low, low), min(row.excess_high, high)
            ax.plot([x, x], ends, color=style.color, linewidth=1.1, solid_capstyle="butt", zorder=3)
            taken.append(_bar(ax, x, *ends))
        _mark(ax, x, y, style, 5.5, None if inside else "v" if row.excess_mean <= low else "^")
        taken.append(_around(ax, x, y, 4.5))
        words = short_name(row.method) if inside else f"{short_name(row.method)}: {sig(row.excess_mean)}"
        points.append((float(x), y, words, ink(style.color)))
    _floor_band(ax, floor, limits, taken, "statistical floor")
    _label_points(ax, points, taken)


def _mark(ax: Axes, x: float, y: float, style: Look, size: float, marker: str | None = None) -> None:
    ax.plot(
        [x], [y], marker or style.marker, color=style.color, markersize=size, zorder=4, markeredgewidth=size / 5,
        markerfacecolor=style.color if style.filled else "white", clip_on=False,
    )  # fmt: skip


def _against_gradients(
    ax: Axes, rows: list[Any], look: dict[str, Look], floor: float, limits: Limits, seed: int
) -> None:
    curves = {}
    for row in rows:
        curve = np.array([(n, y) for n, y in row.curve if n > 0 and y > 0], dtype=float).reshape(-1, 2)
        if len(curve):
            curves[row.method] = curve
    low, start, stop = limits[0], *_gradient_range(rows, curves, limits[0])
    above = [y for curve in curves.values() for n, y in curve if start <= n <= stop]
    high = max(limits[1], min(max(above, default=1.0), 1e3 * limits[1]))
    _frame(ax, "gradients", (low, high), f"one curve a method, w_bar along one run (seed {seed})")
    widest = max((_size(ax, short_name(method), FONT)[0] for method in curves), default=0.0)
    _gradients_axis(ax, start, stop, widest)
    labels = []
    for method, curve in curves.items():
        style = look[method]
        ax.plot(curve[:, 0], curve[:, 1], color=style.color, linestyle=style.line, linewidth=1.3, zorder=3)
        x, y = _leaves(curve, stop, low)
        _mark(ax, x, y, style, 4)
        labels.append((x, y, short_name(method), ink(style.color)))
    _floor_band(ax, floor, (low, high), [], "floor")
    _label_ends(ax, labels, widest)


def _gradient_range(rows: list[Any], curves: dict[str, np.ndarray], low: float) -> tuple[float, float]:
    """Return where the axis of gradients begins and ends: with the last curve, but within 30 times the schedules."""
    ends = [curves[row.method][-1, 0] for row in rows if row.method in curves and row.kind == "schedule"]
    last = max(ends, default=max((curve[-1, 0] for curve in curves.values()), default=10.0))
    first = min((curve[0, 0] for curve in curves.values()), default=1.0)
    # L-BFGS may take many more passes than the schedules: it must not squeeze them.
    stops = [_leaves(curve, 30 * last, low)[0] for curve in curves.values()]
    return min(max(last / 300, first), last / 2), max([last, *stops])


def _gradients_axis(ax: Axes, start: float, stop: float, widest: float) -> None:
    """Logarithmic from start, with room for a column of labels right of the last gradient."""
    panel = _panel(ax)
    share = min(0.6, (widest + LEADER + 4) / (panel[2] - panel[0]))
    ax.set_xscale("log")
    ax.set_xlim(start, stop * (stop / start) ** (share / (1 - share)))
    decades = range(math.ceil(math.log10(start)), math.floor(math.log10(stop)) + 1)
    ax.set_xticks([10.0**k for k in decades], [_count(10.0**k) for k in decades])
    ax.set_xticks([], minor=True)


def _leaves(curve: np.ndarray, stop: float, low: float) -> tuple[float, float]:
    """Return the end of a curve (n, excess), or where it first leaves the panel (both axes logarithmic)."""
    beyond = np.flatnonzero((curve[:, 0] > stop) | (curve[:, 1] < low))
    if not beyond.size:
        return curve[-1, 0], curve[-1, 1]
    j = int(beyond[0])
    if j == 0:
        return min(curve[0, 0], stop), max(curve[0, 1], low)
    (x0, y0), (x1, y1) = np.log(curve[j - 1]), np.log(curve[j])
    parts = [1.0]
    if curve[j, 0] > stop:
        parts.append((math.log(stop) - x0) / (x1 - x0))
    if curve[j, 1] < low:
        parts.append((math.log(low) - y0) / (y1 - y0))
    return math.exp(x0 + min(parts) * (x1 - x0)), math.exp(y0 + min(parts) * (y1 - y0))


def _excess_limits(rows: list[Any], floor: float) -> Limits:
    """Return the range of the excess axis: all schedules, the floor if near, baselines within two decades."""
    ours = [row for row in rows if row.kind == "schedule"] or rows
    means = [row.excess_mean for row in ours if row.excess_mean > 0]
    smallest, largest = min(means, default=1e-12), max(means, default=1e-11)
    lows = [row.excess_low for row in ours if row.excess_low > smallest / 10]
    highs = [row.excess_high for row in ours if row.excess_high < largest * 10]
    bottom, top = min([smallest, *lows]), max([largest, *highs])
    if floor > 0:
        bottom, top = min(bottom, max(floor / 2, bottom / 30)), max(top, min(floor, 30 * top))
    for row in rows:
        if smallest / 30 < row.excess_mean < 100 * largest:
            bottom, top = min(bottom, row.excess_mean), max(top, row.excess_mean)
    return bottom / 2, top * 2


def _frame(ax: Axes, xlabel: str, limits: tuple[float, float], title: str) -> None:
    ax.set_yscale("log")
    ax.set_ylim(*limits)
    # matplotlib's own labels of minor ticks are wide enough to meet the axis label.
    mantissas = (1, 2, 5) if limits[1] < 100 * limits[0] else (1,)
    decades = range(math.floor(math.log10(limits[0])), math.ceil(math.log10(limits[1])) + 1)
    ticks = [(m * 10.0**k, f"{m}e{k}") for k in decades for m in mantissas if limits[0] <= m * 10.0**k <= limits[1]]
    ax.set_yticks([at for at, _ in ticks], [words for _, words in ticks])
    ax.set_yticks([], minor=True)
    ax.set_xlabel(xlabel, fontsize=FONT + 1)
    ax.set_ylabel("excess objective F(w_bar) - F(w*)", fontsize=FONT + 1)
    ax.set_title(title, loc="left", fontsize=FONT + 0.5, color="#444444", pad=4)
    ax.tick_params(labelsize=FONT)
    ax.grid(True, color="#EEEEEE", linewidth=0.6)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def _rounds_axis(ax: Axes, most: float) -> None:
    ax.set_xscale("symlog", linthresh=1, linscale=0.45)
    decades = range(0, max(1, math.ceil(math.log10(max(most, 1)))) + 1)
    ax.set_xlim(-0.35, 10.0 ** decades[-1] * 2.2 if most > 0.4 * 10.0 ** decades[-1] else 10.0 ** decades[-1])
    ax.set_xticks([0, *(10.0**k for k in decades)], ["0", *(_count(10.0**k) for k in decades)])
    ax.set_xticks([], minor=True)
    ax.set_xlabel("rounds (averagings)")


def _count(n: float) -> str:
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if n >= unit:
            return f"{n / unit:g}{name}"
    return f"{n:g}"


def ink(color: str) -> str:
    """Return the color as letters have it: darker, as thin strokes look lighter than areas."""
    return "#" + "".join(f"{int(0.78 * int(color[i : i + 2], 16)):02X}" for i in (1, 3, 5))


def _title(comparison: Any) -> str:
    facts = comparison.facts
    return (
        f"{facts.get('name') or 'data'}: {facts['loss']} loss, l2 {plain(facts['l2'])}, {facts['n_samples']:,} x "
        f"{facts['n_features']:,}, P = {facts['n_workers']} workers, {passes(facts['n_passes'])}, "
        f"{facts['replicates']} replicates; every method at its own best step"
    )


# ---- labels ----


def _to_points(ax: Axes, x: float, y: float) -> tuple[float, float]:
    at = ax.transData.transform((x, y)) * 72 / ax.figure.dpi
    return float(at[0]), float(at[1])


def _around(ax: Axes, x: float, y: float, radius: float) -> Box:
    px, py = _to_points(ax, x, y)
    return px - radius, py - radius, px + radius, py + radius


def _bar(ax: Axes, x: float, low: float, high: float) -> Box:
    (px, y0), (_, y1) = _to_points(ax, x, low), _to_points(ax, x, high)
    return px - 1, y0, px + 1, y1


def _overlap(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return width * height if width > 0 and height > 0 else 0.0


def _size(ax: Axes, words: str, size: float) -> tuple[float, float]:
    """Return width and height of a text in points."""
    text = ax.text(0, 0, words, fontsize=size)
    extent = text.get_window_extent()
    text.remove()
    return extent.width * 72 / ax.figure.dpi + 2, extent.height * 72 / ax.figure.dpi + 1


def _panel(ax: Axes) -> Box:
    box = ax.get_window_extent()
    scale = 72 / ax.figure.dpi
    return box.x0 * scale + 1, box.y0 * scale + 1, box.x1 * scale - 1, box.y1 * scale - 1


def _best(candidates: Iterable[Box], taken: list[Box], panel: Box, anchor: tuple[float, float] | None = None) -> Box:
    """Return the first box that is in the panel and free, or else the one with the least overlap.

    With an anchor, the straight line from there to the box must be free, too.
    """
    best, least = None, math.inf
    for box in candidates:
        outside = (box[2] - box[0]) * (box[3] - box[1]) - _overlap(box, panel)
        cost = 10 * max(0.0, outside - 1e-6) + sum(_overlap(box, other) for other in taken)
        if anchor is not None:
            cost += sum(_overlap(dot, other) for dot in _line(anchor, box) for other in taken)
        if cost < least:
            best, least = box, cost
        if cost == 0:
            break
    assert best is not None
    return best


def _nearest(anchor: tuple[float, float], box: Box) -> tuple[float, float]:
    return min(max(anchor[0], box[0]), box[2]), min(max(anchor[1], box[1]), box[3])


def _line(anchor: tuple[float, float], box: Box) -> list[Box]:
    """Return the way from a marker to the nearest point of a box as small boxes, the marker itself left out."""
    (x, y), (bx, by) = anchor, _nearest(anchor, box)
    length = math.hypot(bx - x, by - y)
    dots = []
    for k in range(3, int(length / 2)):
        cx, cy = x + (bx - x) * 2 * k / length, y + (by - y) * 2 * k / length
        dots.append((cx - 0.7, cy - 0.7, cx + 0.7, cy + 0.7))
    return dots


def _label_points(ax: Axes, points: list[tuple[float, float, str, str]], taken: list[Box]) -> None:
    """Write each point's words beside it where nothing else stands; a thin line leads to words further away."""
    panel = _panel(ax)
    # Points with many near neighbours first: they have the fewest places.
    at = [_to_points(ax, x, y) for x, y, *_ in points]
    crowd = [sum(math.hypot((px - qx) / 3, py - qy) < 25 for qx, qy in at) for px, py in at]
    for i in sorted(range(len(points)), key=lambda i: (-crowd[i], at[i][0], at[i][1])):
        x, y, words, color = points[i]
        px, py = at[i]
        width, height = _size(ax, words, FONT)
        box = _best(_places(px, py, width, height), taken, panel, anchor=(px, py))
        taken.append(box)
        _write(ax, (x, y), (px, py), box, words, color)


def _write(ax: Axes, at: tuple[float, float], anchor: tuple[float, float], box: Box, words: str, color: str) -> None:
    """Write words into a box (points), tied to the point `at` (data); a thin line bridges more than a gap."""
    cx, cy = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    ax.annotate(
        words, at, (cx - anchor[0], cy - anchor[1]), textcoords="offset points", ha="center", va="center",
        fontsize=FONT, color=color, zorder=5, annotation_clip=False,
    )  # fmt: skip
    end = _nearest(anchor, box)
    if math.hypot(end[0] - anchor[0], end[1] - anchor[1]) > 9:
        arrow = {"arrowstyle": "-", "linewidth": 0.6, "color": color, "shrinkA": 0, "shrinkB": 3.5}
        offset = (end[0] - anchor[0], end[1] - anchor[1])
        ax.annotate("", at, offset, textcoords="offset points", arrowprops=arrow, zorder=3, annotation_clip=False)


def _places(x: float, y: float, width: float, height: float) -> Iterable[Box]:
    """Yield boxes beside, above and below a point, nearest first."""
    for gap in (6, 9, 14, 20, 27, 35, 44, 54, 65, 80, 100):
        sides = [(gap + width / 2, 0.0), (-gap - width / 2, 0.0)]
        for part in (0.0, 0.5, -0.5, 1.0, -1.0):
            sides += [(part * width / 2, sign * (gap + height / 2)) for sign in (1, -1)]
        sides += [(sx * (0.7 * gap + width / 2), sy * (0.7 * gap + height / 2)) for sx in (1, -1) for sy in (1, -1)]
        for dx, dy in sides:
            yield x + dx - width / 2, y + dy - height / 2, x + dx + width / 2, y + dy + height / 2


def _label_ends(ax: Axes, labels: list[tuple[float, float, str, str]], widest: float) -> None:
    """Write the words of each curve in one column, in the order of the curves' ends, never overlapping."""
    if not labels:
        return
    panel = _panel(ax)
    height = max(_size(ax, words, FONT)[1] for *_, words, _ in labels) + 0.6
    at = [_to_points(ax, x, y) for x, y, *_ in labels]
    order = sorted(range(len(labels)), key=lambda i: (at[i][1], at[i][0], i))
    heights = _spread([at[i][1] for i in order], height, panel[1] + height / 2, panel[3] - height / 2)
    left = panel[2] - widest - 2
    for i, cy in zip(order, heights, strict=True):
        x, y, words, color = labels[i]
        px, py = at[i]
        arrow = {"arrowstyle": "-", "linewidth": 0.5, "color": color, "alpha": 0.6, "shrinkA": 0, "shrinkB": 2}
        ax.annotate(
            words, (x, y), (left - px, cy - py), textcoords="offset points", ha="left", va="center", fontsize=FONT,
            color=color, zorder=5, annotation_clip=False, arrowprops={**arrow, "relpos": (0, 0.5)},
        )  # fmt: skip


def _spread(wanted: list[float], gap: float, low: float, high: float) -> list[float]:
    """Return positions in [low, high], at least `gap` apart, close to those wanted (ascending).

    The gap shrinks where there is no room. Neighbours that are too close form a group around the mean of what they
    want; groups that meet are joined.
    """
    n = len(wanted)
    gap = min(gap, (high - low) / max(1, n - 1))
    groups: list[list[float]] = []  # [first position, count]
    for value in wanted:
        groups.append([value, 1.0])
        while True:
            first, count = groups[-1]
            first = min(max(first, low), high - (count - 1) * gap)
            groups[-1] = [first, count]
            if len(groups) < 2 or groups[-2][0] + groups[-2][1] * gap <= first + 1e-9:
                break
            first, count = groups.pop()
            before, n_before = groups.pop()
            total = n_before + count
            middle = (
                n_before * (before + (n_before - 1) * gap / 2) + count * (first + (count - 1) * gap / 2)
            ) / total
            groups.append([middle - (total - 1) * gap / 2, total])
    return [first + k * gap for first, count in groups for k in range(int(count))]


def _floor_band(ax: Axes, floor: float, limits: Limits, taken: list[Box], words: str) -> None:
    """Shade the excess below which differences are sampling noise, and say what the grey is."""
    if not floor > 0:
        return
    low, high = limits
    if floor <= low:
        words = f"{words} {sig(floor)}: below this panel"
    else:
        ax.axhspan(low, min(floor, high), color=FLOOR, zorder=0, linewidth=0)
        words = f"{words} {sig(floor)}"
    width, height = _size(ax, words, FONT)
    panel = _panel(ax)
    top = _to_points(ax, 1.0, min(max(floor, low), high))[1] if floor > low else panel[1] + height + 2
    boxes = []
    for y in (top - height - 1, panel[1] + 2, (top + panel[1] - height) / 2):
        for part in (0.0, 1.0, 0.5, 0.25, 0.75):
            x = panel[0] + 3 + part * (panel[2] - panel[0] - width - 6)
            boxes.append((x, y, x + width, y + height))
    box = _best(boxes, taken, panel)
    taken.append(box)
    scale = ax.figure.dpi / 72
    x, y = ax.transAxes.inverted().transform((box[0] * scale, (box[1] + box[3]) / 2 * scale))
    ax.text(x, y, words, transform=ax.transAxes, fontsize=FONT, color="#555555", va="center", zorder=1)


# ---- matplotlib ----


def _matplotlib(module: str) -> Any:
    from importlib import import_module

    try:
        return import_module(f"matplotlib.{module}")
    except ImportError as error:
        raise ImportError('pictures need matplotlib; run: pip install "fastlsgd[plot]"') from error
