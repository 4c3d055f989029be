"""The picture of a test as HTML: an axis with the phases of each boot as bars, and every event in its own line.

It needs nothing but report.css: no script, no picture file, no font.
"""

import html
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

from bench.contract.events import FOLLOW_UPS, TROUBLE
from bench.faults.network.rules import FaultKind
from bench.pytest_plugin.record import Moment, Phase
from bench.text import printable

_WIDTH, _LANE, _NAMES = 1000, 34, 120  # of the axis, in its own units: all of it, a lane's height, the names' column
_LETTER = 6.2  # width of a letter in a bar
_PLACES = 500  # distinct positions of marks along the axis: a board may print a million lines
_TICKS = 5
_STEPS = (1, 2, 5, 10)
_ROWS = 300  # events that are listed; of more, the first and the last ones
_LONGEST = 200  # characters of an event's details
_GOOD = {"provisioned", "connected", "telemetry", "online", "healed", "port_back"}
_BAD = {*TROUBLE, "power_lost", "port_lost"}
_FAULTS = {each.value for each in FaultKind}
_BENCH = {"switched_on", "switched_off", "reset_line"}
_KINDS = {"quiet": {"console", *FOLLOW_UPS}, "good": _GOOD, "bad": _BAD, "bench": _BENCH, "fault": _FAULTS}


def timeline(
    lanes: Mapping[str, Sequence[Moment]], phases: Sequence[Phase], *, began: float, ended: float, failure: str = ""
) -> str:
    """Draw the timeline of a test.

    Args:
        lanes: The moments of each lane by its name, in order of time.
        phases: The phases of the boards' boots; a board's name is that of its lane.
        began: Start of the test, in seconds since 1970; it is 0 on the axis.
        ended: End of the test, in seconds since 1970.
        failure: Why it failed, which is marked at its end; empty if it did not.

    Returns:
        HTML of one element; the same for the same arguments.
    """
    axis = _Axis(min((each.at for moments in lanes.values() for each in moments), default=began), ended)
    height = _LANE * len(lanes) + 22
    drawn = [
        *_ticks(axis, began, height - 22),
        *(part for row, (name, moments) in enumerate(lanes.items()) for part in _lane(axis, row, name, moments, began)),
        *(_bar(axis, list(lanes).index(each.board), each) for each in phases if each.board in lanes),
    ]
    if failure:
        at = axis.x(ended)
        drawn.append(f'<line class="end" x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="{height - 18}"/>')
    svg = f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="timeline">{"".join(drawn)}</svg>'
    return f'<div class="bench">{svg}{_events(lanes, began, ended, failure)}</div>'


class _Axis:
    """Places on the axis of moments between the first one and the end."""

    def __init__(self, first: float, last: float) -> None:
        self.first, self.length = first, max(last - first, 0.001)

    def x(self, at: float) -> float:
        return _NAMES + (_WIDTH - _NAMES - 10) * min(max((at - self.first) / self.length, 0.0), 1.0)


def _ticks(axis: _Axis, began: float, height: float) -> Iterator[str]:
    """Yield lines at round times, with the seconds since the test began."""
    decimal = 10.0**-6
    while decimal * _STEPS[-1] * _TICKS < axis.length:
        decimal *= 10
    step = next(decimal * each for each in _STEPS if decimal * each * _TICKS >= axis.length)
    at = -(-(axis.first - began) // step) * step
    while at <= axis.first - began + axis.length:
        x = axis.x(began + at)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height}"/>'
        yield f'<text class="tick" x="{x:.1f}" y="{height + 14}">{_seconds(at)}</text>'
        at += step


def _lane(axis: _Axis, row: int, name: str, moments: Sequence[Moment], began: float) -> Iterator[str]:
    y = row * _LANE + 26
    yield f'<text class="lane" x="0" y="{y}">{_text(name[:18])}</text>'
    yield f'<line class="lane" x1="{_NAMES}" x2="{_WIDTH}" y1="{y}" y2="{y}"/>'
    drawn: set[tuple[str, int]] = set()
    for each in sorted(moments, key=lambda each: _kind(each.what) != "quiet"):  # what matters lies above
        kind, x = _kind(each.what), axis.x(each.at)
        if (place := (kind, round((each.at - axis.first) / axis.length * _PLACES))) not in drawn:
            drawn.add(place)
            title = f"{_text(each.what)} {_text(each.detail[:_LONGEST])} {_seconds(each.at - began)}"
            size = 2 if kind == "quiet" else 4
            yield f'<circle class="{kind}" cx="{x:.1f}" cy="{y}" r="{size}"><title>{title}</title></circle>'


def _bar(axis: _Axis, row: int, phase: Phase) -> str:
    left, right = axis.x(phase.began), axis.x(phase.ended)
    took = f"{(phase.ended - phase.began) * 1000:.0f} ms"
    label = next(
        (each for each in (f"{phase.name} {took}", phase.name, took) if len(each) * _LETTER < right - left), ""
    )
    name = phase.name.replace(" ", "-")
    return (
        f'<g class="phase {name}"><title>{phase.name} {took}</title>'
        f'<rect x="{left:.1f}" y="{row * _LANE + 4}" width="{max(right - left, 1):.1f}" height="14" rx="2"/>'
        f'<text x="{left + 3:.1f}" y="{row * _LANE + 15}">{label}</text></g>'
    )


def _events(lanes: Mapping[str, Sequence[Moment]], began: float, ended: float, failure: str) -> str:
    """Return the table of events, a column for each lane; lines of a console are in the console alone."""
    listed = sorted(
        ((each, column) for column, moments in enumerate(lanes.values()) for each in moments if each.what != "console"),
        key=lambda pair: pair[0].at,
    )
    heads = "".join(f"<th>{_text(name)}</th>" for name in lanes)
    rows = list(_rows(listed, len(lanes), began))
    if len(rows) > _ROWS:
        left_out = (
            f'<tr class="quiet"><td></td><td colspan="{len(lanes) + 1}">{len(rows) - _ROWS} more events</td></tr>'
        )
        rows = [*rows[: _ROWS // 2], left_out, *rows[-_ROWS // 2 :]]
    if failure:
        rows.append(
            f'<tr class="failed"><td>{_seconds(ended - began)}</td><td></td>'
            f'<td colspan="{len(lanes)}">{_text(failure[:_LONGEST])}</td></tr>'
        )
    return f'<table class="events"><tr><th>time</th><th>since</th>{heads}</tr>{"".join(rows)}</table>'


def _rows(listed: Iterable[tuple[Moment, int]], lanes: int, began: float) -> Iterator[str]:
    first: list[tuple[Moment | None, int]] = [(None, 0)]
    for (before, _), (each, column) in itertools.pairwise([*first, *listed]):
        since = f"+{(each.at - before.at) * 1000:.0f} ms" if before and each else ""
        assert each
        cells = ["<td></td>"] * lanes
        cells[column] = f"<td><b>{_text(each.what)}</b> {_text(each.detail[:_LONGEST])}</td>"
        at = _seconds(each.at - began)
        yield f'<tr class="{_kind(each.what)}"><td>{at}</td><td>{since}</td>{"".join(cells)}</tr>'


def _seconds(value: float) -> str:
    return f"{value:.3f} s" if value < 100 else f"{value:.1f} s"


def _kind(what: str) -> str:
    return next((kind for kind, names in _KINDS.items() if what in names), "plain")


def _text(text: str) -> str:
    return html.escape(printable(text))
