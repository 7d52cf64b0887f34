"""Single values that a user gave: made a number, a whole number, a name or a switch, or refused in one line.

The one place where that is done, and so the leaf that every room may use (``arguments`` hands it on to those above
it). Every message says the argument's name, what it must be, what was got and, where there is a better way, that:
TypeError for what is of another kind, ValueError for what is out of its range.
"""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np
import numpy.typing as npt


def number(
    name: str,
    value: Any,
    *,
    above: float = -math.inf,
    least: float = -math.inf,
    below: float = math.inf,
    most: float = math.inf,
    infinite: bool = False,
    hint: str = "",
) -> float:
    """Return value as a float: a real number, or an array of one without dimensions, within the bounds given.

    Parameters
    ----------
    name : str
        Of the argument, as the message says it.
    above, least, below, most : float
        Bounds, without and with themselves.
    infinite : bool
        Whether infinity may be given, where no upper bound excludes it.
    hint : str
        What to do instead, the end of the message: "; use ...".

    Raises
    ------
    TypeError
        Something else than a number: text, None, a bool, an array.
    ValueError
        NaN, or out of bounds.

    Examples
    --------
    >>> number("eta", 1, above=0.0)
    1.0
    >>> number("eta", -0.1, above=0.0)
    Traceback (most recent call last):
    ValueError: eta must be positive and finite, got -0.1
    """
    plain = value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value
    if isinstance(plain, (bool, np.bool_)) or not isinstance(plain, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r}{hint}")
    try:
        found = float(plain)
    except OverflowError:  # an int of more than 308 digits
        found = math.inf if plain > 0 else -math.inf  # type: ignore[operator]
    unbounded = infinite and below == most == found == math.inf
    if not (unbounded or (above < found < below and least <= found <= most)):
        raise ValueError(f"{name} must be {_range(above, least, below, most, infinite)}, got {plain!r}{hint}")
    return found


def _range(above: float, least: float, below: float, most: float, infinite: bool) -> str:
    """Return the bounds in words."""
    low = f"above {above:g}" if above > -math.inf else f">= {least:g}" if least > -math.inf else ""
    if above == 0.0:
        low = "positive"
    if below < math.inf or most < math.inf:
        if above > -math.inf:
            return f"between {above:g} and {below:g}" if below < math.inf else f"above {above:g} and at most {most:g}"
        if least > -math.inf:
            return f"from {least:g} to {most:g}" if most < math.inf else f"from {least:g} to below {below:g}"
        return f"at most {most:g}" if most < math.inf else f"below {below:g}"
    if infinite:
        return low or "a number"
    return f"{low} and finite" if low else "finite"


def whole(name: str, value: Any, *, least: int = 1, hint: str = "") -> int:
    """Return value as an int >= least.

    Raises
    ------
    TypeError
        No int: 2.0 among them.
    ValueError
        Below the least.

    Examples
    --------
    >>> whole("period", 0, hint="; use OneShot() to average only once")
    Traceback (most recent call last):
    ValueError: period must be an int >= 1, got 0; use OneShot() to average only once
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an int, got {value!r}{hint}")
    if value < least:
        raise ValueError(f"{name} must be an int >= {least}, got {value}{hint}")
    return int(value)


def seed_of(value: Any) -> int:
    """Return value as a seed: 64 bits."""
    seed = whole("seed", value, least=0)
    if seed >= 2**64:
        raise ValueError(f"seed must be below 2^64, got {seed}")
    return seed


def one_of(name: str, value: Any, names: tuple[str, ...], hint: str = "") -> str:
    """Return value, which must be one of the names."""
    if not isinstance(value, str) or value not in names:
        raise ValueError(f"{name} must be {' or '.join(map(repr, names))}, got {value!r}{hint}")
    return value


def switch(name: str, value: Any) -> bool:
    """Return value as a bool, which it must be: the text "no" would else be True."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def reals(name: str, values: Any) -> npt.NDArray[np.float64]:
    """Return values as a new float64 array; TypeError if they are no real numbers. Their shape is the caller's."""
    refuse_masked(name, values)
    try:
        found = np.asarray(values)
        missing = found.dtype == object and any(value is None for value in found.flat)  # NumPy would make them NaN
        if found.dtype.kind not in "fiubO" or missing:
            raise TypeError
        return np.array(found, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{name} must hold real numbers, got {values!r}") from None


def refuse_masked(name: str, values: Any) -> None:
    """Raise TypeError of a masked array: NumPy would drop the mask, and what it hides would be taken for data."""
    if isinstance(values, np.ma.MaskedArray):
        raise TypeError(
            f"{name} must be a plain array, got a masked one; fill or drop what is masked: {name}.filled(...)"
        )
