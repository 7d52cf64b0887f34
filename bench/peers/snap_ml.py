"""Snap ML's LogisticRegression by its primal solver, on float32 rows by columns.

Tried: rows by columns before the clock (0.6 to 0.7x of rows in C order, which it copies inside every fit); 1 to 8
iterations by one and by two threads, the soonest that reaches the goal. Two threads take half as long an iteration
at d = 1,000 and as long at d = 20 and 100, and each gains less: ten of theirs end where three or four of one thread
do. The dual solver, its default, took 5 to 10 times as long to an equal excess. Its regularizer is n l2.
"""

import numpy as np

NEEDS = "snapml"
SAME_ARITHMETIC = False


def settings(problem):
    X = np.asfortranarray(problem.X)
    labels = (problem.y > 0).astype("float32")
    return {
        f"{n} iterations, {n_threads} thread{'s' * (n_threads > 1)}": fitted(problem, X, labels, n, n_threads)
        for n in (1, 2, 3, 4, 5, 6, 8)
        for n_threads in (1, 2)
    }


def fitted(problem, X, labels, n_iterations, n_threads):
    import snapml

    model = snapml.LogisticRegression(
        regularizer=problem.n_samples * problem.l2,
        max_iter=n_iterations,
        tol=1e-9,
        n_jobs=n_threads,
        fit_intercept=False,
        dual=False,
    )
    return lambda: model.fit(X, labels).coef_.ravel()
