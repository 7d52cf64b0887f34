"""Rows of docs/predictions.md that the kernels alone can answer.

Rows 19 and 20 stand in test_schedules.py.
"""

import numpy as np
import pytest

import fastlsgd as fl

# The one-dimensional logistic problem of docs/predictions.md: pi = 0.8, ridge 0.05.
PI, RIDGE = 0.8, 0.05
THETA_STAR, HESSIAN = 1.0779360342, 0.2394332158


def coin():
    """Five rows of the one feature 1, four of them with label +1: with replacement, Bernoulli(0.8) labels."""
    labels = np.array([1.0, 1.0, 1.0, 1.0, -1.0])
    return fl.Problem(np.ones((5, 1)), labels, loss="logistic", l2=RIDGE)


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


def test_the_coin_problem_is_the_one_of_the_theory():
    problem = coin()
    assert problem.optimum()[0] == pytest.approx(THETA_STAR, abs=1e-9)
    assert problem.hessian(problem.optimum())[0, 0] == pytest.approx(HESSIAN, abs=1e-9)


@pytest.mark.parametrize(("eta", "bias"), [(1.0, 0.06505567), (0.5, 0.03261369), (0.25, 0.01629547)])
def test_row_11_the_stationary_bias_of_one_shot_averaging(eta, bias):
    """The mean of P workers is P independent draws from the stationary law of one."""
    n_workers, n_steps = 2000, int(60 / eta)
    errors = []
    for seed in range(60):
        result = fl.local_sgd(
            coin(), n_workers=n_workers, n_steps=n_steps, schedule=fl.OneShot(), sampling="replacement",
            step_size=fl.Constant(eta), w0=[THETA_STAR], seed=seed, record=0, average=None,
        )  # fmt: skip
        errors.append(result.w[0] - THETA_STAR)
    standard_error = np.std(errors, ddof=1) / np.sqrt(len(errors))
    assert standard_error < 0.1 * bias
    assert abs(np.mean(errors) - bias) < 4 * standard_error


@pytest.mark.parametrize(
    ("schedule", "exact"), [(fl.MiniBatch(), 5.23964157e-6), (fl.OneShot(), 6.52808664e-5)], ids=["MBA", "OSA"]
)
def test_row_12_one_shot_against_mini_batch_averaging_at_a_constant_step(schedule, exact):
    """E |H (w_bar - theta*)|^2 at P = 16, n = 2000, eta = 0.5 from the optimum."""
    squares = []
    for seed in range(400):
        result = fl.local_sgd(
            coin(), n_workers=16, n_steps=2000, schedule=schedule, sampling="replacement",
            step_size=fl.Constant(0.5), w0=[THETA_STAR], seed=seed, record=0, n_threads=1,
        )  # fmt: skip
        squares.append((HESSIAN * (result.w_bar[0] - THETA_STAR)) ** 2)
    standard_error = np.std(squares, ddof=1) / np.sqrt(len(squares))
    assert standard_error < 0.1 * exact
    assert abs(np.mean(squares) - exact) < 4 * standard_error
