"""scikit-learn's LogisticRegression by Newton steps: the solver of choice where rows are many and features few."""

from ._logistic_regression import fitted

NEEDS = "sklearn"
SAME_ARITHMETIC = False


def prepare(problem):
    return fitted(problem, solver="newton-cholesky")
