"""Bounds hold wherever the exact error is known, are tight where that is promised, and say what they assume."""

import importlib
import itertools
import math

import coin as oracle
import numpy as np
import pytest

import fastlsgd as fl
from fastlsgd import theory

COIN = oracle.Coin()
# Of y - pi, y = 1 with probability pi = 0.8: second and fourth moment.
NOISE, NOISE4 = 0.8 * 0.2, 0.8 * 0.2**4 + 0.2 * 0.8**4
# The curvature of the logistic loss is at most 1/4, its derivative at most 1 / (6 sqrt(3)).
COIN_CONSTANTS = {
    "mu": COIN.ridge, "lipschitz": 0.25 + COIN.ridge, "noise": NOISE, "third": 1 / (6 * math.sqrt(3)),
    "noise4": NOISE4,
}  # fmt: skip
SCHEDULES = {"MBA": fl.MiniBatch(), "F10": fl.FixedPeriod(10), "G2": fl.GrowingPeriod(2), "OSA": fl.OneShot()}


def etas(step_size, n_steps):
    return step_size(np.arange(1, n_steps + 1))


def exact_quadratic(eigenvalues, start, noise_of, eta, periods, n_workers):
    """(E |w - w*|^2, E |H (w_bar - w*)|^2) of a quadratic; noise_of a worker's second moments, per direction."""
    lam = np.asarray(eigenvalues, dtype=float)
    a = m = np.asarray(start, dtype=float) ** 2
    c = q = np.zeros_like(lam)
    steps = iter(eta)
    for period in periods:
        for _ in range(period):
            s = next(steps)
            rho, noise = 1 - s * lam, noise_of(a)
            a, m = rho**2 * a + s**2 * noise, rho**2 * m + s**2 * noise / n_workers
            q = q + 2 * rho * c + m
            c = rho * c + m
        a = m
    return m.sum(), (lam**2 * q).sum() / len(eta) ** 2


def least_squares_noise(eigenvalues, variance):
    """Of Gaussian rows with these variances and targets that err by `variance`."""
    lam = np.asarray(eigenvalues, dtype=float)
    return lambda a: lam * (lam @ a) + lam**2 * a + variance * lam


def test_isotropic_quadratics_attain_the_bound_of_the_last_iterate():
    mu, noise, start, n = 0.4, 0.7, np.array([0.6, 0.8, 0.0]), 137
    for name, n_workers, step_size in itertools.product(
        SCHEDULES, (1, 4, 64), (fl.Constant(0.3), fl.Constant(2 / 0.8), fl.PolynomialDecay(1.2, 0.6))
    ):
        eta = etas(step_size, n)
        periods = theory.round_lengths(SCHEDULES[name], n_workers, etas(step_size, n))
        last, average = exact_quadratic([mu] * 3, start, lambda a: noise / 3, eta, periods, n_workers)
        options = {
            "mu": mu, "lipschitz": mu, "noise": noise, "distance": 1.0, "n_workers": n_workers, "third": 0,
        }  # fmt: skip
        found = theory.bounds(step_size, n, schedule=SCHEDULES[name], **options)
        assert found.last.value == pytest.approx(last, rel=1e-11)
        assert found.average.value >= average
        if isinstance(step_size, fl.Constant):
            closed = theory.closed_bounds(step_size, n, period=1, **options)
            assert closed.last.value == pytest.approx(last, rel=1e-11)


def test_one_worker_needs_no_third_derivative_for_its_last_iterate():
    options = {"mu": 0.4, "lipschitz": 0.4, "noise": 0.7, "distance": 1.0, "n_workers": 1, "schedule": fl.OneShot()}
    known = theory.bounds(fl.Constant(0.3), 100, **options, third=0)
    unknown = theory.bounds(fl.Constant(0.3), 100, **options)
    assert unknown.last.value == pytest.approx(known.last.value, rel=1e-12)
    assert unknown.average.value == math.inf
    assert "third" in unknown.average.assumes


