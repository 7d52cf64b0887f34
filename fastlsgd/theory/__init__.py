"""Theory: what is known about a problem before a run.

``estimate`` gives the constants of a problem (curvature, noise, statistical floor) that schedules and step
sizes ask for.
"""

from .constants import Constants, estimate

__all__ = ["Constants", "estimate"]
