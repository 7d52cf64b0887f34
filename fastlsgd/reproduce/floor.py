"""Figure (b): the floor of one-shot averaging, proportional to the step, and what extrapolation leaves of it."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import theory
from ..experiments.comparison import need_pandas
from ..plots import FONT, looks
from ..report import sig
from ..schedules import MiniBatch, OneShot
from ..stepsizes import Constant
from . import drawing, simulated
from .figure import Figure, Made, Request

if TYPE_CHECKING:
    import matplotlib.figure
    import pandas
    from matplotlib.axes import Axes

# Parts of the stability limit, and the number of workers of the right panel.
PARTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4)
MANY = 64
ONCE, OFTEN, WITHOUT = "one-shot averaging", "mini-batch averaging", "one-shot, extrapolated"


def make(request: Request) -> Made:
    """Run one-shot averaging over steps and workers, and three methods along a run of 64 workers."""
    around = simulated.logistic()
    limit = theory.data_stability_limit(around)
    rows = _over_steps(around, limit, request) + _along_the_run(around, limit / 8, request)
    table = need_pandas().DataFrame(rows)
    return Made(table, lambda figure: draw(figure, table), words(table), size_in=(10.6, 4.7))


def _over_steps(around: theory.Expansion, limit: float, request: Request) -> list[dict[str, Any]]:
    """Return the excess of one-shot averaging from the optimum for each P and step; extrapolated for the last P."""
    n_steps, w_star = 2_000 if request.quick else 20_000, around.problem.optimum()
    rows = []
    averages: dict[float, np.ndarray] = {}
    for place, n_workers in enumerate((4, 16, MANY)):
        request.progress(place, 4, f"b: one-shot averaging, P = {n_workers}")
        for part in PARTS:
            step = Constant(part * limit)
            found = simulated.many(
                around.problem, request, request.replicates, schedule=OneShot(), step_size=step, n_workers=n_workers,
                n_steps=n_steps, w0=w_star,
            )  # fmt: skip

            expected = theory.predict(around, OneShot(), step, n_workers, n_steps, w_star)
            point = simulated.points(simulated.excesses(around.problem, found.w_bar))[0]
            row = _row("over steps", ONCE, n_workers, n_steps, step.eta)
            rows.append(row | point | {"predicted": expected.excess})
            averages[part] = found.w_bar
    # Of the last P: every step but the first has one of half its size, of the same seeds.
    for half, part in pairwise(PARTS):
        left = theory.richardson(averages[half], averages[part])
        excess = simulated.excesses(around.problem, left)
        of_mean = float(simulated.excesses(around.problem, left.mean(axis=0)[None]).item())
        row = _row("extrapolated over steps", WITHOUT, MANY, n_steps, part * limit)
        row |= {"n_gradients": 2 * n_steps * MANY, "predicted": float("nan")}
        # Their mean has the noise of one of them over their number.
        bias = of_mean - (float(excess.mean()) - of_mean) / (len(excess) - 1)
        rows.append(row | simulated.points(excess)[0] | {"bias": bias})
    return rows


def _along_the_run(around: theory.Expansion, eta: float, request: Request) -> list[dict[str, Any]]:
    request.progress(3, 4, f"b: extrapolation, P = {MANY}")
    n_steps, w_star = 2_000 if request.quick else 20_000, around.problem.optimum()
    t = np.unique(np.rint(np.geomspace(n_steps / 100, n_steps, 6 if request.quick else 10))).astype(np.int64)
    options = {"n_workers": MANY, "n_steps": n_steps, "record": t, "w0": w_star}

    runs = {
        name: simulated.many(
            around.problem, request, request.replicates, schedule=schedule, step_size=step, **options
        )
        for name, schedule, step in [
            (OFTEN, MiniBatch(), Constant(eta)), (ONCE, OneShot(), Constant(eta)),
            ("half", OneShot(), Constant(eta / 2)),
        ]
    }  # fmt: skip
    averages = {OFTEN: runs[OFTEN].w_bar, ONCE: runs[ONCE].w_bar}
    # The same seeds, so the same rows at every step: what is drawn cancels with the bias.
    averages[WITHOUT] = theory.richardson(runs["half"].w_bar, runs[ONCE].w_bar)
    rows = []
    for name, found in averages.items():
        cost = 2 if name == WITHOUT else 1
        for n, point in zip(t, simulated.points(simulated.excesses(around.problem, found)), strict=True):
            expected = float("nan")
            if name != WITHOUT:
                schedule = MiniBatch() if name == OFTEN else OneShot()
                expected = theory.predict(around, schedule, Constant(eta), MANY, int(n), w_star).excess

            row = _row("along the run", name, MANY, int(n), eta) | point | {"predicted": expected}
            rows.append(row | {"n_gradients": cost * int(n) * MANY})
    return rows


def _row(panel: str, method: str, n_workers: int, t: int, eta: float) -> dict[str, Any]:
    where = {"panel": panel, "method": method, "n_workers": n_workers, "t": t}
    return where | {"eta": eta, "n_gradients": t * n_workers}


def words(table: pandas.DataFrame) -> list[str]:
    """Return the slope in the step, the spread over P, and what extrapolation leaves."""
    steps = table[table.panel == "over steps"]
    out = []
    # The excess goes as the square of the bias, but for noise, which the most workers have least of.
    for n_workers, rows in sorted(steps.groupby("n_workers"), reverse=True):
        slope = np.polyfit(np.log(rows.eta), np.log(rows.measured), 1)[0] / 2
        out.append(f"P = {n_workers}: the root of the excess of one-shot averaging goes as step^{slope:.2f} here.")
    largest = steps[steps.eta == steps.eta.max()].sort_values("n_workers")
    shown = ", ".join(f"{sig(row.measured, 3)} (P = {row.n_workers})" for row in largest.itertuples())
    times = int(largest.n_workers.iloc[-1] / largest.n_workers.iloc[0])
    out.append(
        f"At step {sig(steps.eta.max())} its excess is {shown}: {times} times the workers and gradients, and it "
        "stays."
    )
    last = table[(table.panel == "along the run") & (table.t == table.t.max())].set_index("method")
    out.append(
        f"P = {MANY}, step {sig(last.eta.iloc[0])}, {int(last.t.iloc[0]):,} local steps: excess "
        f"{sig(last.loc[ONCE].measured)} of one-shot averaging, {sig(last.loc[WITHOUT].measured)} extrapolated from "
        "it and from one with half the step on the same rows (twice the gradients), "
        f"{sig(last.loc[OFTEN].measured)} of mini-batch averaging."
    )
    left = table[(table.panel == "extrapolated over steps") & (table.bias > 0)].sort_values("eta")
    if len(left) > 1:
        slope = np.polyfit(np.log(left.eta), np.log(left.bias), 1)[0] / 2
        biases, excesses, etas = (", ".join(map(sig, left[name])) for name in ("bias", "measured", "eta"))
        out.append(
            f"Extrapolated at steps {etas}, P = {MANY}: excess {excesses}, of which the bias that is left makes "
            f"{biases}; its root goes as step^{slope:.2f} here. The rest is noise."
        )
    known = table[np.isfinite(table.predicted)]
    ratio = known.predicted / known.measured
    out.append(f"Predicted over measured: from {ratio.min():.3f} to {ratio.max():.3f} at {len(ratio)} points.")
    return out


def draw(figure: matplotlib.figure.Figure, table: pandas.DataFrame) -> None:
    """Draw the excess against the step for each P, and along the run with 64 workers."""
    left, right = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.065, right=0.985, top=0.82, bottom=0.11, wspace=0.2)
    drawing.head(
        figure,
        "(b) One-shot averaging ends on a floor that more workers do not lower",
        f"Logistic regression, {simulated.LOGISTIC_FEATURES} features, constant steps, from the "
        f"optimum. Marks: mean over {int(table.replicates.max())} runs, 95% intervals. "
        "Lines: predicted from the problem alone.",
    )
    steps = table[table.panel == "over steps"]
    drawing.frame(left, f"after {int(steps.t.max()):,} local steps", "step size", "excess objective of w_bar")
    for n_workers, rows in steps.groupby("n_workers"):
        color, marker = drawing.look_of(int(n_workers))
        drawing.line(left, rows.eta, rows.predicted, color)
        drawing.points(left, rows.eta, rows.measured, rows.low, rows.high, color, marker, label=f"P = {n_workers}")
    reference = steps[steps.n_workers == MANY].sort_values("eta")
    top = reference.iloc[-1]
    drawing.line(left, reference.eta, 3 * top.measured * (reference.eta / top.eta) ** 2, "#888888", ":", 1.0)
    left.annotate(
        "proportional to step²", (reference.eta.iloc[1], 3 * top.measured * (reference.eta.iloc[1] / top.eta) ** 2),
        (-4, 6), textcoords="offset points", fontsize=FONT, color="#666666", ha="right",
    )  # fmt: skip
    left.legend(loc="lower right", fontsize=FONT, frameon=False)
    drawing.decades(left, "x")
    drawing.decades(left, "y")
    _along(right, table[table.panel == "along the run"])


def _along(ax: Axes, rows: pandas.DataFrame) -> None:
    drawing.frame(ax, f"P = {MANY}, step {sig(rows.eta.iloc[0])}", "gradients of all workers", "")
    look = looks([OFTEN, ONCE, WITHOUT])
    for name, ours in rows.groupby("method", sort=False):
        style = look[name]
        drawing.line(ax, ours.n_gradients, ours.predicted, style.color, style.line)
        drawing.points(
            ax, ours.n_gradients, ours.measured, ours.low, ours.high, style.color, style.marker, label=name,
            markerfacecolor=style.color if style.filled else "white",
        )  # fmt: skip
    ax.legend(loc="lower left", fontsize=FONT, frameon=False)
    low, high = ax.get_ylim()
    ax.set_ylim(low / (high / low) ** 0.25, high)
    drawing.decades(ax, "y")


FIGURE = Figure(
    key="b",
    name="floor",
    title="the floor of one-shot averaging, and extrapolation",
    claim=(
        "One-shot averaging has a bias proportional to the step, whatever P is; extrapolation from two steps on the "
        "same rows takes away the part of it that is proportional to the step, and leaves one of order step^2."
    ),
    make=make,
)
