"""CSR rows: refused when broken, read as they lie, equal to the exact twin and to dense rows."""

import itertools
import math

import exact
import numpy as np
import pytest
from conftest import make_data
from scipy import sparse

import fastlsgd as fl
from fastlsgd import _kernels

LOSSES = ["squared", "logistic"]
DTYPES = [np.float32, np.float64]
INDICES = [np.int32, np.int64]
PERIODS = [3, 1, 1, 7, 2]
STEPS = 26


def bits(array):
    return np.ascontiguousarray(array).tobytes()


def etas(n=STEPS, c=0.05):
    return fl.PolynomialDecay(c, 0.5)(np.arange(1, n + 1))


def periods(n=STEPS):
    return (PERIODS + [PERIODS[-1]] * n)[:n]


def make_csr(loss="logistic", dtype=np.float32, index=np.int32, n=80, d=37, seed=0):
    """Rows of 0 to 20 entries in no order, some columns twice; row 5 and column 11 are empty."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        columns = rng.integers(0, d, 0 if i == 5 else rng.integers(0, 21))
        columns = columns[columns != 11]
        rows.append((columns, rng.standard_normal(len(columns)).astype(dtype)))
    lengths = [len(columns) for columns, _ in rows]
    X = sparse.csr_array(
        (
            np.concatenate([values for _, values in rows]),
            np.concatenate([columns for columns, _ in rows]).astype(index),
            np.concatenate([[0], np.cumsum(lengths)]).astype(index),
        ),
        shape=(n, d),
    )
    z = X @ rng.standard_normal(d) + 0.5 * rng.standard_normal(n)
    y = z if loss == "squared" else np.where(z > 0, 1.0, -1.0)
    return X, rows, y.astype(dtype)


def solve(problem, **options):
    settings = {
        "n_workers": 3, "n_steps": STEPS, "schedule": fl.Periods(PERIODS), "step_size": fl.PolynomialDecay(0.05, 0.5),
        "record": 0,
    }  # fmt: skip
    return fl.local_sgd(problem, **{**settings, **options})


CASES = list(itertools.product(LOSSES, DTYPES))
FORMS = [
    {}, {"sampling": "replacement"}, {"partition": "contiguous"}, {"batch_size": 5},
    {"partition": "contiguous", "sampling": "replacement", "batch_size": 3},
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS, ids=lambda form: "-".join(map(str, form.values())) or "plain")
@pytest.mark.parametrize("n_workers", [1, 2, 3, 8])
@pytest.mark.parametrize(("loss", "dtype"), CASES)
def test_every_run_is_the_exact_twin_bit_for_bit(loss, dtype, n_workers, form):
    X, rows, y = make_csr(loss, dtype)
    s = np.random.default_rng(1).uniform(0, 2, len(y)).astype(dtype)
    model = {"loss": loss, "l2": 0.01, "sample_weight": s}
    twin = exact.SparseTwin(rows, 37, y, **model, intercept=True, n_workers=n_workers, seed=7, **form)
    twin.run(etas(), periods())
    problem = fl.Problem(X, y, **model, fit_intercept=True)
    for n_threads, layout in itertools.product([1, 2, 4], ["view", "packed"]):
        result = solve(
            problem, n_workers=n_workers, seed=7, n_threads=n_threads, layout=layout, **form, record=[STEPS]
        )
        assert bits(result.state.W) == bits(twin.W), (n_threads, layout)
        assert bits(result.w_bar) == bits(twin.w_bar), (n_threads, layout)
        assert result.trace.n_sparse_floats.tolist() == [twin.n_sparse_floats]


# Kernels copy 8 columns at a time, 512 to a row before they copy it in parts.
LENGTHS = [1, 7, 8, 9, 16, 511, 512, 513, 519, 520, 521, 1024, 1027]


def make_long_rows(dtype, index, d=300):
    rng = np.random.default_rng(3)
    rows = [(rng.integers(0, d, n), rng.standard_normal(n).astype(dtype) / 16) for n in LENGTHS]
    parts = (np.concatenate([values for _, values in rows]), np.concatenate([columns for columns, _ in rows]))
    indptr = np.concatenate([[0], np.cumsum(LENGTHS)]).astype(index)
    X = sparse.csr_array((parts[0], parts[1].astype(index), indptr), shape=(len(rows), d))
    return X, rows, np.where(rng.standard_normal(len(rows)) > 0, 1, -1).astype(dtype)


@pytest.mark.parametrize("isa", _kernels.isas())
@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize(("dtype", "index"), list(itertools.product(DTYPES, INDICES)))
def test_rows_of_any_length_are_the_exact_twin_bit_for_bit(dtype, index, batch_size, isa):
    X, rows, y = make_long_rows(dtype, index)
    twin = exact.SparseTwin(rows, 300, y, loss="logistic", l2=0.01, n_workers=2, batch_size=batch_size)
    twin.run(etas(13), periods(13))
    problem = fl.Problem(X, y, loss="logistic", l2=0.01)
    used = _kernels.isa()
    _kernels.use_isa(isa)
    try:
        result = solve(problem, n_workers=2, n_steps=13, batch_size=batch_size, record=[13])
    finally:
        _kernels.use_isa(used)
    assert bits(result.state.W) == bits(twin.W)
    assert bits(result.w_bar) == bits(twin.w_bar)
    assert result.trace.n_sparse_floats.tolist() == [twin.n_sparse_floats]


# Rows in order are updated four entries at a time, from what their margins have read; not where a step folds.
@pytest.mark.parametrize("isa", _kernels.isas())
@pytest.mark.parametrize("l2", [0.01, 19.0])
@pytest.mark.parametrize("n_workers", [2, 3])
@pytest.mark.parametrize(("dtype", "index"), list(itertools.product(DTYPES, INDICES)))
def test_rows_in_order_are_the_exact_twin_bit_for_bit(dtype, index, n_workers, l2, isa):
    rng = np.random.default_rng(4)
    lengths = [0, 1, 3, 4, 7, 8, 9, 12, 15, 16, 17, 72, 73, 511, 512, 513]
    columns = [np.sort(rng.choice(600, n, replace=False)) for n in lengths]
    columns += [np.array([5, 9, 9, 30, 41, 77, 80, 91, 95]), np.array([1, 2, 3, 4, 6, 8, 9, 11, 11])]  # once, almost
    lengths = [len(its) for its in columns]
    rows = [(its, rng.standard_normal(len(its)).astype(dtype) / 4) for its in columns]
    parts = (np.concatenate([values for _, values in rows]), np.concatenate(columns).astype(index))
    X = sparse.csr_array((*parts, np.concatenate([[0], np.cumsum(lengths)]).astype(index)), shape=(len(rows), 600))
    y = np.where(rng.standard_normal(len(rows)) > 0, 1, -1).astype(dtype)
    n_steps = 18
    twin = exact.SparseTwin(rows, 600, y, loss="logistic", l2=l2, n_workers=n_workers)
    twin.run(etas(n_steps), periods(n_steps))
    problem = fl.Problem(X, y, loss="logistic", l2=l2)
    used = _kernels.isa()
    _kernels.use_isa(isa)
    try:
        result = solve(problem, n_workers=n_workers, n_steps=n_steps, record=[n_steps])
    finally:
        _kernels.use_isa(used)
    assert (twin.n_folds > 0) == (l2 == 19.0)
    assert bits(result.state.W) == bits(twin.W)
    assert bits(result.w_bar) == bits(twin.w_bar)
    assert result.trace.n_sparse_floats.tolist() == [twin.n_sparse_floats]


# An averaging takes blocks of 512 features: one by one while no more than 56 have changed, eight of 64 at a time.
@pytest.mark.parametrize("isa", _kernels.isas())
@pytest.mark.parametrize("n_workers", [2, 3, 4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_blocks_with_few_and_with_many_changes_are_the_exact_twin_bit_for_bit(dtype, n_workers, isa):
    rng = np.random.default_rng(5)
    columns = [64 * 9 + rng.choice(64, n, replace=False) for n in (1, 7, 8, 9, 16, 17)]
    columns += [512 * (n % 3) + rng.choice(512 if n % 3 < 2 else 76, n, replace=False) for n in (28, 55, 56, 57, 58)]
    columns += [rng.choice(1100, n, replace=False) for n in (5, 60, 300)]
    lengths = [len(its) for its in columns]
    rows = [(its, rng.standard_normal(len(its)).astype(dtype) / 4) for its in columns]
    parts = (np.concatenate([values for _, values in rows]), np.concatenate(columns).astype(np.int32))
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    y = np.where(rng.standard_normal(len(rows)) > 0, 1, -1).astype(dtype)
    n_steps = 60
    twin = exact.SparseTwin(rows, 1100, y, loss="logistic", l2=0.01, n_workers=n_workers)
    twin.run(etas(n_steps), [1] * n_steps)
    problem = fl.Problem(sparse.csr_array((*parts, indptr), shape=(len(rows), 1100)), y, loss="logistic", l2=0.01)
    used = _kernels.isa()
    _kernels.use_isa(isa)
    try:
        result = solve(problem, n_workers=n_workers, n_steps=n_steps, schedule=fl.MiniBatch(), record=[n_steps])
    finally:
        _kernels.use_isa(used)
    assert bits(result.state.W) == bits(twin.W)
    assert bits(result.w_bar) == bits(twin.w_bar)
    assert result.trace.n_sparse_floats.tolist() == [twin.n_sparse_floats]


@pytest.mark.parametrize("isa", _kernels.isas())
@pytest.mark.parametrize("weights", [None, [0.25, 0.75]], ids=["halves", "others"])
def test_zeros_of_either_sign_and_overflow_are_averaged_alike(weights, isa):
    """Where workers agree the first one's value stays, be it -0; a mean of the largest numbers is finite."""
    X = sparse.csr_array((np.ones(8, np.float32), np.full(8, 30), np.arange(9)), shape=(8, 40))
    problem = fl.Problem(X, np.ones(8, np.float32), loss="logistic")
    used = _kernels.isa()
    _kernels.use_isa(isa)
    try:
        run = fl.Run(problem, n_workers=2, n_steps=1, weights=weights, step_size=fl.Constant(0.1), record=0)
        W = run.W
        largest = np.finfo(np.float32).max
        W[:, :6] = [[-0.0, 0.0, -0.0, largest, largest, 1e-45], [0.0, -0.0, -0.0, largest, -largest, 0.0]]
        before = W.copy()
        run.advance()
        w = np.full(2, 0.5) if weights is None else np.asarray(weights)
        mean = (w[0] * before[0].astype(np.float64) + w[1] * before[1].astype(np.float64)).astype(np.float32)
        expected = np.where(before[0] == before[1], before[0], mean)
        assert bits(run.W[:, :30]) == bits(np.stack([expected, expected])[:, :30])
    finally:
        _kernels.use_isa(used)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("l2", "c"), [(0.0, 0.05), (0.3, 0.5), (20.0, 0.05), (20.0, 0.1), (1.0, 1.0), (50.0, 0.03)])