@pytest.mark.parametrize("name", SCHEDULES)
def test_quadratics_with_bounded_noise_stay_below(name):
    """Condition number 20: factors of the order of 5 (last) and 2 (average) at constant steps."""
    lam, start = np.geomspace(0.05, 1, 6), np.ones(6)
    noise, n, n_workers = 0.6, 4000, 8
    for step_size in (
        fl.Constant(0.1),
        fl.Constant(0.5),
        fl.PolynomialDecay(0.9, 0.5),
        fl.PolynomialDecay(0.9, 0.75),
    ):
        periods = theory.round_lengths(SCHEDULES[name], n_workers, etas(step_size, n))
        exact = exact_quadratic(lam, start, lambda a: noise / 6, etas(step_size, n), periods, n_workers)
        options = {
            "mu": lam[0], "lipschitz": lam[-1], "noise": noise, "distance": math.sqrt(6), "n_workers": n_workers,
            "third": 0,
        }  # fmt: skip
        found = theory.bounds(step_size, n, schedule=SCHEDULES[name], **options)
        loose = [bound.value / value for bound, value in zip((found.last, found.average), exact, strict=True)]
        assert min(loose) >= 1
        assert loose[0] < 8
        if isinstance(step_size, fl.Constant):
            assert loose[1] < 4


@pytest.mark.parametrize("name", SCHEDULES)
def test_least_squares_stays_below_the_bounds_of_multiplicative_noise(name):
    """Gaussian rows: E |x|^2 x x^T <= (tr H + 2 lambda_max) H. Factors of the order of 2 to 4 for the average."""
    lam, variance, n = 1 / np.arange(1.0, 6), 0.5, 3000
    start = np.full(5, 0.3)
    bound_of_rows = lam.sum() + 2 * lam[0]
    for n_workers, fraction in itertools.product((1, 4, 32), (0.25, 1.0)):
        step_size = fl.Constant(fraction / bound_of_rows)
        periods = theory.round_lengths(SCHEDULES[name], n_workers, etas(step_size, n))
        exact = exact_quadratic(
            lam, start, least_squares_noise(lam, variance), etas(step_size, n), periods, n_workers
        )
        options = {
            "mu": lam[-1], "lipschitz": lam[0], "a": bound_of_rows, "b": variance * lam.sum(),
            "distance": np.linalg.norm(start), "n_workers": n_workers, "schedule": SCHEDULES[name],
        }  # fmt: skip
        found = theory.bounds_multiplicative(step_size, n, **options, quadratic=True)
        general = theory.bounds_multiplicative(step_size, n, **options)
        loose = [bound.value / value for bound, value in zip((found.last, found.average), exact, strict=True)]
        assert min(loose) >= 1
        assert loose[0] < 150
        assert loose[1] < 6
        assert general.last.value >= found.last.value * (1 - 1e-12)
        assert general.average.value == math.inf


@pytest.mark.parametrize("step_size", [fl.Constant(0.1), fl.Constant(1.0), fl.PolynomialDecay(2.0, 0.5),
                                       fl.PolynomialDecay(2.0, 0.75)], ids=repr)  # fmt: skip
