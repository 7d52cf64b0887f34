"""Local SGD as it is written in Numba: a prange over workers in every round, fastmath. P = 2, period 256.

Tuned: workers' iterates in rows of their own, one pass over a row for the margin and one for update and sum, error
checks off; compiled before the clock.
"""

import numpy as np

NEEDS = "numba"
SAME_ARITHMETIC = True
P, PERIOD = 2, 256


def prepare(problem):
    import numba

    from fastlsgd.benchmarks.problems import step as step_of

    numba.set_num_threads(min(P, numba.config.NUMBA_NUM_THREADS))
    half = problem.n_samples // P

    @numba.njit(fastmath=True, error_model="numpy")
    def steps(X, y, w, total, first, n, eta, l2):
        for i in range(first, first + n):
            x = X[i]
            z = np.float32(0)
            for j in range(x.size):
                z += x[j] * w[j]
            c = -eta * y[i] / (np.float32(1) + np.exp(y[i] * z))
            for j in range(x.size):
                new = w[j] - (c * x[j] + eta * l2 * w[j])
                w[j] = new
                total[j] += new

    @numba.njit(parallel=True, fastmath=True)
    def run(X, y, W, total, half, period, eta, l2):
        for first in range(0, half, period):
            n = min(period, half - first)
            for k in numba.prange(W.shape[0]):
                steps(X, y, W[k], total[k], k * half + first, n, eta, l2)
            for j in range(W.shape[1]):
                mean = np.float32(0)
                for k in range(W.shape[0]):
                    mean += W[k, j]
                for k in range(W.shape[0]):
                    W[k, j] = mean / np.float32(W.shape[0])

    eta, l2 = np.float32(step_of(problem).eta), np.float32(problem.l2)
    padded = -(-problem.n_params // 32) * 32  # rows of W share no line

    def fit():
        W = np.zeros((P, padded), np.float32)[:, : problem.n_params]
        total = np.zeros((P, padded), np.float32)[:, : problem.n_params]
        run(problem.X, problem.y, W, total, half, PERIOD, eta, l2)
        return total.mean(axis=0) / half

    fit()
    fit.n_gradients = P * half
    return fit
