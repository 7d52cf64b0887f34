"""Figure (f): error against step size, from mini-batch to one-shot averaging: how far one may miss the best step."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ..cores import one_blas_thread
from ..experiments.comparison import need_pandas
from ..experiments.lab import MINI_BATCH, ONE_SHOT, Method
from ..plots import FONT, GREY, looks
from ..report import sig
from . import drawing
from .figure import Figure, Made, Request
from .real import Bench, RealData, large, load, local

if TYPE_CHECKING:
    import matplotlib.figure
    import pandas
    from matplotlib.axes import Axes

WORKERS = 8
# Steps are the safe one times powers of two: from a quarter of it, or from a hundredth of one worker's stability
# limit if that is more (a batch b: sqrt(b) times that), to the first beyond the method's own limit, that of a second
# moment: with logistic loss runs stay finite beyond it.
LOWEST, LOWEST_OF_LIMIT = 0.25, 0.01
# A step serves if the excess is at most so many times the best that any method reaches at any step.
SERVES = 2.0


# By method: the steps between which it serves.
Spans = dict[str, tuple[float, float] | None]


def methods(data: RealData) -> dict[str, Method]:
    """Return the methods by name, by falling number of averagings; the large mini-batch has the rounds of 256."""
    return {
        MINI_BATCH: local(data, WORKERS, 1),
        "period 16": local(data, WORKERS, 16),
        "period 256": local(data, WORKERS, 256),
        ONE_SHOT: local(data, WORKERS, None),
        "large mini-batch, rounds of period 256": large(data, WORKERS, 256),
    }


def make(request: Request) -> Made:
    """Run every method over its steps: some 4,000 runs of two passes; five seconds on two cores if quick.

    On census_hashed minutes: its predictions alone took 52 seconds, beside other work.
    """
    data = load(request.data, request.sampling, request.beside)
    with one_blas_thread(data.problem.n_params):
        table = measure(data, request)
    return Made(table, lambda figure: draw(figure, table, data.title), words(table), size_in=(10.6, 6.0))


def measure(data: RealData, request: Request) -> pandas.DataFrame:
    """Return one row a method and step."""
    bench = Bench(data, request, "f: runs")
    named = methods(data)
    limits = {name: data.limit(method) for name, method in named.items()}
    lowest = max(LOWEST, LOWEST_OF_LIMIT * limits[ONE_SHOT] / bench.safe)
    runs = [(name, x) for name in named for x in _multiples(bench.safe, limits[name], named[name], lowest)]
    keys = [(named[name], x) for name, x in runs]
    # Beyond the limit, where the predictor is not held to anything, it takes the longest.
    within = [(named[name], x) for name, x in runs if x * bench.safe <= limits[name]]
    expected = bench.run(keys, within, "f: predictions")
    rows = []
    for (name, x), key in zip(runs, keys, strict=True):
        row = bench.point(*key, f"safe x {x:g}", expected.get(key))
        diverged = sum(math.isinf(value) for value in bench.excesses(named[name], x))
        extra = {"safe_step": bench.safe, "limit": limits[name], "diverged": diverged}
        rows.append(row | {"method": name} | extra)
    return need_pandas().DataFrame(rows)


def _multiples(safe: float, limit: float, method: Method, lowest: float) -> Iterator[float]:
    exponent = math.ceil(math.log2(lowest * math.sqrt(method.batch_size)))
    while True:
        yield 2.0**exponent
        if 2.0**exponent * safe > limit:
            return
        exponent += 1


# ---- words ----


def words(table: pandas.DataFrame) -> list[str]:
    """Return what the table supports, in sentences with its figures."""
    # Beyond the limit the mean excess of least squares grows without bound, however well a hundred runs look.
    table = table[(table.loss != "squared") | (table.eta <= table.limit)]
    by_method = {str(name): rows.sort_values("eta") for name, rows in table.groupby("method", sort=False)}
    best, floor = float(table.excess.min()), float(table.floor.iloc[0])
    serving = {name: span(rows, SERVES * best) for name, rows in by_method.items()}
    around = {name: span(rows, SERVES * float(rows.excess.min())) for name, rows in by_method.items()}
    out = [_verdict(by_method, serving, around, best), _at_one_step(by_method)]
    out += [_of_method(name, rows, around[name]) for name, rows in by_method.items()]
    under_floor = {name: span(rows, floor) for name, rows in by_method.items()}
    out.append(f"Steps with an excess at most the statistical floor {sig(floor)}: {_listed(under_floor)}.")
    known = table[np.isfinite(table.predicted) & np.isfinite(table.excess) & (table.eta <= 0.5 * table.limit)]
    is_large = known.batch_size > 1
    out += [
        _held(known[~is_large], "Schedules predicted from the problem alone, over measured, up to half the limit"),
        _held(known[is_large], "The large mini-batch, likewise"),
    ]
    return out


def span(rows: pandas.DataFrame, most: float) -> tuple[float, float] | None:
    """Return the steps between which the excess is at most this, None if it is nowhere.

    Between the steps that were run the logarithm of the excess is taken to be straight in that of the step; where
    the excess is small at the first or the last step run, the range ends there. Rows ascending in eta.
    """
    eta, excess = rows.eta.to_numpy(), np.minimum(rows.excess.to_numpy(), 1e300)
    serving = np.flatnonzero(excess <= most)
    if not serving.size:
        return None
    ends = []
    for at, beside in ((serving[0], serving[0] - 1), (serving[-1], serving[-1] + 1)):
        share = 0.0
        if 0 <= beside < len(eta):
            share = math.log(most / excess[at]) / math.log(excess[beside] / excess[at])
        ends.append(float(eta[at] * (eta[min(max(beside, 0), len(eta) - 1)] / eta[at]) ** share))
    return ends[0], ends[1]


def _factor(between: tuple[float, float] | None) -> float:
    return between[1] / between[0] if between else 0.0


def _factors(by_method: dict[str, pandas.DataFrame], spans: Spans) -> str:
    """Largest over smallest step of each method's range; "at least" where it ends with the steps that were run."""
    parts = []
    for name, rows in by_method.items():
        found = spans[name]
        is_open = found is not None and (found[0] <= rows.eta.min() or found[1] >= rows.eta.max())
        more = "at least " if is_open else ""
        parts.append(f"{name} {more}{sig(_factor(found))}" if found else f"{name} none")
    return ", ".join(parts)