def test_the_coin_stays_below_in_every_form(step_size):
    """Not quadratic, exact to rounding: averages are 5 to 1,700 times below the bound."""
    n, start = 400, -0.5
    eta, distance = etas(step_size, n), COIN.w_star + 0.5
    cases = []
    for n_workers in (2, 16):
        cases.append((n_workers, fl.MiniBatch(), oracle.mini_batch(COIN, eta, n_workers, start)[1]))
        cases.append((n_workers, fl.OneShot(), oracle.one_shot(COIN, eta, n_workers, start)[1]))
    for period in (10, 50):
        ends = oracle.ends_of(theory.round_lengths(period, 2, eta), n)
        cases.append((2, fl.FixedPeriod(period), oracle.average(COIN, eta, ends, 2, start, n=32)[1]))
    for n_workers, schedule, square in cases:
        exact = COIN.hessian**2 * square
        options = {"distance": distance, "n_workers": n_workers}
        period = int(theory.round_lengths(schedule, n_workers, eta)[0])
        stepped = theory.bounds(step_size, n, schedule=schedule, **options, **COIN_CONSTANTS)
        closed = theory.closed_bounds(step_size, n, period=period, **options, **COIN_CONSTANTS)
        without = {key: value for key, value in COIN_CONSTANTS.items() if key not in ("third", "noise4")}
        unknown = theory.bounds(step_size, n, schedule=schedule, **options, **without)
        assert exact <= stepped.average.value <= closed.average.value * (1 + 1e-9)
        assert stepped.average.value < 2000 * exact
        assert stepped.last.value <= closed.last.value * (1 + 1e-9)
        assert stepped.last.value <= unknown.last.value * (1 + 1e-9)


def test_a_million_steps_reach_the_stationary_value():
    """What one worker has at last: eta noise / (mu (2 - eta mu))."""
    options = {"mu": 0.1, "lipschitz": 2.0, "noise": 0.5, "distance": 1.0, "third": 0, "n_workers": 1}
    found = theory.bounds(fl.Constant(0.01), 1_000_000, schedule=fl.MiniBatch(), **options)
    assert found.last.value == pytest.approx(0.01 * 0.5 / (0.1 * (2 - 0.001)), rel=1e-9)


def test_equal_weights_are_the_default_and_others_count_by_their_squares():
    options = {
        "mu": 0.1, "lipschitz": 1.0, "noise": 0.5, "distance": 1.0, "third": 0.3, "noise4": 0.5, "n_workers": 4,
        "schedule": fl.FixedPeriod(8),
    }  # fmt: skip
    plain = theory.bounds(fl.Constant(0.1), 500, **options)
    equal = theory.bounds(fl.Constant(0.1), 500, **options, weights=[0.25] * 4)
    assert equal.last.value == pytest.approx(plain.last.value, rel=1e-12)
    assert equal.average.value == pytest.approx(plain.average.value, rel=1e-12)
    one = theory.bounds(fl.Constant(0.1), 500, **options, weights=[1, 0, 0, 0])
    alone = theory.bounds(fl.Constant(0.1), 500, **{**options, "n_workers": 1})
    assert one.last.value == pytest.approx(alone.last.value, rel=1e-12)
    assert one.average.value == pytest.approx(alone.average.value, rel=1e-12)
    assert plain.average.value < one.average.value


def test_no_schedule_is_bounded_below_mini_batch_averaging_or_above_one_worker():
    options = {"mu": 0.1, "lipschitz": 1.0, "noise": 0.5, "distance": 1.0, "noise4": 0.5}
    for third, step_size in itertools.product((0.0, 0.02, 0.2), (fl.Constant(0.05), fl.PolynomialDecay(0.8, 0.75))):

        def found(schedule, n_workers, third=third, step_size=step_size):
            return theory.bounds(step_size, 1000, schedule=schedule, n_workers=n_workers, third=third, **options)

        least, most = found(fl.MiniBatch(), 16), found(fl.OneShot(), 1)
        for period in (2, 8, 64, 1000):
            between = found(fl.FixedPeriod(period), 16)
            assert least.last.value * (1 - 1e-12) <= between.last.value <= most.last.value * (1 + 1e-12)
            assert least.average.value * (1 - 1e-12) <= between.average.value <= most.average.value * (1 + 1e-12)


