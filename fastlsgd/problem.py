"""Problem: what is minimised.

    F(w) = (1/n_samples) sum_i s_i loss(<x_i, w>, y_i) + (l2/2) |w|^2

This is the one place where the objective is written. The intercept, if there is one, is an
implicit last coordinate of w whose feature is 1; it is not penalised.
"""

from __future__ import annotations

import hashlib
import math
import numbers
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _kernels, bf16, sparse
from .cores import resolve_threads
from .data import check_column, check_rows, is_memory_mapped, lay_out, whole_rows
from .losses import Loss
from .newton import conjugate_gradients
from .scalars import number, reals, switch, whole
from .separation import free_direction
from .streams import GaussianStream, QuadraticStream
from .team import run_pass

Vector = npt.NDArray[np.float64]

# Rows of X that a checkpoint's fingerprint takes, spread evenly over the data.
FINGERPRINT_ROWS = 4096
# blocks() yields no more at a time than this: 256 MB.
BLOCK_ENTRIES = 2**25
# Beyond this the Hessian is no longer cheap to hold and to factor.
DENSE_HESSIAN = 5000
# Of sparse rows it is made from dense blocks, so its products with vectors are cheaper much sooner.
DENSE_HESSIAN_OF_SPARSE = 500

# A row whose curvature is above this part of the loss's largest objects to any move of w.
OBJECTS = 4e-3

TOO_LARGE = "X is too large: its squared row norms overflow float64; scale its columns first"


class NoRowsError(ValueError):
    """A stream was asked for its rows, of which it has no number."""


@dataclass(frozen=True)
class RowNorms:
    """Squared norms s_i |x_i|^2 of the rows (the intercept's 1 included), in float64."""

    largest: float
    mean_square: float
    mean_fourth: float


