"""The command line: what is printed, written, refused and interrupted."""

import inspect
import json
import math
import os
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("pyarrow")
pd = pytest.importorskip("pandas")

from test_report import flights3m_late  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

import fastlsgd as fl  # noqa: E402
from fastlsgd import cli, datasets, experiments, plots  # noqa: E402
from fastlsgd.cli_schedules import parse_schedules  # noqa: E402
from fastlsgd.schedules import FixedPeriod, GrowingPeriod, MiniBatch, OneShot, Periods, PostLocal  # noqa: E402
from fastlsgd.theory import AdaptivePeriod  # noqa: E402

SMALL = ["--replicates", "2", "--passes", "1", "--workers", "2", "--schedules", "minibatch,4,one-shot"]


def run(*args, **options):
    return CliRunner().invoke(cli.app, [str(arg) for arg in args], **options)


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("FASTLSGD_DEBUG", raising=False)


@pytest.fixture
def csv(tmp_path):
    """Sixty rows with a number, a two-class and a three-class column."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 3))
    price = X @ [1.0, -2.0, 0.5] + 0.3 * rng.standard_normal(60)
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    frame["price"], frame["sold"], frame["place"] = price, np.where(price > 0, "yes", "no"), list("xyz") * 20
    frame.to_csv(tmp_path / "sales.csv", index=False)
    return "sales.csv"


class Frame:
    """A comparison made by hand, with the one method that the command line calls."""

    def __init__(self):
        made = flights3m_late()
        self.rows, self.facts = made.rows, made.facts

    def to_frame(self):
        return pd.DataFrame(
            [{"method": row.method, "step": row.step, "excess": row.excess_mean} for row in self.rows]
        )


@pytest.fixture
def compared(monkeypatch):
    """Replace the runs by hand-made ones; return what compare was called with."""
    calls = SimpleNamespace(problem=None, options={})

    def compare(problem, **options):
        calls.problem, calls.options = problem, options
        options["progress"](3, 7)
        return Frame()

    monkeypatch.setattr(experiments, "compare", compare)
    return calls


# ---- fastlsgd tradeoff ----


def test_the_whole_job_on_a_file(csv):
    import pyarrow.parquet as pq

    result = run("tradeoff", csv, "--target", "price", *SMALL)
    assert result.exit_code == 0, result.stderr
    # sold has two levels and gives one column, place has three and gives two.
    assert re.search(r"sales.csv: 48 training rows( \(\+ 12 test\))? x 6 features \+ intercept", result.stdout)
    for method in ("mini-batch averaging", "period 4", "one-shot", "large mini-batch (4)", "one worker", "L-BFGS"):
        assert re.search(rf"^{re.escape(method)} ", result.stdout, re.MULTILINE), method
    assert "…" not in result.stdout
    assert result.stderr.startswith("wrote fastlsgd-tradeoff.parquet and fastlsgd-tradeoff.png")
    assert {entry.name for entry in os.scandir()} == {csv, "fastlsgd-tradeoff.parquet", "fastlsgd-tradeoff.png"}

    table = pq.read_table("fastlsgd-tradeoff.parquet")
    about = json.loads(table.schema.metadata[b"fastlsgd"])
    assert about["version"] == fl.__version__
    assert about["facts"]["loss"] == "squared" and about["facts"]["metric"] == "R2"
    assert about["verdict"]["sentence"] in re.sub(r"\s+", " ", result.stdout)
    frame = table.to_pandas()
    own = frame[(frame.method == "period 4") & (frame.step == "own")]
    assert len(own) == 2 and (own.excess > 0).all()
    n, excess = about["curves"]["period 4, own"][-1]
    assert n == own.n_gradients.iloc[0] and excess > 0
    with open("fastlsgd-tradeoff.png", "rb") as picture:
        assert picture.read(8) == b"\x89PNG\r\n\x1a\n"


def test_two_classes_get_the_logistic_loss(csv):
    result = run("tradeoff", csv, "--target", "sold", "--no-files", "--l2", "0.01", *SMALL)
    assert result.exit_code == 0, result.stderr
    assert "logistic loss, l2 0.01" in result.stdout and "AUC" in result.stdout


def test_one_class_against_the_rest(csv):
    result = run("tradeoff", csv, "--target", "place", "--positive", "y", "--no-files", "--l2", "0.01", *SMALL)
    assert result.exit_code == 0, result.stderr
    assert "logistic loss" in result.stdout


@pytest.mark.parametrize("ending", ["npz", "npy", "parquet", "svm"])
def test_other_kinds_of_files(ending, tmp_path):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 2))
    y = np.round(X @ [1.0, -1.0] + rng.standard_normal(40), 3)
    path, more = tmp_path / f"data.{ending}", []
    if ending == "npz":
        np.savez(path, X=X, y=y)
    elif ending == "npy":
        np.save(path, np.column_stack([y, X]))
        more = ["--target", "0"]
    elif ending == "parquet":
        pd.DataFrame({"y": y, "a": X[:, 0], "b": X[:, 1]}).to_parquet(path)
        more = ["--target", "y"]
    else:
        pytest.importorskip("sklearn")
        path.write_text("\n".join(f"{t} 1:{a} 2:{b}" for t, (a, b) in zip(y, X, strict=True)))
    result = run("tradeoff", path, "--no-files", *more, *SMALL)
    assert result.exit_code == 0, result.stderr
    assert re.search(rf"data.{ending}: 32 training rows( \(\+ 8 test\))? x 2 features", result.stdout)


def test_sparse_rows_stay_sparse(tmp_path, compared):
    pytest.importorskip("sklearn")
    (tmp_path / "data.svm").write_text("\n".join(f"{i % 2} {i % 5 + 1}:1.5 6:{i}" for i in range(40)))
    result = run("tradeoff", "data.svm", "--no-files")
    assert result.exit_code == 0, result.stderr
    assert compared.problem.is_sparse
    X = compared.problem.X.toarray()
    assert X.shape == (32, 6) and X.dtype == np.float32 and (np.count_nonzero(X[:, :5], axis=1) == 1).all()


def test_wide_sets_are_marked():
    lines = re.sub(r"\s+", " ", run("data", env={"COLUMNS": "300"}).stdout)
    assert lines.count("wide: constants are estimates") == 3
    for name in ("newsgroups20", "wordnet", "words"):
        assert cli._is_wide(name)
    assert not cli._is_wide("census")


def test_options_reach_the_comparison(csv, compared):
    result = run(
        "tradeoff", csv, "--target", "price", "--loss", "squared", "--l2", "0.5", "--no-intercept", "--workers", 3,
        "--passes", "1.5", "--schedules", "16,one-shot", "--step", "0.01", "--sampling", "reshuffle",
        "--replicates", 4, "--seed", 5, "--threads", 1,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert compared.problem.l2 == 0.5 and compared.problem.loss.name == "squared"
    assert not compared.problem.fit_intercept
    options = compared.options
    assert options.pop("test")[1].shape == (12,)
    assert callable(options.pop("progress"))
    assert options == {
        "n_workers": 3, "n_passes": 1.5, "sampling": "reshuffle", "replicates": 4, "step_size": 0.01, "seed": 5,
        "n_threads": 1, "schedules": [FixedPeriod(16), OneShot()], "name": "sales.csv",
    }  # fmt: skip


def test_defaults(csv, compared):
    assert run("tradeoff", csv, "--target", "price").exit_code == 0
    assert compared.problem.l2 == 1e-4 and compared.problem.fit_intercept
    options = {name: value for name, value in compared.options.items() if name not in ("test", "progress", "name")}
    assert options == {
        "n_workers": 8, "n_passes": 4, "sampling": "replacement", "replicates": 10, "step_size": None, "seed": 0,
        "n_threads": None, "schedules": None,
    }  # fmt: skip


def test_the_default_data_set(compared, monkeypatch):
    asked = []

    def load(name, **_):
        asked.append(name)
        raise datasets.DatasetNotInstalled(f"data set {name!r} is not installed; run: fastlsgd data {name}")

    monkeypatch.setattr(datasets, "load", load)
    result = run("tradeoff")
    assert asked == ["flights13_late"] and result.exit_code == 2
    assert result.stderr == (
        "fastlsgd: data set 'flights13_late' is not installed; run: fastlsgd data flights13_late\n"
    )


def test_files_go_where_they_are_wanted(csv, compared):
    os.mkdir("out")
    for output in ("out/sales", "out/other.png", "out/third.parquet"):
        assert run("tradeoff", csv, "--target", "price", "--output", output).exit_code == 0
    names = ("other.parquet", "other.png", "sales.parquet", "sales.png", "third.parquet", "third.png")
    assert sorted(os.listdir("out")) == list(names)


def test_no_files_and_quiet(csv, compared):
    result = run("tradeoff", csv, "--target", "price", "--no-files")
    assert result.stderr == "" and os.listdir() == [csv]
    result = run("tradeoff", csv, "--target", "price", "--quiet")
    assert result.stderr == "" and len(os.listdir()) == 3
    assert "mini-batch averaging" in result.stdout and "Local SGD is not the answer" in result.stdout


@pytest.mark.parametrize(("columns", "width"), [(None, 120), ("160", 160), ("100", 100), ("40", 80), ("1e3", 120)])
def test_a_pipe_is_120_columns_wide_unless_told(columns, width, csv, compared):
    env = {} if columns is None else {"COLUMNS": columns}
    lines = run("tradeoff", csv, "--target", "price", "--no-files", env=env).stdout.splitlines()
    assert max(map(len, lines)) <= width
    assert max(map(len, lines)) > width - 40


def test_without_matplotlib_the_table_is_still_written(csv, compared, monkeypatch):
    def refuse(module):
        raise ImportError('pictures need matplotlib; run: pip install "fastlsgd[plot]"')

    monkeypatch.setattr(plots, "_matplotlib", refuse)
    result = run("tradeoff", csv, "--target", "price")
    assert result.exit_code == 0
    assert result.stderr.startswith("wrote fastlsgd-tradeoff.parquet; no picture: pictures need matplotlib")
    assert "fastlsgd[plot]" in result.stderr and sorted(os.listdir()) == ["fastlsgd-tradeoff.parquet", csv]


def test_without_pyarrow_the_job_does_not_begin(csv, compared, monkeypatch):
    found = cli.importlib.util.find_spec
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: None if name == "pyarrow" else found(name))
    result = run("tradeoff", csv, "--target", "price")
    assert result.exit_code == 2 and compared.problem is None
    assert 'pip install "fastlsgd[cli]"' in result.stderr


def test_a_parquet_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    import pyarrow.parquet as pq

    def fail(table, path):
        with open(path, "wb") as file:
            file.write(b"half")
        raise OSError("the disk is full")

    path = tmp_path / "table.parquet"
    verdict = SimpleNamespace(key="k", caveat="", sentence="s")
    cli.write_parquet(Frame(), verdict, path)
    before = path.read_bytes()
    monkeypatch.setattr(pq, "write_table", fail)
    with pytest.raises(OSError):
        cli.write_parquet(Frame(), verdict, path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["table.parquet"]


def test_metadata_is_json_without_nan():
    value = {"a": np.float32(1.5), "b": (np.int64(2), math.nan), 3: np.array([math.inf, 1.0]), "c": None, "d": True}
    assert cli._for_json(value) == {"a": 1.5, "b": [2, None], "3": [None, 1.0], "c": None, "d": True}


def test_a_warning_is_one_line_and_comes_once(csv, monkeypatch):
    def compare(problem, **options):
        for _ in range(3):
            warnings.warn("step size 9 is beyond 1", RuntimeWarning, stacklevel=2)
        return Frame()

    monkeypatch.setattr(experiments, "compare", compare)
    result = run("tradeoff", csv, "--target", "price", "--no-files")
    assert result.stderr == "fastlsgd: warning: step size 9 is beyond 1\n"


def test_a_common_step_that_diverges_is_shown_and_not_fatal(csv):
    result = run("tradeoff", csv, "--target", "price", "--no-files", *SMALL, "--passes", 40, "--step", 50)
    assert result.exit_code == 0, result.stderr
    assert result.stderr.count("warning") == 1 and "diverged" in result.stdout


# ---- schedules ----


@pytest.mark.parametrize(
    ("text", "schedules"),
    [
        ("minibatch", [MiniBatch()]),
        ("Mini-Batch, one-shot,oneshot", [MiniBatch(), OneShot(), OneShot()]),
        ("16,256", [FixedPeriod(16), FixedPeriod(256)]),
        ("adaptive,adaptive-eff", [AdaptivePeriod("auto"), AdaptivePeriod("effective")]),
        ("adaptive:0.01", [AdaptivePeriod(0.01)]),
        ("growing:4,growing:4:0.5", [GrowingPeriod(4), GrowingPeriod(4, 0.5)]),
        ("post-local:100:16", [PostLocal(100, 16)]),
        ("periods:1:2:4", [Periods([1, 2, 4])]),
    ],
)
def test_schedules_are_parsed(text, schedules):
    assert parse_schedules(text) == schedules


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "names none"),
        (",", "names none"),
        ("0", "'0': FixedPeriod: period must be an int >= 1, got 0"),
        ("-3", "got -3"),
        ("16;256", "'16;256' is not a schedule; there are minibatch, one-shot"),
        ("sixteen", "'sixteen' is not a schedule"),
        ("growing", "'growing' is not a schedule"),
        ("growing:a", "'growing:a': not a number where one is needed"),
        ("growing:0", "first must be an int >= 1"),
        ("growing:1:2:3", "'growing:1:2:3' is not a schedule"),
        ("adaptive:-1", "mu must be positive"),
        ("adaptive:x", "not a number"),
        ("post-local:5", "'post-local:5' is not a schedule"),
        ("periods:1:0", "lengths[1] must be an int >= 1"),
        ("minibatch:2", "'minibatch:2' is not a schedule"),
    ],
)
def test_a_bad_schedule_is_named(text, words):
    with pytest.raises(ValueError, match=r"--schedules") as error:
        parse_schedules(text)
    assert words in str(error.value)


# ---- what users get wrong ----

WRONG = {
    "no command": (["plan"], "No such command 'plan'"),
    "no option": (["tradeoff", "--nope"], "No such option: --nope"),
    "no number": (["tradeoff", "--workers", "many"], "--workers"),
    "no workers": (["tradeoff", "--workers", "0"], "--workers"),
    "no replicates": (["tradeoff", "--replicates", "0"], "--replicates"),
    "no threads": (["tradeoff", "--threads", "0"], "--threads"),
    "negative l2": (["tradeoff", "--l2", "-1"], "--l2"),
    "negative seed": (["tradeoff", "--seed", "-1"], "--seed"),
    "no passes": (["tradeoff", "FILE", "--target", "price", "--passes", "0"], "--passes must be above 0 and at most"),
    "nan passes": (["tradeoff", "FILE", "--target", "price", "--passes", "nan"], "--passes"),
    "endless passes": (["tradeoff", "FILE", "--target", "price", "--passes", "1e300"], "--passes must be above"),
    "zero step": (["tradeoff", "--step", "0"], "--step must be positive and finite, got 0.0"),
    "nan step": (["tradeoff", "--step", "nan"], "--step must be positive and finite, got nan"),
    "infinite step": (["tradeoff", "--step", "inf"], "--step must be positive and finite, got inf"),
    "sampling": (["tradeoff", "--sampling", "rows"], "--sampling"),
    "schedule": (["tradeoff", "--schedules", "16,zero"], "--schedules: 'zero'"),
    "value missing": (["tradeoff", "--seed"], "--seed"),
    "two data sets": (["tradeoff", "digits", "wine"], "unexpected extra argument"),
    "unknown set": (["tradeoff", "nosuch"], "unknown data set 'nosuch'"),
    "no file": (["tradeoff", "nosuch.csv", "--target", "y"], "no file 'nosuch.csv'"),
    "no target": (["tradeoff", "FILE"], "give --target COLUMN; the columns are a, b, c, price, sold, place"),
    "huge period": (["tradeoff", "--schedules", "9" * 5000], "a number of steps may be at most 2^62"),
    "more workers than rows": (
        ["tradeoff", "FILE", "--target", "price", "--workers", "49", "--sampling", "reshuffle"],
        "--workers 49 is more than the 48 training rows",
    ),
    "unknown target": (["tradeoff", "FILE", "--target", "weight"], "'weight'"),
    "npy target": (["tradeoff", "x.npy", "--target", "price"], "--target must be a column index"),
    "three classes": (["tradeoff", "FILE", "--target", "place"], "3 classes (x, y, z); choose one"),
    "unknown class": (["tradeoff", "FILE", "--target", "place", "--positive", "w"], "'w' is not a class"),
    "no classes": (["tradeoff", "FILE", "--target", "price", "--positive", "1"], "is a number, not a class (60"),
    "logistic": (["tradeoff", "FILE", "--target", "price", "--loss", "logistic"], "logistic needs two classes"),
    "unknown loss": (["tradeoff", "FILE", "--target", "price", "--loss", "hinge"], "'logistic', got 'hinge'"),
    "folder": (["tradeoff", "--output", "."], "--output must be a file name"),
    "json is a folder": (["bench", "--quick", "--json", "."], "--json must be the path of a file"),
    "no folder": (["tradeoff", "--output", "missing/x"], "there is no folder missing"),
    "unknown set to fetch": (["data", "nosuch"], "unknown data set 'nosuch'"),
}  # fmt: skip


@pytest.mark.parametrize(("args", "words"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_one_line_and_exit_code_2(args, words, csv):
    result = run(*(csv if arg == "FILE" else arg for arg in args))
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("fastlsgd: ") and result.stderr.count("\n") == 1
    assert words in result.stderr and "Traceback" not in result.stderr
    assert result.stdout == ""
    assert os.listdir() == [csv]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("v"), 2), (TypeError("t"), 2), (OSError("o"), 2), (ImportError("i"), 2),
        (ArithmeticError("a"), 2), (RuntimeError("r"), 1), (MemoryError("m"), 1),
    ],
)  # fmt: skip
def test_errors_from_below_are_one_line_unless_debug_is_asked_for(error, code, csv, monkeypatch):
    def compare(problem, **options):
        raise error

    monkeypatch.setattr(experiments, "compare", compare)
    args = ["tradeoff", csv, "--target", "price"]
    result = run(*args)
    assert (result.exit_code, result.stderr) == (code, f"fastlsgd: {error}\n")
    assert run(*args, "--debug").exception is error
    assert run(*args, env={"FASTLSGD_DEBUG": "1"}).exception is error


def test_an_error_of_ours_is_not_hidden(csv, monkeypatch):
    def compare(problem, **options):
        raise KeyError("a bug")

    monkeypatch.setattr(experiments, "compare", compare)
    assert isinstance(run("tradeoff", csv, "--target", "price").exception, KeyError)


def test_an_output_that_cannot_be_written_is_refused_before_the_run(csv, compared):
    os.mkdir("taken.parquet")
    for output, words in (("x" * 245, "cannot be written (File name too long)"), ("taken", "is a folder")):
        result = run("tradeoff", csv, "--target", "price", "--output", output)
        assert result.exit_code == 2 and words in result.stderr and compared.problem is None
    assert sorted(os.listdir()) == [csv, "taken.parquet"]


@pytest.mark.parametrize("module", ["typer", "rich"])
def test_without_the_extra_one_line_says_what_to_install(module):
    code = f"import sys; sys.modules['{module}'] = None\nfrom fastlsgd import cli\ncli.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("fastlsgd: the command line needs ")
    assert done.stderr.endswith('run: pip install "fastlsgd[cli]"\n') and done.stderr.count("\n") == 1


# ---- Ctrl-C ----


@pytest.mark.parametrize(
    ("progress", "words"), [(None, "before the first run"), ((3, 40), "after 3 of about 40 runs")]
)
def test_ctrl_c_says_what_was_done(progress, words, csv, monkeypatch):
    def compare(problem, **options):
        if progress:
            options["progress"](*progress)
        raise KeyboardInterrupt

    monkeypatch.setattr(experiments, "compare", compare)
    result = run("tradeoff", csv, "--target", "price")
    assert result.exit_code == 130
    assert result.stderr == f"fastlsgd: interrupted {words}; nothing was written\n"
    assert os.listdir() == [csv]


def test_ctrl_c_writes_what_there_is(csv, monkeypatch):
    def compare(problem, **options):
        interrupt = KeyboardInterrupt()
        interrupt.result = Frame()
        raise interrupt

    monkeypatch.setattr(experiments, "compare", compare)
    result = run("tradeoff", csv, "--target", "price")
    assert result.exit_code == 130
    assert "what there is follows; writing fastlsgd-tradeoff.parquet, and no picture" in result.stderr
    assert "mini-batch averaging" in result.stdout
    assert sorted(os.listdir()) == ["fastlsgd-tradeoff.parquet", csv]


def test_a_real_ctrl_c(csv):
    code = (
        "import sys\nfrom fastlsgd import cli, experiments\ncompare = experiments.compare\n"
        "def watched(problem, *, progress, **options):\n"
        "    def note(*args):\n        progress(*args)\n        print('begun', flush=True)\n"
        "    return compare(problem, progress=note, **options)\n"
        "experiments.compare = watched\n"
        f"sys.argv = ['fastlsgd', 'tradeoff', {csv!r}, '--target', 'price', '--replicates', '1000000']\ncli.main()\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "begun\n"
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=120)
    assert child.returncode == 130
    assert re.fullmatch(r"fastlsgd: interrupted after \d+ of about \d+ runs; nothing was written\n", errors)
    assert os.listdir() == [csv]


INTERRUPTED = {
    # What a load does with Ctrl-C -> what is said. `kill` is one Ctrl-C.
    "swallowed": "try:\n        kill()\n    except KeyboardInterrupt:\n        pass\n    return real(*a, **b)",
    "half imported": "try:\n        kill()\n    except KeyboardInterrupt:\n        raise AttributeError('pandas')",
    "turned into an ImportError": "try:\n        kill()\n    except KeyboardInterrupt:\n        raise ImportError",
    "raised": "kill()",
}


def interrupted(patch, csv):
    code = (
        "import os, signal, sys\nfrom fastlsgd import cli, datasets, experiments, plots\n"
        "def kill():\n    os.kill(os.getpid(), signal.SIGINT)\n" + patch + "\n"
        f"sys.argv = ['fastlsgd', 'tradeoff', {csv!r}, '--target', 'price', *{SMALL!r}]\ncli.main()\n"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("body", INTERRUPTED.values(), ids=INTERRUPTED.keys())
def test_ctrl_c_while_loading_is_never_lost(body, csv):
    done = interrupted(f"real = datasets.load\ndef load(*a, **b):\n    {body}\ndatasets.load = load", csv)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "fastlsgd: interrupted before the first run; nothing was written\n"
    assert os.listdir() == [csv]


def test_another_program_that_imports_us_keeps_its_ctrl_c(tmp_path):
    package = tmp_path / "theirs"
    package.mkdir()
    (package / "__init__.py").write_text("import fastlsgd\n")
    (package / "__main__.py").write_text(
        "import signal\nprint(signal.getsignal(signal.SIGINT) is signal.default_int_handler)\n"
    )
    paths = os.pathsep.join([str(tmp_path), str(Path(fl.__file__).parent.parent)])
    done = subprocess.run(
        [sys.executable, "-m", "theirs"],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "True\n"


@pytest.mark.parametrize("module", ["numpy", "fastlsgd.solver", "fastlsgd.cli", "typer", "rich.table"])
@pytest.mark.parametrize("way", ["script", "module"])
def test_ctrl_c_while_the_command_line_is_imported_is_one_line(module, way, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\nclass Finder:\n    def find_spec(self, name, *_):\n"
        f"        if name == {module!r}:\n            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    script = tmp_path / "fastlsgd"  # as pip writes it
    script.write_text("import sys\nfrom fastlsgd.cli import main\nsys.exit(main())\n")
    paths = [str(tmp_path), str(Path(fl.__file__).parent.parent)]
    done = subprocess.run(
        [sys.executable, *(["-m", "fastlsgd"] if way == "module" else [str(script)]), "info"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "fastlsgd: interrupted\n")


def test_a_program_that_imports_the_package_keeps_its_own_ctrl_c():
    code = (
        "import signal\nbefore = signal.getsignal(signal.SIGINT)\nimport fastlsgd, fastlsgd.cli\n"
        "assert signal.getsignal(signal.SIGINT) is before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_shell_that_has_ctrl_c_ignored_keeps_it_ignored():
    code = (
        "import signal, sys\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nsys.argv[0] = 'fastlsgd'\n"
        "import fastlsgd\nassert signal.getsignal(signal.SIGINT) is signal.SIG_IGN"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_ctrl_c_before_the_job_begins_is_one_line(csv):
    done = interrupted("cli._checked_prefix = lambda _: kill()", csv)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "fastlsgd: interrupted\n")


def test_ctrl_c_swallowed_by_the_last_run_shows_what_there_is(csv):
    done = interrupted(
        "real = experiments.compare\ndef compare(*a, **b):\n    out = real(*a, **b)\n    try:\n        kill()\n"
        "    except KeyboardInterrupt:\n        return out\nexperiments.compare = compare", csv)  # fmt: skip
    assert done.returncode == 130 and "mini-batch averaging" in done.stdout
    assert done.stderr.count("\n") == 1 and "what there is follows; writing fastlsgd-tradeoff.parquet" in done.stderr
    assert sorted(os.listdir()) == ["fastlsgd-tradeoff.parquet", csv]


def test_ctrl_c_while_the_picture_is_drawn_keeps_the_table(csv):
    done = interrupted("plots.save_tradeoff = lambda *_: kill()", csv)
    assert done.returncode == 130 and done.stdout.count("mini-batch averaging ") >= 1
    assert done.stderr.count("\n") == 1
    assert "fastlsgd-tradeoff.parquet is written, and no picture" in done.stderr
    assert sorted(os.listdir()) == ["fastlsgd-tradeoff.parquet", csv]


def test_a_second_ctrl_c_leaves_at_once(csv):
    done = interrupted(
        "def load(*_, **__):\n    try:\n        kill()\n    except KeyboardInterrupt:\n        kill()\n"
        "    print('not reached')\ndatasets.load = load", csv)  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


# ---- fastlsgd data, fastlsgd info, help ----


def test_data_lists_the_sets_and_whether_they_are_here():
    result = run("data")
    assert result.exit_code == 0
    for name in datasets.names():
        line = next(line for line in result.stdout.splitlines() if line.startswith(f"{name} "))
        assert line.split()[1] in ("yes", "-")
        assert datasets.describe(name).split(":")[0] in line
    digits = next(line for line in result.stdout.splitlines() if line.startswith("digits "))
    try:
        import sklearn  # noqa: F401
    except ImportError:
        assert digits.split()[1] == "-"
    else:
        assert digits.split()[1] == "yes"


def test_data_knows_what_is_not_here(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTLSGD_DATA", str(tmp_path))
    name = next(name for name in datasets.names() if "(npm)" in datasets.describe(name))
    line = next(line for line in run("data").stdout.splitlines() if line.startswith(f"{name} "))
    assert line.split()[1] == "-"


def test_data_fetches_one(monkeypatch):
    monkeypatch.setattr(datasets, "install", lambda name: f"{name} is now in a folder.")
    result = run("data", "diamonds")
    assert (result.exit_code, result.stdout) == (0, "diamonds is now in a folder.\n")


def test_data_that_cannot_be_fetched_is_an_error(monkeypatch):
    def fail(name):
        raise RuntimeError("npm is not on this machine")

    monkeypatch.setattr(datasets, "install", fail)
    result = run("data", "diamonds")
    assert (result.exit_code, result.stderr) == (1, "fastlsgd: npm is not on this machine\n")


def test_ctrl_c_while_fetching(monkeypatch):
    def interrupt(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(datasets, "install", interrupt)
    result = run("data", "diamonds")
    assert result.exit_code == 130 and "Traceback" not in result.output


def test_info():
    from fastlsgd import _kernels, cores

    result = run("info", env={"FASTLSGD_NUM_THREADS": "1"})
    assert result.exit_code == 0
    isas = f"{', '.join(_kernels.isas())}; in use: {_kernels.isa()}"
    quota = f"{cores.available_cores()} (affinity: {cores.affinity()}, quota of the control groups: "
    for words in (fl.__version__, isas, quota, "caches of a core", np.__version__, "scipy", "extra cli"):
        assert words in result.stdout
    assert re.search(r"threads of 8 workers +1 \(FASTLSGD_NUM_THREADS is 1\)", result.stdout)
    assert run("info", env={"FASTLSGD_NUM_THREADS": "many"}).exit_code == 2


def test_info_names_the_extras_that_are_lacking(monkeypatch):
    found = cli.importlib.util.find_spec
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: None if name == "matplotlib" else found(name))
    assert 'lacks matplotlib: pip install "fastlsgd[plot]"' in run("info").stdout


def test_version_and_bare_command():
    assert run("--version").stdout == f"fastlsgd {fl.__version__}\n"
    bare = run()
    assert bare.exit_code == 0 and "tradeoff" in bare.stdout and "info" in bare.stdout


def test_help_shows_every_option_and_the_examples():
    result = run("tradeoff", "--help", env={"COLUMNS": "160"})
    assert result.exit_code == 0
    options = [name.replace("_", "-") for name in inspect.signature(cli.tradeoff).parameters if name != "data"]
    for option in (*options, "no-intercept"):
        assert f"--{option} " in result.stdout
    for example in cli.EXAMPLES:
        assert example in result.stdout


@pytest.mark.parametrize("example", cli.EXAMPLES)
def test_the_examples_in_the_help_run(example, csv, monkeypatch):
    """As printed, but with the first rows of small made-up data in place of the known sets."""
    rng = np.random.default_rng(0)
    real = datasets.load

    def load(name, **options):
        if name == csv:
            return real(name, **options)
        assert name in datasets.names()
        X = rng.standard_normal((80, 3)).astype(np.float32)
        task = datasets.describe(name).split(":")[0]
        y = X[:, 0] + rng.standard_normal(80)
        if task != "regression":
            assert task == "binary" or options["positive"] is not None
            y, task = np.sign(y), "binary"
        y = y.astype(np.float32)
        return datasets.Dataset(name, X[:60], y[:60], X[60:], y[60:], (), task, (), "made up")

    monkeypatch.setattr(datasets, "load", load)
    command, *args = example.split()
    assert command == "fastlsgd"
    result = run(*args)
    assert result.exit_code == 0, result.stderr
    assert "mini-batch averaging" in result.stdout
    wrote = {entry for entry in os.listdir() if entry != csv}
    assert len(wrote) == (0 if "--no-files" in args else 2)


def test_the_help_says_how_files_are_read_and_what_schedules_are_compared():
    words = re.sub(r"[\s│]+", " ", run("tradeoff", "--help", env={"COLUMNS": "160"}).stdout)
    for said in ("one-hot", "standardised on the training part", "taken as they are", "Runs per method and step",
                 "default: minibatch,16,256,adaptive,adaptive-eff,one-shot"):  # fmt: skip
        assert said in words
    default = re.search(r"default: ([^.]*)\.", cli.SCHEDULES_HELP)[1]
    assert [str(item) for item in parse_schedules(default)] == [
        str(item) for item in parse_schedules("minibatch,16,256,adaptive,adaptive-eff,one-shot")
    ]
