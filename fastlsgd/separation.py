"""Whether a logistic objective falls for ever along a direction: rows that nothing holds back (quasi-separation).

Without a penalty F has a minimum unless some direction v makes a row better and none worse: y_i <x_i, v> >= 0 for all
i, > 0 for one (Albert and Anderson 1984; recalled). Newton's method then runs away along such a v, but for rounding:
what the rows that object leave of it is found here, and held against every row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
Rows = npt.NDArray[np.bool_]
Blocks = Callable[[], Iterator[tuple[slice, Any]]]

# An eigenvalue of the rows that object is zero below this part of the largest; so often may further rows object.
GONE, TIMES = 1e-12, 10
# A row's move that is a smaller part than this of the sum of its entries' moves is rounding: of what was computed, or
# of the data, so many times what their dtype resolves.
ROUNDING, ULPS = 1e-9, 16


def free_direction(blocks: Blocks, signs: Vector, objects: Rows, v: Vector, dtype: Any, wide: bool) -> Vector | None:
    """Return the part of v that makes some rows better and none worse, or None if there is none.

    Parameters
    ----------
    blocks : function
        Yields (which rows, those rows: an array or CSR) of all rows, with the intercept's column if there is one.
    signs : array, shape (n_samples,)
        The labels; 0 for rows that do not count.
    objects : bool array, shape (n_samples,)
        Rows that are known to object to any move.
    v : array, shape (n_params,)
    dtype : dtype
        Of the data as they were given.
    wide : bool
        No matrix over the parameters can be held: v is looked at in the columns that no objecting row holds, alone.
    """
    rounding = max(ROUNDING, ULPS * float(np.finfo(dtype).eps))
    objects = objects & (signs != 0.0)
    for _ in range(TIMES):
        free = _untouched(blocks, objects, v) if wide else _orthogonal(blocks, objects, v)
        better, worse = np.zeros(len(signs), bool), np.zeros(len(signs), bool)
        for rows, block in blocks():
            moves, least = signs[rows] * (block @ free), rounding * (abs(block) @ np.abs(free))
            better[rows], worse[rows] = moves > least, moves < -least
        if not better.any():
            return None
        if not worse.any():
            return free
        objects = objects | worse
    return None


def _untouched(blocks: Blocks, objects: Rows, v: Vector) -> Vector:
    held = np.zeros(len(v))
    for rows, block in blocks():
        held += np.asarray(abs(block[objects[rows]]).sum(axis=0)).ravel()
    return np.where(held > 0.0, 0.0, v)


def _orthogonal(blocks: Blocks, objects: Rows, v: Vector) -> Vector:
    """The part of v that is orthogonal to the rows that object, rows and columns measured alike."""
    scale, gram = np.zeros(len(v)), np.zeros((len(v), len(v)))
    for _, block in blocks():
        np.maximum(scale, abs(block).max(axis=0), out=scale)
    scale[scale == 0.0] = 1.0
    for rows, block in blocks():
        own = block[objects[rows]] / scale
        own /= np.maximum(np.linalg.norm(own, axis=1), np.finfo(np.float64).tiny)[:, None]
        gram += own.T @ own
    eigenvalues, directions = np.linalg.eigh(gram)
    left = directions[:, eigenvalues <= GONE * eigenvalues[-1]]
    moved = left @ (left.T @ (v * scale))
    # Rounding of the whole would move rows that hold nothing else.
    moved[np.abs(moved) <= ROUNDING * np.abs(moved).max(initial=0.0)] = 0.0
    return moved / scale
