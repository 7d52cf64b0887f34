"""The scalar floor and the draws: known answers, accuracy, and the twin's own check."""

import exact
import numpy as np
import pytest
from scipy import stats

from fastlsgd import _kernels

ALL_ONES = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ([0, 0, 0, 0], [0, 0], [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([ALL_ONES] * 4, [ALL_ONES] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_gives_the_known_answers_of_its_authors(counter, key, answer):
    assert _kernels.philox(counter, key) == answer
    assert exact.philox(counter, key) == answer


def test_draws_are_frozen():
    """A change here changes every run that anybody has recorded."""
    assert [_kernels.draw(0, 0, t) for t in (1, 2, 3)] == [
        0xE169C58D6627E8D5,
        0x9B00DBD8BC57AC4C,
        exact.draw(0, 0, exact.ROW, 2),
    ]
    assert _kernels.draw(2**64 - 1, 7, 2**40) == exact.draw(2**64 - 1, 7, exact.ROW, 2**40 - 1)


def test_draws_are_uniform_and_workers_are_independent():
    n = 20_000
    draws = np.array([[_kernels.draw(5, k, t) for t in range(1, n + 1)] for k in (0, 1)], dtype=np.float64)
    draws /= 2.0**64
    for row in draws:
        assert stats.kstest(row, "uniform").pvalue > 1e-3
        assert abs(np.corrcoef(row[:-1], row[1:])[0, 1]) < 4 / np.sqrt(n)
    assert abs(np.corrcoef(draws)[0, 1]) < 4 / np.sqrt(n)


def test_a_shuffle_gives_every_permutation_equally_often():
    counts: dict[tuple[int, ...], int] = {}
    for seed in range(6000):
        order = np.arange(3, dtype=np.uint32)
        _kernels.deal(order, seed)
        counts[tuple(order)] = counts.get(tuple(order), 0) + 1
    assert len(counts) == 6
    assert stats.chisquare(list(counts.values())).pvalue > 1e-3


def _ulps(got, want):
    return np.abs(got - want) / np.spacing(np.abs(want))


def test_exp_and_log_are_accurate_to_two_ulp():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(-700, 700, 100_000), rng.uniform(-1, 1, 100_000), [0.0, 1.0, -1.0]])
    out = np.empty_like(x)
    _kernels.exp(x, out)
    assert _ulps(out, np.exp(x)).max() <= 2
    x = np.concatenate([np.exp(rng.uniform(-600, 600, 100_000)), rng.uniform(0.5, 2, 100_000), [1.0]])
    out = np.empty_like(x)
    _kernels.log(x, out)
    want = np.log(x)
    assert (np.abs(out - want) <= 2 * np.spacing(np.maximum(np.abs(want), 1e-300))).all()
    x = np.concatenate([rng.uniform(-0.999, 4, 100_000), np.exp(rng.uniform(-40, 600, 100_000)), [0.0, 1.0]])
    x[:1000] = -np.exp(rng.uniform(-40, -1, 1000))
    out = np.empty_like(x)
    _kernels.log1p(x, out)
    assert _ulps(out[:-2], np.log1p(x[:-2])).max() <= 3
    assert out[-2] == 0.0
    x32 = rng.uniform(-87, 87, 200_000).astype(np.float32)
    out32 = np.empty_like(x32)
    _kernels.expf(x32, out32)
    want = np.exp(x32.astype(np.float64))
    # Two units of the result beside what half a unit of x, and log2 e's own rounding, do to it.
    assert (np.abs(out32 - want) <= want * (2 * 2.0**-23 + np.abs(x32) * (2.0**-24 + 1.5e-8))).all()


def test_the_twin_repeats_exp_bit_for_bit():
    rng = np.random.default_rng(0)
    for dtype, kernel, span in ((np.float32, _kernels.expf, 120), (np.float64, _kernels.exp, 800)):
        x = rng.uniform(-span, span, 10_000).astype(dtype)
        out = np.empty_like(x)
        kernel(x, out)
        assert out.tobytes() == exact.exp(x).tobytes()


def test_nan_passes_through_the_logistic_loss():
    out = np.empty(2)
    _kernels.dloss(1, np.array([np.nan, np.inf]), np.ones(2), out)
    assert np.isnan(out[0])
    assert out[1] <= 0


def test_the_logistic_loss_neither_overflows_nor_loses_its_tail():
    z = np.array([-1000.0, -50.0, 0.0, 50.0, 1000.0])
    out = np.empty(5)
    _kernels.loss(1, z, np.ones(5), out)
    np.testing.assert_allclose(out, np.logaddexp(0, -z), rtol=1e-14, atol=1e-300)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.6, 0.75, 1.0, -2.0])
def test_inverse_powers(alpha):
    t = np.array([1, 2, 3, 10, 1000, 10**9], dtype=np.int64)
    out = np.empty(6)
    _kernels.inverse_power(t, alpha, out)
    np.testing.assert_allclose(out, t.astype(float) ** -alpha, rtol=2e-14)


def test_importing_does_not_set_flush_to_zero():
    """A library linked with fast-math would change the floating-point mode of the whole process."""
    assert np.finfo(np.float64).tiny / 2 != 0.0


def test_an_unknown_instruction_set_is_refused():
    with pytest.raises(ValueError, match="instruction set must be one of baseline"):
        _kernels.use_isa("mmx")
