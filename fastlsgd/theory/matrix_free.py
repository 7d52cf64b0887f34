"""The constants where no matrix over the parameters can be held: by products of the Hessian with vectors.

Both ends of the spectrum are Ritz values of a Lanczos recursion. What the noise of the gradient meets,
tr(H^-1 S) and F'''[A] with H A + A H = S, are means over random vectors xi = n^(-1/2) sum_i s_i (g_i - gbar) with
random signs s_i, whose covariance is S: a recursion that starts at xi ends in a small tridiagonal matrix, in whose
basis xi' H^-1 xi and the part of A that is due to xi, the integral of exp(-H t) xi xi' exp(-H t) over t > 0, are read
off. Rows of one draw share all their products, and the more directions the noise has the less a draw varies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..problem import Problem
from .constants import Constants
from .rows import least_curvature, penalty, terms

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]

# Products of a recursion: so many for the ends of the spectrum; so many at the most for what noise meets, if their
# vectors fit in 2^26 numbers.
END_PRODUCTS, MOST_PRODUCTS, MOST_ENTRIES = 64, 400, 1 << 26
# It is looked at this often, and ends when what is left out is at most this part.
LOOK_EVERY, TRUNCATION = 8, 1e-3
# Draws at the most; those after which fewer may suffice, when the intervals of tr(H^-1 S) and of the bias are these
# parts to either side.
MOST_DRAWS, LOOKS, ENOUGH, ENOUGH_OF_BIAS = 64, (8, 16, 32), 0.02, 0.1
# The stability limit's upper bound: passes at the most, and until it falls by less than this part.
LIMIT_PASSES, LIMIT_SETTLED = 8, 1e-3
# Beyond this to either side it is of no use.
USELESS = 0.25
# A smallest Ritz value stands for mu when its residual is at most this part of it, or it is as near to the bound.
RESOLVED = 0.1
# Eigenvectors along which means are exact: at the most, and resolved to this part.
MOST_EXACT, EXACT = 8, 1e-6
# Directions of A whose part of the largest is smaller do not count.
SMALL = 1e-4
# What a product adds beyond the basis is rounding if it is at most this part of the Hessian's norm (seen: 2e-16).
ROUNDING = 1e-12
# Rows looked at together.
CHUNK = 8192


@dataclass(frozen=True)
class Chunk:
    """Some rows of X, float64 or as they are stored, and the intercept's 1 if there is one."""

    rows: slice
    X: Any
    intercept: bool

    def times(self, V: Matrix) -> Matrix:
        """Return <x, v> for the columns of V, shape (n_rows, k)."""
        n_features = self.X.shape[1]
        return np.asarray(self.X @ V[:n_features]) + (V[n_features:].sum(axis=0) if self.intercept else 0.0)

    def summed(self, a: Vector) -> Vector:
        """Return sum a_i x_i, for every column of a."""
        total = np.asarray(self.X.T @ a)
        return np.concatenate([total, a.sum(axis=0, keepdims=True)]) if self.intercept else total

    def squares(self) -> Chunk:
        """Return the rows with every entry squared."""
        if hasattr(self.X, "tocsr"):
            X = self.X.astype(np.float64)
            X.data **= 2
            return Chunk(self.rows, X, self.intercept)
        return Chunk(self.rows, self.X**2, self.intercept)


