"""Figures (a) to (d) of fastlsgd reproduce: what they measure is what theory says, and their searches are right."""

import math

import numpy as np
import pytest

pytest.importorskip("pandas")
matplotlib = pytest.importorskip("matplotlib")

from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.figure import Figure as Canvas  # noqa: E402

from fastlsgd import theory  # noqa: E402
from fastlsgd.reproduce import Request, factor, families, floor, simulated, slopes  # noqa: E402

MODULES = {"a": families, "b": floor, "c": factor, "d": slopes}


@pytest.fixture(scope="module")
def made():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(factor, "QUICK_GRID", ((10_000,), (4, 16)))
        yield {key: module.make(Request(quick=True, seed=7)) for key, module in MODULES.items()}


@pytest.mark.parametrize("key", MODULES)
def test_each_is_drawn_without_a_label_outside_of_the_picture(made, key):
    canvas = Canvas(figsize=made[key].size_in)
    made[key].draw(canvas)
    FigureCanvasAgg(canvas).draw()
    width, height = canvas.get_size_inches() * canvas.dpi
    for ax in canvas.axes:
        assert ax.lines, "an empty panel"
        words = [ax.title, ax._left_title, ax.xaxis.label, ax.yaxis.label, *ax.texts]
        for text in [*words, *canvas.texts]:
            if text.get_text():
                box = text.get_window_extent()
                assert box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height, text.get_text()
    assert made[key].words
    assert all(value is not None for value in made[key].table.columns)


def test_families_coincide_on_additive_noise_and_part_on_logistic_regression(made):
    table = made["a"].table
    last = table[table.t == table.t.max()].set_index(["problem", "method"])
    additive = last.loc["additive"].measured
    assert additive.to_numpy() == pytest.approx(additive.iloc[0], rel=1e-9)
    logistic = last.loc["logistic"]
    assert logistic.low["one-shot averaging"] > 3 * logistic.high["mini-batch averaging"]
    exact = table[table.is_exact]
    # 36 dependent intervals of 95%.
    assert ((exact.low <= exact.predicted) & (exact.predicted <= exact.high)).sum() >= 30
    assert (table.measured / table.predicted).between(0.8, 1.25).all()
    assert (table.replicates >= 100).all()


def test_the_floor_goes_with_the_step_and_extrapolation_leaves_the_next_order(made):
    table = made["b"].table
    steps = table[(table.panel == "over steps") & (table.n_workers == 64)].sort_values("eta")
    growth = math.log(steps.measured.iloc[-1] / steps.measured.iloc[0]) / math.log(
        steps.eta.iloc[-1] / steps.eta.iloc[0]
    )
    assert growth == pytest.approx(2.0, abs=0.35)
    largest = table[(table.panel == "over steps") & (table.eta == table.eta.max())].set_index("n_workers").measured
    assert largest[4] / largest[64] < 1.5
    last = table[(table.panel == "along the run") & (table.t == table.t.max())].set_index("method")
    assert last.low[floor.ONCE] > 5 * last.high[floor.WITHOUT]
    assert last.n_gradients[floor.WITHOUT] == 2 * last.n_gradients[floor.ONCE]
    left = table[table.panel == "extrapolated over steps"].set_index("eta").bias
    assert list(left.index) == list(steps.eta.iloc[1:])
    assert 0 < left.iloc[-1] < 0.05 * steps.measured.iloc[-1]
    assert (
        left.iloc[-2] < left.iloc[-1] / 4
    )  # of a bias proportional to the step it is a fourth, of the next order less


def test_the_factor_is_within_equal_error_and_near_what_was_predicted(made):
    table = made["c"].table
    assert (table.ratio <= 1.1).all()
    assert (table.ratio_low < table.ratio).all() and (table.ratio < table.ratio_high).all()
    assert (table.factor_predicted / table.factor).between(0.4, 2.5).all()
    by_workers = table.set_index("n_workers").factor
    assert by_workers[4] > 2 * by_workers[16]
    expected = math.sqrt(1e4) / (theory.estimate(simulated.logistic().problem).mu * factor.STEP * 8)
    assert table.mu_formula.iloc[0] == pytest.approx(expected)
    assert table.mu_factor.iloc[0] == pytest.approx(expected, rel=0.05)


def test_slopes_are_the_exact_ones(made):
    once = made["d"].table.drop_duplicates(["step", "criterion"])
    width = once.slope_high - once.slope_low
    assert (np.abs(once.slope - once.slope_exact) < 1.5 * width).all()
    exact = once.set_index(["step", "criterion"]).slope_exact
    assert exact["constant", "e1"] == pytest.approx(0.0, abs=1e-6)
    for alpha in (0.6, 0.75, 0.9):
        assert exact[f"alpha {alpha}", "e1"] == pytest.approx(-alpha, abs=0.1)
        assert exact[f"alpha {alpha}", "e2"] == pytest.approx(-1.0, abs=0.1)


@pytest.mark.parametrize("longest", [1, 2, 7, 45, 99, 100])
def test_the_search_finds_the_longest_that_keeps(longest):
    asked = []

    def keeps(period):
        asked.append(period)
        return period <= longest

    found = factor._longest(keeps, 100)
    assert found <= longest
    assert found == 100 or not keeps(min(100, math.ceil(found * factor.RATIO + 0.5)))
    assert len(asked) < 8


def test_the_same_seed_makes_the_same_table():
    first, again, other = (slopes.make(Request(quick=True, seed=seed)).table for seed in (1, 1, 2))
    assert first.equals(again)
    assert not first.measured.equals(other.measured)
