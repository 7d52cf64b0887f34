"""RiskPeriod predicts the run that is made, or refuses."""

import numpy as np
import pytest

import fastlsgd as fl
from fastlsgd import theory
from fastlsgd.experiments.replication import replicates

STEP = fl.Constant(0.15)
UNEVEN = np.array([0.5] + [0.5 / 15] * 15)


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((3000, 4))
    y = np.where(X[:, 0] - 0.5 + rng.logistic(size=3000) > 0, 1.0, -1.0)
    return fl.Problem(X, y, loss="logistic", l2=1e-2)


@pytest.mark.parametrize("how", ["from zero", "from the optimum", "unequal weights"])
def test_the_word_is_kept_for_the_run_that_is_made(problem, how):
    """Periods chosen for zeros and equal weights gave 1.48 from the optimum and 1.14 with these weights."""
    more = {"from zero": {}, "from the optimum": {"w0": problem.optimum()}, "unequal weights": {"weights": UNEVEN}}
    options = {"n_workers": 16, "n_steps": 4000, "step_size": STEP, "sampling": "replacement", **more[how]}
    chosen = fl.Run(problem, schedule=fl.RiskPeriod(0.1), **options).schedule
    assert chosen.period > 1
    ours, theirs = (
        problem.excess(replicates(problem, n_replicates=800, schedule=schedule, **options).w_bar[:, -1])
        for schedule in (chosen, fl.MiniBatch())
    )
    ratio = ours.mean() / theirs.mean()
    error = (ours - ratio * theirs).std(ddof=1) / np.sqrt(len(ours)) / theirs.mean()
    assert ratio - 1.96 * error <= 1.1


