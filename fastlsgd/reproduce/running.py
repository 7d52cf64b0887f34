"""Make figures one after another; each one's table and picture are written as soon as it is whole."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from .. import datasets, plots
from ..cores import one_blas_thread
from . import factor, families, floor, periods, real, report, slopes, steps
from .figure import Figure, Made, Progress, Request, silent

# Every figure there is, in the order it is made and shown.
FIGURES: tuple[Figure, ...] = (
    families.FIGURE, floor.FIGURE, factor.FIGURE, slopes.FIGURE, periods.FIGURE, steps.FIGURE,
)  # fmt: skip
PAGE = "reproduce.md"


@dataclass(frozen=True)
class Outcome:
    """A figure that is made and written.

    Attributes
    ----------
    figure : Figure
    made : Made
    seconds : float
        Of making it; without writing.
    files : tuple of Path
        Table as csv and parquet, picture as png.
    about : str
        The data set, if it needs one.
    """

    figure: Figure
    made: Made
    seconds: float
    files: tuple[Path, ...]
    about: str = ""

    @property
    def title(self) -> str:
        """The figure's, and what it is about."""
        return f"{self.figure.title}: {self.about}" if self.about else self.figure.title


@dataclass(frozen=True)
class Job:
    """A figure to be made: of the problem it is on, if it needs one, and how its files are called."""

    figure: Figure
    source: real.Source | None
    stem: str


def select(keys: Sequence[str]) -> list[Figure]:
    """Return the figures with these keys, in their own order; all of them for no keys.

    Raises
    ------
    ValueError
        There is no such figure; the message lists them.

    Examples
    --------
    >>> [figure.name for figure in select(["f", "e"])]
    ['periods', 'steps']
    """
    known = {figure.key: figure for figure in FIGURES}
    for key in keys:
        if key not in known:
            names = "; ".join(f"{figure.key}: {figure.title}" for figure in FIGURES)
            raise ValueError(f"--figure must be one of {', '.join(known)}, got {key!r} ({names})")
    return [figure for figure in FIGURES if not keys or figure.key in keys]


def plan(
    figures: Sequence[Figure], *, quick: bool = False, data: Sequence[str] = (), sampling: str | None = None
) -> list[Job]:
    """Return what is to be made: a figure on real data once for each problem, the first one's files with plain names.

    Parameters
    ----------
    figures : sequence of Figure
    quick : bool
    data : sequence of str
        Known data sets. None at all and no sampling: flights13_late and, for figures that say so, two further
        problems more coarsely; breast_cancer if quick.
    sampling : "replacement", "reshuffle" or None
        None is "replacement" for data sets that are named.

    Raises
    ------
    ValueError
        A data set that does not fit, or an unknown sampling; one of them where no figure needs it.
    DatasetNotInstalled
        The message has the command that gets it.
    """
    problems: list[real.Source] = []
    if any(figure.needs_data for figure in figures):
        problems = real.sources(data, sampling, quick)
        for source in problems:
            real.check(source.data)
    elif data or sampling is not None:
        asked = f"--data {' --data '.join(data)}" if data else f"--sampling {sampling}"
        users = ", ".join(figure.key for figure in FIGURES if figure.needs_data)
        raise ValueError(f"{asked}: none of the figures asked for is on real data; these are: {users}")
    jobs = []
    for figure in figures:
        if not figure.needs_data:
            jobs.append(Job(figure, None, figure.stem))
            continue
        mine = [source for source in problems if figure.beside or not source.beside]
        jobs += [Job(figure, s, f"{figure.stem}-{s.name}" if i else figure.stem) for i, s in enumerate(mine)]
    return jobs


def left_out() -> list[str]:
    """Return the data sets that the full set would be on too, were they installed."""
    return [name for name, _ in real.BESIDE if not datasets.is_installed(name)]


def run(
    jobs: Sequence[Job],
    *,
    quick: bool = False,
    out: str | os.PathLike[str] = "fastlsgd-reproduce",
    seed: int = 0,
    n_threads: int | None = None,
    progress: Progress = silent,
) -> Iterator[Outcome]:
    """Make what is planned and write it into a folder; an iterator over what is finished.

    What can be known to fail is refused before anything runs. Beside the files of the figures stands a page,
    ``reproduce.md``, with their pictures and words.

    Parameters
    ----------
    jobs : sequence of Job
        From ``plan``.
    quick : bool
    out : path
        A folder; made if it is not there. Files of the same names are overwritten, each whole or not at all.
    seed : int
    n_threads : int or None
    progress : function of (done, total, label)

    Raises
    ------
    ValueError
        A folder that cannot be written.
    ImportError
        pandas, pyarrow or matplotlib is not installed; the message has the command.
    """
    folder = Path(out)
    _check_extras()
    _check_folder(folder)
    return _run(jobs, Request(quick, seed=seed, n_threads=n_threads, progress=progress), folder)


def _run(jobs: Sequence[Job], common: Request, folder: Path) -> Iterator[Outcome]:
    done: list[Outcome] = []
    for job in jobs:
        figure, request = job.figure, common
        if job.source is not None:
            request = replace(common, **asdict(job.source))
        started = time.perf_counter()
        # Small problems: a second BLAS thread costs more than it brings. Real ones decide by their size.
        with nullcontext() if figure.needs_data else one_blas_thread(0):
            made = figure.make(request)
        seconds = time.perf_counter() - started
        files = _write(folder / job.stem, made)
        about = "" if job.source is None else job.source.name.replace("-", ", ")
        done.append(Outcome(figure, made, seconds, files, about))
        _whole_file(folder / PAGE, lambda path: path.write_text(report.page(done, common)))
        yield done[-1]


def _write(stem: Path, made: Made) -> tuple[Path, ...]:
    csv, parquet, png = (stem.with_name(stem.name + ending) for ending in (".csv", ".parquet", ".png"))
    _whole_file(csv, lambda path: made.table.to_csv(path, index=False))
    _whole_file(parquet, lambda path: made.table.to_parquet(path, index=False))
    plots.save(made.draw, png, made.size_in)
    return csv, parquet, png


def _whole_file(path: Path, write: Callable[[Path], object]) -> None:
    part = Path(f"{path}.part")
    try:
        write(part)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _check_extras() -> None:
    lacking = [name for name in ("pandas", "pyarrow", "matplotlib") if importlib.util.find_spec(name) is None]
    if lacking:
        raise ImportError(f'tables and pictures need {" and ".join(lacking)}; run: pip install "fastlsgd[cli,plot]"')


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--output must be a folder, got the file {folder}")
    if not folder.absolute().parent.is_dir():
        raise ValueError(f"--output: there is no folder {folder.absolute().parent}; make it first")
    try:
        folder.mkdir(exist_ok=True)
        part = folder / f"{PAGE}.part"
        part.touch()
        part.unlink()
    except OSError as error:
        raise ValueError(f"--output: {folder} cannot be written ({error.strerror}); give another folder") from None
