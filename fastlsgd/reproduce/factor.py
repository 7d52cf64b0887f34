"""Figure (c): how many times fewer averagings at equal error, over a grid of T and P, beside sqrt(T) / P^(3/2)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import theory
from ..experiments.comparison import need_pandas
from ..experiments.metrics import ratio_interval
from ..plots import FONT
from ..report import sig
from ..schedules import FixedPeriod, MiniBatch, Schedule
from ..stepsizes import Constant
from . import drawing, simulated
from .figure import Figure, Made, Request

if TYPE_CHECKING:
    import matplotlib.figure
    import pandas

# Gradients T of all workers, and workers P.
GRID = ((10_000, 100_000, 1_000_000), (4, 16, 64))
QUICK_GRID = ((10_000, 100_000), (4, 16))
# Equal error: an excess at most so much above that of averaging after every step.
EPSILON = 0.1
# Steps are STEP / sqrt(n): at the shortest run a fifth of the stability limit of the problem.
STEP = 6.0
RATIO = math.sqrt(2.0)
# Rows that stand for all where periods are predicted: the ratio of two predictions needs no more.
PREDICTED_ROWS = 2_000


def make(request: Request) -> Made:
    """Search, for each T and P, the longest period at equal error; beside it predictions and rules."""
    cells = list(itertools.product(*(QUICK_GRID if request.quick else GRID)))
    around = simulated.logistic()
    few = theory.Expansion(around.problem, PREDICTED_ROWS)
    constants = theory.estimate(around.problem)
    rows = []
    for place, (n_gradients, n_workers) in enumerate(cells):
        request.progress(place, len(cells), f"c: T = {n_gradients:,}, P = {n_workers}")
        rows.append(_cell(few, constants, n_gradients, n_workers, request))
    table = need_pandas().DataFrame(rows)
    return Made(table, lambda figure: draw(figure, table), words(table), size_in=(10.6, 4.9), grids=grids(table))


def _cell(
    around: theory.Expansion, constants: theory.Constants, n_gradients: int, n_workers: int, request: Request
) -> dict[str, Any]:
    problem, n_steps = around.problem, n_gradients // n_workers
    step, w_star = Constant(STEP / math.sqrt(n_steps)), around.problem.optimum()
    n_replicates = 200 if request.quick or n_gradients <= 100_000 else 100

    def measured(schedule: Schedule) -> tuple[list[float], int]:
        runs = simulated.many(
            problem, request, n_replicates, schedule=schedule, step_size=step, n_workers=n_workers, n_steps=n_steps,
            w0=w_star,
        )  # fmt: skip
        return simulated.excesses(problem, runs.w_bar)[:, 0].tolist(), runs.n_rounds

    def predicted(period: int) -> float:
        return theory.predict(around, period, step, n_workers, n_steps, w_star).excess

    often, _ = measured(MiniBatch())
    found: dict[int, tuple[float, float, float]] = {}

    def keeps(period: int) -> bool:
        found[period] = ratio_interval(measured(FixedPeriod(period))[0], often)
        return found[period][0] <= 1.0 + EPSILON

    allowed = (1.0 + EPSILON) * predicted(1)
    longest, expected = _longest(keeps, n_steps), _longest(lambda period: predicted(period) <= allowed, n_steps)
    row: dict[str, Any] = {
        "n_gradients": n_gradients, "n_workers": n_workers, "n_steps": n_steps, "eta": step.eta,
        "sqrt_t_over_p": math.sqrt(n_gradients) / n_workers**1.5, "replicates": n_replicates,
        "factor": n_steps / -(-n_steps // longest), "factor_predicted": n_steps / -(-n_steps // expected),
    }  # fmt: skip
    row |= dict(zip(("ratio", "ratio_low", "ratio_high"), found.get(longest, (1.0, 1.0, 1.0)), strict=True))
    for name, mu in (("mu", constants.mu), ("mu_eff", constants.mu_eff)):
        ours, n_rounds = measured(theory.AdaptivePeriod(mu))
        names = (f"{name}_ratio", f"{name}_ratio_low", f"{name}_ratio_high")
        row |= {f"{name}_factor": n_steps / n_rounds}
        row |= dict(zip(names, ratio_interval(ours, often), strict=True))
        row |= {f"{name}_formula": math.sqrt(n_gradients) / (mu * STEP * n_workers**1.5)}
    return row


def _longest(keeps: Callable[[int], bool], n_steps: int) -> int:
    """Return the longest of the periods 1, sqrt(2), 2, ... (rounded), up to n_steps, that keeps, by bisection."""
    ladder = np.unique(np.rint(RATIO ** np.arange(math.ceil(math.log(n_steps, RATIO)) + 1)).astype(int))
    ladder = np.append(ladder[ladder < n_steps], n_steps)
    if keeps(n_steps):
        return n_steps
    low, high = 0, len(ladder) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if keeps(int(ladder[middle])) else (low, middle)
    return int(ladder[low])


def words(table: pandas.DataFrame) -> list[str]:
    """Return how the measured factor goes with T and P, and how the rules and the predictions compare."""
    inner = table[table.factor < table.n_steps]
    predicted = (inner.factor_predicted / inner.factor).to_numpy()
    out = []
    if len(inner) >= 4:
        design = np.column_stack([np.log(inner.n_gradients), np.log(inner.n_workers), np.ones(len(inner))])
        (in_t, in_p, _), *_ = np.linalg.lstsq(design, np.log(inner.factor), rcond=None)
        out.append(
            f"Where one-shot averaging does not serve, the measured factor goes as T^{in_t:.2f} P^{in_p:.2f}; the "
            "law of the rules is T^0.5 P^-1.5."
        )
    out += [
        f"At equal error (an excess at most {100 * EPSILON:g}% above) averaging may be {sig(table.factor.min())} to "
        f"{sig(table.factor.max())} times rarer than after every single step with as many steps (not: than "
        "large mini-batches of as many rounds).",
        f"Predicted over measured factor, where one-shot averaging does not serve: from {sig(predicted.min())} to "
        f"{sig(predicted.max())} ({len(predicted)} of {len(table)} cells; periods are tried a factor 1.4 apart).",
    ]
    for name in ("mu", "mu_eff"):
        over = table[f"{name}_factor"] / table.factor
        worst = table.loc[table[f"{name}_ratio"].idxmax()]
        out.append(
            f"The {name} rule averages {sig(over.min())} to {sig(over.max())} times as rarely as the longest period "
            f"at equal error; its excess over that of averaging every step is at most {worst[f'{name}_ratio']:.3f} "
            f"[{worst[f'{name}_ratio_low']:.3f}, {worst[f'{name}_ratio_high']:.3f}] "
            f"(T = {int(worst.n_gradients):,}, P = {int(worst.n_workers)})."
        )
    return out


def grids(table: pandas.DataFrame) -> dict[str, pandas.DataFrame]:
    """Return the table of the figure, to be read, in two parts."""
    frame = need_pandas().DataFrame
    cells = {"T": [f"{n:,}" for n in table.n_gradients], "P": table.n_workers}

    def ratio(name: str) -> list[str]:
        columns = zip(table[f"{name}ratio"], table[f"{name}ratio_low"], table[f"{name}ratio_high"], strict=True)
        return [f"{mean:.3f} [{low:.3f}, {high:.3f}]" for mean, low, high in columns]

    found = frame(
        cells
        | {
            "sqrt(T)/P^1.5": [sig(x) for x in table.sqrt_t_over_p],
            "factor": [sig(x) for x in table.factor],
            "error ratio [95%]": ratio(""),
            "predicted factor": [sig(x) for x in table.factor_predicted],
        }
    )
    rules = frame(cells)
    for name in ("mu", "mu_eff"):
        rules[f"{name} rule"] = [sig(x) for x in table[f"{name}_factor"]]
        rules[f"{name} rule: error ratio [95%]"] = ratio(f"{name}_")
    return {
        "Averagings of every step over those at equal error (at most 10% more)": found,
        "What the rules of the adaptive period average rarer, and what it costs": rules,
    }


def draw(figure: matplotlib.figure.Figure, table: pandas.DataFrame) -> None:
    """Draw the factors against sqrt(T)/P^(3/2), and the error ratios of the rules."""
    left, right = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.065, right=0.985, top=0.82, bottom=0.115, wspace=0.2)
    drawing.head(
        figure,
        "(c) How many times fewer averagings, against averaging after every single step",
        f"Logistic regression, step {STEP:g}/sqrt(n), from the optimum; longest period with an excess at most "
        f"{100 * EPSILON:g}% above; at least {int(table.replicates.min())} runs a point.",
    )
    drawing.frame(left, "longest period at equal error", "sqrt(T) / P^1.5", "averagings of every step over these")
    x = np.geomspace(table.sqrt_t_over_p.min(), table.sqrt_t_over_p.max(), 200)
    for name, style, end, offset, side in (
        ("mu", "-", -1, (-6, 3), "right"),
        ("mu_eff", "--", 120, (10, -12), "left"),
    ):
        scale = float((table[f"{name}_formula"] / table.sqrt_t_over_p).iloc[0])
        law = np.maximum(1.0, scale * x)  # no rule averages more often than after every step
        drawing.line(left, x, law, "#888888", style)
        left.annotate(
            f"{name} rule", (x[end], law[end]), offset, textcoords="offset points", fontsize=FONT, ha=side,
            va="bottom", color="#666666",
        )  # fmt: skip
    for n_workers, rows in table.groupby("n_workers"):
        color, marker = drawing.look_of(int(n_workers))
        ours = rows.sort_values("sqrt_t_over_p")
        drawing.line(left, ours.sqrt_t_over_p, ours.factor_predicted, color)
        nothing = np.full(len(ours), np.nan)
        drawing.points(
            left, ours.sqrt_t_over_p, ours.factor, nothing, nothing, color, marker, label=f"P = {n_workers}, measured"
        )
        for name, face, shift in (("mu", color, 1.0), ("mu_eff", "white", 1.04)):
            drawing.points(
                right, shift * ours.sqrt_t_over_p, ours[f"{name}_ratio"], ours[f"{name}_ratio_low"],
                ours[f"{name}_ratio_high"], color, marker, markerfacecolor=face,
                label=f"P = {n_workers}, {name} rule",
            )  # fmt: skip
    left.plot([], [], color="#444444", linewidth=1.1, label="predicted")
    left.legend(loc="upper left", fontsize=FONT, frameon=False)
    drawing.decades(left, "x")
    drawing.decades(left, "y")
    drawing.frame(right, "what the rules cost", "sqrt(T) / P^1.5", "excess over that of every step", y="linear")
    right.axhline(1.0, color="#888888", linewidth=0.8)
    right.axhline(1.0 + EPSILON, color="#888888", linewidth=0.8, linestyle=":")
    drawing.decades(right, "x")
    low, high = right.get_ylim()
    right.set_ylim(low, high + 0.35 * (high - low))
    right.legend(loc="upper left", fontsize=FONT, frameon=False, ncols=2)


FIGURE = Figure(
    key="c",
    name="factor",
    title="the reduction factor over T and P",
    claim="At equal error averagings may be the rarer the longer the run and the fewer the workers; predictions say "
    "how rare.",
    make=make,
)
