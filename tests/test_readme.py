"""The README keeps its word: its example runs, its map names what is there, and the docstrings' examples hold."""

import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fastlsgd

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_there_are_two_commands_and_each_sets_up_what_it_runs():
    commands = blocks("sh")
    assert len(commands) == 2
    for command in commands:
        assert command.count("\n") == 1, "one line each"
        assert "-m venv" in command
        assert "pip install" in command
    assert "fastlsgd tradeoff" in commands[0]
    assert "pytest" in commands[1]


@pytest.mark.parametrize("example", blocks("python"), ids=lambda text: text.splitlines()[0])
def test_the_examples_run_as_they_stand(example):
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    excess = re.search(r"excess (\S+) after (\d+) averagings", done.stdout)
    if excess:
        assert 0 < float(excess[1]) < 0.01
        assert int(excess[2]) == 196


def test_every_path_in_the_map_exists():
    names = re.findall(r"^(\S+?/?)\s{2,}\S", blocks("text")[0], re.MULTILINE)
    assert len(names) > 15
    for name in names:
        assert (ROOT / name).exists(), name


def test_every_room_of_the_package_is_in_the_map():
    text = blocks("text")[0]
    for entry in (ROOT / "fastlsgd").iterdir():
        if entry.suffix == ".py" or (entry.is_dir() and (entry / "__init__.py").exists()):
            assert f"fastlsgd/{entry.name}" in text, entry.name


def test_every_file_of_the_kernels_is_in_the_map():
    text = blocks("text")[0]
    for entry in (ROOT / "src").glob("*.[ch]"):
        if entry.name != "_kernels.c":  # made by Cython
            assert re.search(rf"\b{re.escape(entry.name)}\b", text), entry.name


def test_the_picture_is_there():
    for name in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (ROOT / name).stat().st_size > 10_000


def test_what_is_cited_is_in_the_bibliography_which_says_how_far_it_was_read():
    bibliography = (ROOT / "docs" / "bibliography.md").read_text()
    citation = (ROOT / "CITATION.cff").read_text()
    titles = re.findall(r'^    title: "(.*)"$', citation, re.MULTILINE)
    assert len(titles) > 10
    assert len(re.findall(r'^    notes: ".*(abstract read|recalled)"$', citation, re.MULTILINE)) == len(titles)
    for title in titles:
        assert title.lower() in bibliography.lower(), title
    rows = [line.split(" | ") for line in bibliography.splitlines() if line.startswith("| ")]
    for source, read, *_ in rows:
        if source not in ("| source", "|---|---|---|"):
            assert re.match(r"abstract|recalled|code", read), source


def modules():
    for info in pkgutil.walk_packages(fastlsgd.__path__, "fastlsgd."):
        if not info.name.endswith("_kernels"):
            yield info.name


@pytest.mark.parametrize("name", list(modules()))
def test_the_examples_in_docstrings_hold(name):
    module = importlib.import_module(name)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    # pandas and NumPy print at the width of the terminal they think they have.
    assert doctest.testmod(module, optionflags=flags).failed == 0
