"""Waiting for a board without looking: what wakes, and what it costs where nothing can."""

import selectors
import subprocess

import pytest

from bench.virtual import wakes
from bench.virtual.wakes import Wakes
from tests.support.servers import PATIENCE_S

POLL_S = 0.001


@pytest.fixture
def cat():
    """A process that lives until its standard input ends."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


@pytest.fixture
def files(tmp_path):
    found = tmp_path / "console", tmp_path / "trace"
    for each in found:
        each.touch()
    return found


@pytest.fixture
def woken(files, cat):
    made = Wakes(*files, poll_s=POLL_S)
    yield made
    made.close()


def registered(woken, pid, timeout_s=0):
    """Return the seconds after which to look, and how many of the descriptors that are to wake are ready."""
    with selectors.PollSelector() as selector:
        due_s = woken.register(selector, pid)
        return due_s, len(selector.select(timeout_s)) if selector.get_map() else None


def test_quiet_board_is_not_looked_at(woken, cat):
    assert registered(woken, cat.pid) == (POLL_S, None)  # before the first look nothing is known
    woken.clear()
    assert registered(woken, cat.pid) == (None, 0)


def test_each_file_wakes_and_a_board_that_writes_is_looked_at_once_in_a_while(woken, files, cat):
    woken.clear()
    for each in files:
        with each.open("ab") as out:
            out.write(b"x")
        assert registered(woken, cat.pid) == (None, 1)
        woken.clear()
        assert registered(woken, cat.pid) == (POLL_S, None)
        woken.clear()
        assert registered(woken, cat.pid) == (None, 0)


def test_end_of_the_process_wakes_and_so_does_that_of_the_next(woken, cat):
    woken.clear()
    with subprocess.Popen(["true"]) as first:
        assert registered(woken, first.pid, PATIENCE_S) == (None, 1)
    assert registered(woken, cat.pid) == (None, 0)
    cat.stdin.close()
    assert registered(woken, cat.pid, PATIENCE_S) == (None, 1)
    cat.wait()
    woken._close_process()
    assert registered(woken, cat.pid) == (POLL_S, None)  # it is gone


@pytest.mark.parametrize("missing", ["inotify", "pidfd"])
def test_system_that_cannot_wake_is_looked_at(files, cat, missing, monkeypatch):
    if missing == "inotify":
        monkeypatch.setattr(wakes, "_watched", lambda _: None)
    else:
        monkeypatch.delattr(wakes.os, "pidfd_open")
    woken = Wakes(*files, poll_s=POLL_S)
    try:
        woken.clear()
        assert registered(woken, cat.pid) == (POLL_S, None)
    finally:
        woken.close()
