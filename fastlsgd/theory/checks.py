"""Checks of single numbers that more than one part of the theory is given."""

from __future__ import annotations

import math

import numpy as np


def count(name: str, value: object) -> int:
    """Return value as an int; a ValueError that names it unless it is an int >= 1."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name} must be an int >= 1, got {value!r}")
    return int(value)


def positive(name: str, value: float, *, zero: bool = False) -> float:
    """Return value as a float; a ValueError that names it unless it is finite and > 0 (or 0, if zero)."""
    if isinstance(value, (bool, str)) or not (0 < value < math.inf or (zero and value == 0)):
        raise ValueError(f"{name} must be {'>= 0' if zero else 'positive'} and finite, got {value!r}")
    return float(value)
