"""The table is legible at every width, and numbers take as few digits as they need."""

import io
import math
from types import SimpleNamespace

import numpy as np
import pytest

from fastlsgd import report

pytest.importorskip("rich")

# Scaled so that Student's 95% interval of ten replicates is +- 1.
SPREAD = np.linspace(-1, 1, 10) / (2.262157 * np.std(np.linspace(-1, 1, 10), ddof=1) / math.sqrt(10))

COMMON = 0.069


def make_row(
    method, mean, n_rounds, *, kind="schedule", step="own", eta=0.03, rel=0.03, ratio=None, test=0.6450, **more
):
    """A row with ten replicates whose interval is mean * (1 +- rel); rel=None: a deterministic method."""
    ratio = math.nan if ratio is None else ratio
    half = 0.0 if rel is None else 1.4 * rel
    values = {
        "method": method,
        "kind": kind,
        "step": step,
        "eta": eta,
        "n_rounds": n_rounds,
        "n_bytes": 2 * 8 * 61 * 4 * n_rounds,
        "n_gradients": 10_800_000,
        "gradients_per_s": 9.7e7,
        "wall_s": 0.13,
        "compute_s": 0.110,
        "wait_s": 0.0123,
        "average_s": 0.0077,
        "excess": (mean,) if rel is None else tuple((mean * (1 + rel * SPREAD)).tolist()),
        "excess_mean": mean,
        "excess_low": math.nan if rel is None else mean * (1 - rel),
        "excess_high": math.nan if rel is None else mean * (1 + rel),
        "ratio": ratio,
        "ratio_low": ratio * (1 - half),
        "ratio_high": ratio * (1 + half),
        "test_metric": 0.6450,
        "curve": sgd_curve(mean),
    }
    return SimpleNamespace(**{**values, **more})


def sgd_curve(mean, n_gradients=10_800_000):
    points = np.geomspace(8, n_gradients, 16)
    return tuple((int(n), float(mean * n_gradients / n + 0.15 * np.exp(-n / 2e4))) for n in points)


def lbfgs_curve(n_rounds=61, n_samples=2_700_000, first=0.06, last=3.1e-12):
    return tuple((k * n_samples, float(e)) for k, e in enumerate(np.geomspace(first, last, n_rounds), 1))


def make_comparison(rows, **facts):
    values = {
        "name": "flights3m_late",
        "n_samples": 2_700_000,
        "n_features": 60,
        "loss": "logistic",
        "l2": 1e-4,
        "fit_intercept": True,
        "dtype": "float32",
        "n_workers": 8,
        "n_steps": 1_350_000,
        "n_passes": 4,
        "sampling": "replacement",
        "replicates": 10,
        "seed": 0,
        "n_threads": 2,
        "mu": 1.3e-4,
        "mu_eff": 0.0123,
        "lipschitz": 7.2,
        "noise": 0.6,
        "floor": 1.1e-5,
        "safe_step": COMMON,
        "step_bound": 2e4,
        "f_star": 0.49712345,
        "excess_resolution": 1e-27,
        "metric": "AUC",
        "test_metric_at_optimum": 0.6451,
        "test_metric_se": 0.0012,
        "wall_s": 14.2,
        "rounds_lbfgs_to_floor": 28,
    }
    return SimpleNamespace(rows=tuple(rows), facts={**values, **facts})


def both_steps(method, n_rounds, own, common, reference_own, reference_common, eta, **more):
    """The rows of a method at the common and at its own step."""
    return [
        make_row(method, common, n_rounds, step="common", eta=COMMON, ratio=common / reference_common, **more),
        make_row(method, own, n_rounds, eta=eta, ratio=own / reference_own, **more),
    ]


def baseline(method, mean, n_rounds, reference, *, eta=0.05, **more):
    return make_row(method, mean, n_rounds, kind="baseline", eta=eta, ratio=mean / reference, **more)


