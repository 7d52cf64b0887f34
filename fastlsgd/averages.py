"""Average: which mean over the steps w_bar is."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from . import _kernels


@dataclass(frozen=True)
class Average:
    """Weights of the steps in the average: uniform, uniform over a tail, or growing as t^power.

    The running sums belong to the workers and their weights to the step numbers, so the average is the same
    however a run is cut.
    """

    n_steps: int
    name: str = "polyak"
    wanted: bool = True
    begins_after: int = 0
    power: float = 0.0
    # The running total of weights, kept to go on from: (t, total).
    _so_far: list[float] = field(default_factory=lambda: [0, 0.0], compare=False, repr=False)

    @classmethod
    def parse(cls, text: str | None, n_steps: int) -> Average:
        """Return the average that "polyak", "tail:FRACTION", "poly:POWER" or None names."""
        if text is None:
            return cls(n_steps, "none", wanted=False, begins_after=n_steps)
        kind, _, number_text = str(text).partition(":")
        if kind == "polyak" and not number_text:
            return cls(n_steps)
        try:
            number = float(number_text)
        except ValueError:
            number = math.nan
        if kind == "tail" and 0 < number <= 1:
            return cls(n_steps, str(text), begins_after=n_steps - math.ceil(number * n_steps * (1 - 1e-12)))
        if kind == "poly" and 0 <= number <= 16:
            return cls(n_steps, str(text), power=number)
        raise ValueError(
            "average must be 'polyak', 'tail:FRACTION' with a fraction in (0, 1], 'poly:POWER' with a power "
            f"from 0 to 16, or None, got {text!r}"
        )

    def weights(self, steps: npt.NDArray[np.int64]) -> npt.NDArray[np.float64] | None:
        """Return the weights (t / n_steps)^power of the steps, or None where all are 1."""
        if self.power == 0.0:
            return None
        out, scale = np.empty(steps.size), np.empty(1)
        _kernels.inverse_power(np.ascontiguousarray(steps, dtype=np.int64), -self.power, out)
        _kernels.inverse_power(np.array([self.n_steps], dtype=np.int64), self.power, scale)
        return out * scale[0]

    def total(self, t: int) -> float:
        """Return the sum of the weights of the steps 1 .. t: added in that order, wherever the run was cut."""
        if self.power == 0.0:
            return float(max(0, t - self.begins_after)) if self.wanted else 0.0
        at, total = self._so_far
        if t < at:
            at, total = 0, 0.0
        while at < t:
            upto = min(t, int(at) + (1 << 16))
            weights = self.weights(np.arange(int(at) + 1, upto + 1, dtype=np.int64))
            assert weights is not None
            total = float(np.add.accumulate(np.concatenate([[total], weights]))[-1])
            at = upto
        self._so_far[:] = [at, total]
        return total