@pytest.mark.parametrize("share", [1.5, 3.0])
def test_no_word_is_given_where_the_prediction_itself_is_in_doubt(share):
    """Beyond the limit: of 200 rows at 12.0 (limit 3.2), period 2 was chosen for epsilon 0.5 and measured 1.90."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 3))
    y = np.where(X @ [1.0, 2.0, 3.0] + rng.standard_normal(200) > 0, 1.0, -1.0)
    around = theory.Expansion(fl.Problem(X, y, loss="logistic", l2=1e-2))
    step = fl.Constant(share * theory.data_stability_limit(around))
    bound = fl.RiskPeriod(0.5, sampling="replacement").bind(around, step, 4, 2000)
    often, longer, chosen = (
        theory.predict(around, period, step, 4, 2000) for period in (1, bound.period + 1, bound.period)
    )
    assert sum(longer.ratio_to(often)) > 1.5  # so the next period is rightly left
    assert bound.period == 1 or sum(chosen.ratio_to(often)) <= 1.5


def test_a_run_tells_the_rule_how_it_is_made(problem):
    rule, options = fl.RiskPeriod(0.1), {"n_workers": 16, "n_steps": 200, "step_size": STEP}
    facts = {"sampling": "replacement", "batch_size": 4, "weights": UNEVEN, "w0": problem.optimum()}
    chosen = fl.Run(problem, schedule=rule, **options, **facts).schedule
    assert chosen == rule.bind(problem, STEP, 16, 200, **facts)
    n_rounds = len(theory.round_lengths(chosen, 16, np.full(200, 0.15)))
    assert fl.local_sgd(problem, schedule=rule, **options, **facts).state.n_rounds == n_rounds


def test_what_the_rule_says_of_the_run_holds_where_bind_is_not_told(problem):
    batches = fl.RiskPeriod(0.1, batch_size=8, sampling="replacement").bind(problem, STEP, 16, 2000)
    told = fl.RiskPeriod(0.1).bind(problem, STEP, 16, 2000, batch_size=8, sampling="replacement")
    assert batches == told
    assert batches != fl.RiskPeriod(0.1).bind(problem, STEP, 16, 2000, sampling="replacement")
    reshuffled = fl.RiskPeriod(0.1).bind(problem, STEP, 16, 2000, batch_size=8)
    assert reshuffled == fl.RiskPeriod(0.1, batch_size=8).bind(problem, STEP, 16, 2000) != told


def test_shards_too_small_to_be_reshuffled_need_not_be_where_rows_are_replaced(problem):
    options = {"n_workers": 100, "n_steps": 200, "step_size": STEP, "schedule": fl.RiskPeriod(0.1)}
    assert fl.local_sgd(problem, sampling="replacement", **options).state.t == 200
    with pytest.raises(ValueError, match="30 rows are too small"):
        fl.local_sgd(problem, **options)


@pytest.mark.parametrize(
    ("rule", "options", "message"),
    [
        (fl.RiskPeriod(0.1), {"average": "tail:0.5"}, "average must be 'polyak', got 'tail:0.5'"),
        (fl.RiskPeriod(0.1), {"average": None}, "average must be 'polyak'"),
        (fl.RiskPeriod(0.1), {"sampling": "blocks"}, "got 'blocks'"),
        (fl.RiskPeriod(0.1), {"partition": "contiguous"}, "contiguous shards cannot be predicted"),
        (fl.RiskPeriod(0.1, "replacement"), {}, "predicts another run than the one with sampling='reshuffle'"),
        (fl.RiskPeriod(0.1, batch_size=1), {"batch_size": 32}, "another run than the one with batch_size=32"),
    ],
)
def test_runs_that_cannot_be_predicted_are_refused(problem, rule, options, message):
    with pytest.raises(ValueError, match=message):
        fl.local_sgd(problem, n_workers=16, n_steps=1000, step_size=STEP, schedule=rule, **options)


def test_the_rule_binds_to_a_quadratic_stream():
    stream = fl.Problem(fl.GaussianStream(5))
    run = fl.local_sgd(stream, n_workers=16, n_steps=1000, step_size=STEP, schedule=fl.RiskPeriod(0.1))
    found = theory.predict(stream, fl.RiskPeriod(0.1), STEP, 16, 1000)
    assert run.state.n_rounds == found.n_rounds < 1000
    often = theory.predict(stream, 1, STEP, 16, 1000).excess
    assert found.excess <= 1.1 * often


@pytest.mark.parametrize(
    ("where", "epsilon"), [("rows", 0.03), ("rows", 0.1), ("rows", 0.5), ("stream", 0.01), ("stream", 0.03)]
)
def test_the_period_is_the_longest_that_keeps_the_word(problem, where, epsilon):
    """Up to a sixteenth, to which the last gap is halved; a rule that always answered 2 passed every other test."""
    model = problem if where == "rows" else fl.Problem(fl.GaussianStream(5, spectrum="1/k", noise=1.0))
    step = STEP if where == "rows" else fl.Constant(0.05)
    around = theory.Expansion(problem) if where == "rows" else model
    options = {"sampling": "replacement"} if where == "rows" else {}
    chosen = fl.RiskPeriod(epsilon).bind(model, step, 16, 4000, **options).period

    def at_most(period):
        found, often = (theory.predict(around, each, step, 16, 4000, **options) for each in (period, 1))
        return sum(found.ratio_to(often))

    assert at_most(chosen) <= 1.0 + epsilon < at_most(chosen + max(1, chosen // 16))
    assert chosen >= 4


def test_the_rule_leaves_room_for_the_doubt_of_the_ratio(problem):
    """A rule that bound at a predicted ratio of 1 + epsilon took the longer period; of a stream there is no doubt."""
    options = {"sampling": "replacement"}
    around = theory.Expansion(problem)
    chosen = fl.RiskPeriod(0.5, **options).bind(around, STEP, 16, 4000).period
    often, found = (theory.predict(around, period, STEP, 16, 4000, **options) for period in (1, chosen))
    ratio, off = found.ratio_to(often)
    assert 0.0 < off < 0.1
    assert ratio < 1.5 - off
    longer = theory.predict(around, chosen + chosen // 8, STEP, 16, 4000, **options)
    assert longer.excess / often.excess < 1.5 < sum(longer.ratio_to(often))
    stream = fl.Problem(fl.GaussianStream(5))
    assert theory.predict(stream, 64, STEP, 16, 1000).ratio_to(theory.predict(stream, 1, STEP, 16, 1000))[1] == 0.0
