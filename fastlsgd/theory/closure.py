"""Where a run settles: how far the workers spread, what noise they see there, and what curvature.

A worker at a distance xi of covariance A from the mean path sees, of row x with prediction z, the slope
l'(z + v^(1/2) g), v = x' A x. Averaged over g that gives the mean gradient, the Hessian H and the covariance of the
noise,

    G(z) = E l' x,    H = E l'' x x',    Sigma = E l'^2 x x' - D A D - E l' x (E l' x)',

the mean settles where G = 0, and noise spreads the workers by

    A_ij = w_ij(N) eta^2 Sigma_ij / (1 - rho_i rho_j),    rho = 1 - eta lambda

in the eigenbasis of H, N the period, w of ``interpolation``. ``settle`` finds where all of this holds at once. To
second order in eta it is the expansion with F''' of Dieuleveut, Durmus and Bach (2020; recalled) and others; keeping
the averages over g makes it hold at larger steps. Exact for least squares at one-shot averaging, rows drawn anew.

g is normal but for workers that have been averaged a few steps ago. What those have of their own is the sum of a few
gradients, and of that the fourth cumulant counts. With kappa the excess kurtosis of one gradient seen along x, q the
variance it adds to the prediction, v - v_0 what all since the averaging have added, g has the excess kurtosis

    kappa q (v - v_0) / v^2 ((v_1 - v) / (v_1 - v_0 - q))^2,

v_1 at rest under one-shot averaging: kappa after the first step if v_0 = 0, kappa / k after k of them, and less as
gradients fade. At rest nothing is left: there the bent slopes take away what gradients bring. (Median row, half the
limit, v_0 = 0, after 1, 2, 3, 4, 8, 16, 32 steps: simulated 5.2, 2.2, 1.2, 0.8, 0.2, 0.0, 0.0 on flights13_late,
predicted 5.0, 2.2, 1.2, 0.8, 0.3, 0.1, 0.0; 46, 24, 16, 11, 5.5, 2.6, 1.3 and 46, 23, 15, 11, 4.9, 2.1, 0.8 on
breast_cancer. Skewness is left out: it moves the mean by at most a fifth of what kurtosis does.)
(Derived for this package.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..cores import one_blas_thread
from ..problem import Problem
from .expansion import Expansion
from .periods import interpolation
from .stability import second_moment_limit

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]

# Parts of a round at which the spread is looked at: Chebyshev's three points of equal weight. Slopes and curvature
# are averaged at each, as their means over a round are not those at its mean spread (flights13_late, half the limit,
# period 16, 20,000 rows: 1.05 times what is measured; 1.10 at the mean spread, 1.05 at sixteen points).
PHASES = (0.5 - np.sqrt(0.125), 0.5, 0.5 + np.sqrt(0.125))
# Settled when an iteration changes the spread by less than this part.
SETTLED, MOST_ITERATIONS = 1e-5, 300
# The limit is found on so many rows.
LIMIT_ROWS = 10_000


@dataclass(frozen=True)
class Settled:
    """Where a run of constant step and period settles, in the eigenbasis of the Hessian at the optimum.

    Attributes
    ----------
    centre : array, shape (m,)
        The mean of the workers' iterates, less w*.
    spread, noise : array, shape (m, m)
        Covariance of one worker's iterate, averaged over a round; of its gradient.
    row_spread : array, shape (2, n_phases, n_rows)
        Variance and excess kurtosis of the predictions of the sampled rows, at the phases of a round (``PHASES``; one
        where all are alike).
    eigenvalues, directions : array, shape (m,) and (m, m)
        Of the Hessian there; directions are columns.
    """

    centre: Vector
    spread: Matrix
    noise: Matrix
    row_spread: Vector
    eigenvalues: Vector
    directions: Matrix

    @property
    def noise_along(self) -> Vector:
        """The noise's variance along the eigenvectors there."""
        return np.einsum("ij,ij->j", self.directions, self.noise @ self.directions)


@dataclass(frozen=True)
class Young:
    """What the kurtosis of workers some steps after an averaging comes from.

    The covariance of a gradient and, of one row's, ``fourth`` of ``Expansion.averaged``; the spread as a round
    begins, and at rest under one-shot averaging.
    """

    noise: Matrix
    fourth: Vector
    begin: Matrix
    rest: Matrix


