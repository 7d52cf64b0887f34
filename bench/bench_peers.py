"""Peers side by side: one pass where they do the same arithmetic, a whole fit where they do not.

A peer is one file in ``peers/``: NEEDS, what must be installed (INSTALL, what to install for it, where that has
another name); SAME_ARITHMETIC, whether it does our steps on as many gradients. If so, N_WORKERS and
prepare(problem, n_workers), which returns the function to be timed, everything compiled and converted; it may carry
``n_gradients``, where they are not all rows. Its worker k takes the k-th of n_workers parts of the rows as they lie,
which is the order in which a run of ours visits them: its answer must be that run's before it is timed, up to NEAR
times its norm (None: the peer draws an order of its own, and must have learned). If not, settings(problem): such
functions by name, of which the soonest that ends near enough to the optimum is timed, once as near as one averaged
pass of ours and once within GOAL. Its excess objective stands beside a peer's time, and ours beside both.
"""

import importlib
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from conftest import excess, limit_ns
from peers._choice import soonest

import fastlsgd as fl
from fastlsgd.benchmarks import problems
from fastlsgd.benchmarks.problems import check_learned
from fastlsgd.benchmarks.timing import Pass

PEERS = {
    path.stem: importlib.import_module(f"peers.{path.stem}")
    for path in sorted((Path(__file__).parent / "peers").glob("[a-z]*.py"))
}
GOAL = 1e-5
PERIOD = fl.FixedPeriod(256)


def skipped_if_not_installed(peer):
    name = getattr(peer, "INSTALL", peer.NEEDS)
    pytest.importorskip(peer.NEEDS, reason=f"{peer.NEEDS} is not installed: pip install {name}")


@lru_cache(maxsize=1)
def as_visited(problem, n_workers):
    """Return the problem with its rows in the order in which a run of ours visits them, worker after worker."""
    n = problem.n_samples // n_workers
    rows, _, _ = problem.rows_for_run(n_workers=n_workers, seed=0, n_visits=n, sampling="reshuffle", partition="iid",
                                      layout="view", n_threads=1)  # fmt: skip
    order = np.concatenate([rows.visited(k, 0, n) for k in range(n_workers)])
    return fl.Problem(problem.X[order], problem.y[order], loss=problem.loss, l2=problem.l2)


@pytest.mark.parametrize(
    ("name", "n_workers"),
    [(name, n) for name, peer in PEERS.items() if peer.SAME_ARITHMETIC for n in peer.N_WORKERS],
)
def bench_peer(benchmark, timed, problem, name, n_workers):
    peer = PEERS[name]
    skipped_if_not_installed(peer)
    fit = peer.prepare(as_visited(problem, n_workers), n_workers)
    w = fit()
    n_gradients = getattr(fit, "n_gradients", problem.n_samples)
    if peer.NEAR is None:
        check_learned(problem, w)
    else:
        ours = fl.Run(problem, n_workers=n_workers, n_steps=n_gradients // n_workers, schedule=PERIOD,
                      step_size=problems.step(problem), record=0).advance().w_bar  # fmt: skip
        assert np.linalg.norm(w - ours) <= peer.NEAR * np.linalg.norm(ours)
    benchmark.group = f"peers, {problem!r}"
    # Threads and averagings are a peer's own affair (its file says what they are), so they are not counted; the limit
    # is that of two threads.
    costs = {"n_threads": None, "schedule": "its own", "n_rounds": None, "n_bytes": None}
    limit = limit_ns(problem, 2)
    timed(fit, n_gradients, "gradient", limit_ns=limit, excess=excess(problem, w), n_workers=n_workers, **costs)


@pytest.mark.parametrize("goal", ["as near as a pass", f"within {GOAL:g}"])
@pytest.mark.parametrize("name", [name for name, peer in PEERS.items() if not peer.SAME_ARITHMETIC])
def bench_peer_fit(benchmark, timed, problem, small, name, goal):
    skipped_if_not_installed(PEERS[name])
    if goal == "as near as a pass":
        ours = Pass(problem, schedule=PERIOD)
        ours.seconds()
        near = excess(problem, ours.run.w_bar)
    else:
        near = GOAL
    setting, fit = soonest(PEERS[name].settings(problem), problem, near)
    w = fit()
    check_learned(problem, w)
    benchmark.group = f"peers, {problem!r}"
    timed(fit, 1, "fit", rounds=1 if small else 5, excess=excess(problem, w), setting=setting)


@pytest.mark.parametrize("layout", ["packed", "view"])
@pytest.mark.parametrize(("n_workers", "n_threads"), [(2, 1), (2, 2), (8, 2)])
def bench_local_sgd(benchmark, timed_pass, problem, n_workers, n_threads, layout):
    """Ours on the same rows: packed is read in order, a view at random."""
    work = timed_pass(problem, n_workers=n_workers, n_threads=n_threads, layout=layout,
                      schedule=PERIOD, group="peers")  # fmt: skip
    check_learned(problem, work.run.w_bar)
    benchmark.extra_info["excess"] = excess(problem, work.run.w_bar)
