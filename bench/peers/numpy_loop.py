"""Local SGD as it is written in NumPy: a loop over steps, all workers' rows at once. Period 256.

Tried: a loop over workers inside (2.2x at P = 2, or 1.2x with its views made beforehand and math.exp; 4 to 9x at P
= 8), sums of products in place of vecdot (1.2x); no temporary arrays, rows in the order of the steps before the
clock. At d = 20 what is left is the price of ten calls into NumPy a step, whatever P.
"""

import numpy as np

NEEDS = "numpy"
SAME_ARITHMETIC = True
NEAR = 1e-4
N_WORKERS = (2, 8)
PERIOD = 256
# Thousands of nanoseconds a step: a part of the pass is enough.
MOST_STEPS = 20_000


def prepare(problem, n_workers):
    from fastlsgd.benchmarks.problems import step as step_of

    P, shard = n_workers, problem.n_samples // n_workers
    eta, one = np.float32(step_of(problem).eta), np.float32(1)
    decay = eta * np.float32(problem.l2)
    n = min(shard, MOST_STEPS)
    X = np.ascontiguousarray(problem.X[: P * shard].reshape(P, shard, -1)[:, :n].swapaxes(0, 1))
    y = np.ascontiguousarray(problem.y[: P * shard].reshape(P, shard)[:, :n].T)
    signed_eta = eta * y

    def fit():
        W = np.zeros((P, problem.n_params), np.float32)
        of_a_round, total = np.zeros_like(W), np.zeros_like(W, dtype=np.float64)
        change, c = np.empty_like(W), np.empty((P, 1), np.float32)
        z = c[:, 0]
        for t, (x, labels, numerator) in enumerate(zip(X, y, signed_eta, strict=True), 1):
            np.vecdot(x, W, z)
            np.multiply(z, labels, z)
            np.exp(z, z)
            np.add(z, one, z)
            np.divide(numerator, z, z)
            np.multiply(W, decay, change)
            np.subtract(W, change, W)
            np.multiply(x, c, change)
            np.add(W, change, W)
            np.add(of_a_round, W, of_a_round)
            if t % PERIOD == 0 or t == n:
                total += of_a_round
                of_a_round[:] = 0
                W[:] = W.mean(axis=0)
        return total.mean(axis=0) / n

    fit.n_gradients = n * P
    return fit
