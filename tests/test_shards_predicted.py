"""Predictions for shards that differ: against exact moments, against the kernels' runs, and what is refused."""

import numpy as np
import pytest
from sklearn import datasets

import fastlsgd as fl
from fastlsgd import theory
from fastlsgd.data import shard_sizes
from fastlsgd.experiments.predicted import Setting, compare_prediction
from fastlsgd.theory import affine, dealt

# ---- many steps at once ----


def by_steps(B, a, noise, start, spread, n):
    """Mean and covariance of (theta, S) after n steps, and averages over the positions before them, step by step."""
    m = len(B)
    mean, total, cov = start, np.zeros(m), np.zeros((2 * m, 2 * m))
    cov[:m, :m] = spread
    step = np.block([[B, np.zeros((m, m))], [B, np.eye(m)]])
    means, seconds = [], []
    for _ in range(n):
        means.append(mean)
        seconds.append(cov[:m, :m])
        mean = B @ mean + a
        total = total + mean
        cov = step @ cov @ step.T + np.tile(noise, (2, 2))
    return mean, total, cov, np.array(means), np.array(seconds)


@pytest.mark.parametrize("n", [1, 2, 3, 10, 77])
@pytest.mark.parametrize("rho", [(0.9, 0.5, -0.3), (1.0, 1.0 - 1e-9, 0.7)])
def test_many_steps_are_so_many_single_ones(n, rho):
    rng = np.random.default_rng(n)
    V = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    noise, spread = (x @ x.T for x in rng.standard_normal((2, 3, 3)))
    rho, a, start = np.array(rho), rng.standard_normal(3), rng.standard_normal(3)
    B = V * rho @ V.T
    mean, total, cov, means, seconds = by_steps(B, a, noise, start, spread, n)
    steps = affine.diagonal_steps(rho, V, (V.T @ a)[:, None], V.T @ noise @ V, n)
    begin = affine.at(start[:, None])
    end = affine.Steps(begin.B, begin.C, begin.a, begin.s, spread, begin.cross, begin.noise_s).then(steps)
    assert end.a[:, 0] == pytest.approx(mean)
    assert end.s[:, 0] == pytest.approx(total)
    found = np.block([[end.noise, end.cross], [end.cross.T, end.noise_s]])
    assert found == pytest.approx(cov, rel=1e-9, abs=1e-9)
    moved, averaged = affine.averages(rho, V.T @ (B @ start + a - start), V.T @ spread @ V, V.T @ noise @ V, n)
    assert start + V @ moved == pytest.approx(means.mean(axis=0))
    path = np.cov(means.T, bias=True)
    assert V @ averaged @ V.T == pytest.approx(seconds.mean(axis=0) + path, rel=1e-6)


def test_repeated_stretches_and_means_over_workers():
    rng = np.random.default_rng(0)
    B = 0.3 * rng.standard_normal((2, 3, 3))
    a, noise = rng.standard_normal((2, 3)), np.array([x @ x.T for x in rng.standard_normal((2, 3, 3))])
    one = affine.Steps(B, B, a[:, :, None], a[:, :, None], noise, noise, noise)
    thrice, five = one.then(one).then(one), one.repeated(5)
    for left, right in zip(vars(thrice.then(one).then(one)).values(), vars(five).values(), strict=True):
        assert left == pytest.approx(right)
    mean, total, cov, _, _ = by_steps(B[1], a[1], noise[1], np.zeros(3), np.zeros((3, 3)), 5)
    assert five.a[1, :, 0] == pytest.approx(mean) and five.s[1, :, 0] == pytest.approx(total)
    assert five.noise_s[1] == pytest.approx(cov[3:, 3:]) and five.cross[1] == pytest.approx(cov[:3, 3:])
    weights = np.array([0.3, 0.7])
    both = five.mean_of(weights)
    assert both.a == pytest.approx(0.3 * five.a[0] + 0.7 * five.a[1])
    assert both.noise == pytest.approx(0.09 * five.noise[0] + 0.49 * five.noise[1])


