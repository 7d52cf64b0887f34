"""Upper bounds of the error of local SGD, with every constant explicit. Certificates, never predictions.

A bound holds for every problem that satisfies what it assumes, so on any one problem it is loose: by a factor of 2
on quadratics and by 10 to 400 once the third derivative dominates. For numbers that a run will show use exact
moments (quadratics) or the predictor. All are derived for this package; the assumptions are named as recalled
from Dieuleveut and Patel (2019), whose theorems these are not:

A1  F is mu-strongly convex with minimiser w*, and its gradient lipschitz-Lipschitz.
A2  F is three times differentiable, and its third derivative, as an operator norm, at most `third` everywhere.
A3  Gradients are unbiased, and independent over workers and steps (draws with replacement, one distribution).
A4  E |gradient - F'(w)|^2 <= noise everywhere.
A4' In addition E |gradient - F'(w)|^4 <= noise4.
Q1  F is quadratic.
N(a, b)  E |gradient|^2 <= a <F'(w), w - w*> + b everywhere.

How: the mean iterate contracts as one worker does; what workers gather between two averagings enters
through the curvature (lipschitz) or through its change (third), whichever is less; a bound of one worker is always a
bound of the mean. The average telescopes: H (w_{t-1} - w*) = (w_{t-1} - w_t) / eta_t - noise - (third / 2) |.|^2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .. import _kernels, arguments
from ..arguments import number, whole
from ..schedules import Schedule
from ..stepsizes import StepSize
from .rounds import round_lengths

Array = npt.NDArray[np.float64]

LAST = "E |w - w*|^2"
AVERAGE = "E |H (w_bar - w*)|^2"
WITHIN_TWO = "; eta_1 <= 2 / (mu + lipschitz)"


@dataclass(frozen=True)
class Bound:
    """A number that an expectation does not exceed, and what that rests on.

    Attributes
    ----------
    value : float
        inf where what is known implies no bound.
    of : str
        The expectation, H the Hessian at the optimum w*.
    assumes : str
        Names of the assumptions (see the module's head) and the condition on the step size.
    """

    value: float
    of: str
    assumes: str

    def __float__(self) -> float:
        """Return the value."""
        return self.value


@dataclass(frozen=True)
class Bounds:
    """Bounds of both errors after n_steps: of the mean iterate, and of the Polyak-Ruppert average."""

    last: Bound
    average: Bound


# ---- additive noise: A4 ----


@dataclass(frozen=True)
class Additive:
    """Constants of A1-A4, checked, and those of fourth moments that follow."""

    mu: float
    lipschitz: float
    noise: float
    distance: float
    w2: float
    third: float | None
    g_one: float = 0.0
    g_mean: float = 0.0
    g_pair: float = 0.0

    @classmethod
    def checked(
        cls,
        *,
        mu: float,
        lipschitz: float,
        noise: float,
        distance: float,
        n_workers: int,
        weights: npt.ArrayLike | None,
        third: float | None,
        noise4: float | None,
    ) -> Additive:
        """Return the constants, or raise a ValueError that names the one out of its range."""
        mu, lipschitz = _curvatures(mu, lipschitz)
        noise, distance = number("noise", noise, least=0.0), number("distance", distance, least=0.0)
        w2, w4 = _squares(n_workers, weights)
        if third is None:
            return cls(mu, lipschitz, noise, distance, w2, None)
        third = number("third", third, least=0.0)
        if third == 0:
            return cls(mu, lipschitz, noise, distance, w2, third)
        if noise4 is None:
            raise ValueError("third > 0 needs noise4, a bound of the fourth moment of the gradient noise")
        noise4 = number("noise4", noise4, least=0.0)
        if noise4 < noise**2 * (1 - 1e-12):
            raise ValueError(f"noise4 is at least the square of noise, {noise**2!r}, got {noise4!r}")
        # |u - eta xi|^4 <= |u|^4 + 8 eta^2 s^2 |u|^2 + 3 eta^4 t^4 in expectation, so that the root of the
        # fourth moment grows by at most eta^2 max(4 s^2, sqrt(3) t^2).
        of_mean = w4 * noise4 + 3 * (w2**2 - w4) * noise**2
        of_pair = 2 * noise4 + 6 * noise**2
        return cls(
            mu, lipschitz, noise, distance, w2, third,
            g_one=max(4 * noise, math.sqrt(3 * noise4)),
            g_mean=max(4 * w2 * noise, math.sqrt(3 * of_mean)),
            g_pair=max(8 * noise, math.sqrt(3 * of_pair)),
        )  # fmt: skip

    def within_half(self, eta: float) -> bool:
        """Whether 2 eta lipschitz <= 1, but for rounding."""
        return 2 * eta * self.lipschitz <= 1 + 1e-12


def bounds(
    step_size: StepSize,
    n_steps: int,
    *,
    mu: float,
    lipschitz: float,
    noise: float,
    distance: float,
    schedule: Schedule,
    n_workers: int = 8,
    weights: npt.ArrayLike | None = None,
    third: float | None = None,
    noise4: float | None = None,
) -> Bounds:
    """Bound the errors of a run whose gradient noise is bounded (A4), by a recursion over its steps.

    The last iterate: R <- min over what is valid of

        (1 - eta mu) R + 2 eta lipschitz W                     if eta <= 1 / (2 lipschitz),
        (rho sqrt(R) + eta lipschitz sqrt(W))^2,
        (rho sqrt(R) + eta third Y / 2)^2                      if third is known,
        rho^2 R                                                if F is quadratic,

    plus eta^2 noise / P, and never above the bound of one worker, nor above variance / P + mean^2 given where the
    round began; W and Y bound the workers' scatter and the root of its second moment, both 0 after an averaging,
    rho = max(|1 - eta mu|, |1 - eta lipschitz|). The average, any schedule: sqrt of it is at most

        (distance / eta_1 + sqrt(R_n) / eta_n + sum sqrt(R_t) (1 / eta_{t+1} - 1 / eta_t)) / n
        + sqrt(noise / (P n)) + (third / (2 n)) sum (root of the workers' fourth moment).

    Equalities for isotropic quadratics (the last iterate). Derived for this package.

    Parameters
    ----------
    step_size : StepSize
        Non-increasing, with eta_1 <= 2 / (mu + lipschitz).
    n_steps : int
        Local steps per worker. The time is linear in it.
    mu, lipschitz : float
        Smallest and largest curvature, anywhere (A1): for logistic losses mu is l2.
    noise : float
        Bound of E |gradient - F'(w)|^2 at any w, of one worker's step (already divided by batch_size).
    distance : float
        |w0 - w*|.
    schedule : Schedule
    n_workers : int
    weights : array, shape (n_workers,), or None
        Of the workers in averagings; None is 1 / n_workers.
    third : float or None
        Bound of the third derivative (A2); 0 for quadratics; None if unknown: then nothing is said of the average.
    noise4 : float or None
        Bound of E |gradient - F'(w)|^4 (A4'); needed if third > 0.

    Returns
    -------
    Bounds

    Raises
    ------
    ValueError
        An argument out of its range, or step sizes that grow or begin too large.

    Examples
    --------
    >>> from fastlsgd import Constant, OneShot
    >>> found = bounds(Constant(0.1), 1000, mu=1, lipschitz=1, noise=0.5, distance=1, schedule=OneShot(), third=0)
    >>> f"{found.last.value:.6f} {found.average.value:.6f}"
    '0.003289 0.000341'
    >>> found.last.assumes
    'A1, A3, A4, Q1; eta_1 <= 2 / (mu + lipschitz)'
    """
    known = Additive.checked(
        mu=mu, lipschitz=lipschitz, noise=noise, distance=distance, n_workers=n_workers, weights=weights,
        third=third, noise4=noise4,
    )  # fmt: skip
    eta = step_sizes(step_size, n_steps, 2 / (known.mu + known.lipschitz), "2 / (mu + lipschitz)")
    last, fourth = additive_paths(known, eta, round_lengths(schedule, n_workers, eta))
    on_last, on_average = assumptions(known)
    return Bounds(
        Bound(float(last[-1]), LAST, on_last + WITHIN_TWO),
        Bound(_average(known, eta, last, fourth), AVERAGE, on_average + WITHIN_TWO),
    )


def additive_paths(known: Additive, eta: Array, periods: npt.NDArray[np.int64]) -> tuple[Array, Array]:
    """Return bounds of E |w_t - w*|^2, and of the root of the workers' fourth moment before each step."""
    last, fourth = np.empty(len(eta)), np.empty(len(eta))
    _kernels.bound_additive(
        eta, periods, known.mu, known.lipschitz, known.noise, known.distance, known.w2,
        -1.0 if known.third is None else known.third, known.g_one, known.g_mean, known.g_pair, last, fourth,
    )  # fmt: skip
    return last, fourth


def _average(known: Additive, eta: Array, last: Array, fourth: Array) -> float:
    if known.third is None:
        return math.inf
    n = len(eta)
    curved = known.third / (2 * n) * float(fourth.sum()) if known.third else 0.0
    return (_telescoped(known.distance, eta, last) / n + math.sqrt(known.w2 * known.noise / n) + curved) ** 2


def _telescoped(distance: float, eta: Array, last: Array) -> float:
    """Bound the norm of the sum of (w_{t-1} - w_t) / eta_t."""
    root = np.sqrt(last)
    return distance / float(eta[0]) + float(root[-1] / eta[-1]) + float(root[:-1] @ np.diff(1 / eta))


def assumptions(known: Additive) -> tuple[str, str]:
    """Name what the bounds of the last iterate and of the average rest on."""
    if known.third is None:
        return "A1, A3, A4", "no bound without third (A2)"
    if known.third == 0:
        return "A1, A3, A4, Q1", "A1, A3, A4, Q1"
    return "A1, A2, A3, A4, A4'", "A1, A2, A3, A4, A4'"


# ---- multiplicative noise: N(a, b) ----


def bounds_multiplicative(
    step_size: StepSize,
    n_steps: int,
    *,
    mu: float,
    lipschitz: float,
    a: float,
    b: float,
    distance: float,
    schedule: Schedule,
    n_workers: int = 8,
    weights: npt.ArrayLike | None = None,
    quadratic: bool = False,
) -> Bounds:
    """Bound the errors of a run whose gradients grow with the distance: E |g|^2 <= a <F'(w), w - w*> + b.

    Bounded noise (A4) has (a, b) = (lipschitz, noise). Rows whose gradients are L-co-coercive (A5; generalised
    linear models) with E |g(w*)|^2 <= noise (A6) have (2 L, 2 noise), or ((1 + 1/s) L, (1 + s) noise) for any s > 0;
    well-specified least squares has (R2, noise variance x tr H), E |x|^2 x x^T <= R2 H.

    One worker: R1 <- (1 - eta mu (2 - eta a)) R1 + eta^2 b. The mean, a_P = lipschitz (1 - 1/P) + a / P:

        R <- min(R1, (1 - eta mu (2 - eta a_P)) R + [2 eta lipschitz - eta mu (2 - eta a_P)]_+ W + eta^2 b / P),
        W <- rho^2 W + (1 - 1/P) eta^2 (a lipschitz min(R + W, R1) + b), 0 after an averaging,

    with eta^2 a lipschitz W / P as the second term for quadratics. The average, for quadratics at a constant
    step, any schedule: its square root is at most (distance + sqrt(R_n)) / (eta n) + sqrt of (2 b + a distance^2 /
    (eta n)) / (P n (2 - eta a)): least squares loses at most the factor 2 / (2 - eta a) to rare averaging.
    Derived for this package.

    Parameters
    ----------
    step_size : StepSize
        Non-increasing, with eta_1 max(a, a_P) < 2.
    a, b : float
        Of the condition; a is at least the curvature that gradients meet.
    quadratic : bool
        F is quadratic (Q1).
    n_steps, mu, lipschitz, distance, schedule, n_workers, weights
        As for ``bounds``.

    Returns
    -------
    Bounds
        ``average`` is inf unless quadratic at a constant step.

    Raises
    ------
    ValueError
        An argument out of its range, or step sizes that grow or begin too large.

    Examples
    --------
    >>> from fastlsgd import Constant, OneShot
    >>> options = {"mu": 0.5, "lipschitz": 1.0, "a": 3.5, "b": 1.5, "distance": 1.0, "quadratic": True}
    >>> found = bounds_multiplicative(Constant(0.1), 10_000, schedule=OneShot(), **options)
    >>> f"{found.average.value:.2e}"
    '3.53e-05'
    """
    mu, lipschitz = _curvatures(mu, lipschitz)
    a, b, distance = number("a", a, above=0.0), number("b", b, least=0.0), number("distance", distance, least=0.0)
    w2, _ = _squares(n_workers, weights)
    largest = max(a, lipschitz * (1 - w2) + a * w2)
    eta = step_sizes(step_size, n_steps, 2 / largest, "2 / max(a, a_P)")
    if not eta[0] * largest < 2 * (1 - 1e-12):
        raise ValueError(
            f"the bounds need eta_1 below 2 / max(a, a_P), here {2 / largest:.6g}, got {float(eta[0])!r}"
        )
    periods, last = round_lengths(schedule, n_workers, eta), np.empty(len(eta))
    _kernels.bound_multiplicative(eta, periods, mu, lipschitz, a, b, distance, w2, quadratic, last)
    average, on_average = math.inf, "no bound unless quadratic (Q1) at a constant step"
    if quadratic and eta[0] == eta[-1]:
        step, n = float(eta[0]), len(eta)
        noise = (2 * b + a * distance**2 / (step * n)) * w2 / (n * (2 - step * a))
        average = (_telescoped(distance, eta, last) / n + math.sqrt(noise)) ** 2
        on_average = "A1, A3, N(a, b), Q1; eta a < 2, constant"
    on_last = f"A1, A3, N(a, b){', Q1' if quadratic else ''}; eta_1 max(a, a_P) < 2"
    return Bounds(Bound(float(last[-1]), LAST, on_last), Bound(average, AVERAGE, on_average))


# ---- checks ----


def _curvatures(mu: float, lipschitz: float) -> tuple[float, float]:
    mu, lipschitz = number("mu", mu, above=0.0), number("lipschitz", lipschitz, above=0.0)
    if lipschitz < mu:
        raise ValueError(f"lipschitz is at least mu, got lipschitz={lipschitz!r} and mu={mu!r}")
    return mu, lipschitz


def _squares(n_workers: int, weights: npt.ArrayLike | None) -> tuple[float, float]:
    """Return the sums of the weights' squares and fourth powers."""
    n_workers = whole("n_workers", n_workers)
    if weights is None:  # exactly, and without as many numbers as there are workers
        return 1 / n_workers, float(n_workers) ** -3
    given = arguments.averaging_weights(weights, n_workers, 0)
    return float((given**2).sum()), float((given**4).sum())


def step_sizes(step_size: StepSize, n_steps: int, largest: float, name: str) -> Array:
    """Return eta of all steps; a ValueError if they grow or begin above `largest`, which is called `name`."""
    eta = arguments.step_sizes_at(step_size, np.arange(1, whole("n_steps", n_steps) + 1, dtype=np.int64))
    # A step at the limit but for rounding is at the limit.
    if eta[0] > largest * (1 + 4e-16):
        raise ValueError(f"the bounds need eta_1 <= {name}, here {largest:.6g}, got {float(eta[0])!r}")
    if (np.diff(eta) > 0).any():
        raise ValueError(f"the bounds need step sizes that never grow, got {step_size!r}")
    return eta
