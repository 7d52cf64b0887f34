"""local_sgd and Run: the loop. Read this file first.

A run is cut into slices. For each one the solver asks the schedule for round lengths (if none are
pending), the step size for the slice's etas, and has the backend advance every worker. Records,
time limits, callbacks, checkpoints and interrupts live between slices, where all workers stand at the
same step; cutting changes no bit.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import inspect
import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt

from . import arguments
from .averages import Average
from .backends.threads import Threads
from .cores import resolve_threads, threads_given
from .data import is_memory_mapped
from .problem import Problem
from .schedules import FixedPeriod, Schedule
from .state import CheckpointError, Pending, State
from .stepsizes import StepSize
from .trace import Record, Trace, allreduce_bytes

log = logging.getLogger("fastlsgd")

Given = ParamSpec("Given")
Answer = TypeVar("Answer")

SLICE_S = 0.05
MAX_SLICE_STEPS = 1 << 18
CHECKPOINT_EVERY_S = 30.0


class Diverged(ArithmeticError):  # noqa: N818 - named for what happened
    """An iterate became infinite or NaN.

    Attributes
    ----------
    t, worker : int
        The first step after which a worker's iterate is not finite, and the first such worker.
    eta : float
        The step size of that step.
    state : State
        The run at the start of the slice in which it happened: finite. With the same arguments (``record`` and
        ``callback`` may differ) a run goes on from it to just before step t, to see what happens there. A smaller
        step is another run: begin it from there with ``w0=error.state.W.mean(axis=0)``.
    """

    def __init__(self, message: str, *, t: int, worker: int, eta: float, state: State) -> None:
        super().__init__(message)
        self.t, self.worker, self.eta, self.state = t, worker, eta, state

    def __reduce__(self) -> tuple[Any, ...]:
        made_with: dict[str, Any] = {"t": self.t, "worker": self.worker, "eta": self.eta, "state": self.state}
        return functools.partial(type(self), **made_with), self.args


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during ``local_sgd``; ``result`` is the result so far, ``result.state`` goes on from there."""

    def __init__(self, result: Result) -> None:
        super().__init__(f"interrupted at t={result.state.t}; .result is the result so far")
        self.result = result

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.result,)


@dataclass(frozen=True, repr=False)
class Result:
    """What a run returns.

    Attributes
    ----------
    w : ndarray, shape (n_params,), dtype of the problem
        The mean of the local iterates.
    w_bar : ndarray or None
        The average over the run (all workers, all local iterates after their updates).
    trace : Trace
        The ledger.
    state : State
        What a later run can go on from.

    Examples
    --------
    >>> from fastlsgd import Constant
    >>> problem = Problem(np.eye(4), np.ones(4))
    >>> result = local_sgd(problem, n_workers=2, n_steps=100, step_size=Constant(0.5))
    >>> result.w.round(1), result.w_bar.shape, result.state.t
    (array([1., 1., 1., 1.]), (4,), 100)
    """

    w: np.ndarray
    w_bar: np.ndarray | None
    trace: Trace
    state: State

    def __repr__(self) -> str:
        return f"Result(t={self.state.t}, n_rounds={self.state.n_rounds}, n_params={self.w.size}, {self.trace!r})"