def _listed(spans: Spans) -> str:
    if not any(spans.values()):
        return "none of any method"
    return ", ".join(
        f"{name} {sig(found[0])} to {sig(found[1])}" if found else f"{name} none" for name, found in spans.items()
    )


def _verdict(by_method: dict[str, pandas.DataFrame], serving: Spans, around: Spans, best: float) -> str:
    """Say whether more averaging means more steps that serve, and how much of it is a better best."""
    schedules = [name for name in serving if not name.startswith("large")]
    factors = [_factor(serving[name]) for name in schedules]
    shown, own = _factors(by_method, serving), _factors(by_method, around)
    lead = "A longer period does not always mean fewer steps that serve here"
    if factors[0] > factors[-1] and all(a >= b for a, b in itertools.pairwise(factors)):
        lead = "The more rarely workers average, the fewer steps serve"
    return (
        f"{lead}. Largest over smallest step with an excess within {SERVES:g} times the best of all methods "
        f"({sig(best)}): {shown}; within {SERVES:g} times each one's own best: {own}."
    )


def _at_one_step(by_method: dict[str, pandas.DataFrame]) -> str:
    """What the schedules leave at the step that is best for mini-batch averaging, and at that of one-shot."""
    often, once = by_method[MINI_BATCH], by_method[ONE_SHOT]
    parts = []
    for name, rows in ((MINI_BATCH, often), (ONE_SHOT, once)):
        eta = float(rows.loc[rows.excess.idxmin()].eta)
        base = float(often[often.eta == eta].excess.iloc[0])
        others = [
            f"{other} {sig(float(theirs[theirs.eta == eta].excess.iloc[0]) / base)}"
            for other, theirs in by_method.items()
            if other != MINI_BATCH and (theirs.batch_size == 1).all() and (theirs.eta == eta).any()
        ]
        shown = ", ".join(others) or "none of the others is stable"
        parts.append(f"at the best step of {name} ({sig(eta)}) {shown}")
    return f"Excess over that of mini-batch averaging at the same step: {'; '.join(parts)}."


def _of_method(name: str, rows: pandas.DataFrame, around: tuple[float, float] | None) -> str:
    lowest, top = rows.loc[rows.excess.idxmin()], rows[rows.eta <= rows.limit].iloc[-1]
    where = ""
    if around:
        where = f"; within {SERVES:g} times that from {sig(around[0])} to {sig(around[1])}"
    return (
        f"{name}: best excess {sig(lowest.excess)} at step {sig(lowest.eta)}{where}; "
        f"{sig(top.excess / lowest.excess)} times that at {sig(top.eta)}, the last step within the stability limit."
    )


