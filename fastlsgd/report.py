"""A comparison for people: its numbers in few digits, header lines, one table.

Works on any object with the attributes of ``experiments.Comparison``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

REFERENCE = "mini-batch averaging"
LARGE_BATCH = re.compile(r"large mini-batch, rounds of (.+)")

# Fields of schedules that their users rarely set.
DEFAULTS = ("c=1.0", "form='mu'", "power=1.0")

# ---- numbers ----


def sig(value: float, digits: int = 2) -> str:
    """Return the value with that many significant digits: 0.069, 4.1e-5, 2,100.

    >>> sig(0.0694), sig(4.13e-5), sig(2123.0), sig(float("nan"))
    ('0.069', '4.1e-5', '2,100', '-')
    """
    if math.isnan(value):
        return "-"
    if math.isinf(value) or value == 0:
        return f"{value:g}"
    exponent = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))
    if not -4 < exponent < 7:
        return _short(f"{value:.{digits - 1}e}")
    rounded = round(value, digits - 1 - exponent)
    return f"{rounded:,.{max(0, digits - 1 - exponent)}f}"


def _short(scientific: str) -> str:
    mantissa, exponent = scientific.split("e")
    return f"{mantissa}e{int(exponent)}"


def step(eta: float) -> str:
    """Return a step size in at most two digits: 0.069, 0.1, 1.4e-5."""
    text = sig(eta)
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def plain(value: float) -> str:
    """Return a number the user has set, in the fewest digits: 1e-4, 0.069, 1."""
    text = f"{value:.6g}"
    if "e" in text or (value and abs(value) < 1e-3):
        mantissa, exponent = f"{value:.5e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return text


def _fixed(value: float, decimals: int) -> str:
    """Return the value with so many decimals, never as -0.00."""
    text = f"{value:,.{decimals}f}"
    return text.lstrip("-") if not text.strip("-0.,") else text


def interval(mean: float, low: float, high: float, digits: int = 2) -> str:
    """Return the value and its interval, the exponent written once: 4.1 [3.9, 4.3]e-5.

    >>> interval(4.1e-5, 3.94e-5, 4.31e-5), interval(1.06, 1.01, 1.12)
    ('4.1 [3.9, 4.3]e-5', '1.06 [1.01, 1.12]')
    """
    if mean == math.inf:
        return "diverged"
    if not math.isfinite(mean) or math.isnan(low) or math.isnan(high) or low == high:
        return sig(mean, digits)
    exponent = math.floor(math.log10(abs(mean))) if mean else 0
    if -1 <= exponent <= 3:
        decimals = digits if exponent <= 0 else max(0, digits - exponent)
        return f"{_fixed(mean, decimals)} [{_fixed(low, decimals)}, {_fixed(high, decimals)}]"
    scale, decimals = 10.0**-exponent, digits - 1
    mantissas = [_fixed(value * scale, decimals) for value in (mean, low, high)]
    return f"{mantissas[0]} [{mantissas[1]}, {mantissas[2]}]e{exponent}"


def plus_minus(mean: float, low: float, high: float, digits: int = 2) -> str:
    """Return the value and half the width of its interval in percent, if that says anything: 4.1e-5 ±5%."""
    if mean == math.inf:
        return "diverged"
    if not math.isfinite(mean) or not high - low > 0 or mean <= 0:
        return sig(mean, digits)
    percent = 50 * (high - low) / mean
    return f"{sig(mean, digits)} ±{'>100' if percent > 100 else sig(percent, 1)}%"


def human_bytes(n_bytes: float) -> str:
    """Return bytes in the largest unit that leaves a number of at least one.

    >>> human_bytes(0), human_bytes(3712), human_bytes(486_000_000)
    ('0', '3.7 kB', '486 MB')
    """
    if n_bytes < 1000:
        return f"{n_bytes:.0f}" if n_bytes < 1 else f"{n_bytes:.0f} B"
    for unit in ("kB", "MB", "GB", "TB", "PB"):
        n_bytes /= 1000
        if n_bytes < 999.5 or unit == "PB":
            break
    return f"{n_bytes:.1f} {unit}" if n_bytes < 9.95 else f"{n_bytes:,.0f} {unit}"


def _rate(per_second: float) -> str:
    if not math.isfinite(per_second):
        return "-"
    if per_second >= 1e6:
        return f"{sig(per_second / 1e6)}M"
    return f"{sig(per_second / 1e3)}k" if per_second >= 1e3 else sig(per_second)


def passes(n: float) -> str:
    """Return n passes in words: 1 pass, 4 passes, 1.5 passes."""
    return "1 pass" if n == 1 else f"{plain(n)} passes"


def rounds(n: int) -> str:
    """Return n rounds in words: 1 round, 1,510 rounds."""
    return "1 round" if n == 1 else f"{n:,} rounds"


# ---- the table ----


@dataclass(frozen=True)
class _Layout:
    """How much of each number is shown; the first of ``LAYOUTS`` that fits is taken."""

    spread: Callable[..., str]
    digits: int = 2
    speeds: bool = True


@dataclass(frozen=True)
class _Column:
    title: str
    cell: Callable[[Any], str]
    justify: str = "right"


def short_name(method: str) -> str:
    """Return the method's name as tables and pictures have it, short enough for a column.

    >>> short_name("large mini-batch, rounds of period 16"), short_name("GrowingPeriod(first=4, power=1.0)")
    ('large mini-batch (16)', 'GrowingPeriod(4)')
    """
    if match := LARGE_BATCH.fullmatch(method):
        return f"large mini-batch ({match[1].removeprefix('period ')})"
    if "(" in method and "=" in method:  # the repr of a schedule: its values, those left at their default left out
        values = [
            part for part in re.split(r", (?=\w+=)", method[method.index("(") + 1 : -1]) if part not in DEFAULTS
        ]
        return f"{method[: method.index('(')]}({', '.join(part.split('=', 1)[1] for part in values)})"
    return method.replace("one Newton", "Newton")


def by_method(rows: Iterable[Any]) -> list[Any]:
    """Return the rows in reading order: schedules, then baselines; a method's common and own rows together."""
    rows = list(rows)
    first = {row.method: i for i, row in reversed(list(enumerate(rows)))}
    steps = {"common": 0, "own": 1, "none": 2}
    return sorted(rows, key=lambda row: (row.kind != "schedule", first[row.method], steps.get(row.step, 3)))