class Products:
    """A problem at w, as far as passes over its rows know it.

    Attributes
    ----------
    slope, curvature, third, square : array, shape (n_samples,)
        Of every row: weight times derivative of its loss, and |x|^2 (the intercept's 1 included).
    product : function
        ``problem.hessian_product(w)``.
    """

    def __init__(self, problem: Problem, w: Vector) -> None:
        self.problem = problem
        self.product = problem.hessian_product(w)
        self.slope, self.curvature, self.third, self.square = np.empty((4, problem.n_samples))
        for chunk in self.chunks():
            at = terms(problem, chunk.rows, chunk.times(w[:, None])[:, 0])
            self.slope[chunk.rows], self.curvature[chunk.rows], self.third[chunk.rows] = (
                at.slope,
                at.curvature,
                at.third,
            )
            self.square[chunk.rows] = chunk.squares().times(np.ones((problem.n_params, 1)))[:, 0]

    def chunks(self) -> Iterator[Chunk]:
        """Yield all rows."""
        problem = self.problem
        if not problem.is_sparse:
            for rows, block in problem.blocks():
                yield Chunk(rows, block[:, : problem.n_features], problem.fit_intercept)
            return
        for first in range(0, problem.n_samples, CHUNK):
            rows = slice(first, min(first + CHUNK, problem.n_samples))
            some = problem.X[rows]
            if not some.has_canonical_format:
                some = some.copy()  # the slice may be a view of the user's data
                some.sum_duplicates()
            yield Chunk(rows, some, problem.fit_intercept)

    def mean(self, a: Vector) -> Vector:
        """Return (1/n) sum a_i x_i."""
        total = np.zeros(self.problem.n_params)
        for chunk in self.chunks():
            total += chunk.summed(a[chunk.rows])
        return total / self.problem.n_samples

    def noise(self) -> float:
        """Return tr S, exactly."""
        mean = self.mean(self.slope)
        return max(0.0, float((self.slope**2 * self.square).mean() - mean @ mean))

    def diagonal(self) -> Vector:
        """Return the Hessian's diagonal, exactly."""
        total = np.zeros(self.problem.n_params)
        for chunk in self.chunks():
            total += chunk.squares().summed(self.curvature[chunk.rows])
        return total / self.problem.n_samples + penalty(self.problem)

    def draw(self, rng: np.random.Generator) -> Vector:
        """Return a random vector of covariance S."""
        signs = rng.choice([-1.0, 1.0], self.problem.n_samples)
        return np.sqrt(self.problem.n_samples) * self.mean(self.slope * (signs - signs.mean()))

    def covariance_times(self, U: Matrix) -> Matrix:
        """Return S U."""
        mean = self.mean(self.slope)
        total = np.zeros_like(U)
        for chunk in self.chunks():
            total += chunk.summed(self.slope[chunk.rows, None] ** 2 * chunk.times(U))
        return total / self.problem.n_samples - np.outer(mean, mean @ U)

    def third_of(self, U: Matrix, V: Matrix | None = None) -> Vector:
        """Return F'''[U V'], V = U if it is left out."""
        total = np.zeros(self.problem.n_params)
        for chunk in self.chunks():
            z = chunk.times(U)
            variance = (z * (z if V is None else chunk.times(V))).sum(axis=1)
            total += chunk.summed(self.third[chunk.rows] * variance)
        return total / self.problem.n_samples


@dataclass
class Krylov:
    """What a Lanczos recursion has found: Ritz values, their first components, and the basis.

    Attributes
    ----------
    basis : array, shape (k, n_params)
        Orthonormal; the first is the start, normalised.
    values : array, shape (k,)
        Ritz values, ascending.
    vectors : array, shape (k, k)
        Columns: the Ritz vectors in the basis.
    next : float
        Norm of what the next product adds beyond the basis: times the last component of a Ritz vector it is the
        residual of that.
    """

    basis: Matrix
    values: Vector
    vectors: Matrix
    next: float

    def residual(self, j: int) -> float:
        """Return the residual of a Ritz pair."""
        return self.next * abs(float(self.vectors[-1, j]))


def lanczos(
    product: Callable[[Vector], Vector],
    start: Vector,
    most: int,
    enough: Callable[[Krylov], bool],
    *,
    without: Matrix | None = None,
    norm: float = 0.0,
) -> Krylov:
    """Return the Krylov space of the start, of at most so many products, or when it is enough.

    With full reorthogonalisation, twice (Lanczos 1950; recalled). Normalised rounding is no new direction: it lies
    as much within the basis as beyond it, and what it would end in are Ritz values that the operator does not have.

    Parameters
    ----------
    without : array, shape (n_params, m), or None
        Orthonormal columns. The recursion is that of the operator between the vectors orthogonal to them.
    norm : float
        Of the operator, as far as it is known to be large: rounding is a part of it.
    """
    from scipy.linalg import eigh_tridiagonal

    without = np.empty((len(start), 0)) if without is None else without
    dimension = len(start) - without.shape[1]
    most = min(most, dimension)
    basis = np.empty((most, len(start)))
    start = start - without @ (without.T @ start)
    basis[0] = start / np.linalg.norm(start)
    diagonal, next_to_it = np.zeros(most), np.zeros(most)
    for k in range(1, most + 1):
        known, image = basis[:k], product(basis[k - 1])
        norm = max(norm, float(np.linalg.norm(image)))
        diagonal[k - 1] = image @ basis[k - 1]
        for _ in range(2):
            image -= without @ (without.T @ image)
            image -= (known @ image) @ known
        next_to_it[k - 1] = float(np.linalg.norm(image))
        ended = next_to_it[k - 1] <= ROUNDING * norm or k == most
        if ended or k % LOOK_EVERY == 0:
            values, vectors = eigh_tridiagonal(diagonal[:k], next_to_it[: k - 1])
            found = Krylov(known, values, vectors, 0.0 if k == dimension else float(next_to_it[k - 1]))
            if ended or enough(found):
                break
        basis[k] = image / next_to_it[k - 1]
    return found