def flights3m_late(**facts):
    """The numbers of a prototype on flights3m_late."""
    at = (5.3e-6, 5.6e-6)
    rows = [
        *both_steps("mini-batch averaging", 1_350_000, 5.3e-6, 5.6e-6, *at, eta=0.055),
        *both_steps("period 16", 84_375, 5.6e-6, 8.4e-6, *at, eta=0.028),
        *both_steps("period 256", 5_273, 1.1e-5, 4.5e-5, *at, eta=0.0087),
        *both_steps("adaptive (mu)", 1_510, 1.6e-5, 1.05e-4, *at, eta=0.0056),
        *both_steps("adaptive (mu_eff)", 9_211, 8.6e-6, 3.1e-5, *at, eta=0.0099),
        *both_steps("one-shot", 1, 1.95e-5, 1.7e-4, *at, eta=0.0043),
        baseline("large mini-batch, rounds of period 16", 5.05e-6, 84_375, 5.3e-6, eta=0.88),
        baseline("large mini-batch, rounds of period 256", 8.8e-6, 5_273, 5.3e-6, eta=3.5),
        baseline("one worker", 4.9e-5, 0, 5.3e-6, n_bytes=0, eta=0.0069),
        baseline("one-shot Richardson", 4.8e-6, 1, 5.3e-6, eta=0.017, curve=sgd_curve(4.8e-6, 21_600_000)),
        baseline("one-shot + Newton step", 2.5e-9, 2, 5.3e-6, eta=0.0043,
                 curve=(*sgd_curve(1.95e-5), (13_500_000, 2.5e-9))),
        make_row("L-BFGS", 3.1e-12, 61, kind="baseline", step="none", eta=math.nan, rel=None, ratio=5.8e-7,
                 wait_s=math.nan, average_s=math.nan, curve=lbfgs_curve()),
    ]  # fmt: skip
    return make_comparison(rows, **facts)


def flights13_late(**facts):
    """The numbers of a prototype on flights13_late; no common step was measured there."""
    rows = [
        make_row("mini-batch averaging", 4.1e-5, 130_938, eta=0.14, ratio=1.0),
        make_row("period 16", 4.6e-5, 8_183, eta=0.069, ratio=4.6 / 4.1),
        make_row("period 256", 8.8e-5, 511, eta=0.035, ratio=8.8 / 4.1),
        make_row("one-shot", 1.2e-4, 1, eta=0.017, ratio=12 / 4.1),
        baseline("large mini-batch, rounds of period 16", 4.4e-5, 8_183, 4.1e-5, eta=2.2),
        baseline("large mini-batch, rounds of period 256", 8.4e-5, 511, 4.1e-5, eta=4.4),
        baseline("one-shot Richardson", 8.1e-5, 1, 4.1e-5),
        baseline("one-shot + Newton step", 8.6e-8, 2, 4.1e-5, eta=0.017),
        make_row("L-BFGS", 2e-12, 28, kind="baseline", step="none", eta=math.nan, rel=None, ratio=4.9e-8),
    ]
    values = {"name": "flights13_late", "n_samples": 261_877, "n_features": 57, "n_steps": 130_938, "floor": 9.7e-5}
    return make_comparison(rows, **{**values, "test_metric_se": 0.0024, **facts})


def schedules(*specs, reference=(1e-5, 1000), rel=0.02, floor=math.nan, **facts):
    """A comparison of mini-batch averaging with (method, ratio, n_rounds) at own steps only."""
    mean, n_rounds = reference
    rows = [make_row("mini-batch averaging", mean, n_rounds, ratio=1.0, rel=rel, eta=0.1)]
    for method, ratio, rounds in specs:
        kind = "schedule" if not method.startswith(("large", "one-shot ", "L-BFGS")) else "baseline"
        rows.append(make_row(method, mean * ratio, rounds, kind=kind, ratio=ratio, rel=rel, eta=0.05))
    return make_comparison(rows, **{"floor": floor, "metric": "", **facts})


# ---- the table ----


