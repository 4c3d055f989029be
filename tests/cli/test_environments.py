"""The bench where a user has no name, no home, or little patience."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import platformdirs
import pytest

from bench import paths
from bench.cli import INTERRUPTED
from bench.serial import ports
from tests.support.commands import PATIENCE_S

NOBODYS_ID = 54_321


@pytest.fixture
def nobody(monkeypatch, tmp_path):
    """A user id without a passwd entry, and no home, as a container may have them."""
    for each in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: NOBODYS_ID)  # by which a home is looked up
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


@pytest.mark.usefixtures("nobody")
def test_cache_of_a_user_without_a_home_is_a_private_folder(tmp_path):
    with pytest.raises(RuntimeError):
        Path.home()
    assert paths.user_cache() == tmp_path / f"firstboot-{os.geteuid()}"
    assert paths.user_cache().stat().st_mode & 0o777 == 0o700


@pytest.mark.usefixtures("nobody")
def test_cache_of_an_older_platformdirs_is_never_a_folder_called_tilde(monkeypatch, tmp_path):
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda _name: Path("~/.cache/firstboot"))
    assert paths.user_cache().parent == tmp_path


@pytest.mark.usefixtures("nobody")
def test_programs_get_a_home_if_the_user_has_none(tmp_path):
    paths.provide_home()
    assert os.environ["HOME"] == str(tmp_path / f"firstboot-{os.geteuid()}")
    assert Path(os.environ["HOME"]).is_dir()


def test_home_that_a_user_has_is_left_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    paths.provide_home()
    assert os.environ["HOME"] == str(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_user_without_a_name_gets_a_cure(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: NOBODYS_ID)
    assert (
        ports.join_group("dialout")
        == "run this as a member of the group dialout, in a container by --group-add dialout"
    )


# Ctrl-C at some import, by its number, as the user's impatience has it.
_AT_IMPORT = """
import builtins, os, signal, sys
usual, left = builtins.__import__, [{}]
def counting(*args, **options):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGINT)
    return usual(*args, **options)
from bench.cli import main
builtins.__import__ = counting
sys.argv = ["bench", "boards"]
main()
"""


def python(code):
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


@pytest.mark.parametrize("number", [1, 10, 100, 1_000])
def test_interrupt_while_the_command_is_imported_is_silent(number):
    done = subprocess.run(
        [sys.executable, "-c", _AT_IMPORT.format(number)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (INTERRUPTED, "", "")


# The first line comes once main() has begun to import.
_ANNOUNCED = """
import builtins
from bench.cli import main
usual = builtins.__import__
def announcing(*args, **options):
    builtins.__import__ = usual
    print(flush=True)
    return usual(*args, **options)
builtins.__import__ = announcing
main()
"""


@pytest.mark.slow
def test_interrupt_in_the_first_second_is_silent():
    for moment in range(12):
        command = [sys.executable, "-c", _ANNOUNCED, "--help"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
            assert running.stdout
            running.stdout.readline()
            time.sleep(moment * 0.05)
            running.send_signal(signal.SIGINT)
            _, errors = running.communicate(timeout=PATIENCE_S)
        assert errors == ""
        # at its very end Python gives the signal back to the system, which ends the process as silently
        assert running.returncode in (0, INTERRUPTED, -signal.SIGINT)


def test_interrupt_that_a_parent_ignores_stays_ignored():
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + _AT_IMPORT.format(10)
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert "esp32_generic" in done.stdout


def test_interrupt_reaches_what_tests_start():
    """Also where the tests themselves were started with SIGINT ignored, e.g. by nohup in a script."""
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