def test_a_third_derivative_never_lowers_a_bound():
    options = {
        "mu": 0.1, "lipschitz": 1.0, "noise": 0.5, "distance": 1.0, "noise4": 0.5, "n_workers": 16,
        "schedule": fl.FixedPeriod(8),
    }  # fmt: skip
    found = [theory.bounds(fl.Constant(0.05), 1000, third=third, **options) for third in (0, 0.01, 0.1, 1.0)]
    assert [bound.last.value for bound in found] == sorted(bound.last.value for bound in found)
    assert [bound.average.value for bound in found] == sorted(bound.average.value for bound in found)
    assert found[0].average.value < found[-1].average.value


GOOD = {"mu": 0.1, "lipschitz": 1.0, "noise": 0.5, "distance": 1.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [({"mu": 0}, "mu must be positive"), ({"lipschitz": 0.05}, "lipschitz is at least mu"),
     ({"noise": -1}, "noise must be >= 0"), ({"distance": math.nan}, "distance must be >= 0"),
     ({"third": 1.0}, "needs noise4"), ({"third": 1.0, "noise4": 0.1}, "noise4 is at least"),
     ({"n_workers": 0}, "n_workers must be an int"), ({"weights": [0.5, 0.6]}, "sum to 1"),
     ({"weights": [0.5, 0.25, 0.25]}, r"weights must have shape \(2,\), one a worker, got \(3,\)"),
     ({"weights": "rows"}, "^weights must be None or an array, got 'rows'"),
     ({"weights": [np.nan, 1.0]}, "^weights must be finite, >= 0 and sum to 1")],
)  # fmt: skip
def test_arguments_out_of_range_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        theory.bounds(fl.Constant(0.1), 10, schedule=fl.OneShot(), **{**GOOD, "n_workers": 2, **change})


def test_steps_that_are_too_large_or_grow_are_refused():
    with pytest.raises(ValueError, match=r"2 / \(mu \+ lipschitz\), here 1.81818, got 1.9"):
        theory.bounds(fl.Constant(1.9), 10, schedule=fl.OneShot(), **GOOD)
    with pytest.raises(ValueError, match="never grow"):
        theory.bounds(lambda t: 0.001 * t.astype(float), 10, schedule=fl.OneShot(), **GOOD)
    rest = {"mu": 0.1, "lipschitz": 1.0, "distance": 1.0, "a": 4.0, "b": 1.0, "schedule": fl.OneShot()}
    with pytest.raises(ValueError, match="eta_1 below"):
        theory.bounds_multiplicative(fl.Constant(0.5), 10, **rest)
    with pytest.raises(TypeError, match=r"use bounds\(\)"):
        theory.closed_bounds(fl.InverseTime(0.1, t0=10), 10, period=1, **GOOD)
    with pytest.raises(ValueError, match="c <= eta_max"):
        theory.closed_bounds(fl.PolynomialDecay(1.0, 0.5, eta_max=0.5), 10, period=1, **GOOD)


def test_every_bound_says_what_it_assumes():
    found = theory.bounds(fl.Constant(0.1), 10, schedule=fl.OneShot(), third=1.0, noise4=1.0, **GOOD)
    for bound, of in ((found.last, "E |w - w*|^2"), (found.average, "E |H (w_bar - w*)|^2")):
        assert bound.of == of
        assert bound.assumes == "A1, A2, A3, A4, A4'; eta_1 <= 2 / (mu + lipschitz)"
        assert float(bound) == bound.value
    head = importlib.import_module("fastlsgd.theory.bounds").__doc__
    assert "Certificates, never predictions" in head
    for name in ("A1 ", "A2 ", "A3 ", "A4 ", "A4'", "Q1 ", "N(a, b)"):
        assert name in head


# ---- a twin of the formulas, written from the lemmas rather than from the code ----


def twin_constants(noise, noise4, weights):
    """Return w2, and what roots of fourth moments gain a step: of one worker, of the mean, of a pair."""
    w2, w4 = sum(w**2 for w in weights), sum(w**4 for w in weights)
    of_mean = w4 * noise4 + 3 * (w2**2 - w4) * noise**2
    pair = max(8 * noise, math.sqrt(3 * (2 * noise4 + 6 * noise**2)))
    return w2, max(4 * noise, math.sqrt(3 * noise4)), max(4 * w2 * noise, math.sqrt(3 * of_mean)), pair


