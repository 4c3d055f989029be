"""The timeline of a test: every event by its name, phases to scale, and nothing of what a board prints is markup."""

import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.pytest_plugin.record import Moment, Phase
from bench.pytest_plugin.timeline import timeline

TAGS = {"div", "svg", "line", "text", "circle", "title", "g", "rect", "table", "tr", "th", "td", "b"}
BEGAN = 1_700_000_000.0


def drawn(lanes, phases=(), *, ended=2.0, failure=""):
    """The element's tree, and its text."""
    text = timeline(lanes, phases, began=BEGAN, ended=BEGAN + ended, failure=failure)
    return ET.fromstring(text), text


def moments(*pairs):
    return [Moment(BEGAN + at, what, detail) for at, what, detail in pairs]


def rows(tree):
    return [["".join(cell.itertext()) for cell in row] for row in tree.iter("tr")]


@pytest.mark.parametrize("lanes", [{}, {"board1": []}, {"board1": [], "server": []}])
def test_test_without_events_has_an_empty_timeline(lanes):
    tree, _ = drawn(lanes, ended=0.0)
    assert rows(tree) == [["time", "since", *lanes]]


def test_events_at_the_same_moment_are_each_named():
    names = ["a1", "a2", "a3", "a4", "a5"]
    tree, _ = drawn({"board1": moments(*((0.5, name, "") for name in names))})
    assert [row[2].strip() for row in rows(tree)[1:]] == names


def test_events_of_all_lanes_are_in_order_of_time_in_their_columns():
    tree, _ = drawn(
        {
            "board1": moments((0.1, "boot", ""), (0.4, "connected", "twin")),
            "server": moments((0.25, "exchange", "SUCCESS")),
        }
    )
    assert rows(tree)[1:] == [
        ["0.100 s", "", "boot ", ""],
        ["0.250 s", "+150 ms", "", "exchange SUCCESS"],
        ["0.400 s", "+150 ms", "connected twin", ""],
    ]


def test_lines_of_a_console_are_marks_and_not_listed():
    tree, text = drawn({"board1": moments((0.1, "console", "hello"))})
    assert len(rows(tree)) == 1
    assert text.count("<circle") == 1


def test_failure_is_marked_at_its_moment():
    tree, text = drawn({"board1": moments((0.1, "boot", ""))}, failure="failed: <b>no</b> event")
    assert rows(tree)[-1] == ["2.000 s", "", "failed: <b>no</b> event"]
    assert 'class="end"' in text
    assert 'class="end"' not in drawn({"board1": moments((0.1, "boot", ""))})[1]


def test_phases_are_bars_to_scale():
    phases = [Phase("board1", "boot", BEGAN, BEGAN + 0.5), Phase("board1", "link", BEGAN + 0.5, BEGAN + 2)]
    _, text = drawn({"board1": moments((0, "switched_on", ""))}, [*phases, Phase("gone", "link", BEGAN, BEGAN + 1)])
    widths = [float(each) for each in re.findall(r'<rect [^>]*width="([\d.]+)"', text)]
    assert len(widths) == 2
    assert widths[1] == pytest.approx(3 * widths[0], rel=0.01)
    assert "<title>link 1500 ms</title>" in text


def test_long_life_is_listed_at_its_beginning_and_end():
    tree, text = drawn({"board1": moments(*((n / 5000, "retry", str(n)) for n in range(10_000)))})
    listed = rows(tree)
    assert len(listed) < 310
    assert listed[1][2] == "retry 0"
    assert listed[-1][2] == "retry 9999"
    assert any("9700 more events" in row for row in listed)
    assert len(text) < 200_000


@given(st.text(), st.text(), st.text(), st.floats(0, 1e6), st.floats(0, 1e6))
def test_whatever_a_board_prints_is_text(lane, what, detail, at, ended):
    tree, _ = drawn({lane: moments((at, what, detail))}, ended=ended, failure=detail)
    assert {each.tag for each in tree.iter()} <= TAGS
