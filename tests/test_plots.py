"""The pictures: nothing overlaps, nothing is empty, a method looks the same everywhere."""

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from test_report import baseline, flights3m_late, flights13_late, make_comparison, make_row, schedules

import fastlsgd as fl
from fastlsgd import plots

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    from matplotlib import pyplot

    pyplot.close("all")


def crowded(seed):
    """Twelve methods with random rounds, many of them the same, within one decade of excess."""
    rng = np.random.default_rng(seed)
    rows = [make_row("mini-batch averaging", 2e-5, 100_000, ratio=1.0)]
    for i in range(7):
        rounds = int(10 ** rng.integers(0, 5))
        rows.append(make_row(f"period {2**i}", 2e-5 * 10 ** rng.uniform(0, 1), rounds, rel=rng.uniform(0.01, 0.4)))
        rows.append(baseline(f"large mini-batch, rounds of period {2**i}", rows[-1].excess_mean * 1.03, rounds, 2e-5))
    return make_comparison(rows, floor=10 ** rng.uniform(-6, -4))


def words(ax):
    """The texts of a panel that have something to say, with their boxes in pixels."""
    renderer = ax.figure.canvas.get_renderer()
    texts = [text for text in ax.texts if text.get_text()]
    # Text.get_window_extent: an annotation's own would include its arrow.
    return [(text.get_text(), matplotlib.text.Text.get_window_extent(text, renderer)) for text in texts]


def drawn(comparison):
    figure = plots.tradeoff(comparison)
    figure.canvas.draw()
    return figure, *figure.axes


CASES = {
    "flights3m_late": flights3m_late,
    "flights13_late": flights13_late,
    "no floor": lambda: flights3m_late(floor=math.nan),
    "far below": lambda: flights3m_late(floor=1e-12),
    "far above": lambda: flights3m_late(floor=1.0),
    "one method": lambda: schedules(),
    "same place": lambda: schedules(("period 16", 1.0, 1000), ("period 64", 1.0, 1000), ("one-shot", 1.0, 1)),
    **{f"crowded {seed}": (lambda seed=seed: crowded(seed)) for seed in range(6)},
}


@pytest.mark.parametrize("make", CASES.values(), ids=CASES.keys())
def test_no_two_labels_overlap_and_none_leaves_its_panel(make):
    for ax in drawn(make())[1:]:
        labels = words(ax)
        panel = ax.get_window_extent().expanded(1.01, 1.01)
        for i, (text, box) in enumerate(labels):
            assert panel.x0 <= box.x0 and box.x1 <= panel.x1, text
            assert panel.y0 <= box.y0 and box.y1 <= panel.y1, text
            for other, its_box in labels[i + 1 :]:
                assert not box.shrunk(0.98, 0.8).overlaps(its_box.shrunk(0.98, 0.8)), (text, other)


@pytest.mark.parametrize("make", [flights3m_late, flights13_late])
def test_no_label_covers_a_mark(make):
    _, left, _ = drawn(make())
    marks = [left.transData.transform((line.get_xdata()[0], line.get_ydata()[0]))
             for line in left.lines if line.get_marker() not in ("None", "", None)]  # fmt: skip
    assert len(marks) >= 9
    for text, box in words(left):
        assert not any(box.contains(*mark) for mark in marks), text


def test_every_method_is_named_in_both_panels():
    comparison = flights3m_late()
    _, left, right = drawn(comparison)
    names = {plots.short_name(row.method) for row in comparison.rows}
    for ax in (left, right):
        said = " | ".join(text for text, _ in words(ax))
        assert all(name in said for name in names)


def test_a_method_has_one_color_and_twins_share_it():
    methods = [row.method for row in flights3m_late().rows]
    look = plots.looks(methods)
    assert look["large mini-batch, rounds of period 16"].color == look["period 16"].color
    assert look["one-shot, Richardson" if "one-shot, Richardson" in look else "one-shot Richardson"].color == (
        look["one-shot"].color
    )
    own = [look[m] for m in dict.fromkeys(methods) if m in plots_schedules()]
    assert len({one.color for one in own}) == len(own)
    assert len(set(map(str, look.values()))) == len(look)
    _, left, right = drawn(flights3m_late())
    for ax in (left, right):
        for text in ax.texts:
            for method, one in look.items():
                if text.get_text().split(": ")[0] == plots.short_name(method):
                    assert text.get_color() == plots.ink(one.color)


def plots_schedules():
    return {row.method for row in flights3m_late().rows if row.kind == "schedule"}


@pytest.mark.parametrize(
    "matrix",
    [
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
        [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
    ],
    ids=["all cones", "no green cones", "no red cones"],
)
def test_schedules_are_told_apart_by_the_colour_blind(matrix):
    """The matrices, in linear RGB, are those of Vienot, Brettel and Mollon (1999), recalled."""
    colors = sorted(plots.looks(list(plots_schedules()))[method].color for method in plots_schedules())
    linear = np.array([[int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)] for color in colors]) ** 2.2
    seen = np.clip(linear @ np.array(matrix).T, 0, 1) ** (1 / 2.2)
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 0.14


def test_the_floor_is_a_band_with_a_name():
    for ax in drawn(flights3m_late())[1:]:
        bands = [
            patch for patch in ax.patches if matplotlib.colors.to_hex(patch.get_facecolor()) == plots.FLOOR.lower()
        ]
        assert len(bands) == 1
        top = bands[0].get_window_extent().y1
        assert top == pytest.approx(ax.transData.transform((1, 1.1e-5))[1], abs=1)
        assert any("floor 1.1e-5" in text for text, _ in words(ax))


def test_a_floor_outside_the_panel_is_said():
    _, left, _ = drawn(flights3m_late(floor=1e-12))
    assert any("floor 1.0e-12: below this panel" in text for text, _ in words(left))