def settle(
    around: Expansion, eta: float, period: float, w2: float, batch_size: int = 1, epoch: float | None = None
) -> Settled:
    """Return where a run settles: the fixed point of the equations above (derived for this package).

    Parameters
    ----------
    around : Expansion
    eta : float
        A constant step size.
    period : float
        Infinity is one-shot averaging.
    w2 : float
        Sum of the squared weights of the averaging.
    batch_size : int
    epoch : float or None
        Steps of an epoch when rows are reshuffled: the mean of the workers then spreads less (``epoch_share``). None:
        rows are drawn with replacement.

    Raises
    ------
    ValueError
        It does not: eta is beyond the stability limit, of the mean or of the second moment.
    """
    m = len(around.eigenvalues)
    centre, spread, size, change = np.zeros(m), np.zeros((m, m)), 0.0, 0.0
    share_of_new, seen = 1.0, np.zeros((2, 0, 0))
    phases: list[Matrix] = [spread]
    young: Young | None = None
    for _ in range(MOST_ITERATIONS):
        variance = np.array([around.row_variance(at_phase) for at_phase in phases])
        kurtosis = np.zeros_like(variance)
        if young is not None:
            kurtosis = _kurtosis(around, variance, young, w2, eta, batch_size)
        found = np.array([variance, kurtosis])
        if found.shape == seen.shape:
            found = share_of_new * found + (1.0 - share_of_new) * seen
        variance, kurtosis = seen = found
        gradient, hessian, squares, fourth = around.averaged(centre, variance, kurtosis)
        data_hessian, data_gradient = hessian - around.penalty, gradient - around.penalty @ centre
        noise = (squares - data_hessian @ spread @ data_hessian - np.outer(data_gradient, data_gradient)) / batch_size
        eigenvalues, directions = np.linalg.eigh(hessian)
        contraction = _contraction(eigenvalues, eta)
        if contraction is None:
            raise ValueError(f"step size {eta:g} is unstable: it must be below {2 / eigenvalues[-1]:g} = 2 / L")
        along = directions.T @ noise @ directions
        mean_share = interpolation(period, contraction, w2)
        # Of losses that are not quadratic, the skewness of the spread takes away about what -eta^2 lambda_i lambda_j
        # adds; left out together they come nearer than one of them alone (coin problem, one-shot: 1.01 against 1.12).
        # Averaging takes the skewness away: only 1 / P of it is left where the period is 1 (flights13_late, half the
        # limit: 0.93 of what is measured if all were, 0.99 so).
        settles = contraction
        if not around.is_quadratic:
            settles = contraction + mean_share * eta**2 * np.outer(eigenvalues, eigenvalues)
        lost = np.zeros((m, m))
        if epoch is not None:
            own = directions.T @ around.covariance @ directions / batch_size
            lost = w2 * own * (1.0 - epoch_share(eta * eigenvalues * epoch))

        def spread_at(share: Matrix, along: Matrix = along, lost: Matrix = lost) -> Matrix:
            return directions @ (eta**2 * (along * share - lost) / settles) @ directions.T  # noqa: B023 - called here

        spread = spread_at(mean_share)
        phases, young = [spread], None
        if 1 < period < np.inf and not around.is_quadratic:
            # Gradients are taken after k = 0 .. N - 1 steps of a round, where r^k of the mean's spread is left.
            steps = range(round(period)) if period <= len(PHASES) else [part * period - 0.5 for part in PHASES]
            shares = np.array([1.0 - (1.0 - w2) * (1.0 - contraction) ** k for k in steps])
            # Three points miss the start of a long round: their mean is put right.
            phases = [spread_at(share) for share in shares + (mean_share - shares.mean(axis=0))]
            young = Young(noise, fourth, spread_at(np.full((m, m), w2)), spread_at(np.ones((m, m))))
        centre = centre - share_of_new * np.linalg.solve(hessian, gradient)
        before, size = size, float((around.eigenvalues * np.diag(spread)).sum())
        changed_before, change = change, size - before
        if change * changed_before < 0.0:  # to and fro, for ever perhaps: by smaller steps
            share_of_new = max(0.8 * share_of_new, 0.2)
        if abs(change) <= SETTLED * size:
            return Settled(centre, spread, noise, np.array([variance, kurtosis]), eigenvalues, directions)
        if not np.isfinite(size):
            break
    raise ValueError(
        f"step size {eta:g} is beyond the stability limit at period {period:g}: the spread of the workers grows "
        "without end; take a smaller step"
    )