def constants_by_products(problem: Problem, w: Vector, seed: int, confidence: float) -> Constants:
    """Return the constants at w, with intervals, or refuse.

    Raises
    ------
    ValueError
        The Hessian is zero, or an interval would be too wide to be of use; the message says what to do.
    """
    at, rng = Products(problem, w), np.random.default_rng(seed)
    least = least_curvature(problem, at.product)
    ends = lanczos(at.product, rng.standard_normal(problem.n_params), END_PRODUCTS, lambda _: False)
    if not ends.values[-1] > 0.0:
        raise ValueError("the Hessian is zero: X holds nothing but zeros, so there is nothing to estimate")
    lipschitz = _lipschitz(problem, ends, confidence)
    noise = at.noise()
    met = _Met(at, ends, least, confidence)
    if noise > 0.0:
        met.draw(rng)
    mu = _mu(at, least, ends, met.smallest)
    spread, bias = met.spread(), met.bias()
    if spread[0] > 0.0:
        mu_eff = tuple(float(np.clip(noise / x, mu[1], lipschitz[2])) for x in (spread[0], spread[2], spread[1]))
    else:  # without noise nothing drifts and any value would do
        mu_eff = lipschitz
    limit = _limit(at, ends)
    found = {
        "mu": mu,
        "mu_eff": mu_eff,
        "lipschitz": lipschitz,
        "noise": (noise, noise, noise),
        "floor": tuple(x / (2 * problem.n_samples) for x in spread),
        "bias": bias,
        "stability_limit": limit,
    }
    return Constants(
        **{name: float(value) for name, (value, _, _) in found.items()},  # type: ignore[arg-type]
        safe_step=problem.safe_step(),
        step_bound=problem.step_bound(),
        method="products with vectors",
        confidence=confidence,
        intervals={name: (float(low), float(high)) for name, (_, low, high) in found.items() if low < high},
    )


# Each of these returns (value, low, high).
Found = tuple[float, float, float]


def _lipschitz(problem: Problem, ends: Krylov, confidence: float) -> Found:
    """The largest Ritz value, a lower bound; above it, what a random start misses with so little probability.

    After k products from a random start the largest Ritz value is below (1 - e) L with probability at most
    1.648 sqrt(d) exp(-(2 k - 1) sqrt(e)) (Kuczynski and Wozniakowski 1992; recalled).
    """
    value, k = float(ends.values[-1]), len(ends.values)
    missed = (np.log(1.648 * np.sqrt(problem.n_params) / (1.0 - confidence)) / (2 * k - 1)) ** 2
    if ends.next <= ROUNDING * value:  # nothing is left out
        return value, value, value
    high = 0.5 / problem.safe_step()
    return value, value, min(high, value / (1.0 - missed)) if missed < 1.0 else high


def _mu(at: Products, least: float, ends: Krylov, smallest: list[tuple[float, float]]) -> Found:
    """Between what is proved and the smallest Ritz value or entry of the diagonal, which are upper bounds."""
    ritz, residual = min([(float(ends.values[0]), ends.residual(0)), *smallest])
    high = min(ritz, float(at.diagonal().min()))
    rounding = at.problem.n_params * np.finfo(np.float64).eps * float(ends.values[-1])
    if high > rounding and (residual <= RESOLVED * ritz or high <= (1.0 + RESOLVED) * least):
        return high, min(least, high), high
    if least > 0.0:
        return least, least, high
    raise ValueError(
        f"mu is somewhere between 0 and {high:.3g}: products of the Hessian with vectors do not resolve its smallest "
        "eigenvalue, and without l2 nothing is known from below; add l2, drop columns that others make up for, or "
        "use at most 2,000 features"
    )


