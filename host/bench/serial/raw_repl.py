"""MicroPython's raw REPL on a serial port, by mpremote's own transport.

MicroPython: reference/repl.html, "Raw mode" and "Raw-paste mode".
"""

import contextlib
import json
import secrets
import struct
import time
from base64 import b64encode
from binascii import a2b_base64
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import serial
from mpremote import transport_serial
from mpremote.transport import TransportError

from bench.errors import BenchError

# It prints for its own command line when there is no answer. Boards side by side have one stdout.
transport_serial.print = lambda *_: None

_SILENCE_S = 20.0
# A chip loses what is typed while it boots, so it is typed again. Not often: Ctrl-C interrupts whatever a program does.
_RETRY_S = 0.5
_INTERRUPT, _RAW, _FRIENDLY = b"\r\x03", b"\x01", b"\x02"  # Ctrl-C, Ctrl-A, Ctrl-B
_BANNER, _PROMPT = b"raw REPL; CTRL-B to exit\r\n", b">>> "
# What the ROM prints all the time where there is no program to run.
_LONGEST = 64  # bytes of a text that is waited for
_NO_PROGRAM = b"invalid header: 0x"
_POLL_S = 0.01
_UNFINISHED = ".new"
_CHUNK = 1536  # bytes of a file in one go: base64 of them, and they themselves, have to fit into the board's heap
# Feeds the firmware's watchdog while the bench has its board.
_FEED = "import sys\n_b=sys.modules.get('firstboot.board')\nif _b:_b.feed()\n"
# No file is incomplete under its own name, whenever the power fails. What an interrupted bench left open, as _f, is
# closed first: the collector would write its rest at any moment, which a block device written in Python cannot do then.
_PUT = f"""{_FEED}
try:_f.close()
except(NameError,OSError):pass
import os
from binascii import a2b_base64
def _open(p):
 global _f
 d=''
 for s in p.split('/')[1:-1]:
  d+='/'+s
  try:os.mkdir(d)
  except OSError:pass
 _f=open(p+'.new','wb')
def _put(s):
 _f.write(a2b_base64(s))
"""
# With a dot each, as all of them take longer on a slow board than it may be silent. An empty folder may be in the way.
_MOVE = """
for _p,_q in {moves}:
 _b and _b.feed()
 if _q:
  try:os.rename(_p,_q)
  except OSError as _e:
   if _e.errno!=21:raise
   os.rmdir(_q)
   os.rename(_p,_q)
 else:os.remove(_p)
 print('.',end='')
"""
_GET = """
from binascii import b2a_base64
with open({path!r},'rb') as _r:
 _d=_r.read(768)
 while _d:
  print(b2a_base64(_d).decode(),end='')
  _d=_r.read(768)
"""


class ReplError(BenchError):
    """An answer that is missing, or not one of MicroPython's raw REPL."""


