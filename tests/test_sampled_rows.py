"""The rows that stand for all in predictions: a few large ones decide, however few are drawn."""

import math

import numpy as np
import pytest
import scipy.sparse as sp

import fastlsgd as fl
from fastlsgd import theory
from fastlsgd.theory import eigenbasis
from fastlsgd.theory.representatives import inclusion, representatives
from fastlsgd.theory.rows import sizes

N, SAMPLE = 4000, 200


def with_a_rare_feature(large=5.0, as_rows=np.asarray, **options):
    """A feature that 20 rows hold, ten of them among the first that seed 0 draws."""
    rng = np.random.default_rng(1)
    X = np.zeros((N, 4))
    X[:, :3] = rng.standard_normal((N, 3))
    drawn = np.random.default_rng(0).choice(N, SAMPLE, replace=False)
    X[np.append(drawn[:10], np.setdiff1d(np.arange(N), drawn)[:10]), 3] = large
    y = np.where(X @ [1.0, 0.5, -1.0, 0.2 / large] + rng.logistic(size=N) > 0, 1.0, -1.0)
    return fl.Problem(as_rows(X), y, loss="logistic", l2=1e-4, **options)


@pytest.mark.parametrize("as_rows", [np.asarray, sp.csr_array])
def test_a_small_sample_has_the_stability_limit_of_all_rows(as_rows):
    problem = with_a_rare_feature(as_rows=as_rows)
    sampled, whole = (theory.data_stability_limit(theory.Expansion(problem, n)) for n in (SAMPLE, N))
    assert sampled == pytest.approx(whole, rel=0.05)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_the_limit_of_a_problem_is_that_of_all_its_rows(batch_size, monkeypatch):
    monkeypatch.setattr(
        eigenbasis, "LIMIT_ROWS", SAMPLE
    )  # else there would be nothing that it begins with a sample of
    problem = with_a_rare_feature(20.0)
    of_all = theory.data_stability_limit(theory.Expansion(problem, N), batch_size)
    assert theory.data_stability_limit(problem, batch_size) == pytest.approx(of_all, rel=2e-3)


def test_the_limit_of_an_expansion_is_of_the_rows_as_drawn():
    """Moved ones have the Hessian of all rows; their limits are 1.00 to 1.37 of it where these have 0.86 to 1.04."""
    problem = with_a_rare_feature(20.0)
    around = theory.Expansion(problem, 50)
    limit = theory.data_stability_limit(around)
    around.rows = np.full_like(around.rows, np.nan)
    assert theory.data_stability_limit(around) == limit


@pytest.mark.parametrize("sampling", ["replacement", "reshuffle"])
@pytest.mark.parametrize("period", [16, 1000])
@pytest.mark.parametrize("large", [1.0, 5.0])
def test_predictions_from_a_small_sample_are_those_from_all_rows(large, period, sampling):
    """Each of these was 1.5 to 4,000 times the other or refused as unstable when all rows were drawn alike."""
    problem = with_a_rare_feature(large)
    whole = theory.Expansion(problem)
    step = fl.Constant(0.5 * theory.data_stability_limit(whole))
    found, expected = (
        theory.predict(around, fl.FixedPeriod(period), step, 4, 1000, sampling=sampling).excess
        for around in (theory.Expansion(problem, SAMPLE), whole)
    )
    assert found == pytest.approx(expected, rel=0.2)


def heavy(**options):
    rng = np.random.default_rng(2)
    X = rng.standard_normal((N, 3)) * np.exp(rng.standard_normal((N, 1)))
    return fl.Problem(
        X, np.sign(X.sum(axis=1)), sample_weight=rng.uniform(0.5, 2.0, N), fit_intercept=True, **options
    )


