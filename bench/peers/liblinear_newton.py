"""LIBLINEAR's trust-region Newton method (solver 0), its own binding; rows are converted outside the clock.

Tried: eps 0.1 and 0.01 (0.001 is of no use here) and, with liblinear-multicore, which installs under the same name,
two threads; the soonest that reaches the goal. Two threads take 0.5 to 0.7x of one. The dual solver (7) took 2.5 to
8 times as long, however loose its eps; solver 2 is of another loss.
"""

import numpy as np

NEEDS = "liblinear"
INSTALL = "liblinear-multicore"  # or liblinear-official, which has one thread
SAME_ARITHMETIC = False


def settings(problem):
    import scipy.sparse
    from liblinear.liblinearutil import parameter, train
    from liblinear.liblinearutil import problem as rows_of

    # It knows sparse rows only, and converts CSR ten times sooner than a NumPy array.
    rows = rows_of(problem.y.astype("float64"), scipy.sparse.csr_matrix(problem.X.astype("float64")), bias=-1)

    def fitted(options):
        def fit():
            model = train(rows, options)
            sign = 1.0 if model.get_labels()[0] == 1 else -1.0
            return sign * np.array(model.get_decfun()[0])

        return fit

    # Its objective is |w|^2 / 2 + C sum: C = 1 / (n l2).
    C = 1.0 / (problem.n_samples * problem.l2)
    found = {}
    for eps in (0.1, 0.01):
        for threads in ("", " -m 2"):
            try:
                options = parameter(f"-s 0 -c {C!r} -e {eps}{threads} -q")
            except ValueError:  # this build knows no threads
                continue
            found[f"eps={eps}{threads}"] = fitted(options)
    return found
