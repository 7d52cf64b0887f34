"""Loss: what one sample costs, as two compiled scalars of (prediction, target)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from . import _kernels


@dataclass(frozen=True)
class Loss:
    """A built-in loss, by name.

    - ``"squared"``: half squared error (z - y)^2 / 2, for any real target.
    - ``"logistic"``: log(1 + exp(-y z)), for targets -1 and +1.

    Calling it gives the loss, ``dloss`` its derivative in the prediction, both in float64
    and in the kernels' own arithmetic.

    Parameters
    ----------
    name : "squared" or "logistic"

    Raises
    ------
    ValueError
        Another name.

    Examples
    --------
    >>> Loss("squared")(3.0, 1.0), Loss("squared").dloss(3.0, 1.0)
    (2.0, 2.0)
    """

    name: str

    def __post_init__(self) -> None:
        if self.name not in _kernels.LOSSES:
            names = ", ".join(repr(name) for name in _kernels.LOSSES)
            raise ValueError(f"loss must be one of {names}, got {self.name!r}")

    @property
    def is_binary(self) -> bool:
        """Whether targets are the labels -1 and +1."""
        return self.name == "logistic"

    @property
    def curvature(self) -> float:
        """Largest second derivative in the prediction: 1 for squared, 1/4 for logistic."""
        return 0.25 if self.name == "logistic" else 1.0

    def __call__(self, prediction: npt.ArrayLike, target: npt.ArrayLike) -> npt.NDArray[np.float64] | float:
        """Return the loss of each (prediction, target), float64, broadcast together."""
        return self._evaluate(_kernels.loss, prediction, target)

    def dloss(self, prediction: npt.ArrayLike, target: npt.ArrayLike) -> npt.NDArray[np.float64] | float:
        """Return the derivative in the prediction, float64, broadcast together."""
        return self._evaluate(_kernels.dloss, prediction, target)

    def d2loss(self, prediction: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the second derivative in the prediction (no loss here needs the target for it), float64."""
        z = np.asarray(prediction, dtype=np.float64)
        if self.name == "squared":
            return np.ones_like(z)
        p = 1.0 / (1.0 + np.exp(-np.abs(z)))
        return p * (1.0 - p)

    def _evaluate(self, kernel, prediction, target):  # type: ignore[no-untyped-def]
        z, y = np.broadcast_arrays(np.asarray(prediction, dtype=np.float64), np.asarray(target, dtype=np.float64))
        out = np.empty(z.shape)
        kernel(
            _kernels.LOSSES.index(self.name),
            np.ascontiguousarray(z).ravel(),
            np.ascontiguousarray(y).ravel(),
            out.ravel() if out.ndim else out.reshape(1),
        )
        return out if out.ndim else float(out)
