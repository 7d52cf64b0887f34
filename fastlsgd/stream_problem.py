"""The objective of a stream: an expectation over fresh rows, in closed form.

    F(w) = E loss(<x, w>, y) + (l2/2) |w|^2

With the squared loss, and for ``QuadraticStream``, F is a quadratic. With logistic loss and targets v = <x, w> and
u = <x, w_star> are jointly normal, and F, its gradient and Hessian are integrals over one normal variable; Stein's
lemma takes the rest: E g(v) x = E g'(v) S w and E g(v) x x' = E g(v) S + E g''(v) S w w' S with S = E x x'. So

    E loss = E log(1 + e^-v) + E sigma(-u) v = E h(v) + <w, S w> E sigma'(v) - <w, S w_star> E sigma'(u)

with h = log(2 cosh(v/2)) - (v/2) tanh(v/2), the entropy of a label whose odds are e^v: what is integrated falls
off as e^-|v|, so the nodes that count are few however large w is.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _kernels
from .data import check_storage
from .losses import Loss
from .problem import NoRowsError, Problem, RowNorms, Vector
from .scalars import number, seed_of, switch, whole
from .streams import GaussianStream, QuadraticStream, Stream

# Beyond so many standard deviations a normal variable has no mass that counts; beyond such a v no e^-|v| does.
WIDEST, FARTHEST = 9.0, 45.0


class StreamProblem(Problem):
    """What ``Problem(stream, loss=...)`` is: see ``Problem``. Optimum and Hessian are the population's.

    Attributes
    ----------
    stream : GaussianStream or QuadraticStream
    """

    samplings = ("stream",)

    def __init__(
        self,
        X: Stream,
        y: None = None,
        loss: str | Loss = "squared",
        l2: float = 0.0,
        sample_weight: None = None,
        fit_intercept: bool = False,
    ) -> None:
        self.stream = X
        self.loss = loss if isinstance(loss, Loss) else Loss(loss)
        if y is not None or sample_weight is not None or switch("fit_intercept", fit_intercept):
            raise ValueError(
                "a stream has targets of its own, and neither sample_weight nor an intercept: leave out y, "
                "sample_weight and fit_intercept"
            )
        self.l2 = number("l2", l2, least=0.0)
        if isinstance(X, QuadraticStream):
            if self.loss.name != "squared" or self.l2:
                raise ValueError("a QuadraticStream is an objective of its own: leave out loss and l2")
        elif self.loss.is_binary and X.target != "logistic":
            raise ValueError(f"the {self.loss.name} loss needs labels: pass GaussianStream(..., target='logistic')")
        elif X.target == "logistic" and X.kurtosis != 3.0:
            raise ValueError(f"a logistic target needs normal rows, got kurtosis {X.kurtosis!r}: leave it at 3")
        self.fit_intercept, self.is_sparse = False, False
        self.X, self.y, self.sample_weight = None, None, None  # type: ignore[assignment]
        self._optimum: Vector | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__.copy()

    def _lay_out(self) -> None:
        """There is nothing to lay out."""

    @property
    def n_samples(self) -> int:
        """Raise: a stream has no end."""
        raise NoRowsError(
            "a stream has no rows to count or to estimate from; draw an array: Problem(*problem.sample(n), ...)"
        )

    @property
    def n_features(self) -> int:
        """Coordinates of w."""
        return self.stream.n_features

    @property
    def dtype(self) -> np.dtype:
        """dtype of the rows, in which the steps are computed."""
        return self.stream.dtype  # type: ignore[no-any-return]

    @property
    def entries_a_row(self) -> float:
        """Entries of a row."""
        return float(self.n_features)

    def rows_for_run(
        self, *, n_workers: int, seed: int, n_visits: int, sampling: str = "stream", partition: str = "iid",
        layout: str = "auto", storage: str | None = None, n_threads: int = 1,
    ) -> tuple[_kernels.Rows, str, int]:  # fmt: skip
        """Return (the rows as the kernels take them, "stream", 0); see ``Problem.rows_for_run``."""
        check_storage(storage, layout, self.X)
        if layout not in ("auto", "view"):
            raise ValueError(f"a stream has no rows to copy: layout must be 'auto' or 'view', got {layout!r}")
        if partition != "iid":
            raise ValueError(
                f"all workers of a stream see the same distribution: partition must be 'iid', got {partition!r}"
            )
        made = self.stream.made(n_workers)
        start = np.zeros(n_workers + 1, dtype=np.int64)
        rows = _kernels.Rows(
            made.X, made.y, None, intercept=False, start=start, order=None, sampling="stream", seed=seed,
            n_visits=n_visits, stream=made,
        )  # fmt: skip
        return rows, "stream", 0

    def sample(self, n_rows: int, *, seed: int = 0, worker: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Return X, (n_rows, n_features), and y: the first rows that this worker sees in a run with this seed.

        Of a QuadraticStream the gradient noise xi, and zeros.

        Parameters
        ----------
        n_rows : int, >= 1
        seed : int, 0 <= seed < 2^64
        worker : int, >= 0

        Raises
        ------
        TypeError, ValueError
            No such ints.

        Examples
        --------
        >>> X, y = Problem(GaussianStream(20)).sample(5)
        >>> X.shape, y.shape, X.dtype
        ((5, 20), (5,), dtype('float32'))
        """
        n_rows, worker, seed = whole("n_rows", n_rows), whole("worker", worker, least=0), seed_of(seed)
        rows, _, _ = self.rows_for_run(n_workers=worker + 1, seed=seed, n_visits=n_rows)
        X, y = rows.streamed(worker, 0, n_rows)
        return X, np.zeros_like(y) if isinstance(self.stream, QuadraticStream) else y

    def row_norms(self) -> RowNorms:
        """Return the moments of |x|^2; the largest is infinite."""
        spectrum = self.stream.eigenvalues
        kurtosis = getattr(self.stream, "kurtosis", 1.0)
        fourth = spectrum.sum() ** 2 + (kurtosis - 1.0) * (spectrum @ spectrum)
        return RowNorms(math.inf, float(spectrum.sum()), float(fourth))

    def safe_step(self) -> float:
        """Return 1 / (c R^2 + l2), c the loss's largest curvature and E |x|^2 x x' <= R^2 H.

        R^2 = tr H + (kurtosis - 1) lambda_max. For the squared loss a constant step up to this is stable in second
        moment; no step is safe for every row, as rows are unbounded. Of a QuadraticStream 1 / lambda_max.
        """
        spectrum = self.stream.eigenvalues
        if isinstance(self.stream, QuadraticStream):
            return float(1.0 / spectrum.max())
        bound = spectrum.sum() + (self.stream.kurtosis - 1.0) * spectrum.max()
        return float(1.0 / (self.loss.curvature * bound + self.l2))

    def step_bound(self, batch_size: int = 1) -> float:
        """Return a step that no constant step may exceed; see ``Problem.step_bound``."""
        if isinstance(self.stream, QuadraticStream):
            return float(2.0 / self.stream.eigenvalues.max())
        return super().step_bound(batch_size)

    # ---- the objective ----

    @property
    def is_quadratic(self) -> bool:
        """Whether F is a quadratic: (1/2) <w - w*, (H + l2) (w - w*)> + a constant."""
        return self.loss.name == "squared"

    def _linear_and_constant(self) -> tuple[Vector, float]:
        """Return b and c of F(w) = (1/2) <w, (H + l2) w> - <b, w> + c, for the squared loss."""
        stream, spectrum = self.stream, self.stream.eigenvalues
        linear = spectrum * stream.w_star
        if isinstance(stream, GaussianStream) and stream.target == "logistic":
            # y is the sign 2 s - 1: E y x = 2 E sigma'(u) H w_star, and y^2 = 1.
            return 2.0 * _mean_of(_sigmoid_slope, math.sqrt(linear @ stream.w_star)) * linear, 0.5
        noise = stream.noise if isinstance(stream, GaussianStream) else 0.0
        return linear, 0.5 * float(linear @ stream.w_star + noise**2)

    def objective(self, w: npt.ArrayLike) -> float | Vector:
        """Return F(w) in float64; for several iterates, shape (m, n_params), all of them."""
        iterates = self._iterates(w)
        spectrum = self.stream.eigenvalues
        # No penalty is none of an infinite w either.
        penalty = 0.5 * self.l2 * np.einsum("ij,ij->i", iterates, iterates) if self.l2 else 0.0
        if self.is_quadratic:
            linear, constant = self._linear_and_constant()
            values = 0.5 * (iterates**2) @ spectrum - iterates @ linear + constant + penalty
        else:
            values = _logistic_objective(spectrum, self.stream.w_star, iterates) + penalty
        return values if np.ndim(w) == 2 else float(values[0])

    def objective_and_gradient(self, w: npt.ArrayLike) -> tuple[float | Vector, Vector]:
        """Return F(w) and its gradient, float64; for several iterates, shape (m, n_params), of all."""
        iterates = self._iterates(w)
        spectrum, w_star = self.stream.eigenvalues, self.stream.w_star
        with np.errstate(invalid="ignore"):  # where w is infinite F has no gradient
            if self.is_quadratic:
                gradients = iterates * spectrum - self._linear_and_constant()[0]
            else:
                ours = np.array([_mean_of(_sigmoid_slope, _spread(spectrum, w)) for w in iterates])
                theirs = _mean_of(_sigmoid_slope, _spread(spectrum, w_star))
                gradients = spectrum * (ours[:, None] * iterates - theirs * w_star)
            gradients = gradients + self.l2 * iterates
        return self.objective(w), (gradients if np.ndim(w) == 2 else gradients[0])

    def excess(self, w: npt.ArrayLike, w_star: npt.ArrayLike | None = None) -> float | Vector:
        """Return F(w) - F(w_star) in float64; see ``Problem.excess``."""
        iterates = self._iterates(w)
        reference = self.optimum() if w_star is None else self._iterate("w_star", w_star)
        if self.is_quadratic:
            steps = iterates - reference
            values = 0.5 * (steps**2) @ (self.stream.eigenvalues + self.l2)
            if w_star is not None:
                values = values + steps @ self.gradient(reference)
        else:
            values = np.asarray(self.objective(iterates)) - self.objective(reference)
        return values if np.ndim(w) == 2 else float(values[0])

    def excess_resolution(self) -> float:
        """Return the excess below which ``excess`` says nothing: 0 of a quadratic, else the integrals' 1e-13."""
        return 0.0 if self.is_quadratic else 1e-13

    def hessian(self, w: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the Hessian of F at w, float64, shape (n_params, n_params)."""
        iterate, spectrum = self._iterate("w", w), self.stream.eigenvalues
        if self.is_quadratic:
            return np.diag(spectrum + self.l2)
        scale, direction = _spread(spectrum, iterate), spectrum * iterate
        hessian = np.diag(_mean_of(_sigmoid_slope, scale) * spectrum + self.l2)
        return hessian + _mean_of(_sigmoid_third, scale) * np.outer(direction, direction)

    def optimum(self) -> Vector:
        """Return the minimiser of F, float64: in closed form, or (logistic loss with l2) by Newton's method."""
        if self._optimum is None:
            spectrum, w_star = self.stream.eigenvalues, self.stream.w_star
            if self.is_quadratic:
                linear, _ = self._linear_and_constant()
                curvature = spectrum + self.l2
                # Where nothing has extent nothing moves: w_star stands for what a run starts with.
                optimum = np.divide(linear, curvature, out=np.array(w_star), where=curvature > 0)
                if self.l2 == 0 and np.array_equal(linear, spectrum * w_star):
                    optimum = np.array(w_star)
            else:
                optimum = np.array(w_star)
                for _ in range(50 if self.l2 else 0):
                    step = np.linalg.solve(self.hessian(optimum), self.gradient(optimum))
                    optimum = optimum - step
                    if np.abs(step).max() <= 1e-15 * np.abs(optimum).max():
                        break
            optimum.setflags(write=False)
            self._optimum = optimum
        return self._optimum

    def fingerprint(self) -> str:
        """Return a hash of the stream's parameters."""
        stream = self.stream
        digest = hashlib.sha256(f"{type(stream).__name__} {stream.dtype.str}".encode())
        digest.update(stream.eigenvalues.tobytes() + stream.w_star.tobytes())
        if isinstance(stream, GaussianStream):
            digest.update(f"{float(stream.noise).hex()} {stream.target} {float(stream.kurtosis).hex()}".encode())
        else:
            digest.update(stream.noise_cov.tobytes())
        return digest.hexdigest()

    def blocks(self, n_rows: int = 8192) -> Any:
        """Raise: a stream has no end."""
        self.n_samples  # noqa: B018 - raises

    def __repr__(self) -> str:
        stream = f"{type(self.stream).__name__}({self.n_features})"
        return f"Problem({stream}, {self.dtype}, {self.loss.name}, l2={self.l2:g})"


def _sigmoid(v: Vector) -> Vector:
    return 0.5 * (1.0 + np.tanh(0.5 * v))


def _sigmoid_slope(v: Vector) -> Vector:
    s = _sigmoid(v)
    return s * (1.0 - s)


def _sigmoid_third(v: Vector) -> Vector:
    s = _sigmoid_slope(v)
    return s * (1.0 - 6.0 * s)


def _entropy(v: Vector) -> Vector:
    far = np.abs(v)
    return np.log1p(np.exp(-far)) + far * _sigmoid(-far)


def _spread(spectrum: Vector, w: Vector) -> float:
    """Return the standard deviation of <x, w>; of a w whose square overflows too."""
    return math.hypot(*(np.sqrt(spectrum) * w))


def _mean_of(function: Any, scale: float) -> float:
    """Return E function(scale z), z normal, of a function of the sigmoid's kind that falls off as e^-|v|.

    The trapezoidal rule: its error falls as exp(-2 pi / step times the distance of the nearest pole, pi / scale),
    here below 1e-14.
    """
    if not math.isfinite(scale):
        return 0.0 if scale == math.inf else math.nan
    step = 0.5 / max(1.0, scale)
    n = math.ceil(min(WIDEST, FARTHEST / max(1.0, scale)) / step)
    nodes = step * np.arange(-n, n + 1, dtype=np.float64)
    return float(step / math.sqrt(2.0 * math.pi) * (np.exp(-0.5 * nodes**2) @ function(scale * nodes)))


def _logistic_objective(spectrum: Vector, w_star: Vector, iterates: Vector) -> Vector:
    """Return E log(1 + exp(-y v)), y = 1 with probability sigma(u), for normal u = <x, w_star> and v = <x, w>."""
    with np.errstate(invalid="ignore"):  # of infinite iterates, whose objective is infinite
        shared = iterates @ (spectrum * w_star) * _mean_of(_sigmoid_slope, _spread(spectrum, w_star))
    values = np.full(len(iterates), np.inf)
    for i, scale in enumerate(_spread(spectrum, w) for w in iterates):
        if scale != math.inf:
            cost = _mean_of(_entropy, scale) + scale * (scale * _mean_of(_sigmoid_slope, scale))
            values[i] = cost - shared[i]
    return values
