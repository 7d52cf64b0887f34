"""Each rule of the verdict holds where it should and nowhere else, and claims no more than the intervals allow."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from test_report import COMMON, flights3m_late, flights13_late, make_row, schedules

from fastlsgd.verdict import RULES, verdict, versus


def without(comparison, *methods):
    comparison.rows = tuple(row for row in comparison.rows if not row.method.startswith(methods))
    return comparison


def test_flights3m_late_second_order_wins_and_the_common_step_misleads():
    found = verdict(flights3m_late())
    assert (found.key, found.caveat) == ("second-order", "common-step")
    for words in ("Local SGD is not the answer here", "2 rounds instead of 1,350,000", "at least 2,100 times lower",
                  "30 times", "at 0.069 for both", "3.7 times", "own steps 0.0043 and 0.055"):  # fmt: skip
        assert words in found.sentence


def test_flights13_late_second_order_wins_but_predictions_do_not_change():
    found = verdict(flights13_late())
    assert (found.key, found.caveat) == ("second-order", "near-floor")
    for words in (
        "2 rounds instead of 130,938",
        "1.3 times the statistical floor (9.7e-5)",
        "cannot tell their predictions apart",
    ):
        assert words in found.sentence


def test_flights3m_late_without_second_order_is_about_predictions():
    found = verdict(without(flights3m_late(), "one-shot + Newton", "L-BFGS"))
    assert (found.key, found.caveat) == ("same-predictions", "")
    assert "1.8 times the statistical floor (1.1e-5)" in found.sentence


def test_flights3m_late_where_only_the_objective_counts():
    comparison = without(flights3m_late(metric=""), "one-shot + Newton", "L-BFGS")
    assert verdict(comparison).key == "richardson"
    found = verdict(without(comparison, "one-shot Richardson"))
    assert (found.key, found.caveat) == ("large-batch", "common-step")


def test_flights13_late_where_only_the_objective_counts():
    comparison = without(flights13_late(metric=""), "one-shot + Newton", "L-BFGS")
    found = verdict(comparison)
    assert (found.key, found.caveat) == ("large-batch", "period")
    found = verdict(without(comparison, "large"))
    assert found.key == "period"
    assert "period 256" in found.sentence and "still within the statistical floor" in found.sentence


def test_a_diverged_schedule_comes_before_everything_else():
    comparison = flights3m_late()
    bad = next(row for row in comparison.rows if row.method == "one-shot" and row.step == "own")
    bad.excess_mean = bad.excess_high = math.inf
    found = verdict(comparison)
    assert (found.key, found.caveat) == ("diverged", "")
    assert "one-shot diverged even at its own step" in found.sentence


def test_without_mini_batch_averaging_there_is_no_ratio():
    found = verdict(without(flights3m_late(), "mini-batch"))
    assert found.key == "undecided" and "needs mini-batch averaging" in found.sentence


def test_one_replicate_claims_nothing():
    found = verdict(flights3m_late(replicates=1))
    assert found.key == "undecided" and "single replicate" in found.sentence


def test_below_the_floor_one_may_average_as_rarely_as_one_likes():
    specs = (("period 16", 1.2, 60), ("one-shot", 4.0, 1), ("one-shot + Newton step", 1e-4, 2))
    found = verdict(schedules(*specs, floor=5e-5))
    assert found.key == "below-floor" and "one-shot with 1 round too" in found.sentence
    # One interval that reaches over the floor is enough to say less.
    assert verdict(schedules(*specs, floor=4.01e-5)).key == "second-order"


def test_a_second_order_method_must_win_by_ten_with_fewer_rounds():
    def key(newton, n_rounds):
        specs = (("period 16", 1.5, 60), ("one-shot", 4.0, 1), ("one-shot + Newton step", newton, n_rounds))
        return verdict(schedules(*specs)).key

    assert key(0.09, 2) == "second-order"
    assert key(0.11, 2) == "average-often"
    assert key(0.09, 1000) == "average-often"


def test_l_bfgs_may_be_the_second_order_method():
    comparison = schedules(("period 16", 1.5, 60))
    lbfgs = make_row("L-BFGS", 1e-12, 40, kind="baseline", step="none", eta=math.nan, rel=None)
    lbfgs.n_gradients = 10 * comparison.rows[0].n_gradients
    comparison.rows += (lbfgs,)
    sentence = verdict(comparison).sentence
    assert "L-BFGS (no step to choose) ends at the optimum to rounding" in sentence
    assert "40 rounds instead of 1,000 and 10 times the gradients" in sentence and "Hessian" not in sentence
    lbfgs.n_rounds = 1001
    assert verdict(comparison).key == "average-often"


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
    assert verdict(comparison).key == key


def test_richardson_needs_its_whole_interval_within_ten_percent():
    specs = (("period 16", 1.5, 60), ("one-shot", 4.0, 1))
    assert verdict(schedules(*specs, ("one-shot Richardson", 1.05, 1))).key == "richardson"
    assert verdict(schedules(*specs, ("one-shot Richardson", 1.09, 1))).key == "average-often"


def test_a_large_mini_batch_must_be_as_good_at_every_period():
    good = ("large mini-batch, rounds of period 16", 1.5, 60)
    specs = (("period 16", 1.5, 60), ("period 4096", 3.0, 4), good)
    assert verdict(schedules(*specs)).key == "large-batch"
    found = verdict(schedules(*specs, ("large mini-batch, rounds of period 4096", 45.0, 4)))
    assert (found.key, found.caveat) == ("average-often", "few-rounds")
    assert "with as few as 4 rounds local SGD beats the large mini-batch" in found.sentence
    assert "own steps 0.05 and 0.05" in found.sentence


def test_the_longest_period_within_ten_percent_is_named_with_what_it_saves():
    found = verdict(schedules(("period 16", 1.01, 60), ("period 64", 1.05, 15), ("one-shot", 2.0, 1)))
    assert found.key == "period"
    assert "Use period 64, 67 times fewer rounds" in found.sentence and "own steps 0.05 and 0.1" in found.sentence


def test_a_period_whose_interval_reaches_over_ten_percent_is_not_recommended():
    found = verdict(schedules(("period 16", 1.01, 60), ("period 64", 1.09, 15)))
    assert "Use period 16" in found.sentence


def test_average_often_needs_all_ratios_and_differences_above_the_floor():
    specs = (("period 16", 1.5, 60), ("one-shot", 4.0, 1))
    found = verdict(schedules(*specs, floor=3e-6))
    assert found.key == "average-often" and "even the best other schedule, period 16" in found.sentence
    assert verdict(schedules(*specs, floor=6e-6)).key == "trade-off"


def test_a_trade_off_names_the_rarest_schedule_that_predictions_do_not_see():
    found = verdict(schedules(("period 16", 1.2, 60), ("period 64", 1.5, 15), ("one-shot", 9.0, 1), floor=6e-6))
    assert found.key == "trade-off" and "period 64" in found.sentence


def test_wide_intervals_decide_nothing():
    found = verdict(schedules(("period 16", 1.1, 60), ("one-shot", 1.2, 1), rel=0.5))
    assert (found.key, found.caveat) == ("undecided", "")
    assert "more replicates" in found.sentence


def test_schedules_with_as_many_rounds_save_nothing():
    assert verdict(schedules(("adaptive (mu)", 1.0, 1000), ("one-shot", 2.0, 1))).key == "average-often"


def test_the_common_step_may_also_understate():
    comparison = schedules(("one-shot", 3.0, 1))
    comparison.rows += (make_row("one-shot", 1e-5, 1, step="common", eta=COMMON, ratio=1.0),)
    found = verdict(comparison)
    assert found.caveat == "common-step" and "the common step understates" in found.sentence


def test_a_common_step_that_misleads_by_less_than_two_is_not_mentioned():
    comparison = schedules(("one-shot", 3.0, 1))
    comparison.rows += (make_row("one-shot", 1e-5, 1, step="common", eta=COMMON, ratio=5.9),)
    assert verdict(comparison).caveat == ""


def test_fewer_than_ten_steps_a_worker_compare_nothing():
    found = verdict(flights3m_late(n_steps=9))
    assert (found.key, found.caveat) == ("too-short", "") and "Too few steps to compare: 9 local" in found.sentence
    assert verdict(flights3m_late(n_steps=10)).key == "second-order"


def test_local_sgd_that_wins_at_one_period_and_loses_at_another_is_said_to_do_both():
    found = verdict(schedules(
        ("period 16", 1.5, 60), ("period 4096", 3.0, 4), ("large mini-batch, rounds of period 16", 0.75, 60),
        ("large mini-batch, rounds of period 4096", 45.0, 4)))  # fmt: skip
    assert found.caveat == "few-rounds" and "as few as" not in found.sentence
    assert "with 4 rounds local SGD beats" in found.sentence and "but loses to it with 60 rounds" in found.sentence


def with_common(comparison, **ratios):
    for row in comparison.rows[1:]:
        ratio = ratios[row.method.replace(" ", "_").replace("-", "_")]
        at = {"step": "common", "eta": COMMON, "ratio": ratio}
        comparison.rows += (make_row(row.method, 1e-5, row.n_rounds, **at),)
    return comparison


def test_the_common_step_speaks_of_rare_averaging_only_where_all_rarer_schedules_agree():
    specs = (("period 16", 1.5, 60), ("one-shot", 3.0, 1))
    found = verdict(with_common(schedules(*specs), period_16=9.0, one_shot=60.0))
    assert "overstates what rare averaging costs: one-shot" in found.sentence
    found = verdict(with_common(schedules(*specs), period_16=1.5, one_shot=60.0))
    assert "overstates what one-shot costs: it has" in found.sentence and "rare averaging" not in found.sentence


def test_below_the_floor_the_common_step_is_not_mentioned():
    comparison = with_common(schedules(("one-shot", 3.0, 1), floor=5e-5), one_shot=60.0)
    found = verdict(comparison)
    assert (found.key, found.caveat) == ("below-floor", "")


def test_on_a_quadratic_the_normal_equations_have_the_credit_and_the_period_comes_first():
    specs = (("period 16", 1.01, 60), ("one-shot", 4.0, 1), ("one-shot + Newton step", 1e-3, 2))

    def found(loss):
        return verdict(with_common_one_shot(schedules(*specs, loss=loss)))

    def with_common_one_shot(comparison):
        comparison.rows += (make_row("one-shot", 1e-5, 1, step="common", eta=COMMON, ratio=60.0),)
        return comparison

    squared = found("squared")
    assert (squared.key, squared.caveat) == ("second-order", "period")
    assert "solving the normal equations (one round of d^2 + d numbers)" in squared.sentence
    assert "in 1 round instead of" in squared.sentence and "one-shot averaging (step" not in squared.sentence
    assert "period 16 needs 17 times fewer rounds" in squared.sentence
    logistic = found("logistic")
    assert (logistic.key, logistic.caveat) == ("second-order", "common-step")
    assert "one-shot averaging (step" in logistic.sentence


@pytest.mark.parametrize(
    ("excess", "more", "caveat"),
    [(0.4, {}, "one-worker"), (0.55, {}, ""), (0.49, {"rel": 0.2}, ""), (0.4, {"n_gradients": 10**9}, "")],
)
def test_one_worker_that_is_clearly_twice_as_good_is_said(excess, more, caveat):
    comparison = schedules(("period 16", 1.5, 60))
    comparison.rows += (make_row("one worker", excess * 1e-5, 0, kind="baseline", **more),)
    found = verdict(comparison)
    assert found.caveat == caveat
    assert ("one worker alone reaches 4.0e-6 with the same gradients" in found.sentence) == (caveat == "one-worker")


def test_every_key_is_reached_by_some_test_above():
    keys = {key for key, _ in RULES}
    assert keys == {"diverged", "undecided", "below-floor", "second-order", "same-predictions", "richardson",
                    "large-batch", "period", "average-often", "trade-off", "too-short"}  # fmt: skip


@pytest.mark.parametrize("comparison", [flights3m_late(), flights13_late(), flights3m_late(metric="")])
def test_the_verdict_is_one_sentence(comparison):
    sentence = verdict(comparison).sentence
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
        _, low, high = versus(one, other)
        inside += low <= 2.0 <= high
    assert 0.935 < inside / 2000 < 0.965


def test_versus_knows_a_deterministic_method_from_a_missing_interval():
    random = make_row("one-shot", 2e-5, 1)
    exact = make_row("L-BFGS", 1e-5, 9, step="none", rel=None)
    ratio, low, high = versus(random, exact)
    assert low < ratio < high
    assert all(map(math.isnan, versus(random, make_row("one-shot", 1e-5, 9, rel=None))[1:]))
