"""Sizes and data of the benchmarks. FASTLSGD_BENCH_SIZE=small shrinks them so that CI can run every one."""

import os

import numpy as np
import pytest

import fastlsgd as fl

# (rows, features): in cache, at its edge, out of it.
SHAPES = {
    "full": [(1_000_000, 20), (200_000, 100), (50_000, 1_000)],
    "small": [(4_000, 20), (2_000, 100), (500, 1_000)],
}
SIZE = os.environ.get("FASTLSGD_BENCH_SIZE", "full")
if SIZE not in SHAPES:
    raise pytest.UsageError(f"FASTLSGD_BENCH_SIZE must be one of {', '.join(SHAPES)}, got {SIZE!r}")


@pytest.fixture(scope="session", params=SHAPES[SIZE], ids=lambda shape: f"{shape[0]}x{shape[1]}")
def problem(request):
    """A logistic problem of float32 rows, checked once and outside every clock."""
    n, d = request.param
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d), dtype=np.float32)
    z = X @ (rng.standard_normal(d) / np.sqrt(d)).astype(np.float32)
    y = np.where(z + rng.standard_normal(n) > 0, 1.0, -1.0).astype(np.float32)
    return fl.Problem(X, y, loss="logistic", l2=1e-4)
