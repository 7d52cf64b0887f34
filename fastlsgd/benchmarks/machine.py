"""The machine and the versions that a figure belongs to."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

from .. import _kernels
from ..cores import available_cores


def facts() -> dict[str, str]:
    """Return what a figure depends on: processor, caches, cores, load, instruction set, versions."""
    lines = {
        "processor": f"{_processor()}, {platform.machine()}; {available_cores()} cores; {_caches()}",
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


def _caches() -> str:
    found = {}
    for folder in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            kind, level, size = ((folder / name).read_text().strip() for name in ("type", "level", "size"))
        except OSError:
            continue
        if kind != "Instruction":
            found[f"L{level}"] = size
    return ", ".join(f"{level} {size}" for level, size in sorted(found.items())) or "caches unknown"


def _load() -> str:
    try:
        return f"{os.getloadavg()[0]:.1f}"
    except OSError:
        return "unknown"
