"""Exact moments on given rows, against all sample paths one by one and against the kernels."""

import itertools

import numpy as np
import pytest

import fastlsgd as fl
from fastlsgd.theory import drift_fixed_point, finite_moments

SCHEDULES = {"mini-batch": 1, "one-shot": 4, "two": 2, "three": 3, "growing": fl.GrowingPeriod(1)}


def some_shards(sizes, d, *, seed=0, same=False):
    rng = np.random.default_rng(seed)
    shards = [(rng.standard_normal((n, d)), rng.standard_normal(n)) for n in sizes]
    return [shards[0]] * len(sizes) if same else shards


def all_paths(shards, w0, ends, etas, *, l2=0.0, batch_size=1, weights):
    """Every way the draws can come: iterates after every step (steps, paths, P, d), all equally likely."""
    P, d = len(shards), len(w0)
    W, trail = np.tile(np.asarray(w0, float), (1, P, 1)), []
    one = [list(itertools.product(range(len(y)), repeat=batch_size)) for _, y in shards]
    draws = list(itertools.product(*one))
    for t, eta in enumerate(etas, start=1):
        # Paths so far times draws of this step, the trail behind them copied along.
        trail = [np.repeat(past, len(draws), axis=0) for past in trail]
        new = np.repeat(W, len(draws), axis=0)
        for k, (X, y) in enumerate(shards):
            rows = np.array([draw[k] for draw in draws])
            x, target = np.tile(X[rows], (len(W), 1, 1)), np.tile(y[rows], (len(W), 1))
            slope = np.einsum("nbd,nd->nb", x, new[:, k]) - target
            new[:, k] -= eta * (np.einsum("nb,nbd->nd", slope, x) / batch_size + l2 * new[:, k])
        trail.append(new.copy())
        W = np.tile(np.einsum("k,nkd->nd", weights, new)[:, None], (1, P, 1)) if t in ends else new
    assert trail[-1].shape == (len(draws) ** len(etas), P, d)
    return np.array(trail)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(
    ("sizes", "same", "weights", "batch_size", "n_steps"),
    [((3, 2), False, None, 1, 4), ((3, 3), True, None, 1, 4), ((2, 3), False, [0.7, 0.3], 1, 4),
     ((2, 2), False, [0.2, 0.8], 2, 3), ((1, 2, 2), False, [0.5, 0.3, 0.2], 1, 4)],
)  # fmt: skip
def test_the_moments_are_those_of_all_sample_paths(schedule, sizes, same, weights, batch_size, n_steps):
    shards, w0 = some_shards(sizes, 2, same=same), np.array([0.5, -1.0])
    etas, l2 = 0.3 / np.sqrt(np.arange(1, n_steps + 1)), 0.1
    share = np.full(len(sizes), 1 / len(sizes)) if weights is None else np.array(weights)
    periods = SCHEDULES[schedule]
    found = finite_moments(
        shards, w0, periods, etas, l2=l2, batch_size=batch_size, weights=weights, record=range(1, n_steps + 1)
    )
    lengths = {1: [1] * 4, 4: [4], 2: [2, 2], 3: [3, 1]}.get(periods, [1, 2, 3])
    trail = all_paths(shards, w0, np.cumsum(lengths), etas, l2=l2, batch_size=batch_size, weights=share)

    H = sum(v * (X.T @ X / len(y) + l2 * np.eye(2)) for v, (X, y) in zip(share, shards, strict=True))
    optimum = np.linalg.solve(H, sum(v * X.T @ y / len(y) for v, (X, y) in zip(share, shards, strict=True)))
    means = np.einsum("k,tnkd->tnd", share, trail)
    for t in range(1, n_steps + 1):
        w, w_bar = means[t - 1], means[:t].mean(axis=0)
        second, second_bar = ((v - optimum).T @ (v - optimum) / len(v) for v in (w, w_bar))
        spread = trail[t - 1] - w[:, None]
        at = t - 1
        np.testing.assert_allclose(found.mean[at], w.mean(axis=0), rtol=0, atol=1e-13)
        np.testing.assert_allclose(found.mean_bar[at], w_bar.mean(axis=0), rtol=0, atol=1e-13)
        np.testing.assert_allclose(found.second[at], second, rtol=0, atol=1e-13)
        np.testing.assert_allclose(found.second_bar[at], second_bar, rtol=0, atol=1e-13)
        assert found.e1[at] == pytest.approx(np.trace(second), rel=1e-12)
        assert found.e2[at] == pytest.approx(np.mean(((w_bar - optimum) @ H) ** 2) * 2, rel=1e-12)
        assert found.e3[at] == pytest.approx(np.trace(second_bar @ H) / 2, rel=1e-12)
        squares = np.einsum("k,nkd->", share, spread**2) / len(spread)
        assert found.consensus[at] == pytest.approx(squares, rel=1e-11, abs=1e-15)


