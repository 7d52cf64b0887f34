"""Fixtures shared by the tests, and the twins on the path."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))


def make_data(loss="logistic", dtype=np.float32, n=203, d=37, seed=0):
    """Rows whose features cross the kernels' lanes, and targets that fit the loss."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)).astype(dtype)
    z = X @ rng.standard_normal(d).astype(dtype) / np.sqrt(d) + 0.5 * rng.standard_normal(n)
    y = z if loss == "squared" else np.where(z > 0, 1.0, -1.0)
    return X, y.astype(dtype)


@pytest.fixture
def data():
    return make_data
