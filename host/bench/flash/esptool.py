"""Espressif's esptool, the client of a chip's ROM loader, as a program of its own: it is never imported (GPL).

Sources: esptool's documentation (Basic Options, Advanced Options) and the messages of its releases 5.x.
"""

import os
import re
import select
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from bench.errors import BenchError
from bench.serial import ports

# The longest silence of esptool is the erasure of a large chip, for which it waits four minutes.
_SILENCE_S = 300.0
_LEAVE_S = 3.0
_PERCENT = re.compile(r"(\d+\.\d)%")
_ADDRESS = re.compile(r"0x([0-9a-fA-F]+)")
_FATAL = re.compile(r"(?:A fatal error occurred|A serial exception error occurred): (.*)", re.DOTALL)
# The beginning of esptool's own advice, behind the error itself.
_ADVICE = re.compile(r"(?:\n\s*(?:Hint:|Note:|For troubleshooting)| This can have many causes).*", re.DOTALL)
_CHIP_ADVICE = re.compile(r"\.? Wrong chip argument\?$")
_WRONG_CHIP = re.compile(r"This chip is .+, not ")
_DIFFERS = re.compile(r"MD5|digest|region is empty|Verification failed", re.IGNORECASE)
# The messages of esptool for bytes that do not arrive, or arrive damaged.
_LOST = re.compile(
    r"No serial data|stopped|noise or corruption|No more data|timed? ?out|Invalid (SLIP|head)|Corrupt data|Only got|"
    r"doesn't match request|write to target RAM|Guru Meditation|was silent|no response|OSError|SerialException|"
    r"termios\.error|result was 01(05|07|0B|C[0136789])",  # the loader's: no request, or not all of one
    re.IGNORECASE,
)


class EsptoolFailure(StrEnum):
    """Kinds of esptool's failures."""

    NO_CONNECTION = "no connection"
    """The port is open, and no chip in download mode answers."""
    WRONG_CHIP = "wrong chip"
    PORT = "port"
    """The port cannot be opened."""
    VERIFY = "verify"
    """The flash holds other bytes than those written or read."""
    LOST = "lost"
    """The chip was connected, and stopped answering."""
    OTHER = "other"


class EsptoolError(BenchError):
    """A failure of esptool. The message names the cure, but not the port; `output` is all that esptool printed."""

    def __init__(self, message: str, kind: EsptoolFailure, output: str) -> None:
        """Make the error.

        Args:
            message: The failure and its cure, without the port.
            kind: The kind of failure.
            output: All that esptool printed.
        """
        super().__init__(message)
        self.kind = kind
        self.output = output


@dataclass(frozen=True, kw_only=True)
class EsptoolLine:
    """A line of esptool's output, e.g. `Verifying written data...`.

    In a line of a progress bar: the percentage that is done, and the address in the flash that it has come to. The
    bar begins anew with each file.
    """

    text: str
    percent: float | None = None
    address: int | None = None


def run(  # noqa: PLR0913 - they are another program's options
    port: str,
    args: Sequence[str],
    *,
    baud: int = ports.BAUD,
    before: str = "default-reset",
    after: str = "hard-reset",
    through: str | None = None,
    on_progress: Callable[[EsptoolLine], None] | None = None,
) -> str:
    """Run esptool, and end it with the caller: an exception here, such as Ctrl-C, terminates it.

    Args:
        port: A device's path, or a URL.
        args: The command and its arguments, after further global options, e.g. `["--chip", "esp32", "flash-id"]`.
        baud: Speed in baud, once connected.
        before: Reset before connecting, e.g. `default-reset`. A port without DTR and RTS has none.
        after: Reset after the command, e.g. `hard-reset`. A port without DTR and RTS has none.
        through: A device that esptool opens in place of the port: a relay's terminal.
        on_progress: Called with each line of output.

    Returns:
        All that esptool printed, without progress bars.

    Raises:
        EsptoolError: It failed, or was silent for five minutes.
        UsageError: The name does not have the form of a port.
    """
    ports.checked(port)
    if through or not ports.can_reset(port):
        before, after = "no-reset", "no-reset-stub" if after == "no-reset-stub" else "no-reset"
    options = ["--port", through or port, "--baud", str(baud), "--before", before, "--after", after]
    process = subprocess.Popen(
        [sys.executable, "-m", "esptool", *options, *args],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=_environment(),
        start_new_session=True,  # Ctrl-C goes to the bench, which then ends it
    )
    try:
        output = _listen(process, on_progress)
    except BaseException:
        process.terminate()
        raise
    finally:
        _end(process)
    if process.returncode:
        raise failure(port, output)
    return output


