"""What a run will give, before it runs: the excess objective of w_bar under any schedule.

The workers' mean follows the gradient as their spread around it averages it, and the spread follows the noise that it
meets on its way (``closure``; to second order in the spread A that adds F'''[A] / 2 to the gradient),

    dz/dt = -eta G(z),   z(0) = w0.

Its average over the path is the bias B of w_bar. Noise of covariance Sigma moves the mean by itself, and its average
by C = Cov(w_bar), at the Hessian H and the Sigma of the moment (``path``; H^-1 Sigma H^-1 w2 / n where they stay):

    E F(w_bar) - F* = F(w* + B) - F* + (1/2) tr F''(w* + B) C.

Workers whose shards differ (partition="contiguous") each have a path and a spread of their own: see ``shards``.
Derived for this package; an asymptotic formula, not a bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from .. import arguments
from ..cores import one_blas_thread
from ..data import shard_sizes
from ..problem import Problem
from ..schedules import Schedule
from ..stepsizes import StepSize
from ..stream_problem import StreamProblem
from .closure import Closure
from .dealt import Dealt
from .doubt import Doubt
from .expansion import Expansion
from .path import Path, follow
from .periods import interpolation
from .reshuffling import reshuffled_variance
from .rounds import round_lengths
from .shards import shard_moments
from .streamed import exact_prediction

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]

# Shards may differ so much: the spread their own optima give the workers, as a part of the one that noise gives them.
MOST_DIFFERENCE = 0.15
# So much of a run may be at steps beyond 2 / L, L at the optimum, as where they decay from there.
MOST_BEYOND = 0.1
# Rows of a shard for each parameter: with fewer its own Hessian is another one.
ROWS_A_PARAMETER = 10


@dataclass(frozen=True)
class Prediction:
    """What a run is expected to give.

    Attributes
    ----------
    excess : float
        E F(w_bar) - F*.
    e2 : float
        E |H (w_bar - w*)|^2, H the Hessian at the optimum.
    consensus : float
        E (1/P) sum |w_k - w|^2 just before the last averaging.
    bias, variance : float
        The two parts of the excess over the minimum of F: of the path of the mean, and of noise. With
        target="population" excess is their sum and the statistical floor.
    low, high : float
        How far the formula itself may be off, 1 in 20 to either side: what it leaves out is taken to move the mean
        of w_bar as much as the terms beyond second order in the workers' spread that it keeps, nobody knows which way
        (``doubt``). Not a bound, and no statement about a single run.
    n_rounds : int
        Averagings of the run.
    doubt : Doubt
        What low and high come from.
    """

    excess: float
    e2: float
    consensus: float
    bias: float
    variance: float
    low: float
    high: float
    n_rounds: int
    doubt: Doubt = field(repr=False, compare=False)

    def ratio_to(self, other: Prediction) -> tuple[float, float]:
        """Return excess over that of another run on the problem, and how far this ratio may be off.

        What both leave out alike cancels (``doubt``), as of two periods it nearly does.

        Examples
        --------
        >>> import fastlsgd as fl
        >>> X = np.random.default_rng(0).standard_normal((1000, 3))
        >>> y = np.where(X[:, 0] + np.random.default_rng(1).logistic(size=1000) > 0, 1.0, -1.0)
        >>> problem = fl.Problem(X, y, loss="logistic", l2=1e-2)
        >>> rarely, often = (predict(problem, period, fl.Constant(0.1), 8, 5000) for period in (100, 1))
        >>> ratio, off = rarely.ratio_to(often)
        >>> 1.3 < ratio - off < rarely.excess / often.excess < ratio + off < 1.6
        True
        """
        ratio = self.excess / other.excess if other.excess > 0.0 else 1.0
        off = self.doubt.of_excess_beside(other.doubt, ratio)
        return ratio, off / other.excess if other.excess > 0.0 else 0.0


def predict(
    problem: Problem | Expansion,
    schedule: Schedule | int | Sequence[int],
    step_size: StepSize | str,
    n_workers: int,
    n_steps: int,
    w0: npt.ArrayLike | None = None,
    w_star: npt.ArrayLike | None = None,
    sampling: Literal["replacement", "reshuffle", "stream"] | None = None,
    target: Literal["empirical", "population"] | None = None,
    *,
    partition: Literal["iid", "contiguous"] = "iid",
    batch_size: int = 1,
    weights: str | npt.ArrayLike | None = None,
) -> Prediction:
    """Predict the excess objective of w_bar, from the problem alone.

    F(w* + B) - F* + (1/2) tr F''(w* + B) C: the bias B of the mean path, the covariance C of noise averaged over
    steps and workers. (Derived for this package; asymptotic, not a bound.)

    Parameters
    ----------
    problem : Problem or Expansion
        An Expansion spares its cost (two passes and an eigendecomposition) when there is more than one prediction. Of
        a quadratic stream the prediction is exact, of fresh rows, and over the population's minimum.
    schedule : Schedule, int or sequence of int
        As in ``round_lengths``; one that needs constants of the problem is bound to it.
    step_size : StepSize or "auto"
        As in ``local_sgd``.
    n_workers, n_steps : int
    w0 : array, shape (n_params,), or None
        Where the workers start; None is zeros.
    w_star : array, shape (n_params,), or None
        The optimum, if it is known already: its gradient is looked at. None: it is computed.
    sampling : "replacement", "reshuffle" or None
        None is "replacement" (of a stream, "stream"); ``local_sgd`` reshuffles unless told otherwise.
        With replacement rows are drawn from the whole data set. Reshuffled, every worker visits its shard, dealt at
        random, epoch after epoch: the noise of a whole epoch cancels to first order (``reshuffled_variance``); shards
        weighted otherwise than by their rows have another minimum, which is a part of ``variance``.
    target : "empirical", "population" or None
        None is "empirical" (of a stream, "population"). The excess over the minimum of F; or that over the minimum of
        its expectation, whose sample the rows are: this adds the statistical floor, tr(H^-1 S) / (2 n_samples)
        (asymptotic).
    partition : "iid" or "contiguous"
        Contiguous: with replacement, worker k draws from its own shard, the k-th block of rows as they lie, however
        much the shards differ; at most 200 parameters. The excess is that over the minimum for all rows.
    batch_size : int
    weights : None, "rows" or array, shape (n_workers,)
        As in ``local_sgd``.

    Raises
    ------
    ValueError
        More than 2,000 parameters; no optimum; a step beyond the stability limit; reshuffled shards that differ too
        much: where a worker has time to reach its own shard's optimum, the formula does not hold. Contiguous shards
        with reshuffling. A w_star that is not the optimum; of a stream, what has no meaning for fresh rows.
        Where slopes are bounded (logistic) iterates stay finite beyond the limit of ``data_stability_limit``, and are
        predicted up to 2 / L, within 22% up to 1.5 times the limit of the period (seen), less well beyond.
    TypeError
        A step_size or a count that is none.

    Examples
    --------
    >>> import fastlsgd as fl
    >>> X = np.random.default_rng(0).standard_normal((1000, 3))
    >>> problem = fl.Problem(X, X @ [1.0, 2.0, 3.0] + np.random.default_rng(1).standard_normal(1000))
    >>> often = predict(problem, fl.MiniBatch(), fl.Constant(0.02), n_workers=8, n_steps=5000)
    >>> once = predict(problem, fl.OneShot(), fl.Constant(0.02), n_workers=8, n_steps=5000)
    >>> 1.0 < once.excess / often.excess < 1.1
    True
    """
    if isinstance(problem, StreamProblem):
        _check_stream(problem, w_star, sampling, target, partition)
        return _predict_stream(problem, schedule, step_size, n_workers, n_steps, w0, batch_size, weights)
    sampling, target = sampling or "replacement", target or "empirical"
    around = problem if isinstance(problem, Expansion) else Expansion(problem, w_star=w_star)
    if around is problem and w_star is not None:
        given = arguments.point_of(around.problem, "w_star", w_star)
        if not np.allclose(given, around.w_star, rtol=1e-6, atol=1e-9):
            raise ValueError("w_star is not the optimum that the Expansion stands at; leave it out")
    n_workers, n_steps = arguments.whole("n_workers", n_workers), arguments.whole("n_steps", n_steps)
    batch_size = arguments.whole("batch_size", batch_size)
    arguments.one_of("sampling", sampling, ("replacement", "reshuffle"))
    arguments.one_of("partition", partition, ("iid", "contiguous"))
    arguments.one_of("target", target, ("empirical", "population"))
    shares = arguments.averaging_weights(weights, n_workers, around.problem.n_samples)
    step_size = _step_size(step_size, around.problem)
    start = around.directions.T @ (arguments.start_at(w0, around.problem).astype(np.float64) - around.w_star)
    etas = arguments.step_sizes_at(step_size, np.arange(1, n_steps + 1))
    if hasattr(schedule, "bind"):
        schedule = arguments.bound_schedule(
            schedule, around.problem, step_size, n_workers, n_steps, sampling=sampling, partition=partition,
            batch_size=batch_size, weights=shares, w0=w0,
        )  # fmt: skip
    lengths = round_lengths(schedule, n_workers, etas)
    if partition == "contiguous" and sampling == "reshuffle":
        raise ValueError(
            'reshuffled runs on contiguous shards cannot be predicted; predict sampling="replacement", which is '
            "right as far as it is the shards' differences that count"
        )
    # Beyond the stability limit numbers overflow before that is seen, and said.
    with np.errstate(over="ignore", invalid="ignore"), one_blas_thread(len(around.eigenvalues)):
        if partition == "contiguous":
            parts = _of_shards(around, start, lengths, etas, shares, batch_size)
        else:
            _check_steps(around, etas)
            epoch_rows = around.problem.n_samples // n_workers if sampling == "reshuffle" else None
            parts = _of_one_path(_Run(around, start, etas, lengths, shares, batch_size, epoch_rows))
    excess = parts.bias + parts.variance
    if target == "population":
        excess += float((np.diag(around.covariance) / around.eigenvalues).sum()) / (2 * around.problem.n_samples)
    return Prediction(
        excess=excess,
        e2=parts.e2,
        consensus=parts.consensus,
        bias=parts.bias,
        variance=parts.variance,
        low=max(0.0, excess - parts.doubt.of_excess()),
        high=excess + parts.doubt.of_excess(),
        n_rounds=len(lengths),
        doubt=parts.doubt,
    )


@dataclass(frozen=True)
class _Parts:
    """What a prediction is put together from."""

    bias: float
    variance: float
    e2: float
    consensus: float
    doubt: Doubt


def _of_shards(
    around: Expansion, start: Vector, lengths: npt.NDArray[np.int64], etas: Vector, weights: Vector, batch_size: int
) -> _Parts:
    """Predict a run whose workers draw from shards that differ."""
    found = shard_moments(_dealt(around, len(weights)), start, lengths, etas, weights, batch_size)
    hessian, root = around.hessian(found.mean), np.sqrt(around.eigenvalues)
    return _Parts(
        bias=float(around.problem.excess(around.w_star + around.directions @ found.mean, around.w_star)),
        variance=0.5 * float(np.trace(hessian @ found.covariance)),
        e2=float(around.eigenvalues**2 @ (np.diag(found.covariance) + found.mean**2)),
        consensus=found.consensus,
        doubt=Doubt(root * found.mean, root * (found.mean - found.second_order)),
    )


def _dealt(around: Expansion, n_workers: int) -> Dealt:
    if around.dealt is None or around.dealt.n_workers != n_workers:
        around.dealt = Dealt(around, n_workers)
    return around.dealt


def _of_one_path(run: _Run) -> _Parts:
    """Predict a run whose workers all go the same way but for their noise."""
    around = run.around
    mean, covariance = run.path.mean, run.covariance()
    return _Parts(
        bias=float(around.problem.excess(around.w_star + around.directions @ mean, around.w_star)),
        variance=0.5 * float((around.hessian(mean) * covariance).sum()),
        e2=float(around.eigenvalues**2 @ (np.diag(covariance) + mean**2)),
        consensus=run.consensus(),
        doubt=run.doubt(),
    )


def _check_steps(around: Expansion, etas: Vector) -> None:
    """Raise ValueError if the mean itself moves away from the optimum for long, though slopes may be bounded."""
    limit = 2.0 / float(around.eigenvalues[-1])
    if float((etas >= limit).mean()) > MOST_BEYOND:
        raise ValueError(
            f"step size {etas.max():g} is beyond the stability limit, of the mean {limit:g} = 2 / L; where slopes "
            "are bounded iterates stay finite, but are not predicted; take a smaller step"
        )


def _step_size(step_size: StepSize | str, problem: Problem) -> StepSize:
    if isinstance(step_size, str):
        return arguments.resolve_step_size(step_size, problem, 1, 1)
    return step_size


def _check_stream(
    problem: StreamProblem, w_star: npt.ArrayLike | None, sampling: str | None, target: str | None, partition: str
) -> None:
    """Raise ValueError at what has no meaning where every row is fresh."""
    for name, given, only in (
        ("sampling", sampling or "stream", "stream"),
        ("target", target or "population", "population"),
        ("partition", partition, "iid"),
    ):
        if given != only:
            raise ValueError(
                f"{name} must be {only!r} of a stream, whose rows are all fresh, or left out, got {given!r}"
            )
    if w_star is not None and not np.allclose(arguments.point_of(problem, "w_star", w_star), problem.optimum()):
        raise ValueError("w_star is not the optimum of the stream, which is known; leave it out")


def _predict_stream(
    problem: StreamProblem,
    schedule: Schedule | int | Sequence[int],
    step_size: StepSize | str,
    n_workers: int,
    n_steps: int,
    w0: npt.ArrayLike | None,
    batch_size: int,
    weights: npt.ArrayLike | None,
) -> Prediction:
    n_workers, n_steps = arguments.whole("n_workers", n_workers), arguments.whole("n_steps", n_steps)
    step_size = _step_size(step_size, problem)
    etas = arguments.step_sizes_at(step_size, np.arange(1, n_steps + 1))
    shares = arguments.averaging_weights(weights, n_workers, 0)
    start = arguments.start_at(w0, problem).astype(np.float64)
    batch_size = arguments.whole("batch_size", batch_size)
    if hasattr(schedule, "bind"):
        schedule = arguments.bound_schedule(
            schedule, problem, step_size, n_workers, n_steps, batch_size=batch_size, weights=shares, w0=start
        )
    lengths = round_lengths(schedule, n_workers, etas)
    return Prediction(**exact_prediction(problem, etas, lengths, shares, batch_size, start))


class _Run:
    """A run as predictions see it: its path, and what its noise does to w_bar."""

    def __init__(
        self,
        around: Expansion,
        start: Vector,
        etas: Vector,
        lengths: npt.NDArray[np.int64],
        shares: Vector,
        batch_size: int,
        epoch_rows: int | None,
    ) -> None:
        self.around, self.etas, self.lengths, self.shares = around, etas, lengths, shares
        self.batch_size, self.epoch_rows, self.w2 = batch_size, epoch_rows, float(shares @ shares)
        self.n_workers, self.n_steps = len(shares), len(etas)
        closure = Closure(around, self.w2, batch_size, epoch_rows and epoch_rows / batch_size)
        self.path: Path = follow(closure, start, etas, lengths)
        self.eigenvalues, self.directions = self.path.end.seen.eigenvalues, self.path.end.seen.directions

    def covariance(self) -> Matrix:
        """The covariance of w_bar, in the eigenbasis at the optimum.

        Reshuffled, the noise at the optimum cancels over an epoch; what the spread and the way add does not.
        """
        added = self.path.covariance
        if self.epoch_rows is None:
            return added
        self._check_shards(self.epoch_rows)
        own = self._along(self.around.covariance)
        cancels = reshuffled_variance(
            self.eigenvalues, own / self.batch_size, self.etas, self.epoch_rows, self.batch_size
        )
        there = self.w2 * cancels + self._shards_variance(own)
        added = added * (np.diag(added) > 0.0)[:, None] * (np.diag(added) > 0.0)
        return added + (self.directions * there) @ self.directions.T

    def _along(self, matrix: Matrix) -> Vector:
        """Its variances along the eigenvectors where the run ends."""
        return np.einsum("ij,ij->j", self.directions, matrix @ self.directions)

    def _shards_variance(self, noise: Vector) -> Vector:
        """The variance of where the mean of the workers goes: shards weighted otherwise than by their rows.

        The mean gradient of random shards of n_k rows out of n has, at the optimum of all, the covariance
        S (sum w_k^2 / n_k - 1 / n) n / (n - 1), and takes the mean path by H^-1 of it: all the way but for what is
        left of the start. (Derived for this package; of first order in the shards' difference.)
        """
        n = self.around.problem.n_samples
        sizes = shard_sizes(n, self.n_workers)
        differ = (float((self.shares**2 / sizes).sum()) - 1.0 / n) * n / max(1, n - 1)
        if differ <= 1e-9 * self.w2 / sizes[0]:
            return np.zeros_like(noise)
        left = np.array([np.cumprod(1.0 - self.etas * value).mean() for value in self.eigenvalues])
        return differ * noise * ((1.0 - left) / self.eigenvalues) ** 2

    def _check_shards(self, epoch_rows: int) -> None:
        """Raise ValueError if shards are too small, or draw workers to their own optima more than noise spreads them.

        The mean gradient of a shard of L rows has covariance S / L; over k steps it takes a worker by
        (1 - rho^k) / lambda of it, here squared and averaged over a round.
        """
        if self.w2 < 1.0 and epoch_rows < ROWS_A_PARAMETER * len(self.eigenvalues):
            raise ValueError(
                f"shards of {epoch_rows} rows are too small for {len(self.eigenvalues)} parameters: reshuffled runs "
                f'can be predicted from {ROWS_A_PARAMETER} rows a parameter on; predict sampling="replacement"'
            )
        eigenvalues, eta, length = self.eigenvalues, float(self.etas.mean()), float(max(self.lengths[-2:]))
        rho = 1.0 - eta * eigenvalues
        drift = 1.0 - 2.0 * _mean_power(rho, length) + _mean_power(rho**2, length)
        noise = self._along(self.path.end.seen.noise)
        shards = noise * self.batch_size / epoch_rows / eigenvalues * drift
        contraction = eta * eigenvalues * (2.0 - eta * eigenvalues)
        share = interpolation(length, contraction, self.w2)
        difference = float(shards.sum() / (eigenvalues * eta**2 * noise * share / contraction).sum())
        if self.w2 < 1.0 and difference > MOST_DIFFERENCE:
            raise ValueError(
                f"shards of {epoch_rows} rows differ too much for rounds of {length:g} steps: what draws workers to "
                f"the optima of their own shards is {difference:.2g} of what noise does (up to {MOST_DIFFERENCE:g} "
                'can be predicted); predict sampling="replacement", or a shorter period'
            )

    def consensus(self) -> float:
        """The spread of the workers at the end of the last round."""
        return (1.0 + self.w2 - 2.0 / self.n_workers) * float(np.trace(self.path.gathered))

    def doubt(self) -> Doubt:
        """What the doubt of the prediction comes from."""
        root = np.sqrt(self.around.eigenvalues)
        return Doubt(root * self.path.mean, root * self.path.beyond)


def _mean_power(rho: Vector, n: float) -> Vector:
    """Return the mean of rho^k over k = 1 .. n."""
    return rho * (1.0 - rho**n) / (n * (1.0 - rho))
