"""The bounds of bounded noise in closed form: how they depend on steps, workers and period."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ..arguments import whole
from ..stepsizes import Constant, PolynomialDecay
from .bounds import AVERAGE, LAST, WITHIN_TWO, Additive, Array, Bound, Bounds, additive_paths, assumptions, step_sizes


def closed_bounds(
    step_size: Constant | PolynomialDecay,
    n_steps: int,
    *,
    mu: float,
    lipschitz: float,
    noise: float,
    distance: float,
    period: int,
    n_workers: int = 8,
    weights: npt.ArrayLike | None = None,
    third: float | None = None,
    noise4: float | None = None,
) -> Bounds:
    """Bound the errors of a run of one fixed period by closed formulas, which show how they depend on everything.

    Never below ``bounds`` but for rounding. At a constant eta, v = eta / (mu (2 - eta mu)), the last iterate: the
    least that applies of

        (1 - eta mu)^(2n) distance^2 + v noise / P              period 1, or F quadratic
        v noise / P + [rho^n distance + (third / (2 mu)) (rho^(n-1) distance^2 + v noise)]^2     one-shot
        (1 - eta mu)^n distance^2 + eta noise / (mu P)
            + (2 lipschitz / mu) (1 - 1/P) eta^2 noise (period - 1)      eta <= 1 / (2 lipschitz)
        (1 - eta mu)^(2n) distance^2 + v noise                  always: one worker

    and the square root of the average's is at most (distance + sqrt(R_n)) / (eta n) + sqrt(noise / (P n)) plus
    third / 2 times distance^2 / (n eta mu (2 - eta mu)) + v G, R_n the bound above; period 1 has the fourth moment of
    the mean in G, longer ones that of a worker, or what grows from the first to the second with the period.

    At steps c t^-alpha, mu' = mu (2 - eta_1 mu) and h = n // 2, the last iterate

        exp(-mu' sum eta) distance^2 + (noise / P) [exp(-mu' sum_{t>h} eta_t) sum_{t<=h} eta_t^2 + eta_{h+1} / mu'],

    about 2^alpha c noise n^-alpha / (mu' P), and for alpha < 1 the square root of the average's is at most
    distance / (c n) + 3 sqrt(C_R) n^(alpha/2 - 1) / c + sqrt(noise / (P n)) + (third / 2) (distance^2 / n +
    C_A n^-alpha / (1 - alpha)), C_R = max R_t t^alpha and C_A the same of fourth moments, over the recursion.
    Period 1 and quadratics; longer periods have the bound of one worker in R. Derived for this package.

    Parameters
    ----------
    step_size : Constant or PolynomialDecay
        The latter with alpha > 0 and c <= eta_max.
    period : int
        Of every round; n_steps or more is one-shot averaging.
    n_steps, mu, lipschitz, noise, distance, n_workers, weights, third, noise4
        As for ``bounds``.

    Raises
    ------
    ValueError
        An argument out of its range.
    TypeError
        Another step size: ``bounds`` takes any.

    Examples
    --------
    >>> from fastlsgd import Constant
    >>> found = closed_bounds(Constant(0.1), 1000, mu=1, lipschitz=1, noise=0.5, distance=1, period=1)
    >>> f"{found.last.value:.6f}"
    '0.003289'
    """
    known = Additive.checked(
        mu=mu, lipschitz=lipschitz, noise=noise, distance=distance, n_workers=n_workers, weights=weights,
        third=third, noise4=noise4,
    )  # fmt: skip
    period = min(whole("period", period), whole("n_steps", n_steps))
    limit = 2 / (known.mu + known.lipschitz)
    condition = WITHIN_TWO
    if isinstance(step_size, Constant):
        eta = float(step_sizes(step_size, 1, limit, "2 / (mu + lipschitz)")[0])
        last, average = _closed_constant(known, eta, n_steps, period)
        if period > 1 and known.third != 0 and known.within_half(eta):
            condition = "; eta <= 1 / (2 lipschitz)"
    elif isinstance(step_size, PolynomialDecay):
        if not 0 < step_size.alpha <= 1 or step_size.c > step_size.eta_max:
            raise ValueError(f"closed formulas need 0 < alpha <= 1 and c <= eta_max, got {step_size!r}; use bounds()")
        steps = step_sizes(step_size, n_steps, limit, "2 / (mu + lipschitz)")
        last, average = _closed_decaying(known, step_size, steps, period)
    else:
        raise TypeError(f"closed formulas are for Constant and PolynomialDecay, got {step_size!r}; use bounds()")
    on_last, on_average = assumptions(known)
    return Bounds(Bound(last, LAST, on_last + condition), Bound(average, AVERAGE, on_average + condition))


def _closed_constant(known: Additive, eta: float, n: int, period: int) -> tuple[float, float]:
    mu, noise, r0, w2, third = known.mu, known.noise, known.distance, known.w2, known.third
    rho, v = 1 - eta * mu, eta / (mu * (2 - eta * mu))
    as_mini_batch = period == 1 or third == 0
    variance, one_worker = w2 * v * noise, rho ** (2 * n) * r0**2 + v * noise
    last = [one_worker]
    if as_mini_batch:
        last.append(rho ** (2 * n) * r0**2 + variance)
    if period == n and third is not None:
        last.append(variance + (rho**n * r0 + third / (2 * mu) * (rho ** (n - 1) * r0**2 + v * noise)) ** 2)
    if known.within_half(eta):
        gathered = 2 * known.lipschitz / mu * (1 - w2) * eta**2 * noise * (period - 1)
        last.append(rho**n * r0**2 + eta * w2 * noise / mu + gathered)
    if third is None:
        return min(last), math.inf
    far = r0**2 / (n * eta * mu * (2 - eta * mu))
    curved = [third / 2 * (far + v * known.g_one)]
    if as_mini_batch:
        curved.append(third / 2 * (far + v * known.g_mean))
    if known.within_half(eta):
        scatter = 0.5 * (1 - w2) * eta**2 * (period - 1) * known.g_pair
        of_mean = r0**2 / (n * eta * mu) + eta * known.g_mean / mu
        curved.append(third / 2 * (of_mean + (1 + 2 * known.lipschitz / mu) * scatter))
    root = (r0 + math.sqrt(min(last))) / (eta * n) + math.sqrt(w2 * noise / n) + min(curved)
    return min(last), root**2


def _closed_decaying(known: Additive, step_size: PolynomialDecay, eta: Array, period: int) -> tuple[float, float]:
    n, c, alpha, r0 = len(eta), step_size.c, step_size.alpha, known.distance
    # What holds for mini-batch averaging holds for any schedule with one worker in the place of P.
    mean_of = known.w2 if period == 1 or known.third == 0 else 1.0
    rate, h = known.mu * (2 - float(eta[0]) * known.mu), n // 2
    forgotten = math.exp(-rate * float(eta[h:].sum())) * float((eta[:h] ** 2).sum())
    gathered = mean_of * known.noise * (forgotten + float(eta[h]) / rate)
    last = math.exp(-rate * float(eta.sum())) * r0**2 + gathered
    if known.third is None or alpha == 1:
        return last, math.inf
    per_step = known if mean_of < 1 else replace(known, w2=1.0, g_mean=known.g_one)
    path, fourth = additive_paths(per_step, eta, np.ones(n, dtype=np.int64))
    powers = np.arange(1, n + 1) ** float(alpha)
    most, most_fourth = float((path * powers).max()), float((fourth[1:] * powers[:-1]).max(initial=0.0))
    root = r0 / (c * n) + 3 * math.sqrt(most) * n ** (alpha / 2 - 1) / c + math.sqrt(known.w2 * known.noise / n)
    root += known.third / 2 * (r0**2 / n + most_fourth * n**-alpha / (1 - alpha))
    return last, root**2
