"""What lbfgs.py and newton_cholesky.py share: the same objective, C = 1 / (n l2)."""


def fitted(problem, **options):
    from sklearn import config_context
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(
        C=1.0 / (problem.n_samples * problem.l2), fit_intercept=False, tol=1e-4, max_iter=200, **options
    )

    def fit():
        with config_context(assume_finite=True):
            return model.fit(problem.X, problem.y).coef_[0]

    return fit
