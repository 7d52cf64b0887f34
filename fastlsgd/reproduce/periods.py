"""Figure (e): error against period on real data, for P workers, at a common and at each one's own step.

Beside local SGD stand the baselines it must be compared with, above all the large mini-batch with the same rounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import baselines
from ..cores import one_blas_thread
from ..experiments.comparison import LBFGS, LBFGS_PASSES, need_pandas
from ..experiments.lab import NEWTON, RICHARDSON, Method
from ..experiments.metrics import ratio_interval
from ..plots import FONT, GREY
from ..report import interval, sig
from . import drawing
from .figure import Figure, Made, Request
from .real import LARGE, LOCAL, Bench, RealData, large, load, local

if TYPE_CHECKING:
    import matplotlib.figure
    import pandas

# None is one-shot averaging. 2,048 lies where rounds are few, between 256 and one-shot averaging.
WORKERS: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
PERIODS: tuple[int | None, ...] = (1, 4, 16, 64, 256, 2048, None)
QUICK_WORKERS: tuple[int, ...] = (1, 2, 8, 32)
WORKERS_BESIDE: tuple[int, ...] = (1, 8, 32)
QUICK_PERIODS: tuple[int | None, ...] = (1, 16, 256, None)
COMMON, OWN, NONE = "common", "own", "none"
# What is built on one-shot averaging is run for this many workers and, on the whole grid, for the most.
DEFAULT_WORKERS = 8


@dataclass(frozen=True, eq=False)
class Cell:
    """A place of the grid: local SGD, and the large mini-batch with its rounds, if there is one of its own."""

    n_workers: int
    local: Method
    large: Method | None


@dataclass
class Grid:
    """All methods of the figure."""

    cells: list[Cell]
    after_one_shot: list[Method]

    @property
    def methods(self) -> list[Method]:
        """Local SGD, large mini-batches, and what is built on one-shot averaging."""
        larges = [cell.large for cell in self.cells if cell.large is not None]
        return [*(cell.local for cell in self.cells), *larges, *self.after_one_shot]

    def first(self, n_workers: int) -> Method:
        """Return mini-batch averaging (one worker: the run itself), to which ratios refer."""
        return next(cell.local for cell in self.cells if cell.n_workers == n_workers)


def grid(
    data: RealData, workers: Sequence[int], periods: Sequence[int | None], after_one_shot: Sequence[int]
) -> Grid:
    """Return the grid; one worker never averages and has one cell, and no period is longer than the run.

    What is built on one-shot averaging is added for the numbers of workers of the last argument.
    """
    cells, one_shots = [], {}
    for n_workers in workers:
        n_steps = data.n_steps(n_workers)
        mine = [p for p in periods if p is None or p < n_steps] if n_workers > 1 else [None]
        for period in mine:
            method = local(data, n_workers, period)
            if period is None:
                one_shots[n_workers] = method
            # One step on all rows is no method: one-shot averaging has no twin.
            matched = large(data, n_workers, period) if n_workers > 1 and period not in (1, None) else None
            cells.append(Cell(n_workers, method, matched))
    after = [
        Method(name, "baseline", n_workers, base.n_steps, base.schedule, base=base)
        for n_workers, base in one_shots.items()
        if n_workers in after_one_shot
        for name in (RICHARDSON, NEWTON)
    ]
    return Grid(cells, after)


def make(request: Request) -> Made:
    """Run the whole grid: some 9,000 runs of two passes over the data; eight seconds on two cores if quick."""
    data = load(request.data, request.sampling, request.beside)
    chosen = (QUICK_WORKERS, QUICK_PERIODS) if request.quick else (WORKERS, PERIODS)
    after: tuple[int, ...] = (DEFAULT_WORKERS, max(chosen[0]))
    if request.beside:  # a Newton step of every replicate takes as long as all else
        chosen, after = (WORKERS_BESIDE, QUICK_PERIODS), (DEFAULT_WORKERS,)
    with one_blas_thread(data.problem.n_params):
        table = measure(data, grid(data, *chosen, after), request)
    return Made(
        table, lambda figure: draw(figure, table, data.title), words(table), size_in=(10.6, 8.2), grids=grids(table)
    )


def measure(data: RealData, cells: Grid, request: Request) -> pandas.DataFrame:
    """Return one row a method, P, period and kind of step."""
    bench = Bench(data, request, "e: runs")
    bench.lab.expected = len(cells.methods) * 9
    own = bench.own_multiples(cells.methods)
    keys = [(cell.local, 1.0) for cell in cells.cells] + [(m, own[m]) for m in cells.methods]
    expected = bench.run(keys, [key for key in dict.fromkeys(keys) if key[0].name == LOCAL], "e: predictions")
    reference = {
        (cell.n_workers, multiple == OWN): bench.excesses(cells.first(cell.n_workers), at)
        for cell in cells.cells
        for multiple, at in ((COMMON, 1.0), (OWN, own[cells.first(cell.n_workers)]))
    }
    twins = {cell.large: cell.local for cell in cells.cells if cell.large is not None}
    rows = []
    for i, (method, multiple) in enumerate(keys):
        step = COMMON if i < len(cells.cells) else OWN
        row = bench.point(method, multiple, step, expected.get((method, multiple)))
        excess = bench.excesses(method, multiple)
        row |= _named("ratio", ratio_interval(excess, reference[method.n_workers, step == OWN]))
        twin = twins.get(method)
        over = ratio_interval(excess, bench.excesses(twin, own[twin])) if twin is not None else (math.nan,) * 3
        row |= _named("over_local", over)
        limit = data.limit(method)
        row |= {"ns_per_gradient": math.nan, "limit": limit, "beyond_half_limit": row["eta"] > 0.5 * limit}
        rows.append(_counted(row, method, data))
    rows += _lbfgs_rows(bench, rows)
    for row in rows:
        row["resolution"] = bench.lab.resolution
    # Last, as nothing may run beside it; the cells at the common step are the first rows.
    timed = bench.ns_per_gradient([cell.local for cell in cells.cells], "e: seconds")
    for row, ns in zip(rows, timed, strict=False):
        row["ns_per_gradient"] = ns
    return need_pandas().DataFrame(rows)


def _counted(row: dict[str, Any], method: Method, data: RealData) -> dict[str, Any]:
    """Count what methods built on one-shot averaging cost beyond it."""
    if method.name == RICHARDSON:
        row["n_gradients"] *= 2
    if method.name == NEWTON:
        row["n_rounds"] += 1
        row["n_gradients"] += data.problem.n_samples
    return row


def _lbfgs_rows(bench: Bench, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """L-BFGS with the rounds of every cell: an evaluation is a round and a pass, whatever P."""
    data, lab = bench.data, bench.lab
    found = baselines.lbfgs(data.problem, tolerance=1e-10, max_passes=LBFGS_PASSES)
    best = np.minimum.accumulate(lab.excess_of(found.iterates))
    out = []
    for row in rows:
        if row["method"] != LOCAL or row["step"] != OWN or row["n_rounds"] == 0:
            continue
        n_rounds = min(row["n_rounds"], len(best))
        excess = float(best[n_rounds - 1])
        out.append(
            row
            | {"method": LBFGS, "step": NONE, "eta": math.nan, "n_rounds": n_rounds, "batch_size": 0, "n_steps": 0}
            | {"n_gradients": n_rounds * data.problem.n_samples, "replicates": 1, "ns_per_gradient": math.nan}
            | {"excess": excess, "excess_low": excess, "excess_high": excess, "beyond_half_limit": False}
            | _named("predicted", (math.nan,) * 3)
            | _named("ratio", (math.nan,) * 3)
            | _named("over_local", (excess / row["excess"], math.nan, math.nan))
        )
    return out


def _named(name: str, values: Sequence[float]) -> dict[str, float]:
    return dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))


# ---- words ----


def words(table: pandas.DataFrame) -> list[str]:
    """Return what the table supports, in sentences with its figures."""
    local_rows = table[(table.method == LOCAL) & (table.n_workers > 1)]
    most = int(local_rows.n_workers.max())
    shown = sorted({min(DEFAULT_WORKERS, most), most})
    out = [_price(local_rows, n_workers) for n_workers in reversed(shown)]
    out += _against_large(table)
    out += _at_the_limit(table)
    out.append(_speed_up(table, local_rows))
    out += _other_baselines(table)
    out += _predictor(table)
    out.append(_seconds(local_rows, shown[0]))
    return out


def _at(rows: pandas.DataFrame, step: str, **where: Any) -> Any:
    rows = rows[rows.step == step]
    for name, value in where.items():
        rows = rows[rows[name] == value]
    return rows.iloc[0]


def _excess(row: Any, *, with_interval: bool = True) -> str:
    """An excess in words; of one that is no more than what can be told of it, only that."""
    if row.excess <= row.resolution:
        return f"< {sig(row.resolution)} (rounding)"
    return _ratio(row, "excess") if with_interval else sig(row.excess)


def _ratio(row: Any, name: str = "ratio") -> str:
    return interval(*(getattr(row, column) for column in (name, f"{name}_low", f"{name}_high")))


def _price(rows: pandas.DataFrame, n_workers: int) -> str:
    """What long periods cost, at their own steps and at the common one."""
    mine = rows[rows.n_workers == n_workers]
    middle = max(p for p in mine[~mine.one_shot].period if p <= 256)
    where: dict[str, dict[str, Any]] = {f"period {middle}": {"period": middle}, "one-shot": {"one_shot": True}}
    own = [f"{name} {_ratio(_at(mine, OWN, **at))}" for name, at in where.items()]
    common = [f"{name} {_ratio(_at(mine, COMMON, **at))}" for name, at in where.items()]
    steps = [f"{name} {sig(_at(mine, OWN, **at).eta)}" for name, at in where.items()]
    return (
        f"P = {n_workers}, excess over that of mini-batch averaging, each at its own step: {', '.join(own)}; at the "
        f"common step {sig(_at(mine, COMMON, period=1).eta)}: {', '.join(common)}. Own steps: mini-batch averaging "
        f"{sig(_at(mine, OWN, period=1).eta)}, {', '.join(steps)}."
    )


def _at_the_limit(table: pandas.DataFrame) -> list[str]:
    """Whether it is the stability limit that makes a long period cost something: least squares, which stops there."""
    rows = table[(table.method == LOCAL) & (table.step == OWN) & (table.loss == "squared")]
    stopped = rows[2 * rows.eta > rows.limit]
    if stopped.empty:
        return []
    most = rows[rows.n_workers == rows.n_workers.max()]
    often, once = most[most.period == 1].iloc[0], most[most.one_shot].iloc[0]
    return [
        f"{len(stopped)} of {len(rows)} own steps are the largest tried within the stability limit, which falls from "
        f"{sig(often.limit)} at period 1 to {sig(once.limit)} with one round (P = {often.n_workers}): there a long "
        "period costs by the steps that it forbids, not by what it leaves at a step that all can take."
    ]


def _speed_up(table: pandas.DataFrame, rows: pandas.DataFrame) -> str:
    """Whether P workers who average at every step are as good as one with all gradients; how near the floor."""
    own, floor = rows[rows.step == OWN], float(table.floor.iloc[0])
    often = own[own.period == 1].excess
    alone = table[(table.method == LOCAL) & (table.n_workers == 1) & (table.step == OWN)].excess
    beside = f", one worker with as many gradients {sig(alone.iloc[0])}" if len(alone) else ""
    near = int((own.excess <= 2 * floor).sum())
    return (
        f"At its own step mini-batch averaging leaves {sig(often.min())} to {sig(often.max())} over all P{beside}; "
        f"{near} of {len(own)} cells lie within twice the statistical floor {sig(floor)}."
    )


def _against_large(table: pandas.DataFrame) -> list[str]:
    """Who wins at equal rounds and gradients, each at its own step."""
    rows = table[table.method == LARGE].sort_values("n_rounds")
    if rows.empty:
        return []
    local_wins, large_wins = rows[rows.over_local_low > 1.0], rows[rows.over_local_high < 1.0]
    undecided = len(rows) - len(large_wins) - len(local_wins)
    sentence = (
        f"Large mini-batch with equal rounds and gradients, each at its own step: it has the smaller excess in "
        f"{len(large_wins)} of {len(rows)} cells, local SGD in {len(local_wins)}, {undecided} are undecided (95% "
        "intervals, in pairs)"
    )
    others = rows[~(rows.over_local_low > 1.0)].n_rounds.min()
    always = rows[rows.n_rounds < others] if len(large_wins) + undecided else rows
    if len(always):
        best = always.loc[always.over_local.idxmax()]
        sentence += (
            f"; local SGD in every cell of at most {int(always.n_rounds.max()):,} rounds, at best by "
            f"{_ratio(best, 'over_local')} (P = {best.n_workers}, {best.n_rounds:,} rounds)"
        )
    if len(large_wins):
        best = large_wins.loc[large_wins.over_local.idxmin()]
        sentence += (
            f"; the large mini-batch at best has {_ratio(best, 'over_local')} of its excess (P = {best.n_workers}, "
            f"{best.n_rounds:,} rounds)"
        )
    return [sentence + "."]


def _other_baselines(table: pandas.DataFrame) -> list[str]:
    out = []
    by_lbfgs = table[table.method == LBFGS].sort_values("n_rounds")
    if len(by_lbfgs):
        wins = int((by_lbfgs.over_local < 1.0).sum())
        n_samples = round(by_lbfgs.n_gradients.iloc[0] / by_lbfgs.n_rounds.iloc[0])
        passes = float(table[table.method == LOCAL].n_gradients.iloc[0]) / n_samples
        below = by_lbfgs[by_lbfgs.excess <= by_lbfgs.floor]
        reached = f"; with {below.n_rounds.iloc[0]} it is below the statistical floor" if len(below) else ""
        out.append(
            f"L-BFGS with equal rounds has the smaller excess in {wins} of {len(by_lbfgs)} cells, at one pass a "
            f"round (up to {int(by_lbfgs.n_rounds.max())}) against {passes:.3g} in all{reached}."
        )
    for row in table[table.method == NEWTON].itertuples():
        richardson = table[(table.method == RICHARDSON) & (table.n_workers == row.n_workers)].iloc[0]
        out.append(
            f"P = {row.n_workers}: one-shot averaging and one Newton step (a second round) leave "
            f"{_excess(row, with_interval=False)}; Richardson's extrapolation (twice the gradients, one round) "
            f"{_excess(richardson, with_interval=False)}."
        )
    return out


def _predictor(table: pandas.DataFrame) -> list[str]:
    rows = table[np.isfinite(table.predicted) & ~table.beyond_half_limit & np.isfinite(table.excess)]
    rows = rows[rows.method == LOCAL]
    if rows.empty:
        return []
    ratio = (rows.predicted / rows.excess).to_numpy()
    within = int(((ratio > 1 / 1.1) & (ratio < 1.1)).sum())
    return [
        f"Predicted from the problem alone, over measured: median {np.median(ratio):.3f}, from {ratio.min():.2f} to "
        f"{ratio.max():.2f}; within a tenth in {within} of {len(ratio)} cells (steps up to half the stability limit)."
    ]


def _seconds(rows: pandas.DataFrame, n_workers: int) -> str:
    rows = rows[rows.step == COMMON]
    mine = rows[rows.n_workers == n_workers]
    often, seldom = mine[mine.period == 1].iloc[0], mine[mine.one_shot].iloc[0]
    return (
        f"A gradient takes {rows.ns_per_gradient.min():.0f} to {rows.ns_per_gradient.max():.0f} ns over the grid; "
        f"P = {n_workers}: {often.ns_per_gradient:.0f} at period 1, {seldom.ns_per_gradient:.0f} with one round."
    )


# ---- grids ----


def grids(table: pandas.DataFrame) -> dict[str, pandas.DataFrame]:
    """Return the grid twice, periods by P: nanoseconds a gradient, excess at own steps; and one P in full."""
    local_rows = table[table.method == LOCAL]
    n_workers = min(DEFAULT_WORKERS, int(local_rows.n_workers.max()))
    return {
        "nanoseconds a gradient (all threads, fastest of three runs)": _grid(
            local_rows[local_rows.step == COMMON], "ns_per_gradient", lambda value: f"{value:.0f}"
        ),
        "excess objective at each cell's own step": _grid(local_rows[local_rows.step == OWN], "excess", sig),
        f"P = {n_workers}, excess objective [95%], baselines with as many rounds as the row": _side_by_side(
            table[table.n_workers == n_workers]
        ),
    }


def _side_by_side(table: pandas.DataFrame) -> pandas.DataFrame:
    """Return one row a period, of one P: rounds, excess at both steps, and the baselines with equal rounds."""
    common, own, large_rows, by_lbfgs = (
        table[(table.method == method) & (table.step == step)]
        for method, step in ((LOCAL, COMMON), (LOCAL, OWN), (LARGE, OWN), (LBFGS, NONE))
    )
    matched = {row.batch_size: row for row in large_rows.itertuples()}
    found = []
    for at, mine, full in zip(common.itertuples(), own.itertuples(), by_lbfgs.itertuples(), strict=True):
        twin = matched.get(mine.period)
        found.append(
            {
                "": "one-shot" if mine.one_shot else f"period {mine.period}",
                "rounds": f"{mine.n_rounds:,}",
                "common step": _excess(at),
                "own step": sig(mine.eta),
                "there": _excess(mine),
                "large mini-batch": math.nan if twin is None else _excess(twin),
                "L-BFGS": _excess(full, with_interval=False),
            }
        )
    for row in table[table.method.isin([RICHARDSON, NEWTON])].itertuples():
        found.append({"": row.method, "rounds": f"{row.n_rounds:,}", "own step": sig(row.eta), "there": _excess(row)})
    return need_pandas().DataFrame(found).set_index("")


def _grid(rows: pandas.DataFrame, column: str, shown: Callable[[float], str]) -> pandas.DataFrame:
    names = [
        "no rounds" if workers == 1 else "one-shot" if one_shot else f"period {period}"
        for workers, period, one_shot in zip(rows.n_workers, rows.period, rows.one_shot, strict=True)
    ]
    rows = rows.assign(period_=names, shown=[shown(value) for value in rows[column]])
    wide = rows.pivot(index="period_", columns="n_workers", values="shown").loc[list(dict.fromkeys(names))]
    wide.columns = [f"P = {workers}" for workers in wide.columns]
    wide.index.name = ""
    return wide


# ---- the picture ----


def draw(figure: matplotlib.figure.Figure, table: pandas.DataFrame, title: str) -> None:
    """Draw four panels: common step, own steps, large mini-batch over local SGD, nanoseconds a gradient."""
    (common, own), (against, speed) = figure.subplots(2, 2)
    figure.subplots_adjust(left=0.065, right=0.985, top=0.855, bottom=0.06, wspace=0.17, hspace=0.3)
    replicates = int(table.replicates.max())
    drawing.head(figure, "(e) Error against period on real data", title)
    rows = table[table.method == LOCAL]
    eta = float(rows[rows.step == COMMON].eta.iloc[0])
    excess = "excess objective of w_bar"
    drawing.frame(common, f"everybody at the safe step {sig(eta)}", "period (local steps a round)", excess)
    drawing.frame(own, "each cell at its own best step", "period (local steps a round)", excess)
    for ax, step in ((common, COMMON), (own, OWN)):
        _against_period(ax, rows[rows.step == step])
    _same_limits(common, own, table)
    ratio = "excess of large mini-batch / local SGD"
    drawing.frame(against, "large mini-batch with equal rounds, each at its own step", "rounds", ratio)
    _against_rounds(against, table[table.method == LARGE])
    drawing.frame(
        speed, "what a gradient takes, all threads", "period (local steps a round)", "ns a gradient", y="linear"
    )
    _speed(speed, rows[rows.step == COMMON])
    entries: list[tuple[str, dict[str, Any]]] = []
    for n_workers in sorted(set(rows.n_workers)):
        color, marker = drawing.look_of(n_workers)
        if n_workers == 1:
            entries.append(("one worker, no rounds", {"color": GREY, "linestyle": ":"}))
        else:
            entries.append(
                (f"P = {n_workers}", {"color": color, "marker": marker, "markersize": 4, "linewidth": 1.1})
            )
    drawing.legend(figure, entries, 0.925)
    note = (
        f"Marks: mean of {replicates} runs, 95% interval; the last mark of a row, hollow, is one-shot averaging. "
        "Lines (upper panels): predicted from the problem alone. Grey: below the statistical floor."
    )
    figure.text(0.06, 0.9, note, ha="left", va="top", fontsize=FONT, color="#444444")


def _against_period(ax: Any, rows: pandas.DataFrame) -> None:
    for n_workers, mine in rows.groupby("n_workers"):
        if n_workers == 1:
            ax.axhline(float(mine.excess.iloc[0]), color=GREY, linestyle=":", linewidth=1.1, zorder=2)
            continue
        color, marker = drawing.look_of(n_workers)
        mine = mine.sort_values("period")
        drawing.line(ax, mine.period, mine.predicted, color)
        _filled_but_one_shot(ax, mine, "period", "excess", color, marker)
    _period_ticks(ax, rows)


def _period_ticks(ax: Any, rows: pandas.DataFrame) -> None:
    """Ticks at the periods, and beyond them where one-shot averaging stands."""
    rows = rows[rows.n_workers > 1]
    periods = sorted(set(rows[~rows.one_shot].period))
    beyond = [10.0**k for k in range(3, 7) if 4 * periods[-1] < 10**k < rows.period.max()]
    drawing.ticks(ax, "x", [*periods, *beyond], [f"{value:,.0f}" for value in (*periods, *beyond)])


def _filled_but_one_shot(ax: Any, rows: pandas.DataFrame, x: str, y: str, color: str, marker: str) -> None:
    for one_shot, part in rows.groupby("one_shot"):
        look = {"markerfacecolor": "white"} if one_shot else {}
        drawing.points(ax, part[x], part[y], part[f"{y}_low"], part[f"{y}_high"], color, marker, **look)


def _same_limits(one: Any, other: Any, table: pandas.DataFrame) -> None:
    rows = table[(table.method == LOCAL) & np.isfinite(table.excess)]
    floor = float(table.floor.iloc[0])
    low, high = min(rows.excess.min(), floor), rows.excess.max()
    # A floor far above everything would leave a panel of nothing but grey.
    low, high = low / 1.4, max(high * 1.3, min(1.2 * floor, 10 * high))
    for ax in (one, other):
        ax.set_ylim(low, high)
        drawing.decades(ax, "y")
        drawing.floor_band(ax, floor)


def _against_rounds(ax: Any, rows: pandas.DataFrame) -> None:
    ax.axhline(1.0, color="#444444", linewidth=0.9, zorder=2)
    for n_workers, mine in rows.groupby("n_workers"):
        color, marker = drawing.look_of(n_workers)
        mine = mine.sort_values("n_rounds")
        drawing.line(ax, mine.n_rounds, mine.over_local, color, width=0.8)
        low, high = mine.over_local_low, mine.over_local_high
        drawing.points(ax, mine.n_rounds, mine.over_local, low, high, color, marker)
    for which in ("x", "y"):
        drawing.decades(ax, which)
    ax.text(0.985, 0.96, "above 1: local SGD is better", transform=ax.transAxes, ha="right", va="top", fontsize=FONT,
            color="#444444")  # fmt: skip


def _speed(ax: Any, rows: pandas.DataFrame) -> None:
    for n_workers, mine in rows.groupby("n_workers"):
        if n_workers == 1:
            ax.axhline(float(mine.ns_per_gradient.iloc[0]), color=GREY, linestyle=":", linewidth=1.1)
            continue
        color, marker = drawing.look_of(n_workers)
        mine = mine.sort_values("period")
        drawing.line(ax, mine.period, mine.ns_per_gradient, color, width=0.9)
        drawing.points(
            ax, mine.period, mine.ns_per_gradient, np.nan * mine.period, np.nan * mine.period, color, marker
        )
    ax.set_ylim(0, None)
    _period_ticks(ax, rows)


FIGURE = Figure(
    key="e",
    name="periods",
    title="error against period on real data",
    claim=(
        "What a long period costs depends on the step: ratios at one untuned step mislead. At equal rounds a large "
        "mini-batch is the baseline to beat; local SGD beats it where rounds are few."
    ),
    make=make,
    needs_data=True,
    beside=True,
)