def test_a_reference_of_ones_own_moves_the_moments_and_not_the_means():
    shards, etas, reference = some_shards((3, 4), 2), np.full(20, 0.2), np.array([1.0, 2.0])
    own = finite_moments(shards, 0.0, 3, etas)
    moved = finite_moments(shards, 0.0, 3, etas, reference=reference)
    np.testing.assert_allclose(moved.mean, own.mean, rtol=1e-12)
    covariance = own.second - np.outer(*[own.mean - _weighted_minimum(shards)] * 2)
    np.testing.assert_allclose(moved.second, covariance + np.outer(*[own.mean - reference] * 2), rtol=0, atol=1e-13)


def _weighted_minimum(shards):
    H = sum(X.T @ X / len(y) for X, y in shards)
    return np.linalg.solve(H, sum(X.T @ y / len(y) for X, y in shards))


def test_records_are_what_runs_of_that_length_give():
    shards, etas = some_shards((5, 3, 4), 3), np.full(30, 0.1)
    found = finite_moments(shards, 1.0, [4, 7], etas, record=[1, 4, 17, 30])
    for i, t in enumerate(found.t):
        alone = finite_moments(shards, 1.0, [4, 7], etas[:t])
        assert alone.t == t
        for name in ("mean", "mean_bar", "second", "second_bar", "worker", "e1", "e2", "e3"):
            np.testing.assert_allclose(getattr(alone, name), getattr(found, name)[i], rtol=1e-12)


# ---- against the kernels ----


def problem_and_shards(n, d, P, partition):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d)) * np.linspace(1.0, 0.4, d)
    X[:, -1] = 1.0
    y = X @ np.linspace(-1, 1, d) + rng.standard_normal(n) + np.linspace(-1, 1, n)  # rows in order differ
    parts = np.array_split(np.arange(n), P)  # the first n mod P workers get one row more
    shards = [(X, y)] * P if partition == "iid" else [(X[rows], y[rows]) for rows in parts]
    return fl.Problem(X, y, l2=0.05), shards


KERNEL_RUNS = [
    (partition, P, schedule, batch_size, weights)
    for partition, P, weights in [("contiguous", 3, None), ("contiguous", 3, [0.5, 0.3, 0.2]), ("iid", 3, None)]
    for schedule, batch_size in [(fl.MiniBatch(), 1), (fl.FixedPeriod(7), 2), (fl.OneShot(), 1)]
]


def z_scores(partition, P, schedule, batch_size, weights, *, first_seed=0, deal=list):
    """z of the kernels' means, squared distances and squared gradients against the exact moments."""
    n_runs, n_steps, d = 400, 60, 3
    problem, shards = problem_and_shards(31, d, P, partition)
    shards = list(deal(shards))
    step_size = fl.PolynomialDecay(0.2, 0.3)
    etas = step_size(np.arange(1, n_steps + 1))
    exact = finite_moments(shards, 0.5, schedule, etas, l2=0.05, batch_size=batch_size, weights=weights)
    w, w_bar = np.empty((2, n_runs, d))
    for i in range(n_runs):
        run = fl.local_sgd(
            problem, n_workers=P, n_steps=n_steps, schedule=schedule, step_size=step_size, batch_size=batch_size,
            sampling="replacement", partition=partition, weights=weights, w0=np.full(d, 0.5), seed=first_seed + i,
            record=0, n_threads=1,
        )  # fmt: skip
        w[i], w_bar[i] = run.w, run.w_bar
    share = np.full(P, 1 / P) if weights is None else np.array(weights)
    slope = sum(v * X.T @ y / len(y) for v, (X, y) in zip(share, shards, strict=True))
    optimum = np.linalg.solve(exact.hessian, slope)
    pairs = [(w[:, j], exact.mean[j]) for j in range(d)] + [(w_bar[:, j], exact.mean_bar[j]) for j in range(d)]
    pairs += [(((w - optimum) ** 2).sum(axis=1), exact.e1)]
    pairs += [((((w_bar - optimum) @ exact.hessian) ** 2).sum(axis=1), exact.e2)]
    pairs += [(((w_bar - optimum) @ exact.hessian * (w_bar - optimum)).sum(axis=1) / 2, exact.e3)]
    return [(np.mean(seen) - mean) / (np.std(seen, ddof=1) / np.sqrt(n_runs)) for seen, mean in pairs]


@pytest.mark.parametrize(("partition", "P", "schedule", "batch_size", "weights"), KERNEL_RUNS)
def test_the_kernels_runs_have_these_moments(partition, P, schedule, batch_size, weights):
    assert np.abs(z_scores(partition, P, schedule, batch_size, weights)).max() < 4


