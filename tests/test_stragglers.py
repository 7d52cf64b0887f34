"""Slowest of many: exact for any number of workers, also where 1 - F is below the rounding of F."""

import math

import numpy as np
import pytest
from scipy import integrate, special

from fastlsgd import theory


@pytest.mark.parametrize("n_workers", [2, 16, 10**6, 10**12, 10**18])
def test_the_largest_of_many_normals(n_workers):
    """P (1 - Phi(max)) is nearly exponential: Phi(max) = exp(-t / P) with t exponential, exactly."""
    by_quantiles = integrate.quad(
        lambda t: -special.ndtri(-np.expm1(-t / n_workers)) * np.exp(-t), 0, 60, limit=500, epsabs=1e-13, epsrel=1e-12
    )[0]
    assert theory.expected_max_normal(n_workers) == pytest.approx(by_quantiles, rel=1e-11)


def test_the_largest_of_two_and_of_a_million_million_normals():
    assert theory.expected_max_normal(2) == pytest.approx(1 / math.sqrt(math.pi), rel=1e-14)
    # The integral of 1 - Phi^P in arithmetic of 40 digits (mpmath).
    assert theory.expected_max_normal(10**12) == pytest.approx(7.1124636847674706, rel=1e-12)


@pytest.mark.parametrize("n_workers", [1, 16, 10**6, 10**12, 10**15])
def test_the_slowest_of_exponential_steps_is_a_harmonic_number(n_workers):
    harmonic = special.digamma(n_workers + 1.0) + np.euler_gamma
    assert theory.exponential_round_time(1, n_workers, 1.0) == pytest.approx(harmonic, rel=1e-12)
