"""Backends: who runs the steps of the workers, and averages them."""

from typing import Protocol

import numpy as np
import numpy.typing as npt


class Backend(Protocol):
    """What the solver asks of a backend, once its run has been laid out."""

    @property
    def core_s(self) -> float:
        """Seconds that the steps of the last call took, of all threads that took part; NaN if it was not timed."""
        ...

    def run(
        self,
        periods: npt.NDArray[np.int64],
        eta: npt.NDArray[np.float64],
        alpha: npt.NDArray[np.float64] | None,
        *,
        average: bool,
        timing: bool,
        want_consensus: bool,
    ) -> int:
        """Advance every worker by len(eta) steps, averaging whenever a round is complete.

        Returns the first worker whose iterate is not finite, or -1.
        """
        ...
