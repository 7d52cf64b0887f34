"""Exact moments: against enumeration of all paths, closed forms, the kernels' own runs, and bad arguments."""

import itertools

import numpy as np
import pytest
from scipy import stats

import fastlsgd as fl
from fastlsgd.theory import (
    constant_step_moments,
    exact_moments,
    round_lengths,
    stability_limit,
    stationary_worker,
)

SPECTRUM, DELTA0 = np.array([1.0, 0.5, 0.2, 0.05]), np.array([1.0, -1.0, 0.5, 2.0])
COVARIANCE = np.array([0.5, 0.3, 0.2, 0.1])


def moments(periods, etas, n_workers=4, **options):
    return exact_moments(SPECTRUM, DELTA0, periods, etas, n_workers, **({"noise_cov": COVARIANCE} | options))


def enumerated(eta, lengths, weights, delta0, kurtosis, tail):
    """E mean^2, E average^2, E worker^2 of one coordinate, lambda = 1, over all signs of noise and of rows.

    A step of worker k is least squares on x = sqrt(kurtosis) or 0 (or +-1 for kurtosis 1, whose square is 1), y = e,
    e = +-1/2: delta <- delta - eta x (x delta - e).
    """
    P, n = len(weights), len(eta)
    squares = [(1.0, 1.0)] if kurtosis == 1 else [(kurtosis, 1.0 / kurtosis), (0.0, 1.0 - 1.0 / kurtosis)]
    outcomes = [(s, e, p / 2) for s, p in squares for e in (-0.5, 0.5)]
    ends = set(np.cumsum(lengths))
    total = np.zeros(3)
    for path in itertools.product(outcomes, repeat=n * P):
        probability = np.prod([p for _, _, p in path])
        workers, means = np.full(P, delta0), []
        for t in range(n):
            for k in range(P):
                square, error, _ = path[t * P + k]
                workers[k] -= eta[t] * (square * workers[k] - np.sqrt(square) * error)
            means.append(weights @ workers)
            last = workers.copy()
            if t + 1 in ends:
                workers[:] = means[-1]
        total += probability * np.array([means[-1] ** 2, np.mean(means[tail:]) ** 2, (last**2).mean()])
    return total


@pytest.mark.parametrize("lengths", [[1, 1, 1], [3], [2, 1]])
@pytest.mark.parametrize(("kurtosis", "tail"), [(1.0, 0), (3.0, 0), (3.0, 1)])
def test_least_squares_is_the_mean_over_all_paths(lengths, kurtosis, tail):
    eta, weights = np.array([0.3, 0.2, 0.4]), np.array([0.5, 0.5])
    found = exact_moments(
        1.0, 0.7, lengths, eta, 2, noise="gaussian", target_variance=0.25, kurtosis=kurtosis, tail=tail
    )
    mean, average, worker = enumerated(eta, lengths, weights, 0.7, kurtosis, tail)
    assert [found.e1, found.e2, found.worker] == pytest.approx([mean, average, worker], rel=1e-12)
    assert found.e3 == pytest.approx(average / 2, rel=1e-12)


def test_unequal_weights_are_the_mean_over_all_paths():
    eta, weights = np.array([0.3, 0.2]), np.array([0.7, 0.3])
    found = exact_moments(1.0, 0.7, 1, eta, 2, noise="gaussian", target_variance=0.25, kurtosis=1.0, weights=weights)
    mean, average, _ = enumerated(eta, [1, 1], weights, 0.7, 1.0, 0)
    assert [found.e1, found.e2] == pytest.approx([mean, average], rel=1e-12)


@pytest.mark.parametrize("periods", [1, 7, 120, list(range(2, 60, 2)), fl.GrowingPeriod(3)], ids=repr)
def test_with_additive_noise_the_mean_does_not_know_the_schedule(periods):
    etas = 0.2 * np.arange(1, 121) ** -0.5
    found, plain = moments(periods, etas), moments(1, etas)
    assert [found.e1, found.e2, found.e3] == pytest.approx([plain.e1, plain.e2, plain.e3], rel=1e-12)
    assert found.worker >= plain.worker * (1 - 1e-12)


