"""Experiments: methods x steps x replicates, with intervals.

``tradeoff`` runs a grid of configurations and returns every record as a tidy table. ``compare`` is the main job
of the command line: schedules and baselines on one problem, each at the common safe step and at its own best one.

    table       tradeoff
    comparison  compare, Comparison, Row: the job and what it returns
    lab         runs in parallel, each once; what one run costs
    tuning      choosing step sizes
    stability   which of them may be tried
    predicted   predictions beside replicates
    replication many replicates of one run in one compiled call
    metrics     intervals over replicates; AUC and R2
"""

from .comparison import Comparison, Row, compare
from .replication import Replicates, replicates
from .table import tradeoff

__all__ = ["Comparison", "Replicates", "Row", "compare", "replicates", "tradeoff"]
