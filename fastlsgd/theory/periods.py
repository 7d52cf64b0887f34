"""How rarely may one average: the adaptive period, what it saves, and what one-shot averaging costs.

The period c / (mu P eta) is our reading of Dieuleveut and Patel (NeurIPS 2019), whose abstract alone was at hand.
With a constant step the drift of P workers within a round of N steps, averaged over its steps, is
(1 - 1/P) eta^2 sigma^2 (N - 1) / 2, the stationary variance of mini-batch averaging eta sigma^2 / (2 mu P): the
first is at most c times the second as long as (N - 1)(P - 1) <= c / (mu eta). Derived for this package, exact for
isotropic quadratics.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from .. import arguments
from ..arguments import number
from ..schedules import Schedule
from ..stepsizes import StepSize
from .adaptive import AdaptivePeriod
from .rounds import round_lengths

Vector = npt.NDArray[np.float64]

# Longest period that an int64 step count allows.
FOREVER = 2**62


def adaptive_period(
    mu: float, n_workers: int, eta: npt.ArrayLike, c: float = 1.0, form: Literal["mu", "sharp"] = "mu"
) -> npt.NDArray[np.int64] | int:
    """Return how many steps a round may last at step size eta: what the schedule ``AdaptivePeriod`` asks for.

    max(1, floor(c / (mu P eta))), or 1 + floor(c / (mu (P - 1) eta)) in the form "sharp"; one worker need never
    average.

    Parameters
    ----------
    mu : float
        Strong convexity. The effective constant mu_eff of ``estimate`` keeps the variance more surely.
    n_workers : int
    eta : number or array
        Step size at the round's first step.
    c : float
        Drift allowed, as a multiple of the variance of mini-batch averaging.
    form : "mu" or "sharp"

    Raises
    ------
    TypeError, ValueError
        No numbers, or not positive and finite.

    Examples
    --------
    >>> adaptive_period(0.1, 4, 0.01), adaptive_period(0.1, 4, [0.1, 0.01], form="sharp")
    (250, array([ 34, 334]))
    """
    steps = arguments.reals("eta", eta)
    if not ((steps > 0) & np.isfinite(steps)).all():
        raise ValueError("eta must be positive and finite")
    n_workers = arguments.whole("n_workers", n_workers)
    periods = AdaptivePeriod(mu, c, form).period(n_workers, steps, FOREVER)
    return periods if periods.ndim else int(periods)


def n_rounds(schedule: Schedule | int, step_size: StepSize, n_workers: int, n_steps: int) -> int:
    """Return the averagings of a whole run, the last one included; the initial broadcast is not one.

    Parameters
    ----------
    schedule : Schedule or int
        Asked as the solver asks it; an int is a fixed period.
    step_size : StepSize
    n_workers, n_steps : int

    Examples
    --------
    >>> import fastlsgd as fl
    >>> n_rounds(fl.AdaptivePeriod(0.1), fl.Constant(0.01), n_workers=4, n_steps=10_000)
    40
    """
    steps = arguments.step_sizes_at(step_size, np.arange(1, arguments.whole("n_steps", n_steps) + 1))
    return len(round_lengths(schedule, arguments.whole("n_workers", n_workers), steps))


def n_rounds_formula(mu: float, n_workers: int, eta: float, alpha: float, n_steps: int, c: float = 1.0) -> float:
    """Return the averagings of the adaptive period by a formula, for real-valued periods and steps eta t^-alpha.

    With K = c / (mu P eta) the round that begins with step s has max(1, K s^alpha) steps; s0 = max(1, K^(-1 / alpha))
    is where that passes 1. Until then s0 - 1 rounds, from there on the integral of

        (1 - alpha) / (s ((1 + K s^(alpha - 1))^(1 - alpha) - 1))

    from s0 to n_steps + 1: over a round the function s^-alpha integrates to 1 with that factor. For alpha = 1 it is
    log((n_steps + 1) / s0) / log(1 + K), for 0 n_steps / K. What a run does (``n_rounds``) rounds periods down, which
    adds some percent, or half where they are below 2; it is right to a round. One worker averages once. (Derived for
    this package, of our reading of Dieuleveut and Patel, 2019.)

    Parameters
    ----------
    mu : float
        Strong convexity.
    n_workers : int
    eta, alpha : float
        Step t is eta t^-alpha, alpha from 0 to 1.
    n_steps : int
    c : float
        As in ``adaptive_period``.

    Raises
    ------
    ValueError
        mu, eta or c not positive, alpha out of its range.

    Examples
    --------
    >>> round(n_rounds_formula(0.1, 8, 1.0, 0.5, 10**6))
    1602
    """
    alpha = number("alpha", alpha, least=0.0, most=1.0)
    n_workers, n_steps = arguments.whole("n_workers", n_workers), arguments.whole("n_steps", n_steps)
    mu, eta, c = number("mu", mu, above=0.0), number("eta", eta, above=0.0), number("c", c, above=0.0)
    if n_workers == 1:
        return 1.0
    K = c / mu / n_workers / eta  # one after the other: a product may leave the range of numbers
    if alpha == 0.0 or K == 0.0 or 1.0 / K >= float(n_steps) ** alpha:  # one length; or that of a step to the end
        return max(1.0, n_steps / max(1.0, K))
    first, last, less = max(0.0, -np.log(K) / alpha), np.log1p(n_steps), 1.0 - alpha
    if alpha == 1.0:
        found = (last - first) / np.log1p(K)
    else:
        from scipy.integrate import quad

        found = quad(lambda v: less / np.expm1(less * np.log1p(K * np.exp(-less * v))), first, last, limit=200)[0]
    return float(np.clip(np.expm1(first) + found, 1.0, n_steps))


def reduction_factor(schedule: Schedule | int, step_size: StepSize, n_workers: int, n_steps: int) -> float:
    """Return n_steps / n_rounds: how many times fewer averagings than averaging after every single step.

    The comparison is with the same n_steps and step size, not with large mini-batches of as many rounds. For the
    adaptive period with eta = eta0 / sqrt(n_steps) it is c sqrt(T) / (mu eta0 P^(3/2)), T = P n_steps gradients.

    Parameters
    ----------
    schedule : Schedule or int
        Asked as the solver asks it; an int is a fixed period.
    step_size : StepSize
    n_workers, n_steps : int

    Examples
    --------
    >>> import fastlsgd as fl
    >>> reduction_factor(fl.AdaptivePeriod(0.1), fl.Constant(0.01), n_workers=4, n_steps=10_000)
    250.0
    """
    return n_steps / n_rounds(schedule, step_size, n_workers, n_steps)


def interpolation(period: float, contraction: npt.ArrayLike, w2: float) -> Vector:
    """Return w(N), which takes the bias of mini-batch averaging (w2) to that of one-shot averaging (1).

    w = w2 + (1 - w2) (1 - (1 - r^N) / (N (1 - r))) with r = 1 - contraction: the second moment of a worker,
    averaged over a round of N steps at a constant step, as a multiple of its stationary value under one-shot
    averaging. Exact for quadratics with additive noise, of first order in eta otherwise. (Derived for this package.)

    Parameters
    ----------
    period : float
        N >= 1; infinity is one-shot averaging.
    contraction : array
        1 - r, between 0 and 2; of the pair (i, j) of eigenvalues it is eta (lambda_i + lambda_j)
        - eta^2 lambda_i lambda_j.
    w2 : float
        Sum of the squared weights, 1 / P for equal ones.

    Raises
    ------
    ValueError
        A period below 1, a contraction or w2 out of its range.

    Examples
    --------
    >>> interpolation(1, 0.1, 0.25), interpolation(np.inf, 0.1, 0.25)
    (array(0.25), array(1.))
    """
    lost = arguments.reals("contraction", contraction)
    period, w2 = number("period", period, least=1.0, infinite=True), number("w2", w2, above=0.0, most=1.0)
    if not ((lost >= 0) & (lost <= 2)).all():
        raise ValueError(f"contraction must be from 0 to 2, got {contraction!r}: the step is beyond the limit")
    if np.isinf(period):
        return np.asarray(w2 + (1.0 - w2) * np.where(lost > 0, 1.0, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        inside = np.abs(lost) < 1.0
        # Of a mean period that is no integer the power of a negative number is its real part.
        beyond = np.abs(1.0 - lost) ** period * np.where(lost > 1.0, np.cos(np.pi * period), 1.0) - 1.0
        power = np.where(inside, np.expm1(period * np.log1p(-np.where(inside, lost, 0.0))), beyond)
        share = 1.0 + power / (period * lost)
    # (N - 1) lost / 2 - (N - 1)(N - 2) lost^2 / 6 + ...: where it is small, 1 + power / (...) keeps no digits.
    few = period * np.abs(lost) < 1e-4
    series = (period - 1.0) * lost / 2.0 * (1.0 - (period - 2.0) * lost / 3.0 * (1.0 - (period - 3.0) * lost / 4.0))
    return np.asarray(w2 + (1.0 - w2) * np.where(few, series, share))


def osa_threshold(noise: float, bias: float, n_steps: int, eta: float, alpha: float = 0.0) -> float:
    """Return P*, the number of workers up to which one-shot averaging is limited by noise and not by bias.

    Where (E |H (w_bar - w*)|^2) the squared bias of one-shot averaging, which averaging cannot remove, equals the
    variance tr S / (P n): P* = noise n^(2 alpha - 1) ((1 - alpha) / (eta bias))^2. For steps eta t^-alpha of a
    smooth objective that is not quadratic; of first order in the step size, and slow to be reached when alpha > 1/2.

    Parameters
    ----------
    noise : float
        tr S, the variance of a worker's gradient at the optimum.
    bias : float
        |F'''(w*)[A]| / 2 with H A + A H = S: the norm of H times the bias, as a multiple of eta (Dieuleveut, Durmus
        and Bach, 2020; recalled).
    n_steps : int
    eta, alpha : float
        Step t is eta t^-alpha.

    Raises
    ------
    ValueError
        A number out of its range.

    Examples
    --------
    The coin problem of docs/predictions.md: F''' = -0.09324, F'' = 0.23943, S = 0.16; eta = 2 t^(-1/2).

    >>> half_bias = 0.0932402405 / 2 * 0.16 / (2 * 0.2394332158)
    >>> round(osa_threshold(0.16, half_bias, 16000, 2.0, 0.5), 1)
    41.2
    """
    alpha = number("alpha", alpha, least=0.0, below=1.0)
    noise, bias = number("noise", noise, least=0.0), number("bias", bias, least=0.0)
    n_steps, eta = arguments.whole("n_steps", n_steps), number("eta", eta, above=0.0)
    if noise == 0 or bias == 0:
        return float("inf") if bias == 0 else 0.0
    ratio = (1 - alpha) / eta / bias
    return noise * n_steps ** (2 * alpha - 1) * ratio * ratio


def richardson(w_bar: npt.ArrayLike, w_bar_double: npt.ArrayLike) -> Vector:
    """Return 2 w_bar(eta) - w_bar(2 eta): free of the bias that is proportional to the step size.

    Both runs must see the same samples (the same seed, so that step t draws the same rows): then the variances of the
    two cancel as well. Of independent runs the result has five times the variance of one. (Richardson-Romberg
    extrapolation, as in Dieuleveut, Durmus and Bach, 2020; recalled.)

    Parameters
    ----------
    w_bar, w_bar_double : array, of one shape
        Averages of the runs at eta and at 2 eta.

    Raises
    ------
    ValueError
        The shapes differ.

    Examples
    --------

    >>> richardson([1.1, 2.0], [1.2, 2.0])
    array([1., 2.])
    """
    once, twice = arguments.reals("w_bar", w_bar), arguments.reals("w_bar_double", w_bar_double)
    if once.shape != twice.shape:
        raise ValueError(f"both averages must have the same shape, got {once.shape} and {twice.shape}")
    return 2.0 * once - twice