@pytest.mark.long
def test_the_deviations_of_many_runs_are_normal():
    """The squared distance of w: ten times each setting, on seeds that no other has, so all are independent."""
    from scipy import stats

    settings = [run for run in KERNEL_RUNS for _ in range(10)]
    z = [z_scores(*run, first_seed=400 * i)[6] for i, run in enumerate(settings)]
    assert np.abs(z).max() < 4
    assert stats.kstest(z, "norm").pvalue > 1e-3


def test_shards_in_another_order_would_be_noticed():
    run = ("contiguous", 3, fl.FixedPeriod(7), 1, [0.5, 0.3, 0.2])
    assert np.abs(z_scores(*run, deal=reversed)).max() > 10


# ---- drift ----


@pytest.mark.parametrize("period", [1, 5, 20, 200])
@pytest.mark.parametrize("weights", [None, [0.6, 0.3, 0.1]])
def test_the_mean_comes_to_rest_at_the_fixed_point(period, weights):
    shards = some_shards((4, 2, 3), 3)
    rest = drift_fixed_point(shards, period, 0.2, l2=0.1, weights=weights)
    run = finite_moments(shards, 0.0, period, np.full(1000, 0.2), l2=0.1, weights=weights)
    np.testing.assert_allclose(run.mean, rest, rtol=0, atol=1e-9)


def test_the_fixed_point_lies_between_the_pooled_minimum_and_the_mean_of_the_minima():
    shards = some_shards((6, 5), 2)
    minima = [np.linalg.solve(X.T @ X, X.T @ y) for X, y in shards]
    np.testing.assert_allclose(drift_fixed_point(shards, 1, 0.1), _weighted_minimum(shards), rtol=1e-10)
    np.testing.assert_allclose(drift_fixed_point(shards, 100_000, 0.1), np.mean(minima, axis=0), rtol=1e-10)


def test_shards_with_fewer_rows_than_features_have_a_fixed_point_too():
    shards = some_shards((1, 2), 3)
    with pytest.raises(ValueError, match="fixed point is not unique: add l2"):
        drift_fixed_point([shards[0]] * 2, 3, 0.1)
    rest = drift_fixed_point(shards, 4, 0.1)
    # Slow to reach, so: whoever starts there stays.
    run = finite_moments(shards, rest, 4, np.full(20, 0.1), reference=np.zeros(3))
    np.testing.assert_allclose(run.mean, rest, rtol=1e-12)


def test_equal_shards_do_not_drift():
    shards = some_shards((6, 6), 3, same=True)
    for period in (1, 10, 1000):
        np.testing.assert_allclose(drift_fixed_point(shards, period, 0.1), _weighted_minimum(shards), rtol=1e-9)


# ---- arguments ----


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shards": []}, "one \\(X, y\\) a worker"),
        ({"shards": [(np.ones((3, 2)), np.ones(2))]}, "shard 0 must be X"),
        ({"shards": [(np.ones((3, 2)), np.ones(3)), (np.ones((3, 1)), np.ones(3))]}, "the same number of features"),
        ({"shards": [(np.array([[np.nan]]), np.ones(1))]}, "shard 0 must be finite"),
        ({"shards": [(np.ones((3, 2)), np.ones(3))]}, "no unique minimum: add l2"),
        ({"l2": -1.0}, "l2 must be >= 0 and finite"),
        ({"batch_size": 0}, "batch_size must be an int >= 1"),
        ({"etas": [0.1, 0.0]}, "etas must be positive and finite"),
        ({"etas": []}, "etas must be one step size a step"),
        ({"weights": [0.5, 0.6]}, "weights must be >= 0 and sum to 1"),
        ({"weights": "rows"}, "weights must be None or an array"),
        ({"w0": [1.0]}, "w0 must be finite, a number or 2 of them"),
        ({"reference": [1.0, np.inf]}, "reference must be finite"),
        ({"record": [0]}, "record must be an int >= 0 or step numbers"),
    ],
)
def test_wrong_arguments_are_named(change, words):
    options = {"shards": some_shards((3, 4), 2), "w0": 0.0, "periods": 2, "etas": [0.1, 0.1], **change}
    with pytest.raises(ValueError, match=words):
        finite_moments(**options)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"period": 0}, "period must be an int >= 1"), ({"eta": 0.0}, "eta must be positive and finite"),
     ({"eta": 50.0}, "eta must be below")],
)  # fmt: skip
def test_a_fixed_point_wants_a_step_that_does_not_diverge(change, words):
    with pytest.raises(ValueError, match=words):
        drift_fixed_point(some_shards((3, 4), 2), **{"period": 2, "eta": 0.1, **change})
