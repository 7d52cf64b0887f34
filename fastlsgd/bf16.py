"""Rows stored as bfloat16: the upper half of a float32, eight bits of exponent and eight of precision.

A run with ``storage="bf16"`` reads such a copy of its rows, half the bytes, and computes in float32 with what stands
there: it is the run on ``Problem.rounded()``, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from . import _kernels
from .sparse import is_sparse

# Halfway between the largest finite bfloat16 and the next, which is not finite: from here on none is near.
BEYOND = np.array(0x7F7F8000, np.uint32).view(np.float32)


def check(X: Any) -> None:
    """Raise TypeError unless the rows of X can be stored as bfloat16: dense, float32."""
    if is_sparse(X):
        raise TypeError("storage='bf16' is for dense rows, got CSR; leave it out: indices are half of what CSR reads")
    if X is None:
        raise TypeError("storage='bf16' is for data in arrays, got a stream, whose rows are made and not stored")
    if X.dtype != np.float32:
        raise TypeError(
            f"storage='bf16' is for float32 rows, got {X.dtype}: whoever needs float64 needs its digits; "
            "pass Problem(X.astype(np.float32), ...)"
        )


def rounded(X: np.ndarray) -> np.ndarray:
    """Return X, float32, each entry rounded to the nearest bfloat16 (ties to even), as float32.

    Raises
    ------
    ValueError
        An entry has none near it: beyond 3.39e38.
    """
    out = np.empty_like(X, subok=False, order="C")
    for first in range(0, len(X), 1024):
        bits = X[first : first + 1024].view(np.uint32)
        if (np.abs(X[first : first + 1024]) >= BEYOND).any():
            raise_at_first_beyond(X)
        out[first : first + 1024].view(np.uint32)[...] = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000
    return out


def raise_at_first_beyond(X: np.ndarray) -> NoReturn:
    """Raise ValueError that names the first entry of X without a bfloat16 near it."""
    for first in range(0, len(X), 1024):
        found = np.argwhere(~(np.abs(X[first : first + 1024]) < BEYOND))
        if len(found):
            row, column = first + int(found[0, 0]), int(found[0, 1])
            raise ValueError(
                f"X must be finite when rounded to bfloat16, got {X[row, column]} at row {row}, column {column}; "
                "scale that column"
            )
    raise ValueError("X was changed while its rows were copied; leave X alone while runs use it")


@dataclass(frozen=True)
class RoundedRows:
    """A copy of rows as bfloat16, in the blocks that kernels read: lines of the cache, the last filled with zeros."""

    words: np.ndarray  # uint32, (n_samples, half the entries)
    shape: tuple[int, int]

    @classmethod
    def laid_out(cls, X: np.ndarray) -> RoundedRows:
        """Return room for the rows of X."""
        n, d = X.shape
        words = -(-d // _kernels.BF16_BLOCK) * _kernels.BF16_BLOCK // 2
        return cls(_kernels.aligned(4 * n * words).view(np.uint32).reshape(n, words), (n, d))

    @property
    def dtype(self) -> np.dtype:
        """dtype of the iterates."""
        return np.dtype(np.float32)

    @property
    def nbytes(self) -> int:
        """Bytes of the copy."""
        return self.words.nbytes
