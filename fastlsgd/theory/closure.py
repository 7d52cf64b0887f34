"""Where the workers are: their mean, how far they spread around it, what noise and what curvature they see there.

A worker at a distance xi of covariance A from the mean path sees, of row x with prediction z, the slope
l'(z + v^(1/2) g), v = x' A x. Averaged over g that gives the mean gradient, the Hessian H and the covariance of the
noise,

    G(z) = E l' x,    H = E l'' x x',    Sigma = E l'^2 x x' - D A D - E l' x (E l' x)'.

In the time s that is the sum of the step sizes the mean moves, and the spread U of a worker never averaged grows, by

    dz/ds = -G(z),    dU/ds = eta Sigma - (H U + U H - eta H U H).

Averaging takes away the share 1 - w2 of the spread, of which r^k is left to be taken, r = rho_i rho_j with
rho = 1 - eta lambda in the eigenbasis of H, when the workers have taken k steps of their own:

    A_ij = (1 - (1 - w2) r_ij^k) U_ij,

over a round of N steps w_ij(N) U_ij on average, w of ``interpolation``. Where U changes, as it does while steps
decay, r^k is left of what U was k steps ago, which is U - k eta dU/ds. All of this holds at once at every moment of
a run (``Closure.after``), and where it settles (``settle``): there G = 0 and U_ij = eta^2 Sigma_ij / (1 - rho_i
rho_j). To second order in eta that is the expansion with F''' of Dieuleveut, Durmus and Bach (2020; recalled) and
others; keeping the averages over g makes it hold at larger steps. Exact for least squares at one-shot averaging, rows
drawn anew.

g is normal but for workers that have been averaged a few steps ago. What those have of their own is the sum of a few
gradients, and of that the fourth cumulant counts. With kappa the excess kurtosis of one gradient seen along x, q the
variance it adds to the prediction, v - v_0 what all since the averaging have added, g has the excess kurtosis

    kappa q (v - v_0) / v^2 ((v_1 - v) / (v_1 - v_0 - q))^2,

v_1 that of a worker never averaged: kappa after the first step if v_0 = 0, kappa / k after k of them, and less as
gradients fade. Of such a worker nothing is left: there the bent slopes take away what gradients bring. (Median row,
half the limit, v_0 = 0, after 1, 2, 3, 4, 8, 16, 32 steps: simulated 5.2, 2.2, 1.2, 0.8, 0.2, 0.0, 0.0 on
flights13_late, predicted 5.0, 2.2, 1.2, 0.8, 0.3, 0.1, 0.0; 46, 24, 16, 11, 5.5, 2.6, 1.3 and 46, 23, 15, 11, 4.9,
2.1, 0.8 on breast_cancer. Skewness is left out: it moves the mean by at most a fifth of what kurtosis does.)
(Derived for this package.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from .. import arguments
from ..cores import one_blas_thread
from ..problem import Problem
from ..scalars import number
from .eigenbasis import Eigenbasis
from .expansion import Expansion
from .periods import interpolation
from .stability import second_moment_limit

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]

# Parts of a round at which the spread is looked at: Chebyshev's three points of equal weight. Slopes and curvature
# are averaged at each, as their means over a round are not those at its mean spread (flights13_late, half the limit,
# period 16, 20,000 rows: 1.05 times what is measured; 1.10 at the mean spread, 1.05 at sixteen points).
PHASES = (0.5 - np.sqrt(0.125), 0.5, 0.5 + np.sqrt(0.125))
# Found when an iteration changes the spread by less than this part: at a moment of a run, and where it settles.
FOUND, SETTLED, MOST_ITERATIONS = 2e-3, 1e-5, 300
# Of predictions whose variance is so small a part of what it is, averages are of second order in the spread.
SMALL = 1e-3
# Of rounds in which so little decays, closed forms would cancel.
NEAR = 0.01


@dataclass(frozen=True)
class Seen:
    """What workers see of the problem, averaged over their spread, in the eigenbasis of the Hessian at the optimum.

    Attributes
    ----------
    noise : array, shape (m, m)
        Covariance of one worker's gradient.
    fourth : array, shape (n_rows,)
        As of ``Expansion.averaged``: what the kurtosis of one gradient comes from.
    eigenvalues, directions : array, shape (m,) and (m, m)
        Of the Hessian; directions are columns.
    pull : array, shape (m,)
        H z - G: what the mean gradient would be at the optimum, were it linear, with its sign changed.
    """

    noise: Matrix
    fourth: Vector
    eigenvalues: Vector
    directions: Matrix
    pull: Vector

    @property
    def hessian(self) -> Matrix:
        """The Hessian."""
        return (self.directions * self.eigenvalues) @ self.directions.T


@dataclass(frozen=True)
class Where:
    """Where the workers are at a moment of a run, in the same basis.

    Attributes
    ----------
    seen : Seen
        What they see there.
    centre : array, shape (m,)
        The mean of the workers' iterates, less w*.
    spread : array, shape (m, m)
        Covariance of one worker's iterate, averaged over a round.
    phases : tuple of array, shape (m, m)
        The same at the phases of a round (``PHASES``; one where all are alike).
    row_spread : array, shape (2, n_phases, n_rows)
        Variance and excess kurtosis of the predictions of the sampled rows, at those phases.
    unaveraged : array, shape (2, m, m)
        Spread of a worker never averaged, U, and what reshuffling takes away from all spreads.
    velocity, growth : array, shape (m,) and (2, m, m)
        Derivatives of centre and unaveraged in s.
    """

    seen: Seen
    centre: Vector
    spread: Matrix
    phases: tuple[Matrix, ...]
    row_spread: Vector
    unaveraged: Matrix
    velocity: Vector
    growth: Matrix


@dataclass(frozen=True)
class Closure:
    """The equations above, for workers who draw and are averaged in one way.

    Attributes
    ----------
    around : Expansion
    w2 : float
        Sum of the squared weights of the averaging.
    batch_size : int
    epoch : float or None
        Steps of an epoch when rows are reshuffled: the mean of the workers then spreads less (``epoch_share``). None:
        rows are drawn with replacement.
    """

    around: Expansion
    w2: float
    batch_size: int = 1
    epoch: float | None = None

    @property
    def cancels(self) -> Matrix:
        """Noise that cancels over an epoch, to first order: all of what there is at the optimum; none if replaced."""
        return self.around.covariance / self.batch_size * (self.epoch is not None)

    def at(self, start: Vector, eta: float) -> Where:
        """Return where workers are that all begin at ``start``: there, not spread at all."""
        m, row_spread = len(start), np.zeros((2, 1, len(self.around.rows)))
        none = np.zeros((2, m, m))
        seen = self._see(start, none[0], row_spread)
        lost = seen.directions @ self._lost(seen, eta) @ seen.directions.T
        velocity, growth = seen.pull - seen.hessian @ start, eta * np.array([seen.noise, lost])
        return Where(seen, start, none[0], (none[0],), row_spread, none, velocity, growth)

    def after(
        self, before: Where, length: float, eta: float, period: float, age: float | None = None,
        accuracy: float = FOUND,
    ) -> Where:  # fmt: skip
        """Return where the workers are after steps from ``before`` that sum to length (infinity: where they settle).

        Between the two moments what drives mean and spread is taken as linear in s.

        Parameters
        ----------
        before : Where
        length, eta : float
            Sum of the steps; the step size then.
        period : float
            Steps of a round then; infinity is one-shot averaging.
        age : float or None
            Steps since the last averaging (infinity: there was none). None: any of a round's.
        accuracy : float
            The spread is found when an iteration changes it by less than this part.

        Raises
        ------
        ValueError
            No such place: eta is beyond the stability limit, of the mean or of the second moment.
        """
        here = self._moved(before, before.seen, length, eta, period, age)
        row_spread = self._row_spread(here, eta)
        change, share_of_new = 0.0, 1.0
        for _ in range(MOST_ITERATIONS):
            seen = self._see(here.centre, here.spread, row_spread)
            last, here = here, self._moved(before, seen, length, eta, period, age)
            size, size_before = (float((self.around.eigenvalues * np.diag(at.spread)).sum()) for at in (here, last))
            changed_before, change = change, size - size_before
            if abs(change) <= accuracy * size:
                return replace(here, row_spread=row_spread)
            if not np.isfinite(size):
                break
            if change * changed_before < 0.0:  # to and fro, for ever perhaps: by smaller steps
                share_of_new = max(0.8 * share_of_new, 0.2)
            here = replace(here, centre=last.centre + share_of_new * (here.centre - last.centre))
            row_spread = row_spread + share_of_new * (self._row_spread(here, eta) - row_spread)
        raise ValueError(
            f"step size {eta:g} is beyond the stability limit at period {period:g}: the spread of the workers grows "
            "without end; take a smaller step"
        )

    def beyond(self, where: Where) -> Vector:
        """Return what of the mean gradient there is of terms beyond second order in the spread."""
        variance, around = where.row_spread[0].mean(axis=0), self.around
        plain = around.gradient(where.centre)
        second_order = (around.gradient(where.centre, SMALL * variance) - plain) / SMALL
        return around.gradient(where.centre, *where.row_spread) - plain - second_order

    def _see(self, centre: Vector, spread: Matrix, row_spread: Vector) -> Seen:
        """Return what workers see whose predictions are spread so."""
        gradient, hessian, squares, fourth = self.around.averaged(centre, *row_spread)
        data_hessian = hessian - self.around.penalty
        data_gradient = gradient - self.around.penalty @ centre - self.around.pull
        noise = squares - data_hessian @ spread @ data_hessian - np.outer(data_gradient, data_gradient)
        return Seen(noise / self.batch_size, fourth, *np.linalg.eigh(hessian), hessian @ centre - gradient)

    def _moved(
        self, before: Where, seen: Seen, length: float, eta: float, period: float, age: float | None
    ) -> Where:  # fmt: skip
        """Return where the workers are after that length, at whose end they see what is given."""
        eigenvalues, directions = seen.eigenvalues, seen.directions
        contraction = _contraction(eigenvalues, eta)
        if length == np.inf and eta * eigenvalues[-1] >= 2.0:
            raise ValueError(f"step size {eta:g} is unstable: it must be below {2 / eigenvalues[-1]:g} = 2 / L")
        if length == np.inf and not eigenvalues[0] > 0.0:
            raise ValueError(
                f"where step size {eta:g} spreads them the workers see no curvature along some direction, so they "
                "settle nowhere; take a smaller step, l2 > 0, or more rows for the Expansion"
            )
        mean_share, shares = self._shares(contraction, eta, period, age)
        settles = self._settles(eigenvalues, contraction, eta, mean_share[0])
        back = directions.T
        began, grew = (back @ matrices @ directions for matrices in (before.unaveraged, before.growth))
        fed = eta * np.array([back @ seen.noise @ directions, self._lost(seen, eta)])
        unaveraged, growth = driven(began, grew, fed, settles / eta, length)
        centre, velocity = driven(back @ before.centre, back @ before.velocity, back @ seen.pull, eigenvalues, length)

        def spread_at(share: Matrix) -> Matrix:
            return directions @ (share[0] * unaveraged[0] + share[1] * growth[0] - unaveraged[1]) @ back

        return Where(
            seen, directions @ centre, spread_at(mean_share), tuple(spread_at(share) for share in shares),
            before.row_spread, directions @ unaveraged @ back, directions @ velocity, directions @ growth @ back,
        )  # fmt: skip

    def settles(self, eigenvalues: Vector, eta: float, period: float) -> Matrix:
        """Return the part of a worker's spread that a step takes away, for pairs of eigenvalues of the Hessian."""
        contraction = _contraction(eigenvalues, eta)
        return self._settles(eigenvalues, contraction, eta, interpolation(period, contraction, self.w2))

    def _settles(self, eigenvalues: Vector, contraction: Matrix, eta: float, mean_share: Matrix) -> Matrix:
        """Return the same where averaging leaves that share of the spread.

        Of losses that are not quadratic, the skewness of the spread takes away about what -eta H U H adds; left out
        together they come nearer than one of them alone (coin problem, one-shot: 0.97 against 1.09). That skewness
        is a third cumulant: the noise of b rows has 1 / b^2 of one row's, as has what curvature makes of the spread,
        while the spread has 1 / b. So a batch takes it away as averaging does: 1 / b of it is left, and of that only
        1 / P where the period is 1 (flights13_late, half the limit: 0.93 of what is measured if all were, 0.99 so;
        20 rows a step of 5 features, half the limit of the batch: 0.42 and 0.93). So the run of P workers who are
        averaged after every step and that of one worker with P rows a step, which are the same in law, are predicted
        alike.
        """
        if self.around.is_quadratic:
            return contraction
        return contraction + mean_share / self.batch_size * eta**2 * np.outer(eigenvalues, eigenvalues)

    def _lost(self, seen: Seen, eta: float) -> Matrix:
        """What reshuffling takes away from the noise, in the eigenbasis of the Hessian seen."""
        if self.epoch is None:
            return np.zeros_like(seen.noise)
        own = seen.directions.T @ self.cancels @ seen.directions
        return self.w2 * own * (1.0 - epoch_share(eta * seen.eigenvalues * self.epoch))

    def _shares(
        self, contraction: Matrix, eta: float, period: float, age: float | None
    ) -> tuple[Matrix, list[Matrix]]:
        """Return what parts of U and dU/ds, shape (2, m, m), a worker's spread is.

        Averaged over a round, and at the phases looked at.
        """
        left, taken = np.maximum(1.0 - contraction, 0.0), 1.0 - self.w2
        if age == np.inf or period == np.inf:
            never = np.array([np.ones_like(left), np.zeros_like(left)])
            return never, [never]

        def share(steps: float) -> Matrix:
            kept = taken * left**steps
            return np.array([1.0 - kept, eta * steps * kept])

        if age is not None:
            return share(age), [share(age)]
        mean = np.array([
            interpolation(period, contraction, self.w2), eta * taken * _mean_age(left, contraction, period)
        ])  # fmt: skip
        if period == 1 or self.around.is_quadratic:
            return mean, [mean]
        # Gradients are taken after k = 0 .. N - 1 steps of a round.
        steps = range(round(period)) if period <= len(PHASES) else [part * period - 0.5 for part in PHASES]
        shares = np.array([share(k) for k in steps])
        # Three points miss the start of a long round: their mean is put right.
        return mean, list(shares + (mean - shares.mean(axis=0)))

    def _row_spread(self, at: Where, eta: float) -> Vector:
        """Return variance and excess kurtosis of the rows' predictions at the phases of a round."""
        variance = np.array([self.around.row_variance(spread) for spread in at.phases])
        if len(at.phases) == 1:
            return np.array([variance, np.zeros_like(variance)])
        unaveraged, lost = at.unaveraged
        noise, begin, most = (
            self.around.row_variance(spread)
            for spread in (at.seen.noise, self.w2 * unaveraged - lost, unaveraged - lost)
        )
        step, own = (1.0 - self.w2) * eta**2 * noise, variance - begin
        with np.errstate(divide="ignore", invalid="ignore"):  # of rows that are zero
            one = (at.seen.fourth / (self.batch_size * noise) ** 2 - 3.0) / self.batch_size
            left = np.clip((most - variance) / np.maximum(most - begin - step, 1e-12 * most), 0.0, 1.0)
            found = (
                one * np.minimum(step, own) * own / variance**2 * left**2
            )  # the first phase is younger than a step
        return np.array([variance, np.where((own > 0.0) & (noise > 0.0), found, 0.0)])


