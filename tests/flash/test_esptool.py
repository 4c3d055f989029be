"""Runs of the real esptool, and the meaning of its failures. No chip is on these lines."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.flash import esptool
from bench.flash.esptool import EsptoolError, EsptoolFailure, EsptoolLine

BEGUN = "esptool v5.6.0\nSerial port P:\n"
CONNECTED = BEGUN + "Connecting...\nConnected to ESP32 on P:\nChip type:          ESP32-D0WD (revision v1.0)\n"


@pytest.fixture
def silent():
    """The URL of a line with nobody at its end."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"socket://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(
    ("output", "kind"),
    [
        ("", EsptoolFailure.OTHER),
        ("Usage: ...\n╭─ Error ───╮\n│ No such command 'fly'. │\n╰──────╯\n", EsptoolFailure.OTHER),
        (
            BEGUN + "A fatal error occurred: Could not open P, the port is busy or doesn't exist.\n([Errno 16])",
            EsptoolFailure.PORT,
        ),
        (
            BEGUN + "A fatal error occurred: Failed to connect to ESP32: No serial data received.",
            EsptoolFailure.NO_CONNECTION,
        ),
        (
            BEGUN + "A fatal error occurred: Failed to connect to ESP32: Wrong boot mode detected",
            EsptoolFailure.NO_CONNECTION,
        ),
        (BEGUN + "A serial exception error occurred: read failed\nNote: ...", EsptoolFailure.NO_CONNECTION),
        (
            BEGUN + "A fatal error occurred: This chip is ESP32-S3, not ESP32. Wrong chip argument?",
            EsptoolFailure.WRONG_CHIP,
        ),
        (CONNECTED + "A fatal error occurred: MD5 of file does not match data in flash!", EsptoolFailure.VERIFY),
        (CONNECTED + "A fatal error occurred: Write failed, the written flash region is empty.", EsptoolFailure.VERIFY),
        (CONNECTED + "A fatal error occurred: Digest mismatch: expected A, got B", EsptoolFailure.VERIFY),
        (CONNECTED + "A fatal error occurred: No serial data received.", EsptoolFailure.LOST),
        (
            CONNECTED + "A fatal error occurred: Serial data stream stopped: Possible serial noise or",
            EsptoolFailure.LOST,
        ),
        (CONNECTED + "A fatal error occurred: The chip stopped responding.", EsptoolFailure.LOST),
        (
            CONNECTED + "A fatal error occurred: Failed to start stub flasher. There was no response.",
            EsptoolFailure.LOST,
        ),
        (
            CONNECTED + "A fatal error occurred: Invalid head of packet (0x45): Possible serial noise or",
            EsptoolFailure.LOST,
        ),
        (CONNECTED + "A serial exception error occurred: device reports readiness to read but", EsptoolFailure.LOST),
        (
            CONNECTED + "A fatal error occurred: Failed to write to target RAM (result was 0105: ...)",
            EsptoolFailure.LOST,
        ),
        (
            CONNECTED + "Traceback (most recent call last):\nOSError: [Errno 5] Input/output error\n",
            EsptoolFailure.LOST,
        ),
        (
            CONNECTED + "A fatal error occurred: Failed to write to target RAM (result was 0105: The format",
            EsptoolFailure.LOST,
        ),
        (
            CONNECTED + "A fatal error occurred: Failed to write (result was 01C1: Bad data checksum)",
            EsptoolFailure.LOST,
        ),
        (
            CONNECTED + "A fatal error occurred: Failed to write (result was 0108: Flash write error)",
            EsptoolFailure.OTHER,
        ),
        (CONNECTED + "A fatal error occurred: 'x.bin' is not an ESP32 image. Use --force", EsptoolFailure.OTHER),
    ],
)
def test_failure_has_kind_and_cure_in_one_line(output, kind):
    failure = esptool.failure("P", output)
    assert failure.kind is kind
    assert failure.output is output
    assert "\n" not in str(failure)


@pytest.mark.parametrize(
    "advice",
    [
        "\nFor troubleshooting steps visit: https://docs",
        " This can have many causes, for troubleshooting visit: https://docs",
    ],
)
def test_failure_shows_esptools_words_without_its_advice(advice):
    text = f"No serial data received.{advice}"
    message = str(esptool.failure("P", f"{CONNECTED}\nA fatal error occurred: {text}"))
    assert "No serial data received." in message
    assert "http" not in message


def test_run_on_another_form_of_port():
    with pytest.raises(UsageError, match="is not a port"):
        esptool.run("foo://here", ["flash-id"])


def test_run_a_command_that_does_not_exist(silent):
    with pytest.raises(EsptoolError, match="No such command 'fly'") as caught:
        esptool.run(silent, ["fly"])
    assert caught.value.kind is EsptoolFailure.OTHER


def test_run_on_a_port_that_is_not_there():
    with pytest.raises(EsptoolError, match=r"^there is no such port: is the board") as caught:
        esptool.run("/dev/ttyUSB99", ["flash-id"])
    assert caught.value.kind is EsptoolFailure.PORT


def test_run_on_a_line_on_which_nobody_answers(silent):
    lines = []
    with pytest.raises(EsptoolError, match="a bare socket cannot reset it: hold BOOT") as caught:
        esptool.run(silent, ["--connect-attempts", "1", "flash-id"], on_progress=lines.append)
    assert caught.value.kind is EsptoolFailure.NO_CONNECTION
    assert EsptoolLine(text=f"Serial port {silent}:") in lines
    assert "Connecting..." in caught.value.output


def processes_about(text: str) -> Iterator[str]:
    """Yield the ids of processes whose command line has a text."""
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # gone meanwhile
            if text.encode() in each.read_bytes():
                yield each.parent.name


def test_run_that_is_interrupted_leaves_no_process(silent):
    def interrupt(progress):
        if progress.text.startswith("Serial port"):
            assert list(processes_about(silent))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        esptool.run(silent, ["--connect-attempts", "0", "flash-id"], on_progress=interrupt)
    assert list(processes_about(silent)) == []


def test_run_that_is_silent_for_too_long_is_ended(silent, monkeypatch):
    monkeypatch.setattr(esptool, "_SILENCE_S", 0.01)  # it takes longer to start
    with pytest.raises(EsptoolError, match="esptool was silent for 0 s"):
        esptool.run(silent, ["--connect-attempts", "0", "flash-id"])


def test_run_is_not_traced_whatever_the_environment(silent, monkeypatch):
    monkeypatch.setenv("ESPTOOL_TRACE", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    with pytest.raises(EsptoolError) as caught:
        esptool.run(silent, ["--connect-attempts", "1", "flash-id"])
    assert "TRACE" not in caught.value.output
    assert "\x1b" not in caught.value.output


def test_version_needs_no_line():
    before = set(threading.enumerate())
    assert "5." in esptool.run("socket://127.0.0.1:9", ["version"])
    assert set(threading.enumerate()) <= before
