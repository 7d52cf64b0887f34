"""Local SGD as it is written in NumPy: a loop over steps, all workers' rows at once. P = 2, period 256."""

import numpy as np

NEEDS = "numpy"
SAME_ARITHMETIC = True
P, PERIOD = 2, 256
# Thousands of nanoseconds a step: a part of the pass is enough.
MOST_STEPS = 20_000


def prepare(problem, step=None):
    from fastlsgd.benchmarks.problems import step as step_of

    eta, l2 = np.float32(step_of(problem).eta), np.float32(problem.l2)
    n = min(problem.n_samples // P, MOST_STEPS)
    X, y = problem.X, problem.y
    half = problem.n_samples // P

    def fit():
        W = np.zeros((P, problem.n_params), np.float32)
        total = np.zeros_like(W, dtype=np.float64)
        for t in range(n):
            for k in range(P):
                i = k * half + t
                slope = -y[i] / (1 + np.exp(y[i] * (X[i] @ W[k])))
                W[k] -= eta * (slope * X[i] + l2 * W[k])
            total += W
            if (t + 1) % PERIOD == 0:
                W[:] = W.mean(axis=0)
        return total.mean(axis=0) / n

    fit.n_gradients = n * P
    return fit