def _mean_age(left: Matrix, gone: Matrix, period: float) -> Matrix:
    """Return the mean of k left^k over k = 0 .. period - 1; left = 1 - gone."""
    end = left**period
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (left * (1.0 - end) / gone - period * end) / (period * gone)
    near = 0.5 * (period - 1.0) * (1.0 - gone * (2.0 * period - 1.0) / 3.0)  # where the terms cancel
    return np.where(period * gone < NEAR, near, mean)


def settle(
    around: Expansion, eta: float, period: float, w2: float, batch_size: int = 1, epoch: float | None = None
) -> Where:
    """Return where a run of constant step and period settles (derived for this package).

    Parameters
    ----------
    around : Expansion
    eta : float
        A constant step size.
    period : float
        Infinity is one-shot averaging.
    w2, batch_size, epoch
        As in ``Closure``.

    Raises
    ------
    ValueError
        It does not: eta is beyond the stability limit, of the mean or of the second moment. A number out of its
        range.
    TypeError
        ``around`` is no Expansion.

    Examples
    --------
    Averaging eight workers at every step leaves each an eighth of the spread of one who is never averaged, or a
    little less: nearer to the others it sees less noise.

    >>> import fastlsgd as fl
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((200, 3))
    >>> around = Expansion(fl.Problem(X, X.sum(axis=1) + rng.standard_normal(200)))
    >>> often, rarely, never = (np.trace(settle(around, 0.01, N, w2=1 / 8).spread) for N in (1, 16, np.inf))
    >>> bool(0.12 < often / never < 0.125 < rarely / never < 0.25)
    True
    """
    if not isinstance(around, Expansion):
        raise TypeError(f"around must be an Expansion, got {type(around).__name__}; pass Expansion(problem)")
    eta, batch_size = number("eta", eta, above=0.0), arguments.whole("batch_size", batch_size)
    epoch = None if epoch is None else number("epoch", epoch, above=0.0)
    closure = Closure(around, number("w2", w2, above=0.0, most=1.0), batch_size, epoch)
    at_optimum = closure.at(np.zeros(len(around.eigenvalues)), eta)
    return closure.after(at_optimum, np.inf, eta, period, accuracy=SETTLED)


