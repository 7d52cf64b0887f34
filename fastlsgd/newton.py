"""Newton's method where the Hessian is too large to hold: its products with vectors suffice."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]


def conjugate_gradients(product: Callable[[Vector], Vector], b: Vector, *, tolerance: float, most: int) -> Vector:
    """Return x with |H x - b| <= tolerance |b|, H symmetric and not negative, given by its product with a vector.

    At most so many products; a direction in which H is flat ends it with what has been reached. Textbook
    conjugate gradients (Hestenes and Stiefel 1952; recalled).
    """
    x, residual = np.zeros_like(b), b.copy()
    direction, square = residual.copy(), float(residual @ residual)
    enough = tolerance**2 * square
    for _ in range(most):
        if square <= enough:
            break
        image = product(direction)
        curvature = float(direction @ image)
        if not curvature > 0.0:
            break
        step = square / curvature
        x += step * direction
        residual -= step * image
        square, before = float(residual @ residual), square
        direction = residual + (square / before) * direction
    return x if x.any() else b
