"""The same with shuffle=False: rows in the order in which they lie, as our packed rows are read."""

from fastlsgd.benchmarks.peers import ScikitLearnSGD

NEEDS = "sklearn"
SAME_ARITHMETIC = True
NEAR = 0.05  # its sums of a million iterates are float32
N_WORKERS = (1,)


def prepare(problem, n_workers):
    peer = ScikitLearnSGD(problem)
    return lambda: (peer.seconds(), peer.w_bar)[1]
