"""What lbfgs.py and newton_cholesky.py share: the same objective, C = 1 / (n l2), a ladder of tolerances."""

from threadpoolctl import threadpool_limits


def settings(problem, solver, tolerances):
    return {
        f"tol={tol:g}, {n_threads} BLAS thread{'s' * (n_threads > 1)}": fitted(problem, n_threads, solver, tol)
        for tol in tolerances
        for n_threads in (1, 2)
    }


def fitted(problem, n_threads, solver, tol):
    from sklearn import config_context
    from sklearn.linear_model import LogisticRegression

    C = 1.0 / (problem.n_samples * problem.l2)
    model = LogisticRegression(C=C, fit_intercept=False, tol=tol, max_iter=200, solver=solver)

    def fit():
        with config_context(assume_finite=True), threadpool_limits(n_threads, user_api="blas"):
            return model.fit(problem.X, problem.y).coef_[0]

    return fit