def failure(port: str, output: str) -> EsptoolError:
    """Return the error that esptool's output ends with.

    Args:
        port: The port, which decides about the advice. The message does not name it.
        output: All that esptool printed.
    """
    text = _ADVICE.sub("", found[1]) if (found := _FATAL.search(output)) else _last_line(output)
    text = " ".join(text.split())
    kind = _kind(text, output)
    slower, definition = "slower, e.g. --baud 115200", "name the right board with --board (see bench boards)"
    message = {
        EsptoolFailure.NO_CONNECTION: f"no chip in download mode answers ({text}): {_by_hand(port)}",
        EsptoolFailure.WRONG_CHIP: f"{_CHIP_ADVICE.sub('', text)}: {definition}",
        EsptoolFailure.VERIFY: f"the flash does not hold what was sent ({text}); try again, and {slower}",
        EsptoolFailure.LOST: f"the chip stopped answering ({text}); plug it in again, or go {slower}",
        EsptoolFailure.OTHER: f"esptool: {text}",
    }.get(kind) or ports.port_error(port, text).reason
    return EsptoolError(message, kind, output)


def _kind(text: str, output: str) -> EsptoolFailure:
    connected = "\nConnected to " in output
    cases = (
        (EsptoolFailure.OTHER, "\nSerial port " not in output),  # a wrong option, a file that is not there
        (EsptoolFailure.PORT, not connected and "could not open" in text.lower()),
        (EsptoolFailure.WRONG_CHIP, _WRONG_CHIP.match(text)),
        (EsptoolFailure.NO_CONNECTION, not connected),
        (EsptoolFailure.VERIFY, _DIFFERS.search(text)),
        (EsptoolFailure.LOST, _LOST.search(text) or "A serial exception" in output),
    )
    return next((kind for kind, holds in cases if holds), EsptoolFailure.OTHER)


def _by_hand(port: str) -> str:
    how = "hold BOOT (IO0 low) while you press RESET, then try again"
    return how if ports.can_reset(port) else f"a bare socket cannot reset it: {how}"


def _listen(process: subprocess.Popen[bytes], on_progress: Callable[[EsptoolLine], None] | None) -> str:
    assert process.stdout
    descriptor = process.stdout.fileno()
    output, rest = "", b""
    while True:
        if not select.select([descriptor], [], [], _SILENCE_S)[0]:
            process.kill()
            return f"{output}\nA fatal error occurred: esptool was silent for {_SILENCE_S:.0f} s"
        piece = os.read(descriptor, 65536)
        *lines, rest = (rest + piece).split(b"\n") if piece else [rest, b""]
        for line in lines:
            text = line.decode(errors="replace").rstrip()
            progress = _progress(text)
            if progress.percent is None:
                output += f"{text}\n"
            if on_progress and text:
                on_progress(progress)
        if not piece:
            return output


def _progress(text: str) -> EsptoolLine:
    percent = _PERCENT.search(text)
    if percent is None:
        return EsptoolLine(text=text)
    address = _ADDRESS.search(text)
    return EsptoolLine(text=text, percent=float(percent[1]), address=int(address[1], 16) if address else None)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end of esptool, and kill it if it does not end by itself."""
    assert process.stdout
    try:
        process.wait(_LEAVE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


def _environment() -> dict[str, str]:
    """Return the bench's environment, without variables that colour esptool's output or trace all its bytes."""
    dropped = ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "ESPTOOL_TRACE", "ESPTOOL_VERBOSE", "ESPTOOL_SILENT")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**kept, "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "1000", "PYTHONIOENCODING": "utf-8"}


def _last_line(output: str) -> str:
    """Return the last line with words in it; some errors are in a box."""
    lines = (line.strip("│ ") for line in reversed(output.splitlines()))
    return next((line for line in lines if any(map(str.isalpha, line))), "esptool printed nothing")
