"""Rows of docs/predictions.md, by their numbers. Rows 11 - 17, 21, 25: test_theory_rows_coin.py."""

import itertools

import numpy as np
import pytest

import fastlsgd as fl
from fastlsgd import theory
from fastlsgd.experiments import replicates

# ---- rows 1 - 10, 18, 22 - 24: the exact moments ----

SPECTRUM, DELTA0, COVARIANCE = [1.0, 0.5, 0.2, 0.05], [1.0, -1.0, 0.5, 2.0], [0.5, 0.3, 0.2, 0.1]
N = 120
CONSTANT, ROOT = np.full(N, 0.15), 0.2 * np.arange(1, N + 1) ** -0.5
SCHEDULES = {"MBA": 1, "OSA": N, "F7": 7, "G2": fl.GrowingPeriod(2)}


def least_squares(spectrum, delta0, periods, etas, n_workers, variance=1.0, **options):
    return theory.exact_moments(
        spectrum, delta0, periods, etas, n_workers, noise="gaussian", target_variance=variance, **options
    )


@pytest.mark.parametrize("periods", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize(
    ("etas", "expected"),
    [
        pytest.param(CONSTANT, (0.729199829905, 0.011638961955, 0.050453474097), id="row1"),
        pytest.param(ROOT, (2.728716874471, 0.047876009824, 0.115667138965), id="row2"),
    ],
)
def test_rows_1_and_2_additive_noise(periods, etas, expected):
    found = theory.exact_moments(SPECTRUM, DELTA0, periods, etas, 4, noise_cov=COVARIANCE)
    assert [found.e1, found.e2, found.e3] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "e1", "e2", "e2_root"),
    [
        ("MBA", 0.681495048325, 0.011344270103, 0.049754281343),
        ("OSA", 0.685443855537, 0.011611335637, 0.050065327376),
        ("F7", 0.682980098975, 0.011462643823, 0.049918678116),
        ("G2", 0.683971142058, 0.011480666415, 0.049825506425),
    ],
)
def test_rows_4_and_5_least_squares(name, e1, e2, e2_root):
    found = least_squares(SPECTRUM, DELTA0, SCHEDULES[name], CONSTANT, 4, 0.25)
    assert [found.e1, found.e2] == pytest.approx([e1, e2], rel=1e-9)
    assert least_squares(SPECTRUM, DELTA0, SCHEDULES[name], ROOT, 4, 0.25).e2 == pytest.approx(e2_root, rel=1e-9)


HARMONIC = 1.0 / np.arange(1, 11)


@pytest.mark.parametrize(("period", "e2"), [(1, 1.5007e-3), (10, 1.6323e-3), (200, 1.8251e-3)])
def test_row_6_least_squares_in_ten_dimensions(period, e2):
    etas = np.full(200, 0.5 / HARMONIC.sum())
    assert least_squares(HARMONIC, 0.3, period, etas, 16).e2 == pytest.approx(e2, rel=1e-4)


@pytest.mark.parametrize("period", [1, 10, 200])
def test_row_6_simulated(period):
    """By the kernels, within three standard errors of the exact value (the table's runs had 0.9%)."""
    problem = fl.Problem(fl.GaussianStream(10, "1/k", noise=1.0, w_star=np.zeros(10)))
    eta = 0.5 / HARMONIC.sum()
    runs = replicates(
        problem, n_replicates=4000, n_workers=16, n_steps=200, schedule=fl.FixedPeriod(period),
        step_size=fl.Constant(eta), w0=np.full(10, 0.3),
    )  # fmt: skip
    e2 = ((HARMONIC * runs.w_bar[:, 0]) ** 2).sum(axis=1)
    exact = least_squares(HARMONIC, 0.3, period, np.full(200, eta), 16).e2
    assert abs(e2.mean() - exact) < 3 * e2.std() / np.sqrt(len(e2))


@pytest.mark.parametrize(("share", "ratio"), [(0.01, 1.00546), (0.1, 1.05936), (0.25, 1.16737), (0.5, 1.42511)])
def test_row_7_one_shot_is_mini_batch_averaging_to_first_order(share, ratio):
    etas = np.full(20_000, share / HARMONIC.sum())
    often, once = (least_squares(HARMONIC, 0.0, period, etas, 16).e2 for period in (1, 20_000))
    assert once / often == pytest.approx(ratio, rel=1e-5)


