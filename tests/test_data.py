"""Shards: how rows are dealt and in which order they are visited."""

import exact
import numpy as np
import pytest
from conftest import make_data

import fastlsgd as fl
from fastlsgd import data

ROWS_A_BLOCK = 7


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of seven rows of make_data(n=101, d=5), float32."""
    monkeypatch.setattr(data, "BLOCK_BYTES", ROWS_A_BLOCK * 5 * 4 + 3)


def visits_of(run, k, n):
    """Rows of X of the first n visits of worker k."""
    rows = run._rows.visited(k, 0, n)
    return rows if run.trace.layout == "view" else packed_order(run)[rows]


def packed_order(run):
    shards = data.Shards(
        run.problem.X, run.problem.y, n_workers=run.n_workers, seed=run.seed, partition=run.partition,
        sampling=run.sampling,
    )  # fmt: skip
    return shards.order


@pytest.mark.parametrize("layout", ["view", "packed"])
@pytest.mark.parametrize("partition", ["iid", "contiguous"])
@pytest.mark.parametrize("n_workers", [1, 3, 16])
def test_blocks_are_visited_as_the_twin_says(small_blocks, n_workers, partition, layout):
    X, y = make_data(n=101, d=5)
    n_visits = 3 * 101 // n_workers
    run = fl.Run(
        fl.Problem(X, y, loss="logistic"), n_workers=n_workers, n_steps=n_visits, sampling="blocks",
        partition=partition, layout=layout, seed=4,
    )  # fmt: skip
    twin = exact.Visits(101, n_workers, sampling="blocks", partition=partition, seed=4, rows_a_block=ROWS_A_BLOCK)
    for k in range(n_workers):
        np.testing.assert_array_equal(visits_of(run, k, n_visits), [twin(k, v) for v in range(n_visits)])


@pytest.mark.parametrize("partition", ["iid", "contiguous"])
def test_every_epoch_of_blocks_visits_every_row_of_the_shard_once_and_stays_in_a_block(small_blocks, partition):
    X, y = make_data(n=70, d=5)
    run = fl.Run(
        fl.Problem(X, y, loss="logistic"), n_workers=2, n_steps=4 * 35, sampling="blocks", partition=partition,
        layout="view",
    )  # fmt: skip
    for k in range(2):
        epochs = visits_of(run, k, 4 * 35).reshape(4, 5, ROWS_A_BLOCK)
        for epoch in epochs:
            assert sorted(epoch.ravel()) == sorted(epochs[0].ravel())
            for block in epoch:  # seven neighbours in memory, in an order of their own
                assert np.ptp(block) == ROWS_A_BLOCK - 1
        assert len({bytes(epoch) for epoch in epochs}) == 4
        assert len({bytes(np.sort(epoch, axis=1)) for epoch in epochs}) > 1


@pytest.mark.parametrize("threads", [1, 2])
def test_blocks_change_the_order_only_and_no_bit_with_layout_threads_or_cutting(small_blocks, threads):
    X, y = make_data(n=101, d=5)
    problem = fl.Problem(X, y, loss="logistic", l2=0.01)
    options = {"n_workers": 3, "n_steps": 90, "sampling": "blocks", "step_size": fl.Constant(0.05), "seed": 1}
    whole = fl.local_sgd(problem, layout="view", n_threads=1, **options)
    run = fl.Run(problem, layout="packed", n_threads=threads, **options)
    while not run.finished:
        run.advance(n_rounds=1)
    assert run.w.tobytes() == whole.w.tobytes()
    assert run.w_bar.tobytes() == whole.w_bar.tobytes()
    twin = exact.Twin(X, y, loss="logistic", l2=0.01, n_workers=3, seed=1, sampling="blocks",
                      rows_a_block=ROWS_A_BLOCK).run(np.full(90, 0.05), [16] * 6)  # fmt: skip
    assert whole.w.tobytes() == twin.W[0].tobytes()


def test_a_block_is_about_64_kb_of_rows():
    X, y = make_data(n=203, d=37)
    assert data.Shards(X, y, n_workers=2, sampling="blocks")._rows_a_block == 65536 // (37 * 4)
    wide = np.ones((3, 40_000), np.float32)
    assert data.Shards(wide, np.ones(3, np.float32), n_workers=2, sampling="blocks")._rows_a_block == 1
