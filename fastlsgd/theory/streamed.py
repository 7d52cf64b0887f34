"""What theory knows of streams without drawing a row: the constants of the rules, and exact predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..problem import NoRowsError
from ..stream_problem import StreamProblem
from ..streams import QuadraticStream
from .doubt import Doubt
from .exact import consensus, exact_moments

Vector = npt.NDArray[np.float64]


def mu_of(problem: StreamProblem) -> float:
    """Return the smallest eigenvalue of the Hessian at the optimum, but for those that are zero to rounding."""
    return float(_spectrum(problem)[0][0])


def mu_eff_of(problem: StreamProblem) -> float:
    """Return tr S / tr(H^-1 S), S the covariance of the gradient of a fresh row at the optimum.

    S is noise_cov, of a QuadraticStream. For the squared loss on linear targets, with delta = w - w_star (0 without
    l2) and the entries' kurtosis k, it is (noise^2 + <delta, H delta>) H + H delta delta' H + (k - 3) diag(h^2
    delta^2), h the eigenvalues of H = E x x'. For the logistic loss without l2 it is the Hessian (textbook).

    Raises
    ------
    NoRowsError
        The logistic loss with l2, or the squared loss on labels: S is not known in closed form.
    """
    stream, (eigenvalues, directions) = problem.stream, _spectrum(problem)
    if isinstance(stream, QuadraticStream):
        noise = stream.noise_cov if stream.noise_cov.ndim == 2 else np.diag(stream.noise_cov)
    elif problem.is_quadratic and stream.target == "linear":
        h, delta = stream.eigenvalues, problem.optimum() - stream.w_star
        pulled = h * delta
        noise = (stream.noise**2 + delta @ pulled) * np.diag(h) + np.outer(pulled, pulled)
        noise += (stream.kurtosis - 3.0) * np.diag(pulled**2)
    elif not problem.is_quadratic and problem.l2 == 0.0:
        noise = problem.hessian(problem.optimum())
    else:
        raise NoRowsError(
            "the covariance of the gradient is not known in closed form for the logistic loss with l2, nor for the "
            "squared loss on labels; bind the rule to rows drawn from the stream: rule.bind(Problem(*problem.sample("
            "20_000), loss=..., l2=...), step_size, n_workers, n_steps)"
        )
    met = np.einsum("ij,ik,kj->j", directions, noise, directions)
    spread = float((met / eigenvalues).sum())
    # Without noise nothing drifts and any value would do; the largest gives the shortest period.
    return float(np.clip(met.sum() / spread, eigenvalues[0], eigenvalues[-1])) if spread > 0 else eigenvalues[-1]


def _spectrum(problem: StreamProblem) -> tuple[Vector, npt.NDArray[np.float64]]:
    """Return eigenvalues, ascending, and eigenvectors of the Hessian at the optimum: those that are not zero."""
    eigenvalues, directions = np.linalg.eigh(problem.hessian(problem.optimum()))
    present = eigenvalues > problem.n_params * np.finfo(np.float64).eps * eigenvalues[-1]
    return eigenvalues[present], directions[:, present]


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
        Moments that overflow: the step is beyond the stability limit.
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
    if not np.isfinite(moments.e3):
        raise ValueError(
            f"step size {etas.max():g} is beyond the stability limit: the second moment overflows within "
            f"{len(etas)} steps"
        )
    path = exact_moments(stream.eigenvalues, delta0, 1, etas, 1, noise_cov=0.0)
    spread = consensus(stream.eigenvalues, delta0, lengths, etas, shares, batch_size=batch_size, **noise)
    excess, bias = float(moments.e3), float(path.e3)
    return {
        "excess": excess, "e2": float(moments.e2), "consensus": spread, "bias": bias,
        "variance": excess - bias, "low": excess, "high": excess, "n_rounds": len(lengths),
        "doubt": Doubt(np.zeros_like(delta0), np.zeros_like(delta0)),
    }  # fmt: skip
