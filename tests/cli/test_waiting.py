"""The line or the spinner of a command that waits."""

import os
import pty
import re
import subprocess
import sys
import threading

import pytest

from bench.cli.render import progress, tables
from tests.support.commands import PATIENCE_S


@pytest.fixture
def shown(monkeypatch):
    """The lines that were shown, and an event that is set by the first."""
    lines, first = [], threading.Event()
    monkeypatch.setattr(progress, "_LATE_S", 0.01)
    monkeypatch.setattr(tables, "echo", lambda text: (lines.append(text), first.set()))
    return lines, first


def test_long_wait_without_a_terminal_is_one_line(shown):
    lines, first = shown
    with progress.waiting("importing 5,000 lines"):
        assert first.wait(PATIENCE_S)
    assert lines == ["importing 5,000 lines ..."]


def test_short_wait_shows_nothing(monkeypatch, shown):
    monkeypatch.setattr(progress, "_LATE_S", PATIENCE_S)
    before = threading.active_count()
    with progress.waiting("importing"):
        pass
    with pytest.raises(ZeroDivisionError), progress.waiting("importing"):
        raise ZeroDivisionError
    assert shown[0] == []
    assert threading.active_count() <= before + 2  # their timers end by themselves


def test_wait_of_a_command_for_scripts_shows_nothing(shown):
    lines, first = shown
    with progress.waiting("importing", quiet=True):
        assert not first.wait(0.1)
    assert lines == []


def test_wait_on_a_terminal_shows_the_time():
    code = "import sys\nfrom bench.cli.render import progress\nwith progress.waiting('importing'): sys.stdin.read(1)"
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=theirs, stdin=subprocess.PIPE, env={**os.environ, "TERM": "xterm"}
    ) as process:
        os.close(theirs)
        output = b""
        while not re.search(rb"importing.*0:00:0[1-9]", output):
            output += os.read(ours, 1024)
        assert process.stdin
        process.stdin.close()
        assert process.wait(PATIENCE_S) == 0
    os.close(ours)