@pytest.mark.parametrize(
    ("alpha", "e1", "e2"),
    [(0.5, -0.503, -1.003), (0.6, -0.605, -1.007), (0.75, -0.766, -1.023), (0.9, -0.955, -1.068)],
)
def test_row_8_slopes_in_the_number_of_steps(alpha, e1, e2):
    etas = np.arange(1, 32_001.0) ** -alpha
    found = theory.exact_moments([1.0, 0.5], 0.0, 1, etas, 4, noise_cov=1.0, record=[8_000, 32_000])
    slopes = [np.log(values[1] / values[0]) / np.log(4.0) for values in (found.e1, found.e2)]
    assert slopes == pytest.approx([e1, e2], abs=1e-3)


def test_row_9_the_bias_falls_with_the_square_of_n():
    found = theory.exact_moments(SPECTRUM, DELTA0, 1, np.full(32_000, 0.2), 4, noise_cov=0.0, record=[8_000, 32_000])
    assert np.log(found.e2[1] / found.e2[0]) / np.log(4.0) == pytest.approx(-2.0, abs=0.01)


def test_row_10_slopes_in_the_number_of_workers():
    etas = np.full(4_000, 0.1)
    often, once = (
        np.log([least_squares(SPECTRUM, 0.0, period, etas, P).e2 for P in (4, 16, 64)]) for period in (1, 4_000)
    )
    assert np.diff(often) / np.log(4.0) == pytest.approx([-1.018, -1.004], abs=1e-3)
    assert np.diff(once) / np.log(4.0) == pytest.approx([-1.0, -1.0], abs=1e-3)


# Rows 18 and 22: d = 20, lambda = 1/i, P = 16, n = 8000, eta = 1 / (4 tr H).
TWENTY = 1.0 / np.arange(1, 21)
QUARTER = np.full(8_000, 0.25 / TWENTY.sum())


def of_setting_18(periods):
    return least_squares(TWENTY, 1.0 / np.sqrt(20.0), periods, QUARTER, 16).e2


def test_row_18_the_adaptive_period_on_least_squares():
    base = of_setting_18(1)
    assert base == pytest.approx(3.11218457e-5, rel=1e-8)
    for mu, rounds, percent in [(0.05, 471, 4.247), (TWENTY.sum() / 20.0, 1600, 1.447)]:
        schedule = fl.AdaptivePeriod(mu)
        assert len(theory.round_lengths(schedule, 16, QUARTER)) == rounds
        assert 100 * (of_setting_18(schedule) / base - 1) == pytest.approx(percent, abs=1e-3)
    assert 100 * (of_setting_18(8_000) / base - 1) == pytest.approx(13.997, abs=1e-3)


def test_row_22_what_the_period_costs():
    ratios = [of_setting_18(period) / of_setting_18(1) for period in (2, 4, 8, 16, 32, 128, 1024)]
    assert ratios == pytest.approx([1.0040, 1.0112, 1.0232, 1.0407, 1.0618, 1.1030, 1.1347], abs=1e-4)
    assert all(a < b for a, b in itertools.pairwise(ratios))


def test_row_23_weights():
    found = theory.exact_moments(
        SPECTRUM, 0.0, 1, np.full(2_000, 0.2), 4, noise_cov=COVARIANCE, weights=[0.4, 0.3, 0.2, 0.1]
    )
    assert 2_000 * found.e2 / sum(COVARIANCE) == pytest.approx(0.295997, rel=1e-5)


def test_row_24_where_the_second_moment_diverges():
    limits = [theory.stability_limit(spectrum) for spectrum in (1.0, np.ones(10), HARMONIC)]
    assert limits == pytest.approx([0.66667, 0.16667, 0.47952], abs=5e-6)

    def worker(share, n):
        return least_squares(HARMONIC, 0.1, n, np.full(n, share * limits[2]), 1).e1

    assert worker(0.95, 20_000) == pytest.approx(36.64, rel=1e-3)
    assert [worker(1.05, n) for n in (800, 1600)] == pytest.approx([1.9e9, 9e16], rel=0.05)


# ---- row 3: the kernels ----


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-4)])
def test_row_3_additive_noise_makes_all_schedules_agree_pathwise(dtype, tolerance):
    rng = np.random.default_rng(0)
    y = rng.standard_normal(1000).astype(dtype)
    problem = fl.Problem(np.ones((1000, 1), dtype), y)
    options = {
        "n_workers": 8, "n_steps": 500, "step_size": fl.PolynomialDecay(0.5, 0.5), "sampling": "replacement",
        "w0": [1.0],
    }  # fmt: skip
    schedules = (fl.MiniBatch(), fl.OneShot(), fl.GrowingPeriod(3), fl.FixedPeriod(7))
    runs = [fl.local_sgd(problem, schedule=schedule, **options) for schedule in schedules]
    for run in runs[1:]:
        assert abs(run.w - runs[0].w).max() <= tolerance * abs(runs[0].w).max()
        assert abs(run.w_bar - runs[0].w_bar).max() <= tolerance * abs(runs[0].w_bar).max()