# ---- against exact moments ----


def rows(loss, n, d, order, seed=1):
    """Skewed rows of different scales, in the order of the second feature or of the target."""
    rng = np.random.default_rng(seed)
    X = (rng.gamma(2.0, size=(n, d)) - 1.5) / np.sqrt(np.arange(1, d + 1))
    z = X @ np.linspace(1, -1, d)
    y = np.where(z + rng.logistic(size=n) > 0, 1.0, -1.0) if loss == "logistic" else z + rng.standard_normal(n)
    sort = np.argsort(y if order == "target" else X[:, 1], kind="stable")
    return X[sort], y[sort]


def shards_of(problem, n_workers):
    ends = np.cumsum(shard_sizes(problem.n_samples, n_workers))
    return [(problem.X[a:b], problem.y[a:b]) for a, b in zip([0, *ends[:-1]], ends, strict=True)]


def limit_of(problem, n_workers):
    """The stability limit: of least squares that of the worst shard; logistic slopes are bounded everywhere."""
    if problem.loss.name != "squared":
        return theory.data_stability_limit(problem)
    own = [fl.Problem(X, y, l2=problem.l2) for X, y in shards_of(problem, n_workers)]
    return min(map(theory.data_stability_limit, own))


@pytest.mark.parametrize("order", ["feature", "target"])
@pytest.mark.parametrize(
    ("schedule", "decaying", "w0", "options"),
    [
        (fl.MiniBatch(), False, 0.0, {}),
        (fl.FixedPeriod(7), False, 5.0, {}),
        (fl.FixedPeriod(40), False, 0.0, {"batch_size": 3}),
        (fl.OneShot(), False, 5.0, {}),
        (fl.OneShot(), True, 0.0, {}),
        (fl.GrowingPeriod(3), True, 0.0, {"weights": [0.4, 0.3, 0.2, 0.05, 0.05]}),
    ],
)
def test_least_squares_has_its_exact_moments(order, schedule, decaying, w0, options):
    """At half the stability limit: constant steps have the exact mean, all have second moments within 1%."""
    problem = fl.Problem(*rows("squared", 123, 4, order), l2=1e-2)
    eta = 0.5 * limit_of(problem, 5)
    step = fl.PolynomialDecay(5 * eta, 0.5, eta_max=eta) if decaying else fl.Constant(eta)
    n, star = 1_000, problem.optimum()
    exact = theory.finite_moments(
        shards_of(problem, 5), np.full(4, w0), schedule, step(np.arange(1, n + 1)), l2=1e-2, reference=star, **options
    )
    found = theory.predict(problem, schedule, step, 5, n, np.full(4, w0), partition="contiguous", **options)
    away = exact.mean_bar - star
    H = problem.hessian(star)
    assert found.bias == pytest.approx(0.5 * away @ H @ away, rel=5e-3 if decaying else 1e-9)
    assert found.excess == pytest.approx(0.5 * np.trace(H @ exact.second_bar), rel=0.01)
    assert found.e2 == pytest.approx(np.trace(H @ exact.second_bar @ H), rel=0.01)
    assert found.low == found.excess == found.high
    if "weights" not in options:
        # The spread is iterated for until it changes by 2e-3: how often depends on the last bit of eta, and that
        # is up to 2% of what the workers of a worst shard end at.
        assert found.consensus == pytest.approx(exact.consensus, rel=0.03)


