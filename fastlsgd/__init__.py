"""fastlsgd: local SGD on CPUs, exact, predictable, with a ledger of what communication cost.

    data  -> Shards --+   (or a stream of fresh rows)
    loss  -> Loss ----+--> Problem --> Run / local_sgd --> Result(w, w_bar, trace, state)
    StepSize  eta of the steps ahead ---^    |   ^
    Schedule  lengths of the rounds ahead ---+   +-- backends: who runs the steps and averages
                                             +-----> kernels: losses, rows, workers, team (src/)

A map of the package, in the order to read it:

    solver       local_sgd, Run: the loop      arguments    what a run is asked, checked
    problem      what is minimised             state        what a run mutates; save and load
    schedules    when to average               trace        what happened: the communication ledger
    stepsizes    how far to step               averages     which mean over the steps w_bar is
    losses       what one sample costs         data         rows dealt to workers; checks of arrays
    streams      fresh rows, made in kernels   stream_problem   their objective, in closed form
    team         helper threads                cores        how many of them, and why
    backends     who runs the steps            scalars      numbers and names a user gave, checked
    theory       what is known before a run    baselines    what local SGD must be compared with
    experiments  methods x steps x replicates  datasets     real data from package registries
    estimators   for scikit-learn's users      report, verdict, plots, cli   what people look at
    benchmarks   limits, ratios promised       reproduce    the figures of fastlsgd reproduce
"""

from . import ctrl_c as _ctrl_c  # noqa: F401, I001  - first: it looks after the imports below
from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING

from .data import Shards
from .losses import Loss
from .problem import Problem
from .schedules import FixedPeriod, GrowingPeriod, MiniBatch, OneShot, Periods, PostLocal
from .solver import Diverged, Interrupted, Result, Run, local_sgd
from .state import CheckpointError, State
from .stepsizes import Constant, InverseTime, PolynomialDecay
from .streams import GaussianStream, QuadraticStream
from .trace import Record, Trace

if _TYPE_CHECKING:
    from . import baselines, datasets, experiments, plots, theory
    from .datasets import DatasetNotInstalled
    from .estimators import LocalSGDClassifier, LocalSGDRegressor
    from .experiments import tradeoff
    from .theory import AdaptivePeriod, RiskPeriod

__version__ = "0.1.0"

# Imported when first asked for: what they need takes longer to import than a fit takes.
_LAZY = {
    "AdaptivePeriod": "theory",
    "DatasetNotInstalled": "datasets",
    "LocalSGDClassifier": "estimators",
    "LocalSGDRegressor": "estimators",
    "RiskPeriod": "theory",
    "tradeoff": "experiments",
}
_LAZY_MODULES = ("baselines", "datasets", "estimators", "experiments", "plots", "theory")

__all__ = [
    "AdaptivePeriod",
    "CheckpointError",
    "Constant",
    "DatasetNotInstalled",
    "Diverged",
    "FixedPeriod",
    "GaussianStream",
    "GrowingPeriod",
    "Interrupted",
    "InverseTime",
    "LocalSGDClassifier",
    "LocalSGDRegressor",
    "Loss",
    "MiniBatch",
    "OneShot",
    "Periods",
    "PolynomialDecay",
    "PostLocal",
    "Problem",
    "QuadraticStream",
    "Record",
    "Result",
    "RiskPeriod",
    "Run",
    "Shards",
    "State",
    "Trace",
    "baselines",
    "datasets",
    "experiments",
    "local_sgd",
    "plots",
    "theory",
    "tradeoff",
]


def __getattr__(name: str) -> object:
    if name in _LAZY:
        value = getattr(_import_module(f".{_LAZY[name]}", __name__), name)
    elif name in _LAZY_MODULES:
        value = _import_module(f".{name}", __name__)
    else:
        raise AttributeError(f"module 'fastlsgd' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
