"""Which steps tuning may try, held against the second moment of local SGD itself."""

import math

import numpy as np
import pytest

import fastlsgd as fl
from fastlsgd import theory
from fastlsgd.experiments import compare
from fastlsgd.experiments.lab import methods_of
from fastlsgd.experiments.stability import stable_steps
from fastlsgd.theory.period_limit import least_squares_limit, limit_from_constants, limits_of

N_WORKERS = 8


def large_rows(n=1000, d=3, **options):
    """Rows of which a few are large: two runs look well at steps where the mean of many is infinite."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d))
    X[:6] *= 25
    return fl.Problem(X, X @ np.linspace(-1, 2, d) + rng.standard_normal(n), l2=1e-3, **options)


def normal_rows(n=1000, d=3):
    """Rows of which none is large: the mean has its say in the limit too."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d))
    return fl.Problem(X, X @ np.linspace(-1, 2, d) + rng.standard_normal(n), l2=1e-3)


def growth(problem, eta, period, n_workers):
    """Spectral radius, a step, of what a round does to E w_i w_i' and E w_i w_j'; one worker's at infinity."""
    d, one = problem.n_params, np.eye(problem.n_params)
    terms = problem.X[:, :, None] * problem.X[:, None, :] + problem.l2 * one
    steps = one - eta * terms
    alone = np.einsum("nij,nkl->ikjl", steps, steps).reshape(d * d, d * d) / len(steps)
    mean = steps.mean(axis=0)
    if period == math.inf:
        return np.abs(np.linalg.eigvals(alone)).max()
    alone, together = (np.linalg.matrix_power(m, period) for m in (alone, np.kron(mean, mean)))
    whole = alone / n_workers + (1 - 1 / n_workers) * together
    return np.abs(np.linalg.eigvals(whole)).max() ** (1 / period) if np.isfinite(whole).all() else math.inf


def limit(problem, period, n_workers):
    low, high = 0.0, 2.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if growth(problem, middle, period, n_workers) < 1 else (low, middle)
    return low


@pytest.mark.filterwarnings("ignore:.*encountered in matmul")
@pytest.mark.parametrize("period", [1, 4, 16, 64, 256, math.inf])
@pytest.mark.parametrize("rows", [large_rows, normal_rows])
def test_the_limit_is_where_the_second_moment_of_a_round_grows_or_a_little_below(rows, period):
    problem = rows()
    true, constants = limit(problem, period, N_WORKERS), theory.estimate(problem)
    found = (
        least_squares_limit(theory.Expansion(problem), period, N_WORKERS),
        limits_of(problem, constants)(period, N_WORKERS, 1),
        limit_from_constants(constants, period, N_WORKERS),
    )
    # Exact at both ends; between them below it.
    least = {1: 0.99, 4: 0.93, math.inf: 0.999}.get(period, 0.84)
    if rows is normal_rows:
        least = {1: 0.97, 4: 0.82, math.inf: 0.999}.get(period, 0.92)
    assert all(least * true < one < 1.001 * true for one in found)


def test_rows_all_alike_have_the_limit_of_the_mean():
    problem = fl.Problem(np.ones((50, 1)), np.ones(50))
    assert least_squares_limit(theory.Expansion(problem), math.inf, 8) == 2.0
    assert limit_from_constants(theory.estimate(problem), 16, 8) == pytest.approx(2.0)


def test_a_sample_without_the_large_rows_does_not_raise_the_limit(monkeypatch):
    monkeypatch.setattr("fastlsgd.theory.period_limit.LIMIT_ROWS", 20)
    problem = large_rows()
    found = limits_of(problem, theory.estimate(problem))
    assert found(math.inf, 1, 1) == pytest.approx(limit(problem, math.inf, 1), rel=1e-2)
    assert found(16, N_WORKERS, 1) < limit(problem, 16, N_WORKERS)


def test_beyond_few_parameters_the_bound_from_constants_is_taken(monkeypatch):
    monkeypatch.setattr("fastlsgd.theory.period_limit.FEW_PARAMS", 2)
    problem = large_rows()
    constants = theory.estimate(problem)
    assert limits_of(problem, constants)(16, 8, 4) == limit_from_constants(constants, 16, 8, 4)


def test_tuning_on_least_squares_stops_at_the_limit_of_stability():
    found = compare(large_rows(), n_workers=N_WORKERS, replicates=2)
    tried = {name: max(eta for eta, _ in scores) for name, scores in found.facts["tuning"].items()}
    for name, period in (("mini-batch averaging", 1), ("period 16", 16), ("one-shot", math.inf)):
        assert tried[name] <= limit(large_rows(), period, N_WORKERS) < 2.5 * tried[name]
    assert 2 * tried["one-shot, Richardson"] <= limit(large_rows(), math.inf, N_WORKERS)
    assert tried["one worker"] <= limit(large_rows(), math.inf, 1)


def test_each_length_of_a_round_has_its_own_limit():
    problem, step = large_rows(), fl.Constant(1e-4)
    constants = theory.estimate(problem)
    schedules = [
        fl.FixedPeriod(10),
        fl.Periods([1, 1, 1, 400]),
        fl.GrowingPeriod(1),
        fl.FixedPeriod(500),
        fl.OneShot(),
    ]
    methods = methods_of([*schedules, fl.RiskPeriod(0.1)], constants, step, N_WORKERS, 500)
    is_stable = stable_steps(problem, constants, step)
    asked = [m for m in methods if m.kind == "schedule"]
    assert len(asked) == 7
    highest = [max(x for x in np.arange(1.0, 100.0) if is_stable(m, x)) * 1e-4 for m in asked]
    mini_batch, ten, late, growing, *once = highest
    for found, period in zip(highest, (1, 10, 512, 32, math.inf, math.inf, math.inf), strict=True):
        true = limit(problem, period, N_WORKERS)
        assert 0.86 * true - 1e-4 < found < true
    assert mini_batch > ten > growing > late and len(set(once)) == 1
    # A step that has decayed when rounds get long is held against each.
    decaying = stable_steps(problem, constants, fl.PolynomialDecay(1e-4, alpha=0.5))
    assert decaying(asked[2], 1.1 * late / 1e-4) and not is_stable(asked[2], 1.1 * late / 1e-4)


def test_other_losses_have_no_limit_but_that_of_the_penalty():
    problem = fl.Problem(np.eye(3), np.array([1.0, -1.0, 1.0]), loss="logistic", l2=0.1)
    assert stable_steps(problem, theory.estimate(problem), fl.Constant(1.0)) is None
