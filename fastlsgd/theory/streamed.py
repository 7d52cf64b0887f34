"""Predictions for runs on streams: exact, where the stream is a quadratic."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..stream_problem import StreamProblem
from ..streams import QuadraticStream
from .exact import exact_moments

Vector = npt.NDArray[np.float64]


def exact_prediction(
    problem: StreamProblem, etas: Vector, lengths: npt.NDArray[np.int64], shares: Vector, batch_size: int, w0: Vector
) -> dict[str, Any]:
    """Return the fields of a ``Prediction`` for a run on a stream, from its exact moments.

    Parameters
    ----------
    etas, lengths : arrays
        Step sizes of all steps, lengths of all rounds.
    shares : array, shape (n_workers,)
        Weights of the averaging.
    w0 : array, shape (n_params,)

    Raises
    ------
    ValueError
        The squared loss with l2 or with labels, or another loss: such a run is predicted on rows drawn from it.
    """
    stream = problem.stream
    noise: dict[str, Any]
    if isinstance(stream, QuadraticStream):
        noise = {"noise_cov": stream.noise_cov}
    elif problem.is_quadratic and stream.target == "linear" and problem.l2 == 0.0:
        noise = {"noise": "gaussian", "target_variance": stream.noise**2, "kurtosis": stream.kurtosis}
    else:
        raise ValueError(
            "runs on a stream are predicted for QuadraticStream, and for the squared loss without l2 on linear "
            "targets; else draw rows, X, y = problem.sample(20_000), and predict a run on Problem(X, y, ...)"
        )
    delta0, n_workers = w0 - stream.w_star, len(shares)
    options: dict[str, Any] = {"weights": shares, "batch_size": batch_size}
    moments = exact_moments(stream.eigenvalues, delta0, lengths.tolist(), etas, n_workers, **noise, **options)
    path = exact_moments(stream.eigenvalues, delta0, 1, etas, 1, noise_cov=0.0)
    worker, mean, w2 = float(moments.worker), float(moments.e1), float(shares @ shares)
    # E <w_k, w_j> of two workers, and from it the mean over k of E |w_k - w|^2.
    pair = (mean - w2 * worker) / (1.0 - w2) if w2 < 1.0 else worker
    consensus = worker + mean - 2.0 * (worker + (n_workers - 1) * pair) / n_workers
    excess, bias = float(moments.e3), float(path.e3)
    return {
        "excess": excess, "e2": float(moments.e2), "consensus": max(0.0, consensus), "bias": bias,
        "variance": excess - bias, "low": excess, "high": excess, "n_rounds": len(lengths),
    }  # fmt: skip