@pytest.mark.parametrize(
    ("eta", "n"), [(0.15, 120), (0.9, 7), (1e-6, 50), (1e-6, 2000), (1e-4, 100), (1e-3, 50), (1.5, 1000)]
)
def test_closed_forms_are_the_recursion(eta, n):
    closed = constant_step_moments(SPECTRUM, DELTA0, eta, n, 4, COVARIANCE)
    stepped = moments(n, np.full(n, eta))
    for name in ("e1", "e2", "e3", "worker"):
        assert getattr(closed, name) == pytest.approx(getattr(stepped, name), rel=1e-12)


def test_records_are_runs_of_that_length_cut_there():
    etas = 0.2 * np.arange(1, 121) ** -0.5
    at = moments(7, etas, record=[3, 49, 120], tail=10)
    assert np.isnan(at.e2[0])
    assert at.t.tolist() == [3, 49, 120]
    for i, t in [(1, 49), (2, 120)]:
        cut = moments(7, etas[:t], tail=10)
        assert [at.e1[i], at.e2[i], at.e3[i]] == pytest.approx([cut.e1, cut.e2, cut.e3], rel=1e-12)


def test_batches_divide_the_noise():
    etas = np.full(60, 0.3)
    assert moments(1, etas, batch_size=8).e2 == pytest.approx(
        moments(1, etas, noise_cov=COVARIANCE / 8).e2, rel=1e-12
    )
    limit = stability_limit(SPECTRUM, batch_size=8)
    assert limit > stability_limit(SPECTRUM)
    inside = exact_moments(
        SPECTRUM, 1.0, 4000, np.full(4000, 0.98 * limit), 1, noise="gaussian", target_variance=1.0, batch_size=8
    )
    assert inside.worker == pytest.approx(
        stationary_worker(SPECTRUM, 0.98 * limit, 1.0, batch_size=8).sum(), rel=1e-3
    )


def test_what_decays_to_nothing_is_zero_and_costs_nothing():
    found = exact_moments(SPECTRUM, DELTA0, 16, np.full(20_000, 0.9), 4, noise_cov=0.0)
    assert found.e1 < 1e-270
    assert np.isfinite(found.e2)


