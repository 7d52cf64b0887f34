"""The constants from a sample of the rows, with intervals: up to 2,000 parameters.

Every constant is a smooth function of means over rows, so what one row more would change (its influence) gives the
standard error, sd(influence) / sqrt(m) sqrt(1 - m / n) for m of n rows. The bias of a sample is in proportion to
1 / m - 1 / n: the two halves of the sample, whose bias is larger by a known factor, tell it. (Delta method and
half-samples: textbook; the influences are derived for this package.)
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from ..problem import Problem
from .constants import Constants
from .eigenbasis import Eigenbasis, values_of
from .rows import drawn, form, least_curvature, some_of

Vector = npt.NDArray[np.float64]

# Rows a parameter: with fewer the smallest eigenvalue of a sample says little of that of all rows (of normal rows it
# is 0.82 of it at 20 rows a parameter, 0.52 at 5; measured).
ROWS_A_PARAMETER = 20
# Where fewer rows than this carry a constant its interval is what is proved.
FEW = 10
TINY = float(np.finfo(np.float64).tiny)


def constants_of_sample(problem: Problem, w: Vector, n_rows: int, seed: int, confidence: float) -> Constants:
    """Return the constants at w of all rows, estimated from n_rows of them."""
    least = ROWS_A_PARAMETER * problem.n_params
    if n_rows < least:
        raise ValueError(
            f"n_rows must be at least {ROWS_A_PARAMETER} for each of the {problem.n_params} parameters, {least}, "
            f"got {n_rows}: with fewer the smallest eigenvalues of a sample are far below those of all rows; "
            "pass n_rows=None for all rows"
        )
    chosen = drawn(problem, n_rows, seed)
    at = Eigenbasis(some_of(problem, chosen), w)
    if problem.l2 == 0.0 and len(at.eigenvalues) < problem.n_params:
        raise ValueError(
            f"the {n_rows} rows drawn span {len(at.eigenvalues)} of {problem.n_params} directions, and all rows may "
            "span more: drop columns that are zero or copies of others, add l2, or pass n_rows=None for all rows"
        )
    values, influences = _values_and_influences(at)
    shuffled = np.random.default_rng([seed, 1]).permutation(chosen)
    halves = [values_of(Eigenbasis(some_of(problem, np.sort(half)), w))[0] for half in np.array_split(shuffled, 2)]
    n, left = problem.n_samples, 1.0 - n_rows / problem.n_samples
    z = NormalDist().inv_cdf(0.5 + 0.5 * confidence)
    intervals = {}
    for name, value in list(values.items()):
        half_width = z * float(influences[name].std()) * np.sqrt(left / n_rows)
        if name == "noise":  # unbiased
            values[name] *= n_rows / (n_rows - 1) * (n - 1) / n
        elif value > 0.0:
            values[name] *= (2.0 * value / (halves[0][name] + halves[1][name])) ** left
        # Of a positive number: on the scale of its logarithm.
        factor = float(np.exp(half_width / value)) if value > 0.0 else 1.0
        intervals[name] = values[name] / factor, values[name] * factor
    _hold_against_all_rows(problem, w, at, values, intervals, influences)
    low, high = intervals.pop("spread")
    intervals["floor"] = low / (2 * n), high / (2 * n)
    return Constants(
        floor=values.pop("spread") / (2 * n),
        safe_step=problem.safe_step(),
        step_bound=problem.step_bound(),
        method=f"sample of {n_rows} rows",
        confidence=confidence,
        intervals=intervals,
        **values,
    )


def _hold_against_all_rows(
    problem: Problem,
    w: Vector,
    at: Eigenbasis,
    values: dict[str, float],
    intervals: dict[str, tuple[float, float]],
    influences: dict[str, Vector],
) -> None:
    """Tighten or widen the intervals by what is proved from two passes over all rows.

    The Rayleigh quotients of the sample's first and last eigenvector bound mu from above and lipschitz from below.
    A rare feature, or a few rows of large norm, may have been missed: where few rows carry a constant, the central
    limit theorem is no guide, and what is proved takes its place.
    """
    product = problem.hessian_product(w)
    ends = at.directions[:, [0, -1]].T
    smallest, largest = np.einsum("ij,ij->i", ends, product(ends))
    proved = {
        "mu": (least_curvature(problem, product), float(smallest)),
        "lipschitz": (float(largest), 0.5 / problem.safe_step()),
        # G of a row is at most 1 / (2 safe_step), so E[G G] <= H / (2 safe_step).
        "stability_limit": (4.0 * problem.safe_step(), 2.0 / float(largest)),
    }
    for name, (least, most) in proved.items():
        low, high = intervals[name]
        if _carriers(influences[name]) < FEW:
            low, high = least, most
        if name == "mu":
            # Off in the second order of the sample's error, where what the sample says of its own minimum is in the
            # first. Near l2 it is a rare feature that decides, and there may be a rarer one.
            # Where even its lower end is above what is proved of all rows, it says nothing.
            low, high = (least if most < 2.0 * least or low > most else low), most
        intervals[name] = float(max(low, least)), float(min(high, most))
        values[name] = float(np.clip(values[name], *intervals[name]))


def _carriers(influence: Vector) -> float:
    """Return how many rows carry a constant: 1 if one of them does, m if all do alike."""
    square = (influence - influence.mean()) ** 2
    return float(square.sum() ** 2 / max(float((square**2).sum()), TINY))


def _values_and_influences(at: Eigenbasis) -> tuple[dict[str, float], dict[str, Vector]]:
    """Return the constants of the sample, and what each of its rows adds to each of them, but for a common number."""
    values, _, growing = values_of(at)
    eigenvalues, drift, covariance = at.eigenvalues, at.drift, at.covariance
    third = at.third(drift)
    along = third / max(float(np.linalg.norm(third)), TINY)
    # d tr(H^-1 S) = tr(H^-1 dS) - tr(inner dH).
    inner = covariance / np.outer(eigenvalues, eigenvalues)
    # d F'''[A] along itself, A the drift: of F''' directly, and <K, dA> = <Z, dS> - 2 <Z A, dH>, H Z + Z H = K.
    response = _third_along(at, along) / at.sums
    crossed = response @ drift
    # 1 / limit = <B, M B> / <B, L B> is stationary in B, so only M and L change.
    growth, penalised, square = 1.0 / values["stability_limit"], at.penalised(growing) @ growing, growing @ growing
    scale = 2.0 * float((np.diag(square) * eigenvalues).sum())
    parts: dict[str, list[Vector]] = {name: [] for name in values}
    mean = at.mean_slope()
    for block, row in at.blocks():
        gradient = block * row.slope[:, None] - mean
        noise = np.einsum("ij,ij->i", gradient, gradient)
        spread = gradient**2 @ (1.0 / eigenvalues) - row.curvature * form(block, inner)
        parts["noise"].append(noise)
        parts["spread"].append(spread)
        parts["mu_eff"].append((noise - values["mu_eff"] * spread) / max(values["spread"], TINY))
        parts["mu"].append(row.curvature * block[:, 0] ** 2)
        parts["lipschitz"].append(row.curvature * block[:, -1] ** 2)
        parts["bias"].append(
            0.5 * row.third * form(block, drift) * (block @ along)
            + 0.5 * form(gradient, response)
            - row.curvature * form(block, crossed)
        )
        of_image = row.curvature**2 * form(block, growing) ** 2 + 2.0 * row.curvature * form(block, penalised)
        of_growth = (of_image - 2.0 * growth * row.curvature * form(block, square)) / scale
        parts["stability_limit"].append(-of_growth / growth**2)
    return values, {name: np.concatenate(part) for name, part in parts.items()}


def _third_along(at: Eigenbasis, along: Vector) -> npt.NDArray[np.float64]:
    """Return F'''[along], a matrix."""
    total = np.zeros((len(along), len(along)))
    for block, row in at.blocks():
        total += (block * (row.third * (block @ along))[:, None]).T @ block
    return total / at.problem.n_samples
