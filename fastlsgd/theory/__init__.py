"""Theory: what is known about a problem and a run before it runs.

``estimate`` gives the constants of a problem (curvature, noise, statistical floor) that schedules and step sizes
ask for; ``predict`` what a run will give on data; ``exact_moments`` the exact second moments of local SGD on
quadratics; ``finite_moments`` those on given rows; ``bounds`` certificates;
``adaptive_period`` and its neighbours how rarely one may average, ``AdaptivePeriod`` and ``RiskPeriod`` as schedules.
"""

from .adaptive import AdaptivePeriod
from .bounds import Bound, Bounds, bounds, bounds_multiplicative
from .closed import closed_bounds
from .closure import Where, data_stability_limit, settle
from .constants import Constants
from .estimation import estimate
from .exact import ExactMoments, constant_step_moments, exact_moments, stability_limit, stationary_worker
from .expansion import Expansion
from .finite import FiniteMoments, drift_fixed_point, finite_moments
from .periods import (
    adaptive_period,
    interpolation,
    n_rounds,
    n_rounds_formula,
    osa_threshold,
    reduction_factor,
    richardson,
)
from .predict import Prediction, predict
from .risk import RiskPeriod
from .rounds import round_lengths
from .stragglers import expected_max_normal, exponential_round_time, round_time

__all__ = [
    "AdaptivePeriod",
    "Bound",
    "Bounds",
    "Constants",
    "ExactMoments",
    "Expansion",
    "FiniteMoments",
    "Prediction",
    "RiskPeriod",
    "Where",
    "adaptive_period",
    "bounds",
    "bounds_multiplicative",
    "closed_bounds",
    "constant_step_moments",
    "data_stability_limit",
    "drift_fixed_point",
    "estimate",
    "exact_moments",
    "expected_max_normal",
    "exponential_round_time",
    "finite_moments",
    "interpolation",
    "n_rounds",
    "n_rounds_formula",
    "osa_threshold",
    "predict",
    "reduction_factor",
    "richardson",
    "round_lengths",
    "round_time",
    "settle",
    "stability_limit",
    "stationary_worker",
]
