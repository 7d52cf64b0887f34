"""Constants of a problem: curvature, gradient noise, the statistical floor. Exact over the data set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..problem import Problem

# The whole spectrum is computed: O(n_samples n_params^2 + n_params^3) operations.
MOST_PARAMS = 2000


@dataclass(frozen=True)
class Constants:
    """What schedules, step sizes and predictions want to know of a problem at one point w.

    H is the Hessian of F at w, S the covariance of the gradient of one row drawn uniformly from the data set.

    Attributes
    ----------
    mu : float
        Smallest eigenvalue of H: the strong convexity there. Eigenvalues that are zero to rounding are left out:
        in those directions no row has any extent, so no iterate ever moves.
    mu_eff : float
        tr S / tr(H^-1 S), between mu and lipschitz: the constant for which the drift of the workers within a
        round equals, in sum over all directions, the variance that mini-batch averaging leaves (derived for
        this package from the linearised moments; not from the paper).
    lipschitz : float
        Largest eigenvalue of H.
    noise : float
        tr S, the variance sigma^2 of the gradient of one row.
    floor : float
        tr(H^-1 S) / (2 n_samples): the excess objective at which an estimate from n_samples fresh rows would stand
        on average (the sandwich formula of M-estimation, recalled). What is optimised below it fits
        the sampling noise of this data set.
    safe_step, step_bound : float
        ``Problem.safe_step()``, and ``Problem.step_bound()`` for one row a step.
    """

    mu: float
    mu_eff: float
    lipschitz: float
    noise: float
    floor: float
    safe_step: float
    step_bound: float


def estimate(problem: Problem, w: npt.ArrayLike | None = None) -> Constants:
    """Return the constants of the problem at w, by two passes over the data and one eigendecomposition.

    Parameters
    ----------
    problem : Problem
        With at most 2,000 parameters.
    w : array, shape (n_params,), or None
        Where; None is the optimum, which is computed if it is not known yet.

    Raises
    ------
    ValueError
        More than 2,000 parameters, or no optimum (``Problem.optimum``).

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 0.0], [0.0, 2.0]])
    >>> found = estimate(Problem(X, np.array([1.0, 2.0, -1.0, -2.0])))
    >>> found.mu, found.lipschitz, found.noise, found.mu_eff, found.floor
    (0.5, 2.0, 8.5, 1.7, 0.625)
    """
    check_size(problem)
    point = problem.optimum() if w is None else np.asarray(w, dtype=np.float64)
    eigenvalues, directions = np.linalg.eigh(problem.hessian(point))
    present = eigenvalues > problem.n_params * np.finfo(np.float64).eps * eigenvalues[-1]
    if not present.any():
        raise ValueError("the Hessian is zero: X holds nothing but zeros, so there is nothing to estimate")
    covariance = gradient_covariance(problem, point)
    along = np.einsum("ij,ij->j", directions, covariance @ directions)
    noise, spread = float(np.trace(covariance)), float((along[present] / eigenvalues[present]).sum())
    mu, lipschitz = float(eigenvalues[present][0]), float(eigenvalues[-1])
    return Constants(
        mu=mu,
        # Without noise nothing drifts and any value would do; the largest gives the shortest period.
        mu_eff=float(np.clip(noise / spread, mu, lipschitz)) if spread > 0 else lipschitz,
        lipschitz=lipschitz,
        noise=noise,
        floor=spread / (2 * problem.n_samples),
        safe_step=problem.safe_step(),
        step_bound=problem.step_bound(),
    )


def check_size(problem: Problem) -> None:
    """Raise ValueError if the problem has more parameters than an eigendecomposition can take."""
    if problem.n_params > MOST_PARAMS:
        raise ValueError(
            f"the constants need all eigenvalues of the Hessian: n_params may be at most {MOST_PARAMS}, "
            f"got {problem.n_params}; use fewer features, or give AdaptivePeriod a mu of your own (l2 is a bound)"
        )


def gradient_covariance(problem: Problem, w: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return S = (1/n) sum g_i g_i^T - gbar gbar^T; the penalty's part of g_i is the same in all rows."""
    moment, mean = np.zeros((problem.n_params, problem.n_params)), np.zeros(problem.n_params)
    for rows, block in problem.blocks():
        slope = np.asarray(problem.loss.dloss(block @ w, problem.y[rows]))
        if problem.sample_weight is not None:
            slope = slope * problem.sample_weight[rows]
        block *= slope[:, None]
        moment += block.T @ block
        mean += block.sum(axis=0)
    mean /= problem.n_samples
    return moment / problem.n_samples - np.outer(mean, mean)
