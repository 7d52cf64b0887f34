"""scikit-learn's LogisticRegression by L-BFGS; its search for NaN is left out.

Tried: tol 1e-1 to 1e-4 (its default) by one and by two BLAS threads, the soonest that reaches the goal. One thread
takes 0.5 to 0.9x of two, except at d = 1,000 while the tolerance is loose (1.4x).
"""

from ._logistic_regression import settings as of_solver

NEEDS = "sklearn"
SAME_ARITHMETIC = False


def settings(problem):
    return of_solver(problem, "lbfgs", (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4))
