"""Constants: what schedules, step sizes and predictions want to know of a problem at one point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..arguments import a_problem
from ..problem import Problem

# Up to here a matrix over the parameters is held and its whole spectrum computed: n_samples n_params^2 + n_params^3
# operations.
MOST_PARAMS = 2000

# The constants that are estimated; the two steps that ``Problem`` gives are exact, from the row norms.
ESTIMATED = ("mu", "mu_eff", "lipschitz", "noise", "floor", "bias", "stability_limit")
NAMES = (*ESTIMATED, "safe_step", "step_bound")


@dataclass(frozen=True)
class Constants:
    """What schedules, step sizes and predictions want to know of a problem at one point w.

    H is the Hessian of F at w, S the covariance of the gradient of one row drawn uniformly from the data set. All
    speak of this data set; where they are not computed from all of it exactly, ``interval`` says how sure they are.

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
    bias : float
        |F'''(w)[A]| / 2 with H A + A H = S: the norm of H times the bias of one-shot averaging, as a multiple of a
        constant step size, to first order (Dieuleveut, Durmus and Bach, 2020; recalled); what ``osa_threshold``
        asks for. 0 for the squared loss.
    stability_limit : float
        The constant step size, one row a step, beyond which the second moment of one worker grows from near w:
        1 / rho, rho the spectral radius of A -> L^-1 E[G A G], G the Hessian of a random row's term of F and
        L(A) = H A + A H (derived for this package). At most 2 / lipschitz. Where a few rows of large norm decide,
        runs that do not meet them bear more.
    safe_step, step_bound : float
        ``Problem.safe_step()``, and ``Problem.step_bound()`` for one row a step.
    method : str
        How they were found: "all rows", "sample of M rows" or "products with vectors".
    confidence : float
        Of the intervals.
    intervals : dict of (float, float)
        By name, for those that are not exact; ``interval`` reads it.
    """

    mu: float
    mu_eff: float
    lipschitz: float
    noise: float
    floor: float
    bias: float
    stability_limit: float
    safe_step: float
    step_bound: float
    method: str = "all rows"
    confidence: float = 0.95
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict, hash=False)

    def interval(self, name: str) -> tuple[float, float]:
        """Return where a constant lies with probability ``confidence``: a point where it is exact (to rounding).

        Bounds that are proved, such as l2 for mu, are used wherever they are the tighter ones.
        """
        if name not in NAMES:
            raise ValueError(f"name must be one of {', '.join(NAMES)}, got {name!r}")
        value = float(getattr(self, name))
        return self.intervals.get(name, (value, value))


def check_size(problem: Problem) -> None:
    """Raise ValueError if the problem has more parameters than an eigendecomposition can take."""
    if a_problem(problem).n_params > MOST_PARAMS:
        raise ValueError(
            f"predictions need all eigenvalues of the Hessian: n_params may be at most {MOST_PARAMS}, "
            f"got {problem.n_params}; use fewer features, or FixedPeriod, or AdaptivePeriod with the mu_eff of "
            "fastlsgd.theory.estimate(problem), which goes beyond"
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
