"""State: what a run mutates, and how it is kept in a file.

The file is one line of JSON (version, configuration, fingerprint of the data, the arrays' names,
dtypes, shapes and a checksum) behind a magic number and the line's length, then the arrays'
bytes. Nothing in it is ever executed. It is written to a temporary file in the same folder, synced,
and renamed: at every moment the path holds a whole checkpoint or none.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from . import _kernels

MAGIC = b"fastlsgd"
FORMAT = 2
MAX_HEADER_BYTES = 1 << 24


class CheckpointError(ValueError):
    """A file that holds no whole checkpoint, or a State of another run."""


class Pending(NamedTuple):
    """The round lengths that a schedule has named: one object, so that replacing it is one step."""

    lengths: np.ndarray  # int64
    first_round: int
    first_t: int
    objectives: tuple[float, ...] = ()  # what the schedule has been shown

    @property
    def last_t(self) -> int:
        """The step with which these rounds end."""
        return self.first_t + int(self.lengths.sum())


class _Fingerprinted(Protocol):
    def fingerprint(self) -> str:
        """Return a hash of the data."""


class _Known(NamedTuple):
    text: str

    def fingerprint(self) -> str:
        return self.text


@dataclass
class State:
    """Everything a run goes on from; ``Run`` owns and mutates it.

    Attributes
    ----------
    config : dict
        The configuration, of numbers and strings.
    data : what can name the data by a hash: the problem, or what a checkpoint says of it
    W : ndarray, shape (n_workers, n_params), float32 or float64
        The local iterates (a view of padded rows; of a CSR run read-only, and a copy once l2 has scaled it).
    clock : int64 array: steps done, rounds done, steps done in the open round; of a CSR run of several workers,
        floats that averagings of changed coordinates alone would have sent
    scale : float64 array, shape (2,), or None
        Of a CSR run, whose padded_W holds v and padded_sum64 holds u: s and A with W = s v and sums
        u + A v + padded_owed, but for the intercept, which is not scaled (src/scales.h). These sums are right in
        their mean by the weights of the averaging, not each by itself.
    ledger : float64 array: seconds of wall, compute, wait, average; consensus at the last record

    Examples
    --------
    >>> import tempfile, fastlsgd as fl
    >>> problem = fl.Problem(np.eye(4), np.ones(4))
    >>> options = {"n_workers": 2, "n_steps": 8, "schedule": fl.FixedPeriod(2), "step_size": fl.Constant(0.5)}
    >>> run = fl.Run(problem, **options).advance(n_rounds=3)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run.state.save(folder + "/state")
    ...     state = State.load(folder + "/state")
    >>> bool((fl.local_sgd(problem, state=state, **options).w == run.advance().w).all())
    True
    """

    config: dict[str, Any]
    data: _Fingerprinted
    n_params: int
    padded_W: np.ndarray
    padded_sum: np.ndarray
    padded_sum64: np.ndarray
    clock: np.ndarray
    ledger: np.ndarray
    scale: Any = None
    padded_owed: Any = None
    pending: Pending = field(default_factory=lambda: Pending(np.zeros(0, np.int64), 0, 0))

    @classmethod
    def start(cls, config: dict[str, Any], data: _Fingerprinted, w0: np.ndarray) -> State:
        """Return the state at t = 0: all n_workers at w0 (its dtype is that of the run)."""
        n_workers = config["n_workers"]
        W = padded_rows(n_workers, w0.size, w0.dtype)
        W[:, : w0.size] = w0
        sum64 = padded_rows(n_workers, w0.size, np.dtype(np.float64))
        clock, ledger = np.zeros(4, np.int64), np.zeros(5)
        if config.get("storage") == "csr":
            owed = padded_rows(1, w0.size, np.dtype(np.float64))
            return cls(config, data, w0.size, W, sum64, sum64, clock, ledger, np.array([1.0, 0.0]), owed)
        sums = sum64 if w0.dtype == np.float64 else padded_rows(n_workers, w0.size, w0.dtype)
        return cls(config, data, w0.size, W, sums, sum64, clock, ledger)

    @property
    def fingerprint(self) -> str:
        """Hash of the data, made when it is first asked for."""
        return self.data.fingerprint()

    @property
    def W(self) -> np.ndarray:
        """The local iterates, shape (n_workers, n_params): the run's own memory; of a CSR run read-only."""
        if self.scale is None:
            return self.padded_W[:, : self.n_params]
        W = self.unscaled(self.padded_W)[:, : self.n_params]
        W.setflags(write=False)
        return W

    @property
    def is_scaled(self) -> bool:
        """Whether W is not padded_W itself: it would have to be multiplied by s."""
        return self.scale is not None and self.config["l2"] > 0

    def unscaled(self, padded: np.ndarray) -> np.ndarray:
        """Return s v for rows of v, padded or not: themselves where nothing is scaled."""
        if not self.is_scaled:
            return padded.view()
        out = padded.copy()
        out[..., : self.n_features] *= padded.dtype.type(self.scale[0])
        return out

    def move_workers(self, W: np.ndarray) -> None:
        """Set the local iterates of all workers, in place; ``Run.set_W`` also tells the averaging."""
        if self.scale is not None:
            # The sums so far stay as they are, and the new v starts afresh.
            self.padded_sum64[:, : self.n_params] = self.sums()
            self.padded_owed[...] = 0.0
            self.scale[:] = 1.0, 0.0
        self.padded_W[:, : self.n_params] = W

    @property
    def n_features(self) -> int:
        """Coordinates of w that are penalised: all but the intercept."""
        return self.n_params - bool(self.config["fit_intercept"])

    @property
    def t(self) -> int:
        """Local steps done, per worker."""
        return int(self.clock[0])

    @property
    def n_rounds(self) -> int:
        """Averagings done."""
        return int(self.clock[1])

    def sums(self) -> np.ndarray:
        """Return each worker's sum of its iterates, float64, shape (n_workers, n_params)."""
        sums = self.padded_sum64
        if self.padded_sum is not sums:
            sums = sums + self.padded_sum
        elif self.scale is not None:
            sums = sums + self.padded_owed
            sums[:, : self.n_features] += self.scale[1] * self.padded_W[:, : self.n_features]
        return sums[:, : self.n_params]

    def copy(self) -> State:
        """Return a copy that the run no longer touches."""
        other = replace(
            self,
            padded_W=_copied(self.padded_W),
            padded_sum64=_copied(self.padded_sum64),
            clock=self.clock.copy(),
            ledger=self.ledger.copy(),
            scale=None if self.scale is None else self.scale.copy(),
            padded_owed=None if self.padded_owed is None else _copied(self.padded_owed),
        )
        other.padded_sum = other.padded_sum64 if self.padded_sum is self.padded_sum64 else _copied(self.padded_sum)
        return other

    def __getstate__(self) -> dict[str, Any]:
        # As in a file: the data by its hash.
        return self.__dict__ | {"data": _Known(self.fingerprint)}

    def __setstate__(self, entries: dict[str, Any]) -> None:
        self.__dict__.update(entries)
        # Kernels need the alignment that pickling does not keep.
        self.__dict__.update(self.copy().__dict__)

    def restore(self, other: State) -> None:
        """Take over another state's numbers in place: addresses that kernels hold stay valid."""
        self.padded_W[...] = other.padded_W
        self.padded_sum[...] = other.padded_sum
        self.padded_sum64[...] = other.padded_sum64
        self.clock[...] = other.clock
        self.ledger[...] = other.ledger
        if self.scale is not None:
            self.scale[...] = other.scale
            self.padded_owed[...] = other.padded_owed
        self.pending = other.pending

    def check(self) -> None:
        """Raise CheckpointError unless clock, round lengths and shapes fit together, as the kernels rely on."""
        t, n_rounds, since = (int(value) for value in self.clock[:3])
        lengths, first = self.pending.lengths, self.pending.first_round
        at = n_rounds - first
        fits = (
            self.clock.shape == (4,)
            and self.clock[3] >= 0
            and (self.scale is None or bool(np.isfinite(self.scale).all() and self.scale[0]))
            and self.ledger.shape == (5,)
            and bool((lengths >= 1).all())
            and 0 <= t <= self.config["n_steps"]
            and 0 <= at <= len(lengths)
            and t - since == self.pending.first_t + int(lengths[:at].sum())
            and 0 <= since
            and (since < lengths[at] if at < len(lengths) else since == 0)
        )
        if not fits:
            raise CheckpointError(f"its clock and its rounds do not fit together (t={t}, n_rounds={n_rounds})")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the state to path, atomically: a temporary file beside it, fsync, rename, fsync of the folder.

        Raises
        ------
        OSError
            The disk refused; a file that was at path before is untouched.
        """
        arrays = {name: np.ascontiguousarray(array) for name, array in self._arrays().items()}
        payload = b"".join(array.tobytes() for array in arrays.values())
        header = {
            "format": FORMAT,
            "config": self.config,
            "fingerprint": self.fingerprint,
            "n_params": self.n_params,
            "pending": [self.pending.first_round, self.pending.first_t],
            "arrays": {name: [array.dtype.str, list(array.shape)] for name, array in arrays.items()},
            "sha256": hashlib.sha256(payload).hexdigest(),
        }
        line = json.dumps(header).encode()
        check = hashlib.sha256(line).digest()
        _write_atomically(Path(path), MAGIC + struct.pack("<Q", len(line)) + check + line + payload)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> State:
        """Read a state that ``save`` wrote.

        Raises
        ------
        CheckpointError
            The file is damaged, of another format version, or no checkpoint at all.
        OSError
            The file cannot be read.
        """
        content = Path(path).read_bytes()
        try:
            return cls._parse(content)
        except CheckpointError as error:
            raise CheckpointError(f"{os.fspath(path)} holds no whole checkpoint: {error}") from None
        except (ValueError, KeyError, TypeError, struct.error, RecursionError, MemoryError, OverflowError) as error:
            raise CheckpointError(
                f"{os.fspath(path)} holds no whole checkpoint: {type(error).__name__}: {error}"
            ) from None

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = {
            "W": self.padded_W[:, : self.n_params],
            "sum64": self.padded_sum64[:, : self.n_params],
            "clock": self.clock,
            "ledger": self.ledger,
            "pending": self.pending.lengths,
            "objectives": np.array(self.pending.objectives, dtype=np.float64),
        }
        if self.padded_sum is not self.padded_sum64:
            arrays["sum"] = self.padded_sum[:, : self.n_params]
        if self.scale is not None:
            arrays["scale"] = self.scale
            arrays["owed"] = self.padded_owed[0, : self.n_params]
        return arrays

    @classmethod
    def _parse(cls, content: bytes) -> State:
        prefix = len(MAGIC) + 8 + 32
        if content[: len(MAGIC)] != MAGIC or len(content) < prefix:
            raise CheckpointError("it does not begin as one")
        (length,) = struct.unpack_from("<Q", content, len(MAGIC))
        if length > min(MAX_HEADER_BYTES, len(content) - prefix):
            raise CheckpointError("its header is cut off")
        line = content[prefix : prefix + length]
        if hashlib.sha256(line).digest() != content[prefix - 32 : prefix]:
            raise CheckpointError("its header is damaged")
        header = json.loads(line)
        if header["format"] != FORMAT:
            raise CheckpointError(f"its format is {header['format']!r}, this version reads {FORMAT}")
        payload = content[prefix + length :]
        if hashlib.sha256(payload).hexdigest() != header["sha256"]:
            raise CheckpointError("its arrays are damaged or cut off")
        arrays, at = {}, 0
        for name, (dtype_text, shape) in header["arrays"].items():
            dtype = np.dtype(dtype_text)
            n_bytes = dtype.itemsize * int(np.prod(shape, dtype=object))
            if dtype.kind not in "fi" or n_bytes < 0 or n_bytes > len(payload) - at:
                raise CheckpointError(f"its array {name!r} is not what the header says")
            arrays[name] = np.frombuffer(payload[at : at + n_bytes], dtype=dtype).reshape(shape)
            at += n_bytes
        if at != len(payload):
            raise CheckpointError("bytes are left over behind its arrays")
        n_params, W = int(header["n_params"]), arrays["W"]
        if W.shape != (header["config"]["n_workers"], n_params) or W.dtype not in (np.float32, np.float64):
            raise CheckpointError("its iterates have another shape than its header says")
        state = cls.start(header["config"], _Known(header["fingerprint"]), np.zeros(n_params, W.dtype))
        state.padded_W[:, :n_params] = W
        state.padded_sum64[:, :n_params] = arrays["sum64"]
        if "sum" in arrays:
            state.padded_sum[:, :n_params] = arrays["sum"]
        if [arrays[name].shape for name in ("clock", "ledger")] != [(4,), (5,)]:
            raise CheckpointError("its clock has another shape")
        if (state.scale is None) != ("scale" not in arrays) or ("sum" in arrays) != (
            state.padded_sum is not state.padded_sum64
        ):
            raise CheckpointError("its arrays are not those of its configuration")
        if state.scale is not None:
            if arrays["scale"].shape != (2,):
                raise CheckpointError("its scale has another shape")
            state.scale[...] = arrays["scale"]
            state.padded_owed[0, :n_params] = arrays["owed"]
        state.clock[...] = arrays["clock"]
        state.ledger[...] = arrays["ledger"]
        first_round, first_t = header["pending"]
        state.pending = Pending(
            arrays["pending"].astype(np.int64), int(first_round), int(first_t), tuple(arrays["objectives"].tolist())
        )
        state.check()
        return state

    def __repr__(self) -> str:
        return (
            f"State(t={self.t} of {self.config.get('n_steps')}, n_rounds={self.n_rounds}, "
            f"n_workers={len(self.padded_W)}, n_params={self.n_params}, {self.padded_W.dtype})"
        )


def padded_rows(n_rows: int, n_columns: int, dtype: np.dtype) -> np.ndarray:
    """Return zeros of n_rows x (n_columns rounded up to whole vectors), 128-byte aligned."""
    padded = -(-n_columns // _kernels.PAD) * _kernels.PAD
    return _kernels.aligned(n_rows * padded * dtype.itemsize).view(dtype).reshape(n_rows, padded)


def _copied(rows: np.ndarray) -> np.ndarray:
    copy = padded_rows(rows.shape[0], rows.shape[1], rows.dtype)
    copy[...] = rows
    return copy


def _write_atomically(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    _sweep(path)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _sweep(path: Path) -> None:
    """Remove what writers of this path that were killed have left behind."""
    for stale in path.parent.glob(f".{path.name}.*.tmp"):
        owner = stale.name.split(".")[-2]
        if owner.isdigit() and int(owner) != os.getpid() and not _is_alive(int(owner)):
            stale.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
