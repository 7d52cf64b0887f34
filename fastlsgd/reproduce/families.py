"""Figure (a): error of the averaged iterate against gradients, for the three families on three kinds of problems."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import theory
from ..experiments.comparison import need_pandas
from ..plots import FONT, looks
from ..report import sig
from ..schedules import FixedPeriod, MiniBatch, OneShot, Schedule
from ..stepsizes import Constant
from . import drawing, simulated
from .figure import Figure, Made, Request

if TYPE_CHECKING:
    import matplotlib.figure
    import pandas

WORKERS, PERIOD = 16, 16
FAMILIES: dict[str, Schedule] = {
    "mini-batch averaging": MiniBatch(),
    f"period {PERIOD}": FixedPeriod(PERIOD),
    "one-shot averaging": OneShot(),
}
# A part of the stability limit at which workers differ enough to be seen, on all three problems.
PART_OF_LIMIT = 0.25
PANELS = {
    "additive": "quadratic, additive noise",
    "least squares": "least squares on fresh rows",
    "logistic": "logistic regression",
}


def make(request: Request) -> Made:
    """Run the families on the three problems; predictions are exact moments for quadratics, else ``predict``."""
    n_steps = 1_000 if request.quick else 10_000
    n_replicates = 100 if request.quick else 400
    t = np.unique(np.rint(np.geomspace(n_steps / 100, n_steps, 6 if request.quick else 12))).astype(np.int64)
    rows: list[dict[str, Any]] = []
    for place, panel in enumerate(PANELS):
        request.progress(place, len(PANELS), f"a: {PANELS[panel]}")
        rows += _panel(panel, t, n_replicates, request)
    table = need_pandas().DataFrame(rows)
    return Made(table, lambda figure: draw(figure, table), words(table), size_in=(11.4, 4.6))


def _panel(panel: str, t: Any, n_replicates: int, request: Request) -> list[dict[str, Any]]:
    quadratic = {"additive": simulated.additive, "least squares": simulated.least_squares}.get(panel)
    known = quadratic() if quadratic else None
    around = None if known else simulated.logistic()
    problem = known.problem if known else around.problem  # type: ignore[union-attr]
    step = Constant(PART_OF_LIMIT * _limit(known, around))
    rows = []
    for name, schedule in FAMILIES.items():
        runs = simulated.many(
            problem, request, n_replicates, schedule=schedule, step_size=step, n_workers=WORKERS, n_steps=int(t[-1]),
            record=t,
        )  # fmt: skip
        # A shorter run is this one, cut: w_bar does not know whether its last round has been closed.
        if known:
            predicted = np.asarray(known.exact(schedule, step, WORKERS, t).e3)
        else:
            predicted = np.array([_predicted(around, schedule, step, int(n)) for n in t])
        measured = simulated.points(simulated.excesses(problem, runs.w_bar))
        rows += [
            {"problem": panel, "method": name, "t": int(n), "n_gradients": int(n) * WORKERS, "eta": step.eta}
            | point
            | {"predicted": float(expected), "is_exact": known is not None}
            for n, point, expected in zip(t, measured, predicted, strict=True)
        ]
    return rows


def _predicted(around: theory.Expansion | None, schedule: Schedule, step: Constant, n_steps: int) -> float:
    return theory.predict(around, schedule, step, WORKERS, n_steps).excess  # type: ignore[arg-type]


def _limit(known: simulated.Quadratic | None, around: theory.Expansion | None) -> float:
    if known is None:
        return theory.data_stability_limit(around)  # type: ignore[arg-type]
    # Additive noise has no limit but that of the mean; the step of least squares serves both.
    return theory.stability_limit(known.stream.eigenvalues)


def words(table: pandas.DataFrame) -> list[str]:
    """Return what the last points say of each problem."""
    out = []
    for panel, rows in table.groupby("problem", sort=False):
        last = rows[rows.t == rows.t.max()].set_index("method")
        base = last.loc["mini-batch averaging"]
        ratios = [
            f"{name} {sig(row.measured / base.measured, 3)} times "
            f"(predicted {sig(row.predicted / base.predicted, 3)})"
            for name, row in last.iterrows()
            if name != "mini-batch averaging"
        ]
        out.append(
            f"{PANELS[str(panel)]}, after {int(base.n_gradients):,} gradients at step {sig(base.eta)}: "
            f"excess of {', '.join(ratios)} that of mini-batch averaging, {sig(base.measured)}."
        )
    ratio = (table.measured / table.predicted).to_numpy()
    inside = ((table.low <= table.predicted) & (table.predicted <= table.high)).to_numpy()
    for is_exact, lead in ((True, "Exact moments"), (False, "Predictions of the logistic problem")):
        of = table.is_exact.to_numpy() == is_exact
        out.append(
            f"{lead}: inside the 95% interval at {int(inside[of].sum())} of {int(of.sum())} points; measured over "
            f"predicted from {ratio[of].min():.3f} to {ratio[of].max():.3f}."
        )
    return out


def draw(figure: matplotlib.figure.Figure, table: pandas.DataFrame) -> None:
    """Draw a panel a problem: points measured, lines predicted."""
    panels = figure.subplots(1, len(PANELS), sharey=False)
    figure.subplots_adjust(left=0.06, right=0.99, top=0.76, bottom=0.115, wspace=0.2)
    drawing.head(
        figure,
        f"(a) Three families on three problems, P = {WORKERS}",
        f"Constant step, a quarter of the stability limit. Marks: mean over {int(table.replicates.max())} runs with "
        "95% intervals. Lines: exact moments (quadratics), predicted from the problem alone (logistic).",
    )
    look = looks(list(FAMILIES))
    for ax, (panel, rows) in zip(panels, table.groupby("problem", sort=False), strict=True):
        drawing.frame(ax, PANELS[str(panel)], "gradients of all workers", "")
        # Points that coincide stay visible: each family's are smaller than the one's before.
        for size, (name, ours) in zip((9, 6.5, 3.5), rows.groupby("method", sort=False), strict=True):
            style = look[name]
            drawing.line(ax, ours.n_gradients, ours.predicted, style.color, style.line)
            drawing.points(
                ax, ours.n_gradients, ours.measured, ours.low, ours.high, style.color, style.marker,
                markerfacecolor=style.color if style.filled else "white", markersize=size,
            )  # fmt: skip
        drawing.decades(ax, "y")
    panels[0].set_ylabel("excess objective of w_bar", fontsize=FONT + 1)
    entries = [
        (name, {"color": s.color, "linestyle": s.line, "marker": s.marker,
                "markerfacecolor": s.color if s.filled else "white", "markersize": 4, "linewidth": 1.1})
        for name, s in look.items()
    ]  # fmt: skip
    drawing.legend(figure, entries, 0.87)


FIGURE = Figure(
    key="a",
    name="families",
    title="error against gradients for three families of schedules",
    claim="On a quadratic with additive noise the families coincide; with curvature that changes they part.",
    make=make,
)