class Run:
    """A run that can be advanced a few rounds at a time: for simulators that embed one.

    Parameters
    ----------
    problem, **options
        Those of ``local_sgd``.

    Raises
    ------
    TypeError, ValueError, CheckpointError
        As ``local_sgd``.

    Attributes
    ----------
    W : ndarray, shape (n_workers, n_params)
        The local iterates: the run's own memory, the same for its whole life; writing to it moves the workers.
        With CSR rows and l2 > 0 a fresh read-only array; ``set_W`` writes.
    w, w_bar, t, trace, state
        The mean iterate, the average over the run, the steps done, the ledger, and what goes into a checkpoint.

    Examples
    --------
    >>> from fastlsgd import Constant
    >>> problem = Problem(np.eye(4), np.ones(4))
    >>> run = Run(problem, n_workers=2, n_steps=100, schedule=FixedPeriod(10), step_size=Constant(0.5))
    >>> run.advance(n_rounds=3)
    Run(FixedPeriod(period=10), t=30 of 100, n_rounds=3)
    >>> run.W.shape, run.advance().finished
    ((2, 4), True)
    """

    def __init__(
        self,
        problem: Problem,
        *,
        schedule: Schedule | None = None,
        step_size: StepSize | str = "auto",
        n_workers: int = 8,
        n_steps: int | None = None,
        seed: int = 0,
        n_threads: int | None = None,
        batch_size: int = 1,
        sampling: str | None = None,
        partition: str = "iid",
        layout: str = "auto",
        storage: str | None = None,
        weights: str | npt.ArrayLike | None = None,
        average: str | None = "polyak",
        w0: npt.ArrayLike | None = None,
        record: int | npt.ArrayLike = 32,
        max_time_s: float | None = None,
        callback: Callable[[Record], bool] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        state: State | None = None,
    ) -> None:
        self.problem = problem = arguments.a_problem(problem)
        self.n_workers = arguments.whole("n_workers", n_workers)
        self.batch_size = arguments.whole("batch_size", batch_size)
        if problem.X is None and n_steps is None:
            raise ValueError("a stream has no rows to count; say n_steps: local steps per worker")
        if n_steps is None:  # one pass over the data
            n_steps = max(1, -(-problem.n_samples // (self.n_workers * self.batch_size)))
        self.n_steps = arguments.whole("n_steps", n_steps)
        if self.n_steps * self.n_workers * self.batch_size >= 2**62:
            raise ValueError(f"n_steps * n_workers * batch_size must be below 2^62, got n_steps={self.n_steps}")
        self.seed = arguments.seed_of(seed)
        sampling = problem.samplings[0] if sampling is None else sampling
        self.sampling = arguments.one_of("sampling", sampling, problem.samplings)
        self.partition = arguments.one_of("partition", partition, ("iid", "contiguous"))
        self.average = Average.parse(average, self.n_steps)
        n_rows = 0 if problem.X is None else problem.n_samples
        self.weights = arguments.averaging_weights(weights, self.n_workers, n_rows)
        self.step_size = arguments.resolve_step_size(step_size, problem, self.batch_size, self.n_steps)
        # None, or what the schedule's own questions to the problem may use too.
        self._n_threads = n_threads
        n_threads = resolve_threads(n_threads, self.n_workers)
        schedule = FixedPeriod(16) if schedule is None else schedule
        start_at = arguments.start_at(w0, problem)
        with threads_given(self._n_threads):
            self.schedule = arguments.bound_schedule(
                schedule, problem, self.step_size, self.n_workers, self.n_steps, batch_size=self.batch_size,
                sampling=self.sampling, partition=self.partition, weights=self.weights, average=self.average.name,
                w0=start_at,
            )  # fmt: skip
        self._record_at = arguments.record_steps(record, self.n_steps)
        self.max_time_s = arguments.seconds("max_time_s", max_time_s)
        self.callback = arguments.function_of_a_record(callback)
        self.checkpoint = arguments.path_to_write("checkpoint", checkpoint)

        rows, layout, n_copied = problem.rows_for_run(
            n_workers=self.n_workers,
            seed=self.seed,
            sampling=self.sampling,
            partition=self.partition,
            layout=arguments.one_of("layout", layout, ("auto", "view", "packed")),
            storage=storage,
            n_visits=self.n_steps * self.batch_size,
            n_threads=n_threads,
        )
        self.storage = storage
        self._rows = rows
        config = self._config(start_at)
        if state is None:
            self.state = State.start(config, problem, start_at)
        else:
            _refuse_foreign(state, config, problem)
            self.state = state.copy()
        self.trace = Trace(problem, layout=layout, storage=storage, n_threads=n_threads, n_copied_bytes=n_copied)
        self._backend = Threads(
            problem,
            self.state,
            rows,
            batch_size=self.batch_size,
            weights=self.weights,
            n_threads=n_threads,
        )
        if state is not None:
            self._backend.look_everywhere()  # what was written to W before is averaged too
        # A copy of what a CSR run's W was when it was handed out: see _take_note_of_writes.
        self._handed_out: np.ndarray | None = None
        # Where the slice began, kept for the case that it diverges.
        self._before = self.state.copy()
        # Of this run alone: where it began, and the seconds that its steps took, of all threads.
        self._began, self._core_s = self.state.t, 0.0
        self._stopped = False
        # Records of steps that an earlier run has passed are not made again.
        self._record_at = self._record_at[self._record_at > self.state.t]
        # A first guess of 5 ms; from then on slices follow the clock.
        step_ns = self.n_workers * self.batch_size * (10 + problem.entries_a_row / 4)
        self._slice_steps = int(np.clip(5e6 / step_ns, 1, MAX_SLICE_STEPS))

    # ---- what a simulator reads ----

    @property
    def W(self) -> np.ndarray:
        """The local iterates, shape (n_workers, n_params); writable, always the same memory.

        With CSR rows and l2 > 0 a fresh read-only array: the penalty shrinks all coordinates by one number that
        is kept apart.
        """
        if self.state.scale is None or self.state.is_scaled:
            return self.state.W
        own = self.state.padded_W[:, : self.state.n_params]
        if self._handed_out is None:
            self._handed_out = own.copy()
        return own

    def _take_note_of_writes(self) -> None:
        """What was written to the W of a CSR run moves its workers, and not what the average holds of them."""
        if self._handed_out is None:
            return
        own = self.state.padded_W[:, : self.state.n_params]
        if np.array_equal(own, self._handed_out) or not np.isfinite(own).all():
            return
        lost = self._handed_out.astype(np.float64) - own
        lost[:, self.state.n_features :] = 0.0
        self.state.padded_sum64[:, : self.state.n_params] += self.state.scale[1] * lost
        self._handed_out[...] = own
        self._backend.look_everywhere()

    def set_W(self, W: npt.ArrayLike) -> None:
        """Move the workers: set the local iterates, shape (n_workers, n_params).

        The average keeps what it holds of the iterates so far.

        Parameters
        ----------
        W : array, shape (n_workers, n_params)
            Cast to the dtype of the problem.

        Raises
        ------
        TypeError, ValueError
            No numbers, another shape, or a number that is not finite in the dtype of the problem.
        """
        with np.errstate(over="ignore"):  # what the cast makes infinite is refused here
            new = arguments.reals("W", W).astype(self.problem.dtype)
        if new.shape != self.state.W.shape:
            raise ValueError(f"W must have shape {self.state.W.shape}, one row a worker, got {new.shape}")
        if not np.isfinite(new).all():
            raise ValueError("W must be finite")
        self._take_note_of_writes()
        self.state.move_workers(new)
        if self._handed_out is not None:
            self._handed_out[...] = new
        self._backend.look_everywhere()

    @property
    def t(self) -> int:
        """Local steps done, per worker."""
        return self.state.t

    @property
    def n_rounds(self) -> int:
        """Averagings done."""
        return self.state.n_rounds

    @property
    def w(self) -> np.ndarray:
        """The mean of the local iterates (computed; nothing is written back)."""
        return self.state.unscaled(self._backend.mean(self.state.padded_W)[: self.state.n_params])

    @property
    def w_bar(self) -> np.ndarray | None:
        """The average over the run so far: None with average=None, w before the average has begun."""
        total = self.average.total(self.t)
        if not self.average.wanted:
            return None
        if total == 0.0:
            return self.w
        self._take_note_of_writes()
        mean = np.zeros(self.state.n_params)
        for weight, row in zip(self.weights, self.state.sums(), strict=True):
            mean += weight * row
        return (mean / total).astype(self.problem.dtype)

    @property
    def finished(self) -> bool:
        """Whether all n_steps are done."""
        return self.t >= self.n_steps

    def result(self) -> Result:
        """Return the result so far; its state is a copy that the run no longer touches."""
        self._take_note_of_writes()
        return Result(self.w, self.w_bar, self.trace, self.state.copy())

    # ---- the loop ----

    def advance(self, n_rounds: int | None = None) -> Run:
        """Go on for n_rounds averagings, or to the end; stop earlier at max_time_s or when the callback says so.

        Parameters
        ----------
        n_rounds : int, >= 1, or None
            None is to the end.

        Returns
        -------
        Run
            Itself.

        Raises
        ------
        KeyboardInterrupt
            At Ctrl-C, within one slice (about 50 ms, or one step of all workers where its batches take longer); the
            run is whole and can be advanced again.
        Diverged
            An iterate is no longer finite; the run stands where the slice began.
        """
        stop_after = None if n_rounds is None else self.n_rounds + arguments.whole("n_rounds", n_rounds)
        started = time.monotonic()
        saved = started
        self._stopped = False
        self._take_due_record()
        while not (self.finished or self._stopped):
            if stop_after is not None and self.n_rounds >= stop_after:
                break
            now = time.monotonic()
            if self.max_time_s is not None and now - started >= self.max_time_s:
                log.info("max_time_s reached at t=%d", self.t)
                break
            if now - saved >= CHECKPOINT_EVERY_S:
                self.save_checkpoint()
                saved = now
            if self.t >= self.state.pending.last_t:
                self._ask_schedule()
            self._note_periods()
            self._slice(stop_after)
            self._take_due_record()
        self.save_checkpoint()
        return self

    def _slice(self, stop_after: int | None) -> None:
        """One slice: as many steps as fit in SLICE_S, up to the next step where something is due."""
        state, pending = self.state, self.state.pending
        t = state.t
        rounds = pending.lengths[state.n_rounds - pending.first_round :]
        upto = min(t + self._slice_steps, pending.last_t, self.n_steps)
        if stop_after is not None:
            in_round = int(state.clock[2])
            upto = min(upto, t - in_round + int(rounds[: stop_after - state.n_rounds].sum()))
        next_record = self._next_record()
        if next_record is not None:
            upto = min(upto, next_record)
        if t < self.average.begins_after:
            upto = min(upto, self.average.begins_after)
        steps = np.arange(t + 1, upto + 1, dtype=np.int64)
        eta = self._eta(steps)
        alpha = self.average.weights(steps)
        self._take_note_of_writes()
        self._before.restore(state)
        started = time.monotonic()
        try:
            bad = self._steps(eta, alpha, timing=len(self._record_at) > 0, want_consensus=upto == next_record)
            if bad >= 0:
                self._raise_diverged(eta, alpha)
        except ValueError:
            # What the kernels refuse to read has stopped some workers half-way.
            self._go_back_to(self._before)
            raise
        except BaseException:
            # An interrupt comes right behind the compiled call: the run must not be left diverged.
            if not np.isfinite(state.padded_W).all():
                self._go_back_to(self._before)
            raise
        finally:
            if state.t > t:
                self._core_s += self._backend.core_s
            if self._handed_out is not None:
                self._handed_out[...] = state.padded_W[:, : state.n_params]
        elapsed = max(time.monotonic() - started, 1e-6)
        best = len(steps) * SLICE_S / elapsed
        self._slice_steps = int(np.clip(best, max(1, self._slice_steps // 4), 4 * self._slice_steps))
        self._slice_steps = min(self._slice_steps, MAX_SLICE_STEPS)

    def _go_back_to(self, state: State) -> None:
        self.state.restore(state)
        self._backend.look_everywhere()  # it may be a state in which W has just been written to

    def _steps(
        self,
        eta: npt.NDArray[np.float64],
        alpha: npt.NDArray[np.float64] | None,
        *,
        timing: bool = False,
        want_consensus: bool = False,
    ) -> int:
        """Advance by len(eta) steps from where the state stands; return the first worker not finite, or -1."""
        state = self.state
        return self._backend.run(
            state.pending.lengths[state.n_rounds - state.pending.first_round :],
            eta,
            alpha,
            average=state.t >= self.average.begins_after,
            timing=timing,
            want_consensus=want_consensus,
        )

    def _ask_schedule(self) -> None:
        state = self.state
        objectives = state.pending.objectives
        with threads_given(self._n_threads):
            if getattr(self.schedule, "needs_objective", False):
                objectives = (*objectives, float(self.problem.objective(self.w)))
            lengths = arguments.next_lengths(
                self.schedule, self.n_workers, self.n_steps, state.t, state.n_rounds, self._eta, objectives
            )
        state.pending = Pending(lengths, state.n_rounds, state.t, objectives)

    def _eta(self, steps: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        return arguments.step_sizes_at(self.step_size, steps)

    def _take_due_record(self) -> None:
        while (due := self._next_record()) is not None and due <= self.t:
            record = self._record_now()
            self.trace.records.append(record)
            self.trace.step_s = self._core_s / ((record.t - self._began) * self.n_workers)
            if self.callback is not None and self.callback(record):
                self._stopped = True

    def _note_periods(self) -> None:
        """Tell the trace the rounds ahead; of a run gone on with, from its open round on."""
        pending, state = self.state.pending, self.state
        lengths = pending.lengths[state.n_rounds - pending.first_round :]
        self.trace.note_periods(lengths, state.t - int(state.clock[2]))

    def _next_record(self) -> int | None:
        """The step of the next record: counted by the records there are, so an interrupt repeats none."""
        made = len(self.trace.records)
        return int(self._record_at[made]) if made < len(self._record_at) else None

    def _record_now(self) -> Record:
        state = self.state
        message = allreduce_bytes(self.n_workers, state.n_params, self.problem.dtype.itemsize)
        wall_s, compute_s, wait_s, average_s, consensus = state.ledger.tolist()
        return Record(
            problem=self.problem,
            t=state.t,
            n_gradients=state.t * self.n_workers * self.batch_size,
            n_rounds=state.n_rounds,
            n_bytes=state.n_rounds * message,
            n_sparse_floats=int(state.clock[3]) if self.problem.is_sparse else math.nan,
            wall_s=wall_s,
            compute_s=compute_s,
            wait_s=wait_s,
            average_s=average_s,
            consensus=consensus,
            w=self.w,
            w_bar=self.w_bar,
        )

    def _raise_diverged(self, eta: npt.NDArray[np.float64], alpha: npt.NDArray[np.float64] | None) -> None:
        """Find the first step and worker by halving the slice: cutting changes no bit."""
        state, before = self.state, self._before.copy()
        foreign = np.argwhere(~np.isfinite(before.W))
        if len(foreign):
            self._go_back_to(before)
            k, j = foreign[0]
            raise ValueError(
                f"W must be finite when a run goes on, got {before.W[k, j]} for worker {k}, coordinate {j} at "
                f"t={before.t}; no step made that: see what was written to run.W"
            )
        good, worker, n = before, -1, len(eta)
        try:
            while n > 0 and (worker < 0 or n > 1):
                half = max(1, n // 2)
                self._go_back_to(good)
                at = slice(good.t - before.t, good.t - before.t + half)
                worker = self._steps(eta[at], None if alpha is None else alpha[at])
                if worker >= 0:
                    n = half
                else:
                    good, n = state.copy(), n - half
            t = state.t
        finally:
            self._go_back_to(before)
        if worker < 0:
            raise RuntimeError("the run diverged, but not when it was repeated: X, y or W changed while it ran")
        eta_t = float(eta[t - before.t - 1])
        advice = ""
        if is_memory_mapped(self.problem.X) and not self.problem.is_sparse:
            self._raise_if_bad_row(t, worker)
        else:
            advice = f"; a constant step up to {self.problem.safe_step():g} cannot diverge here (step_size='auto')"
        raise Diverged(
            f"worker {worker} is not finite after step {t} (eta = {eta_t:g}){advice}; "
            f".state holds the run at t={before.t}",
            t=t,
            worker=worker,
            eta=eta_t,
            state=before,
        )

    def _raise_if_bad_row(self, t: int, worker: int) -> None:
        """A memory-mapped X was not searched for NaN beforehand: see whether a visited row is to blame."""
        for row in self._rows.visited(worker, (t - 1) * self.batch_size, self.batch_size):
            values = self.problem.X[row]
            if not np.isfinite(values).all():
                column = int(np.flatnonzero(~np.isfinite(values))[0])
                raise ValueError(
                    f"X must be finite, got {values[column]} at row {row}, column {column} (found by worker {worker} "
                    f"at step {t}: a memory-mapped X is not searched beforehand); write the file without such rows"
                )

    def save_checkpoint(self) -> None:
        """Save the state to the checkpoint's path, if there is one; a disk that refuses is logged, not raised.

        The result of hours is worth more than its checkpoint; the file that was there before is untouched.
        """
        if self.checkpoint is None:
            return
        self._take_note_of_writes()
        try:
            self.state.save(self.checkpoint)
        except OSError as error:
            log.error("the checkpoint %s could not be written: %s", self.checkpoint, error)

    def _config(self, w0: np.ndarray) -> dict[str, Any]:
        return {
            "n_workers": self.n_workers,
            "n_steps": self.n_steps,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "sampling": self.sampling,
            "partition": self.partition,
            "schedule": arguments.described(self.schedule),
            "step_size": arguments.described(self.step_size),
            "average": self.average.name,
            "weights": [float(weight).hex() for weight in self.weights],
            "w0": hashlib.sha256(w0.tobytes()).hexdigest()[:32] if w0.any() else "zeros",
            "loss": self.problem.loss.name,
            "l2": self.problem.l2,
            "fit_intercept": self.problem.fit_intercept,
            "dtype": self.problem.dtype.name,
            "storage": self.storage or _as_it_lies(self.problem),
        }

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError(
            "a Run holds threads and compiled objects and cannot be pickled or copied; keep its run.state "
            "(state.save(path) for a file) and go on with Run(problem, ..., state=state)"
        )

    def __repr__(self) -> str:
        stored = f", storage={self.storage!r}" if self.storage else ""
        return f"Run({self.schedule!r}, t={self.t} of {self.n_steps}, n_rounds={self.n_rounds}{stored})"


def _taking_what(maker: Callable[Given, Any]) -> Callable[[Callable[..., Answer]], Callable[Given, Answer]]:
    """Give a function the signature of maker, for type checkers, editors and help(): the options stand once."""

    def signed(function: Callable[..., Answer]) -> Callable[Given, Answer]:
        returned = inspect.signature(function).return_annotation
        function.__signature__ = inspect.signature(maker).replace(return_annotation=returned)  # type: ignore[attr-defined]
        return function

    return signed


def known_options(function: str, options: Iterable[str], own: Sequence[str] = (), chosen: Sequence[str] = ()) -> None:
    """Raise TypeError at an option that a function cannot hand on to a run, and name the one that may be meant.

    Parameters
    ----------
    function : str
    options : iterable of str
        Those given, beside the function's own.
    own : sequence of str
        Parameters of its own, which may be what was meant.
    chosen : sequence of str
        Options of a run that the function chooses itself.
    """
    free = [name for name in inspect.signature(Run).parameters if name not in {"problem", *chosen}]
    for name in sorted(set(options) - set(free)):
        meant = own if name in chosen else [*own, *free]
        nearest = difflib.get_close_matches(name, meant, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        what = "chooses its own" if name in chosen else "got an unexpected keyword argument"
        raise TypeError(f"{function}() {what} {name!r}{hint}")


@_taking_what(Run)
def local_sgd(problem: Problem, **options: Any) -> Result:
    """Minimise the problem by local SGD with n_workers workers; return Result(w, w_bar, trace, state).

    Parameters
    ----------
    problem : Problem
    schedule : Schedule, default FixedPeriod(16)
        When to average: MiniBatch(), OneShot(), FixedPeriod(p), AdaptivePeriod(mu), RiskPeriod(epsilon),
        GrowingPeriod(first), PostLocal(switch, p), Periods(list), or a class of your own with ``next_periods(view)``.
    step_size : StepSize or "auto"
        Constant(eta), PolynomialDecay(c, alpha), InverseTime(mu), or any function of step numbers (int64,
        from 1). "auto" is the constant step of ``Problem.safe_step``, which cannot diverge.
    n_workers : int, default 8
        P, a statistical parameter: it changes the result. Never taken from the core count.
    n_steps : int or None
        Local steps per worker; None is one pass over the data.
    seed : int
        Runs with the same seed are equal bit for bit, whatever n_threads, layout, record or the load.
    n_threads : int or None
        How many threads may take part; a resource: changes no bit. None: FASTLSGD_NUM_THREADS, else the cores; at
        most n_workers. In rounds of few steps fewer are sooner done, and fewer take part.
    batch_size : int
        Rows per local step.
    sampling : "reshuffle" (default), "replacement" or "blocks"; "stream" (of a stream)
        *reshuffle*: each worker visits its shard in a new order every epoch. *replacement*: independent uniform
        draws, from all rows under partition="iid", from the worker's own shard otherwise. *blocks*: blocks
        of about 64 KB of rows in a new order every epoch, shuffled inside: for data read where it lies.
    partition : "iid" or "contiguous"
        How rows are dealt: see ``Shards``.
    layout : "auto", "view" or "packed"
        See ``Shards``; *auto* packs X in memory when at least two epochs are asked for. Changes no bit.
    storage : None or "bf16"
        *bf16*: the run reads a copy of its rows rounded to bfloat16, half the bytes, for dense float32 data that
        no cache holds (d = 1,000: see docs/benchmarks.md). All else is as it was: float32 iterates and sums, and
        objectives, excesses and distances on the original X. It minimises ``problem.rounded()``, bit for bit, whose
        docstring says what the rounding costs; it changes the result, so a State goes on only with the same.
    weights : None, "rows" or array, shape (n_workers,)
        Weights of the averaging: 1/P, the workers' shares of the rows, or numbers >= 0 that sum to 1.
    average : "polyak", "tail:FRACTION", "poly:POWER" or None
        Which average ``w_bar`` is: of all local iterates, of those in the last fraction of the steps, or
        with weights t^POWER.
    w0 : array, shape (n_params,), or None for zeros
    record : int or array of int
        0 for none; m for m log-spaced steps from 1 to n_steps, both included; or the steps themselves.
    max_time_s : float or None
        Stop after about so many seconds, between two slices: of about 50 ms, or of one step of all workers where its
        batches take longer.
    callback : function of a Record, or None
        Called at each record; returning True stops the run.
    checkpoint : path or None
        Save the state there every 30 s and when the call ends; ``State.load`` reads it.
    state : State or None
        Go on from there. Everything else must be as it was then.

    Returns
    -------
    Result

    Raises
    ------
    ValueError, TypeError
        An argument is wrong; the message says which, what it got, and what to do.
    Diverged
        An iterate is no longer finite.
    Interrupted
        Ctrl-C; ``.result`` is the result so far.
    CheckpointError
        state belongs to another run or other data.

    Examples
    --------
    >>> import numpy as np
    >>> from fastlsgd import Constant
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((1000, 5)); y = X @ np.arange(5.0)
    >>> options = {'schedule': FixedPeriod(10), 'step_size': Constant(0.05)}
    >>> result = local_sgd(Problem(X, y), n_workers=4, n_steps=2000, **options)
    >>> bool(np.abs(result.w - np.arange(5)).max() < 1e-6)
    True
    >>> result.state.n_rounds
    200
    """
    known_options("local_sgd", options)
    run = Run(problem, **options)
    try:
        run.advance()
    except KeyboardInterrupt:
        run.save_checkpoint()
        raise Interrupted(run.result()) from None
    return run.result()


def _as_it_lies(problem: Problem) -> str:
    return "csr" if problem.is_sparse else "dense" if problem.X is not None else "stream"


def _refuse_foreign(state: Any, config: dict[str, Any], problem: Problem) -> None:
    if not isinstance(state, State):
        raise TypeError(f"state must be a State, got {type(state).__name__}; State.load(path) reads a checkpoint")
    state.check()
    keys = [key for key in {**config, **state.config} if config.get(key) != state.config.get(key)]
    if keys:
        differences = "; ".join(
            f"{key} differ"
            if key in ("weights", "w0")
            else f"{key} is {config.get(key)!r}, was {state.config.get(key)!r}"
            for key in keys
        )
        raise CheckpointError(f"this state belongs to another run: {differences}")
    if state.data is not problem and state.fingerprint != problem.fingerprint():
        raise CheckpointError("this state belongs to other data: X, y or the sample weights differ")
