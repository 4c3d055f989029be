"""Plots of measurements as files, by matplotlib without a screen. Takes a second to import.

The import raises BenchError if matplotlib is not installed.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import extras, paths
from bench.errors import UsageError
from bench.load.statistics import Summary

extras.require("plots", "plots")

import matplotlib as mpl  # noqa: E402 - an extra
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

SUFFIXES = (".svg", ".png")
# The palette of Okabe and Ito, which people with colour vision deficiencies can distinguish.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#999999")
_GRID = "#DDDDDD"
_DPI = 150
_BINS = 30
# The same values make the same file, byte by byte; text stays text.
_STYLE = {"svg.hashsalt": "firstboot", "svg.fonttype": "none", "font.size": 10, "axes.axisbelow": True}


def check(path: Path) -> None:
    """Check a plot's file before anything is measured for it.

    Args:
        path: The file.

    Raises:
        UsageError: It does not end in .svg or .png, its folder does not exist, or it cannot be written.
    """
    if path.suffix not in SUFFIXES:
        raise UsageError(f"{path} does not end in .svg or .png: name a file that does")
    paths.check_place(path)


def histogram(path: Path, series: Mapping[str, Sequence[float]], *, title: str, unit: str) -> None:
    """Draw the histogram of each series that has values, with its median, 95th percentile and maximum.

    Args:
        path: The file, which is overwritten; see `check`.
        series: Times by the series' label.
        title: The title of the plot.
        unit: The unit of the times.

    Raises:
        OSError: The file cannot be written.
    """
    filled = {name: values for name, values in series.items() if values}
    with mpl.rc_context(_STYLE):  # type: ignore[arg-type] # its keys are a type of their own
        figure = Figure(figsize=(8, 1 + 2.6 * max(len(filled), 1)), layout="constrained")
        figure.suptitle(title, fontweight="bold")
        rows = figure.subplots(max(len(filled), 1), 1, squeeze=False)[:, 0]
        for axes, (name, values), colour in zip(rows, filled.items(), _COLOURS, strict=False):
            axes.hist(values, bins=_BINS, color=colour, edgecolor="white", linewidth=0.5)
            _plain(axes)
            _mark(axes, values, unit)
            axes.set_xlim(left=0)
            axes.set_xlabel(f"{name}: time until the first telemetry is acknowledged, {unit} (n = {len(values):,})")
            axes.set_ylabel("devices")
        _save(figure, path)


def phases(path: Path, rounds: Sequence[Mapping[str, float]], *, title: str, unit: str) -> None:
    """Draw the median and 95th percentile of each phase, and below them the distribution of the time to each step.

    Args:
        path: The file, which is overwritten; see `check`.
        rounds: The time of each step since the round's begin, in the order of the steps; at least one round. A step
            that is missing in one of them is left out.
        title: The title of the plot.
        unit: The unit of the times.

    Raises:
        OSError: The file cannot be written.
    """
    steps = [step for step in rounds[0] if all(step in each for each in rounds)]
    with mpl.rc_context(_STYLE):  # type: ignore[arg-type] # see histogram
        figure = Figure(figsize=(9, 7.5), layout="constrained")
        figure.suptitle(title, fontweight="bold")
        above, below = figure.subplots(2, 1)
        _bars(above, rounds, steps, unit)
        for step, colour in zip(steps, _COLOURS, strict=False):
            below.ecdf([each[step] for each in rounds], color=colour, linewidth=1.8, label=step)
        _plain(below)
        below.set_xlim(left=0)
        below.set_xlabel(f"time since power-on, {unit}")
        below.set_ylabel("share of the rounds that got so far")
        below.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
        _save(figure, path)


def _bars(axes: Axes, rounds: Sequence[Mapping[str, float]], steps: Sequence[str], unit: str) -> None:
    took = {
        step: [each[step] - (each[before] if before else 0.0) for each in rounds]
        for before, step in zip(["", *steps], steps, strict=False)
    }
    for row, (values, colour) in enumerate(zip(took.values(), _COLOURS, strict=False)):
        found = Summary.of(values)
        assert found
        axes.barh(row, found.p50, color=colour, height=0.6)
        axes.plot([found.p50, found.p95], [row, row], color="black", linewidth=1.2)
        axes.plot(found.p95, row, marker="|", color="black", markersize=9)
        axes.annotate(
            f"{found.p50:.1f}", (max(found.p95, found.p50), row), xytext=(6, 0), textcoords="offset points", va="center"
        )
    _plain(axes)
    axes.set_yticks(range(len(steps)), [f"to {step}" for step in steps])
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"time of the phase, {unit}: median, and the line to the 95th percentile")


def _plain(axes: Axes) -> None:
    axes.grid(color=_GRID, linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)


def _mark(axes: Axes, values: Sequence[float], unit: str) -> None:
    found = Summary.of(values)
    assert found
    for style, name in (("-", "p50"), ("--", "p95"), (":", "max")):
        value = getattr(found, name)
        axes.axvline(value, color="black", linestyle=style, linewidth=1.2, label=f"{name} {value:.3g} {unit}")
    axes.legend(frameon=False)


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
    figure.savefig(path, dpi=_DPI, metadata=metadata)
