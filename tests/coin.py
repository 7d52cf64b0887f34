"""The coin problem, exactly: one-dimensional logistic regression whose labels are coin tosses.

F(w) = E log(1 + exp(w)) - pi w + (ridge / 2) w^2, gradient sigmoid(w) - y + ridge w, y = 1 with probability pi.
With S = sum of the means of the workers over the steps to come (less w*), the functions A = E S and B = E S^2 of the
workers' positions are propagated backwards from the end:

    A <- E [m + A'],    B <- E [m^2 + 2 m A' + B'],    m the mean of the workers after the step,

each on a tensor grid of Chebyshev nodes of the interval that no step leaves (steps up to 1 / L). An averaging
replaces f(w_1, .., w_P) by f(m, .., m). Exact to about 1e-11.
"""

import itertools

import numpy as np
from numpy.polynomial import chebyshev
from scipy.optimize import brentq


def sigmoid(w):
    return 1.0 / (1.0 + np.exp(-w))


class Coin:
    """The problem, its optimum, and functions on its interval."""

    def __init__(self, pi=0.8, ridge=0.05):
        self.pi, self.ridge = pi, ridge
        self.w_star = brentq(lambda w: sigmoid(w) - pi + ridge * w, -50, 50, xtol=1e-15)
        p = sigmoid(self.w_star)
        self.hessian = p * (1 - p) + ridge
        self.low = brentq(lambda w: ridge * w + sigmoid(w), -200, 0, xtol=1e-14)
        self.high = brentq(lambda w: ridge * w + sigmoid(w) - 1, 0, 200, xtol=1e-14)

    def nodes(self, n):
        return self.low + (self.high - self.low) * (chebyshev.chebpts1(n) + 1) / 2

    def basis(self, w, n):
        """Return the matrix that takes values at n nodes to values at w."""
        to_unit = lambda x: 2 * (x - self.low) / (self.high - self.low) - 1  # noqa: E731
        return chebyshev.chebvander(to_unit(w), n - 1) @ np.linalg.inv(
            chebyshev.chebvander(to_unit(self.nodes(n)), n - 1)
        )

    def step(self, w, eta, y):
        return w - eta * (sigmoid(w) - y + self.ridge * w)


def along(matrix, tensor, axis):
    """Apply a matrix to one axis of a tensor."""
    return np.moveaxis(np.tensordot(matrix, tensor, axes=(1, axis)), 0, axis)


class _Step:
    """What a step of one worker does to functions of its position: E f, E delta f, E delta, E delta^2."""

    def __init__(self, coin, n, eta, outcomes):
        w = coin.nodes(n)
        self.K, self.D = np.zeros((n, n)), np.zeros((n, n))
        self.first, self.second = np.zeros(n), np.zeros(n)
        for y, probability in outcomes:
            to = coin.step(w, eta, y)
            delta, matrix = to - coin.w_star, probability * coin.basis(to, n)
            self.K += matrix
            self.D += delta[:, None] * matrix
            self.first += probability * delta
            self.second += probability * delta**2


def _tosses(coin):
    return [(1.0, coin.pi), (0.0, 1.0 - coin.pi)]


def _averaging(coin, n_workers, n):
    """Return the means of the workers on the grid, and what replaces f(w_1, .., w_P) on it by f(m, .., m)."""
    P = n_workers
    middles = sum(np.meshgrid(*[coin.nodes(n)] * P, indexing="ij")) / P
    fine = coin.nodes(3 * n)
    to_fine, to_middles = coin.basis(fine, n), coin.basis(middles.ravel(), 3 * n)

    def averaged(f):
        """f(m, .., m) on the grid: on the diagonal first, then at the means of all grid points."""
        letters = "abcdef"[:P]
        diagonal = np.einsum(f"{letters},{','.join('z' + c for c in letters)}->z", f, *[to_fine] * P, optimize=True)
        return (to_middles @ diagonal).reshape(middles.shape)

    return middles, averaged


