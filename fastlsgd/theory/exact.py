"""Exact second moments of local SGD on quadratics: the oracle of the kernels.

F(w) = (1/2) <w - w*, H (w - w*)>, workers k = 1 .. P with weights v_k, w2 = sum v_k^2. In the eigenbasis of H
(eigenvalues lambda_i) write, of coordinate i of the distance from w*, a for one worker's second moment, m for that of
the workers' mean, S for the sum of the means so far, c = E S mean and q = E S^2. One step with step size eta,
rho = 1 - eta lambda and nu the variance of a worker's gradient noise:

    a <- rho^2 a + eta^2 nu,    m <- rho^2 m + w2 eta^2 nu,    q <- q + 2 rho c + m,    c <- rho c + m

with the old c and the new m in the third, and a <- m at an averaging. Averaging leaves the mean where it is, so only
a, and through it nu, knows the schedule. Derived for this package: noise has mean zero given the past and is
independent across workers; least squares adds E[x x' A x x'] - H A H, of which only the diagonal of A counts when the
coordinates of a row are independent and symmetric.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from .. import _kernels, arguments
from ..schedules import Schedule
from .rounds import round_lengths, step_sizes

Vector = npt.NDArray[np.float64]
Noise = Literal["additive", "gaussian"]

# Coordinate-steps between two looks at Ctrl-C: a tenth of a second.
UNINTERRUPTED = 50_000_000


@dataclass(frozen=True)
class ExactMoments:
    """Second moments at the record points: arrays, one entry each; numbers if no record points were asked for.

    Attributes
    ----------
    t : int64
        Steps done.
    e1 : float64
        E |w - w*|^2 of the workers' mean.
    e2 : float64
        E |H (w_bar - w*)|^2 of the Polyak-Ruppert average; nan where it is not begun.
    e3 : float64
        E F(w_bar) - F(w*).
    worker : float64
        E |w_k - w*|^2 of one worker, before the averaging of that step if there is one.
    """

    t: npt.NDArray[np.int64] | int
    e1: Vector | float
    e2: Vector | float
    e3: Vector | float
    worker: Vector | float


def exact_moments(
    spectrum: npt.ArrayLike,
    delta0: npt.ArrayLike,
    periods: int | Sequence[int] | Schedule,
    etas: npt.ArrayLike,
    n_workers: int,
    *,
    noise: Noise = "additive",
    noise_cov: npt.ArrayLike | None = None,
    target_variance: float | None = None,
    batch_size: int = 1,
    weights: npt.ArrayLike | None = None,
    kurtosis: float = 3.0,
    tail: int = 0,
    record: npt.ArrayLike | None = None,
) -> ExactMoments:
    """Return the exact second moments of local SGD on a quadratic, at many record points in one pass.

    O(d) a step, whatever n_workers is. Exact up to rounding (and to what decays below 1e-280, which is set to zero).
    The recursion at the head of this module, derived for this package.

    Parameters
    ----------
    spectrum : array, shape (d,)
        Eigenvalues of the Hessian, >= 0.
    delta0 : array, shape (d,), or number
        w0 - w* in the eigenbasis; a number stands for all coordinates.
    periods : int, sequence of int, or Schedule
        As in ``round_lengths``.
    etas : array, shape (n_steps,)
        Step sizes.
    n_workers : int
    noise : "additive" or "gaussian"
        "additive": the gradient is H (w - w*) - xi with E xi xi' = noise_cov whatever w is. "gaussian": least
        squares on fresh rows, y = <x, w*> + e, x = H^(1/2) z, z of independent entries with kurtosis as given.
    noise_cov : number, array of shape (d,) or (d, d)
        Of additive noise, in the eigenbasis: a number is its multiple of the identity, a vector its diagonal; of a
        matrix only the diagonal matters.
    target_variance : number
        Of least squares: the variance of e.
    batch_size : int
        Rows of a step: the noise's covariance is divided by it.
    weights : array, shape (n_workers,), or None
        Of the averaging; None is 1 / n_workers.
    kurtosis : float
        E z^4 of least squares: 3 for normal rows, 1 for signs.
    tail : int
        Steps left out of the average.
    record : array of step numbers, int, or None
        Where to report: at these steps, at so many log-spaced ones, or after the last step.

    Raises
    ------
    ValueError, TypeError
        An argument that does not fit; the message says which.

    Examples
    --------
    Additive noise: mini-batch and one-shot averaging have the same moments.

    >>> eta = np.full(100, 0.1)
    >>> often = exact_moments([1.0, 0.5], 1.0, 1, eta, 4, noise_cov=0.2)
    >>> once = exact_moments([1.0, 0.5], 1.0, 100, eta, 4, noise_cov=0.2)
    >>> bool(abs(often.e2 - once.e2) < 1e-15), bool(often.worker < once.worker)
    (True, True)
    """
    eigenvalues = _spectrum(spectrum)
    d = len(eigenvalues)
    eta = step_sizes(etas)
    n_workers = arguments.whole("n_workers", n_workers)
    tail = arguments.whole("tail", tail, least=0)
    if tail >= len(eta):
        raise ValueError(f"tail must leave steps to average: below n_steps = {len(eta)}, got {tail}")
    variance = _noise(eigenvalues, noise, noise_cov, target_variance, batch_size, kurtosis)
    shares = arguments.averaging_weights(weights, n_workers, 0)
    lengths = round_lengths(periods, n_workers, eta)
    points = np.array([len(eta)]) if record is None else arguments.record_steps(record, len(eta))

    rows = []
    stops = np.unique(np.append(points, tail if tail else points))
    for t, before, mean, square in _walk(
        eigenvalues, _start(delta0, d), lengths, eta, float(shares @ shares), variance, tail, stops
    ):
        if t in points:
            averaged = t - tail
            scaled = np.full(d, np.nan)
            if averaged > 0:
                scaled = np.where(eigenvalues > 0.0, eigenvalues * square / averaged**2, 0.0)
                scaled[np.isnan(scaled)] = np.inf  # beyond the limit, where sums of both signs overflowed
            rows.append(
                (t, float(mean.sum()), float((eigenvalues * scaled).sum()), 0.5 * float(scaled.sum()), before)
            )
    if record is None:
        return ExactMoments(*rows[0])
    t_, e1, e2, e3, before_ = np.array(rows, dtype=np.float64).reshape(-1, 5).T
    return ExactMoments(t_.astype(np.int64), e1, e2, e3, before_)


def consensus(
    spectrum: npt.ArrayLike,
    delta0: npt.ArrayLike,
    lengths: npt.NDArray[np.int64],
    etas: npt.ArrayLike,
    weights: Vector,
    *,
    noise: Noise = "additive",
    noise_cov: npt.ArrayLike | None = None,
    target_variance: float | None = None,
    batch_size: int = 1,
    kurtosis: float = 3.0,
) -> float:
    """Return the mean over the workers of E |w_k - w|^2 at the end of a run, before its last averaging.

    A last round of N steps begins where all workers are at their mean; what one of them is away from where it would
    be without the noise of that round is a less (rho_1 .. rho_N)^2 m of its beginning, e in all coordinates together.
    These are independent among workers, so it is e (1 + w2 - 2 / P). (Derived for this package.)

    Parameters
    ----------
    lengths : int array
        Of all rounds, which end with the last step.
    weights : array, shape (n_workers,)
    spectrum, delta0, etas, noise, noise_cov, target_variance, batch_size, kurtosis
        As in ``exact_moments``.
    """
    eigenvalues, eta, w2 = _spectrum(spectrum), step_sizes(etas), float(weights @ weights)
    variance = _noise(eigenvalues, noise, noise_cov, target_variance, batch_size, kurtosis)
    first = len(eta) - int(lengths[-1])
    start = _start(delta0, len(eigenvalues))
    walk = _walk(eigenvalues, start, lengths, eta, w2, variance, 0, np.array([first, len(eta)]))
    _, _, mean, _ = next(walk)
    begin = np.sqrt(mean)  # before the walk goes on, which changes it
    _, worker, _, _ = next(walk)
    none = (np.zeros_like(eigenvalues), None, None)
    _, left, _, _ = next(_walk(eigenvalues, begin, lengths[-1:], eta[first:], w2, none, 0, lengths[-1:]))
    return max(0.0, (worker - left) * (1.0 + w2 - 2.0 / len(weights)))


def _walk(
    eigenvalues: Vector,
    start: Vector,
    lengths: npt.NDArray[np.int64],
    eta: Vector,
    w2: float,
    variance: tuple[Vector, Vector | None, Vector | None],
    tail: int,
    stops: npt.NDArray[np.int64],
) -> Iterator[tuple[int, float, Vector, Vector]]:
    """Yield t, the sum of a before the averaging at t, m and q of the recursion above at each of the stops.

    q is of the sums begun after ``tail`` steps, which must be a stop unless it is 0.
    """
    ends = np.zeros(len(eta), dtype=np.uint8)
    ends[np.cumsum(lengths) - 1] = 1
    mean = start**2
    worker, cross, square = mean.copy(), np.zeros_like(mean), np.zeros_like(mean)
    t = 0
    for stop in stops:
        before = float(worker.sum())
        while t < stop:
            upto = min(int(stop), t + max(1, UNINTERRUPTED // len(mean)))
            before = _kernels.advance_moments(
                eigenvalues, *variance, w2, worker, mean, cross, square, eta[t:upto], ends[t:upto], t >= tail
            )
            t = upto
        yield t, before, mean, square


def constant_step_moments(
    spectrum: npt.ArrayLike,
    delta0: npt.ArrayLike,
    eta: float,
    n_steps: int,
    n_workers: int,
    noise_cov: npt.ArrayLike,
    *,
    batch_size: int = 1,
    weights: npt.ArrayLike | None = None,
) -> ExactMoments:
    """Return in closed form what ``exact_moments`` gives for additive noise at a constant step, any schedule.

    With rho = 1 - eta lambda, s the noise's variance in a coordinate and n steps (derived for this package):
    E mean^2 = rho^(2n) delta0^2 + w2 eta^2 s (1 - rho^(2n)) / (1 - rho^2), and
    E (w_bar - w*)^2 = (delta0 rho (1 - rho^n) / (eta lambda n))^2
    + w2 s / (lambda n)^2 (n - 2 rho (1 - rho^n) / (1 - rho) + rho^2 (1 - rho^(2n)) / (1 - rho^2)).
    One worker's moment depends on the schedule: ``worker`` is that of one-shot averaging. Evaluated as sums, without
    these differences and quotients, so eta lambda may be tiny or 0; it must be below 2.

    Parameters
    ----------
    spectrum : array, shape (d,)
        Eigenvalues of the Hessian, >= 0, one of them positive.
    delta0 : array, shape (d,), or number
        w0 - w* in the eigenbasis.
    eta : float
        The step size.
    n_steps, n_workers : int
    noise_cov, batch_size, weights
        As in ``exact_moments``.

    Raises
    ------
    ValueError
        eta lambda is not below 2; an argument that does not fit.

    Examples
    --------
    >>> moments = constant_step_moments([1.0], 1.0, 0.5, n_steps=2, n_workers=4, noise_cov=0.0)
    >>> moments.e1, moments.e3  # halved twice; w_bar is the mean of 1/2 and 1/4
    (0.0625, 0.0703125)
    """
    eigenvalues = _spectrum(spectrum)
    n, n_workers = arguments.whole("n_steps", n_steps), arguments.whole("n_workers", n_workers)
    eta = arguments.number("eta", eta, above=0.0)
    if not 0 < eta * eigenvalues.max() < 2:
        raise ValueError("constant_step_moments needs eta lambda < 2 in every coordinate, and one that is not 0")
    shares = arguments.averaging_weights(weights, n_workers, 0)
    noise, _, _ = _noise(eigenvalues, "additive", noise_cov, None, batch_size, 3.0)
    start = _start(delta0, len(eigenvalues))
    w2, rho = float(shares @ shares), 1.0 - eta * eigenvalues
    power, u, _, squares, even = _geometric_sums(rho, n)
    forgotten, fed = (power * start) ** 2, eta**2 * noise
    square = (start * rho * u / n) ** 2 + w2 * fed * squares / n**2
    return ExactMoments(
        n,
        float((forgotten + w2 * fed * even).sum()),
        float((eigenvalues**2 * square).sum()),
        float((eigenvalues * square).sum()) / 2.0,
        float((forgotten + fed * even).sum()),
    )


def _geometric_sums(rho: Vector, n: int) -> tuple[Vector, ...]:
    """Return rho^n, u_n, sum_(j<=n) u_j, sum_(j<=n) u_j^2, sum_(j<n) rho^(2j), with u_j = 1 + rho + .. + rho^(j-1).

    By doubling: for rho in [0, 1] only positive terms meet, where the closed forms lose all digits as
    n (1 - rho) falls.
    """
    zero, one = np.zeros_like(rho), np.ones_like(rho)
    done: tuple[Vector, ...] = (one, zero, zero, zero, zero)
    block: tuple[Vector, ...] = (rho, one, one, one, one)
    k, length = 0, 1
    while True:
        if n & length:
            done, k = _joined(block, length, done, k), k + length
        length *= 2
        if length > n:
            return done
        block = _joined(block, length // 2, block, length // 2)


def _joined(head: tuple[Vector, ...], k: int, rest: tuple[Vector, ...], j: int) -> tuple[Vector, ...]:
    """Return the sums of k + j terms from those of the first k and of the first j."""
    (power, u, sums, squares, even), (power_j, u_j, sums_j, squares_j, even_j) = head, rest
    return (
        power * power_j,
        u + power * u_j,
        sums + j * u + power * sums_j,
        squares + j * u**2 + 2.0 * u * power * sums_j + power**2 * squares_j,
        even + power**2 * even_j,
    )


def stationary_worker(
    spectrum: npt.ArrayLike, eta: float, target_variance: float, *, batch_size: int = 1, kurtosis: float = 3.0
) -> Vector:
    """Return the stationary second moment of one worker per coordinate: least squares, constant step.

    (eta / b) (G + s^2) / (2 - eta lambda_i (1 + (kurtosis - 2) / b)), G = sum lambda_j a_j, b the batch: the fixed
    point of the recursion above. Beyond ``stability_limit`` there is none. (Derived for this package.)

    Parameters
    ----------
    spectrum : array, shape (d,)
        Eigenvalues of the Hessian, >= 0.
    eta : float
    target_variance : float
        s^2, of the targets around their predictions.
    batch_size : int
    kurtosis : float
        E z^4 of a row's independent entries: 3 for normal rows.

    Raises
    ------
    ValueError
        eta is not below the stability limit.

    Examples
    --------
    >>> stationary_worker([1.0], 0.1, target_variance=1.0).round(6)  # 0.1 / 1.7
    array([0.058824])
    """
    eigenvalues = _spectrum(spectrum)
    limit = stability_limit(eigenvalues, batch_size=batch_size, kurtosis=kurtosis)
    if not 0 < arguments.number("eta", eta) < limit:
        raise ValueError(f"eta must be positive and below the stability limit {limit:g}, got {eta!r}")
    target_variance = arguments.number("target_variance", target_variance, least=0.0)
    gain = _gain(eigenvalues, eta, batch_size, kurtosis)
    g = float((eigenvalues * gain).sum())
    return gain * target_variance / (1.0 - g)


def stability_limit(spectrum: npt.ArrayLike, *, batch_size: int = 1, kurtosis: float = 3.0) -> float:
    """Return the step size beyond which the second moment of one worker grows: least squares, fresh rows.

    The eta at which g = (eta / b) sum lambda_i / (2 - eta lambda_i (1 + (kurtosis - 2) / b)) is 1, found by
    bisection. The mean alone would be stable up to 2 / lambda_max. (Derived for this package.)

    Parameters
    ----------
    spectrum : array, shape (d,)
        Eigenvalues of the Hessian, >= 0.
    batch_size : int
    kurtosis : float
        E z^4 of a row's independent entries, >= 1: 3 for normal rows.

    Raises
    ------
    ValueError
        A negative eigenvalue, a kurtosis below 1.

    Examples
    --------
    >>> round(stability_limit(1.0), 5), round(stability_limit(np.ones(10)), 5)
    (0.66667, 0.16667)
    """
    from scipy.optimize import brentq

    eigenvalues = _spectrum(spectrum)
    kurtosis = _kurtosis(kurtosis)
    batch_size = arguments.whole("batch_size", batch_size)
    if not eigenvalues.any():
        return float("inf")
    own = eigenvalues.max() * (1.0 + (kurtosis - 2.0) / batch_size)
    highest = min(2.0 / own if own > 0 else np.inf, 4.0 * batch_size / eigenvalues.sum(), 2.0 / eigenvalues.max())

    def beyond(eta: float) -> float:
        return float((eigenvalues * _gain(eigenvalues, eta, batch_size, kurtosis)).sum()) - 1.0

    inside = highest * (1.0 - 1e-12)
    return (
        float(brentq(beyond, 0.0, inside, xtol=1e-15 * highest, rtol=1e-14)) if beyond(inside) > 0 else float(highest)
    )


def _gain(eigenvalues: Vector, eta: float, batch_size: int, kurtosis: float) -> Vector:
    return (eta / batch_size) / (2.0 - eta * eigenvalues * (1.0 + (kurtosis - 2.0) / batch_size))


def _spectrum(spectrum: npt.ArrayLike) -> Vector:
    eigenvalues = np.atleast_1d(arguments.reals("spectrum", spectrum))
    if eigenvalues.ndim != 1 or eigenvalues.size == 0 or not ((eigenvalues >= 0) & np.isfinite(eigenvalues)).all():
        raise ValueError("spectrum must be one finite eigenvalue >= 0 a coordinate, shape (d,)")
    return eigenvalues


def _start(delta0: npt.ArrayLike, d: int) -> Vector:
    """Return delta0 for all coordinates, checked."""
    start = arguments.reals("delta0", delta0)
    if start.shape not in ((), (d,)):
        raise ValueError(f"delta0 must be a number or have shape ({d},), one a coordinate, got {start.shape}")
    if not np.isfinite(start).all():
        raise ValueError("delta0 must be finite")
    return np.broadcast_to(start, (d,))


def _noise(
    eigenvalues: Vector,
    noise: Noise,
    noise_cov: npt.ArrayLike | None,
    target_variance: float | None,
    batch_size: int,
    kurtosis: float,
) -> tuple[Vector, Vector | None, Vector | None]:
    """Return the noise's variance per coordinate as moments.h takes it: fixed, shared, own."""
    arguments.one_of("noise", noise, ("additive", "gaussian"))
    batch_size = arguments.whole("batch_size", batch_size)
    if noise == "additive":
        if noise_cov is None or target_variance is not None:
            raise ValueError('noise="additive" takes noise_cov and no target_variance')
        return _variances(noise_cov, len(eigenvalues)) / batch_size, None, None
    if target_variance is None or noise_cov is not None:
        raise ValueError('noise="gaussian" takes target_variance and no noise_cov')
    target_variance = arguments.number("target_variance", target_variance, least=0.0)
    kurtosis = _kurtosis(kurtosis)
    fixed = target_variance * eigenvalues / batch_size
    return fixed, eigenvalues / batch_size, (kurtosis - 2.0) * eigenvalues**2 / batch_size


def _kurtosis(kurtosis: float) -> float:
    return arguments.number("kurtosis", kurtosis, least=1.0, hint="; it is E z^4 of a variable of variance 1")


def _variances(noise_cov: npt.ArrayLike, d: int) -> Vector:
    covariance = arguments.reals("noise_cov", noise_cov)
    if covariance.shape not in ((), (d,), (d, d)):
        raise ValueError(f"noise_cov must be a number or have shape ({d},) or ({d}, {d}), got {covariance.shape}")
    variances = np.ascontiguousarray(
        np.diag(covariance) if covariance.ndim == 2 else np.broadcast_to(covariance, (d,))
    )
    if not ((variances >= 0) & np.isfinite(variances)).all():
        raise ValueError("noise_cov must be finite, its diagonal >= 0")
    return variances
