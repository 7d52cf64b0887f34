"""Checkpoints: whole, atomic, refused when damaged or foreign."""

import json
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
from conftest import make_data

import fastlsgd as fl
from fastlsgd import state as state_module


def options(**more):
    return {"n_workers": 3, "n_steps": 40, "schedule": fl.FixedPeriod(6), "step_size": fl.Constant(0.05), **more}


def stopped(dtype=np.float32, **more):
    problem = fl.Problem(*make_data("logistic", dtype), loss="logistic")
    return problem, fl.local_sgd(problem, **options(record=[20], callback=lambda record: True, **more)).state


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_file_holds_the_state_bit_for_bit(dtype, tmp_path):
    _, state = stopped(dtype)
    state.save(tmp_path / "a")
    loaded = fl.State.load(tmp_path / "a")
    assert loaded.W.tobytes() == state.W.tobytes()
    assert loaded.W.dtype == dtype
    assert loaded.sums().tobytes() == state.sums().tobytes()
    assert loaded.config == state.config
    assert loaded.fingerprint == state.fingerprint
    assert loaded.pending.lengths.tolist() == state.pending.lengths.tolist()
    assert loaded.pending[1:] == state.pending[1:]
    assert (loaded.t, loaded.n_rounds) == (20, 3)
    loaded.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"n_steps": 41}, "n_steps is 41, was 40"),
        ({"seed": 1}, "seed is 1, was 0"),
        ({"schedule": fl.FixedPeriod(7)}, r"schedule is 'FixedPeriod\(period=7\)', was 'FixedPeriod\(period=6\)'"),
        ({"step_size": fl.Constant(0.1)}, "step_size is"),
        ({"batch_size": 2}, "batch_size is 2, was 1"),
        ({"sampling": "replacement"}, "sampling is 'replacement', was 'reshuffle'"),
        ({"n_workers": 4}, "n_workers is 4, was 3"),
        ({"average": None}, "average is 'none', was 'polyak'"),
        ({"weights": [0.5, 0.25, 0.25]}, "weights differ"),
        ({"w0": np.ones(37)}, "w0 differ"),
    ],
)
def test_another_configuration_is_refused_with_what_differs(change, what):
    problem, state = stopped()
    with pytest.raises(fl.CheckpointError, match=what):
        fl.local_sgd(problem, **options(**change), state=state)


def test_other_data_is_refused_but_resources_may_change(tmp_path):
    problem, state = stopped()
    state.save(tmp_path / "a")
    X, y = make_data("logistic")
    other = X.copy()
    other[0, 0] += 1
    for foreign in (fl.Problem(other, y, loss="logistic"), fl.Problem(X, -y, loss="logistic")):
        with pytest.raises(fl.CheckpointError, match="belongs to other data"):
            fl.local_sgd(foreign, **options(), state=state)
    with pytest.raises(fl.CheckpointError, match=r"l2 is 0\.1, was 0\.0"):
        fl.local_sgd(fl.Problem(X, y, loss="logistic", l2=0.1), **options(), state=state)
    whole = fl.local_sgd(problem, **options())
    equal = fl.Problem(X.copy(), y.copy(), loss="logistic")
    rest = fl.local_sgd(equal, **options(n_threads=2, layout="packed", record=3), state=fl.State.load(tmp_path / "a"))
    assert rest.w.tobytes() == whole.w.tobytes()


def test_going_on_leaves_the_state_that_was_given_as_it_is():
    problem, state = stopped()
    before = state.W.tobytes()
    fl.local_sgd(problem, **options(), state=state)
    assert (state.t, state.W.tobytes()) == (20, before)