class _Met:
    """What the gradient's noise meets: means over draws of vectors with its covariance.

    Along the largest eigenvectors u of H, where a draw is a single random number squared, the mean is taken exactly:
    of xi = (u' xi) u + rest, H u = lambda u, what crosses is S u, through (lambda + H)^-1 (S u - u u' S u).
    """

    def __init__(self, at: Products, ends: Krylov, least: float, confidence: float) -> None:
        from scipy.special import stdtrit

        self.at, self.least, self.confidence = at, least, confidence
        self.smallest: list[tuple[float, float]] = []
        self._t = lambda n: float(stdtrit(n - 1, 0.5 + 0.5 * confidence))
        self._quadratic = at.problem.loss.name == "squared"
        self._forms: list[float] = []
        self._left_out = 0.0
        self._thirds: list[Vector] = []
        known = [j for j in range(len(ends.values))[::-1] if ends.residual(j) <= EXACT * ends.values[j]][:MOST_EXACT]
        self._U, self._norm = ends.basis.T @ ends.vectors[:, known], float(ends.values[-1])
        self._take_exactly(ends.values[known])

    def _take_exactly(self, eigenvalues: Vector) -> None:
        from scipy.sparse.linalg import LinearOperator, cg

        at, U = self.at, self._U
        noise = at.covariance_times(U)
        within = U.T @ noise
        self._form_of_known = float((np.diag(within) / eigenvalues).sum())
        self._third_of_known = np.zeros(len(U))
        if self._quadratic or not len(eigenvalues):
            return
        beyond = noise - U @ within
        for k, eigenvalue in enumerate(eigenvalues):
            shifted = LinearOperator(
                (len(U), len(U)), lambda v, shift=eigenvalue: at.product(v) + shift * v, dtype=np.float64
            )
            beyond[:, k] = cg(shifted, beyond[:, k], rtol=EXACT)[0]
        drift = within / (eigenvalues[:, None] + eigenvalues)
        self._third_of_known = at.third_of(U, U @ drift + 2.0 * beyond)

    def draw(self, rng: np.random.Generator) -> None:
        """Draw until the intervals are narrow enough, or MOST_DRAWS."""
        while len(self._forms) < MOST_DRAWS:
            self._one(self.at.draw(rng))
            # Looked at where draws have doubled: an interval looked at more often covers less than it says.
            if len(self._forms) in LOOKS and self._is_enough():
                break
        value, low, high = self.spread()
        if high - low > 2.0 * USELESS * value:
            raise ValueError(
                f"tr(H^-1 S), on which floor and mu_eff rest, is only known to be between {low:.3g} and {high:.3g} "
                f"after {len(self._forms)} draws: the noise has too few directions for means over draws; use at most "
                "2,000 features, for which it is computed"
            )

    def _one(self, xi: Vector) -> None:
        at, whole = self.at, float(np.linalg.norm(xi))
        xi = xi - self._U @ (self._U.T @ xi)
        size = float(np.linalg.norm(xi))
        if size <= EXACT * whole:
            self._forms.append(self._form_of_known)
            self._thirds.append(self._third_of_known)
            return
        most = min(MOST_PRODUCTS, MOST_ENTRIES // len(xi))
        found = lanczos(at.product, xi, most, self._solved, without=self._U, norm=self._norm)
        first = found.vectors[0]
        form, left_out = self._parts(found)
        if left_out > USELESS * form:
            raise ValueError(
                f"tr(H^-1 S), on which floor and mu_eff rest, is not resolved by {len(found.values)} products of the "
                f"Hessian, whose eigenvalues spread from {found.values[0]:.1e} (or l2 {at.problem.l2:g}) to "
                f"{found.values[-1]:.1e}; scale the columns of X alike, add l2, or use at most 2,000 features"
            )
        self._left_out = max(self._left_out, left_out / form)
        self._forms.append(self._form_of_known + size**2 * form)
        self.smallest.append((float(found.values[0]), found.residual(0)))
        if self._quadratic:
            return
        inner = np.outer(first, first) / (found.values[:, None] + found.values)
        weights, turn = np.linalg.eigh(inner)
        counts = weights > SMALL * weights[-1]
        U = found.basis.T @ (found.vectors @ (turn[:, counts] * np.sqrt(weights[counts])))
        self._thirds.append(self._third_of_known + size**2 * at.third_of(U))

    def _parts(self, found: Krylov) -> tuple[float, float]:
        """xi' H^-1 xi for |xi| = 1 within the Krylov space (never too large), and a bound of what is left out."""
        first, last = found.vectors[0], found.vectors[-1]
        lowest = self.least if self.least > 0.0 else float(found.values[0])
        if not found.values[0] > 0.0:
            return 1.0, np.inf
        residual = found.next * float((first * last / found.values).sum())
        return float((first**2 / found.values).sum()), residual**2 / lowest

    def _solved(self, found: Krylov) -> bool:
        form, left_out = self._parts(found)
        return left_out <= TRUNCATION * form

    def _is_enough(self) -> bool:
        value, low, high = self.spread()
        if high - low > 2.0 * ENOUGH * value:
            return False
        value, low, high = self.bias()
        return high - low <= 2.0 * ENOUGH_OF_BIAS * value

    def spread(self) -> Found:
        """tr(H^-1 S): Student's interval."""
        n = len(self._forms)
        if not n:
            return 0.0, 0.0, 0.0
        mean = float(np.mean(self._forms))
        half = self._t(n) * float(np.std(self._forms, ddof=1)) / np.sqrt(n)
        return mean, max(mean - half, 0.0), (mean + half) * (1.0 + self._left_out)

    def bias(self) -> Found:
        """|F'''[A]| / 2: the square without bias, its interval by the jackknife (Student's, on the square)."""
        n = len(self._thirds)
        if not n:
            return 0.0, 0.0, 0.0
        T = np.array(self._thirds)
        products = T @ T.T
        of_own, sums = np.diag(products), products.sum(axis=1)
        total, own = float(products.sum()), float(of_own.sum())
        square = (total - own) / (n * (n - 1))
        without = (total - 2.0 * sums + of_own - (own - of_own)) / ((n - 1) * (n - 2))
        error = float(np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum()))
        half = self._t(n) * error
        value, low, high = (0.5 * float(np.sqrt(max(x, 0.0))) for x in (square, square - half, square + half))
        return value, low, high


