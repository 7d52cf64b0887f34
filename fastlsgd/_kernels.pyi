from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

LOSSES: tuple[str, ...]
PAD: int
BF16_BLOCK: int
FLUSH: int
MAX_THREADS: int

def isas() -> list[str]: ...
def isa() -> str: ...
def use_isa(name: str) -> None: ...
def use_whole_team(whole: bool) -> bool: ...
def thread_limit() -> int: ...
def philox(counter: Sequence[int], key: Sequence[int]) -> list[int]: ...
def draw(seed: int, k: int, t: int) -> int: ...
def exp(x: np.ndarray, out: np.ndarray) -> None: ...
def expf(x: np.ndarray, out: np.ndarray) -> None: ...
def log(x: np.ndarray, out: np.ndarray) -> None: ...
def log1p(x: np.ndarray, out: np.ndarray) -> None: ...
def inverse_power(t: np.ndarray, alpha: float, out: np.ndarray) -> None: ...
def loss(which: int, z: np.ndarray, y: np.ndarray, out: np.ndarray) -> None: ...
def dloss(which: int, z: np.ndarray, y: np.ndarray, out: np.ndarray) -> None: ...
def deal(order: np.ndarray, seed: int, rows_a_block: int = ...) -> None: ...
def shuffle_shard(order: np.ndarray, seed: int, k: int, epoch: int, rows_a_block: int = ...) -> None: ...

class Stream:
    X: np.ndarray
    y: np.ndarray
    def __init__(
        self,
        dtype: np.dtype,
        n_workers: int,
        scale: np.ndarray,
        *,
        w_star: np.ndarray,
        target: str | None,
        noise: float = ...,
        normal_part: float = ...,
        sign_part: float = ...,
        kept: float = ...,
        factor: np.ndarray | None = ...,
        spectrum: np.ndarray | None = ...,
    ) -> None: ...

class Rows:
    dtype: Any
    def __init__(
        self,
        X: Any,
        y: np.ndarray,
        s: np.ndarray | None,
        *,
        intercept: bool,
        start: np.ndarray,
        order: np.ndarray | None,
        sampling: str = ...,
        whole: bool = ...,
        seed: int = ...,
        n_visits: int = ...,
        rows_a_block: int = ...,
        stream: Stream | None = ...,
    ) -> None: ...
    def make_blocks(self, n: int) -> int: ...
    def streamed(self, k: int, first: int, n: int) -> tuple[np.ndarray, np.ndarray]: ...
    def visited(self, k: int, first: int, n: int) -> np.ndarray: ...

class Slices:
    core_s: float

    def __init__(
        self,
        rows: Rows,
        *,
        loss: str,
        l2: float,
        batch_size: int,
        W: np.ndarray,
        sum: np.ndarray,
        sum64: np.ndarray,
        weights: np.ndarray,
        clock: np.ndarray,
        ledger: np.ndarray,
        scale: np.ndarray | None,
        owed: np.ndarray | None,
        n_threads: int,
    ) -> None: ...
    def run(
        self,
        periods: np.ndarray,
        eta: np.ndarray,
        alpha: np.ndarray | None,
        *,
        average: bool,
        timing: bool,
        want_consensus: bool,
        share: Callable[[Slices, int], None],
    ) -> int: ...
    def look_everywhere(self) -> None: ...
    def help(self) -> None: ...

class Pass:
    out: np.ndarray
    def __init__(
        self,
        rows: Rows,
        kind: str,
        *,
        loss: str = ...,
        w: np.ndarray | None = ...,
        copies: tuple[Any, np.ndarray, np.ndarray | None] | None = ...,
    ) -> None: ...
    def help(self) -> None: ...
    def finish(self) -> np.ndarray: ...

class Replicates:
    w: np.ndarray
    w_bar: np.ndarray
    consensus: np.ndarray
    def __init__(
        self,
        rooms: list[Rows],
        n_replicates: int,
        *,
        loss: str,
        l2: float,
        batch_size: int,
        seed: int,
        periods: np.ndarray,
        eta: np.ndarray,
        alpha: np.ndarray | None,
        average: bool,
        begins_after: int,
        weights: np.ndarray,
        w0: np.ndarray,
        record: np.ndarray,
        total: np.ndarray,
    ) -> None: ...
    def help(self) -> None: ...
    def work(self, for_s: float) -> bool: ...
    def close(self) -> None: ...

def add_blocks(blocks: np.ndarray, out: np.ndarray) -> None: ...
def mean_of_workers(W: np.ndarray, weights: np.ndarray, n_params: int, out: np.ndarray) -> None: ...
def bound_additive(
    eta: np.ndarray,
    periods: np.ndarray,
    mu: float,
    lipschitz: float,
    noise: float,
    distance: float,
    w2: float,
    third: float,
    g_one: float,
    g_mean: float,
    g_pair: float,
    last: np.ndarray,
    fourth: np.ndarray,
) -> None: ...
def bound_multiplicative(
    eta: np.ndarray,
    periods: np.ndarray,
    mu: float,
    lipschitz: float,
    a: float,
    b: float,
    distance: float,
    w2: float,
    quadratic: bool,
    last: np.ndarray,
) -> None: ...
def aligned(n_bytes: int) -> np.ndarray: ...
def advance_moments(
    eigenvalues: np.ndarray,
    fixed: np.ndarray,
    shared: np.ndarray | None,
    own: np.ndarray | None,
    w2: float,
    worker: np.ndarray,
    mean: np.ndarray,
    cross: np.ndarray,
    square: np.ndarray,
    eta: np.ndarray,
    ends: np.ndarray,
    averages: bool,
) -> float: ...
