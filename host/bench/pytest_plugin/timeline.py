"""The picture of a test: one time axis, a lane for each board, the server, and the network's faults."""

import io
from collections.abc import Mapping, Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.contract.events import FOLLOW_UPS, TROUBLE
from bench.faults.network.rules import FaultKind
from bench.pytest_plugin.record import Moment

_WIDTH, _LANE, _MARGIN = 11.0, 1.25, 0.7  # inches
_PLACES = 1000  # distinct positions of marks along the axis
_APART = 0.017  # of the width: labels that are closer go into one
_LONGEST = 40  # characters of a label
_QUIET = {"console", *FOLLOW_UPS}
_COLOURS = {
    "good": "#2e7d32",
    "bad": "#c62828",
    "plain": "#37474f",
    "fault": "#ad1457",
    "bench": "#1565c0",
    "quiet": "#b0bec5",
}
_GOOD = {"provisioned", "connected", "telemetry", "online", "healed", "port_back"}
_BAD = {*TROUBLE, "power_lost", "port_lost"}
_FAULTS = {each.value for each in FaultKind}
_BENCH = {"switched_on", "switched_off", "reset_line"}
_KINDS = {"quiet": _QUIET, "good": _GOOD, "bad": _BAD, "bench": _BENCH, "fault": _FAULTS}


def picture(lanes: Mapping[str, Sequence[Moment]], *, began: float, ended: float) -> str:
    """Draw the timeline of a test.

    Args:
        lanes: The moments of each lane by its name, in order of time.
        began: Start of the test, in seconds since 1970; it is 0 on the axis.
        ended: End of the test, in seconds since 1970.

    Returns:
        An SVG document that begins with the first moment; the same for the same arguments.
    """
    with rc_context({"svg.hashsalt": "firstboot", "svg.fonttype": "none", "font.size": 7.5}):
        figure = Figure(figsize=(_WIDTH, _MARGIN + _LANE * max(len(lanes), 1)), layout="constrained")
        axes = figure.add_subplot()
        first = min((each.at for moments in lanes.values() for each in moments), default=began)
        length = max(ended - first, 0.001)
        axes.set_xlim(first - began - 0.01 * length, ended - began + 0.06 * length)
        axes.set_ylim(-0.9, len(lanes) - 0.6)
        axes.invert_yaxis()
        axes.set_yticks(range(len(lanes)), list(lanes))
        axes.set_xlabel("seconds since the test began")
        axes.grid(axis="x", color="#eceff1")
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(left=False)
        for row, moments in enumerate(lanes.values()):
            axes.axhline(row, color="#cfd8dc", linewidth=0.8, zorder=1)
            _lane(axes, row, [(each.at - began, each.what) for each in moments], length)
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata={"Date": None})
    return written.getvalue()


def _lane(axes: Axes, row: int, moments: Sequence[tuple[float, str]], length: float) -> None:
    group: list[str] = []
    group_at = -1.0
    drawn: set[tuple[str, int]] = set()
    for at, what in moments:
        place = (_colour(what), round(at / length * _PLACES))
        if place not in drawn:  # one mark on another shows nothing, and a board may print a million lines
            drawn.add(place)
            axes.plot([at], [row], marker="|" if what in _QUIET else "o", markersize=4, color=place[0], zorder=2)
        if what in _QUIET:
            continue
        if group and at - group_at < _APART * length:
            group.append(what)
            continue
        _label(axes, row, group_at, group)
        group, group_at = [what], at
    _label(axes, row, group_at, group)


def _label(axes: Axes, row: int, at: float, group: list[str]) -> None:
    if not group:
        return
    text = _ascii(group[0]) if len(group) == 1 else f"{_ascii(group[-1])} (+{len(group) - 1})"
    worst = next((each for each in group if each in _BAD), group[-1])
    axes.text(
        at, row - 0.08, text, rotation=38, rotation_mode="anchor", va="bottom", color=_colour(worst), parse_math=False
    )


def _ascii(what: str) -> str:
    """Return a label of printable ASCII, which every font has and XML allows: a board may print anything."""
    return "".join(each if " " <= each <= "~" else "?" for each in what[:_LONGEST])


def _colour(what: str) -> str:
    for kind, names in _KINDS.items():
        if what in names:
            return _COLOURS[kind]
    return _COLOURS["plain"]
