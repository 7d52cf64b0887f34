"""Predictions: against the kernels' runs on data, against exact moments, and what is refused."""

import itertools
import warnings
from statistics import NormalDist

import numpy as np
import pytest
from sklearn import datasets

import fastlsgd as fl
from fastlsgd import theory
from fastlsgd.experiments.predicted import Setting, check_risk_period, compare_prediction
from fastlsgd.theory.closure import Closure
from fastlsgd.theory.doubt import Doubt
from fastlsgd.theory.expansion import Expansion
from fastlsgd.theory.path import follow
from fastlsgd.theory.reshuffling import reshuffled_variance


def standardised(X):
    spread = X.std(axis=0)
    kept = X[:, spread > 0]
    return np.ascontiguousarray((kept - kept.mean(axis=0)) / spread[spread > 0], dtype=np.float32)


def digits():
    data = datasets.load_digits()
    labels = np.where(data.target > 4, 1.0, -1.0)
    return fl.Problem(standardised(data.data), labels, loss="logistic", l2=1e-2, fit_intercept=True)


def diabetes():
    data = datasets.load_diabetes()
    y = (data.target - data.target.mean()) / data.target.std()
    return fl.Problem(standardised(data.data), y, loss="squared", l2=1e-2)


def drawn(loss="logistic", n=8_000, d=6):
    """Skewed rows of different scales, so that the third derivative and the fourth moment count."""
    rng = np.random.default_rng(1)
    X = (rng.gamma(2.0, size=(n, d)) - 1.5) / np.sqrt(np.arange(1, d + 1))
    z = X @ np.linspace(1, -1, d)
    y = np.where(z + rng.logistic(size=n) > 0, 1.0, -1.0) if loss == "logistic" else z + rng.standard_normal(n)
    return fl.Problem(X, y, loss=loss, l2=1e-3)


def heavy():
    """Few rows, some of them far larger than the others."""
    rng = np.random.default_rng(0)
    X = rng.gamma(0.5, size=(400, 3)) - 0.5
    y = np.where(X.sum(axis=1) + rng.logistic(size=400) > 1.0, 1.0, -1.0)
    return fl.Problem(X, y, loss="logistic", l2=1e-2)


PROBLEMS = {"digits": digits, "diabetes": diabetes, "drawn": drawn, "drawn, squared": lambda: drawn("squared")}
_cache: dict[str, tuple[Expansion, float]] = {}


def known(name):
    """The problem's expansion and its stability limit, once a session."""
    if name not in _cache:
        around = Expansion((PROBLEMS | {"heavy": heavy, "small": lambda: drawn(n=2_000, d=4)})[name]())
        _cache[name] = around, theory.data_stability_limit(around)
    return _cache[name]


def check(
    name,
    share,
    period,
    *,
    n_workers=8,
    n_steps=20_000,
    sampling="replacement",
    decaying=False,
    tolerance=0.1,
    batch_size=1,
    **options,
):
    """Predicted is within a tenth of measured, and three standard errors."""
    around, limit = known(name)
    eta = share * (limit if batch_size == 1 else theory.data_stability_limit(around, batch_size))
    step = fl.PolynomialDecay(10 * eta, 0.5, eta_max=eta) if decaying else fl.Constant(eta)
    setting = Setting(around.problem, step, n_workers, n_steps, sampling, batch_size=batch_size)
    schedule = fl.OneShot() if period is None else fl.FixedPeriod(period)
    found = compare_prediction(setting, schedule, around=around, **({"precision": 0.025, "most": 200} | options))
    assert abs(found.ratio - 1.0) < tolerance + 3 * found.standard_error / found.measured, found


@pytest.mark.parametrize("period", [1, 16, None])
@pytest.mark.parametrize("share", [0.1, 0.25])
@pytest.mark.parametrize("name", PROBLEMS)
def test_predictions_are_within_a_tenth_with_replacement(name, share, period):
    check(name, share, period)


