"""The rows that stand for all in predictions: a few large ones decide, however few are drawn."""

import math

import numpy as np
import pytest
import scipy.sparse as sp

import fastlsgd as fl
from fastlsgd import theory
from fastlsgd.theory import expansion
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


def test_means_over_the_sample_are_those_over_all_rows():
    rng = np.random.default_rng(2)
    X = rng.standard_normal((N, 3)) * np.exp(rng.standard_normal((N, 1)))
    weights = rng.uniform(0.5, 2.0, N)
    problem = fl.Problem(X, X.sum(axis=1), sample_weight=weights, fit_intercept=True)
    np.testing.assert_allclose(sizes(problem), weights * (X**2).sum(axis=1))
    chosen, counts = expansion._representatives(problem, 400)
    assert (np.diff(chosen) > 0).all() and len(chosen) == 400
    assert counts.mean() == pytest.approx(1.0)
    largest = np.argsort(-sizes(problem))[:100]
    assert np.isin(largest, chosen).all() and (counts[np.isin(chosen, largest)] == 400 / N).all()
    fourth = sizes(problem) ** 2
    assert (counts * fourth[chosen]).mean() == pytest.approx(fourth.mean(), rel=0.02)
    assert fourth[np.random.default_rng(0).choice(N, 400, replace=False)].mean() != pytest.approx(
        fourth.mean(), rel=0.1
    )


def test_the_hessian_seen_is_never_below_the_penalty(monkeypatch):
    monkeypatch.setattr(expansion, "LARGEST", 0.0)
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
