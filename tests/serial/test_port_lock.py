"""Locks on ports between processes."""

import subprocess
import sys

import pytest

from bench.serial.port_lock import PortLock, acquire_first_free
from bench.serial.ports import PortError

OTHER = """
import sys
from bench.serial.port_lock import PortLock
held = [PortLock(port) for port in sys.argv[1:]]
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture
def other():
    """Another process that has some ports, until its stdin is closed."""
    started = []

    def start(*ports):
        command = [sys.executable, "-c", OTHER, *ports]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout.readline() == "locked\n"
        return started[-1]

    yield start
    for each in started:
        each.stdin.close()
        each.stdout.close()
        each.wait()


def test_port_of_another_process_is_an_error_with_its_name(other):
    process = other("/dev/ttyUSB7")
    with pytest.raises(PortError, match=rf"^/dev/ttyUSB7: in use by .*process {process.pid}.*end that program first"):
        PortLock("/dev/ttyUSB7")


def test_port_is_free_when_its_process_is_killed(other):
    process = other("/dev/ttyUSB7")
    process.kill()
    process.wait()
    PortLock("/dev/ttyUSB7").release()


def test_device_is_the_same_under_every_name(other, tmp_path):
    (tmp_path / "tty").touch()
    (tmp_path / "by-id").symlink_to(tmp_path / "tty")
    other(str(tmp_path / "tty"))
    with pytest.raises(PortError):
        PortLock(str(tmp_path / "by-id"))


def test_url_is_the_same_with_other_options(other):
    other("rfc2217://127.0.0.1:4000")
    with pytest.raises(PortError):
        PortLock("rfc2217://127.0.0.1:4000?ign_set_control")


def test_process_may_have_a_port_twice_and_has_it_until_the_last_is_released(other):
    first, second = PortLock("/dev/ttyUSB7"), PortLock("/dev/ttyUSB7")
    first.release()
    first.release()
    with subprocess.Popen([sys.executable, "-c", OTHER, "/dev/ttyUSB7"], stderr=subprocess.PIPE) as refused:
        assert b"PortError" in refused.communicate()[1]
    second.release()
    other("/dev/ttyUSB7")


def test_acquire_first_free_passes_over_those_of_others(other):
    other("a", "b")
    [found] = acquire_first_free(["a", "b", "c"], patience_s=0)
    with found:
        assert found.port == "c"


def test_acquire_first_free_keeps_none_while_there_are_too_few(other):
    other("b")
    with pytest.raises(PortError, match="b: in use"):
        acquire_first_free(["a", "b"], 2, patience_s=0)
    other("a")
    assert acquire_first_free(["a", "b"], 0, patience_s=0) == []


def test_acquire_first_free_gives_up_when_all_are_taken(other):
    other("a", "b")
    with pytest.raises(PortError, match="b: in use"):
        acquire_first_free(["a", "b"], patience_s=0.1)


def test_acquire_first_free_waits_for_a_port(other):
    process = other("a")
    process.stdin.close()
    [found] = acquire_first_free(["a"], patience_s=30)
    with found:
        assert found.port == "a"
