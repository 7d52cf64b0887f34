"""Ctrl-C while the command line is still being imported: one line on stderr and exit code 130.

The package imports this first. Where it is imported for the command ``fastlsgd`` or ``python -m fastlsgd``,
nothing has been done yet that could be lost, and an import that is interrupted may swallow the interrupt or fail in
ways of its own; so the handler leaves at once, until the command line installs its own. Where the package is imported
as a library nothing is changed.
"""

import itertools
import os
import signal
import sys
from typing import Any


def _is_the_command() -> bool:
    # While python -m looks for what to run, the name of the program is "-m": of any program.
    program = (getattr(sys, "argv", None) or [""])[0]
    if program == "-m":
        asked = sys.orig_argv
        return "-mfastlsgd" in asked or ("-m", "fastlsgd") in itertools.pairwise(asked)
    return os.path.basename(program) in ("fastlsgd", "fastlsgd.exe")


def _leave(*_: Any) -> None:
    os.write(2, b"fastlsgd: interrupted\n")
    os._exit(130)


if _is_the_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _leave)