def test_every_damaged_file_is_refused(tmp_path):
    _, state = stopped()
    path = tmp_path / "state"
    state.save(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    damaged = [whole[:n] for n in (0, 5, 8, 16, 47, 48, 100, len(whole) // 2, len(whole) - 1)]
    damaged += [whole + b"x", b"PK" + whole, b"\x00" * 100, whole[:8] + struct.pack("<Q", 2**62) + whole[16:]]
    for at in rng.integers(0, len(whole), 500):
        flipped = bytearray(whole)
        flipped[at] ^= 1 << rng.integers(8)
        damaged.append(bytes(flipped))
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(fl.CheckpointError, match="holds no whole checkpoint"):
            fl.State.load(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda h: h.update(format=99),
        lambda h: h.pop("config"),
        lambda h: h["arrays"].update(W=["|O", [3, 37]]),
        lambda h: h["arrays"].update(W=["<f4", [10**12, 10**12]]),
        lambda h: h["arrays"].update(W=["<f4", [-1, 37]]),
        lambda h: h["arrays"].update(W="nonsense"),
        lambda h: h.update(pending=None),
        lambda h: h.update(n_params=10**9),
    ],
)
def test_a_header_that_lies_is_refused(change, tmp_path):
    """With checksums that fit: a file written to deceive."""
    import hashlib

    _, state = stopped()
    path = tmp_path / "state"
    state.save(path)
    content = path.read_bytes()
    (length,) = struct.unpack_from("<Q", content, 8)
    header = json.loads(content[48 : 48 + length])
    change(header)
    line = json.dumps(header).encode()
    path.write_bytes(
        content[:8] + struct.pack("<Q", len(line)) + hashlib.sha256(line).digest() + line + content[48 + length :]
    )
    with pytest.raises(fl.CheckpointError):
        fl.State.load(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.clock.__setitem__(0, -50),
        lambda s: s.clock.__setitem__(2, 50),
        lambda s: s.clock.__setitem__(1, 40),
        lambda s: setattr(s, "pending", s.pending._replace(lengths=np.array([6, 0, 6, 6]))),
        lambda s: setattr(s, "pending", s.pending._replace(first_round=1000)),
    ],
)
def test_a_clock_that_does_not_fit_its_rounds_is_refused(change, tmp_path):
    """Such a state would send the kernels beyond their arrays."""
    problem, state = stopped()
    change(state)
    with pytest.raises(fl.CheckpointError, match="clock and its rounds do not fit"):
        fl.local_sgd(problem, **options(), state=state)
    state.save(tmp_path / "state")
    with pytest.raises(fl.CheckpointError, match="clock and its rounds do not fit"):
        fl.State.load(tmp_path / "state")


def test_the_same_configuration_is_known_in_another_process():
    """A function's address and NumPy's scalars are no configuration; all of w0 is."""
    problem, state = stopped(step_size=_warm)
    again = fl.local_sgd(problem, **options(step_size=_warm), state=state)
    assert again.state.t == 40
    assert " at 0x" not in json.dumps(state.config)
    _, state = stopped(schedule=fl.FixedPeriod(np.int64(6)))
    fl.local_sgd(problem, **options(), state=state)
    first, second = np.ones(37), np.ones(37)
    second[-1] = 5
    _, state = stopped(w0=first)
    with pytest.raises(fl.CheckpointError, match="w0 differ"):
        fl.local_sgd(problem, **options(w0=second), state=state)


def _warm(t):
    return np.full(t.shape, 0.05)


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    _, state = stopped()
    path = tmp_path / "state"
    state.save(path)
    before = path.read_bytes()
    for name in ("fsync", "replace", "open"):
        with monkeypatch.context() as patch:
            patch.setattr(state_module.os, name, lambda *a, **k: (_ for _ in ()).throw(OSError("disk")))
            with pytest.raises(OSError, match="disk"):
                state.save(path)
        assert path.read_bytes() == before
        assert [entry.name for entry in tmp_path.iterdir()] == ["state"]


KILLED = """
import os, sys, fastlsgd as fl
sys.path.insert(0, sys.argv[2])
from fastlsgd import state as module
state = fl.State.load(sys.argv[1])
state.ledger[0] += 1
step = int(sys.argv[3])
calls = 0
def dying(function):
    def call(*args, **kwargs):
        global calls
        calls += 1
        if calls == step:
            os._exit(9)
        return function(*args, **kwargs)
    return call
for name in ("open", "fsync", "replace"):
    setattr(module.os, name, dying(getattr(os, name)))
state.save(sys.argv[1])
"""


def test_a_writer_killed_at_any_call_leaves_a_whole_file(tmp_path):
    _, state = stopped()
    path = tmp_path / "state"
    state.save(path)
    wall_s = state.ledger[0]
    codes = []
    for step in range(1, 7):
        done = subprocess.run([sys.executable, "-c", KILLED, path, os.path.dirname(__file__), str(step)])
        codes.append(done.returncode)
        assert fl.State.load(path).ledger[0] in (wall_s, wall_s + 1)
        wall_s = fl.State.load(path).ledger[0]
    assert 9 in codes
    assert codes[-1] == 0
    state.save(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"], "stale temporary files are swept"
