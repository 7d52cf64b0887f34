"""The table is legible at every width; each rule of the verdict holds where it should and nowhere else."""

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


def without(comparison, *methods):
    comparison.rows = tuple(row for row in comparison.rows if not row.method.startswith(methods))
    return comparison


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
    for words in ("flights3m_late", "2,700,000 rows x 60 features + intercept", "l2 1e-4", "P = 8", "1,350,000 steps",
                  "4 passes, with replacement", "10 replicates", "mu 1.3e-4", "mu_eff 0.012", "safe step 0.069",
                  "step bound 20,000", "floor 1.1e-5", "AUC 0.6451", "standard error 0.0012"):  # fmt: skip
        assert words in text


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


# ---- the sentence ----


def test_flights3m_late_second_order_wins_and_the_common_step_misleads():
    verdict = report.verdict(flights3m_late())
    assert (verdict.key, verdict.caveat) == ("second-order", "common-step")
    for words in ("Local SGD is not the answer here", "2 rounds instead of 1,350,000", "at least 2,100 times lower",
                  "30 times", "at 0.069 for both", "3.7 times", "own steps 0.0043 and 0.055"):  # fmt: skip
        assert words in verdict.sentence


def test_flights13_late_second_order_wins_but_predictions_do_not_change():
    verdict = report.verdict(flights13_late())
    assert (verdict.key, verdict.caveat) == ("second-order", "near-floor")
    for words in (
        "2 rounds instead of 130,938",
        "1.3 times the statistical floor (9.7e-5)",
        "cannot tell their predictions apart",
    ):
        assert words in verdict.sentence


def test_flights3m_late_without_second_order_is_about_predictions():
    verdict = report.verdict(without(flights3m_late(), "one-shot + Newton", "L-BFGS"))
    assert (verdict.key, verdict.caveat) == ("same-predictions", "common-step")
    assert "1.8 times the statistical floor (1.1e-5)" in verdict.sentence


def test_flights3m_late_where_only_the_objective_counts():
    comparison = without(flights3m_late(metric=""), "one-shot + Newton", "L-BFGS")
    assert report.verdict(comparison).key == "richardson"
    verdict = report.verdict(without(comparison, "one-shot Richardson"))
    assert (verdict.key, verdict.caveat) == ("large-batch", "common-step")


def test_flights13_late_where_only_the_objective_counts():
    comparison = without(flights13_late(metric=""), "one-shot + Newton", "L-BFGS")
    verdict = report.verdict(comparison)
    assert (verdict.key, verdict.caveat) == ("large-batch", "period")
    verdict = report.verdict(without(comparison, "large"))
    assert verdict.key == "period"
    assert "period 256" in verdict.sentence and "still within the statistical floor" in verdict.sentence


def test_a_diverged_schedule_comes_before_everything_else():
    comparison = flights3m_late()
    bad = next(row for row in comparison.rows if row.method == "one-shot" and row.step == "own")
    bad.excess_mean = bad.excess_high = math.inf
    verdict = report.verdict(comparison)
    assert (verdict.key, verdict.caveat) == ("diverged", "")
    assert "one-shot diverged even at its own step" in verdict.sentence


def test_without_mini_batch_averaging_there_is_no_ratio():
    verdict = report.verdict(without(flights3m_late(), "mini-batch"))
    assert verdict.key == "undecided" and "needs mini-batch averaging" in verdict.sentence


def test_one_replicate_claims_nothing():
    verdict = report.verdict(flights3m_late(replicates=1))
    assert verdict.key == "undecided" and "single replicate" in verdict.sentence


def test_below_the_floor_one_may_average_as_rarely_as_one_likes():
    specs = (("period 16", 1.2, 60), ("one-shot", 4.0, 1), ("one-shot + Newton step", 1e-4, 2))
    verdict = report.verdict(schedules(*specs, floor=5e-5))
    assert verdict.key == "below-floor" and "one-shot with 1 round too" in verdict.sentence
    # One interval that reaches over the floor is enough to say less.
    assert report.verdict(schedules(*specs, floor=4.01e-5)).key == "second-order"


def test_a_second_order_method_must_win_by_ten_with_fewer_rounds():
    def key(newton, n_rounds):
        specs = (("period 16", 1.5, 60), ("one-shot", 4.0, 1), ("one-shot + Newton step", newton, n_rounds))
        return report.verdict(schedules(*specs)).key

    assert key(0.09, 2) == "second-order"
    assert key(0.11, 2) == "average-often"
    assert key(0.09, 1000) == "average-often"


def test_l_bfgs_may_be_the_second_order_method():
    comparison = schedules(("period 16", 1.5, 60))
    lbfgs = make_row("L-BFGS", 1e-12, 40, kind="baseline", step="none", eta=math.nan, rel=None)
    lbfgs.n_gradients = 10 * comparison.rows[0].n_gradients
    comparison.rows += (lbfgs,)
    sentence = report.verdict(comparison).sentence
    assert "L-BFGS (no step to choose) ends at the optimum to rounding" in sentence
    assert "40 rounds instead of 1,000 and 10 times the gradients" in sentence and "Hessian" not in sentence
    lbfgs.n_rounds = 1001
    assert report.verdict(comparison).key == "average-often"


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({}, "same-predictions"),
        ({"floor": 0.38e-5}, "average-often"),  # one-shot, 4e-5, is then beyond ten floors
        ({"test_metric_se": 3.9e-4}, "average-often"),
        ({"metric": ""}, "average-often"),
    ],
)
def test_same_predictions_needs_a_near_floor_and_a_metric_that_agrees(change, key):
    facts = {"floor": 0.45e-5, "metric": "AUC", "test_metric_se": 4.1e-4, **change}
    comparison = schedules(("period 16", 2.0, 60), ("one-shot", 4.0, 1), **facts)
    for i, row in enumerate(comparison.rows):
        row.test_metric += 2e-4 * i
    assert report.verdict(comparison).key == key