def twin_paths(eta, periods, mu, L, noise, r0, M, constants):
    """Return R after every step, and what M / 2 multiplies before it; (a) to (c) bound an averaged step."""
    w2, g_one, g_mean, g_pair = constants
    R, R1, a, a1 = [r0**2] * 4
    last, fourth, steps = [], [], iter(eta)
    for period in periods:
        U = D = 0.0  # of the difference of two workers: second moment, root of the fourth
        mean, second = math.sqrt(R), a  # of one worker, given where the round began
        for _ in range(period):
            s = next(steps)
            rho = max(abs(1 - s * mu), abs(1 - s * L))
            W, Y = 0.5 * (1 - w2) * U, 0.5 * (1 - w2) * D
            fourth.append(min(a + Y, a1))
            ways = [(rho * math.sqrt(R) + s * L * math.sqrt(W)) ** 2]  # (c)
            fourths = [(rho * math.sqrt(a) + s * L * math.sqrt(Y)) ** 2]
            if s <= 1 / (2 * L):  # (a)
                ways.append((1 - s * mu) * R + 2 * s * L * W)
                fourths.append((1 - s * mu) * a + 2 * s * L * Y)
            ways.append((rho * math.sqrt(R) + 0.5 * s * M * Y) ** 2)  # (b)
            R1, a1 = rho**2 * R1 + s**2 * noise, rho**2 * a1 + s**2 * g_one
            U, D = rho**2 * U + 2 * s**2 * noise, rho**2 * D + s**2 * g_pair
            mean, second = rho * mean + 0.5 * s * M * second, rho**2 * second + s**2 * noise
            R = min(min(ways) + s**2 * w2 * noise, R1, 0.5 * w2 * U + mean**2)
            a = min(min(fourths) + s**2 * g_mean, a1)
            last.append(R)
    return np.array(last), np.array(fourth)


def twin_bounds(eta, periods, mu, L, noise, r0, M, noise4, weights):
    """Return (last, average), the latter of what telescopes (T1), of noise and of the third derivative (T3)."""
    n, constants = len(eta), twin_constants(noise, noise4, weights)
    R, fourth = twin_paths(eta, periods, mu, L, noise, r0, M, constants)
    T1 = r0 / eta[0] + math.sqrt(R[-1]) / eta[-1]
    T1 += sum(math.sqrt(R[m]) * (1 / eta[m + 1] - 1 / eta[m]) for m in range(n - 1))
    T3 = M / (2 * n) * sum(fourth)
    return R[-1], (T1 / n + math.sqrt(constants[0] * noise / n) + T3) ** 2


def twin_multiplicative(eta, periods, mu, L, a, b, r0, w2, quadratic):
    """Return (last, average) for E |g|^2 <= a <F', w - w*> + b."""
    n, R, R1, steps = len(eta), r0**2, r0**2, iter(eta)
    a_P = L * (1 - w2) + a * w2
    for period in periods:
        W = 0.0
        for _ in range(period):
            s = next(steps)
            rho, phi = max(abs(1 - s * mu), abs(1 - s * L)), L * min(R + W, R1)
            scatter = s**2 * a * L * W * w2 if quadratic else max(2 * s * L - s * mu * (2 - s * a_P), 0) * W
            R1 = (1 - s * mu * (2 - s * a)) * R1 + s**2 * b
            R = min((1 - s * mu * (2 - s * a_P)) * R + scatter + s**2 * b * w2, R1)
            W = rho**2 * W + (1 - w2) * s**2 * (a * phi + b)
    noise = (2 * b + a * r0**2 / (eta[0] * n)) * w2 / (n * (2 - eta[0] * a))
    known = quadratic and eta[0] == eta[-1]
    return R, ((r0 + math.sqrt(R)) / (eta[0] * n) + math.sqrt(noise)) ** 2 if known else math.inf


