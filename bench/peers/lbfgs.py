"""scikit-learn's LogisticRegression by L-BFGS: to a tolerance, at its default of 1e-4; all cores by way of BLAS."""

from ._logistic_regression import fitted

NEEDS = "sklearn"
SAME_ARITHMETIC = False


def prepare(problem):
    return fitted(problem, solver="lbfgs")
