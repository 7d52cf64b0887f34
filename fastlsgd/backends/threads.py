"""Threads: P workers in this process, their steps shared by the calling thread and free helpers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .. import _kernels
from ..problem import Problem
from ..state import State, padded_rows
from ..team import share


class Threads:
    """Run a state's workers on n_threads threads over shared arrays.

    Parameters
    ----------
    rows : the dealt rows, as the kernels take them
    weights : float64 array, shape (n_workers,), of the averaging
    """

    def __init__(
        self,
        problem: Problem,
        state: State,
        rows: _kernels.Rows,
        *,
        batch_size: int,
        weights: npt.NDArray[np.float64],
        n_threads: int,
    ) -> None:
        self.n_threads = n_threads
        self._weights, self._n_params, self._is_sparse = weights, state.n_params, problem.is_sparse
        self._slices = _kernels.Slices(
            rows,
            loss=problem.loss.name,
            l2=problem.l2,
            batch_size=batch_size,
            W=state.padded_W,
            sum=state.padded_sum,
            sum64=state.padded_sum64,
            weights=weights,
            clock=state.clock,
            ledger=state.ledger,
            scale=state.scale,
            owed=state.padded_owed,
            n_threads=n_threads,
        )

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
        """Advance every worker by len(eta) steps: see Backend."""
        return self._slices.run(
            periods,
            eta,
            alpha,
            average=average,
            timing=timing,
            want_consensus=want_consensus,
            share=share,
        )

    @property
    def core_s(self) -> float:
        """Seconds that the steps of the last call took, of all threads that took part."""
        return self._slices.core_s

    def look_everywhere(self) -> None:
        """Have the next averaging of a CSR run look at every feature: others have written to W."""
        self._slices.look_everywhere()

    def mean(self, padded_W: np.ndarray) -> np.ndarray:
        """Return the weighted mean of the rows, padded as they are; the same bits as an averaging's.

        Equal rows, as an averaging leaves them, are their own mean: three thirds of a number need not
        be that number.
        """
        if (padded_W == padded_W[0]).all():
            return padded_W[0].copy()
        out = padded_rows(1, self._n_params, padded_W.dtype)[0]
        _kernels.mean_of_workers(padded_W, self._weights, self._n_params, out)
        # Averagings of CSR runs leave features alone on which all agree.
        return np.where((padded_W == padded_W[0]).all(axis=0), padded_W[0], out) if self._is_sparse else out
