"""Pictures: a comparison (excess against rounds and against gradients) and a single run.

Functions draw into the axes they are given, or into a new figure, and never show it. Labels are placed by a
small deterministic search, so that the same numbers give the same picture and no two labels overlap.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .report import LARGE_BATCH, REFERENCE, by_method, plain, short_name, sig

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette (recalled), darkened where needed to be read on white: told apart by the colour-blind.
BLACK, BLUE, VERMILLION, GREEN, PURPLE, ORANGE = "#000000", "#0072B2", "#D55E00", "#009E73", "#B0568C", "#C98500"
SKY, GREY, BROWN, OLIVE = "#3B94C9", "#7F7F7F", "#7A4B2A", "#8A8A1F"
FLOOR = "#DDDDDD"

SIZE_IN, DPI = (1600 / 150, 700 / 150), 150
FONT = 7.5


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
        figure = _new_figure()
        left, right = figure.subplots(1, 2)
        figure.subplots_adjust(left=0.065, right=0.99, top=0.865, bottom=0.115, wspace=0.16)
        figure.suptitle(_title(comparison), x=0.065, y=0.975, ha="left", fontsize=FONT + 2)
    else:
        if len(axes) != 2:
            raise ValueError(f"axes must be two Axes (rounds, gradients), got {len(axes)}")
        left, right = axes
        figure = left.figure
    floor = float(comparison.facts.get("floor", math.nan))
    look = looks([row.method for row in by_method(comparison.rows)])
    limits = _excess_limits(rows, floor)
    _against_rounds(left, rows, look, floor, limits)
    _against_gradients(right, rows, look, floor, limits)
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
    figure_class = _matplotlib("figure").Figure
    # Not a figure of pyplot: no window system is asked, and nothing stays open.
    figure = figure_class(figsize=SIZE_IN, dpi=DPI)
    axes = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.065, right=0.99, top=0.865, bottom=0.115, wspace=0.16)
    figure.suptitle(_title(comparison), x=0.065, y=0.975, ha="left", fontsize=FONT + 2)
    tradeoff(comparison, axes=axes)
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
    values, rounds = trace[column], trace["n_rounds"]
    optimum = trace.problem.known_optimum
    name = column.removeprefix("objective_")
    if optimum is not None:
        values = values - trace.problem.objective(optimum)
        ax.set_yscale("log")
    ax.plot(rounds, values, marker="o", markersize=3, linewidth=1.2, color=BLUE)
    _rounds_axis(ax, float(rounds.max()))
    ax.set_ylabel(f"F({name})" if optimum is None else f"excess objective F({name}) - F(w*)")
    ax.grid(True, color="#EEEEEE", linewidth=0.6)
    ax.set_axisbelow(True)
    return ax


# ---- the two panels ----


def _against_rounds(
    ax: Axes, rows: list[Any], look: dict[str, Look], floor: float, limits: tuple[float, float]
) -> None:
    low, high = limits
    _frame(ax, "rounds (averagings)", limits, "one dot a method, with its 95% interval")
    _rounds_axis(ax, max(row.n_rounds for row in rows))
    points, obstacles = [], []
    for row in rows:
        style = look[row.method]
        inside = low < row.excess_mean < high
        y = min(max(row.excess_mean, low * 1.12), high / 1.12)
        marker = style.marker if inside else "v" if row.excess_mean <= low else "^"
        if inside and row.excess_high > row.excess_low:
            ends = max(row.excess_low, low), min(row.excess_high, high)
            ax.plot([row.n_rounds] * 2, ends, color=style.color, linewidth=1.1, solid_capstyle="butt", zorder=3)
            obstacles.append((row.n_rounds, *ends))
        ax.plot(
            [row.n_rounds], [y], marker, color=style.color, markersize=5.5, zorder=4, markeredgewidth=1.2,
            markerfacecolor=style.color if style.filled else "white",
        )  # fmt: skip
        words = short_name(row.method) if inside else f"{short_name(row.method)}: {sig(row.excess_mean)}"
        points.append((float(row.n_rounds), y, words, style.color))
    taken = [_around(ax, x, y, 4.5) for x, y, *_ in points]
    taken += [_bar(ax, *bar) for bar in obstacles]
    _floor_band(ax, floor, limits, taken)
    _label_points(ax, points, taken)


def _against_gradients(
    ax: Axes, rows: list[Any], look: dict[str, Look], floor: float, limits: tuple[float, float]
) -> None:
    curves = {}
    for row in rows:
        curve = np.array([(n, y) for n, y in row.curve if n > 0 and y > 0], dtype=float).reshape(-1, 2)
        if len(curve):
            curves[row.method] = curve
    ends = [curves[row.method][-1, 0] for row in rows if row.method in curves and row.kind == "schedule"]
    last = max(ends, default=max((curve[-1, 0] for curve in curves.values()), default=10.0))
    # L-BFGS may take many more passes than the schedules: it must not squeeze them.
    stop = max([last, *(min(curve[-1, 0], 30 * last) for curve in curves.values())])
    start = max(last / 300, min((curve[0, 0] for curve in curves.values()), default=1.0))
    low, high = limits
    seen = [float(np.interp(math.log(start), np.log(c[:, 0]), np.log(c[:, 1]))) for c in curves.values()]
    high = max(high, min(math.exp(max(seen, default=0.0)), 1e4 * high))
    _frame(ax, "gradients", (low, high), "one curve a method, w_bar along the run")
    # The labels stand in the panel, right of the last gradient.
    room = (stop / start) ** 0.62
    ax.set_xscale("log")
    ax.set_xlim(start, stop * room)
    decades = range(math.ceil(math.log10(start)), math.floor(math.log10(stop)) + 1)
    ax.set_xticks([10.0**k for k in decades], [_count(10.0**k) for k in decades])
    ax.set_xticks([], minor=True)
    labels = []
    for row in rows:
        if row.method not in curves:
            continue
        style, curve = look[row.method], curves[row.method]
        ax.plot(curve[:, 0], curve[:, 1], color=style.color, linestyle=style.line, linewidth=1.3, zorder=3)
        inside = curve[(curve[:, 0] <= stop) & (curve[:, 1] >= low)]
        x, y = inside[-1] if len(inside) else (stop, low)
        if len(inside) < len(curve):
            x, y = _leaves(curve, stop, low)
        ax.plot([x], [y], style.marker, color=style.color, markersize=4, zorder=4, markeredgewidth=1.0,
                markerfacecolor=style.color if style.filled else "white", clip_on=False)  # fmt: skip
        labels.append((x, y, short_name(row.method), style.color))
    _floor_band(ax, floor, (low, high), [], words="floor")
    _label_ends(ax, labels, stop * (stop / start) ** 0.05)


def _leaves(curve: np.ndarray, stop: float, low: float) -> tuple[float, float]:
    """Return where a curve (n, excess), both logarithmic, leaves the panel first."""
    x, y = np.log(curve[:, 0]), np.log(curve[:, 1])
    beyond = np.flatnonzero((curve[:, 0] > stop) | (curve[:, 1] < low))
    j = int(beyond[0])
    if j == 0:
        return min(curve[0, 0], stop), max(curve[0, 1], low)
    part = 1.0
    if curve[j, 0] > stop:
        part = min(part, (math.log(stop) - x[j - 1]) / (x[j] - x[j - 1]))
    if curve[j, 1] < low:
        part = min(part, (math.log(low) - y[j - 1]) / (y[j] - y[j - 1]))
    return math.exp(x[j - 1] + part * (x[j] - x[j - 1])), math.exp(y[j - 1] + part * (y[j] - y[j - 1]))


def _excess_limits(rows: list[Any], floor: float) -> tuple[float, float]:
    """Return the range of the excess axis: all schedules, the floor if near, baselines within two decades."""
    ours = [row for row in rows if row.kind == "schedule"] or rows
    lows = [max(row.excess_low, row.excess_mean / 10) if row.excess_low > 0 else row.excess_mean for row in ours]
    smallest = min([value for value in lows if value > 0], default=1e-12)
    largest = max([*(row.excess_high if row.excess_high > 0 else row.excess_mean for row in ours), 10 * smallest])
    for row in rows:
        if largest < row.excess_mean < 100 * largest and row.excess_mean < 1e3 * smallest:
            largest = max(largest, row.excess_mean)
    bottom = smallest / 3
    if floor > 0:
        bottom = min(bottom, max(floor / 6, smallest / 30))
        largest = max(largest, min(floor, 30 * largest))
    for row in rows:
        if smallest / 30 < row.excess_mean < bottom:
            bottom = row.excess_mean / 2
    return bottom, largest * 2


def _frame(ax: Axes, xlabel: str, limits: tuple[float, float], title: str) -> None:
    ax.set_yscale("log")
    ax.set_ylim(*limits)
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


def _title(comparison: Any) -> str:
    facts = comparison.facts
    return (
        f"{facts.get('name') or 'data'}: {facts['loss']} loss, l2 {plain(facts['l2'])}, {facts['n_samples']:,} x "
        f"{facts['n_features']:,}, P = {facts['n_workers']} workers, {plain(facts['n_passes'])} passes, "
        f"{facts['replicates']} replicates; every method at its own best step"
    )


# ---- labels ----

Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in points


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


def _label_ends(ax: Axes, labels: list[tuple[float, float, str, str]], x_label: float) -> None:
    """Write the words of each curve in one column, in the order of the curves' ends, never overlapping."""
    if not labels:
        return
    panel = _panel(ax)
    height = max(_size(ax, words, FONT)[1] for *_, words, _ in labels) + 0.6
    at = [_to_points(ax, x, y) for x, y, *_ in labels]
    order = sorted(range(len(labels)), key=lambda i: (at[i][1], at[i][0], i))
    wanted = [at[i][1] for i in order]
    heights = _spread(wanted, height, panel[1] + height / 2, panel[3] - height / 2)
    left = _to_points(ax, x_label, 1.0)[0]
    for i, cy in zip(order, heights, strict=True):
        x, y, words, color = labels[i]
        px, py = at[i]
        ax.annotate(
            words, (x, y), (left - px, cy - py), textcoords="offset points", ha="left", va="center",
            fontsize=FONT, color=color, zorder=5, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "linewidth": 0.5, "color": color, "alpha": 0.6, "shrinkA": 0, "shrinkB": 2,
                        "relpos": (0, 0.5)},
        )  # fmt: skip


def _spread(wanted: list[float], gap: float, low: float, high: float) -> list[float]:
    """Return positions in [low, high], at least `gap` apart (less if there is no room), close to those wanted (ascending).

    Neighbours that are too close form a group around the mean of what they want; groups that meet are joined.
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


def _floor_band(
    ax: Axes, floor: float, limits: tuple[float, float], taken: list[Box], words: str = "statistical floor"
) -> None:
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


def _new_figure() -> Figure:
    return _matplotlib("pyplot").figure(figsize=SIZE_IN, dpi=DPI)
