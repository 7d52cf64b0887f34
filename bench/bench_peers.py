"""Peers side by side: one pass where they do the same arithmetic, to their own end where they do not.

A peer is one file in ``peers/``: NEEDS, what must be installed; SAME_ARITHMETIC, whether it does our steps on as
many gradients; and prepare(problem), which returns the function to be timed, everything compiled and converted.
Each must learn before it is timed; its excess objective stands beside its time, and ours beside both.
"""

import importlib
from pathlib import Path

import pytest
from conftest import excess

import fastlsgd as fl
from fastlsgd.benchmarks.problems import check_learned

PEERS = sorted(path.stem for path in (Path(__file__).parent / "peers").glob("[a-z]*.py"))


@pytest.mark.parametrize("name", PEERS)
def bench_peer(benchmark, timed, problem, small, name):
    peer = importlib.import_module(f"peers.{name}")
    pytest.importorskip(peer.NEEDS, reason=f"{peer.NEEDS} is not installed: pip install {peer.NEEDS}")
    fit = peer.prepare(problem)
    w = fit()
    n_gradients = getattr(fit, "n_gradients", problem.n_samples)
    if n_gradients > problem.n_samples // 2:
        check_learned(problem, w)
    benchmark.group = f"peers, {problem!r}"
    if peer.SAME_ARITHMETIC:
        timed(fit, n_gradients, "gradient", excess=excess(problem, w))
    else:
        timed(fit, 1, "fit", rounds=1 if small else 5, excess=excess(problem, w))


@pytest.mark.parametrize("layout", ["packed", "view"])
@pytest.mark.parametrize(("n_workers", "n_threads"), [(2, 1), (2, 2), (8, 2)])
def bench_local_sgd(benchmark, timed_pass, problem, n_workers, n_threads, layout):
    """Ours on the same rows: packed is read in order, a view at random."""
    work = timed_pass(problem, n_workers=n_workers, n_threads=n_threads, layout=layout,
                      schedule=fl.FixedPeriod(256), group="peers")  # fmt: skip
    check_learned(problem, work.run.w_bar)
    benchmark.extra_info["excess"] = excess(problem, work.run.w_bar)
