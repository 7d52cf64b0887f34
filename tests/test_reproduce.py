"""fastlsgd reproduce: what it measures, writes, says and refuses."""

import math
import re
import types

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("pyarrow")
pytest.importorskip("sklearn")
pd = pytest.importorskip("pandas")
matplotlib = pytest.importorskip("matplotlib")

from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.figure import Figure as Canvas  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

import fastlsgd as fl  # noqa: E402
from fastlsgd import cli, datasets, reproduce, theory  # noqa: E402
from fastlsgd.reproduce import figure, periods, real, report, running, steps  # noqa: E402
from fastlsgd.theory.period_limit import least_squares_limit  # noqa: E402

POINT = {
    "data", "loss", "l2", "sampling", "method", "n_workers", "period", "one_shot", "batch_size", "n_steps",
    "n_rounds", "n_gradients", "step", "eta", "seed", "replicates", "excess", "excess_low", "excess_high",
    "predicted", "predicted_low", "predicted_high", "floor",
}  # fmt: skip


def run(*args):
    return CliRunner().invoke(cli.app, ["reproduce", *map(str, args)])


@pytest.fixture(scope="module")
def tiny():
    """Make both figures small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figure, "QUICK_REPLICATES", 4)
        patch.setattr(real, "AT_ONCE", 3)
        patch.setattr(real, "LEAST_GRADIENTS", 20_000)
        patch.setattr(real, "TIMED", 1)
        patch.setattr(periods, "QUICK_WORKERS", (1, 2, 4))
        patch.setattr(periods, "QUICK_PERIODS", (1, 16, None))
        yield


@pytest.fixture(scope="module")
def made(tiny, tmp_path_factory):
    """Both figures on real data, with few runs: (result, folder)."""
    real.load.cache_clear()
    folder = tmp_path_factory.mktemp("reproduce") / "figures"
    result = run("--quick", "--figure", "e", "--figure", "f", "--seed", 3, "--output", folder)
    assert result.exit_code == 0, result.stderr
    yield result, folder
    real.load.cache_clear()


def table(made, stem):
    return pd.read_parquet(made[1] / f"{stem}.parquet")


def test_the_whole_job_writes_tables_pictures_and_a_page(made):
    result, folder = made
    stems = ("e-periods", "f-steps")
    names = {stem + ending for stem in stems for ending in (".csv", ".parquet", ".png")}
    assert {path.name for path in folder.iterdir()} == names | {"reproduce.md"}
    page, shown = (folder / "reproduce.md").read_text(), re.sub(r"\s+", " ", result.stdout)
    for stem in stems:
        assert (folder / f"{stem}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        read = pd.read_csv(folder / f"{stem}.csv")
        pd.testing.assert_frame_equal(read, table(made, stem), check_dtype=False, rtol=1e-12)
        assert f"({stem}.png)" in page
    for sentence in re.findall(r"^- (.*)$", page, re.MULTILINE):
        assert sentence in shown
    for one in reproduce.select("ef"):
        assert one.claim in page
    assert cells_of_a_line(page)
    assert "wrote" in result.stderr and "seconds" in result.stdout


def cells_of_a_line(page):
    """Whether every table of a page has as many cells in all its lines as in its rule."""
    for block in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        lines = [len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()]
        if len(set(lines)) != 1:
            return False
    return True


def test_a_bar_within_a_cell_does_not_end_it():
    frame = pd.DataFrame({"E |w|²": [1.0]}, index=pd.Index(["a"], name="k"))
    assert report._markdown(frame) == [r"| k | E \|w\|² |", "| --- | --- |", "| a | 1.0 |"]


@pytest.mark.parametrize("digits", [0.5, 2.0])
def test_what_is_not_above_rounding_is_not_told_as_a_measurement(digits):
    row = types.SimpleNamespace(excess=1e-20, excess_low=9e-21, excess_high=2e-20, resolution=digits * 1e-20)
    shown = periods._excess(row)
    assert shown == ("< 2.0e-20 (rounding)" if digits > 1 else periods._ratio(row, "excess"))


@pytest.mark.parametrize("stem", ["e-periods", "f-steps"])
def test_tables_have_their_columns_and_every_point_its_interval(made, stem):
    rows = table(made, stem)
    assert set(rows.columns) >= POINT
    runs = rows[rows.method != "L-BFGS"]
    assert (runs.replicates == 4).all() and (runs.seed == 3).all()
    finite = runs[np.isfinite(runs.excess)]
    assert len(finite) > 10
    assert ((finite.excess_low < finite.excess) & (finite.excess < finite.excess_high)).all()
    plain = runs[~runs.method.str.startswith("one-shot")]
    # What does not fill a batch is left out.
    assert (plain.n_gradients <= 20_000).all()
    assert (plain.n_gradients > 20_000 - plain.n_workers * plain.batch_size - plain.n_workers).all()


def test_the_grid_holds_every_period_at_both_steps_with_its_nanoseconds(made):
    rows = table(made, "e-periods")
    local = rows[rows.method == "local SGD"]
    for step in ("common", "own"):
        cells = [(w, p) for w, p in local[local.step == step][["n_workers", "period"]].to_numpy().tolist()]
        assert cells == [(1, 20_000), (2, 1), (2, 16), (2, 10_000), (4, 1), (4, 16), (4, 5_000)]
    common = local[local.step == "common"]
    assert (common.ns_per_gradient > 0).all()
    assert (common.eta == common.eta.iloc[0]).all()
    assert common.n_rounds.tolist() == [0, 10_000, 625, 1, 5_000, 313, 1]
    assert (local[local.period == 1].ratio == 1.0).all()
    large = rows[rows.method == "large mini-batch"]
    assert large[["n_workers", "batch_size", "n_rounds"]].to_numpy().tolist() == [[2, 16, 625], [4, 16, 312]]
    assert np.isfinite(large[["over_local", "over_local_low", "over_local_high"]]).all(axis=None)
    assert set(rows.method) >= {"L-BFGS", "one-shot, Richardson", "one-shot + one Newton step"}
    # No round, no better: L-BFGS may not fall behind itself.
    by_rounds = rows[rows.method == "L-BFGS"].sort_values("n_rounds").excess
    assert (np.diff(by_rounds) <= 0).all()


@pytest.mark.parametrize(("stem", "method"), [("e-periods", "local SGD"), ("f-steps", "period 16")])
def test_a_point_is_what_local_sgd_gives(made, stem, method):
    rows = table(made, stem)
    row = rows[(rows.method == method) & (rows.period == 16)].iloc[-1]
    data = real.load("breast_cancer")
    answers = [
        fl.local_sgd(
            data.problem, n_workers=row.n_workers, n_steps=row.n_steps, schedule=fl.FixedPeriod(16),
            step_size=fl.Constant(row.eta), seed=seed, sampling="replacement", record=0,
        ).w_bar
        for seed in range(3, 7)
    ]  # fmt: skip
    assert np.mean(data.problem.excess(np.array(answers))) == pytest.approx(row.excess, rel=1e-9)


def test_steps_cover_what_is_safe_and_what_is_not(made):
    rows = table(made, "f-steps")
    assert rows.method.nunique() == 5
    one_worker = rows[rows.method == "one-shot"]["limit"].iloc[0]
    for name, mine in rows.groupby("method"):
        safe, limit = mine.safe_step.iloc[0], mine["limit"].iloc[0]
        assert mine.eta.iloc[-2] <= limit < mine.eta.iloc[-1]
        first = mine.eta.iloc[0] / (16 if name.startswith("large") else 1)
        assert max(safe / 4, one_worker / 100) <= first <= max(safe / 4, one_worker / 50)
        assert np.allclose(np.diff(np.log2(mine.eta)), 1.0)
        assert np.isfinite(mine[mine.eta <= limit / 2].predicted).all()


@pytest.mark.parametrize(
    ("file", "stem", "spread"),
    [(periods, "e-periods", None), (steps, "f-steps", None), (steps, "f-steps", 0.99), (steps, "f-steps", 0.5)],
)
def test_pictures_have_no_empty_panel_and_no_words_outside_or_over_points(made, file, stem, spread):
    canvas = Canvas(figsize=(10.6, 8.2 if file is periods else 6.0), dpi=100)
    FigureCanvasAgg(canvas)
    rows = table(made, stem)
    if spread is not None:
        rows.loc[rows.method == "mini-batch averaging", "limit"] = spread * rows["limit"].max()
    file.draw(canvas, rows, real.load("breast_cancer").title)
    canvas.canvas.draw()
    renderer = canvas.canvas.get_renderer()
    whole = canvas.bbox
    legends = [legend.get_window_extent(renderer) for legend in canvas.legends]
    assert legends
    for ax in canvas.axes:
        assert any(np.isfinite(line.get_ydata()).any() for line in ax.lines if len(line.get_ydata()))
        assert ax.get_xlabel() and ax.get_ylabel()
        assert len(ax.get_xticks()) >= 2 and len(ax.get_yticks()) >= 1
        for box in legends:
            assert not box.overlaps(ax.get_window_extent(renderer))
        for text in [*ax.texts, ax.title, ax.xaxis.label, ax.yaxis.label]:
            box = matplotlib.text.Text.get_window_extent(text, renderer)
            assert whole.x0 <= box.x0 and box.x1 <= whole.x1 and whole.y0 <= box.y0 and box.y1 <= whole.y1
        marks = [matplotlib.text.Text.get_window_extent(text, renderer) for text in ax.texts]
        for i, box in enumerate(marks):
            assert not any(box.overlaps(other) for other in marks[i + 1 :])
    heads = [text.get_window_extent(renderer) for text in canvas.texts] + legends
    for box in heads:
        assert box.x1 <= whole.x1
        assert not any(box.overlaps(mark) for mark in marks)


# ---- which problems ----

LATER = "-breast_cancer-reshuffle"


@pytest.fixture(scope="module")
def others(tiny, tmp_path_factory):
    """Both figures on two data sets that are reshuffled, one of them least squares."""
    folder = tmp_path_factory.mktemp("reproduce") / "others"
    names = ("--data", "diabetes", "--data", "breast_cancer", "--data", "diabetes")
    result = run("--quick", "--figure", "e", "--figure", "f", *names, "--sampling", "reshuffle", "--output", folder)
    assert result.exit_code == 0, result.stderr
    yield result, folder
    real.load.cache_clear()


def test_each_data_set_has_its_files_and_says_how_rows_are_drawn(others):
    folder, stems = others[1], ("e-periods", "f-steps")
    sets = {stem + end: name for stem in stems for end, name in (("", "diabetes"), (LATER, "breast_cancer"))}
    assert {path.stem for path in folder.glob("*.png")} == set(sets)
    page = (folder / "reproduce.md").read_text()
    assert re.findall(r"^## .*: (.*)$", page, re.MULTILINE) == ["diabetes, reshuffle", "breast_cancer, reshuffle"] * 2
    for stem, name in sets.items():
        rows = table(others, stem)
        assert set(rows.data) == {name} and set(rows.sampling) == {"reshuffle"}
        assert f"({stem}.png)" in page
    assert "rows reshuffled" in real.load("diabetes", "reshuffle").title


def test_a_reshuffled_point_is_what_local_sgd_gives(others):
    rows = table(others, f"e-periods{LATER}")
    row = rows[(rows.method == "local SGD") & (rows.period == 16)].iloc[-1]
    problem = real.load("breast_cancer", "reshuffle").problem
    answers = [
        fl.local_sgd(
            problem, n_workers=row.n_workers, n_steps=row.n_steps, schedule=fl.FixedPeriod(16),
            step_size=fl.Constant(row.eta), seed=seed, sampling="reshuffle", record=0,
        ).w_bar
        for seed in range(4)
    ]  # fmt: skip
    assert np.mean(problem.excess(np.array(answers))) == pytest.approx(row.excess, rel=1e-9)


def test_least_squares_is_tuned_within_its_stability_limit(others):
    rows = table(others, "e-periods")
    tuned = rows[(rows.step == "own") & rows.method.isin(["local SGD", "large mini-batch"])]
    assert (rows.loss == "squared").all() and (tuned.eta <= tuned.limit).all()
    # Every averaging allows larger steps: the limit falls with the period.
    for _, mine in tuned[(tuned.method == "local SGD") & (tuned.n_workers > 1)].groupby("n_workers"):
        assert (np.diff(mine.sort_values("period").limit) < 0).all()


def test_the_limit_of_least_squares_is_that_of_theory_at_both_ends_and_falls_between():
    data = real.load("diabetes")
    around = data.around
    once, often = least_squares_limit(around, math.inf, 8), least_squares_limit(around, 1, 8)
    assert once == pytest.approx(theory.data_stability_limit(around), rel=0.01)
    assert often == pytest.approx(theory.data_stability_limit(around, 8), rel=0.01)
    between = [least_squares_limit(around, period, 8) for period in (4, 16, 64)]
    assert often > between[0] > between[1] > between[2] > once


def test_the_full_set_has_further_problems_if_they_are_installed(monkeypatch):
    chosen = reproduce.select("aef")
    monkeypatch.setattr(datasets, "is_installed", lambda name: True)
    found = [(job.stem, job.source and job.source.beside) for job in reproduce.plan(chosen)]
    assert found == [
        ("a-families", None), ("e-periods", False), ("e-periods-flights13", True),
        ("e-periods-census_hashed-reshuffle", True), ("f-steps", False),
    ]  # fmt: skip
    assert not reproduce.left_out()
    for options in ({"quick": True}, {"data": ["flights13"]}, {"sampling": "reshuffle"}):
        assert [job.stem for job in reproduce.plan(chosen, **options)] == ["a-families", "e-periods", "f-steps"]
    monkeypatch.setattr(datasets, "is_installed", lambda name: name != "census_hashed")
    assert len(reproduce.plan(chosen)) == 4 and reproduce.left_out() == ["census_hashed"]


def test_the_full_set_rests_on_a_hundred_replicates():
    assert reproduce.Request().replicates >= 100 and reproduce.Request(seed=7).seeds == range(7, 107)
    assert reproduce.Request().seeds.start == 0


def test_the_steps_that_serve_are_read_between_those_that_were_run():
    rows = pd.DataFrame({"eta": [1.0, 2.0, 4.0, 8.0], "excess": [16.0, 4.0, 1.0, math.inf]})
    low, high = steps.span(rows, 8.0)
    assert low == pytest.approx(math.sqrt(2.0)) and 4.0 <= high < 4.1
    assert steps.span(rows, 0.5) is None
    assert steps.span(rows.iloc[:3], 20.0) == (1.0, 4.0)


# ---- the frame ----


def one_of_ours(key, make):
    return reproduce.Figure(key, f"name{key}", f"title {key}", f"claim {key}.", make)


def by_hand(request):
    def draw(picture):
        picture.subplots().plot([1, 2])

    return reproduce.Made(pd.DataFrame({"seed": list(request.seeds)}), draw, ["A sentence.", "Another."])


def test_a_figure_is_one_object_and_needs_no_data(monkeypatch, tmp_path):
    monkeypatch.setattr(running, "FIGURES", (one_of_ours("x", by_hand), one_of_ours("y", by_hand)))
    monkeypatch.setattr(datasets, "is_installed", lambda name: pytest.fail("asked for data"))
    result = run("--output", tmp_path / "out", "--seed", 5)
    assert result.exit_code == 0, result.stderr
    assert len(pd.read_csv(tmp_path / "out" / "x-namex.csv")) == 100
    assert "claim x." in result.stdout and "Another." in result.stdout
    result = run("--output", tmp_path / "one", "--data", "wine")
    assert result.exit_code == 2 and "none of the figures asked for is on real data" in result.stderr
    result = run("--output", tmp_path / "one", "--figure", "y")
    assert sorted(path.name for path in (tmp_path / "one").glob("*.png")) == ["y-namey.png"]


def test_an_interrupt_leaves_what_is_finished(monkeypatch, tmp_path):
    def interrupted(request):
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "FIGURES", (one_of_ours("x", by_hand), one_of_ours("y", interrupted)))
    result = run("--output", tmp_path / "out")
    assert result.exit_code == 130
    assert "interrupted after 1 of 2 figures; what is finished is in" in result.stderr
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"x-namex.csv", "x-namex.parquet", "x-namex.png", "reproduce.md"}
    assert "claim x." in result.stdout and "claim y." not in result.stdout


def test_a_picture_that_fails_leaves_no_part_of_a_file(monkeypatch, tmp_path):
    def broken(request):
        def draw(picture):
            raise ValueError("no ink")

        return reproduce.Made(pd.DataFrame({"a": [1]}), draw, ["A sentence."])

    monkeypatch.setattr(running, "FIGURES", (one_of_ours("x", broken),))
    result = run("--output", tmp_path / "out")
    assert result.exit_code == 2 and result.stderr.strip().endswith("fastlsgd: no ink")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"x-namex.csv", "x-namex.parquet"}


def test_what_would_fail_is_refused_before_anything_runs(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(real, "load", lambda name: pytest.fail("ran"))
    refused = {
        ("--figure", "z"): "--figure must be one of",
        ("--data", "digits"): "--data must be one of flights13, flights13_late",
        ("--data", "nothing"): "--data must be one of",
        ("--data", "breast_cancer", "--data", "nothing"): "got 'nothing'",
        ("--sampling", "blocks"): "--sampling must be one of replacement, reshuffle; got 'blocks'",
        ("--figure", "a", "--sampling", "reshuffle"): "none of the figures asked for is on real data",
        ("--output", "file"): "--output must be a folder, got the file file",
        ("--output", "no/folder"): "make it first",
    }
    for options, words in refused.items():
        result = run("--quick", *options)
        assert result.exit_code == 2 and words in result.stderr, (options, result.stderr)
        assert result.stderr.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"file"}


def test_missing_data_and_extras_come_with_the_command_that_helps(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTLSGD_DATA", str(tmp_path / "cache"))
    if not datasets.is_installed("census"):
        assert "run: fastlsgd data census" in run("--data", "census").stderr
    real_find = running.importlib.util.find_spec
    monkeypatch.setattr(
        running.importlib.util, "find_spec", lambda name: None if name == "matplotlib" else real_find(name)
    )
    assert 'need matplotlib; run: pip install "fastlsgd[cli,plot]"' in run("--quick").stderr


def test_the_list_and_the_help_name_every_figure():
    listed = run("--list").stdout
    assert [line[0] for line in listed.splitlines()] == [one.key for one in reproduce.FIGURES]
    assert "fastlsgd reproduce --figure e" in run("--help").stdout
    keys = [one.key for one in reproduce.FIGURES]
    assert keys == sorted(set(keys))