def test_round_lengths_are_those_of_the_run():
    rng = np.random.default_rng(0)
    problem = fl.Problem(rng.standard_normal((400, 2)), rng.standard_normal(400))
    step = fl.PolynomialDecay(0.1, 0.75)
    etas = step(np.arange(1, 301))
    for schedule in (
        fl.GrowingPeriod(2),
        fl.AdaptivePeriod(0.5),
        fl.FixedPeriod(7),
        fl.OneShot(),
        fl.PostLocal(9, 4),
    ):
        run = fl.local_sgd(problem, n_workers=4, n_steps=300, schedule=schedule, step_size=step)
        lengths = round_lengths(schedule, 4, etas)
        assert lengths.sum() == 300
        assert len(lengths) == run.state.n_rounds
        ran = np.concatenate([np.full(count, length) for length, count in run.trace.periods])
        assert lengths.tolist() == ran.tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spectrum": [-1.0]}, "spectrum must be"),
        ({"etas": [0.1, np.nan]}, "etas must be positive and finite"),
        ({"etas": []}, "etas must be one step size a step"),
        ({"periods": 0}, "period must be an int >= 1"),
        ({"n_workers": 0}, "n_workers must be an int >= 1"),
        ({"noise_cov": None}, "takes noise_cov"),
        ({"noise": "gaussian"}, "takes target_variance and no noise_cov"),
        ({"noise": "gaussian", "noise_cov": None, "target_variance": 1.0, "kurtosis": 0.5}, "kurtosis must be"),
        ({"noise": "pink"}, "noise must be 'additive' or 'gaussian'"),
        ({"noise_cov": [1.0, 2.0]}, "noise_cov must be a number or have shape"),
        ({"tail": 3}, "tail must leave steps"),
        ({"weights": [1.0, 1.0]}, "weights must"),
        ({"delta0": np.inf}, "delta0 must be finite"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    good = {"spectrum": [1.0], "delta0": 1.0, "periods": 1, "etas": [0.1, 0.1, 0.1], "n_workers": 2, "noise_cov": 1.0}
    with pytest.raises((ValueError, TypeError), match=message):
        exact_moments(**(good | arguments))


def test_a_schedule_that_looks_at_the_objective_is_refused():
    class Watching:
        needs_objective = True

        def next_periods(self, view):
            return 1

    with pytest.raises(ValueError, match="looks at the objective"):
        round_lengths(Watching(), 2, [0.1, 0.1])


# ---- law 12: the kernels' Monte-Carlo ----

CASES = list(
    itertools.product(
        [fl.MiniBatch(), fl.OneShot(), fl.FixedPeriod(7), fl.GrowingPeriod(2), fl.AdaptivePeriod(1.0)],
        [fl.Constant(0.3), fl.PolynomialDecay(0.6, 0.5)],
        [1, 3],
        [None, (0.4, 0.3, 0.2, 0.1)],
        ["polyak", "tail:0.5"],
    )
)


def z_scores(case, first_seed, n_replicates=300, n_steps=60):
    """z of e1 and e2 over replicates. One feature of kurtosis 3: rows +-sqrt(3) and 0, each with errors +-1/2."""
    schedule, step, batch_size, weights, average = case
    X = np.repeat(np.sqrt(3.0) * np.array([1.0, -1.0, 0.0, 0.0, 0.0, 0.0]), 2)[:, None]
    problem = fl.Problem(X, np.tile([0.5, -0.5], 6), loss="squared")
    runs = [
        fl.local_sgd(
            problem, n_workers=4, n_steps=n_steps, schedule=schedule, step_size=step, seed=seed, average=average,
            sampling="replacement", batch_size=batch_size, weights=weights, w0=[0.8], record=0, n_threads=1,
        )
        for seed in range(first_seed, first_seed + n_replicates)
    ]  # fmt: skip
    exact = exact_moments(
        1.0, 0.8, schedule, step(np.arange(1, n_steps + 1)), 4, noise="gaussian", target_variance=0.25,
        batch_size=batch_size, weights=weights, tail=0 if average == "polyak" else n_steps // 2,
    )  # fmt: skip
    scores = []
    for values, expected in (([run.w[0] for run in runs], exact.e1), ([run.w_bar[0] for run in runs], exact.e2)):
        squares = np.array(values) ** 2
        scores.append((squares.mean() - expected) / (squares.std(ddof=1) / np.sqrt(n_replicates)))
    return scores


def check_law_12(cases, n_replicates):
    """The seeds are 0, 1, 2, ...: each case goes on where the last one ended, so the z are independent."""
    scores = np.array([z_scores(case, i * n_replicates, n_replicates) for i, case in enumerate(cases)])
    assert np.abs(scores).max() < 4
    for column in scores.T:
        assert stats.kstest(column, "norm").pvalue > 1e-3


def test_exact_moments_agree_with_the_kernels_monte_carlo():
    check_law_12(CASES, 300)


@pytest.mark.long
def test_exact_moments_agree_with_the_kernels_monte_carlo_to_a_percent():
    check_law_12(CASES, 20_000)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("record", [None, [4000, 5000]])
def test_moments_beyond_the_limit_are_infinite(record):
    found = exact_moments([1.0, 0.0], 1.0, 4, np.full(5000, 5.0), 4, noise_cov=0.2, record=record)
    for value in (found.e1, found.e2, found.e3):
        assert (np.asarray(value) == np.inf).all()