def last(coin, etas, ends, n_workers, w0, n=48, outcomes=None):
    """Return E (m - w*) and E (m - w*)^2, m the mean of the workers after the last step: E f, carried backwards."""
    middles, averaged = _averaging(coin, n_workers, n)
    found = [middles - coin.w_star, (middles - coin.w_star) ** 2]
    step, at = None, None
    for eta, end in zip(etas[::-1], ends[::-1], strict=True):
        if eta != at:
            step, at = _Step(coin, n, eta, outcomes or _tosses(coin)), eta
        if end and n_workers > 1:
            found = [averaged(f) for f in found]
        for axis in range(n_workers):
            found = [along(step.K, f, axis) for f in found]
    point = coin.basis(np.array([w0]), n)[0]
    for _ in range(n_workers):
        found = [np.tensordot(point, f, axes=(0, 0)) for f in found]
    return float(found[0]), float(found[1])


def sums(coin, etas, ends, n_workers, w0, n=48, outcomes=None):
    """Return E S and E S^2 of a run from w0; ends[i]: whether step i ends a round."""
    outcomes = outcomes or _tosses(coin)
    P, axes = n_workers, range(n_workers)
    middles, averaged = _averaging(coin, P, n)
    A, B = np.zeros(middles.shape), np.zeros(middles.shape)
    step, at = None, None
    for eta, end in zip(etas[::-1], ends[::-1], strict=True):
        if eta != at:
            step, at = _Step(coin, n, eta, outcomes), eta
        after_A, after_B = (averaged(A), averaged(B)) if end and P > 1 else (A, B)
        new_A, new_B = after_A, after_B
        for axis in axes:
            new_A, new_B = along(step.K, new_A, axis), along(step.K, new_B, axis)
        for axis in axes:  # 2 E m A' = (2 / P) sum over workers of E delta_k A'
            term = after_A
            for other in axes:
                term = along(step.D if other == axis else step.K, term, other)
            new_B = new_B + 2.0 / P * term
        first, second = (
            [v.reshape([-1 if i == axis else 1 for i in axes]) for axis in axes] for v in (step.first, step.second)
        )
        A = new_A + sum(first) / P
        B = new_B + sum(second) / P**2 + 2.0 / P**2 * sum(a * b for a, b in itertools.combinations(first, 2))
    point = coin.basis(np.array([w0]), n)
    for _ in axes:
        A, B = np.tensordot(point[0], A, axes=(0, 0)), np.tensordot(point[0], B, axes=(0, 0))
    return float(A), float(B)


def binomial(coin, n_workers):
    """The labels of a step of all workers at one place, as one label: their mean, with its probabilities."""
    from scipy.stats import binom

    counts = np.arange(n_workers + 1)
    return list(zip(counts / n_workers, binom.pmf(counts, n_workers, coin.pi), strict=True))


def average(coin, etas, ends, n_workers, w0, **options):
    """Return bias and mean square of w_bar - w* for local SGD."""
    first, second = sums(coin, np.asarray(etas), ends, n_workers, w0, **options)
    return first / len(etas), second / len(etas) ** 2


def mini_batch(coin, etas, n_workers, w0):
    """The same for averaging after every step: one worker whose label is the mean of P."""
    return average(coin, etas, np.zeros(len(etas), bool), 1, w0, outcomes=binomial(coin, n_workers))


def one_shot(coin, etas, n_workers, w0):
    """The same for one averaging at the end: P independent workers."""
    bias, square = average(coin, etas, np.zeros(len(etas), bool), 1, w0)
    return bias, square / n_workers + (1.0 - 1.0 / n_workers) * bias**2


def ends_of(lengths, n_steps):
    """Return which steps end a round."""
    ends = np.zeros(n_steps, bool)
    ends[np.cumsum(lengths) - 1] = True
    return ends