class RawRepl:
    """The raw REPL of the board on an open port; a context manager.

    It interrupts the program, which `reset` starts again.
    """

    def __init__(self, line: serial.SerialBase, *, timeout_s: float) -> None:
        """Interrupt the program, and enter the raw REPL. Types again while a board boots, until it answers.

        Args:
            line: An open port.
            timeout_s: Seconds to try for.

        Raises:
            ReplError: There was no prompt within `timeout_s`, or the port is gone.
        """
        self._transport = _Transport(line)
        with _errors():
            self._transport.enter(timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(serial.SerialException, OSError):
            if self._transport.in_raw_repl:
                self._transport.exit_raw_repl()

    def run(self, code: str) -> str:
        """Run code, and return its output.

        Raises:
            ReplError: The code raised, with the last line of its traceback, or the board was silent for 20 s.
        """
        with _errors():
            output, error = self._transport.exec_raw(code, timeout=_SILENCE_S)
        if error:
            raise ReplError(f"the board reports {error.decode(errors='replace').strip().splitlines()[-1]}")
        return bytes(output).decode(errors="replace")

    def run_json(self, code: str) -> Any:
        """Run code whose last line of output is JSON, and return its value. Raises ReplError as `run` does."""
        *_, line = self.run(code).strip().splitlines() or [""]
        try:
            return json.loads(line)
        except ValueError:
            raise ReplError(f"unexpected answer of the board: {line[:60]!r}") from None

    def write_files(self, files: Mapping[str, bytes], gone: list[str], on_bytes: Callable[[int], None]) -> None:
        """Write files, and remove others. All are complete under other names before any is renamed.

        Args:
            files: Absolute path on the board -> content.
            gone: Absolute paths to remove.
            on_bytes: Called with the number of bytes of each piece that is written.

        Raises:
            ReplError: As `run` does; files may be left under the name `PATH.new`, which the next call takes over.
        """
        self.run(_PUT)
        for path, content in files.items():
            self.run(f"_open({path!r})")
            for at in range(0, len(content), _CHUNK):
                piece = content[at : at + _CHUNK]
                self.run(f"_b and _b.feed()\n_put({b64encode(piece)!r})")
                on_bytes(len(piece))
            self.run("_f.close()")
        moves = [(f"{path}{_UNFINISHED}", path) for path in files]
        taken = {unfinished for unfinished, _ in moves}  # what an interrupted bench left, if it was there
        moves += [(path, "") for path in gone if path not in taken]
        if moves:
            self.run(_MOVE.format(moves=moves))

    def read_file(self, path: str) -> bytes:
        """Return the content of a file. Raises ReplError, also if there is no such file."""
        output = self.run(_GET.format(path=path))
        try:
            return b"".join(a2b_base64(line, strict_mode=True) for line in output.splitlines())
        except ValueError:
            raise ReplError(f"unexpected answer of the board: it printed something else amid {path}") from None

    def reset(self) -> None:
        """Restart the board as its reset button does; its output is left to the next reader. Raises ReplError."""
        with _errors():
            self._transport.exec_raw_no_follow("import machine\nmachine.reset()")
        self._transport.in_raw_repl = False


class _Transport(transport_serial.SerialTransport):  # type: ignore[misc] # mpremote has no types
    """mpremote's transport, on a port that is open already."""

    def __init__(self, line: serial.SerialBase) -> None:
        self.in_raw_repl = False
        self.use_raw_paste = True
        self.device_name = str(line.port)
        self.mounted = False
        self.serial = _Patient(line)
        self.is_pty = False

    def enter(self, timeout_s: float) -> None:
        """Enter the raw REPL, however late the board answers. Raises TransportError after `timeout_s`.

        Ctrl-A is typed once, and again only at a prompt: each one that a board finds in its buffer later makes a
        banner, which would be taken for the answer to something else. mpremote types once, and never gives up on a
        board that prints all the time.
        """
        deadline = time.monotonic() + timeout_s
        self.serial.write(_INTERRUPT)
        self.serial.read(self.serial.inWaiting())
        self.serial.write(b"\r" + _RAW)
        self.in_raw_repl = self._receives(_BANNER, deadline)
        while not self.in_raw_repl:
            if time.monotonic() >= deadline:
                raise TransportError("could not enter raw repl")
            # in any mode this ends at the prompt
            self.serial.write(_INTERRUPT + _FRIENDLY)
            if self._receives(_PROMPT, deadline):
                # answers to what was typed before come first: the board is known to be here by a word of its own
                word = secrets.token_hex(4).encode()
                self.serial.write(_RAW + b"print('" + word + b"',end='')\x04")
                self.in_raw_repl = self._receives(b"OK" + word + b"\x04\x04", deadline)

    def _receives(self, text: bytes, deadline: float) -> bool:
        """Return whether the board sends this text before it is time to type again. Nothing after it is read.

        Raises TransportError at once if the flash has no program, which could answer later.
        """
        until = min(time.monotonic() + _RETRY_S, deadline)
        data = b""
        while not data.endswith(text):
            if data.endswith(_NO_PROGRAM):
                raise TransportError("its flash has no program")
            if time.monotonic() >= until:
                return False
            if self.serial.inWaiting():
                data = data[-_LONGEST:] + self.serial.read(1)
            else:
                time.sleep(_POLL_S)
        return True


class _Patient:
    """A port whose reads wait for all their bytes: mpremote treats late ones as a wrong answer."""

    def __init__(self, line: serial.SerialBase) -> None:
        self._line = line
        self.write = line.write
        self.inWaiting = line.inWaiting  # type: ignore[attr-defined] # which every kind of port has

    def read(self, size: int) -> bytes:
        data = b""
        deadline = time.monotonic() + _SILENCE_S
        while len(data) < size and time.monotonic() < deadline:
            data += self._line.read(size - len(data))
        return data


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """Raise ReplError for all that goes wrong, also for a short answer, which mpremote fails to unpack."""
    try:
        yield
    except (TransportError, struct.error) as error:
        raise ReplError(f"the board does not answer as MicroPython does ({error})") from error
    except (serial.SerialException, OSError) as error:
        raise ReplError(f"the port is gone ({error}): is the board plugged in?") from error