def rendered(comparison, width):
    from rich.console import Console

    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    for line in report.header(comparison):
        console.print(line, highlight=False)
    console.print(report.table(comparison, width))
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 100, 120, 160])
@pytest.mark.parametrize("comparison", [flights3m_late(), flights13_late()], ids=lambda c: c.facts["name"])
def test_nothing_is_cut_off_at_any_width(comparison, width):
    text = rendered(comparison, width)
    assert "…" not in text and "..." not in text
    assert max(map(len, text.splitlines())) <= width
    lines = [line.split() for line in text.splitlines()]
    for row in comparison.rows:
        first = report.short_name(row.method).split()[0]
        numbers = {f"{row.n_rounds:,}", report.human_bytes(row.n_bytes).split()[0], f"{row.test_metric:.4f}"}
        assert any(line and line[0] == first and numbers <= set(line) for line in lines), row.method


@pytest.mark.parametrize("width", [120, 160])
def test_each_row_takes_one_line_from_120_columns_on(width):
    comparison = flights3m_late()
    lines = rendered(comparison, width).splitlines()
    for row in comparison.rows:
        start, metric = f"{report.short_name(row.method)} ", f"{row.test_metric:.4f}"
        means = [report.sig(row.excess_mean, digits).split("e")[0] for digits in (2, 3)]
        fitting = [line for line in lines if line.startswith(start) and metric in line]
        assert any(mean in line for line in fitting for mean in means), row.method


def test_a_diverged_row_does_not_break_the_table():
    comparison = flights3m_late()
    for row in comparison.rows:
        if row.step == "common" and row.method != "mini-batch averaging":
            row.excess_mean = row.excess_high = math.inf
            row.excess_low = row.ratio = row.ratio_low = row.ratio_high = row.gradients_per_s = math.nan
            row.test_metric = -1.487e102
    for width in (80, 100, 120, 160):
        lines = rendered(comparison, width).splitlines()
        assert sum("diverged" in line and "-1.5e102" in line for line in lines) == 5
        assert max(map(len, lines)) <= width


def test_schedules_come_first_and_a_methods_rows_stand_together():
    comparison = flights3m_late()
    shuffled = SimpleNamespace(rows=comparison.rows[::-1], facts=comparison.facts)
    rows = report.by_method(shuffled.rows)
    kinds = [row.kind for row in rows]
    assert kinds == sorted(kinds, key=("schedule", "baseline").index)
    methods = [row.method for row in rows]
    assert all(methods.count(m) == 1 or methods[methods.index(m) + 1] == m for m in set(methods))
    assert [row.step for row in rows if row.method == "period 16"] == ["common", "own"]


def test_narrow_tables_say_that_speeds_are_left_out():
    assert "grads" in rendered(flights3m_late(), 100) and "speeds" not in rendered(flights3m_late(), 100)
    assert "grads" not in rendered(flights3m_late(), 80) and "speeds" in rendered(flights3m_late(), 80)


def test_the_header_names_every_constant():
    text = "\n".join(report.header(flights3m_late()))
    for words in ("flights3m_late", "2,700,000 training rows x 60 features + intercept", "l2 1e-4", "P = 8",
                  "1,350,000 steps",
                  "4 passes, with replacement", "10 replicates", "mu 1.3e-4", "mu_eff 0.012", "safe step 0.069",
                  "floor 1.1e-5", "AUC 0.6451", "standard error 0.0012"):  # fmt: skip
        assert words in text
    # For the logistic loss the bound is 2 / l2: true, and of no use to anybody.
    assert "step bound" not in text
    assert "step bound 0.5" in "\n".join(report.header(flights3m_late(loss="squared", step_bound=0.5)))


def test_a_comparison_without_a_test_part_has_no_metric_column():
    comparison = flights3m_late(metric="")
    text = rendered(comparison, 120)
    assert "test" not in text.split("\n\n")[0] and "AUC" not in text


