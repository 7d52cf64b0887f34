"""Tuning by trial, on this machine and this problem: of all settings that end near enough, the soonest is kept."""

import time

from fastlsgd.benchmarks.timing import best_of_a_while


def seconds(fit):
    begin = time.perf_counter()
    fit()
    return time.perf_counter() - begin


def soonest(candidates, problem=None, goal=None):
    """Return (name, function) of the candidate that takes least time.

    A first call, which compiles or warms what it uses, is not timed; the best of those after it counts. With a
    goal, only those whose iterate ends at most that far above the optimum count, or else the one that ends nearest.
    """
    tried = []
    for name, fit in candidates.items():
        w = fit()
        above = 0.0 if goal is None else problem.objective(w) - problem.objective(problem.optimum())
        missed = goal is not None and above > goal
        tried.append((missed, above if missed else best_of_a_while(lambda fit=fit: seconds(fit)), name))
    name = min(tried)[-1]
    return name, candidates[name]
