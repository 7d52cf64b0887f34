"""Streams: fresh rows from a known distribution, made inside the kernels.

A stream stands where an array would: ``Problem(GaussianStream(20), loss="squared")``. Every row is new, the optimum
and the Hessian of the population are known, and what worker k sees at step t depends on (seed, k, t) alone: on
no schedule, thread or instruction set. src/stream_body.h makes the rows.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _kernels
from .scalars import number, one_of, reals, whole

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GaussianStream:
    """Rows x = H^(1/2) z, z of independent entries, with linear or logistic targets.

    Parameters
    ----------
    n_features : int
    spectrum : "1/k", "1/k^POWER", number or array, shape (n_features,)
        Eigenvalues of H = E x x', which is diagonal: all >= 0, not all 0.
    noise : float
        Standard deviation of a linear target's noise, >= 0. Labels have none beside their law: it is refused there.
    target : "linear" or "logistic"
        y = <x, w_star> + noise e with e normal; or a label -1 or +1, +1 with probability 1 / (1 + exp(-<x, w_star>)).
        With ``loss="squared"`` labels are numbers to be fitted: least squares, whose optimum is not w_star.
    w_star : array, shape (n_features,), or None
        None is 1 / sqrt(n_features) everywhere.
    kurtosis : float, >= 1
        E z^4. 3 are normal entries; below, normal ones and signs added with weights that give it; above, normal
        ones that are 0 with probability 1 - 3 / kurtosis.
    dtype : "float32" or "float64"
        Of the rows, and so of the run. Normals of float32 reach 6.7, those of float64 8.5.

    Raises
    ------
    TypeError, ValueError
        A number, array or name that does not fit: the message says which.

    Examples
    --------
    >>> stream = GaussianStream(3, spectrum="1/k", dtype="float64")
    >>> stream.eigenvalues.round(3).tolist()
    [1.0, 0.5, 0.333]
    """

    n_features: int
    spectrum: Any = "1/k"
    noise: float = 1.0
    target: str = "linear"
    w_star: Any = None
    kurtosis: float = 3.0
    dtype: Any = "float32"

    def __post_init__(self) -> None:
        whole("n_features", self.n_features)
        _keep(self, "eigenvalues", eigenvalues_of(self.spectrum, self.n_features))
        _keep(self, "w_star", _centre(self.w_star, self.n_features))
        object.__setattr__(self, "dtype", _dtype(self.dtype))
        number("noise", self.noise, least=0.0, hint="; it is a standard deviation")
        one_of("target", self.target, ("linear", "logistic"))
        if self.target == "logistic" and self.noise != 1.0:
            raise ValueError(f"noise is a linear target's, and labels have none, got {self.noise!r}: leave it out")
        number("kurtosis", self.kurtosis, least=1.0, hint="; it is E z^4 of a variable of variance 1")

    @property
    def eigenvalues(self) -> Vector:
        """Eigenvalues of E x x', float64, read-only."""
        return self.__dict__["eigenvalues"]  # type: ignore[no-any-return]

    def made(self, n_workers: int) -> _kernels.Stream:
        """Return the stream as the kernels take it, with room for the rows of n_workers."""
        parts: dict[str, Any] = {}
        if self.kurtosis > 3.0:
            parts = {"kept": 3.0 / self.kurtosis, "normal_part": math.sqrt(self.kurtosis / 3.0)}
        elif self.kurtosis < 3.0:
            # Signs of weight s have fourth cumulant -2 s^4; the rest of the variance is normal.
            signs = math.sqrt((3.0 - self.kurtosis) / 2.0)
            parts = {"sign_part": math.sqrt(signs), "normal_part": math.sqrt(1.0 - signs)}
        return _kernels.Stream(
            self.dtype, n_workers, np.sqrt(self.eigenvalues), w_star=self.w_star, target=self.target,
            noise=float(self.noise), **parts,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class QuadraticStream:
    """Gradients H (w - w_star) - xi with xi normal, whatever w is: additive noise.

    F(w) = (1/2) <w - w_star, H (w - w_star)> with H diagonal. There are no rows: a step is
    w <- w - eta (H (w - w_star) - xi).

    Parameters
    ----------
    spectrum : array, shape (n_features,)
        Eigenvalues of H, all >= 0, not all 0.
    noise_cov : number, array of shape (n_features,) or (n_features, n_features)
        E xi xi': a multiple of the identity, its diagonal, or the whole matrix (positive semidefinite).
    w_star : array, shape (n_features,), or None for 1 / sqrt(n_features)
    dtype : "float32" or "float64"

    Raises
    ------
    TypeError, ValueError
        An array that does not fit; a covariance that is not symmetric and positive semidefinite.

    Examples
    --------
    >>> QuadraticStream([1.0, 0.5], noise_cov=0.1).n_features
    2
    """

    spectrum: Any
    noise_cov: Any = 1.0
    w_star: Any = None
    dtype: Any = "float32"

    def __post_init__(self) -> None:
        if isinstance(self.spectrum, str) or np.ndim(self.spectrum) != 1:
            raise ValueError(f"spectrum must be an array of eigenvalues, shape (n_features,), got {self.spectrum!r}")
        _keep(self, "eigenvalues", eigenvalues_of(self.spectrum, len(self.spectrum)))
        d = len(self.eigenvalues)
        _keep(self, "w_star", _centre(self.w_star, d))
        object.__setattr__(self, "dtype", _dtype(self.dtype))
        covariance = reals("noise_cov", self.noise_cov)
        if covariance.shape not in ((), (d,), (d, d)) or not np.isfinite(covariance).all():
            raise ValueError(
                f"noise_cov must be a finite number or have shape ({d},) or ({d}, {d}), got {covariance.shape}"
            )
        if covariance.ndim < 2 and (covariance < 0).any():
            raise ValueError("noise_cov must be >= 0")
        _keep(self, "noise_cov", covariance if covariance.ndim else np.full(d, covariance))
        if covariance.ndim == 2:
            if not np.array_equal(covariance, covariance.T):
                raise ValueError("noise_cov must be symmetric")
            self._factor()

    @property
    def n_features(self) -> int:
        """Coordinates of w."""
        return len(self.eigenvalues)

    @property
    def eigenvalues(self) -> Vector:
        """Eigenvalues of H, float64, read-only."""
        return self.__dict__["eigenvalues"]  # type: ignore[no-any-return]

    def _factor(self) -> Vector:
        """Return a lower triangle A with A A' = noise_cov, also where that is singular."""
        values, vectors = np.linalg.eigh(self.noise_cov)
        if values.min() < -1e-12 * max(1e-300, values.max()):
            raise ValueError(f"noise_cov must be positive semidefinite, got an eigenvalue {values.min():g}")
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        triangle = np.asarray(np.linalg.qr(root.T, mode="r")).T
        return triangle * np.where(np.diag(triangle) < 0, -1.0, 1.0)

    def made(self, n_workers: int) -> _kernels.Stream:
        """Return the stream as the kernels take it, with room for the noise of n_workers."""
        is_full = self.noise_cov.ndim == 2
        return _kernels.Stream(
            self.dtype, n_workers, np.ones(self.n_features) if is_full else np.sqrt(self.noise_cov),
            w_star=self.w_star, target=None, factor=self._factor() if is_full else None, spectrum=self.eigenvalues,
        )  # fmt: skip


Stream = GaussianStream | QuadraticStream


def eigenvalues_of(spectrum: Any, n_features: int) -> Vector:
    """Return the eigenvalues that "1/k", "1/k^POWER", a number or an array of n_features names, float64."""
    if isinstance(spectrum, str):
        named = re.fullmatch(r"1/k(?:\^([0-9]+\.?[0-9]*|\.[0-9]+))?", spectrum)
        if not named:
            raise ValueError(f"spectrum must be '1/k', '1/k^POWER', a number or an array, got {spectrum!r}")
        return np.arange(1, n_features + 1, dtype=np.float64) ** -float(named[1] or 1)
    values = reals("spectrum", spectrum)
    if values.shape not in ((), (n_features,)):
        raise ValueError(f"spectrum must have shape ({n_features},), got {values.shape}")
    values = np.array(np.broadcast_to(values, (n_features,)))
    if not ((values >= 0) & np.isfinite(values)).all() or not values.any():
        raise ValueError("spectrum must be finite and >= 0, and not 0 everywhere")
    return values


def _centre(w_star: Any, n_features: int) -> Vector:
    if w_star is None:
        return np.full(n_features, 1.0 / math.sqrt(n_features))
    values = reals("w_star", w_star)
    if values.shape != (n_features,) or not np.isfinite(values).all():
        raise ValueError(f"w_star must be finite and have shape ({n_features},), got shape {values.shape}")
    return values


def _dtype(dtype: Any) -> np.dtype:
    if dtype is None:  # NumPy's float64
        raise TypeError("dtype must be float32 or float64, got None")
    try:
        kind = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"dtype must be float32 or float64, got {dtype!r}") from None
    if kind not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise TypeError(f"dtype must be float32 or float64, got {kind}")
    return kind


def _keep(stream: Any, name: str, values: np.ndarray) -> None:
    values.setflags(write=False)
    stream.__dict__[name] = values
