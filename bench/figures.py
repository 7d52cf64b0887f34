"""The two pictures of docs/benchmarks.md, measured here and now: ``python -m bench.figures [FOLDER]``.

roofline.png: what the step loop reaches below the ceilings of memory and arithmetic. cache_sweep.png: the read
stream from 32 KB to 4 GB.
"""

from __future__ import annotations

import sys
from functools import cache, partial
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

import fastlsgd as fl
from fastlsgd.benchmarks import limits, machine, problems
from fastlsgd.benchmarks.timing import Pass, alternate

BLUE, VERMILLION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#7F7F7F"
COLORS = {20: BLUE, 100: VERMILLION, 1_000: GREEN}
N_THREADS = 2
# A working set that each level holds, for two threads together.
LEVELS = {"L1": 32 << 10, "L2": 1 << 20, "L3": 16 << 20, "memory": 1 << 28}
# Intensities that the picture spans, in operations a byte.
SPAN = np.array([0.35, 24.0])
SIZE_IN, DPI = (8.4, 5.2), 150


@cache
def sweep() -> tuple[dict[str, float], ...]:
    return tuple(limits.cache_sweep())


def bandwidth(n_bytes: float, n_threads: int = N_THREADS) -> float:
    """Return the GB/s of the largest working set of the sweep that is not above n_bytes."""
    return [row[f"gb_s_{n_threads}"] for row in sweep() if row["n_bytes"] <= n_bytes][-1]


def cache_sweep(path: Path) -> None:
    """Draw the read bandwidth against the working set, one thread and two."""
    figure, axes = plt.subplots(figsize=SIZE_IN, dpi=DPI, layout="constrained")
    sizes = [row["n_bytes"] for row in sweep()]
    for n, color in ((1, BLUE), (2, VERMILLION)):
        rates = [row[f"gb_s_{n}"] for row in sweep()]
        words = f"{n} thread{'s' * (n > 1)}; {rates[-1]:.0f} GB/s at {named_bytes(int(sizes[-1]))}"
        axes.plot(sizes, rates, "o-", color=color, markersize=4, label=words)
    axes.set(xscale="log", yscale="log", xlabel="working set of all threads together", ylabel="GB read a second")
    ticks = [2**k for k in range(15, 33, 3) if 2**k <= sizes[-1]]
    axes.set_xticks(ticks, [named_bytes(tick) for tick in ticks])
    axes.minorticks_off()
    low, high = min(row["gb_s_1"] for row in sweep()), max(row["gb_s_2"] for row in sweep())
    axes.set_ylim(low / 1.5, high * 1.5)
    marks = [mark for mark in (10, 20, 50, 100, 200, 500, 1000) if low / 1.5 < mark < high * 1.5]
    axes.set_yticks(marks, [str(mark) for mark in marks])
    axes.grid(alpha=0.3)
    axes.legend(loc="upper right", frameon=False)
    axes.set_title(f"Read stream\n{machine.facts()['processor']}", fontsize=9, loc="left")
    figure.savefig(path)
    plt.close(figure)


def named_bytes(n: int) -> str:
    return f"{n >> 30} GB" if n >= 1 << 30 else f"{n >> 20} MB" if n >= 1 << 20 else f"{n >> 10} KB"


def points(small: bool) -> list[tuple[int, int, float, float, float]]:
    """Return (features, batch size, operations a byte, operations a second, GB/s) of the step loop on two threads.

    The last is the read stream over the same rows, in turns with the steps: memory is now faster, now slower.
    """
    found = []
    for d in COLORS:
        problem = problems.logistic(d, small=small)
        total = limits.words_sum(problem.X)
        stream = partial(limits.read_s, problem.X, N_THREADS, best_of=1, total=total)
        for batch in (1, 32):
            work = Pass(problem, n_threads=N_THREADS, batch_size=batch, schedule=fl.FixedPeriod(256)).check()
            flops = d * limits.flops_a_feature(batch)
            turns = list(alternate({"steps": work, "stream": stream}, 5))
            step_s, read_s = (min(turn[name] for turn in turns) for name in ("steps", "stream"))
            found.append((d, batch, flops / (4 * d + 4), flops / step_s, problem.X.nbytes / read_s / 1e9))
    return found


