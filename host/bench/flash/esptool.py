"""Running esptool, Espressif's program that talks to a chip's loader: a process, never a part of this one (GPL)."""

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

# The longest that esptool is silent is the erasure of a large chip, for which it waits four minutes.
_SILENCE_S = 300.0
_LEAVE_S = 3.0
_PERCENT = re.compile(r"(\d+\.\d)%")
_ADDRESS = re.compile(r"0x([0-9a-fA-F]+)")
_FATAL = re.compile(r"(?:A fatal error occurred|A serial exception error occurred): (.*)", re.DOTALL)
# Where esptool's own advice begins, behind the error itself.
_ADVICE = re.compile(r"(?:\n\s*(?:Hint:|Note:|For troubleshooting)| This can have many causes).*", re.DOTALL)
_CHIP_ADVICE = re.compile(r"\.? Wrong chip argument\?$")
_WRONG_CHIP = re.compile(r"This chip is .+, not ")
_DIFFERS = re.compile(r"MD5|digest|region is empty|Verification failed", re.IGNORECASE)
# What it says when bytes do not come, or come damaged.
_LOST = re.compile(
    r"No serial data|stopped|noise or corruption|No more data|timed? ?out|Invalid (SLIP|head)|Corrupt data|Only got|"
    r"doesn't match request|write to target RAM|Guru Meditation|said nothing|no response|OSError|SerialException|"
    r"termios\.error|result was 01(05|07|0B|C[0136789])",  # the loader's: what came is no request, or not all of it
    re.IGNORECASE,
)


class EsptoolFailure(StrEnum):
    """What went wrong."""

    NO_CONNECTION = "no connection"
    """The port is there, and no chip answers as one in download mode does."""
    WRONG_CHIP = "wrong chip"
    PORT = "port"
    """The port cannot be opened."""
    VERIFY = "verify"
    """What was written, or read, is not what the flash holds."""
    LOST = "lost"
    """The chip was connected, and answers no more."""
    OTHER = "other"


class EsptoolError(BenchError):
    """esptool failed. `output` is all it said, `kind` what that means."""

    def __init__(self, message: str, kind: EsptoolFailure, output: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.output = output


@dataclass(frozen=True, kw_only=True)
class EsptoolLine:
    """A line that esptool said, e.g. `Verifying written data...`.

    If it is one of a progress bar: how much of what it is at is through, in percent, and the address
    in the flash that it has come to. The bar begins anew with each file.
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
    """Run esptool, and return all it said.

    `args` is the command and what it takes, after further options of esptool's own, e.g. `["--chip", "esp32",
    "flash-id"]`. `through` is the device that esptool opens in place of the port, if there is one (a relay's).
    One without DTR and RTS is not reset, whatever `before` and `after` say. esptool ends with whoever runs it,
    as by Ctrl-C. Raises EsptoolError, and UsageError for what is no port.
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
        start_new_session=True,  # Ctrl-C is for the bench, which then ends it
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
    """What an output of esptool's that ends with an error means."""
    said = _ADVICE.sub("", found[1]) if (found := _FATAL.search(output)) else _last_line(output)
    said = " ".join(said.split())
    kind = _kind(said, output)
    slower = "slower, e.g. --baud 115200"
    message = {
        EsptoolFailure.NO_CONNECTION: f"no chip in download mode answers on {port} ({said}): {_by_hand(port)}",
        EsptoolFailure.WRONG_CHIP: (
            f"{port}: {_CHIP_ADVICE.sub('', said)}: name the right board with --board (see bench boards)"
        ),
        EsptoolFailure.VERIFY: f"{port}: the flash does not hold what was sent ({said}); try again, and {slower}",
        EsptoolFailure.LOST: f"{port}: the chip answers no more ({said}); plug it in again, or go {slower}",
        EsptoolFailure.OTHER: f"{port}: esptool: {said}",
    }.get(kind) or str(ports.trouble(port, said))
    return EsptoolError(message, kind, output)


def _kind(said: str, output: str) -> EsptoolFailure:
    connected = "\nConnected to " in output
    cases = (
        (EsptoolFailure.OTHER, "\nSerial port " not in output),  # a wrong option, a file that is not there
        (EsptoolFailure.PORT, not connected and "could not open" in said.lower()),
        (EsptoolFailure.WRONG_CHIP, _WRONG_CHIP.match(said)),
        (EsptoolFailure.NO_CONNECTION, not connected),
        (EsptoolFailure.VERIFY, _DIFFERS.search(said)),
        (EsptoolFailure.LOST, _LOST.search(said) or "A serial exception" in output),
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
            return f"{output}\nA fatal error occurred: esptool said nothing for {_SILENCE_S:.0f} s"
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
    """However it came: no esptool is left behind."""
    assert process.stdout
    try:
        process.wait(_LEAVE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


def _environment() -> dict[str, str]:
    """The bench's, without what would colour the output, or have it show all that goes over the wire."""
    dropped = ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "ESPTOOL_TRACE", "ESPTOOL_VERBOSE", "ESPTOOL_SILENT")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**kept, "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "1000", "PYTHONIOENCODING": "utf-8"}


def _last_line(output: str) -> str:
    """The last line with words in it; some errors are in a box."""
    lines = (line.strip("│ ") for line in reversed(output.splitlines()))
    return next((line for line in lines if any(map(str.isalpha, line))), "esptool said nothing")
