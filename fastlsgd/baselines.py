"""Baselines: what local SGD must be compared with, rounds, bytes and gradients counted by the same rules.

A round is one message to and from every worker, all-reduced; its bytes are 2 n_workers x numbers x itemsize, 0
for one worker, as in the ledger of ``local_sgd``.
"""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from .arguments import a_problem, number, whole
from .problem import Problem
from .schedules import MiniBatch, OneShot
from .solver import Result, known_options, local_sgd
from .stepsizes import Constant
from .trace import Trace, allreduce_bytes

__all__ = [
    "BaselineResult",
    "large_minibatch",
    "large_minibatch_options",
    "lbfgs",
    "newton_step",
    "one_worker",
    "one_worker_options",
    "richardson",
]

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BaselineResult:
    """What a baseline found and what it cost.

    Attributes
    ----------
    name : str
    w : ndarray, shape (n_params,)
        The answer; of the stochastic ones the average over the run, ``w_bar``.
    n_rounds : int
        Messages all-reduced; 0 for one worker, who talks to nobody.
    n_passes : float
        Gradients divided by rows: passes over the data, in all workers together; nan of a stream.
    n_gradients, n_bytes : int
        Gradients of single rows; bytes sent and received by all workers.
    wall_s : float
        Seconds of the whole call.
    objectives : tuple of float
        L-BFGS: F at every evaluation, in order. Else empty.
    iterates : tuple of ndarray
        L-BFGS: where it was evaluated. Else empty.
    traces : tuple of Trace
        The ledgers of the runs it is made of. Empty for deterministic ones.

    Examples
    --------
    >>> found = lbfgs(Problem(np.eye(3), np.ones(3)), n_workers=2)
    >>> found.name, found.n_rounds == found.n_passes, found.n_bytes == found.n_rounds * 2 * 2 * 4 * 8
    ('L-BFGS', True, True)
    """

    name: str
    w: np.ndarray
    n_rounds: int
    n_passes: float
    n_gradients: int
    n_bytes: int
    wall_s: float
    objectives: tuple[float, ...] = ()
    iterates: tuple[np.ndarray, ...] = field(default=(), repr=False)
    traces: tuple[Trace, ...] = ()


# ---- deterministic ----


class _Reached(Exception):  # noqa: N818 - a way out of SciPy's loop, not an error
    """The target is reached."""


