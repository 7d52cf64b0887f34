"""C files that are compiled for this very machine when first asked for, and called through ctypes.

Nothing is kept: the library lies in a temporary folder, which is gone as soon as it is loaded. So none
is ever stale, or of another machine.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import subprocess
import sysconfig
import tempfile
from itertools import takewhile
from pathlib import Path

# The kernels' headers, in a checkout; an installed package has none.
SOURCES = Path(__file__).parents[2] / "src"

FLAGS = (
    "-std=c11",
    "-O3",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-shared",
    "-fPIC",
    "-pthread",
)
# Not every compiler knows a name for the machine it runs on.
NATIVE = (("-march=native",), ("-mcpu=native",), ())


class Missing(Exception):  # noqa: N818 - no error: what cannot be measured here is said and left out
    """What a measurement needs is not here; the message says what, and what to do."""


def have_sources() -> bool:
    """Return whether the kernels' C headers are at hand: a checkout, not an installed package."""
    return (SOURCES / "losses.h").exists()


def compiler() -> list[str]:
    """Return the C compiler's command: CC, the one Python was built with, or the first of cc, gcc, clang.

    Raises
    ------
    Missing
        None is installed.
    """
    for command in (os.environ.get("CC"), sysconfig.get_config_var("CC"), "cc", "gcc", "clang"):
        if command and shutil.which(shlex.split(command)[0]):
            return list(takewhile(lambda word: not word.startswith("-"), shlex.split(command)))  # of "env gcc" both
    raise Missing("no C compiler is installed (Debian: apt-get install gcc; macOS: xcode-select --install)")


def load(source: Path, *more_flags: str) -> ctypes.CDLL:
    """Compile the C file for this machine and return it as a library; its calls release the GIL.

    The arithmetic is the kernels' strict one, unless more_flags say otherwise.

    Raises
    ------
    Missing
        There is no compiler, it refuses the file, or the result cannot be loaded.
    """
    command, headers = compiler(), [f"-I{SOURCES}", "-DWITH_SOURCES"] if have_sources() else []
    with tempfile.TemporaryDirectory(prefix="fastlsgd-") as folder:
        library = Path(folder) / f"{source.stem}.so"
        said = ""
        for native in NATIVE:
            whole = [*command, *FLAGS, *more_flags, *native, *headers, str(source), "-o", str(library), "-lm"]
            try:
                done = subprocess.run(whole, capture_output=True, text=True, timeout=120)
            except (OSError, subprocess.TimeoutExpired) as error:
                raise Missing(f"{command[0]} could not be run: {error}") from None
            if done.returncode == 0:
                break
            said = (done.stderr.strip().splitlines() or ["no word of why"])[0]
        else:
            raise Missing(f"{command[0]} refused {source.name}: {said}")
        try:
            return ctypes.CDLL(str(library))
        except OSError as error:
            raise Missing(
                f"{source.name} was compiled and cannot be loaded: {error}; TMPDIR chooses the folder"
            ) from None
