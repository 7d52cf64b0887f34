"""Figure (d): how fast the last iterate and the average fall with the number of steps, for four step sizes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..experiments.comparison import need_pandas
from ..plots import FONT
from ..schedules import FixedPeriod
from ..stepsizes import Constant, PolynomialDecay, StepSize
from ..streams import QuadraticStream
from . import drawing, simulated
from .figure import Figure, Made, Request

if TYPE_CHECKING:
    import matplotlib.figure
    import pandas

WORKERS, PERIOD = 4, 16
SPECTRUM = np.array([1.0, 0.5])
STEPS: dict[str, StepSize] = {
    "constant": Constant(0.1),
    "alpha 0.6": PolynomialDecay(1.0, 0.6),
    "alpha 0.75": PolynomialDecay(1.0, 0.75),
    "alpha 0.9": PolynomialDecay(1.0, 0.9),
}
CRITERIA = {"e1": "E |w - w*|², last iterate", "e2": "E |H (w_bar - w*)|², average"}
# Where slopes are taken: between a quarter of the steps and all.
SPAN = 4


def make(request: Request) -> Made:
    """Run all step sizes from the optimum; slopes with intervals, and the exact ones."""
    n_steps = 4_000 if request.quick else 32_000
    n_replicates = 200 if request.quick else 1_000
    t = np.unique(np.rint(n_steps / np.geomspace(64, 1, 7)).astype(np.int64))
    w_star = np.ones(2)
    known = simulated.Quadratic(
        QuadraticStream(SPECTRUM, 1.0, w_star=w_star, dtype="float64"), {"noise_cov": np.ones(2)}
    )
    rows: list[dict[str, Any]] = []
    for place, (name, step) in enumerate(STEPS.items()):
        request.progress(place, len(STEPS), f"d: {name}")
        runs = simulated.many(
            known.problem, request, n_replicates, schedule=FixedPeriod(PERIOD), step_size=step, n_workers=WORKERS,
            n_steps=n_steps, w0=w_star, record=t,
        )  # fmt: skip
        exact = known.exact(FixedPeriod(PERIOD), step, WORKERS, t, w_star)
        errors = {
            "e1": ((runs.w - w_star) ** 2).sum(axis=2),
            "e2": ((SPECTRUM * (runs.w_bar - w_star)) ** 2).sum(axis=2),
        }
        for criterion, values in errors.items():
            expected = np.asarray(getattr(exact, criterion))
            slopes = _slopes(values, t, expected, request.seed)
            rows += [
                {"step": name, "criterion": criterion, "t": int(n)} | point | {"exact": float(e)} | slopes
                for n, point, e in zip(t, simulated.points(values), expected, strict=True)
            ]
    table = need_pandas().DataFrame(rows)
    return Made(table, lambda figure: draw(figure, table), words(table), size_in=(10.6, 4.7), grids=grids(table))


def _slopes(values: np.ndarray, t: np.ndarray, expected: np.ndarray, seed: int) -> dict[str, float]:
    """Return the slope over the last factor SPAN in t: of the means, its 95% interval, and of the exact values."""
    ends = [int(np.argmin(np.abs(t - t[-1] / SPAN))), len(t) - 1]
    width = math.log(t[ends[1]] / t[ends[0]])

    def slope(means: np.ndarray) -> float:
        return math.log(means[1] / means[0]) / width

    low, high = simulated.bootstrap(values[:, ends], slope, seed)
    return {
        "slope": slope(values[:, ends].mean(axis=0)), "slope_low": low, "slope_high": high,
        "slope_exact": slope(expected[ends]),
    }  # fmt: skip


def grids(table: pandas.DataFrame) -> dict[str, pandas.DataFrame]:
    """Return the slopes, measured and exact."""
    once = table.drop_duplicates(["step", "criterion"])
    words_ = [
        f"{row.slope:.3f} [{row.slope_low:.3f}, {row.slope_high:.3f}]; {row.slope_exact:.3f}"
        for row in once.itertuples()
    ]
    shown = need_pandas().DataFrame(
        {"step": once.step.to_numpy(), "of": [CRITERIA[c] for c in once.criterion], "slope": words_}
    )
    return {"Slopes, measured [95%]; exact": shown.pivot(index="step", columns="of", values="slope")}


def words(table: pandas.DataFrame) -> list[str]:
    """Return whether measured slopes hold the exact ones, and how near the average comes to 1/t."""
    once = table.drop_duplicates(["step", "criterion"])
    inside = int(((once.slope_low <= once.slope_exact) & (once.slope_exact <= once.slope_high)).sum())
    last = table[(table.t == table.t.max()) & (table.criterion == "e2")]
    optimal = 2.0 / (WORKERS * int(table.t.max()))
    ratios = ", ".join(f"{row.step} {row.measured / optimal:.3f}" for row in last.itertuples())
    covered = int(((table.low <= table.exact) & (table.exact <= table.high)).sum())
    return [
        f"The exact slope lies in the 95% interval of the measured one in {inside} of {len(once)} cases.",
        f"The average at the end over the optimal variance tr S / (P n): {ratios}.",
        f"Exact moments lie in the 95% interval at {covered} of {len(table)} points.",
    ]


def draw(figure: matplotlib.figure.Figure, table: pandas.DataFrame) -> None:
    """Draw both criteria against the steps: points measured, lines exact."""
    panels = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.065, right=0.985, top=0.83, bottom=0.11, wspace=0.2)
    drawing.head(
        figure,
        f"(d) Slopes of last iterate and average, P = {WORKERS}, period {PERIOD}",
        f"Quadratic with eigenvalues 1 and 0.5, additive noise, from the optimum. Marks: mean over "
        f"{int(table.replicates.max())} runs, 95% intervals. Lines: exact. Numbers: slopes at the end.",
    )
    look = dict(zip(STEPS, (("#000000", "s"), ("#0072B2", "o"), ("#009E73", "^"), ("#D55E00", "D")), strict=True))
    for ax, (criterion, words_) in zip(panels, CRITERIA.items(), strict=True):
        rows = table[table.criterion == criterion]
        drawing.frame(ax, words_, "local steps", "")
        for name, ours in rows.groupby("step", sort=False):
            color, marker = look[name]
            drawing.line(ax, ours.t, ours.exact, color)
            label = f"{name}: {ours.slope.iloc[0]:.3f} (exact {ours.slope_exact.iloc[0]:.3f})"
            drawing.points(ax, ours.t, ours.measured, ours.low, ours.high, color, marker, label=label)
        ax.legend(loc="lower left", fontsize=FONT, frameon=False)
        low, high = ax.get_ylim()
        ax.set_ylim(low / (high / low) ** 0.35, high)
        drawing.decades(ax, "y")
    panels[0].set_ylabel("mean squared error", fontsize=FONT + 1)


FIGURE = Figure(
    key="d",
    name="slopes",
    title="slopes of last iterate and average",
    claim=(
        "With steps t^-alpha the last iterate falls as t^-alpha and the average as 1/t; with a constant step the "
        "last iterate falls no further."
    ),
    make=make,
)