def lbfgs(
    problem: Problem,
    n_workers: int = 8,
    target: float | None = None,
    tolerance: float = 1e-6,
    *,
    f_star: float | None = None,
    max_passes: int = 1000,
) -> BaselineResult:
    """Minimise F by SciPy's L-BFGS-B from zero; every evaluation is one pass and one all-reduced message.

    The message is the gradient and the value, n_params + 1 float64 numbers, so every worker takes the same
    step by itself.

    Parameters
    ----------
    problem : Problem
    n_workers : int
        Among whom the rows lie; only n_bytes depends on it.
    target : float or None
        Stop at the first evaluation whose excess objective F(w) - f_star is not above it.
    tolerance : float
        Without a target reached: stop when no component of the gradient is larger than this part of what its norm
        can be at zero, sqrt(2 c F(0) mean |x|^2), c the loss's largest curvature. So the same problem in other units
        (of weights, rows or targets) takes the same steps.
    f_star : float or None
        The minimum of F; None computes it from ``problem.optimum()`` if there is a target.
    max_passes : int
        At most so many evaluations, but for those of a last line search.

    Returns
    -------
    BaselineResult
        ``w`` is the iterate of the lowest objective seen, ``objectives`` and ``iterates`` all that were evaluated.

    Raises
    ------
    TypeError, ValueError
        A target that is not positive, another number that does not fit; a stream, which has no rows to go over.

    Examples
    --------
    >>> problem = Problem(np.array([[1.0], [2.0]]), np.array([2.0, 5.0]))
    >>> lbfgs(problem, tolerance=1e-9).w.round(6)
    array([2.4])
    """
    from scipy import optimize  # a tenth of a second to import

    problem = a_problem(problem)
    if target is not None:
        target = number("target", target, above=0.0, hint="; it is an excess objective")
    n_workers, max_passes = whole("n_workers", n_workers), whole("max_passes", max_passes)
    tolerance = number("tolerance", tolerance, least=0.0)
    if target is not None and f_star is None:
        f_star = float(problem.objective(problem.optimum()))
    # A stream, which has no rows to go over, is refused before anything runs.
    n_samples = problem.n_samples
    objectives: list[float] = []
    iterates: list[Vector] = []

    def evaluate(w: Vector) -> tuple[float, Vector]:
        found, gradient = problem.objective_and_gradient(w)
        value = float(found)
        objectives.append(value)
        iterates.append(w.copy())
        if target is not None and f_star is not None and value - f_star <= target:
            raise _Reached
        return value, gradient

    started = time.perf_counter()
    with contextlib.suppress(_Reached):
        # F / F(0) as a function of w (unit of the gradient) / F(0): SciPy measures its first step and the gradient
        # by 1.
        zero = np.zeros(problem.n_params)
        first, gradient = evaluate(zero)
        unit = problem.gradient_unit(first) or 1.0
        size, length = (first, first / unit) if first > 0.0 else (1.0, 1.0)
        known = [(first / size, gradient / unit)]  # what SciPy asks for first

        def measured(u: Vector) -> tuple[float, Vector]:
            if known:
                return known.pop()
            value, gradient = evaluate(u * length)
            return value / size, gradient / unit

        optimize.minimize(
            measured,
            zero,
            jac=True,
            method="L-BFGS-B",
            # ftol 0: progress too small to see in F is not yet convergence of the gradient.
            options={"gtol": tolerance, "ftol": 0.0, "maxfun": max_passes, "maxiter": max_passes},
        )
    n_passes = len(objectives)
    return BaselineResult(
        name="L-BFGS",
        w=iterates[int(np.argmin(objectives))],
        n_rounds=_rounds(n_passes, n_workers),
        n_passes=n_passes,
        n_gradients=n_passes * n_samples,
        n_bytes=n_passes * allreduce_bytes(n_workers, problem.n_params + 1),
        wall_s=time.perf_counter() - started,
        objectives=tuple(objectives),
        iterates=tuple(iterates),
    )


def newton_step(problem: Problem, w: npt.ArrayLike, n_workers: int = 8) -> BaselineResult:
    """Take one Newton step from w: one pass, and one message of a Hessian and a gradient (d^2 + d float64 numbers).

    The costs are those of the step alone, without what found w.

    Parameters
    ----------
    problem : Problem
    w : array, shape (n_params,)
    n_workers : int
        Among whom the rows lie; only n_bytes depends on it.

    Returns
    -------
    BaselineResult

    Raises
    ------
    ValueError
        More than 5,000 parameters (``Problem.hessian``); a stream.

    Examples
    --------
    >>> problem = Problem(np.array([[1.0], [2.0]]), np.array([2.0, 5.0]))
    >>> step = newton_step(problem, [0.0])
    >>> step.w, step.n_rounds, step.n_bytes
    (array([2.4]), 1, 256)
    """
    n_workers = whole("n_workers", n_workers)
    n_samples = a_problem(problem).n_samples  # a stream has none, and is refused
    started = time.perf_counter()
    stepped = problem.newton_step(w)
    return BaselineResult(
        name="one Newton step",
        w=stepped,
        n_rounds=_rounds(1, n_workers),
        n_passes=1,
        n_gradients=n_samples,
        n_bytes=allreduce_bytes(n_workers, problem.n_params**2 + problem.n_params),
        wall_s=time.perf_counter() - started,
    )


# ---- stochastic: local_sgd with other arguments ----