def test_equal_shards_are_predicted_as_draws_from_all_rows():
    """Two formulas for one thing: every worker has a copy of the same thousand rows."""
    for loss in ("squared", "logistic"):
        X, y = rows(loss, 1_000, 4, "feature")
        one, tiled = (
            fl.Problem(X, y, loss=loss, l2=1e-2),
            fl.Problem(np.tile(X, (8, 1)), np.tile(y, 8), loss=loss, l2=1e-2),
        )
        step = fl.Constant(0.1 * theory.data_stability_limit(one))
        for period in (1, 16, 10_000):
            shared = theory.predict(one, period, step, 8, 10_000, w0=tiled.optimum())
            own = theory.predict(tiled, period, step, 8, 10_000, w0=tiled.optimum(), partition="contiguous")
            assert own.excess == pytest.approx(shared.excess, rel=0.03)
            assert own.consensus == pytest.approx(shared.consensus, rel=0.03)


# ---- against runs ----


def check(problem, n_workers, share, period, *, n_steps=5_000, step=None, tolerance=0.1, **options):
    """Predicted is within a tenth of measured, and three standard errors."""
    step = step or fl.Constant(share * limit_of(problem, n_workers))
    setting = Setting(problem, step, n_workers, n_steps, partition="contiguous")
    schedule = fl.OneShot() if period is None else fl.FixedPeriod(period)
    found = compare_prediction(setting, schedule, **({"precision": 0.03, "most": 75} | options))
    assert abs(found.ratio - 1.0) < tolerance + 3 * found.standard_error / found.measured, found


@pytest.mark.parametrize("period", [1, 16, 256, None])
@pytest.mark.parametrize("order", ["feature", "target"])
@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_predictions_are_within_a_tenth_on_shards_that_differ(loss, order, period):
    check(fl.Problem(*rows(loss, 8_000, 6, order), loss=loss, l2=1e-3), 8, 0.25, period)


@pytest.mark.parametrize("period", [64, None])
def test_predictions_are_within_a_tenth_of_decaying_steps_on_shards_that_differ(period):
    problem = fl.Problem(*rows("logistic", 8_000, 6, "target"), loss="logistic", l2=1e-3)
    eta = 0.25 * theory.data_stability_limit(problem)
    check(problem, 8, 0.25, period, step=fl.PolynomialDecay(10 * eta, 0.5, eta_max=eta))


@pytest.mark.parametrize("period", [16, None])
def test_digits_dealt_by_label_are_predicted(period):
    data = datasets.load_digits()
    spread = data.data.std(axis=0)
    X = (data.data[:, spread > 0] - data.data[:, spread > 0].mean(axis=0)) / spread[spread > 0]
    order = np.argsort(data.target, kind="stable")
    labels = np.where(data.target > 4, 1.0, -1.0)
    problem = fl.Problem(X[order].astype(np.float32), labels[order], loss="logistic", l2=1e-2, fit_intercept=True)
    check(problem, 8, None, period, step=fl.Constant(0.0056), most=25)  # a quarter of the limit


@pytest.mark.long
@pytest.mark.parametrize("period", [1, 4, 16, 64, 256, 1024, None])
@pytest.mark.parametrize("order", ["feature", "target"])
@pytest.mark.parametrize("loss", ["squared", "logistic"])
@pytest.mark.parametrize("n_workers", [2, 8, 32])
@pytest.mark.parametrize("share", [0.1, 0.25])
def test_predictions_on_shards_that_differ_in_full(loss, order, n_workers, share, period):
    problem = fl.Problem(*rows(loss, 8_000, 6, order), loss=loss, l2=1e-3)
    check(problem, n_workers, share, period, n_steps=20_000, most=200)


def test_the_longer_the_rounds_the_farther_from_the_optimum():
    problem = fl.Problem(*rows("logistic", 2_000, 4, "target"), loss="logistic", l2=1e-2)
    around = theory.Expansion(problem)
    biases = [
        theory.predict(around, p, fl.Constant(0.1), 8, 20_000, partition="contiguous").bias for p in (1, 30, 900)
    ]
    assert 10 * biases[0] < biases[1] < biases[2] / 10


# ---- rows: sampled, weighted, sparse ----


