"""Replicates of one run in one compiled call: what Monte-Carlo checks of the theory are made of.

Each replicate is, to the last bit, the run that ``local_sgd`` makes with that seed and the same arguments. A thread
does whole replicates one after the other, so runs of a few hundred steps cost what their steps do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .. import _kernels, arguments
from ..averages import Average
from ..cores import resolve_threads, threads_given
from ..data import is_memory_mapped
from ..problem import Problem
from ..schedules import FixedPeriod, Schedule
from ..stepsizes import StepSize
from ..team import share
from ..theory import round_lengths

Vector = npt.NDArray[np.float64]

# How long the compiled call keeps the interpreter from hearing a Ctrl-C.
A_CALL_S = 0.05


@dataclass(frozen=True, repr=False)
class Replicates:
    """Iterates of replicates at the recorded steps.

    Attributes
    ----------
    t : int64 array, shape (m,)
        The recorded steps.
    w, w_bar : float64 array, shape (n_replicates, m, n_params)
        Mean of the local iterates, and the average over the run. Not finite where a replicate diverged.
    consensus : float64 array, shape (n_replicates, m)
        (1/P) sum |w_k - w|^2, before the averaging of that step if there is one.
    n_rounds : int
        Averagings of a whole run.
    """

    t: npt.NDArray[np.int64]
    w: Vector
    w_bar: Vector
    consensus: Vector
    n_rounds: int

    def __repr__(self) -> str:
        return (
            f"Replicates({len(self.w)} x {len(self.t)} records, n_params={self.w.shape[2]}, n_rounds={self.n_rounds})"
        )


def replicates(
    problem: Problem,
    *,
    n_replicates: int,
    n_steps: int,
    step_size: StepSize | str,
    schedule: Schedule | None = None,
    n_workers: int = 8,
    seed: int = 0,
    n_threads: int | None = None,
    batch_size: int = 1,
    sampling: str | None = None,
    weights: npt.ArrayLike | None = None,
    average: str | None = "polyak",
    w0: npt.ArrayLike | None = None,
    record: int | npt.ArrayLike = 1,
) -> Replicates:
    """Run n_replicates runs with seeds seed, seed + 1, ... and return their iterates at the recorded steps.

    Parameters and defaults are those of ``local_sgd``, except that by default the last step alone is recorded. Of
    arrays pass ``sampling="replacement"``: the default there, "reshuffle", deals rows anew for every seed, which is
    refused here. The schedule is asked once for all of them. Ctrl-C is heard within a tenth of a second.

    Raises
    ------
    ValueError
        Rows that are dealt anew for every seed, CSR rows, or a schedule that looks at the objective: run
        ``local_sgd`` once a seed. NaN or infinity in a memory-mapped X, if a replicate met it.

    Examples
    --------
    >>> from fastlsgd import Constant, GaussianStream
    >>> problem = Problem(GaussianStream(4))
    >>> many = replicates(problem, n_replicates=100, n_workers=2, n_steps=50, step_size=Constant(0.1))
    >>> many.w_bar.shape
    (100, 1, 4)
    """
    problem, n_workers = arguments.a_problem(problem), arguments.whole("n_workers", n_workers)
    n_steps = arguments.whole("n_steps", n_steps)
    batch_size = arguments.whole("batch_size", batch_size)
    n_replicates = arguments.whole("n_replicates", n_replicates)
    seed = arguments.seed_of(seed)
    if seed + n_replicates > 2**64:
        raise ValueError(f"seeds must stay below 2^64, got seed={seed} and n_replicates={n_replicates}")
    if problem.is_sparse:
        raise ValueError("replicates in one call are of dense rows; run local_sgd once a seed on CSR rows")
    sampling = arguments.one_of("sampling", sampling or problem.samplings[0], problem.samplings)
    if sampling not in ("stream", "replacement"):
        raise ValueError(
            f"sampling={sampling!r} deals rows anew for every seed; pass sampling='replacement' here and to what it "
            "is compared with, or run local_sgd once a seed"
        )
    step_size = arguments.resolve_step_size(step_size, problem, batch_size, n_steps)
    n_threads = min(resolve_threads(n_threads, n_replicates), n_replicates)
    averaged, start = Average.parse(average, n_steps), arguments.start_at(w0, problem)
    shares = arguments.averaging_weights(weights, n_workers, 0 if problem.X is None else problem.n_samples)
    with threads_given(n_threads):
        schedule = arguments.bound_schedule(
            FixedPeriod(16) if schedule is None else schedule, problem, step_size, n_workers, n_steps,
            batch_size=batch_size, sampling=sampling, partition="iid", weights=shares, average=averaged.name,
            w0=start,
        )  # fmt: skip
    eta = arguments.step_sizes_at(step_size, np.arange(1, n_steps + 1, dtype=np.int64))
    periods = round_lengths(schedule, n_workers, eta)
    steps = arguments.record_steps(record, n_steps)
    rooms = [
        problem.rows_for_run(
            n_workers=n_workers, seed=seed, n_visits=n_steps * batch_size, sampling=sampling, partition="iid",
            layout="view", n_threads=1,
        )[0]
        for _ in range(n_threads)
    ]  # fmt: skip
    work = _kernels.Replicates(
        rooms,
        n_replicates,
        loss=problem.loss.name,
        l2=problem.l2,
        batch_size=batch_size,
        seed=seed,
        periods=periods,
        eta=eta,
        alpha=averaged.weights(np.arange(1, n_steps + 1, dtype=np.int64)),
        average=averaged.wanted,
        begins_after=averaged.begins_after,
        weights=shares,
        w0=start,
        record=steps,
        total=np.array([averaged.total(int(t)) for t in steps], dtype=np.float64),
    )
    share(work, n_threads - 1)
    try:
        while work.work(A_CALL_S):
            pass
    finally:
        work.close()
    if is_memory_mapped(problem.X) and not np.isfinite(work.w).all():
        problem.row_norms()  # no one has looked for NaN so far
    return Replicates(steps, work.w, work.w_bar, work.consensus, len(periods))
