"""The machine and the versions that a figure belongs to."""

from __future__ import annotations

import os
import platform
from importlib import metadata

from .. import _kernels
from ..cores import available_cores, caches


def facts() -> dict[str, str]:
    """Return what a figure depends on: processor, caches, cores, load, instruction set, versions."""
    cores, kept = available_cores(), ", ".join(caches()) or "caches unknown"
    lines = {
        "processor": f"{_processor()}, {platform.machine()}; {cores} cores; {kept}",
        "load": f"{_load()} (processes that ran beside make every figure worse)",
        "instruction set": f"{_kernels.isa()} of {', '.join(_kernels.isas())}",
        "python": f"{platform.python_version()}, {platform.system()} {platform.release()}",
    }
    for package in ("fastlsgd", "numpy", "scikit-learn"):
        try:
            lines[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            lines[package] = "not installed"
    return lines


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown processor"


def _load() -> str:
    try:
        return f"{os.getloadavg()[0]:.1f}"
    except OSError:
        return "unknown"
