"""The step size beyond which the second moment of one worker grows, between two bounds.

One step of size eta with a random row takes the spread A = E delta delta' to E[(1 - eta G) A (1 - eta G)] =
A - eta (L A - eta M A), G the Hessian of the row's term, L A = H A + A H, M A = E[G A G]. L^-1 and M keep spreads
positive, so it shrinks if and only if eta rho < 1, rho the spectral radius of L^-1 M: the limit is 1 / rho. L^-1 M is
symmetric in the inner product of L, so any A gives rho >= <A, M A> / <A, L A>; and any A > 0 gives rho <= the largest
eigenvalue of L^-1 M A relative to A (Collatz and Wielandt; recalled). (Derived for this package.)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]

# The spread that grows is searched for until L^-1 M A differs from rho A by this part, or so often.
SETTLED, MOST_IMAGES = 1e-4, 100
# Until the bounds differ by this part, or so often over all rows; a spread is kept this part of its mean positive.
NEAR, MOST_PASSES, LEAST = 1e-3, 12, 1e-7
# Matrices so small are diagonalised whole.
SMALL = 100

Image = Callable[[Matrix], Matrix]


def second_moment_limit(
    eigenvalues: Vector, image: Image, on_sample: Image | None = None
) -> tuple[float, float, Matrix]:
    """Return two bounds of the limit, and the spread that grows beyond it.

    Parameters
    ----------
    eigenvalues : array, shape (m,)
        Of H, positive; everything stands in its eigenbasis.
    image : function
        M, linear; of any symmetric matrix.
    on_sample : function or None
        The same on a sample of the rows, where to begin if M is dear.
    """
    sums = eigenvalues[:, None] + eigenvalues
    spread = np.eye(len(eigenvalues))
    if on_sample is not None:
        spread = _growing(sums, on_sample, spread, MOST_IMAGES)
        low, high, after = _bounds(sums, image, spread)
        if low >= (1.0 - NEAR) * high:
            return low, high, spread
        spread = _growing(sums, image, after, MOST_PASSES)
    else:
        spread = _growing(sums, image, spread, MOST_IMAGES)
        low, high = 0.0, np.inf
    for _ in range(MOST_PASSES):
        below, above, after = _bounds(sums, image, spread)
        low, high = max(low, below), min(high, above)
        if low >= (1.0 - NEAR) * high:
            break
        spread = after
    return low, high, spread


def _bounds(sums: Matrix, image: Image, spread: Matrix) -> tuple[float, float, Matrix]:
    """Return the bounds that this spread gives, and L^-1 M of it."""
    moved = image(spread)
    high = float((spread * sums * spread).sum() / (spread * moved).sum())
    moved /= sums
    return 1.0 / _relative(moved, spread), high, _positive(moved)


def _relative(moved: Matrix, spread: Matrix) -> float:
    """Return the largest eigenvalue of one relative to the other, which is positive."""
    from scipy.linalg import cho_factor, cho_solve, eigh
    from scipy.sparse.linalg import LinearOperator, eigsh

    m = len(spread)
    if m < SMALL:
        return float(eigh(moved, spread, eigvals_only=True)[-1])
    factor = cho_factor(spread)
    inverse = LinearOperator((m, m), lambda v: cho_solve(factor, v), dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(m)
    return float(eigsh(moved, 1, M=spread, Minv=inverse, which="LA", v0=start, return_eigenvectors=False)[0])


def _growing(sums: Matrix, image: Image, start: Matrix, most: int) -> Matrix:
    """Return the spread of the largest rho by conjugate gradients on the quotient (Knyazev 2001; recalled)."""
    from scipy.linalg import LinAlgError, eigh

    X, moved = start, image(start)
    direction: tuple[Matrix, Matrix] | None = None
    for _ in range(most):
        size = float((X * sums * X).sum())
        rho = float((X * moved).sum()) / size
        residual = moved / sums - rho * X
        length = np.sqrt(float((residual * sums * residual).sum()))
        if length <= SETTLED * rho * np.sqrt(size):
            break
        residual /= length
        pairs = [(X / np.sqrt(size), moved / np.sqrt(size)), (residual, image(residual))]
        if direction is not None:
            scale = np.sqrt(float((direction[0] * sums * direction[0]).sum()))
            pairs.append((direction[0] / scale, direction[1] / scale))
        try:
            weights = _best(sums, pairs, eigh)
        except LinAlgError:  # the directions no longer differ
            weights = _best(sums, pairs[:2], eigh)
        chosen = list(zip(weights[1:], pairs[1:], strict=False))
        direction = (sum(c * a for c, (a, _) in chosen), sum(c * b for c, (_, b) in chosen))  # type: ignore[assignment]
        assert direction is not None
        X, moved = weights[0] * pairs[0][0] + direction[0], weights[0] * pairs[0][1] + direction[1]
    return _positive(X)


def _best(sums: Matrix, pairs: list[tuple[Matrix, Matrix]], eigh: Callable[..., tuple[Vector, Matrix]]) -> Vector:
    """Return the weights of the combination of largest quotient."""
    of_image = np.array([[float((a * b).sum()) for _, b in pairs] for a, _ in pairs])
    of_sums = np.array([[float((a * sums * c).sum()) for c, _ in pairs] for a, _ in pairs])
    return eigh(0.5 * (of_image + of_image.T), of_sums)[1][:, -1]


def _positive(spread: Matrix) -> Matrix:
    """Return the spread of trace 1, symmetric to the last bit, and positive."""
    m = len(spread)
    spread = 0.5 * (spread + spread.T) / np.trace(spread) + LEAST / m * np.eye(m)
    try:
        np.linalg.cholesky(spread)
    except np.linalg.LinAlgError:
        eigenvalues, directions = np.linalg.eigh(spread)
        spread = (directions * np.maximum(eigenvalues, LEAST / m)) @ directions.T
    return spread
