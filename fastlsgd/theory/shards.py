"""What a run gives whose workers draw from shards that differ: their paths and spreads, stretch after stretch.

Worker k sees the gradient of its own shard, so between two averagings it goes to an optimum of its own. Over a
stretch of steps its gradient is replaced by the linear function nearest to it over the distribution of its own
iterates there, taken as normal: with mean z and covariance A, over the positions in the stretch and over runs,

    F_k'(theta) ~ G_k + H_k (theta - z),    G_k = E F_k'(z + A^(1/2) g),    H_k = E F_k''(z + A^(1/2) g),

and its noise by the mean covariance of its rows' gradients there. Then linear algebra gives mean and covariance of
all iterates and of their average (``affine``), and with them the z and A this began with: an iteration, as in
``closure``. Equal rounds go together, and long ones are cut, so that stretches follow the path.

For least squares the linear function is the gradient itself: means are exact, covariances as far as the noise of a
stretch may be replaced by its mean. The mean comes to rest where ``drift_fixed_point`` says. (Derived for this
package.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..cores import one_blas_thread
from .affine import Steps, at, averages, diagonal_steps
from .dealt import Dealt, Normal, times
from .expansion import Expansion

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

# The first stretch lasts FIRST / L in units of the sum of step sizes, L the largest eigenvalue; every later one goes
# on to a multiple of where it began, within a round as within the run. Half as long ones change predictions by 0.1 to
# 2%.
FIRST, GROWTH = 0.5, 2.0
# Of least squares the mean is exact whatever the stretch; what changes along the run is its noise.
GROWTH_IF_QUADRATIC = 4.0
# Step sizes and periods change by at most this factor within a stretch.
CHANGE = 1.2
# After PATIENCE iterations half of every move is made.
MOST_ITERATIONS, PATIENCE = 60, 4


@dataclass(frozen=True)
class Moments:
    """What a run gives, less w*, in the basis of an Expansion.

    Attributes
    ----------
    mean : array, shape (m,)
        Of w_bar.
    second_order : array, shape (m,)
        The same, had only terms of second order in the spreads been kept of what they add to the gradients.
    covariance : array, shape (m, m)
        Of w_bar.
    consensus : float
        E (1/P) sum |w_k - w|^2 just before the last averaging.
    """

    mean: Array
    second_order: Array
    covariance: Array
    consensus: float


def shard_moments(
    dealt: Dealt, start: Array, lengths: Counts, etas: Array, weights: Array, batch_size: int = 1
) -> Moments:
    """Return mean and covariance of w_bar.

    Parameters
    ----------
    dealt : Dealt
    start : array, shape (m,)
        Where all workers start, less w*.
    lengths : array of int64, shape (n_rounds,)
    etas : array, shape (n_steps,)
    weights : array, shape (n_workers,)
        Of the averaging.
    batch_size : int

    Raises
    ------
    ValueError
        The spread of a worker grows without end.
    """
    state, n_steps = at(np.stack([start, start], axis=1)), 0
    known: list[Normal] = []
    rests, pieces = False, None
    # Overflow is beyond the stability limit, and looked for. Of matrices as small as these a second BLAS thread costs
    # more than it brings: digits, period 256, 1.4 s with one and 9 to 24 s with two, on two cores.
    with np.errstate(over="ignore", invalid="ignore"), one_blas_thread(dealt.around.problem.n_params):
        for stretch in _stretches(lengths, etas, dealt.around):
            if not (rests and stretch.pieces == pieces):
                known = known if len(known) == len(stretch.pieces) else []
                workers, known = _settled(dealt, state, stretch, weights, batch_size, known)
            began, one, pieces = state, workers.mean_of(weights), stretch.pieces
            before = state.then(one.repeated(stretch.n_rounds - 1)) if stretch.n_rounds > 1 else state
            state = before.then(one)
            rests = _common(state, 1).is_near(_common(began, 1), dealt.around.eigenvalues)
            n_steps += stretch.n_rounds * sum(n for n, _ in stretch.pieces)
    mean, second_order = state.s.T / n_steps
    return Moments(mean, second_order, state.noise_s / n_steps**2, _consensus(before, workers, weights))


# ---- stretches ----


@dataclass(frozen=True)
class _Stretch:
    """So many equal rounds, each cut into pieces of (steps, eta)."""

    n_rounds: int
    pieces: list[tuple[int, float]]


def _stretches(lengths: Counts, etas: Array, around: Expansion) -> Iterator[_Stretch]:
    """Cut a run into stretches, longer and longer ones."""
    first = FIRST / float(around.eigenvalues[-1])
    growth = GROWTH_IF_QUADRATIC if around.is_quadratic else GROWTH
    ends, passed = np.cumsum(lengths), np.concatenate([[0.0], np.cumsum(etas)])
    begins = ends - lengths
    i = 0
    while i < len(lengths):
        t = int(begins[i])
        j = int(np.searchsorted(passed[ends], max(passed[t] * growth, passed[t] + first), side="right"))
        # The last round, which may be cut short, stands alone.
        j = max(i + 1, min(j, i + _alike(lengths[i:]), i + _alike(etas[begins[i:]]), len(lengths) - 1))
        within, n_rounds = etas[t : ends[j - 1]], j - i
        if n_rounds > 1:
            within = np.full(round(len(within) / n_rounds), within.mean())
        yield _Stretch(n_rounds, list(_pieces(within, first, growth)))
        i = j


def _pieces(etas: Array, first: float, growth: float) -> Iterator[tuple[int, float]]:
    passed, t = np.concatenate([[0.0], np.cumsum(etas)]), 0
    while t < len(etas):
        end = int(np.searchsorted(passed, max(passed[t] * growth, passed[t] + first), side="right")) - 1
        end = max(t + 1, min(end, t + _alike(etas[t:])))
        yield end - t, float(etas[t:end].mean())
        t = end


def _alike(values: Array | Counts) -> int:
    """Return how many values there are before the first that differs from the first by more than CHANGE."""
    differ = (values > values[0] * CHANGE) | (values * CHANGE < values[0])
    return int(differ.argmax()) if differ.any() else len(values)


# ---- where workers are in a stretch ----


def _settled(
    dealt: Dealt, state: Steps, stretch: _Stretch, weights: Array, batch_size: int, known: list[Normal]
) -> tuple[Steps, list[Normal]]:
    """Return a round of every worker, the mean over the stretch, and where workers are in each of its pieces."""
    P, begin = dealt.n_workers, _common(state, dealt.n_workers)
    for iteration in range(MOST_ITERATIONS):
        here, workers, found = begin, None, []
        for i, (n, eta) in enumerate(stretch.pieces):
            steps, inside = _piece(dealt, here, n, eta, batch_size, known[i] if known else here)
            here, workers = here.after(steps), steps if workers is None else workers.then(steps)
            found.append(inside)
        assert workers is not None
        known = found
        if stretch.n_rounds == 1:
            return workers, known
        # Where rounds begin, averaged over the rounds; only for that is B taken as symmetric.
        one = workers.mean_of(weights)
        rho, V = np.linalg.eigh((one.B + one.B.T) / 2.0)
        moves = V.T @ (one.B @ state.a + one.a - state.a)[:, 0]
        moved, spread = averages(rho, moves, V.T @ state.noise @ V, V.T @ one.noise @ V, stretch.n_rounds)
        before = begin
        begin = Normal(np.tile(state.a[:, 0] + V @ moved, (P, 1)), np.tile(V @ spread @ V.T, (P, 1, 1)))
        if begin.is_near(before, dealt.around.eigenvalues):
            return workers, known
        if iteration >= PATIENCE:
            begin = begin.half_way(before)
    raise _unsettled(stretch.pieces[-1][1])


def _common(state: Steps, n_workers: int) -> Normal:
    """Return where the workers are after an averaging."""
    return Normal(np.tile(state.a[:, 0], (n_workers, 1)), np.tile(state.noise, (n_workers, 1, 1)))


def _piece(dealt: Dealt, begin: Normal, n: int, eta: float, batch_size: int, known: Normal) -> tuple[Steps, Normal]:
    """Return n steps of every worker, and where workers are on the way."""
    for iteration in range(MOST_ITERATIONS):
        gradients, hessians, noise = dealt.averaged(known)
        if not (np.isfinite(hessians).all() and np.isfinite(noise).all()):
            break
        eigenvalues, V = np.linalg.eigh(hessians)
        rho, turned = 1.0 - eta * eigenvalues, np.swapaxes(V, 1, 2)
        a = -eta * turned @ (gradients - hessians @ known.mean[:, :, None])
        noise = eta**2 / batch_size * (turned @ noise @ V)
        moves = (rho - 1.0) * times(turned, begin.mean) + a[:, :, 0]
        moved, spread = averages(rho, moves, turned @ begin.spread @ V, noise, n)
        found = Normal(begin.mean + times(V, moved), V @ spread @ turned)
        if found.is_near(known, dealt.around.eigenvalues):
            return diagonal_steps(rho, V, a, noise, n), found
        known = found if iteration < PATIENCE else found.half_way(known)
    raise _unsettled(eta)


def _unsettled(eta: float) -> ValueError:
    return ValueError(
        f"step size {eta:g} is beyond the stability limit of a worker's own shard: its spread grows without end; "
        "take a smaller step (or, of a loss that is not quadratic, start nearer to the optimum)"
    )


def _consensus(before: Steps, workers: Steps, weights: Array) -> float:
    """Return E (1/P) sum |w_k - w|^2 at the end of a round that all began where `before` ends."""
    one, turned = workers.mean_of(weights), np.swapaxes(workers.B, 1, 2)
    mean = (workers.B @ before.a + workers.a)[:, :, 0]
    own = workers.B @ before.noise @ turned + workers.noise
    cross = workers.B @ before.noise @ one.B.T + weights[:, None, None] * workers.noise
    both = one.B @ before.noise @ one.B.T + one.noise
    variance = np.einsum("kii->k", own - 2.0 * cross + both).mean()
    return float(((mean - weights @ mean) ** 2).sum(axis=1).mean() + variance)