def _step_cell(row: Any) -> str:
    return "-" if row.step == "none" else f"{row.step} {step(row.eta)}"


LAYOUTS = (_Layout(interval, 3), _Layout(interval), _Layout(plus_minus), _Layout(plus_minus, speeds=False))


def _columns(comparison: Any, layout: _Layout) -> list[_Column]:
    spread, digits = layout.spread, layout.digits
    full = spread is interval
    resolution = comparison.facts.get("excess_resolution", 0.0)
    unresolved = {row.step for row in comparison.rows if row.method == REFERENCE and row.excess_mean <= resolution}

    def excess(row: Any) -> str:
        if row.excess_mean <= resolution:
            return "0 (rounding)"
        return spread(row.excess_mean, row.excess_low, row.excess_high, digits)

    def ratio(row: Any) -> str:
        if row.excess_mean <= resolution or {"none": "own"}.get(row.step, row.step) in unresolved:
            return "- (rounding)"
        return spread(row.ratio, row.ratio_low, row.ratio_high, 2 if full else 3)

    columns = [
        _Column("method", lambda row: short_name(row.method), "left"),
        _Column("step", _step_cell, "left"),
        _Column("rounds", lambda row: f"{row.n_rounds:,}"),
        _Column("bytes", lambda row: human_bytes(row.n_bytes)),
        *(_speeds(comparison) if layout.speeds else ()),
        _Column(
            "excess objective\nof w_bar" if full else "excess\nof w_bar",
            excess,
            "left",
        ),
        _Column(
            "ratio to mini-\nbatch averaging" if full else "ratio to\nmini-batch",
            ratio,
            "left",
        ),
    ]
    metric = comparison.facts.get("metric", "")
    return [*columns, _Column(f"test\n{metric}", _metric_cell)] if metric else columns


def _speeds(comparison: Any) -> list[_Column]:
    spans = [getattr(row, f"{part}_s") for row in comparison.rows for part in ("compute", "wait", "average")]
    in_seconds = max([span for span in spans if math.isfinite(span)], default=0.0) >= 10.0
    unit, scale = ("s", 1.0) if in_seconds else ("ms", 1e3)

    def seconds(name: str) -> Callable[[Any], str]:
        def cell(row: Any) -> str:
            value = getattr(row, name) * scale
            return "-" if math.isnan(value) else f"{value:.1f}" if value < 9.95 else f"{value:.0f}"

        return cell

    return [
        _Column("grads\nper s", lambda row: _rate(row.gradients_per_s)),
        _Column(f"comp.\n{unit}", seconds("compute_s")),
        _Column(f"wait\n{unit}", seconds("wait_s")),
        _Column(f"avg.\n{unit}", seconds("average_s")),
    ]


def _metric_cell(row: Any) -> str:
    value = row.test_metric
    return "-" if math.isnan(value) else _fixed(value, 4) if abs(value) < 10 else sig(value)


def _width(columns: list[_Column], rows: list[Any], layout: _Layout) -> int:
    """Return the columns of a terminal that the table needs; names may wrap at spaces where room is scarce."""
    total = len(columns) - 1
    for column in columns:
        lines = [*column.title.split("\n"), *(column.cell(row) for row in rows)]
        if column.title == "method" and layout.spread is plus_minus:
            lines = [word for line in lines for word in line.split()]
        total += max(map(len, lines))
    return total