def large_minibatch_options(period: int, n_steps: int, batch_size: int = 1) -> dict[str, Any]:
    """Return the options of ``local_sgd`` for a mini-batch with the rounds and gradients of a period.

    One step on period x batch_size rows a worker takes the place of a round: n_steps // period steps (at
    least one; a period beyond n_steps counts as n_steps).

    Parameters
    ----------
    period, n_steps, batch_size : int
        Of the local SGD to be matched.

    Examples
    --------
    >>> large_minibatch_options(16, n_steps=1000)
    {'schedule': MiniBatch(), 'batch_size': 16, 'n_steps': 62}
    """
    n_steps, batch_size = whole("n_steps", n_steps), whole("batch_size", batch_size)
    period = min(whole("period", period), n_steps)
    return {"schedule": MiniBatch(), "batch_size": period * batch_size, "n_steps": n_steps // period}


def large_minibatch(
    problem: Problem, *, period: int, n_steps: int, n_workers: int = 8, batch_size: int = 1, **options: Any
) -> BaselineResult:
    """Run mini-batch averaging with a batch so large that rounds and gradients equal those of local SGD.

    The baseline of Woodworth, Patel et al. (ICML 2020; recalled): where rounds are what costs, one may as well
    spend the period's gradients on one better step.

    Parameters
    ----------
    period, n_steps, n_workers, batch_size : int
        Of the local SGD to be matched.
    **options
        Further ones of ``local_sgd``: step_size, sampling, seed, n_threads, ...

    Returns
    -------
    BaselineResult

    Raises
    ------
    TypeError, ValueError, Diverged
        As ``local_sgd``.

    Examples
    --------
    >>> problem = Problem(np.array([[1.0], [2.0]]), np.array([2.0, 5.0]))
    >>> found = large_minibatch(problem, period=4, n_steps=40, n_workers=2, step_size=Constant(0.1))
    >>> found.n_rounds, found.n_gradients
    (10, 80)
    """
    known_options("large_minibatch", options, ("period",), ("schedule",))
    matched = large_minibatch_options(period, n_steps, batch_size)
    result, wall_s = _timed(problem, n_workers=n_workers, **matched, **options)
    return _stochastic(f"large mini-batch, rounds of period {period}", problem, result, wall_s, n_workers, matched)


def one_worker_options(n_workers: int, n_steps: int) -> dict[str, Any]:
    """Return the options of ``local_sgd`` for one worker who takes the steps of all.

    Parameters
    ----------
    n_workers, n_steps : int
        Of the local SGD to be matched.

    Examples
    --------
    >>> one_worker_options(8, n_steps=1000)
    {'schedule': OneShot(), 'n_workers': 1, 'n_steps': 8000}
    """
    n_steps = whole("n_workers", n_workers) * whole("n_steps", n_steps)
    return {"schedule": OneShot(), "n_workers": 1, "n_steps": n_steps}


def one_worker(
    problem: Problem, *, n_steps: int, n_workers: int = 8, batch_size: int = 1, **options: Any
) -> BaselineResult:
    """Run serial SGD with the gradients of n_workers workers, n_workers x n_steps steps: no communication at all.

    Parameters
    ----------
    n_steps, n_workers, batch_size : int
        Of the local SGD to be matched.
    **options
        Further ones of ``local_sgd``: step_size, sampling, seed, ...

    Returns
    -------
    BaselineResult

    Raises
    ------
    TypeError, ValueError, Diverged
        As ``local_sgd``.

    Examples
    --------
    >>> problem = Problem(np.array([[1.0], [2.0]]), np.array([2.0, 5.0]))
    >>> found = one_worker(problem, n_steps=40, n_workers=2, step_size=Constant(0.1))
    >>> found.n_rounds, found.n_gradients
    (0, 80)
    """
    known_options("one_worker", options, (), ("schedule",))
    matched = one_worker_options(n_workers, n_steps)
    result, wall_s = _timed(problem, batch_size=batch_size, **matched, **options)
    return _stochastic("one worker", problem, result, wall_s, 1, {**matched, "batch_size": batch_size})


def richardson(
    problem: Problem, *, eta: float, n_steps: int, n_workers: int = 8, batch_size: int = 1, **options: Any
) -> BaselineResult:
    """Run one-shot averaging at the constant steps eta and 2 eta on the same samples, and extrapolate to 0.

    The bias of one-shot averaging is that of one worker, O(eta), whatever n_workers; 2 w_bar(eta) - w_bar(2 eta)
    removes its first order (Richardson-Romberg; Dieuleveut, Durmus and Bach 2020, recalled). Equal samples, by
    equal seeds, keep the variance where it was. Twice the gradients; both vectors go in one message.

    Parameters
    ----------
    eta : float
        The smaller of the two steps; 2 eta has to be stable.
    n_steps, n_workers, batch_size : int
        Of each of the two runs.
    **options
        Further ones of ``local_sgd``: sampling, seed, n_threads, ...

    Returns
    -------
    BaselineResult
        ``w`` extrapolated, in float64; ``traces`` of the runs at eta and at 2 eta.

    Raises
    ------
    Diverged
        2 eta is too large.
    TypeError, ValueError
        As ``local_sgd``.

    Examples
    --------
    >>> problem = Problem(np.array([[1.0], [2.0]]), np.array([2.0, 5.0]))
    >>> found = richardson(problem, eta=0.05, n_steps=40, n_workers=2)
    >>> found.n_rounds, found.n_gradients, len(found.traces)
    (1, 160, 2)
    """
    known_options("richardson", options, ("eta",), ("schedule", "step_size"))
    eta, n_workers = number("eta", eta, above=0.0), whole("n_workers", n_workers)
    n_steps, batch_size = whole("n_steps", n_steps), whole("batch_size", batch_size)
    options = {"schedule": OneShot(), "n_steps": n_steps, "batch_size": batch_size, **options}
    first, first_s = _timed(problem, n_workers=n_workers, step_size=Constant(eta), **options)
    second, second_s = _timed(problem, n_workers=n_workers, step_size=Constant(2 * eta), **options)
    n_gradients = n_workers * batch_size * (first.state.t + second.state.t)
    return BaselineResult(
        name="one-shot, Richardson",
        w=2.0 * _w_bar(first).astype(np.float64) - _w_bar(second),
        n_rounds=_rounds(1, n_workers),
        n_passes=_passes(problem, n_gradients),
        n_gradients=n_gradients,
        n_bytes=allreduce_bytes(n_workers, 2 * problem.n_params, problem.dtype.itemsize),
        wall_s=first_s + second_s,
        traces=(first.trace, second.trace),
    )


def _timed(problem: Problem, **options: Any) -> tuple[Result, float]:
    started = time.perf_counter()
    return local_sgd(problem, **options), time.perf_counter() - started


def _rounds(messages: int, n_workers: int) -> int:
    """Return the rounds of so many messages: one worker talks to nobody."""
    return messages if n_workers > 1 else 0


def _passes(problem: Problem, n_gradients: int) -> float:
    return math.nan if problem.X is None else n_gradients / problem.n_samples


def _w_bar(result: Result) -> np.ndarray:
    return result.w if result.w_bar is None else result.w_bar


def _stochastic(
    name: str, problem: Problem, result: Result, wall_s: float, n_workers: int, ran: dict[str, Any]
) -> BaselineResult:
    n_gradients = result.state.t * n_workers * ran["batch_size"]
    n_rounds = _rounds(result.state.n_rounds, n_workers)
    return BaselineResult(
        name=name,
        w=_w_bar(result),
        n_rounds=n_rounds,
        n_passes=_passes(problem, n_gradients),
        n_gradients=n_gradients,
        n_bytes=n_rounds * allreduce_bytes(n_workers, problem.n_params, problem.dtype.itemsize),
        wall_s=wall_s,
        traces=(result.trace,),
    )