def roofline(path: Path, *, small: bool = False) -> None:
    """Draw operations a second against operations a byte, below the ceilings of memory and arithmetic."""
    figure, axes = plt.subplots(figsize=SIZE_IN, dpi=DPI, layout="constrained")
    peaks = {name: N_THREADS * limits.peak_flops(width) / 1e9 for name, width in vectors().items()}
    roof = max(peaks.values())
    slopes = {name: bandwidth(n_bytes) for name, n_bytes in LEVELS.items()}
    for name, rate in slopes.items():
        reach = np.array([SPAN[0], min(roof / rate, SPAN[1])])
        axes.plot(
            reach, rate * reach, color="black" if name == "memory" else GREY, lw=1.6 if name == "memory" else 0.9
        )
    for name, peak in peaks.items():
        axes.plot([SPAN[0], SPAN[1]], [peak, peak], color=GREY, lw=0.9)
        axes.annotate(
            f"{name}, {peak:.0f} Gflop/s",
            (SPAN[1], peak),
            (-4, 3),
            textcoords="offset points",
            ha="right",
            fontsize=7.5,
        )
    measured = points(small)
    for d, batch, intensity, rate, gb_s in measured:
        ceiling = min(roof, gb_s * intensity)
        look = {"marker": "o" if batch == 1 else "s", "color": COLORS[d], "markersize": 7}
        label = f"d = {d}, batch {batch}: {rate / 1e9:.0f} Gflop/s, {rate / 1e9 / ceiling:.2f} of its ceiling"
        axes.plot([intensity], [rate / 1e9], ls="none", label=label, mfc=COLORS[d] if batch == 1 else "white", **look)
    axes.set(
        xscale="log", yscale="log", xlim=SPAN, xlabel="operations a byte read", ylabel="Gflop a second, two threads"
    )
    low = min(rate for *_, rate, _ in measured) / 1e9 / 3
    axes.set_ylim(low, 2 * roof)
    marks = [mark for mark in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if low < mark < 2 * roof]
    axes.set_yticks(marks, [str(mark) for mark in marks])
    axes.set_xticks([0.5, 1, 2, 4, 8, 16], ["0.5", "1", "2", "4", "8", "16"])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize=7.5, frameon=True)
    axes.set_title(
        "Averaged logistic SGD, float32, P = 2 on two threads, period 256, packed rows out of cache\n"
        "a row: 4d + 4 bytes; 7d operations at batch 1, 4d + 4d/32 at batch 32; "
        "a point's ceiling: the read stream in turns with it",
        fontsize=9, loc="left",
    )  # fmt: skip
    label_slopes(figure, axes, slopes)
    figure.savefig(path)
    plt.close(figure)


def label_slopes(figure: plt.Figure, axes: plt.Axes, slopes: dict[str, float]) -> None:
    """Write each level's bandwidth on its line, one further along than the other: the caches' lie close together."""
    figure.draw_without_rendering()  # from here on a slope on the paper is known
    for i, (name, rate) in enumerate(reversed(slopes.items())):  # memory before all points
        x = 1.3 * SPAN[0] * 1.55**i
        (x0, y0), (x1, y1) = axes.transData.transform([(x, rate * x), (2 * x, 2 * rate * x)])
        axes.annotate(
            f"{name}, {rate:.0f} GB/s", (x, rate * x), fontsize=8,
            rotation=np.degrees(np.arctan2(y1 - y0, x1 - x0)), rotation_mode="anchor",
            ha="center", va="center", bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
        )  # fmt: skip


def vectors() -> dict[str, int]:
    """Return the instruction sets the kernels are compiled for on this processor, with the bytes of their vectors."""
    return {name: limits.VECTOR_BYTES[name] for name in fl._kernels.isas() if name in limits.VECTOR_BYTES}


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs")
    cache_sweep(folder / "cache_sweep.png")
    roofline(folder / "roofline.png")


if __name__ == "__main__":
    main()