def test_long_runs_are_given_in_seconds():
    comparison = flights3m_late()
    assert "\nms" not in rendered(comparison, 120) and "  ms" in rendered(comparison, 120)
    for row in comparison.rows:
        row.compute_s = 12.0
    assert "110" not in rendered(comparison, 120) and " ms" not in rendered(comparison, 120)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0694, "0.069"), (4.13e-5, "4.1e-5"), (2123.0, "2,100"), (9.99, "10"), (0.0, "0"), (math.nan, "-"),
     (3.7, "3.7"), (-1e-17, "-1.0e-17"), (math.inf, "inf"), (0.000999, "0.0010"), (1.5e9, "1.5e9")],
)  # fmt: skip
def test_significant_digits(value, text):
    assert report.sig(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(1e-4, "1e-4"), (0.069, "0.069"), (0.0, "0"), (1.0, "1"), (3e-5, "3e-5"), (2.5, "2.5")]
)
def test_plain_numbers(value, text):
    assert report.plain(value) == text


@pytest.mark.parametrize(
    ("values", "text"),
    [((4.1e-5, 3.94e-5, 4.31e-5), "4.1 [3.9, 4.3]e-5"), ((1.06, 1.01, 1.12), "1.06 [1.01, 1.12]"),
     ((30.36, 28.1, 33.0), "30.4 [28.1, 33.0]"), ((1.0, 1.0, 1.0), "1.0"), ((2e-5, math.nan, math.nan), "2.0e-5"),
     ((math.inf, 1.0, math.inf), "diverged"), ((1234.5, 1200.0, 1300.0), "1,234 [1,200, 1,300]")],
)  # fmt: skip
def test_intervals(values, text):
    assert report.interval(*values) == text


@pytest.mark.parametrize(
    ("n", "text"),
    [(0, "0"), (999, "999 B"), (1000, "1.0 kB"), (999_950, "1.0 MB"), (10_400_000, "10 MB"), (1.25e9, "1.2 GB")],
)
def test_human_bytes(n, text):
    assert report.human_bytes(n) == text


def test_rows_are_called_training_rows_where_there_is_a_test_part():
    def first(**facts):
        return report.header(flights3m_late(**facts))[0]

    assert "2,700,000 training rows (+ 300,000 test) x 60" in first(n_test=300_000)
    assert "2,700,000 rows x 60" in first(metric="")


def test_one_step_is_not_steps():
    assert "1 step each" in report.header(flights3m_late(n_steps=1))[1]


@pytest.mark.parametrize("width", [80, 120])
def test_an_excess_below_its_resolution_is_no_number_and_has_no_ratio(width):
    text = rendered(flights3m_late(excess_resolution=4e-12), width)  # L-BFGS has 3.1e-12
    assert text.count("0 (rounding)") == text.count("- (rounding)") == 1 and "3.1e-12" not in text
    assert max(map(len, text.splitlines())) <= width
    assert "0 (rounding)" not in rendered(flights3m_late(), width)


def test_the_caption_names_a_large_mini_batch_of_the_table():
    text = rendered(schedules(("period 7", 1.5, 60), ("large mini-batch, rounds of period 7", 1.4, 60)), 120)
    assert "large mini-batch (7): rounds and gradients of period 7" in text
    assert "(16)" not in text


def test_percent_and_zeros_say_no_more_than_they_know():
    assert report.plus_minus(1e-5, 1e-7, 9e-5) == "1.0e-5 ±>100%"
    assert report.plus_minus(4.1e-5, 3.9e-5, 4.3e-5) == "4.1e-5 ±5%"
    assert report.interval(0.2, -0.001, 0.4) == "0.20 [0.00, 0.40]"
    assert report.interval(0.2, -0.1, 0.4) == "0.20 [-0.10, 0.40]"
    assert report._metric_cell(SimpleNamespace(test_metric=-1e-6)) == "0.0000"
    assert report._metric_cell(SimpleNamespace(test_metric=-0.1)) == "-0.1000"