def _kurtosis(around: Expansion, variance: Matrix, young: Young, w2: float, eta: float, batch_size: int) -> Matrix:
    """Return the excess kurtosis of the rows' predictions at the phases of a round."""
    noise, begin, rest = (around.row_variance(spread) for spread in (young.noise, young.begin, young.rest))
    step, own = (1.0 - w2) * eta**2 * noise, variance - begin
    with np.errstate(divide="ignore", invalid="ignore"):  # of rows that are zero
        one = (young.fourth / (batch_size * noise) ** 2 - 3.0) / batch_size
        left = np.clip((rest - variance) / np.maximum(rest - begin - step, 1e-12 * rest), 0.0, 1.0)
        found = one * np.minimum(step, own) * own / variance**2 * left**2  # the first phase is younger than a step
    return np.where((own > 0.0) & (noise > 0.0), found, 0.0)


def epoch_share(a: Vector) -> Matrix:
    """Return what reshuffling leaves of the spread of an iterate, for pairs of a = eta lambda (steps of an epoch).

    Noise that sums to zero over every epoch is white noise less its mean over the epoch. The response to that mean,
    and its covariance with the response to white noise, are the same thing, so the share that is left, averaged over
    an epoch, is 1 - (a + b) / (a b) (1 - f(a) - f(b) + f(a + b) + (1 - exp(-a)) (1 - exp(-b)) / (a + b)) with
    f(a) = (1 - exp(-a)) / a; of a = b it is 1 - (2 / a) (1 - f(a)). (Derived for this package, in continuous time.)

    >>> np.round(epoch_share(np.array([1e-3, 1.0, 100.0])).diagonal(), 4)
    array([3.000e-04, 2.642e-01, 9.802e-01])
    """
    a = np.maximum(a, 1e-4)  # below that nothing is left, and the terms cancel
    gone = -np.expm1(-a)
    both, f = a[:, None] + a, gone / a
    lost = 1.0 - f[:, None] - f - np.expm1(-both) / both + np.outer(gone, gone) / both
    return np.clip(1.0 - both / np.outer(a, a) * lost, 0.0, 1.0)


def data_stability_limit(problem: Problem | Expansion, batch_size: int = 1) -> float:
    """Return the constant step size beyond which the second moment of one worker grows, near the optimum.

    The upper one of two bounds that differ by some 0.1% (``stability``), at one-shot averaging; at most 2 / L, beyond
    which the mean grows. From a sample of 10,000 rows, where a few large ones can decide: ``estimate`` gives the
    limit of all rows. Where slopes are bounded (logistic) iterates beyond it stay finite. (Derived for this package.)

    Parameters
    ----------
    problem : Problem or Expansion
    batch_size : int
        Rows of a step.

    Examples
    --------
    Rows of one feature +-1: x^4 = x^2 = 1, and every step multiplies the distance by 1 - eta.

    >>> import fastlsgd as fl
    >>> rows = np.array([[1.0], [-1.0], [1.0], [-1.0]])
    >>> round(data_stability_limit(fl.Problem(rows, np.array([1.0, -1.0, 2.0, -2.0]))), 2)
    2.0
    """
    around = problem if isinstance(problem, Expansion) else Expansion(problem, LIMIT_ROWS)
    squares = np.outer(around.eigenvalues, around.eigenvalues)

    def image(spread: Matrix) -> Matrix:
        return squares * spread + around.added_noise(spread) / batch_size

    with one_blas_thread(len(around.eigenvalues)):
        return second_moment_limit(around.eigenvalues, image)[1]


def _contraction(eigenvalues: Vector, eta: float) -> Matrix | None:
    """1 - rho_i rho_j, or None if the mean grows."""
    contraction = eta * (eigenvalues[:, None] + eigenvalues) - eta**2 * np.outer(eigenvalues, eigenvalues)
    return contraction if eta * eigenvalues[-1] < 2 and (contraction > 0).all() else None
