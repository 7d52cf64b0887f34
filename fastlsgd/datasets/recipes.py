"""Recipes of the known sets: paths of the files in, `Parts` out."""

import gzip
import importlib
import io
import zipfile
from pathlib import Path

import numpy as np

from .columns import Column, Parts, array_parts, matrices, split, table_parts
from .files import arrow_column, import_arrow, import_sklearn_datasets
from .hashing import fold_columns, hash_text, hash_words, in_chunks


def _weekday(year, month, day):
    """0 is Monday."""
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    days = months.astype("datetime64[D]").astype(np.int64) + day.astype(np.int64) - 1
    return (days + 3) % 7


def _categories(name, values):
    levels, codes = np.unique(values, return_inverse=True)
    return Column(name, codes, tuple(levels.tolist()))


def flights13(path, late):
    """Flights from New York in 2013: delay on arrival in minutes, or `late`, more than 15 of them."""
    arrow = import_arrow("csv")
    known = ["carrier", "origin", "month", "hour", "day", "minute", "sched_arr_time", "distance"]
    afterwards = [] if late else ["dep_delay", "air_time"]
    wanted = [*known, *afterwards, "year", "arr_delay"]
    with zipfile.ZipFile(path) as archive:
        text = archive.read("flights.csv")
    table = arrow.read_csv(io.BytesIO(text), convert_options=arrow.ConvertOptions(include_columns=wanted))
    table = table.filter(table["arr_delay"].is_valid())  # the others never landed, or not where planned
    columns = {name: arrow_column(name, table[name]) for name in wanted}
    year, month, day, clock, distance = (columns[n].values for n in ("year", "month", "day", *known[-2:]))
    features = [columns["carrier"], columns["origin"]]
    features += [_categories(name, columns[name].values.astype(np.int8)) for name in ("month", "hour")]
    features += [_categories("weekday", _weekday(year, month, day))]
    features += [columns["day"], columns["minute"], columns["distance"]]
    features += [Column("log_distance", np.log(distance))]
    features += [Column("sched_arr_minute", clock // 100 * 60 + clock % 100)]
    features += [columns[name] for name in afterwards]
    return _delays(features, columns["arr_delay"].values, late, 0.2)


def _delays(features, delay, late, test_fraction):
    y, classes = ((delay > 15).astype(np.int8), ("not late", "late")) if late else (delay, ())
    return table_parts(features, y, classes, test_fraction)


def flights3m(path, late):
    """Flights in the US in 2001: delay in minutes, or `late`, more than 15 of them."""
    compute = import_arrow("compute")
    table = import_arrow("parquet").read_table(path)
    date = table["date"]
    # Six of the three million rows are of the first minute of July: no month of their own.
    calendar = {"month": np.minimum(compute.month(date), 6), "hour": compute.hour(date)}
    calendar["weekday"] = compute.day_of_week(date)
    features = [_categories(name, np.asarray(part).astype(np.int8)) for name, part in calendar.items()]
    for name in ("origin", "destination"):
        column = arrow_column(name, table[name])
        top = np.sort(np.argsort(-np.bincount(column.values), kind="stable")[:12])
        codes = np.zeros(len(column.levels), np.int8)
        codes[top] = np.arange(1, len(top) + 1)
        features.append(Column(name, codes[column.values], ("other", *(column.levels[i] for i in top))))
    distance = table["distance"].to_numpy()
    features += [Column("distance", distance), Column("log_distance", np.log(distance))]
    return _delays(features, table["delay"].to_numpy(), late, 0.1)


def diamonds(path):
    """Logarithm of the price of a diamond."""
    table = import_arrow("csv").read_csv(path)
    price = table["price"].to_numpy()
    features = [arrow_column(name, table[name]) for name in table.column_names if name != "price"]
    # log(1 + v): the price is nearly a power of the size, and a few sizes are 0.
    sizes = [column for column in features if column.name in ("carat", "x", "y", "z")]
    features += [Column(f"log_{size.name}", np.log1p(size.values)) for size in sizes]
    return table_parts(features, np.log(price))


def _pixels(side):
    return tuple(f"pixel{i},{j}" for i in range(side) for j in range(side))


def mnist5k(path):
    """Handwritten digits, 28 x 28 pixels."""
    with gzip.open(path, "rt") as lines:
        table = np.loadtxt(lines, np.uint8, delimiter=",")
    X = table[:, :-1] / np.float32(255)
    return array_parts(X, table[:, -1], tuple(range(10)), _pixels(28))


_GARMENTS = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
             "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")  # fmt: skip


def fashion_mnist(*paths):
    """Pictures of garments, 28 x 28 pixels."""
    # idx files: a header of 16 bytes (images) or 8 (labels), then one byte each, rows first.
    images_train, labels_train, images_test, labels_test = (
        np.frombuffer(gzip.decompress(Path(path).read_bytes()), np.uint8) for path in paths
    )
    X = [images[16:].reshape(-1, 784) / np.float32(255) for images in (images_train, images_test)]
    return Parts(X[0], labels_train[8:], X[1], labels_test[8:], _GARMENTS, _pixels(28))


_CENSUS = """
    age class_of_worker industry_code occupation_code education wage_per_hour enrolled_in_school
    marital_status industry occupation race hispanic_origin sex union_member unemployment_reason
    employment_status capital_gains capital_losses dividends tax_filer previous_region previous_state
    household_detail household_summary weight migration_msa migration_region migration_within_region
    same_house previous_sunbelt n_employees family_under_18 father_born mother_born self_born citizenship
    self_employed veteran_questionnaire veteran_benefits weeks_worked year income
"""
_CENSUS_NUMBERS = ("age", "wage_per_hour", "capital_gains", "capital_losses", "dividends")


def census(train_path, test_path):
    """Income above 50,000 dollars, from a census."""
    csv, arrow, fields = import_arrow("csv"), importlib.import_module("pyarrow"), _CENSUS.split()
    types = {name: arrow.float64() if name in _CENSUS_NUMBERS else arrow.string() for name in fields}
    used = [name for name in fields if name != "weight"]  # of the sample, not of the person
    options = {
        "read_options": csv.ReadOptions(column_names=fields),
        "convert_options": csv.ConvertOptions(column_types=types, include_columns=used),
    }
    tables = [csv.read_csv(path, **options) for path in (train_path, test_path)]
    table, n_train = arrow.concat_tables(tables), tables[0].num_rows
    columns = [arrow_column(name, table[name]) for name in table.column_names]
    columns = [c._replace(levels=c.levels and tuple(v.strip() for v in c.levels)) for c in columns]
    rows, income = np.arange(table.num_rows), columns.pop()
    # Every level keeps its column, so that a row has its 40 nonzeros whatever the levels.
    train, test, y = rows[:n_train], rows[n_train:], income.values
    X_train, X_test, feature_names = matrices(columns, train, test, drop_first=False, sparse=True)
    return Parts(X_train, y[train], X_test, y[test], income.levels, feature_names)


def census_hashed(*paths):
    """The same in 64 columns: sparse rows whose Hessian is small."""
    parts = census(*paths)
    X_train, X_test = (fold_columns(X, 64) for X in (parts.X_train, parts.X_test))
    return parts._replace(X_train=X_train, X_test=X_test, feature_names=())


def newsgroups20(train_path, test_path):
    """The newsgroup of a message."""
    parts = []
    for path in (train_path, test_path):
        lines = Path(path).read_text(encoding="utf-8").split("\n")[3:]  # three lines of header
        parts.append([fields for fields in (line.split("\t") for line in lines) if len(fields) == 2])
    classes = tuple(sorted({group for group, _ in parts[0]}))
    y = [np.array([classes.index(group) for group, _ in part]) for part in parts]
    X = [in_chunks(hash_text, [text for _, text in part], 2000) for part in parts]
    return Parts(X[0], y[0], X[1], y[1], classes)


def wordnet(*paths):
    """Noun or not, from the definition of a synset."""
    glosses, y = [], []
    for path in paths:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
        # The licence at the head of each file is indented; a gloss follows the bar.
        found = [line.split(" | ", 1)[1] for line in lines if " | " in line and not line.startswith(" ")]
        glosses += found
        y += [int(Path(path).suffix == ".noun")] * len(found)
    return _text_parts(hash_text, glosses, np.array(y), ("not a noun", "noun"), 0.2)


LANGUAGES = {"english": "american-english-huge", "german": "ngerman", "french": "french",
              "spanish": "spanish", "dutch": "dutch", "italian": "italian",
              "portuguese": "portuguese", "swedish": "swedish",
              "danish": "danish", "catalan": "catalan"}  # fmt: skip


def words(*paths):
    """The language of a word."""
    every, y = [], []
    for code, path in enumerate(paths):
        encoding = "latin-1" if Path(path).name == "swedish" else "utf-8"
        # A dict keeps the order of the file; the order of a set changes from run to run.
        found = list(dict.fromkeys(Path(path).read_text(encoding=encoding).lower().split("\n")))
        found.remove("")
        every += found
        y += [code] * len(found)
    return _text_parts(hash_words, every, np.array(y, np.int8), tuple(LANGUAGES), 0.1)


def _text_parts(hash_, texts, y, classes, test_fraction):
    train, test = split(len(texts), test_fraction)
    X = [in_chunks(hash_, [texts[i] for i in rows.tolist()], 200_000) for rows in (train, test)]
    return Parts(X[0], y[train], X[1], y[test], classes)


def land_mask(path, n_train=1_000_000, n_test=100_000, n_features=256, bandwidth=8.0):
    """Land or sea: points uniform on the sphere; random Fourier features of a Gaussian kernel, rows of length 1."""
    rng = np.random.default_rng(0)
    height, longitude = rng.uniform(-1, 1, n_train + n_test), rng.uniform(-np.pi, np.pi, n_train + n_test)
    y = _is_land(path, np.degrees(np.arcsin(height)), np.degrees(longitude))
    radius = np.sqrt(1 - height**2)
    points = np.stack([radius * np.cos(longitude), radius * np.sin(longitude), height], axis=1)
    points = points.astype(np.float32)
    waves = rng.normal(0, bandwidth, (3, n_features // 2)).astype(np.float32)
    X = np.empty((len(y), n_features), np.float32)
    for i in range(0, len(y), 50_000):  # bounds the memory of the phases
        phase = points[i : i + 50_000] @ waves
        X[i : i + 50_000, : n_features // 2] = np.cos(phase)
        X[i : i + 50_000, n_features // 2 :] = np.sin(phase)
    X *= np.float32((2 / n_features) ** 0.5)
    return Parts(X[:n_train], y[:n_train], X[n_train:], y[n_train:], ("sea", "land"))


def _is_land(path, latitude, longitude, band=240):
    """Look points (in degrees) up in the mask, 21,600 x 43,200 cells, without holding all of its 933 MB."""
    row = np.clip(((90 - latitude) * 120).astype(np.int64), 0, 21_599)
    column = np.clip(((longitude + 180) * 120).astype(np.int64), 0, 43_199)
    order = np.argsort(row, kind="stable")
    cuts = np.searchsorted(row[order], np.arange(0, 21_600 + band, band))
    land = np.empty(len(row), np.int8)
    with zipfile.ZipFile(path) as archive, archive.open("mask.npy") as mask:
        np.lib.format.read_magic(mask)
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(mask)
        if (shape, fortran, dtype) != ((21_600, 43_200), False, np.dtype(bool)):
            raise ValueError(f"{path} holds another mask than expected: {shape}, {dtype}")
        for i in range(21_600 // band):
            cells = np.frombuffer(mask.read(band * 43_200), np.uint8).reshape(band, 43_200)
            here = order[cuts[i] : cuts[i + 1]]
            land[here] = 1 - cells[row[here] - i * band, column[here]]
    return land


def bundled(name):
    """A set that comes with scikit-learn."""
    options = {"scaled": False} if name == "diabetes" else {}
    bunch = getattr(import_sklearn_datasets(), f"load_{name}")(**options)
    classes = tuple(bunch.target_names.tolist()) if "target_names" in bunch else ()
    columns = [Column(str(name), bunch.data[:, j]) for j, name in enumerate(bunch.feature_names)]
    return table_parts(columns, bunch.target, classes)
