"""Predictions of runs whose periods, step sizes or weights are uneven: against replicates."""

import numpy as np
import pytest

import fastlsgd as fl
from fastlsgd import theory
from fastlsgd.experiments.replication import replicates
from fastlsgd.theory.expansion import Expansion
from fastlsgd.theory.stops import stops_of

STEADY, DECAYING = fl.Constant(0.3), fl.PolynomialDecay(1.0, 0.5)


@pytest.fixture(scope="module")
def around():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((3000, 4))
    y = np.where(X[:, 0] - 0.5 + rng.logistic(size=3000) > 0, 1.0, -1.0)
    return Expansion(fl.Problem(X, y, loss="logistic", l2=1e-2))


def measured(around, schedule, step, n_workers, n_steps, *, n_replicates=400, **options):
    """Mean excess of w_bar and its standard error, and the consensus likewise."""
    schedule = schedule if hasattr(schedule, "next_periods") else fl.Periods(np.atleast_1d(schedule).tolist())
    found = replicates(
        around.problem, n_replicates=n_replicates, schedule=schedule, step_size=step, n_workers=n_workers,
        n_steps=n_steps, sampling="replacement", **options,
    )  # fmt: skip
    values = around.problem.excess(found.w_bar[:, -1]), found.consensus[:, -1]
    return [(each.mean(), each.std(ddof=1) / np.sqrt(n_replicates)) for each in values]


def check(around, schedule, step, n_workers, n_steps, *, tolerance=0.06, **options):
    predicted = theory.predict(around, schedule, step, n_workers, n_steps, **options)
    (mean, error), _ = measured(around, schedule, step, n_workers, n_steps, **options)
    assert abs(predicted.excess - mean) < tolerance * mean + 3 * error
    assert predicted.low - 3 * error <= mean * (1 + tolerance)
    assert predicted.high + 3 * error >= mean * (1 - tolerance)


@pytest.mark.parametrize(
    ("schedule", "step"),
    [
        (fl.GrowingPeriod(1), STEADY),
        (fl.GrowingPeriod(2), STEADY),
        (fl.AdaptivePeriod(0.4), DECAYING),
        (fl.PostLocal(100, 2), STEADY),
        (fl.PostLocal(100, 64), STEADY),
        ([2, 3], STEADY),
        ([1, 3], STEADY),
        ([2, 1], STEADY),
        ([1, 2], STEADY),
    ],
)
def test_periods_may_change_among_one_two_and_more(around, schedule, step):
    check(around, schedule, step, 4, 3000)


@pytest.mark.parametrize("mu", ["auto", "effective"])
def test_estimated_periods_that_change_are_predicted(around, mu):
    rule = theory.AdaptivePeriod(mu)
    found = theory.predict(around, rule, DECAYING, 4, 3000)
    assert found == theory.predict(around, rule.bind(around.problem, DECAYING, 4, 3000), DECAYING, 4, 3000)


def test_reshuffled_periods_may_change(around):
    changing, one, two = (
        theory.predict(around, periods, STEADY, 4, 3000, sampling="reshuffle").excess for periods in ([2, 3], 2, 3)
    )
    assert one < changing < two * 1.001


@pytest.mark.parametrize(
    ("schedule", "step", "n_workers", "n_steps"),
    [
        ([4] * 700 + [200], STEADY, 16, 6000),
        (16, lambda t: np.where(t < 1500, 0.5, 0.05), 4, 3000),
        (16, lambda t: np.where(t < 1500, 0.5, 0.05), 16, 3000),
        ([1000, 4], STEADY, 16, 3000),
        ([1, 64] * 100, STEADY, 16, 3000),  # up and down all along: no moments are enough
    ],
)
def test_jumps_of_step_and_period_are_predicted(around, schedule, step, n_workers, n_steps):
    check(around, schedule, step, n_workers, n_steps)


def test_ordinary_runs_are_looked_at_at_few_stops():
    t = np.arange(1, 100_001)
    assert len(stops_of(np.full(1000, 0.1), np.array([300, 300, 300, 100]), 1.0)[0]) < 60
    assert len(stops_of(0.1 * t**-0.5, np.full(1000, 100), 1.0)[0]) < 60
    step = np.where(t <= 50_000, 0.1, 0.01)
    jump, etas, _ = stops_of(step, np.full(1000, 100), 1.0)
    assert len(jump) < 95
    assert {50_000, 50_001} <= set(jump.tolist())
    assert (etas == step[jump - 1]).all()
    growing = np.arange(1, 450)
    assert len(stops_of(np.full(growing.sum(), 0.1), growing, 1.0)[0]) < 90


def test_the_predicted_consensus_counts_unequal_weights(around):
    weights = [0.7, 0.1, 0.1, 0.1]
    predicted = theory.predict(around, 16, STEADY, 4, 1600, weights=weights).consensus
    _, (mean, error) = measured(around, 16, STEADY, 4, 1600, weights=weights)
    assert abs(predicted - mean) < 0.05 * mean + 3 * error


@pytest.mark.parametrize(
    ("weights", "batch_size", "step"),
    [([0.7, 0.1, 0.1, 0.1], 1, STEADY), ([0.7, 0.1, 0.1, 0.1], 4, STEADY), ([0.4, 0.4, 0.1, 0.1], 1, DECAYING)],
)
def test_reshuffled_shards_weighted_otherwise_than_by_rows_go_elsewhere(around, weights, batch_size, step):
    """The weighted shards' minimum is not that of all rows: more than half of the excess."""
    options = {"weights": weights, "batch_size": batch_size, "n_workers": 4, "n_steps": 3000, "record": 0}
    w_bars = [
        fl.local_sgd(around.problem, schedule=fl.FixedPeriod(16), step_size=step, seed=seed, **options).w_bar
        for seed in range(300)
    ]
    values = around.problem.excess(np.array(w_bars))
    error = values.std(ddof=1) / np.sqrt(len(values))
    predicted, equal = (
        theory.predict(
            around, 16, step, 4, 3000, sampling="reshuffle", weights=given, batch_size=batch_size
        ).excess for given in (weights, None)
    )  # fmt: skip
    assert abs(predicted - values.mean()) < 0.06 * values.mean() + 3 * error
    assert predicted > 1.5 * equal


@pytest.mark.parametrize(
    ("schedule", "step", "n_workers", "n_steps", "options"),
    [
        (16, fl.InverseTime(0.08, 40), 8, 2000, {"w0": "optimum"}),
        (3, STEADY, 4, 5, {}),
        (3, STEADY, 4, 5, {"weights": [0.55, 0.15, 0.15, 0.15]}),
        ([10, 90], DECAYING, 4, 100, {}),
        ([1, 2, 400], lambda t: 0.6 * t / 403.0, 4, 403, {}),
        (50, STEADY, 4, 150, {"batch_size": 8}),
    ],
)
def test_the_consensus_is_what_the_last_round_adds(around, schedule, step, n_workers, n_steps, options):
    """As a part of what a run has gathered, as if steps had ever been those of the end, it was 0.58 to 1.28 of it."""
    options = {name: around.w_star if name == "w0" else value for name, value in options.items()}
    predicted = theory.predict(around, schedule, step, n_workers, n_steps, **options).consensus
    _, (mean, error) = measured(around, schedule, step, n_workers, n_steps, n_replicates=1000, **options)
    assert abs(predicted - mean) < 0.05 * mean + 3 * error