def _limit(at: Products, ends: Krylov) -> Found:
    """Between bounds that are proved.

    A row's G is at most g = its curvature times |x|^2, plus l2, so E[G G] <= max g H: steps below 2 / max g are
    stable. From above <A, L A> / <A, M A> of any spread A: of the one along the largest Ritz vector, and
    of diagonal ones, among which power iteration finds the best. Where features are many and little
    correlated the latter is within some percent of the limit.
    """
    problem, l2 = at.problem, penalty(at.problem)
    low = 2.0 / float((at.curvature * at.square).max() + problem.l2)
    bounds = [2.0 / float(ends.values[-1])]
    top = ends.basis.T @ ends.vectors[:, -1]
    on_top = [at.curvature[chunk.rows] * chunk.times(top[:, None])[:, 0] ** 2 for chunk in at.chunks()]
    squares = (np.concatenate(on_top) + float(l2 @ top**2)) ** 2
    bounds.append(2.0 * float(ends.values[-1]) / float(squares.mean()))
    diagonal, spread = at.diagonal(), np.ones(problem.n_params)
    for _ in range(LIMIT_PASSES):
        image = np.zeros(problem.n_params)
        for chunk in at.chunks():
            of_squares = chunk.squares()
            image += of_squares.summed(at.curvature[chunk.rows] ** 2 * of_squares.times(spread[:, None])[:, 0])
        image = image / problem.n_samples + (2.0 * (diagonal - l2) * l2 + l2**2) * spread
        bounds.append(2.0 * float(diagonal @ spread**2) / float(spread @ image))
        if bounds[-1] >= (1.0 - LIMIT_SETTLED) * bounds[-2]:
            break
        spread = np.divide(image, diagonal, out=np.zeros_like(image), where=diagonal > 0.0)
        spread /= spread.max()
    high = min(bounds)
    return high, min(low, high), high