def test_a_sample_of_the_rows_serves(monkeypatch):
    problem = fl.Problem(*rows("logistic", 8_000, 6, "target"), loss="logistic", l2=1e-3)
    step = fl.Constant(0.25 * theory.data_stability_limit(problem))
    whole = [
        theory.predict(problem, period, step, 8, 5_000, partition="contiguous").excess for period in (1, 64, 5_000)
    ]
    monkeypatch.setattr(dealt, "MOST_ENTRIES", 24_000)
    few = [
        theory.predict(problem, period, step, 8, 5_000, partition="contiguous").excess for period in (1, 64, 5_000)
    ]
    assert few == pytest.approx(whole, rel=0.1)
    assert few != whole


@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_rows_that_weigh_double_are_rows_twice(loss):
    X, y = rows(loss, 400, 3, "feature")
    heavy = np.zeros(400, dtype=bool)
    heavy[::4] = True
    weighted = fl.Problem(X, y, loss=loss, l2=1e-2, fit_intercept=True, sample_weight=np.where(heavy, 1.6, 0.8))
    repeat = np.where(heavy, 2, 1)
    repeated = fl.Problem(np.repeat(X, repeat, axis=0), np.repeat(y, repeat), loss=loss, l2=1e-2, fit_intercept=True)
    # The noise differs, as weights are not draws; the path of the mean is the same.
    found = [
        theory.predict(p, 50, fl.Constant(0.02), 4, 3_000, partition="contiguous").bias for p in (weighted, repeated)
    ]
    assert found[0] == pytest.approx(found[1], rel=5e-3)


def test_sparse_rows_are_predicted_like_dense_ones():
    from scipy import sparse

    X, y = rows("logistic", 500, 4, "target")
    X[np.abs(X) < 0.3] = 0.0
    found = [
        theory.predict(
            fl.Problem(x, y, loss="logistic", l2=1e-2), 20, fl.Constant(0.1), 5, 2_000, partition="contiguous"
        )
        for x in (X, sparse.csr_matrix(X))
    ]
    assert found[0].excess == pytest.approx(found[1].excess, rel=1e-9)


def test_an_expansion_deals_anew_for_other_workers():
    problem = fl.Problem(*rows("squared", 300, 3, "feature"), l2=1e-2)
    around = theory.Expansion(problem)
    options = {"step_size": fl.Constant(0.02), "n_steps": 1_000, "partition": "contiguous"}
    for n_workers in (3, 7, 3):
        fresh = theory.predict(problem, 20, n_workers=n_workers, **options)
        assert theory.predict(around, 20, n_workers=n_workers, **options) == fresh


# ---- what is refused ----


def test_what_cannot_be_predicted_is_refused():
    X, y = rows("squared", 300, 3, "feature")
    problem = fl.Problem(X, y, l2=1e-2)
    step = fl.Constant(0.01)
    with pytest.raises(ValueError, match="reshuffled runs on contiguous shards cannot be predicted"):
        theory.predict(problem, 1, step, 4, 100, partition="contiguous", sampling="reshuffle")
    with pytest.raises(ValueError, match="partition must be 'iid' or 'contiguous', got 'by_label'"):
        theory.predict(problem, 1, step, 4, 100, partition="by_label")
    with pytest.raises(ValueError, match="n_workers must be at most the 300 rows"):
        theory.predict(problem, 1, step, 301, 100, partition="contiguous")
    large = fl.Constant(1.3 * limit_of(problem, 4))
    with pytest.raises(ValueError, match="beyond the stability limit of a worker's own shard"):
        theory.predict(problem, fl.OneShot(), large, 4, 20_000, partition="contiguous")
    wide = fl.Problem(np.random.default_rng(0).standard_normal((300, 201)), np.ones(300), l2=1e-2)
    with pytest.raises(
        ValueError, match='at most 200 parameters, got 201; use fewer features, or predict partition="iid"'
    ):
        theory.predict(wide, 1, step, 4, 100, partition="contiguous")
