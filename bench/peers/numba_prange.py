"""Local SGD as it is written in Numba: a prange over workers in every round, two threads, fastmath. Period 256.

Tuned: workers' iterates are contiguous to the compiler and share no line (a slice of padded rows is not, and takes
1.4x at d = 20, 3.4x at 100, 6x at 1,000); one pass over a row for the margin and one for update and sum; error
checks off; the length of a row known to the compiler (0.85x at d = 100, 1.3x at 20, 1.7x at 1,000) or not, the
sooner by trial.

Tried in vain: iterates copied to arrays of the round's own (1.0 to 1.4x), rows padded to 8, 16 and 32 (0.95 to
3.5x), iterates at multiples of 64 bytes (0.97x), one thread (1.7x), Python threads without the GIL and Python's
barrier (2 to 5x). One parallel region for all rounds, with a barrier of atomics by way of LLVM, took 0.87x at d =
20 and 1.0x beyond; it hangs where its two parts do not run at once, so it is left out.
"""

import numpy as np

from ._choice import soonest

NEEDS = "numba"
SAME_ARITHMETIC = True
NEAR = 1e-4
N_WORKERS = (2, 8)
PERIOD = 256


def prepare(problem, n_workers):
    import numba

    from fastlsgd.benchmarks.problems import step as step_of

    numba.set_num_threads(min(2, numba.config.NUMBA_NUM_THREADS))
    P, d = n_workers, problem.n_params
    n_steps = problem.n_samples // P
    eta, l2 = np.float32(step_of(problem).eta), np.float32(problem.l2)

    def compiled(length):
        """Return a pass over rows of the length, a constant to the compiler, or of any length if None."""

        @numba.njit(fastmath=True, error_model="numpy")
        def steps(X, y, w, total, first, n, eta, l2):
            d = X.shape[1] if length is None else length
            for i in range(first, first + n):
                x = X[i]
                z = np.float32(0)
                for j in range(d):
                    z += x[j] * w[j]
                c = eta * y[i] / (np.float32(1) + np.exp(y[i] * z))
                for j in range(d):
                    new = w[j] + (c * x[j] - eta * l2 * w[j])
                    w[j] = new
                    total[j] += new

        @numba.njit(parallel=True, fastmath=True, error_model="numpy")
        def run(X, y, W, total, n_steps, period, eta, l2):
            P = W.shape[0]
            for first in range(0, n_steps, period):
                n = min(period, n_steps - first)
                for k in numba.prange(P):
                    steps(X, y, W[k], total[k], k * n_steps + first, n, eta, l2)
                for j in range(X.shape[1]):
                    mean = np.float32(0)
                    for k in range(P):
                        mean += W[k, j]
                    mean /= np.float32(P)
                    for k in range(P):
                        W[k, j] = mean

        def fit():
            W = np.zeros((P, -(-d // 32) * 32), np.float32)  # rows of W share no line
            total = np.zeros_like(W)
            run(problem.X, problem.y, W, total, n_steps, PERIOD, eta, l2)
            return total[:, :d].mean(axis=0) / n_steps

        return fit

    _, fit = soonest({"any length": compiled(None), "this length": compiled(d)})
    fit.n_gradients = P * n_steps
    return fit