def test_a_method_that_never_averages_stands_at_zero():
    _, left, _ = drawn(flights3m_late())
    assert "0" in [tick.get_text() for tick in left.get_xticklabels()]
    worker = next(text for text in left.texts if text.get_text() == "one worker")
    assert worker.xy[0] == 0
    assert left.get_xlim()[0] < 0


def test_what_lies_beyond_the_panel_is_marked_with_its_value():
    _, left, _ = drawn(flights3m_late())
    said = [text for text, _ in words(left)]
    assert "one-shot + Newton step: 2.5e-9" in said and "L-BFGS: 3.1e-12" in said
    assert "triangles" in left.get_title(loc="left")


def test_the_common_step_is_not_drawn():
    comparison = flights3m_late()
    _, left, _ = drawn(comparison)
    heights = [line.get_ydata()[0] for line in left.lines]
    assert not any(math.isclose(y, 1.7e-4) for y in heights)
    assert any(math.isclose(y, 1.95e-5) for y in heights)


def test_the_picture_is_1600_by_700_and_written_whole(tmp_path):
    from PIL import Image

    path = tmp_path / "picture.png"
    plots.save_tradeoff(flights3m_late(), path)
    with Image.open(path) as image:
        assert image.size == (1600, 700)
        pixels = np.asarray(image.convert("L"), dtype=float)
    # Neither half is empty.
    assert (pixels[:, :800] < 128).sum() > 2000 and (pixels[:, 800:] < 128).sum() > 2000
    assert [entry.name for entry in tmp_path.iterdir()] == ["picture.png"]


def test_a_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(OSError):
        plots.save_tradeoff(flights3m_late(), tmp_path / "missing" / "picture.png")
    path = tmp_path / "picture.png"
    path.mkdir()
    with pytest.raises(OSError):
        plots.save_tradeoff(flights3m_late(), path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["picture.png"]


def test_the_same_numbers_give_the_same_picture(tmp_path):
    for name in ("a.png", "b.png"):
        plots.save_tradeoff(crowded(1), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_axes_of_the_caller_are_used():
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(12, 5))
    assert plots.tradeoff(flights3m_late(), axes=axes) is figure
    assert axes[0].lines and axes[1].lines
    with pytest.raises(ValueError, match=r"two Axes .* got 1"):
        plots.tradeoff(flights3m_late(), axes=[axes[0]])


def test_nothing_finite_is_an_error():
    comparison = schedules()
    comparison.rows[0].excess_mean = math.inf
    with pytest.raises(ValueError, match="nothing to draw"):
        plots.tradeoff(comparison)


def test_a_diverged_method_is_left_out():
    comparison = schedules(("period 16", 1.5, 60), ("one-shot", 2.0, 1))
    comparison.rows[1].excess_mean = comparison.rows[1].excess_high = math.inf
    _, left, right = drawn(comparison)
    assert "period 16" not in " ".join(text for ax in (left, right) for text, _ in words(ax))


def test_spread_keeps_order_gap_and_range():
    rng = np.random.default_rng(0)
    for _ in range(200):
        n = int(rng.integers(1, 12))
        wanted = np.sort(rng.uniform(-20, 120, n)).tolist()
        found = plots._spread(wanted, 8.0, 0.0, 100.0)
        assert min(found) >= -1e-6 and max(found) <= 100 + 1e-6
        assert all(b - a >= 8.0 - 1e-6 for a, b in itertools.pairwise(found))
    assert plots._spread([10.0, 50.0], 8.0, 0.0, 100.0) == [10.0, 50.0]
    assert plots._spread([0.0, 0.0, 0.0], 60.0, 0.0, 100.0) == pytest.approx([0, 50, 100])


@pytest.fixture(scope="module")
def result():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 3))
    problem = fl.Problem(X, X @ [1.0, -1.0, 0.5] + rng.standard_normal(200), l2=1e-3)
    return fl.local_sgd(problem, schedule=fl.FixedPeriod(5), n_steps=100, record=8)


def test_a_trace_is_drawn_as_objective_or_as_excess(result):
    ax = plots.trace(result.trace)
    x, y = ax.lines[0].get_data()
    np.testing.assert_array_equal(x, result.trace["n_rounds"])
    np.testing.assert_array_equal(y, result.trace["objective_w_bar"])
    result.trace.problem.optimum()
    again = plots.trace(result.trace, ax=plots.trace(result.trace).figure.add_subplot())
    np.testing.assert_array_equal(again.lines[0].get_ydata(), result.trace.excess())
    assert again.get_yscale() == "log" and "excess" in again.get_ylabel()


def test_a_trace_without_records_is_an_error(result):
    empty = fl.local_sgd(result.trace.problem, n_steps=10, record=0).trace
    with pytest.raises(ValueError, match="no records"):
        plots.trace(empty)


def test_a_trace_without_an_average_shows_w(result):
    trace = fl.local_sgd(result.trace.problem, n_steps=50, record=4, average=None).trace
    assert "F(w)" in plots.trace(trace).get_ylabel()


def test_without_matplotlib_one_line_says_what_to_install():
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from fastlsgd import plots\n"
        "try:\n    plots._matplotlib('pyplot')\n"
        "except ImportError as error:\n    assert 'pip install \"fastlsgd[plot]\"' in str(error)\n"
        "else:\n    raise SystemExit('no error')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_plots_does_not_import_matplotlib():
    code = "import sys, fastlsgd.plots; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_panels_say_what_is_a_mean_and_what_is_one_run():
    _, left, right = drawn(flights3m_late(seed=7))
    assert "mean" in left.get_title(loc="left")
    assert "one run (seed 7)" in right.get_title(loc="left")
