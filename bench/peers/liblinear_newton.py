"""LIBLINEAR's trust-region Newton method (solver 0), its own binding; rows are converted outside the clock."""

import numpy as np

NEEDS = "liblinear"
SAME_ARITHMETIC = False


def prepare(problem):
    from liblinear.liblinearutil import parameter, train
    from liblinear.liblinearutil import problem as rows_of

    rows = rows_of(problem.y.astype("float64"), problem.X.astype("float64"), bias=-1)
    # Its objective is |w|^2 / 2 + C sum: C = 1 / (n l2).
    options = parameter(f"-s 0 -c {1.0 / (problem.n_samples * problem.l2)!r} -e 0.01 -q")

    def fit():
        model = train(rows, options)
        sign = 1.0 if model.get_labels()[0] == 1 else -1.0
        return sign * np.array(model.get_decfun()[0])

    return fit