def driven(value: Vector, rate: Vector, source: Vector, decay: Vector, length: float) -> tuple[Vector, Vector]:
    """Return x, and dx/ds, at the end of a length in which dx/ds = q - decay x, q linear, at its end ``source``.

    ``value`` and ``rate`` are x and dx/ds at its begin.
    """
    x = decay * length
    kept, short = np.exp(-x), x < 1e-3
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = -np.expm1(-x) / x
        of_begin = np.where(short, length * (0.5 - x / 3.0), (mean - kept) / decay)
        of_end = np.where(short, length * (0.5 - x / 6.0), (1.0 - mean) / decay)
    end = kept * value + of_begin * (rate + decay * value) + of_end * source
    return end, source - decay * end


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
    which the mean grows. Of a Problem from all its rows; of an Expansion from those that stand for all, where a few
    large ones decide (5,000 of census_hashed's 199,523: 0.86 to 1.04 of it). Where slopes are bounded (logistic)
    iterates beyond it stay finite. (Derived for this package.)

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
    batch_size = arguments.whole("batch_size", batch_size)
    if not isinstance(problem, Expansion):
        arguments.a_problem(problem)
        at = Eigenbasis(problem, problem.optimum())
        with one_blas_thread(len(at.eigenvalues)):
            return at.limit(batch_size)[1]
    around = problem
    squares = np.outer(around.eigenvalues, around.eigenvalues)

    def image(spread: Matrix) -> Matrix:
        return squares * spread + around.added_noise(spread) / batch_size

    with one_blas_thread(len(around.eigenvalues)):
        return second_moment_limit(around.eigenvalues, image)[1]


def _contraction(eigenvalues: Vector, eta: float) -> Matrix:
    """1 - rho_i rho_j; far from the optimum, where a step may be too large to contract at all, from 0 to 2."""
    contraction = eta * (eigenvalues[:, None] + eigenvalues) - eta**2 * np.outer(eigenvalues, eigenvalues)
    return np.clip(contraction, 0.0, 2.0)