def _held(rows: pandas.DataFrame, lead: str) -> str:
    if rows.empty:
        return f"{lead}: nothing to compare."
    ratio = (rows.predicted / rows.excess).to_numpy()
    within = int(((ratio > 1 / 1.1) & (ratio < 1.1)).sum())
    return (
        f"{lead}: median {np.median(ratio):.3f}, from {ratio.min():.2f} to {ratio.max():.2f}; within a tenth at "
        f"{within} of {len(ratio)} points."
    )


# ---- the picture ----


def draw(figure: matplotlib.figure.Figure, table: pandas.DataFrame, title: str) -> None:
    """Draw the excess against the step, a line a method, with the safe step and the stability limits marked."""
    ax = figure.subplots()
    figure.subplots_adjust(left=0.065, right=0.985, top=0.78, bottom=0.09)
    drawing.head(figure, f"(f) Error against step size, P = {WORKERS}", title)
    drawing.frame(ax, "", "step size", "excess objective of w_bar")
    finite = table.excess[np.isfinite(table.excess)]
    floor, low = float(table.floor.iloc[0]), float(finite.min())
    within = table[np.isfinite(table.excess) & (table.eta <= table.limit)]
    worst = float(within.groupby("method").excess.min().max())
    top = min(float(finite.max()) * 1.5, max(300 * low, 5 * worst))
    ax.set_ylim(min(low, max(floor, low / 10)) / 1.5, top)
    drawing.floor_band(ax, floor)
    drawing.decades(ax, "y")
    look = looks(list(dict.fromkeys(table.method)))
    entries = []
    # Methods that coincide stay visible: each one's marks are smaller than those below.
    sizes = np.linspace(6.0, 3.5, table.method.nunique())
    for size, (name, rows) in zip(sizes, table.groupby("method", sort=False), strict=True):
        style = look[name]
        color, face = style.color, style.color if style.filled else "white"
        rows = rows.sort_values("eta")
        known, shown = rows[rows.eta <= rows.limit], rows[rows.excess <= top]
        drawing.line(ax, known.eta, known.predicted, color, style.line)
        drawing.points(
            ax, shown.eta, shown.excess, shown.excess_low, shown.excess_high, color, style.marker,
            markerfacecolor=face, markersize=size,
        )  # fmt: skip
        words_ = name.replace("mini-batch, rounds of period 256", "mini-batch, as many rounds as period 256")
        entry = {"color": color, "linestyle": style.line, "marker": style.marker, "markerfacecolor": face}
        entries.append((words_, entry | {"markersize": size, "linewidth": 1.1}))
    ax.set_xlim(table.eta.min() / 1.3, table.eta.max() * 1.3)
    drawing.decades(ax, "x")
    marks = {"safe step": float(table.safe_step.iloc[0])}
    names = {MINI_BATCH: "limit, mini-batch", ONE_SHOT: "limit, one worker"}
    for name, rows in table.groupby("method", sort=False):
        if name in names or rows.batch_size.iloc[0] > 1:
            marks[names.get(str(name), "limit, large mini-batch")] = float(rows["limit"].iloc[0])
    _mark(ax, marks)
    drawing.legend(figure, entries, 0.91)
    note = (
        f"Marks: mean of {int(table.replicates.max())} runs, 95% interval. Lines: predicted from the problem alone. "
        "Grey: below the statistical floor. What lies above the panel is in the table."
    )
    figure.text(0.06, 0.877, note, ha="left", va="top", fontsize=FONT, color="#444444")


def _mark(ax: Axes, marks: dict[str, float]) -> None:
    """Mark steps by lines with their names above the panel, at two heights in turn so that neighbours do not meet."""
    low, high = ax.get_xlim()
    for i, (name, eta) in enumerate(sorted(marks.items(), key=lambda item: item[1])):
        place = math.log(eta / low) / math.log(high / low)
        side = "left" if place < 0.1 else "right" if place > 0.8 else "center"
        ax.axvline(eta, color=GREY, linestyle=(0, (4, 2)), linewidth=0.9, zorder=1)
        ax.annotate(
            f"{name} {sig(eta)}", (eta, 1.0), (0, 4 + 10 * (i % 2)), xycoords=("data", "axes fraction"),
            textcoords="offset points", ha=side, va="bottom", fontsize=FONT, color="#444444", annotation_clip=False,
        )  # fmt: skip


FIGURE = Figure(
    key="f",
    name="steps",
    title="error against step size on real data",
    claim=(
        "Robustness to the step is the real case for frequent averaging: more steps reach a good error, and a step "
        "too large costs less."
    ),
    make=make,
    needs_data=True,
)
