"""The obvious twin: local SGD as one would write it in NumPy, with the same draws as the kernels."""

import numpy as np
from exact import Visits


def local_sgd(X, y, *, loss, l2=0.0, sample_weight=None, intercept=False, n_workers, etas, periods, seed=0,
              batch_size=1, sampling="reshuffle", partition="iid", weights=None, rows_a_block=0):  # fmt: skip
    """Return (w, w_bar) after len(etas) steps, averaging after each of the periods and at the end."""
    if intercept:
        X = np.c_[X, np.ones(len(X), X.dtype)]
    s = np.ones(len(X), X.dtype) if sample_weight is None else sample_weight
    penalised = np.ones(X.shape[1], X.dtype)
    if intercept:
        penalised[-1] = 0
    weights = np.full(n_workers, 1 / n_workers) if weights is None else np.asarray(weights)
    visits = Visits(len(X), n_workers, sampling=sampling, partition=partition, seed=seed, rows_a_block=rows_a_block)
    W = np.zeros((n_workers, X.shape[1]), X.dtype)
    total = np.zeros(X.shape[1])
    ends = set(np.cumsum(periods).tolist()) | {len(etas)}
    for t, eta in enumerate(etas, start=1):
        for k in range(n_workers):
            rows = [visits(k, (t - 1) * batch_size + j) for j in range(batch_size)]
            z = X[rows] @ W[k]
            g = z - y[rows] if loss == "squared" else -y[rows] / (1 + np.exp(y[rows] * z))
            gradient = (s[rows] * g) @ X[rows] / batch_size + l2 * penalised * W[k]
            W[k] = W[k] - X.dtype.type(eta) * gradient
        total += weights @ W
        if t in ends:
            W[:] = weights @ W
    return weights @ W, total / len(etas)