def table(comparison: Any, width: int = 120) -> Table:
    """Lay the comparison out as one table: a row a method and step, schedules first.

    Parameters
    ----------
    comparison : Comparison
        Or any object with ``rows`` and ``facts`` like it.
    width : int
        Columns of the terminal. With about 120, intervals are written out; with 100, as +- percent; with 80, the
        speeds are left out. Nothing is ever cut off with an ellipsis.

    Returns
    -------
    rich.table.Table
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    rows = by_method(comparison.rows)
    fitting = (one for one in LAYOUTS if _width(_columns(comparison, one), rows, one) <= width)
    layout = next(fitting, LAYOUTS[-1])
    out = Table(box=box.SIMPLE_HEAD, padding=(0, 0), pad_edge=False, show_edge=False)
    out.caption, out.caption_justify, out.caption_style = _caption(comparison, layout), "left", "dim"
    columns = _columns(comparison, layout)
    for column in columns:
        # The name is the only cell that may wrap: numbers that wrap cannot be read.
        wraps = column.title == "method"
        justify: Any = column.justify
        out.add_column(column.title, justify=justify, no_wrap=not wraps, vertical="top", overflow="fold")
    kind = None
    for row in rows:
        if kind is not None and row.kind != kind:
            out.add_section()
        kind = row.kind
        # Text: a bracket in a string might be taken for a style.
        out.add_row(*(Text(column.cell(row)) for column in columns), style="dim" if row.step == "common" else None)
    return out


def _caption(comparison: Any, layout: _Layout) -> str:
    words = [
        "excess: F(w_bar) - F(w*), mean over replicates"
        + (" and 95% interval" if layout.spread is interval else " ± half of its 95% interval")
        + "; the ratio is to mini-batch averaging at the same kind of step"
    ]
    if layout.speeds:
        words.append("comp., wait, avg.: computing, waiting for other threads, averaging (means over threads)")
    else:
        words.append("speeds need about 100 columns; they are in the parquet file")
    large = next((row.method for row in comparison.rows if LARGE_BATCH.fullmatch(row.method)), None)
    if large is not None:
        twin = short_name(large.removeprefix("large mini-batch, rounds of "))
        words.append(f"{short_name(large)}: rounds and gradients of {twin}")
    return "\n".join(words)


def header(comparison: Any) -> list[str]:
    """Return the lines above the table: what was compared, the constants of the problem, what the numbers are."""
    facts = comparison.facts
    intercept = " + intercept" if facts.get("fit_intercept") else ""
    sampling = {
        "replacement": "with replacement",
        "reshuffle": "reshuffled",
        "blocks": "reshuffled in blocks",
    }.get(facts["sampling"], facts["sampling"])
    n_gradients = facts["n_workers"] * facts["n_steps"]
    steps = (
        f"P = {facts['n_workers']} workers, {facts['n_steps']:,} step{'' if facts['n_steps'] == 1 else 's'} each "
        f"({passes(facts['n_passes'])}, {sampling}: {n_gradients:,} gradients), "
        f"{facts['replicates']} replicates from seed {facts['seed']}, "
        f"{facts['n_threads']} thread{'' if facts['n_threads'] == 1 else 's'}"
    )
    constants = (
        f"mu {sig(facts['mu'])}, mu_eff {sig(facts['mu_eff'])}, safe step {step(facts['safe_step'])}, "
        + (f"step bound {sig(facts['step_bound'])}, " if facts["loss"] == "squared" else "")
        + f"statistical floor {sig(facts['floor'])} (less is sampling noise)"
    )
    lines = [
        f"{facts.get('name') or 'data'}: {_rows(facts)} x {facts['n_features']:,} features{intercept}, "
        f"{facts.get('dtype', '')}, {facts['loss']} loss, l2 {plain(facts['l2'])}",
        steps,
        constants,
        f"common step {_common_step(comparison)}, the same for all; own step: the best of a factor-2 grid, chosen on "
        "other seeds",
    ]
    if facts.get("metric"):
        lines.append(
            f"at the optimum: F {sig(facts['f_star'], 5)}, test {facts['metric']} "
            f"{_fixed(facts['test_metric_at_optimum'], 4)} (standard error {sig(facts['test_metric_se'])})"
        )
    return lines


def _rows(facts: Any) -> str:
    if facts.get("n_test"):
        return f"{facts['n_samples']:,} training rows (+ {facts['n_test']:,} test)"
    return f"{facts['n_samples']:,} {'training rows' if facts.get('metric') else 'rows'}"


def _common_step(comparison: Any) -> str:
    etas = [row.eta for row in comparison.rows if row.step == "common" and math.isfinite(row.eta)]
    if not etas:
        return "none"
    return step(etas[0])
