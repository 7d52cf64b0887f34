"""Snap ML's LogisticRegression: ten iterations of its primal solver on both cores, float32 rows in C order.

Tuned: of 1 to 10 iterations, 1 and 2 threads, primal and dual, this came nearest the optimum by far; its default, the
dual solver, is stopped by the number of iterations long before. Its regularizer is n l2.
"""

NEEDS = "snapml"
SAME_ARITHMETIC = False


def prepare(problem):
    import snapml

    model = snapml.LogisticRegression(
        regularizer=problem.n_samples * problem.l2, max_iter=10, tol=1e-5, n_jobs=2, fit_intercept=False, dual=False
    )
    labels = (problem.y > 0).astype("float64")
    return lambda: model.fit(problem.X, labels).coef_.ravel()