def test_large_steps_fold_the_scale_and_stay_exact(l2, c, dtype):
    """eta l2 from 0 by way of 1, where s is zero, to 2, where it changes sign; with folds inside of rounds."""
    X, rows, y = make_csr("logistic", dtype)
    n_steps, options = 300, {"weights": [0.5, 0.3, 0.2], "n_steps": 300, "w0": np.full(38, 0.1)}
    twin = exact.SparseTwin(
        rows, 37, y, loss="logistic", l2=l2, intercept=True, n_workers=3, weights=[0.5, 0.3, 0.2], w0=np.full(38, 0.1)
    )
    iterates = []
    ends = set(np.cumsum([7] * 50).tolist()) | {n_steps}
    for eta in np.full(n_steps, c):
        twin.step(float(eta))
        iterates.append(twin.weights @ twin.W.astype(np.float64))
        if twin.t in ends:
            twin.average()
    problem = fl.Problem(X, y, loss="logistic", l2=l2, fit_intercept=True)
    with np.errstate(over="ignore"):
        result = solve(problem, schedule=fl.FixedPeriod(7), step_size=fl.Constant(c), **options, n_threads=2)
    assert bits(result.state.W) == bits(twin.W)
    assert bits(result.w_bar) == bits(twin.w_bar)
    assert (twin.n_folds > 0) == (l2 * c not in (0, 2))
    expected = np.mean(iterates, axis=0)
    tolerance = 1e-13 if dtype == np.float64 else 4 * np.finfo(dtype).eps
    assert np.abs(result.w_bar - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize("average", ["polyak", "tail:0.3", "poly:2"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_w_bar_is_the_mean_of_all_local_iterates_after_many_rounds(average, dtype):
    """To float64 accuracy, by the sums: 2,000 averagings of float32 iterates leave no trace of their rounding."""
    X, rows, y = make_csr("logistic", dtype, n=40, d=12)
    n_steps, twin = 2000, exact.SparseTwin(rows, 12, y, loss="logistic", l2=0.01, n_workers=3)
    total, weight = np.zeros(12), 0.0
    begin = n_steps - math.ceil(0.3 * n_steps) if average == "tail:0.3" else 0
    for t in range(1, n_steps + 1):
        a = (t / n_steps) ** 2 if average == "poly:2" else float(t > begin)
        twin.step(0.1, alpha=a)
        # s v in float64: rounding w itself to float32 is no part of a run.
        total += a * (twin.weights @ (twin.s * twin.v.astype(np.float64)))
        weight += a
        twin.average()
    result = solve(
        fl.Problem(X, y, loss="logistic", l2=0.01), n_steps=n_steps, schedule=fl.MiniBatch(), average=average,
        step_size=fl.Constant(0.1),
    )  # fmt: skip
    assert bits(result.state.W) == bits(twin.W)
    mean = result.state.sums().mean(axis=0) / weight
    assert np.abs(mean - total / weight).max() <= 1e-12 * np.abs(total / weight).max()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("average", ["polyak", "tail:0.3", "poly:2", None])
@pytest.mark.parametrize(
    "form",
    [{}, {"layout": "packed"}, {"sampling": "blocks"}, {"sampling": "replacement", "batch_size": 3}],
    ids=str,
)
@pytest.mark.parametrize("l2", [0.0, 1.0])
def test_cutting_a_run_anywhere_changes_no_bit(l2, form, average, dtype, tmp_path):
    """In the middle of rounds, where masks have to be made again; with folds before, in and behind the cut."""
    X, _, y = make_csr("logistic", dtype)
    problem = fl.Problem(X, y, loss="logistic", l2=l2, fit_intercept=True)
    options = {"average": average, "n_steps": 70, "n_workers": 4, "step_size": fl.Constant(0.45), **form}
    whole = solve(problem, **options, record=[70], n_threads=2)
    for cut in range(1, 70, 5):
        first = solve(problem, **options, record=[cut], callback=lambda record: True)
        assert first.state.t == cut
        first.state.save(tmp_path / "state")
        for state in (first.state, fl.State.load(tmp_path / "state")):
            rest = solve(problem, **options, state=state, record=[70])
            assert bits(rest.state.W) == bits(whole.state.W)
            assert bits(rest.state.sums()) == bits(whole.state.sums())
            assert average is None or bits(rest.w_bar) == bits(whole.w_bar)
            assert rest.trace.n_sparse_floats[-1] == whole.trace.n_sparse_floats[-1]


def test_cutting_a_run_into_slices_of_any_length_changes_no_bit(monkeypatch):
    X, _, y = make_csr(n=300, d=1500)
    problem = fl.Problem(X, y, loss="logistic", l2=0.3)
    options = {"n_workers": 5, "n_steps": 500, "schedule": fl.GrowingPeriod(1), "record": [500]}
    whole = solve(problem, **options)
    for most in (1, 7, 64):
        monkeypatch.setattr("fastlsgd.solver.MAX_SLICE_STEPS", most)
        result = solve(problem, **options, n_threads=2)
        assert bits(result.state.W) == bits(whole.state.W)
        assert bits(result.w_bar) == bits(whole.w_bar)
        assert result.trace.n_sparse_floats[-1] == whole.trace.n_sparse_floats[-1]


@pytest.mark.parametrize("d", [1, 15, 16, 511, 512, 513, 5000, 47_000])
@pytest.mark.parametrize("n_workers", [2, 17])
def test_threads_and_the_width_of_rows_change_no_bit(n_workers, d):
    X, _, y = make_csr(n=200, d=max(d, 12))
    X = sparse.csr_array((X.data, X.indices % d, X.indptr), shape=(200, d))
    problem = fl.Problem(X, y, loss="logistic", l2=0.01, fit_intercept=True)
    runs = [
        solve(problem, n_workers=n_workers, n_steps=60, schedule=schedule, n_threads=n_threads)
        for schedule in (fl.MiniBatch(), fl.FixedPeriod(7))
        for n_threads in (1, 2, 4, 4)
    ]
    for run, first in zip(runs, [runs[0]] * 4 + [runs[4]] * 4, strict=True):
        assert bits(run.state.W) == bits(first.state.W)
        assert bits(run.w_bar) == bits(first.w_bar)


@pytest.mark.parametrize("seed", range(25))
def test_any_csr_equals_the_dense_rows(seed):
    """Random shapes, densities, orders, index types and options."""
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(4, 60)), int(rng.integers(1, 90))
    loss, dtype, index = (str(rng.choice(LOSSES)), DTYPES[seed % 2], INDICES[seed // 2 % 2])
    X, _, y = make_csr(loss, dtype, index, n=n, d=max(d, 12), seed=seed)
    X = sparse.csr_matrix(sparse.csr_array((X.data, X.indices % d, X.indptr), shape=(n, d)))
    X.indices, X.indptr = X.indices.astype(index), X.indptr.astype(index)
    dense = np.zeros((n, d), np.float64)
    np.add.at(dense, (np.repeat(np.arange(n), np.diff(X.indptr)), X.indices), X.data.astype(np.float64))
    model = {
        "loss": loss, "l2": float(rng.choice([0, 0.1])), "fit_intercept": bool(rng.integers(2)),
        "sample_weight": rng.uniform(0.1, 2, n).astype(dtype) if rng.integers(2) else None,
    }  # fmt: skip
    of_csr, of_dense = fl.Problem(X, y, **model), fl.Problem(dense, y.astype(np.float64), **model)
    w = rng.standard_normal((int(rng.integers(1, 20)), of_csr.n_params))
    np.testing.assert_allclose(
        of_csr.objective(w), of_dense.objective(w), rtol=1e-5 if dtype == np.float32 else 1e-12
    )
    gradients = of_csr.gradient(w[0]), of_dense.gradient(w[0])
    assert np.abs(gradients[0] - gradients[1]).max() <= 1e-5 * max(1, np.abs(gradients[1]).max())
    np.testing.assert_allclose(of_csr.row_norms().largest, of_dense.row_norms().largest, rtol=1e-6)
    options = {
        "n_workers": int(rng.integers(1, 5)), "batch_size": int(rng.integers(1, 4)), "n_steps": 30,
        "sampling": str(rng.choice(["reshuffle", "replacement"])), "layout": str(rng.choice(["view", "packed"])),
        "step_size": fl.Constant(of_csr.safe_step()), "n_threads": int(rng.integers(1, 3)),
    }  # fmt: skip
    a, b = solve(of_csr, **options), solve(of_dense, **options)
    tolerance = 2e-5 if dtype == np.float32 else 1e-12
    assert a.w.dtype == a.w_bar.dtype == dtype
    assert np.abs(a.w - b.w).max() <= tolerance * np.abs(b.w).max()
    assert np.abs(a.w_bar - b.w_bar).max() <= tolerance * np.abs(b.w_bar).max()


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csr_array])
@pytest.mark.parametrize("index", INDICES)
def test_rows_are_read_where_they_lie_and_never_modified(kind, index):
    X, _, y = make_csr(index=index)
    X = kind((X.data, X.indices, X.indptr), shape=X.shape)
    X.indices, X.indptr = X.indices.astype(index), X.indptr.astype(index)
    parts = [X.data, X.indices, X.indptr]
    before = [part.copy() for part in parts]
    for part in parts:
        part.setflags(write=False)
    problem = fl.Problem(X, y, loss="logistic", l2=0.1)
    assert problem.X is X
    for layout, sampling in itertools.product(["view", "packed"], ["reshuffle", "replacement"]):
        solve(problem, layout=layout, sampling=sampling, n_steps=200)
    problem.optimum()
    problem.fingerprint()
    assert [X.data is parts[0], X.indices is parts[1], X.indptr is parts[2]] == [True] * 3
    assert [bits(part) for part in parts] == [bits(part) for part in before]


def broken(field, position, value, index=np.int32):
    X, _, y = make_csr(index=index)
    X.indices, X.indptr = X.indices.astype(index), X.indptr.astype(index)
    getattr(X, field)[position] = value
    return X, y


@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize(
    ("field", "position", "value", "message"),
    [
        ("indices", 100, 37, r"X.indices must be from 0 to 36, got 37 at row \d+ \(X.indices\[100\]\)"),
        ("indices", 100, 2**31 - 1, "got 2147483647 at row"),
        ("indices", 100, -1, "got -1 at row"),
        ("indices", 0, -(2**31), "got -2147483648 at row"),
        ("indptr", 0, 1, "must begin with 0, got 1"),
        ("indptr", 0, -1, "must begin with 0, got -1"),
        ("indptr", 3, 10_000, "must not decrease, got 10000 and then"),
        ("indptr", 3, -5, "must not decrease, got .* and then -5 at row 2"),
        ("indptr", -1, 2**31 - 1, "must end at most at the number of stored entries, got 2147483647"),
        ("data", 7, np.nan, r"must be finite, got nan at row \d+, column \d+; drop"),
        ("data", -1, np.inf, "must be finite, got inf"),
    ],
)
def test_a_broken_matrix_is_refused_with_where_and_what_to_do(field, position, value, message, index):
    X, y = broken(field, position, value, index)
    with pytest.raises(ValueError, match=message):
        fl.Problem(X, y, loss="logistic")


def test_ends_of_the_arrays_that_scipy_lets_through():
    X, _, y = make_csr()
    for name, part in (("indices", X.indices[:-1]), ("data", X.data[:-1])):
        short = X.copy()
        setattr(short, name, part)
        with pytest.raises(ValueError, match="must end at most at the number of stored entries"):
            fl.Problem(short, y, loss="logistic")
    short = X.copy()
    short.indptr = X.indptr[:-1]
    with pytest.raises(ValueError, match="one entry a row and one more, 81, got 80"):
        fl.Problem(short, y, loss="logistic")
    longer = X.copy()  # entries that no row holds are nobody's
    longer.data, longer.indices = np.append(X.data, np.nan), np.append(X.indices, -7).astype(np.int32)
    longer.data = longer.data.astype(np.float32)
    assert bits(solve(fl.Problem(longer, y, loss="logistic")).w) == bits(solve(fl.Problem(X, y, loss="logistic")).w)


def test_other_formats_and_types_are_refused_with_what_to_do():
    X, _, y = make_csr()
    for other in (X.tocsc(), X.tocoo(), X.tolil()):
        with pytest.raises(TypeError, match=r"must be CSR if it is sparse, got .*pass X.tocsr\(\)"):
            fl.Problem(other, y, loss="logistic")
    with pytest.raises(TypeError, match="must be float32 or float64, got int64"):
        fl.Problem(X.astype(np.int64), y, loss="logistic")
    mixed = X.copy()
    mixed.indptr = X.indptr.astype(np.int64)
    with pytest.raises(TypeError, match="must have one dtype, got int32 and int64"):
        fl.Problem(mixed, y, loss="logistic")
    for dtype in (np.uint32, np.int16, ">i4"):
        odd = X.copy()
        odd.indices = X.indices.astype(dtype)
        with pytest.raises(TypeError, match=r"X.indices must be int32 or int64"):
            fl.Problem(odd, y, loss="logistic")
    strided = X.copy()
    strided.data = np.repeat(X.data, 2)[::2]
    with pytest.raises(ValueError, match=r"X.data must be a contiguous array"):
        fl.Problem(strided, y, loss="logistic")
    with pytest.raises(ValueError, match="at least one row and one column"):
        fl.Problem(sparse.csr_array((0, 3), dtype=np.float32), np.zeros(0, np.float32))


@pytest.mark.parametrize("layout", ["view", "packed"])
@pytest.mark.parametrize(("field", "value"), [("indices", 10**9), ("indices", -(10**9)), ("indptr", 10**9)])
def test_a_matrix_that_is_changed_behind_our_back_is_noticed_and_never_followed(field, value, layout):
    X, _, y = make_csr()
    problem = fl.Problem(X, y, loss="logistic")
    run = fl.Run(problem, n_workers=3, n_steps=300, layout="view", step_size=fl.Constant(0.1), record=0)
    getattr(X, field)[30] = value
    with pytest.raises(ValueError, match="no longer what they were"):
        run.advance()
    if field == "indptr":
        with pytest.raises(ValueError, match=r"X.indptr"):
            solve(problem, layout=layout)
    else:
        with pytest.raises(ValueError, match="no longer what they were"):
            solve(problem, layout=layout)
    for evaluate in (problem.objective, problem.gradient, lambda w: problem.excess(w, w)):
        with pytest.raises(ValueError, match="no longer what they were"):
            evaluate(np.zeros(37))
    with pytest.raises(ValueError, match="no longer what they were"):
        problem.optimum()


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("index", INDICES)
def test_a_column_out_of_bounds_is_noticed_wherever_in_a_row_it_stands(index, batch_size):
    X, _, y = make_long_rows(np.float32, index)
    problem = fl.Problem(X, y, loss="logistic")
    ends = np.concatenate([[0], np.cumsum(LENGTHS)])
    within = {0, 1, 6, 7, 8, 9, 503, 504, 511, 512, 513, 519, 520, 1023, 1024, 1026}
    for start, n in zip(ends, LENGTHS, strict=False):
        for at in start + np.array(sorted(i for i in within | {n - 2, n - 1} if 0 <= i < n)):
            run = fl.Run(problem, n_workers=1, n_steps=13, batch_size=batch_size, layout="view", record=0)
            kept, X.indices[at] = X.indices[at], 300
            with pytest.raises(ValueError, match="no longer what they were"):
                run.advance()
            X.indices[at] = kept
    fl.Run(problem, n_workers=1, n_steps=13, batch_size=batch_size, layout="view", record=0).advance()


def test_what_a_user_writes_to_W_is_averaged_and_reading_changes_no_bit():
    X, _, y = make_csr(dtype=np.float64)
    problem = fl.Problem(X, y, loss="logistic")
    options = {
        "n_workers": 3,
        "n_steps": 40,
        "schedule": fl.FixedPeriod(8),
        "step_size": fl.Constant(0.1),
        "record": 0,
    }
    plain, read = fl.Run(problem, **options).advance(), fl.Run(problem, **options)
    W = read.W
    read.advance()
    assert read.W.base is W.base
    assert bits(read.W) == bits(plain.W)
    written = fl.Run(problem, **options)
    W = written.W
    written.advance(n_rounds=2)
    W[1, 11] = 3.0  # a column that no row holds: nothing but the averaging moves it
    written.advance(n_rounds=1)
    assert (written.W[:, 11] == 1.0).all()
    scaled = fl.Run(fl.Problem(X, y, loss="logistic", l2=0.1), **options)
    scaled.advance(n_rounds=2)
    new = scaled.W.copy()
    assert not scaled.W.flags.writeable
    before = scaled.w_bar
    new[1, 11] = 3.0
    scaled.set_W(new)
    assert bits(scaled.W) == bits(new)
    np.testing.assert_allclose(scaled.w_bar, before, rtol=1e-13)
    scaled.advance(n_rounds=1)
    np.testing.assert_allclose(scaled.W[:, 11], 0.99**8, rtol=1e-14)
    with pytest.raises(ValueError, match="one row a worker"):
        scaled.set_W(new[:2])
    with pytest.raises(ValueError, match="must be finite"):
        scaled.set_W(np.full_like(new, np.nan))


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("schedule", [fl.MiniBatch(), fl.FixedPeriod(5), fl.OneShot()], ids=repr)
def test_a_diverging_run_names_step_and_worker(schedule, n_threads):
    X, _, y = make_csr("squared", np.float64)
    problem = fl.Problem(X, y, l2=0.1)
    options = {"step_size": fl.Constant(30.0), "n_steps": 2000, "n_workers": 3, "record": 0, "schedule": schedule}
    with pytest.warns(RuntimeWarning), pytest.raises(fl.Diverged) as caught:
        fl.Run(problem, **options, n_threads=n_threads).advance()
    assert np.isfinite(caught.value.state.W).all()
    if isinstance(schedule, fl.OneShot):
        assert caught.value.t > 1
    with pytest.warns(RuntimeWarning), pytest.raises(fl.Diverged) as again:
        fl.Run(problem, **options, n_threads=3 - n_threads).advance()
    assert (again.value.t, again.value.worker) == (caught.value.t, caught.value.worker)


def test_the_ledger_counts_what_a_sparse_exchange_would_send():
    X = sparse.csr_array(np.eye(6, dtype=np.float32))
    y = np.ones(6, np.float32)
    problem = fl.Problem(X, y)
    result = fl.local_sgd(
        problem, n_workers=2, n_steps=3, schedule=fl.Periods([1, 2]), step_size=fl.Constant(0.1), record=[1, 2, 3]
    )
    # One coordinate a step and worker, all distinct: P up, and their union down to each of P.
    assert result.trace.n_sparse_floats.tolist() == [2 + 2 * 2, 6, 6 + 4 + 2 * 4]
    alone = fl.local_sgd(problem, n_workers=1, n_steps=3, record=3, step_size=fl.Constant(0.1))
    assert alone.trace.n_sparse_floats.tolist() == [0, 0, 0]
    dense = fl.local_sgd(fl.Problem(X.toarray(), y), n_workers=2, n_steps=3, record=2, step_size=fl.Constant(0.1))
    assert np.isnan(dense.trace.n_sparse_floats).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_the_optimum_is_found_where_the_hessian_is_too_large_to_hold(loss):
    X, _, y = make_csr(loss, np.float64, n=300, d=900)
    s = np.random.default_rng(0).uniform(0.5, 2, 300)
    model = {"loss": loss, "l2": 1e-3, "sample_weight": s, "fit_intercept": True}
    of_csr, of_dense = fl.Problem(X, y, **model), fl.Problem(X.toarray(), y, **model)
    assert np.linalg.norm(of_csr.gradient(of_csr.optimum())) <= 1e-10
    np.testing.assert_allclose(of_csr.optimum(), of_dense.optimum(), atol=1e-8)
    if loss == "logistic":
        with pytest.raises(ValueError, match="no minimum"):
            fl.Problem(X, y, loss="logistic").optimum()


@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_passes_over_csr_agree_with_those_over_the_dense_rows(loss, dtype, index):
    """Objectives, gradients and excesses of few and of many iterates; an iterate alone has the same bits."""
    X, _, y = make_csr(loss, dtype, index)
    s = np.linspace(0.5, 2.0, len(y)).astype(dtype)
    problem = fl.Problem(X, y, loss=loss, l2=0.1, sample_weight=s, fit_intercept=True)
    dense = fl.Problem(X.toarray(), y, loss=loss, l2=0.1, sample_weight=s, fit_intercept=True)
    # SciPy adds up repeated columns in X's own dtype.
    rtol = 1e-11 if dtype == np.float64 else 1e-5
    W = np.random.default_rng(0).standard_normal((21, problem.n_params))
    np.testing.assert_allclose(problem.optimum(), dense.optimum(), rtol=rtol, atol=rtol)
    for several in (W, W[:3]):
        values, gradients = problem.objective_and_gradient(several)
        np.testing.assert_allclose(values, dense.objective(several), rtol=rtol)
        np.testing.assert_allclose(gradients, dense.gradient(several), rtol=rtol, atol=rtol)
        np.testing.assert_allclose(
            problem.excess(several, dense.optimum()), dense.excess(several, dense.optimum()), rtol=10 * rtol
        )
        for i, w in enumerate(several):
            assert bits(problem.objective(w)) == bits(problem.objective(several)[i])
            assert bits(problem.gradient(w)) == bits(gradients[i])
    near = problem.optimum() + 1e-7 * W[0]
    hessian = dense.hessian(problem.optimum())
    form = 0.5 * 1e-14 * float(W[0] @ hessian @ W[0])
    assert problem.excess(near) == pytest.approx(form, rel=max(1e-5, 10 * rtol))
    assert 0 < problem.excess_resolution() < 1e-15


def test_checkpoints_of_other_data_or_storage_are_refused():
    X, _, y = make_csr()
    problem = fl.Problem(X, y, loss="logistic")
    state = solve(problem, record=[5], callback=lambda record: True).state
    for field in ("data", "indices"):
        other = X.copy()
        getattr(other, field)[50] += 1
        with pytest.raises(fl.CheckpointError, match="belongs to other data"):
            solve(fl.Problem(other, y, loss="logistic"), state=state)
    with pytest.raises(fl.CheckpointError, match="storage is 'dense', was 'csr'"):
        solve(fl.Problem(X.toarray(), y, loss="logistic"), state=state)
    again = solve(fl.Problem(X.copy(), y.copy(), loss="logistic"), state=state)
    assert bits(again.w) == bits(solve(problem).w)


@pytest.mark.parametrize("isa", _kernels.isas())
def test_the_processor_changes_no_bit(isa):
    used = _kernels.isa()
    X, _, y = make_csr(n=300, d=2000)
    problem = fl.Problem(X, y, loss="logistic", l2=0.1, fit_intercept=True)
    w = np.random.default_rng(0).standard_normal((9, 2001))
    try:
        found = []
        for name in (isa, "baseline"):
            _kernels.use_isa(name)
            result = solve(problem, n_steps=200, batch_size=2)
            parts = (result.w, result.w_bar, problem.objective(w), problem.gradient(w[0]), problem.objective(w[0]))
            found.append([bits(part) for part in parts])
    finally:
        _kernels.use_isa(used)
    assert found[0] == found[1]


def test_a_dense_problem_has_the_dense_answers_still():
    X, y = make_data("logistic")
    problem = fl.Problem(X, y, loss="logistic", l2=0.1)
    run = fl.Run(problem, n_workers=2, n_steps=20, step_size=fl.Constant(0.1), record=0).advance(n_rounds=1)
    new = run.W + 1
    run.set_W(new)
    assert bits(run.W) == bits(new)
    assert run.W.flags.writeable


def test_what_was_written_to_W_is_averaged_after_a_restart_too():
    """Features that no row touches since are averaged as well."""
    X, _, y = make_csr(n=40, d=200)
    problem = fl.Problem(X, y, loss="logistic", l2=0.1)
    options = {"n_workers": 3, "n_steps": 24, "schedule": fl.FixedPeriod(4), "step_size": fl.Constant(0.05)}
    run = fl.Run(problem, **options)
    run.advance(n_rounds=2)
    run.set_W(np.random.default_rng(0).standard_normal(run.W.shape))
    other = fl.Run(problem, state=run.state.copy(), **options)
    run.advance()
    other.advance()
    assert bits(run.W) == bits(other.W)
    assert (run.W == run.W[0]).all()


@pytest.mark.parametrize("intercept", [False, True])
def test_writing_to_W_moves_the_workers_and_not_what_the_average_holds(intercept):
    X, _, y = make_csr(dtype=np.float64, n=60, d=9)
    options = {"n_workers": 2, "n_steps": 12, "schedule": fl.FixedPeriod(3), "step_size": fl.Constant(0.05)}
    runs = [
        fl.Run(fl.Problem(rows, y, loss="logistic", fit_intercept=intercept), **options) for rows in (X, X.toarray())
    ]
    for run in runs:
        run.advance(n_rounds=2)
        before = run.w_bar
        run.W[:] += 1.0
        np.testing.assert_allclose(run.w_bar, before, atol=1e-14)
        run.advance(n_rounds=1)
        run.W[1] -= 0.5
        run.advance()
    np.testing.assert_allclose(runs[0].w_bar, runs[1].w_bar, rtol=1e-12)
    np.testing.assert_allclose(runs[0].w, runs[1].w, rtol=1e-12)


def test_a_run_whose_data_were_changed_stands_where_the_slice_began():
    X, _, y = make_csr(n=60, d=20)
    options = {"n_workers": 2, "n_steps": 40, "schedule": fl.FixedPeriod(4), "step_size": fl.Constant(0.05)}
    problem = fl.Problem(X, y, loss="logistic")
    whole = fl.local_sgd(problem, layout="view", **options)
    run = fl.Run(problem, layout="view", **options)
    run.advance(n_rounds=2)
    good = X.indices.copy()
    X.indices[:] = 10**6
    with pytest.raises(ValueError, match="no longer what they were"):
        run.advance()
    assert run.t == 8
    X.indices[:] = good
    run.advance()
    assert bits(run.w) == bits(whole.w)


@pytest.mark.filterwarnings("ignore:step size")
def test_a_scale_that_overflows_has_diverged():
    """w = s v is what must be finite; in dense rows eta l2 w overflows a step before w."""
    X = sparse.csr_matrix(np.zeros((4, 3), np.float32))
    y = np.ones(4, np.float32)
    options = {"n_workers": 2, "n_steps": 225, "step_size": fl.Constant(2.5), "w0": np.ones(3), "record": 0}
    with pytest.raises(fl.Diverged) as dense:
        fl.local_sgd(fl.Problem(X.toarray(), y, l2=1.0), **options)
    with pytest.raises(fl.Diverged) as csr:
        fl.local_sgd(fl.Problem(X, y, l2=1.0), **options)
    assert csr.value.worker == dense.value.worker
    assert csr.value.t - dense.value.t in (0, 1)


def test_the_width_of_indices_decides_no_order():
    X, _, y = make_csr(n=3000, d=50)
    wide = X.copy()
    wide.indices, wide.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    results = [
        fl.local_sgd(fl.Problem(rows, y, loss="logistic"), n_workers=2, sampling="blocks", n_steps=2000)
        for rows in (X, wide)
    ]
    assert bits(results[0].w) == bits(results[1].w)