@pytest.mark.parametrize("period", [1, 64])
@pytest.mark.parametrize("name", ["drawn", "drawn, squared"])
def test_predictions_are_within_a_tenth_of_reshuffled_runs(name, period):
    check(name, 0.1, period, sampling="reshuffle")


@pytest.mark.parametrize("period", [1, 16, None])
@pytest.mark.parametrize(("batch_size", "sampling"), [(5, "replacement"), (20, "replacement"), (5, "reshuffle")])
def test_predictions_are_within_a_tenth_of_batches(batch_size, sampling, period):
    """A quarter of the batch's own limit; as skewed as of one row the spread gave 0.7 at 20 rows."""
    n_workers, n_steps = 4, 1_000 if period is None and sampling == "reshuffle" else 4_000
    period = 200 if period is None and sampling == "reshuffle" else period
    check("drawn", 0.25, period, n_workers=n_workers, n_steps=n_steps, batch_size=batch_size, sampling=sampling)


@pytest.mark.parametrize("name", ["drawn", "drawn, squared"])
@pytest.mark.parametrize("decaying", [False, True])
def test_workers_averaged_after_every_step_are_one_worker_with_batches(name, decaying):
    """The same run in law, where rows are replaced: P workers of b rows a step, and one of P b rows."""
    around, _ = known(name)
    eta = 0.5 * theory.data_stability_limit(around, 8)
    step = fl.PolynomialDecay(10 * eta, 0.5, eta_max=eta) if decaying else fl.Constant(eta)
    found = [theory.predict(around, 1, step, 8 // b, 1_000, batch_size=b) for b in (1, 2, 4, 8)]
    for part in ("excess", "bias", "variance", "e2", "low", "high"):
        values = [getattr(prediction, part) for prediction in found]
        assert values == pytest.approx([values[0]] * 4, rel=1e-9), part


@pytest.mark.parametrize("period", [1, 64, None])
def test_predictions_are_within_a_tenth_of_decaying_steps(period):
    check("drawn", 0.25, period, decaying=True, n_steps=10_000)


@pytest.mark.parametrize("period", [1, 2, 4, 16])
def test_short_rounds_of_heavy_rows_are_predicted(period):
    """Of a normal spread, as skewed at period 1 as at rest, ratios were 0.82, 1.68, 1.71 and 1.28."""
    check("heavy", 0.5, period, n_workers=16, n_steps=10_000, tolerance=0.12)


def test_a_schedule_whose_periods_grow_from_one_is_predicted():
    around, limit = known("drawn")
    step = fl.PolynomialDecay(limit, 0.5, eta_max=0.25 * limit)
    growing, fixed = (
        theory.predict(around, periods, step, 8, 3_000).excess for periods in (fl.Periods([1, 2, 3, 4]), 4)
    )
    assert growing == pytest.approx(fixed, rel=1e-3)


def test_a_last_round_that_is_cut_short_stands_for_no_other():
    """With decaying steps the periods are looked at at a few moments, the last of them n_steps."""
    around, limit = known("drawn")
    step = fl.PolynomialDecay(5 * limit, 0.5, eta_max=0.5 * limit)
    whole, cut = (theory.predict(around, 256, step, 64, n_steps).excess for n_steps in (39 * 256, 39 * 256 + 16))
    assert cut == pytest.approx(whole, rel=0.02)


@pytest.mark.long
@pytest.mark.parametrize("period", [1, 16, 256, None])
@pytest.mark.parametrize("decaying", [False, True])
@pytest.mark.parametrize("n_workers", [4, 16, 64])
@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
@pytest.mark.parametrize("name", PROBLEMS)
def test_predictions_in_full(name, share, n_workers, decaying, period):
    check(name, share, period, n_workers=n_workers, decaying=decaying)


def test_a_prediction_says_how_far_it_may_be_off_and_what_it_consists_of():
    around, limit = known("digits")
    small, large = (theory.predict(around, fl.OneShot(), fl.Constant(s * limit), 8, 20_000) for s in (0.05, 0.5))
    for found in (small, large):
        assert found.low <= found.excess <= found.high
        assert found.excess == pytest.approx(found.bias + found.variance)
        assert found.n_rounds == 1
    assert (large.high - large.low) / large.excess > (small.high - small.low) / small.excess


def test_what_two_predictions_share_is_no_doubt_of_their_ratio():
    around, limit = known("digits")
    often, rarely = (theory.predict(around, period, fl.Constant(0.5 * limit), 4, 20_000) for period in (1, 8))
    ratio, off = rarely.ratio_to(often)
    assert ratio == rarely.excess / often.excess
    assert rarely.ratio_to(rarely) == (1.0, 0.0)
    assert 0.0 < off < 0.5 * (rarely.high - rarely.excess) / often.excess


def test_doubt_is_the_spread_of_what_may_be_left_out():
    """Drawn as said; |B|^2 / 2 is the excess."""
    rng = np.random.default_rng(0)
    mean, beyond, other_mean, other_beyond = rng.standard_normal((4, 3))
    doubt, other, z = Doubt(mean, beyond), Doubt(other_mean, other_beyond), NormalDist().inv_cdf(0.95)
    half = lambda B: 0.5 * (B**2).sum(axis=-1)  # noqa: E731
    own, shared = rng.standard_normal((2, 400_000, 3)) * np.abs([[beyond - other_beyond], [other_beyond]])
    change = half(mean + rng.standard_normal((400_000, 3)) * beyond) - half(mean)
    assert doubt.of_excess() == pytest.approx(z * np.sqrt((change**2).mean()), rel=0.01)
    ratio = half(mean) / half(other_mean)
    change = half(mean + shared + own) - ratio * half(other_mean + shared)
    assert doubt.of_excess_beside(other, ratio) == pytest.approx(z * np.sqrt((change**2).mean()), rel=0.01)


class OfSecondOrder(Expansion):
    """Whose workers see no term of the mean gradient beyond second order in their spread."""

    def averaged(self, delta, variance, kurtosis=None):
        plain, small = self.gradient(delta), 1e-3
        second_order = (self.gradient(delta, small * np.atleast_2d(variance).mean(axis=0)) - plain) / small
        return plain + second_order, *super().averaged(delta, variance, kurtosis)[1:]


@pytest.mark.parametrize("period", [1, 2, 64, None])
@pytest.mark.parametrize("decaying", [False, True])
def test_what_terms_beyond_second_order_move_is_what_would_change_without_them(decaying, period):
    """From zero; where steps decay it is the spread far from the optimum that counts."""
    around, limit = known("heavy")
    etas, n = np.full(2_000, 0.1 * limit), 2_000
    if decaying:
        etas = np.minimum(0.2 * limit, limit / np.sqrt(np.arange(1, n + 1)))
    start, period = -around.directions.T @ around.w_star, period or n
    lengths = theory.round_lengths(period, 4, etas)
    with_all, without = (
        follow(Closure(model, 0.25), start, etas, lengths) for model in (around, OfSecondOrder(around.problem))
    )
    root = np.sqrt(around.eigenvalues)
    found, exact = root * with_all.beyond, root * (with_all.mean - without.mean)
    assert np.linalg.norm(found - exact) < 0.15 * np.linalg.norm(exact)


def test_the_population_has_its_floor_on_top():
    around, limit = known("drawn")
    empirical, population = (
        theory.predict(around, 16, fl.Constant(0.1 * limit), 8, 1000, target=target).excess
        for target in ("empirical", "population")
    )
    assert population - empirical == pytest.approx(theory.estimate(around.problem).floor, rel=1e-6)


def test_the_predicted_consensus_is_that_of_runs():
    around, limit = known("drawn")
    step, n_steps, period = fl.Constant(0.1 * limit), 6_400, 64
    predicted = theory.predict(around, period, step, 8, n_steps).consensus
    measured = [
        fl.local_sgd(
            around.problem, n_workers=8, n_steps=n_steps, schedule=fl.FixedPeriod(period), step_size=step, seed=seed,
            sampling="replacement", record=[n_steps],
        ).trace.consensus[-1]
        for seed in range(200)
    ]  # fmt: skip
    error = np.std(measured, ddof=1) / np.sqrt(len(measured))
    assert abs(np.mean(measured) - predicted) < 0.1 * predicted + 3 * error


def test_decaying_steps_do_not_forget_how_noisy_gradients_were_far_from_the_optimum():
    """With the spread as at rest where the run settles, the ratio was 0.905 and the consensus half of what it is."""
    data = datasets.load_breast_cancer()
    labels = np.where(data.target > 0, 1.0, -1.0)
    problem = fl.Problem(standardised(data.data), labels, loss="logistic", l2=1e-2, fit_intercept=True)
    around = Expansion(problem)
    eta = 0.5 * theory.data_stability_limit(around)
    step, n_workers, n_steps = fl.PolynomialDecay(10 * eta, 0.5, eta_max=eta), 64, 2_000
    often, once = (theory.predict(around, period, step, n_workers, n_steps) for period in (1, n_steps))
    runs = [
        [
            fl.local_sgd(
                problem, n_workers=n_workers, n_steps=n_steps, schedule=schedule, step_size=step, seed=seed,
                sampling="replacement", record=[n_steps],
            )
            for seed in range(60)
        ]
        for schedule in (fl.MiniBatch(), fl.OneShot())
    ]  # fmt: skip
    ours, theirs = (problem.excess(np.array([run.w_bar for run in replicates])) for replicates in runs[::-1])
    ratio = ours.mean() / theirs.mean()
    error = (ours - ratio * theirs).std(ddof=1) / np.sqrt(len(ours)) / theirs.mean()
    assert abs(once.excess / often.excess - ratio) < 0.01 + 3 * error
    consensus = np.array([run.trace.consensus[-1] for run in runs[1]])
    assert once.consensus == pytest.approx(consensus.mean(), rel=0.15)


# ---- what predictions stand on ----


def test_a_run_of_least_squares_settles_where_the_exact_moments_say():
    """Rows of one feature of kurtosis 3, one-shot averaging."""
    X = np.repeat(np.sqrt(3.0) * np.array([1.0, -1.0, 0.0, 0.0, 0.0, 0.0]), 2)[:, None]
    problem = fl.Problem(X, np.tile([0.5, -0.5], 6), loss="squared")
    settled = theory.settle(Expansion(problem), 0.3, np.inf, 0.25)
    assert settled.spread[0, 0] == pytest.approx(theory.stationary_worker(1.0, 0.3, 0.25)[0], rel=1e-4)
    assert theory.data_stability_limit(problem) == pytest.approx(theory.stability_limit(1.0), rel=2e-3)
    with pytest.raises(ValueError, match="beyond the stability limit"):
        theory.settle(Expansion(problem), 0.68, np.inf, 0.25)
    with pytest.raises(ValueError, match="2 / L"):
        theory.settle(Expansion(problem), 2.1, np.inf, 0.25)


def test_noise_at_the_optimum_is_the_covariance_of_a_gradient_however_large_the_penalty():
    """The mean gradient of the data is not 0 there: it is minus the penalty's."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((500, 3))
    y = np.where(X @ [2.0, -1.0, 0.5] + rng.logistic(size=500) > 0, 1.0, -1.0)
    around = Expansion(fl.Problem(X, y, loss="logistic", l2=0.1))
    assert around.pull @ around.pull > 0.01 * np.trace(around.covariance)
    noise = Closure(around, 0.25).at(np.zeros(3), 0.1).seen.noise
    np.testing.assert_allclose(noise, around.covariance, atol=1e-9)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_workers_one_step_from_an_averaging_have_the_kurtosis_of_one_gradient(batch_size):
    """Of so many that their mean does not spread, and so small a step; the gradients of all rows are enumerated."""
    around, limit = known("heavy")
    eta = 0.01 * limit
    settled = theory.settle(around, eta, 2, 1e-9, batch_size)
    at = around.w_star + around.directions @ settled.centre
    X, y = around.problem.X, around.problem.y
    seen = X @ (X.T * (-y / (1.0 + np.exp(y * (X @ at)))))
    seen -= seen.mean(axis=1, keepdims=True)
    squares = (seen**2).mean(axis=1)
    exact = ((seen**4).mean(axis=1) / squares**2 - 3.0) / batch_size
    variance, kurtosis = settled.row_spread[:, 1]
    assert variance == pytest.approx(eta**2 * squares / batch_size, rel=0.01)
    assert kurtosis == pytest.approx(exact, rel=0.2)  # a sample of the rows stands for their gradients
    assert np.median(kurtosis / exact) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("n_steps", [40, 100, 130])
@pytest.mark.parametrize("decaying", [False, True])
def test_the_reshuffled_variance_is_that_of_runs(n_steps, decaying):
    """Additive noise (one feature equal to 1), one worker, 40 rows."""
    y = np.random.default_rng(0).standard_normal(40)
    y -= y.mean()
    step = fl.PolynomialDecay(0.5, 0.5) if decaying else fl.Constant(0.2)
    problem = fl.Problem(np.ones((40, 1)), y)
    values = np.array([
        fl.local_sgd(problem, n_workers=1, n_steps=n_steps, step_size=step, schedule=fl.OneShot(), seed=seed,
                     w0=[0.0], record=0).w_bar[0]
        for seed in range(3000)
    ])  # fmt: skip
    etas = step(np.arange(1, n_steps + 1))
    expected = reshuffled_variance(np.ones(1), np.array([y.var()]), etas, 40)[0]
    squares = values**2
    assert abs(squares.mean() - expected) < 4 * squares.std(ddof=1) / np.sqrt(len(squares))


@pytest.mark.parametrize(("variance", "off"), [(0.09, 2e-3), (0.9, 2e-3), (9.0, 2e-3), (25.0, 1e-2)])
def test_averages_over_predictions_are_those_of_fine_integration(variance, off):
    around = Expansion(drawn(n=500))
    delta, nodes = np.zeros(len(around.eigenvalues)), np.linspace(-8.0, 8.0, 2001)
    chances = np.exp(-0.5 * nodes**2) / np.exp(-0.5 * nodes**2).sum()
    z = around.problem.X @ around.w_star + np.sqrt(variance) * nodes[:, None]
    slopes = chances @ -(around.problem.y / (1.0 + np.exp(around.problem.y * z)))
    curvature = chances @ (1.0 / (1.0 + np.exp(-z)) / (1.0 + np.exp(z)))
    rows = around.problem.X @ around.directions
    gradient = slopes @ rows / len(rows) + around.pull
    hessian = (rows * curvature[:, None]).T @ rows / len(rows) + around.penalty
    widths = np.full(len(rows), variance)
    np.testing.assert_allclose(around.gradient(delta, widths), gradient, atol=off * np.abs(gradient).max())
    np.testing.assert_allclose(around.hessian(delta, widths), hessian, atol=off * np.abs(hessian).max())
    np.testing.assert_allclose(around.averaged(delta, widths)[1], hessian, atol=off * np.abs(hessian).max())


def test_gradients_of_the_expansion_are_those_of_the_problem():
    around, _ = known("drawn")
    delta = 0.3 * np.random.default_rng(0).standard_normal(len(around.eigenvalues))
    at = around.w_star + around.directions @ delta
    assert around.directions.T @ around.problem.gradient(at) == pytest.approx(around.gradient(delta), abs=1e-9)
    assert around.into(around.problem.hessian(at)) == pytest.approx(around.hessian(delta), abs=1e-9)
    rng = np.random.default_rng(1)  # averages over a normal spread, against draws of it
    spread = 0.05 * np.diag(np.arange(1.0, len(delta) + 1))
    draws = rng.multivariate_normal(delta, spread, 4000)
    sampled = np.mean([around.gradient(draw) for draw in draws], axis=0)
    assert around.gradient(delta, around.row_variance(spread)) == pytest.approx(sampled, abs=5e-3)


def test_the_interpolation_of_a_mean_period_lies_between_those_of_its_neighbours():
    """Where steps overshoot, 1 - contraction is negative, and a power that is no integer was no number."""
    for contraction in (0.5, 1.0, 1.5, 1.9):
        below, between, above = (float(theory.interpolation(n, contraction, 0.25)) for n in (2, 2.5, 3))
        assert min(below, above) - 0.05 < between < max(below, above) + 0.05
    assert float(theory.interpolation(3.0, 1.5, 0.25)) == pytest.approx(0.25 + 0.75 * (1 - (1 + 0.125) / (3 * 1.5)))


@pytest.mark.parametrize("period", [1, 2, 7, 1000, 10**9, np.inf])
@pytest.mark.parametrize("contraction", [1e-14, 1e-9, 1e-4, 0.1, 1.0, 1.9])
def test_the_interpolation_is_the_mean_over_a_round(period, contraction):
    found = float(theory.interpolation(period, contraction, 0.25))
    if period <= 1000:
        steps = np.arange(period)
        shares = 1.0 - (1.0 - contraction) ** steps if contraction > 1e-8 else contraction * steps
        assert found == pytest.approx(0.25 + 0.75 * shares.mean(), rel=1e-7, abs=1e-13)
    assert 0.25 - 1e-12 <= found <= 1.0 + 0.5 * (contraction > 1)


def test_periods_and_rounds():
    assert theory.adaptive_period(0.1, 7, 1 / 2.1) == 3  # and not 2: see AdaptivePeriod
    assert theory.adaptive_period(0.1, 1, 0.1) > 10**15
    step = fl.PolynomialDecay(1.0, 0.5)
    exact = theory.n_rounds(fl.AdaptivePeriod(0.1), step, 8, 100_000)
    assert theory.n_rounds_formula(0.1, 8, 1.0, 0.5, 100_000) == pytest.approx(exact, rel=0.03)
    # Real-valued periods round after round; alpha near its ends has no place of its own.
    for K, alpha in itertools.product(
        (0.02, 0.7, 1.25, 8.0, 300.0), (0, 1e-12, 0.1, 0.5, 0.75, 0.95, 0.999, 1 - 1e-12, 1)
    ):
        s, rounds = 1.0, 0
        while (after := s + max(1.0, K * s**alpha)) <= 1e5 + 1:
            s, rounds = after, rounds + 1
        rounds += (1e5 + 1 - s) / (after - s)
        found = theory.n_rounds_formula(1.0 / K, 2, 0.5, alpha, 100_000)
        assert found == pytest.approx(rounds, rel=0.03, abs=1.0), (K, alpha)
    assert theory.n_rounds_formula(1e-9, 2, 0.1, 0.5, 1000) == 1.0
    assert theory.n_rounds_formula(1.0, 8, 1.0, 1e-12, 1000) == 1000
    assert theory.reduction_factor(fl.AdaptivePeriod(0.1), step, 8, 100_000) == 100_000 / exact
    with pytest.raises(ValueError, match="eta must be positive"):
        theory.adaptive_period(0.1, 4, [0.1, 0.0])


# ---- what is refused ----


def test_reshuffled_shards_that_differ_too_much_are_refused():
    around, limit = known("diabetes")
    with pytest.raises(ValueError, match=r"55 rows are too small for 10 parameters|differ too much"):
        theory.predict(around, 20_000, fl.Constant(0.1 * limit), 8, 20_000, sampling="reshuffle")
    around, limit = known("drawn")
    with pytest.raises(ValueError, match="differ too much for rounds of 500000 steps"):
        theory.predict(around, 500_000, fl.Constant(0.02 * limit), 8, 500_000, sampling="reshuffle")


def test_steps_beyond_what_the_mean_bears_are_refused_without_warnings():
    """Slopes of logistic rows are bounded, so nothing overflows there: the consensus came out negative."""
    around, _ = known("small")
    mean = 2.0 / around.eigenvalues[-1]
    with pytest.raises(ValueError, match="beyond the stability limit, of the mean"):
        theory.predict(around, 5, fl.Constant(1.01 * mean), 4, 2_000)
    decaying = fl.PolynomialDecay(3.0 * mean, 0.5)  # there for nine steps
    assert np.isfinite(theory.predict(around, 5, decaying, 4, 2_000).excess)
    squared = drawn("squared", n=500, d=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="grows without end"):
            theory.predict(squared, 100, fl.PolynomialDecay(2.5, 0.5), 4, 100)


def test_bad_arguments_of_predictions_are_named():
    around, _ = known("small")
    step = fl.Constant(0.1)
    with pytest.raises(ValueError, match=r"w_star must have shape \(4,\), got \(2,\)"):
        theory.predict(around, 5, step, 4, 100, w_star=np.zeros(2))
    with pytest.raises(TypeError, match="w_star must hold real numbers, got 'a'"):
        theory.predict(around, 5, step, 4, 100, w_star="a")
    with pytest.raises(ValueError, match="not the optimum that the Expansion stands at"):
        theory.predict(around, 5, step, 4, 100, w_star=np.zeros(4))
    with pytest.raises(ValueError, match="batch_size must be an int >= 1, got 0"):
        theory.data_stability_limit(around, 0)
    with pytest.raises(TypeError, match="n_rows must be an int, got 'a'"):
        Expansion(around.problem, "a")
    with pytest.raises(ValueError, match="n_rows must be an int >= 1, got 0"):
        Expansion(around.problem, 0)
    with pytest.raises(TypeError, match="around must be an Expansion, got Problem"):
        theory.settle(around.problem, 0.1, 4, 0.25)
    for options, message in (
        ({"eta": 0.0}, "eta must be positive"),
        ({"w2": 2.0}, "w2 must be above 0 and at most 1"),
        ({"batch_size": 0}, "batch_size must be an int >= 1"),
        ({"epoch": -1.0}, "epoch must be positive"),
    ):
        with pytest.raises(ValueError, match=message):
            theory.settle(**({"around": around, "eta": 0.1, "period": 4, "w2": 0.25} | options))


def test_too_many_parameters_are_refused():
    rng = np.random.default_rng(0)
    problem = fl.Problem(rng.standard_normal((10, 2001)), rng.standard_normal(10), l2=1.0)
    with pytest.raises(ValueError, match="at most 2000"):
        theory.predict(problem, 1, fl.Constant(1e-3), 2, 10)


# ---- RiskPeriod ----


@pytest.mark.parametrize("sampling", ["replacement", "reshuffle"])
def test_risk_period_keeps_its_word(sampling):
    around, limit = known("small")
    setting = Setting(around.problem, fl.Constant(0.02 * limit), 16, 20_000, sampling)
    found = check_risk_period(setting, 0.2, around=around, most=200)
    assert found.period > 1
    assert found.low <= 1.2


def test_a_run_binds_risk_period_to_its_problem():
    problem = drawn(n=300, d=2)
    rule = fl.RiskPeriod(0.2, sampling="replacement")
    options = {"n_workers": 8, "n_steps": 2_000, "step_size": fl.Constant(0.05), "sampling": "replacement"}
    run = fl.local_sgd(problem, schedule=rule, **options)
    bound = rule.bind(problem, fl.Constant(0.05), 8, 2_000)
    plain = fl.local_sgd(problem, schedule=bound, **options)
    assert run.state.n_rounds == plain.state.n_rounds
    assert run.w.tobytes() == plain.w.tobytes()
    assert rule.bind(problem, fl.Constant(0.05), 1, 2_000) == fl.OneShot()


def test_bad_rules_are_named():
    for epsilon in (0.0, -1.0, np.inf):
        with pytest.raises(ValueError, match="epsilon must be positive"):
            fl.RiskPeriod(epsilon)
    with pytest.raises(ValueError, match="sampling must be"):
        fl.RiskPeriod(0.1, sampling="blocks")
    with pytest.raises(ValueError, match="must be bound"):
        fl.RiskPeriod(0.1).next_periods(None)
