"""scikit-learn's SGDClassifier(average=True), its defaults: it draws a random order inside its clock."""

from fastlsgd.benchmarks.peers import ScikitLearnSGD

NEEDS = "sklearn"
SAME_ARITHMETIC = True
NEAR = None
N_WORKERS = (1,)


def prepare(problem, n_workers):
    peer = ScikitLearnSGD(problem, shuffle=True)
    return lambda: (peer.seconds(), peer.w_bar)[1]