def twin_closed(eta, period, mu, L, noise, r0, M, noise4, weights):
    """Return (last, average) at a constant step, M > 0: of all rows of the table the least that is valid."""
    n, s = len(eta), eta[0]
    w2, g_one, g_mean, g_pair = twin_constants(noise, noise4, weights)
    v, rho = s / (mu * (2 - s * mu)), 1 - s * mu
    last = [rho ** (2 * n) * r0**2 + v * noise]  # one worker
    far = r0**2 / (n * s * mu * (2 - s * mu))
    T3 = [far + v * g_one]
    if period == 1:
        last.append(rho ** (2 * n) * r0**2 + v * noise * w2)
        T3.append(far + v * g_mean)
    if period == n:
        last.append(v * noise * w2 + (rho**n * r0 + M / (2 * mu) * (rho ** (n - 1) * r0**2 + v * noise)) ** 2)
    if s <= 1 / (2 * L):
        scatter = 2 * L / mu * (1 - w2) * s**2 * noise * (period - 1)
        last.append(rho**n * r0**2 + s * noise * w2 / mu + scatter)
        Y = 0.5 * (1 - w2) * s**2 * (period - 1) * g_pair
        T3.append(r0**2 / (n * s * mu) + s * g_mean / mu + (1 + 2 * L / mu) * Y)
    root = (r0 + math.sqrt(min(last))) / (s * n) + math.sqrt(noise * w2 / n) + M / 2 * min(T3)
    return min(last), root**2


def twin_closed_decaying(eta, c, alpha, period, mu, L, noise, r0, M, noise4, weights):
    """Return (last, average) at c t^-alpha, alpha < 1; periods above 1 have one worker's R and a."""
    n, h, constants = len(eta), len(eta) // 2, twin_constants(noise, noise4, weights)
    w2, g_one, _, g_pair = constants
    most = w2 if period == 1 else 1.0
    mu_ = mu * (2 - eta[0] * mu)
    last = math.exp(-mu_ * sum(eta)) * r0**2
    last += most * noise * (math.exp(-mu_ * sum(eta[h:])) * sum(s**2 for s in eta[:h]) + eta[h] / mu_)
    path, fourth = twin_paths(
        eta, [1] * n, mu, L, noise, r0, M, constants if period == 1 else (1.0, g_one, g_one, g_pair)
    )
    C_R = max(path[m - 1] * m**alpha for m in range(1, n + 1))
    C_A = max(fourth[m] * m**alpha for m in range(1, n))
    root = r0 / (c * n) + 3 * math.sqrt(C_R) * n ** (alpha / 2 - 1) / c + math.sqrt(w2 * noise / n)
    return last, (root + M / 2 * (r0**2 / n + C_A * n**-alpha / (1 - alpha))) ** 2


WEIGHTS = ([0.25] * 4, [1 / 16] * 16, [0.5, 0.3, 0.2])
# The last two lengths make a round of all steps; the largest steps are beyond 1 / (2 lipschitz).
STEPS = (fl.Constant(0.05), fl.Constant(0.4), fl.Constant(0.8), fl.PolynomialDecay(0.4, 0.5),
         fl.PolynomialDecay(0.9, 0.75))  # fmt: skip
PERIODS = (1, 2, 7, 40, 120)


def assert_equals(found, expected):
    assert found.last.value == pytest.approx(expected[0], rel=1e-10)
    assert found.average.value == pytest.approx(expected[1], rel=1e-10)


