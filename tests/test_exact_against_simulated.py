"""Law 12 on streams: exact moments agree with the kernels' Monte-Carlo, each |z| < 4, together the normal law."""

import itertools

import numpy as np
import pytest
from scipy import stats

import fastlsgd as fl
from fastlsgd.experiments import replicates
from fastlsgd.theory import exact_moments

SPECTRUM, W_STAR = np.array([1.0, 0.5, 0.2, 0.05]), np.array([1.0, -1.0, 0.5, 2.0])
COVARIANCE = np.array([[0.5, 0.1, 0.0, 0.0], [0.1, 0.3, 0.05, 0.0], [0.0, 0.05, 0.2, 0.0], [0.0, 0.0, 0.0, 0.1]])
NOISES = {
    "additive": (
        fl.QuadraticStream(SPECTRUM, COVARIANCE, w_star=W_STAR, dtype="float64"), {"noise_cov": COVARIANCE},
    ),
    **{
        f"kurtosis {kurtosis:g}": (
            fl.GaussianStream(4, SPECTRUM, noise=0.5, w_star=W_STAR, kurtosis=kurtosis, dtype="float64"),
            {"noise": "gaussian", "target_variance": 0.25, "kurtosis": kurtosis},
        )
        for kurtosis in (3.0, 1.0)
    },
}  # fmt: skip
SCHEDULES = [fl.MiniBatch(), fl.OneShot(), fl.FixedPeriod(7), fl.GrowingPeriod(2), fl.AdaptivePeriod(0.5)]
STEPS = [fl.Constant(0.15), fl.PolynomialDecay(0.4, 0.5), fl.PolynomialDecay(0.5, 0.75)]
CASES = list(
    itertools.product(
        NOISES, SCHEDULES, STEPS, [(1, None), (3, None), (1, (0.4, 0.3, 0.2, 0.1))], ["polyak", "tail:0.5"]
    )
)


def z_scores(case, index, n_replicates, n_steps=90, n_workers=4):
    """z of E1, E2, E3 and (equal weights) one worker's moment, on seeds of the case's own."""
    noise, schedule, step, (batch_size, weights), average = case
    stream, exact_options = NOISES[noise]
    many = replicates(
        fl.Problem(stream), n_replicates=n_replicates, n_workers=n_workers, n_steps=n_steps, schedule=schedule,
        step_size=step, batch_size=batch_size, weights=weights, average=average, seed=index * n_replicates,
    )  # fmt: skip
    exact = exact_moments(
        SPECTRUM, -W_STAR, schedule, step(np.arange(1, n_steps + 1)), n_workers, batch_size=batch_size,
        weights=weights, tail=n_steps // 2 if average == "tail:0.5" else 0, **exact_options,
    )  # fmt: skip
    last, averaged = many.w[:, 0] - W_STAR, many.w_bar[:, 0] - W_STAR
    found = {
        "e1": ((last**2).sum(1), exact.e1),
        "e2": (((SPECTRUM * averaged) ** 2).sum(1), exact.e2),
        "e3": (0.5 * (averaged**2) @ SPECTRUM, exact.e3),
    }
    if weights is None:
        found["worker"] = (many.consensus[:, 0] + (last**2).sum(1), exact.worker)
    return {
        name: (values.mean() - expected) / (values.std(ddof=1) / np.sqrt(n_replicates))
        for name, (values, expected) in found.items()
    }


@pytest.fixture(scope="module")
def scores():
    return [z_scores(case, index, 2000) for index, case in enumerate(CASES)]


@pytest.mark.parametrize("index", range(len(CASES)), ids=lambda i: "-".join(map(str, CASES[i])))
def test_exact_moments_agree_with_simulated_ones(scores, index):
    assert all(abs(z) < 4 for z in scores[index].values()), scores[index]


@pytest.mark.parametrize("moment", ["e1", "e2", "worker"])
def test_the_scores_are_normal(scores, moment):
    together = [found[moment] for found in scores if moment in found]
    assert stats.kstest(together, "norm").pvalue > 1e-3


@pytest.mark.long
def test_exact_moments_agree_with_many_more():
    """Twenty times the replicates, so a fifth of the deviation that the short form would see."""
    found = [z for index, case in enumerate(CASES) for z in z_scores(case, index, 40_000).values()]
    assert np.abs(found).max() < 4.5