def test_means_over_the_sample_are_those_over_all_rows():
    problem = heavy(loss="squared")
    np.testing.assert_allclose(sizes(problem), problem.sample_weight * (problem.X**2).sum(axis=1))
    whole = theory.Expansion(problem)
    chosen, counts = representatives(problem, whole.eigenvalues, whole.directions, 400)
    assert (np.diff(chosen) > 0).all() and len(chosen) == 400
    assert counts.mean() == pytest.approx(1.0, rel=0.02) and counts.max() <= 3.0
    fourth = sizes(problem) ** 2
    assert (counts * fourth[chosen]).mean() == pytest.approx(fourth.mean(), rel=0.02)
    assert fourth[np.random.default_rng(0).choice(N, 400, replace=False)].mean() != pytest.approx(
        fourth.mean(), rel=0.1
    )


def test_rows_are_drawn_as_often_as_they_count():
    problem = heavy(loss="squared")
    whole = theory.Expansion(problem)
    probability = inclusion(problem, whole.eigenvalues, whole.directions, 400)
    assert probability.sum() == pytest.approx(400) and 400 / (3 * N) <= probability.min() and probability.max() == 1.0
    chosen, counts = representatives(problem, whole.eigenvalues, whole.directions, 400)
    np.testing.assert_allclose(counts * probability[chosen], 400 / N)
    assert np.isin(np.flatnonzero(probability == 1.0), chosen).all()
    # Of the rows in the order of their probability the sample has in any stretch what that adds up to, to a row.
    order = np.argsort(probability, kind="stable")
    drawn = np.isin(order, chosen).cumsum()
    assert np.abs(drawn - np.cumsum(probability[order])).max() < 1.5


@pytest.mark.parametrize("large", [1.0, 5.0])
def test_the_sample_has_the_hessian_of_all_rows_at_the_optimum(large):
    problem = with_a_rare_feature(large)
    around = theory.Expansion(problem, SAMPLE)
    found = around._mean_of_rows(around._curvature) + around.penalty
    np.testing.assert_allclose(found, np.diag(around.eigenvalues), atol=1e-9 * around.eigenvalues[-1])
    # So the mean gradient bends from where all rows have it to bend.
    small = 1e-6 * np.eye(len(around.eigenvalues))
    bent = np.array([around.gradient(delta) for delta in small]) / 1e-6
    np.testing.assert_allclose(bent, found, rtol=1e-4, atol=1e-4 * around.eigenvalues[-1])


def test_a_direction_that_the_sample_lacks_is_left_as_it_is():
    """Ten rows cannot have the Hessian of 4,000 in the direction of a feature that hardly any of them holds."""
    X = np.random.default_rng(3).standard_normal((N, 12))
    problem = fl.Problem(X, np.sign(X[:, 0]), loss="logistic", l2=1e-2)
    around = theory.Expansion(problem, 10)
    assert np.isfinite(around.rows).all()
    assert (np.linalg.norm(around.rows, axis=1) < 2.0 * np.linalg.norm(X, axis=1).max()).all()


def test_the_hessian_seen_is_never_below_the_penalty():
    problem = with_a_rare_feature(20.0)
    around = theory.Expansion(problem, 50)  # few: they lose more along a feature than all rows have
    around._stand_for = np.where(np.abs(around.rows).max(axis=1) > 10.0, 20.0, 1.0)
    spread = np.eye(4)
    variance, none = around.row_variance(spread)[None], np.zeros((1, 50))
    for hessian in (around.hessian(np.zeros(4), variance), around.averaged(np.zeros(4), variance, none)[1]):
        assert np.linalg.eigvalsh(hessian - around.penalty)[0] >= -1e-12


def test_workers_who_see_no_curvature_are_not_told_of_a_limit(monkeypatch):
    """Without l2, and where all rows are beyond doubt, there is nowhere to settle, whatever the step."""
    problem = with_a_rare_feature(1.0)
    problem = fl.Problem(problem.X, problem.y, loss="logistic")
    around = theory.Expansion(problem)
    monkeypatch.setattr(type(around), "_with_curvature", lambda self, curvature: np.diag([0.0, 0.1, 0.1, 0.1]))
    with pytest.raises(ValueError, match="see no curvature along some direction"):
        theory.settle(around, 0.1, math.inf, 0.25)