@pytest.mark.parametrize("noise4", [0.3, 3.0])  # noise^2 / noise4 decides which of its two forms a gain has
@pytest.mark.parametrize("third", [0.01, 0.1, 1.0])
def test_additive_bounds_are_the_formulas_term_by_term(third, noise4):
    mu, L, noise, r0, n = 0.1, 1.0, 0.5, 0.7, 120
    for step_size, period, weights in itertools.product(STEPS, PERIODS, WEIGHTS):
        eta = etas(step_size, n).tolist()
        lengths = [min(period, n - at) for at in range(0, n, period)]
        options = {
            "mu": mu, "lipschitz": L, "noise": noise, "distance": r0, "third": third, "noise4": noise4,
            "n_workers": len(weights), "weights": weights,
        }  # fmt: skip
        found = theory.bounds(step_size, n, schedule=fl.FixedPeriod(period), **options)
        assert_equals(found, twin_bounds(eta, lengths, mu, L, noise, r0, third, noise4, weights))
        closed = theory.closed_bounds(step_size, n, period=period, **options)
        if isinstance(step_size, fl.Constant):
            expected = twin_closed(eta, period, mu, L, noise, r0, third, noise4, weights)
        else:
            expected = twin_closed_decaying(
                eta, step_size.c, step_size.alpha, period, mu, L, noise, r0, third, noise4, weights
            )
        assert_equals(closed, expected)


@pytest.mark.parametrize("quadratic", [False, True])
def test_multiplicative_bounds_are_the_formulas_term_by_term(quadratic):
    mu, L, a, b, r0, n = 0.1, 1.0, 2.2, 0.5, 0.7, 120
    for step_size, period, weights in itertools.product(STEPS, PERIODS, WEIGHTS):
        lengths = [min(period, n - at) for at in range(0, n, period)]
        found = theory.bounds_multiplicative(
            step_size, n, mu=mu, lipschitz=L, a=a, b=b, distance=r0, schedule=fl.FixedPeriod(period),
            n_workers=len(weights), weights=weights, quadratic=quadratic,
        )  # fmt: skip
        w2 = sum(w**2 for w in weights)
        eta = etas(step_size, n).tolist()
        assert_equals(found, twin_multiplicative(eta, lengths, mu, L, a, b, r0, w2, quadratic))


@pytest.mark.parametrize(
    ("step_size", "start", "few", "many"),
    [(fl.Constant(0.05), -0.5, 15, 15), (fl.Constant(0.05), COIN.w_star, 2.5, 8),
     (fl.Constant(0.2), -0.5, 130, 6500), (fl.Constant(0.2), COIN.w_star, 10, 150),
     (fl.Constant(1.0), COIN.w_star, 65, 400), (fl.PolynomialDecay(2.0, 0.5), COIN.w_star, 85, 1700)],
)  # fmt: skip
def test_the_last_iterate_of_the_coin_stays_below(step_size, start, few, many):
    """By factors below `few`, and below `many` for 10^6 workers that never average.

    They have no variance left: what remains is the bias that the third derivative gives, which a bound without it
    would be below.
    """
    n = 120
    eta, distance, never = etas(step_size, n), abs(COIN.w_star - start), np.zeros(n, bool)
    mean, square = oracle.last(COIN, eta, never, 1, start)
    cases = [(P, n, square / P + (1 - 1 / P) * mean**2) for P in (1, 2, 16, 10**6)]
    for P in (2, 16):
        labels = oracle.binomial(COIN, P)
        cases.append((P, 1, oracle.last(COIN, eta, never, 1, start, outcomes=labels)[1]))
    for period in (10, 50):
        ends = oracle.ends_of(theory.round_lengths(period, 2, eta), n)
        cases.append((2, period, oracle.last(COIN, eta, ends, 2, start, n=24)[1]))
    for n_workers, period, exact in cases:
        options = {"distance": distance, "n_workers": n_workers, **COIN_CONSTANTS}
        found = theory.bounds(step_size, n, schedule=fl.FixedPeriod(period), **options)
        assert exact <= found.last.value < (few if n_workers <= 16 else many) * exact
        closed = theory.closed_bounds(step_size, n, period=period, **options)
        assert found.last.value <= closed.last.value * (1 + 1e-9)