def test_richardson_needs_its_whole_interval_within_ten_percent():
    specs = (("period 16", 1.5, 60), ("one-shot", 4.0, 1))
    assert report.verdict(schedules(*specs, ("one-shot Richardson", 1.05, 1))).key == "richardson"
    assert report.verdict(schedules(*specs, ("one-shot Richardson", 1.09, 1))).key == "average-often"


def test_a_large_mini_batch_must_be_as_good_at_every_period():
    good = ("large mini-batch, rounds of period 16", 1.5, 60)
    specs = (("period 16", 1.5, 60), ("period 4096", 3.0, 4), good)
    assert report.verdict(schedules(*specs)).key == "large-batch"
    verdict = report.verdict(schedules(*specs, ("large mini-batch, rounds of period 4096", 45.0, 4)))
    assert (verdict.key, verdict.caveat) == ("average-often", "few-rounds")
    assert "with as few as 4 rounds local SGD beats the large mini-batch" in verdict.sentence
    assert "own steps 0.05 and 0.05" in verdict.sentence


def test_the_longest_period_within_ten_percent_is_named_with_what_it_saves():
    verdict = report.verdict(schedules(("period 16", 1.01, 60), ("period 64", 1.05, 15), ("one-shot", 2.0, 1)))
    assert verdict.key == "period"
    assert "Use period 64, 67 times fewer rounds" in verdict.sentence and "own steps 0.05 and 0.1" in verdict.sentence


def test_a_period_whose_interval_reaches_over_ten_percent_is_not_recommended():
    verdict = report.verdict(schedules(("period 16", 1.01, 60), ("period 64", 1.09, 15)))
    assert "Use period 16" in verdict.sentence


def test_average_often_needs_all_ratios_and_differences_above_the_floor():
    specs = (("period 16", 1.5, 60), ("one-shot", 4.0, 1))
    verdict = report.verdict(schedules(*specs, floor=3e-6))
    assert verdict.key == "average-often" and "even the best other schedule, period 16" in verdict.sentence
    assert report.verdict(schedules(*specs, floor=6e-6)).key == "trade-off"


def test_a_trade_off_names_the_rarest_schedule_that_predictions_do_not_see():
    verdict = report.verdict(
        schedules(("period 16", 1.2, 60), ("period 64", 1.5, 15), ("one-shot", 9.0, 1), floor=6e-6)
    )
    assert verdict.key == "trade-off" and "period 64" in verdict.sentence


def test_wide_intervals_decide_nothing():
    verdict = report.verdict(schedules(("period 16", 1.1, 60), ("one-shot", 1.2, 1), rel=0.5))
    assert (verdict.key, verdict.caveat) == ("undecided", "")
    assert "more replicates" in verdict.sentence


def test_schedules_with_as_many_rounds_save_nothing():
    assert report.verdict(schedules(("adaptive (mu)", 1.0, 1000), ("one-shot", 2.0, 1))).key == "average-often"


def test_the_common_step_may_also_understate():
    comparison = schedules(("one-shot", 3.0, 1))
    comparison.rows += (make_row("one-shot", 1e-5, 1, step="common", eta=COMMON, ratio=1.0),)
    verdict = report.verdict(comparison)
    assert verdict.caveat == "common-step" and "the common step understates" in verdict.sentence


def test_a_common_step_that_misleads_by_less_than_two_is_not_mentioned():
    comparison = schedules(("one-shot", 3.0, 1))
    comparison.rows += (make_row("one-shot", 1e-5, 1, step="common", eta=COMMON, ratio=5.9),)
    assert report.verdict(comparison).caveat == ""


def test_every_key_is_reached_by_some_test_above():
    keys = {key for key, _ in report.RULES}
    assert keys == {"diverged", "undecided", "below-floor", "second-order", "same-predictions", "richardson",
                    "large-batch", "period", "average-often", "trade-off"}  # fmt: skip


@pytest.mark.parametrize("comparison", [flights3m_late(), flights13_late(), flights3m_late(metric="")])
def test_the_verdict_is_one_sentence(comparison):
    sentence = report.verdict(comparison).sentence
    assert sentence.endswith(".") and ". " not in sentence and "\n" not in sentence and "nan" not in sentence


def test_versus_agrees_with_a_simulation():
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(2000):
        shared = rng.normal(0, 0.1, 10)
        one = SimpleNamespace(excess=tuple(2.0 + shared + rng.normal(0, 0.1, 10)), step="own")
        other = SimpleNamespace(excess=tuple(1.0 + shared / 2 + rng.normal(0, 0.05, 10)), step="own")
        for row in (one, other):
            row.excess_mean = float(np.mean(row.excess))
        _, low, high = report.versus(one, other)
        inside += low <= 2.0 <= high
    assert 0.935 < inside / 2000 < 0.965


def test_versus_knows_a_deterministic_method_from_a_missing_interval():
    random = make_row("one-shot", 2e-5, 1)
    exact = make_row("L-BFGS", 1e-5, 9, step="none", rel=None)
    ratio, low, high = report.versus(random, exact)
    assert low < ratio < high
    assert all(map(math.isnan, report.versus(random, make_row("one-shot", 1e-5, 9, rel=None))[1:]))
