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
     ({"weights": [0.5, 0.25, 0.25]}, "weights must be 2 numbers")],
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