class Problem:
    """The objective of a linear model: a loss averaged over rows, plus a ridge penalty.

    Parameters
    ----------
    X : ndarray or memmap, shape (n_samples, n_features), float32 or float64, C order
        Read where it lies; never copied or modified. The run computes in its dtype. Or CSR (csr_matrix,
        csr_array) of float32 or float64 with int32 or int64 indices, in canonical form or not: a column that
        a row holds twice counts as the sum. Or a stream of fresh rows (``GaussianStream``, ``QuadraticStream``),
        which has targets of its own; F is then an expectation, known in closed form.
    y : array, shape (n_samples,); left out with a stream
        Real targets for "squared"; labels -1 and +1 for "logistic".
    loss : str or Loss
        "squared" (half squared error) or "logistic".
    l2 : float
        Ridge penalty (l2/2) |w|^2, >= 0.
    sample_weight : array, shape (n_samples,), or None
        The weights s_i >= 0; None is 1. They are not normalised.
    fit_intercept : bool
        Add an implicit last coordinate that is not penalised.

    Raises
    ------
    TypeError, ValueError
        Arrays or numbers the kernels cannot take; the message says what to do. NaN and infinity in X
        are looked for here, except in memory-mapped files, where the run, or whatever meets them, finds them. CSR is
        always looked at whole: no column may be out of bounds.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[1.0], [2.0], [3.0]]); y = np.array([2.0, 4.0, 6.0])
    >>> problem = Problem(X, y, loss="squared")
    >>> problem.objective(np.array([2.0])), problem.optimum()
    (0.0, array([2.]))
    """

    # Of a run, the default first.
    samplings: tuple[str, ...] = ("reshuffle", "replacement", "blocks")

    def __new__(cls, X: Any = None, *args: Any, **options: Any) -> Problem:
        """Return a problem; of a stream one that knows its distribution."""
        if cls is Problem and isinstance(X, (GaussianStream, QuadraticStream)):
            from .stream_problem import StreamProblem

            return super().__new__(StreamProblem)
        return super().__new__(cls)

    def __init__(
        self,
        X: Any,
        y: npt.ArrayLike | None = None,
        loss: str | Loss = "squared",
        l2: float = 0.0,
        sample_weight: npt.ArrayLike | None = None,
        fit_intercept: bool = False,
    ) -> None:
        self.loss = loss if isinstance(loss, Loss) else Loss(loss)
        self.X = check_rows(X)
        if y is None:
            raise TypeError("y is missing: pass Problem(X, y); only a stream has targets of its own")
        self.is_sparse = sparse.is_sparse(self.X)
        self.y = _check_targets(y, self.X, self.loss)
        self.sample_weight = None if sample_weight is None else _check_weights(sample_weight, self.X)
        self.l2 = number("l2", l2, least=0.0)
        self.fit_intercept = switch("fit_intercept", fit_intercept)
        self._norms: RowNorms | None = None
        self._optimum: Vector | None = None
        self._resolution: float | None = None
        self._fingerprint = ""
        self._lay_out()

    def _lay_out(self) -> None:
        self._rows = whole_rows(self.X, self.y, self.sample_weight, intercept=self.fit_intercept)
        if self.is_sparse or not is_memory_mapped(self.X):
            self.row_norms()

    def __getstate__(self) -> dict[str, Any]:
        entries = self.__dict__ | {
            "X": self.X if self.is_sparse else np.asarray(self.X)
        }  # a mapped file is pickled as what it holds
        del entries["_rows"]
        return entries

    def __setstate__(self, entries: dict[str, Any]) -> None:
        self.__dict__.update(entries)
        if self._optimum is not None:
            self._optimum.setflags(write=False)
        self._lay_out()

    @property
    def n_samples(self) -> int:
        """Rows of X."""
        return int(self.X.shape[0])

    @property
    def n_features(self) -> int:
        """Columns of X."""
        return int(self.X.shape[1])

    @property
    def n_params(self) -> int:
        """Coordinates of w: the features and, if there is one, the intercept."""
        return self.n_features + self.fit_intercept

    @property
    def dtype(self) -> np.dtype:
        """dtype of X, in which the steps are computed."""
        return self.X.dtype

    @property
    def n_entries(self) -> int:
        """Entries of X that a pass over the data reads: all, or the stored ones of CSR."""
        return int(self.X.indptr[-1]) if self.is_sparse else self.n_samples * self.n_features

    @property
    def entries_a_row(self) -> float:
        """Entries of X that a row has on average."""
        return self.n_entries / self.n_samples

    def rows_for_run(
        self, *, n_workers: int, seed: int, n_visits: int, sampling: str, partition: str, layout: str,
        n_threads: int, storage: str | None = None,
    ) -> tuple[_kernels.Rows, str, int]:  # fmt: skip
        """Return (rows laid out as the kernels take them, the layout, bytes copied for it): see ``data.lay_out``."""
        if layout == "packed" or storage:
            self.row_norms()  # a mapped file is searched for NaN before it is copied
        return lay_out(
            self.X, self.y, self.sample_weight, intercept=self.fit_intercept, n_workers=n_workers, seed=seed,
            n_visits=n_visits, sampling=sampling, partition=partition, layout=layout, storage=storage,
            n_threads=n_threads,
        )  # fmt: skip

    def rounded(self) -> Problem:
        """Return this problem with each entry of X rounded to bfloat16: what a run with ``storage="bf16"`` minimises.

        Such a run is, bit for bit, the run on the rounded problem; what it reports is on the original data. Rounding
        moves an entry by at most 2^-9 of itself, to one side about as often as to the other: noise in the features,
        under which the optimum moves by some 2^-9 of what the choice of the rows moves it.
        ``problem.excess(problem.rounded().optimum())`` says what that costs on the original data, to be held against
        the statistical floor, ``theory.estimate(problem).floor``: 5e-6 of it for normal features, d = 100 and 1,000
        (bench/bench_bf16.py). The trap is a column whose mean is far above its spread: of the years 1998 to 2013
        three are left. Centre and scale such columns first.

        Returns
        -------
        Problem
            With a copy of X, float32; y and the sample weights are shared.

        Raises
        ------
        TypeError
            X is CSR, or not float32.
        ValueError
            An entry beyond 3.39e38, to which no finite bfloat16 is near.

        Examples
        --------
        >>> import numpy as np
        >>> X = np.array([[1.0], [1.003], [1.005]], dtype=np.float32)
        >>> Problem(X, np.ones(3)).rounded().X.ravel().tolist()
        [1.0, 1.0, 1.0078125]
        """
        bf16.check(self.X)
        return Problem(bf16.rounded(self.X), self.y, self.loss, self.l2, self.sample_weight, self.fit_intercept)

    def row_norms(self) -> RowNorms:
        """Return the row norms; the first call reads all of X once and raises ValueError at NaN or infinity."""
        if self._norms is None:
            blocks = self._pass("scan")
            if not np.isfinite(blocks[:, 3]).all():
                self._raise_at_first_bad(int(np.flatnonzero(~np.isfinite(blocks[:, 3]))[0]))
            sums = _added(blocks[:, 1:3])
            self._norms = RowNorms(
                largest=float(blocks[:, 0].max()),
                mean_square=float(sums[0]) / self.n_samples,
                mean_fourth=float(sums[1]) / self.n_samples,
            )
        return self._norms

    def safe_step(self) -> float:
        """Return 1 / (2 L), L the largest curvature of any one row's loss plus l2.

        With a constant step up to this no row's step moves two iterates apart, so no run diverges
        (every row's gradient is co-coercive). On heavy-tailed data it can be far below
        the largest step that is stable in the mean.

        Raises
        ------
        ValueError
            The squared norms of the rows overflow float64.

        Examples
        --------
        >>> import numpy as np
        >>> problem = Problem(np.array([[1.0], [2.0]]), np.array([2.0, 4.0]))
        >>> problem.safe_step()
        0.125
        """
        curvature = self.loss.curvature * self.row_norms().largest + self.l2
        if not math.isfinite(curvature):
            raise ValueError(TOO_LARGE)
        return 0.5 / curvature if curvature > 0.0 else 1.0  # F is flat: any step will do

    def step_bound(self, batch_size: int = 1) -> float:
        """Return a step that no constant step may exceed, from one pass over the data.

        For the squared loss 2 (mean|x|^2 + d l2) / (mean|x|^4 / b + 2 l2 mean|x|^2 + d l2^2), d the features and x
        less the intercept's 1 where l2 stands before it (times 1 / weight where rows are weighted): beyond it the
        second moment of one worker grows from the isotropic start, a necessary bound only. For any loss 2 / l2,
        beyond which the penalty alone makes the iterates grow.

        Parameters
        ----------
        batch_size : int
            b, the rows of a local step.

        Examples
        --------
        >>> import numpy as np
        >>> problem = Problem(np.array([[1.0], [2.0]]), np.array([2.0, 4.0]))
        >>> round(problem.step_bound(), 4), problem.step_bound(batch_size=17)
        (0.5882, 10.0)
        """
        batch_size = whole("batch_size", batch_size)
        bound = 2.0 / self.l2 if self.l2 else math.inf
        norms = self.row_norms() if self.loss.name == "squared" else None
        if norms and norms.mean_fourth:
            ones = 0.0
            if self.fit_intercept:
                ones = 1.0 if self.sample_weight is None else float(self.sample_weight.mean(dtype=np.float64))
            shrunk = self.n_features * self.l2
            grown = norms.mean_fourth / batch_size + 2.0 * self.l2 * (norms.mean_square - ones) + shrunk * self.l2
            bound = min(bound, 2.0 * (norms.mean_square + shrunk) / grown)
        return bound

    def objective(self, w: npt.ArrayLike) -> float | Vector:
        """Return F(w) in float64; for several iterates all in one pass over the data.

        Parameters
        ----------
        w : array, shape (n_params,) or (m, n_params)

        Returns
        -------
        float, or float64 array of shape (m,)

        Raises
        ------
        TypeError, ValueError
            No numbers, another shape; a mapped X that holds NaN or infinity.

        Examples
        --------
        >>> import numpy as np
        >>> problem = Problem(np.array([[1.0], [2.0]]), np.array([2.0, 4.0]))
        >>> problem.objective([0.0]), problem.objective([[0.0], [2.0]])
        (5.0, array([5., 0.]))
        """
        iterates = self._iterates(w)
        values = _added(self._pass("objective", w=iterates))[: len(iterates)] / self.n_samples
        penalised = iterates[:, : self.n_features]
        values = _infinite(values + self._penalty(0.5 * penalised, penalised), iterates)
        return values if np.ndim(w) == 2 else float(values[0])

    def gradient(self, w: npt.ArrayLike) -> Vector:
        """Return the gradient of F at w, float64, in the shape of w: (n_params,) or (m, n_params).

        Examples
        --------
        >>> import numpy as np
        >>> problem = Problem(np.array([[1.0], [2.0]]), np.array([2.0, 4.0]))
        >>> problem.gradient([0.0])
        array([-5.])
        """
        return self.objective_and_gradient(w)[1]

    def objective_and_gradient(self, w: npt.ArrayLike) -> tuple[float | Vector, Vector]:
        """Return F(w) and its gradient, float64; for several iterates all in one pass over the data.

        Parameters
        ----------
        w : array, shape (n_params,) or (m, n_params)

        Returns
        -------
        objective : float, or float64 array of shape (m,)
        gradient : float64 array, of the shape of w

        Raises
        ------
        TypeError, ValueError
            As ``objective``.

        Examples
        --------
        >>> import numpy as np
        >>> problem = Problem(np.array([[1.0], [2.0]]), np.array([2.0, 4.0]))
        >>> problem.objective_and_gradient([0.0])
        (5.0, array([-5.]))
        """
        iterates = self._iterates(w)
        sums = _added(self._pass("gradient", w=iterates)) / self.n_samples
        values, gradients = sums[: len(iterates)], sums[len(iterates) :].reshape(iterates.shape)
        penalised = iterates[:, : self.n_features]
        values = _infinite(values + self._penalty(0.5 * penalised, penalised), iterates)
        if self.l2:
            gradients[:, : self.n_features] += self.l2 * penalised
        return (values, gradients) if np.ndim(w) == 2 else (float(values[0]), gradients[0])

    def excess(self, w: npt.ArrayLike, w_star: npt.ArrayLike | None = None) -> float | Vector:
        """Return F(w) - F(w_star) in float64, right to many digits even where both agree in all of theirs.

        Added up row by row from <x_i, w - w_star>: its rounding is to that difference what F's is to w.
        Where F(w) and F(w_star) differ by 1e-12 of F, subtracting them leaves four digits; this leaves about ten.

        Parameters
        ----------
        w : array, shape (n_params,) or (m, n_params)
            Several iterates cost one pass over the data.
        w_star : array, shape (n_params,), or None
            None is the minimiser, ``optimum()``. How near to the true minimum that one lies limits what an excess
            says: ``excess_resolution``.

        Examples
        --------
        >>> import numpy as np
        >>> problem = Problem(np.array([[1.0], [2.0]]), np.array([2.0, 4.0]))
        >>> round(problem.excess([2.0 + 1e-9]) / 1e-18, 3)
        1.25
        """
        iterates = self._iterates(w)
        reference = self.optimum() if w_star is None else self._iterate("w_star", w_star)
        with np.errstate(over="ignore"):
            steps = iterates - reference
        changes = _added(self._pass("excess", w=np.vstack([reference, steps])))[1:] / self.n_samples
        penalised = steps[:, : self.n_features]
        # (|w|^2 - |w*|^2) / 2 = <w - w*, w* + (w - w*) / 2>
        middle = reference[: self.n_features] + 0.5 * penalised
        changes = _infinite(changes + self._penalty(penalised, middle), steps)
        return changes if np.ndim(w) == 2 else float(changes[0])

    def _penalty(self, one: Vector, other: Vector) -> Vector:
        """Return l2 <one, other> of every row; where that overflows, infinity."""
        if not self.l2:
            return np.zeros(len(one))
        with np.errstate(over="ignore", invalid="ignore"):
            return self.l2 * np.einsum("ij,ij->i", one, other)

    def excess_resolution(self) -> float:
        """Return the excess over ``optimum()`` below which ``excess`` says nothing; computed once.

        100 times the height r of F(optimum()) above the true minimum: half the squared Newton decrement
        g' H^-1 g there, and half H's form of the optimum's own rounding, 2^-52 w*. By Cauchy-Schwarz an excess E
        differs by at most 2 sqrt(r E) + r from that over the true minimum: by a fifth at the resolution, by 1%
        at 400 times it. Costs what a Newton step does.
        """
        if self._resolution is None:
            optimum = self.optimum()
            gradient, rounding = self.gradient(optimum), np.finfo(np.float64).eps * optimum
            decrement = gradient @ self._newton_direction(optimum, gradient, 1e-2)
            self._resolution = 50.0 * float(abs(decrement) + rounding @ self.hessian_product(optimum)(rounding))
        return self._resolution

    def hessian(self, w: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the Hessian of F at w, float64, shape (n_params, n_params).

        Raises
        ------
        ValueError
            More than 5,000 parameters: the matrix would not be cheap any more.

        Examples
        --------
        >>> import numpy as np
        >>> problem = Problem(np.array([[1.0], [2.0]]), np.array([2.0, 4.0]))
        >>> problem.hessian([0.0])
        array([[2.5]])
        """
        if self.n_params > DENSE_HESSIAN:
            raise ValueError(f"the Hessian is dense: n_params may be at most {DENSE_HESSIAN}, got {self.n_params}")
        iterate = self._iterate("w", w)
        hessian = np.zeros((self.n_params, self.n_params))
        with np.errstate(invalid="ignore"):  # what a mapped file may hold: see below
            for rows, block in self.blocks():
                curvature = self.loss.d2loss(block @ iterate) / self.n_samples
                if self.sample_weight is not None:
                    curvature *= self.sample_weight[rows]
                # Half the curvature on either side: the product is symmetric to the last bit.
                scaled = block * np.sqrt(curvature)[:, None]
                hessian += scaled.T @ scaled
        if not np.isfinite(hessian).all() and np.isfinite(iterate).all():
            self._raise_if_bad()
        penalised = np.arange(self.n_features)
        hessian[penalised, penalised] += self.l2
        return hessian

    def blocks(self, n_rows: int = 8192) -> Iterator[tuple[slice, npt.NDArray[np.float64]]]:
        """Yield (which rows, those rows in float64 with the intercept's column of ones if there is one)."""
        n_rows = max(1, min(n_rows, BLOCK_ENTRIES // self.n_params))
        for first in range(0, self.n_samples, n_rows):
            rows = slice(first, min(first + n_rows, self.n_samples))
            block = np.ones((rows.stop - first, self.n_params))
            block[:, : self.n_features] = self.X[rows].toarray() if self.is_sparse else self.X[rows]
            yield rows, block

    def _margins(self, w: Vector) -> Iterator[tuple[slice, Vector]]:
        """Yield (which rows, <x, w> of each in float64)."""
        if not self.is_sparse:
            yield from ((rows, block @ w) for rows, block in self.blocks())
            return
        for first in range(0, self.n_samples, 8192):
            rows = slice(first, min(first + 8192, self.n_samples))
            yield rows, self.X[rows] @ w[: self.n_features] + (w[-1] if self.fit_intercept else 0.0)

    def optimum(self) -> Vector:
        """Return the minimiser of F, float64, by Newton's method with backtracking; computed once.

        Beyond 5,000 parameters (500 of sparse rows) each step is found by conjugate gradients, one pass over the
        data an iteration. It is found to the same digits whatever the scale of weights, rows and targets: what is
        left of F - min F is held against F(0), and the gradient against what it can be at 0.

        Raises
        ------
        ValueError
            No minimum was found: without l2 a logistic objective has none where some rows can be told from all others
            (separable data, or a column that is not zero in rows of one label alone), and with an intercept none
            where all rows of positive weight have one label.
        """
        if self._optimum is None:
            optimum, last_step, settled = self._newton()
            if self._has_no_minimum(optimum):
                raise ValueError(
                    "F has no minimum: w separates the two labels, and growing w lowers F for ever; "
                    "a logistic objective on separable data has none unless l2 > 0 (and there are two labels)"
                )
            if not settled:
                self._refuse_free_rows(optimum, last_step)
            optimum.setflags(write=False)
            self._optimum = optimum
        return self._optimum

    @property
    def known_optimum(self) -> Vector | None:
        """The minimiser if ``optimum`` has been called, else None: distances are recorded only if it is."""
        return self._optimum

    def newton_step(self, w: npt.ArrayLike) -> Vector:
        """Return w minus the Newton step at w, float64.

        Parameters
        ----------
        w : array, shape (n_params,)

        Raises
        ------
        ValueError
            More than 5,000 parameters (``hessian``).

        Examples
        --------
        >>> import numpy as np
        >>> problem = Problem(np.array([[1.0], [2.0]]), np.array([2.0, 4.0]))
        >>> problem.newton_step([0.0])
        array([2.])
        """
        iterate = self._iterate("w", w)
        return iterate - _solve(self.hessian(iterate), self.gradient(iterate))

    def _has_no_minimum(self, w: Vector) -> bool:
        """Whether w separates the labels along a direction that nothing penalises."""
        if not self.loss.is_binary:
            return False
        s = self.sample_weight
        counts = np.ones(self.n_samples, bool) if s is None else s > 0
        labels = self.y[counts]
        if self.l2 > 0 and not (self.fit_intercept and (labels == labels[0]).all()):
            return False
        # Rows of zeros stand at margin 0 and have no say.
        found = [(self.y[rows] * margins)[counts[rows]] for rows, margins in self._margins(w)]
        return all((signed >= 0).all() for signed in found) and any((signed > 0).any() for signed in found)

    def _refuse_free_rows(self, w: Vector, v: Vector) -> None:
        """Raise ValueError if v, where Newton's method went last, makes rows better for ever that nothing holds."""
        if not self.loss.is_binary or self.l2 > 0 or not v.any():
            return
        signs, margins = self.y.astype(np.float64), np.empty(self.n_samples)
        for rows, found in self._margins(w):
            margins[rows] = found
        if self.sample_weight is not None:
            signs[self.sample_weight == 0.0] = 0.0
        objects = self.loss.d2loss(margins) > OBJECTS * self.loss.curvature
        wide = self._is_wide()
        parts = self._stored_blocks if wide and self.is_sparse else self.blocks
        free = free_direction(parts, signs, objects, v / np.abs(v).max(), self.dtype, wide)
        if free is None:
            return
        moves = np.concatenate([signs[rows] * (block @ free) for rows, block in parts()])
        told = moves > 1e-6 * moves.max()
        labels = " and ".join(f"{label:+g}" for label in np.unique(self.y[told]))
        column = int(np.argmax(np.abs(free[: self.n_features])))
        raise ValueError(
            f"F has no minimum: {told.sum()} of {self.n_samples} rows (labelled {labels}) can be told from all "
            f"others, by column {column} of X or with it, and w grows that way for ever; add l2 > 0, or drop columns "
            "that are not zero in rows of one label alone"
        )

    def _stored_blocks(self, n_rows: int = 8192) -> Iterator[tuple[slice, Any]]:
        """Yield (which rows, those rows as CSR, float64) with the intercept's column of ones if there is one."""
        from scipy.sparse import csr_array, hstack

        for first in range(0, self.n_samples, n_rows):
            rows = slice(first, min(first + n_rows, self.n_samples))
            block = csr_array(self.X[rows]).astype(np.float64)
            if self.fit_intercept:
                block = hstack([block, np.ones((rows.stop - first, 1))], format="csr")
            yield rows, block

    def _newton(self) -> tuple[Vector, Vector, bool]:
        """Return where Newton's method ended, its last step, and whether it came to rest there."""
        w = np.zeros(self.n_params)
        value, gradient = self.objective_and_gradient(w)
        unit = self.gradient_unit(float(value))
        start, before = _norm(gradient), math.inf
        enough, stalled = 1e-20 * value, 1e-10 * value
        direction = np.zeros_like(w)
        for _ in range(100):
            near = _norm(gradient) <= 1e-10 * unit
            # As exact as the quadratic rate can use; the last step takes that rate's last digits.
            direction = self._newton_direction(w, gradient, 1e-3 if near else min(0.1, _norm(gradient) / start))
            decrement, step = float(gradient @ direction), 1.0
            # If so little does not fall at the quadratic rate it is rounding, or w is on its way to infinity.
            if near and (decrement <= enough or 0.25 * before < decrement <= stalled):
                polished = w - direction
                is_nearer = _norm(self.gradient(polished)) <= _norm(gradient)
                return polished if is_nearer else w, -direction, bool(decrement <= enough)
            while step > 1e-10:
                new = w - step * direction
                new_value, new_gradient = self.objective_and_gradient(new)
                if new_value <= value - 1e-4 * step * decrement or _norm(new_gradient) < 0.5 * _norm(gradient):
                    break
                step /= 2
            else:
                break
            w, value, gradient, before = new, new_value, new_gradient, decrement
        # Rounding may leave more than that.
        if _norm(gradient) <= 1e-9 * unit:
            return w, -direction, False
        self._refuse_free_rows(w, -direction)
        raise ValueError(
            f"no minimum of F found: the gradient's norm is still {_norm(gradient):.1e} after 100 Newton steps; "
            "scale the columns of X alike, or add l2"
        )

    def gradient_unit(self, at_zero: float) -> float:
        """Return what the norm of the gradient at 0 is at most, F(0) being given: what gradients are held against.

        sqrt(2 c F(0) mean s|x|^2), c the loss's largest curvature, by Cauchy-Schwarz and l'^2 <= 2 c l: labels that
        cancel do not count, and it scales as weights, rows and targets do.

        Raises
        ------
        ValueError
            It overflows float64.
        """
        unit = math.sqrt(2.0 * self.loss.curvature * at_zero) * math.sqrt(self.row_norms().mean_square)
        if not math.isfinite(unit):
            raise ValueError(TOO_LARGE)
        return unit

    def _newton_direction(self, w: Vector, gradient: Vector, tolerance: float) -> Vector:
        """Return the solution of Hessian times direction = gradient, to a relative tolerance where it is large."""
        if not self._is_wide():
            return _solve(self.hessian(w), gradient)
        return conjugate_gradients(self.hessian_product(w), gradient, tolerance=tolerance, most=2000)

    def _is_wide(self) -> bool:
        """Whether a matrix over the parameters costs more than its products with vectors."""
        return self.n_params > (DENSE_HESSIAN_OF_SPARSE if self.is_sparse else DENSE_HESSIAN)

    def hessian_product(self, w: npt.ArrayLike) -> Callable[[Vector], Vector]:
        """Return the function v -> Hessian of F at w times v, one pass over the data a call, whatever the size of v.

        It takes and returns float64 of shape (n_params,), or (m, n_params): several vectors share the pass.

        Examples
        --------
        >>> import numpy as np
        >>> product = Problem(np.array([[1.0, 0.0], [0.0, 2.0]]), np.zeros(2)).hessian_product(np.zeros(2))
        >>> product(np.array([1.0, 1.0]))
        array([0.5, 2. ])
        """
        # The product is the gradient of half squared errors with targets 0 and the curvatures as weights.
        curvature = np.empty(self.n_samples, self.dtype)
        for rows, margins in self._margins(self._iterate("w", w)):
            curvature[rows] = self.loss.d2loss(margins)
        if self.sample_weight is not None:
            curvature *= self.sample_weight
        quadratic = whole_rows(self.X, np.zeros_like(self.y), curvature, intercept=self.fit_intercept)
        penalty = np.full(self.n_params, self.l2)
        penalty[self.n_features :] = 0.0

        def product(v: Vector) -> Vector:
            vectors = self._iterates(v)
            sums = _added(self._pass("gradient", w=vectors, rows=quadratic, loss="squared"))
            products = sums[len(vectors) :].reshape(vectors.shape) / self.n_samples + penalty * vectors
            return products if np.ndim(v) == 2 else products[0]

        return product

    def fingerprint(self) -> str:
        """Return a hash of the data: shape, dtype, all of y and the weights, and 4,096 rows of X spread evenly.

        Of CSR also the length of every row.
        """
        if self._fingerprint:
            return self._fingerprint
        digest = hashlib.sha256(f"{self.X.shape} {self.X.dtype.str}".encode())
        digest.update(self.y.tobytes())
        if self.sample_weight is not None:
            digest.update(self.sample_weight.tobytes())
        for part in self._spread_rows():
            digest.update(np.ascontiguousarray(part).tobytes())
        self._fingerprint = digest.hexdigest()
        return self._fingerprint

    def _spread_rows(self) -> Iterator[np.ndarray]:
        chosen = np.unique(np.linspace(0, self.n_samples - 1, FINGERPRINT_ROWS).astype(np.int64))
        if not self.is_sparse:
            yield self.X[chosen]
            return
        yield self.X.indptr.astype(np.int64)
        for row in chosen.tolist():
            at = slice(self.X.indptr[row], self.X.indptr[row + 1])
            yield self.X.indices[at].astype(np.int64)
            yield self.X.data[at]

    def _pass(
        self, kind: str, w: np.ndarray | None = None, rows: _kernels.Rows | None = None, loss: str | None = None
    ) -> np.ndarray:
        work = _kernels.Pass(rows or self._rows, kind, loss=loss or self.loss.name, w=w)
        blocks = run_pass(work, resolve_threads(None, max(1, self.n_samples // 4096, self.n_entries // 2**20)))
        if w is not None and not np.isfinite(blocks).all() and np.isfinite(w).all():
            self._raise_if_bad()
        return blocks

    def _raise_if_bad(self) -> None:
        """Say which row is to blame for a result that is not finite, if one is: of a mapped file, or a changed X."""
        bad = np.flatnonzero(~np.isfinite(self._pass("scan")[:, 3]))
        if bad.size and self.is_sparse:
            raise ValueError(
                "the rows of X are no longer what they were when the Problem was made: a column is out of bounds or "
                f"a value not finite in row {2048 * bad[0]} or one behind it; make a new Problem, and leave X alone"
            )
        if bad.size:
            self._raise_at_first_bad(int(bad[0]))

    def _iterates(self, w: npt.ArrayLike) -> Vector:
        iterates = np.atleast_2d(reals("w", w))
        if iterates.ndim != 2 or iterates.shape[1] != self.n_params:
            raise ValueError(
                f"w must have shape ({self.n_params},) or (m, {self.n_params}), got {np.shape(w)}"
                + ("; its last entry is the intercept" if self.fit_intercept else "")
            )
        return iterates

    def _iterate(self, name: str, w: npt.ArrayLike) -> Vector:
        if np.ndim(w) > 1:
            raise ValueError(f"{name} must be one iterate, shape ({self.n_params},), got shape {np.shape(w)}")
        return self._iterates(w)[0]

    def _raise_at_first_bad(self, block: int) -> None:
        if self.is_sparse:
            sparse.raise_at_first_bad(self.X, block * 2048, min((block + 1) * 2048, self.n_samples))
        rows = self.X[block * 2048 : (block + 1) * 2048]
        i, j = np.argwhere(~np.isfinite(rows))[0]
        raise ValueError(
            f"X must be finite, got {rows[i, j]} at row {block * 2048 + i}, column {j}; "
            "drop such rows or impute them: keep = np.isfinite(X).all(axis=1)"
        )

    def __repr__(self) -> str:
        extras = (", intercept" if self.fit_intercept else "") + (
            ", weighted" if self.sample_weight is not None else ""
        )
        return f"Problem({self.n_samples} x {self.n_features} {self.dtype}, {self.loss.name}, l2={self.l2:g}{extras})"


def _added(blocks: np.ndarray) -> Vector:
    """Add blocks' results first to last: NumPy's own sum may add in an order that differs by processor."""
    out = np.zeros(blocks.shape[1])
    _kernels.add_blocks(np.ascontiguousarray(blocks), out)
    return out


def _infinite(values: Vector, iterates: Vector) -> Vector:
    """Return the values, infinity where sums beyond float64 cancelled: F is so large only far out."""
    values[np.isnan(values) & ~np.isnan(iterates).any(axis=1)] = np.inf
    return values


def _norm(v: Vector) -> float:
    return float(np.linalg.norm(v))


def _solve(hessian: np.ndarray, gradient: Vector) -> Vector:
    from scipy import linalg  # a tenth of a second to import, and most runs never solve

    try:
        return linalg.cho_solve(linalg.cho_factor(hessian), gradient)
    except linalg.LinAlgError:
        return linalg.lstsq(hessian, gradient)[0]


def _check_targets(y: Any, X: Any, loss: Loss) -> np.ndarray:
    if not loss.is_binary:
        return check_column("y", y, X)
    labels = np.asarray(y)
    want = f"y must hold the labels -1 and +1 for the {loss.name} loss, got "
    if labels.dtype.kind in "OSUT":
        if labels.dtype.kind == "O" and all(isinstance(label, numbers.Real) for label in labels.flat):
            raise ValueError(f"{want}numbers of dtype object; pass y.astype(float)")
        shown = sorted({str(label) for label in labels.ravel()[:1000]})[:3] or ["no label"]
        raise ValueError(f"{want}text such as {shown}; pass np.where(y == {shown[-1]!r}, 1.0, -1.0)")
    if labels.dtype.kind == "b":
        raise ValueError(f"{want}booleans; pass np.where(y, 1.0, -1.0)")
    column = check_column("y", y, X)
    good = np.abs(column) == 1
    if good.all():
        return column
    values = np.unique(column)
    if values.size <= 2 and set(values.tolist()) <= {0.0, 1.0}:
        raise ValueError(f"{want}0 and 1; pass 2 * y - 1")
    if values.size == 2:
        raise ValueError(f"{want}{values[0]:g} and {values[1]:g}; pass np.where(y == {values[1]:g}, 1.0, -1.0)")
    row = int(np.flatnonzero(~good)[0])
    raise ValueError(
        f"{want}{column[row]:g} at row {row} ({values.size} distinct values in all); for more than two "
        "classes fit one class against the rest: np.where(y == a_class, 1.0, -1.0)"
    )


def _check_weights(sample_weight: Any, X: Any) -> np.ndarray:
    weights = check_column("sample_weight", sample_weight, X)
    if (weights < 0).any():
        row = int(np.flatnonzero(weights < 0)[0])
        raise ValueError(f"sample_weight must be >= 0, got {weights[row]:g} at row {row}")
    if not weights.any():
        raise ValueError("sample_weight must not be zero everywhere")
    return weights
