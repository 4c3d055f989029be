"""Boards' output is shown as it came, and no terminal obeys it."""

import pytest

from bench.cli.render import event_lines

EVIL = "\x1b[2J\x00\x9b31m[red]\ud800\n"
SHOWN = r"\x1b[2J\x00\x9b31m[red]\ud800\n"


@pytest.mark.parametrize("event", [{"event": "console", "text": EVIL}, {"event": EVIL}, {"event": "x", EVIL: EVIL}])
def test_event_of_a_board_commands_no_terminal(capsys, event):
    event_lines.show(event)
    output = capsys.readouterr().out
    assert SHOWN in output
    assert output[:-1].isprintable()
