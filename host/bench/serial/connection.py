"""A board on a serial line: what it says as events, what is typed to it, and its reset."""

import contextlib
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Self

import serial

from bench.contract.event_parser import EventParser
from bench.contract.events import Event
from bench.errors import BenchError
from bench.serial import ports
from bench.serial.port_lock import PortLock
from bench.serial.raw_repl import RawRepl, ReplError

_RETRY_S = 0.1
# How long EN is held low, as esptool does it; the second is for a chip's own USB.
_HELD_S, _HELD_USB_S = 0.1, 0.2
# A board takes what is typed every 50 ms, and its driver keeps 260 bytes for it.
_PIECE, _PIECE_S = 128, 0.1
_REPL_S = 3.0
_LAST_WORDS_S = 0.5
_REMEMBERED = 1000


class SerialConnection:
    """An open port, from whose board one hears events as from a virtual board's power cycle. A context manager.

    When the port goes, as a cable that is pulled, it is opened again as soon as it is back. The bench's
    own events say so: `port_lost`, whose `detail` is the cure, and `port_back`.
    """

    def __init__(
        self, port: str, *, baud: int = ports.BAUD, patience_s: float = 0.0, log: BinaryIO | None = None
    ) -> None:
        """Open a port; one that is not there yet may take `patience_s` to come. Raises PortError.

        `log` gets what is heard, byte for byte.
        """
        self.name = port
        self._log = log
        self.events: deque[Event] = deque(maxlen=_REMEMBERED)
        """The last events that were read."""
        self.started_s = 0.0
        """When the board was started last: its reset let go of, or ordered. By `time.monotonic`."""
        self._baud = baud
        self._parser = EventParser()
        self._unseen: deque[Event] = deque()
        self._lost = False
        self._is_closed = False
        self._lock = PortLock(port)
        try:
            self._port = self._awaited(time.monotonic() + patience_s)
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def port(self) -> serial.Serial:
        """The port that is open now; what is read from it directly is no event."""
        return self._port

    def close(self) -> None:
        """Give the port free; the board runs on. What somebody types meanwhile is lost."""
        self._is_closed = True
        ports.close_port(self._port)
        self._lock.release()

    @contextmanager
    def borrowed(self) -> Iterator[None]:
        """Give the port free for another program, and take it again at the end. Raises PortError if it is gone."""
        ports.close_port(self._port)
        try:
            yield
        except BaseException:
            self._lost = True
            raise
        self._port = ports.open_port(self.name, baud=self._baud)

    def follow(self, timeout_s: float | None = None) -> Iterator[Event]:
        """Events as they come; lines that are none come as `{"event": "console", "text": ...}`.

        Ends after `timeout_s`.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            self._hear()
            while self._unseen:
                self.events.append(self._unseen.popleft())
                yield self.events[-1]
            if deadline is not None and time.monotonic() > deadline:
                return

    def wait_for(self, event: str, *, timeout_s: float = 20.0, **fields: Any) -> Event:
        """The next event of this name with these fields. Raises BenchError if there is none within `timeout_s`."""
        for found in self.follow(timeout_s):
            if found["event"] == event and fields.items() <= found.items():
                return found
        said = [each["event"] for each in self.events if each["event"] != "console"]
        raise BenchError(f"{self.name}: no event {event} within {timeout_s:.0f} s; the board said {said or 'none'}")

    def send_line(self, text: str) -> None:
        """Type a line. Raises PortError."""
        line = text.encode(errors="surrogateescape") + b"\r"
        for at in range(0, len(line), _PIECE):
            if at:
                time.sleep(_PIECE_S)
            self._write(line[at : at + _PIECE])

    def reset(self) -> None:
        """Start the board anew: by RTS, as esptool does, or through MicroPython where the line has no RTS.

        Raises BenchError if neither can be done.
        """
        if not self.pulse_reset():
            self._reset_by_repl()

    def pulse_reset(self) -> bool:
        """Hold the chip in reset for a moment, with IO0 high so that it runs; whether the line can.

        Raises PortError.
        """
        if not self.hold_in_reset():
            return False
        time.sleep(self.pulse_s)
        return self.release_from_reset()

    @property
    def pulse_s(self) -> float:
        """The length of a reset pulse, in seconds."""
        return _HELD_USB_S if self._is_chips_own() else _HELD_S

    def hold_in_reset(self) -> bool:
        """Hold the chip in reset; whether the line can. What it had begun to say ends. Raises PortError."""
        held = ports.can_reset(self.name) and self._reset_line(asserted=True)
        if held:
            self._unseen.extend(self._parser.end())
        return held

    def release_from_reset(self) -> bool:
        """Let a chip that is held in reset run; whether the line can. Raises PortError."""
        self.started_s = time.monotonic()  # not afterwards: over a network an answer is waited for
        return self._reset_line(asserted=False)

    def _is_chips_own(self) -> bool:
        return not ports.is_url(self.name) and ports.is_chips_own(self.name)

    def _reset_line(self, *, asserted: bool) -> bool:
        try:
            if asserted:
                self._port.dtr = False
            self._set_rts(asserted=asserted)
        except (OSError, ValueError) as error:  # ValueError: RFC 2217's "no"
            if ports.has_no_lines(error):
                return False
            if self._is_chips_own():  # gone with the chip; it comes back
                return True
            raise ports.trouble(self.name, str(error)) from error
        return True

    def _set_rts(self, *, asserted: bool) -> None:
        """DTR again after it, because Windows' driver for USB sends RTS only with DTR."""
        self._port.rts = asserted
        self._port.dtr = self._port.dtr

    def _reset_by_repl(self) -> None:
        # what the board said until now is heard; what it says to being interrupted is not
        deadline = time.monotonic() + _LAST_WORDS_S
        while time.monotonic() < deadline and (said := self._read()):
            self._unseen.extend(self._parser.feed(said))
        self._unseen.extend(self._parser.end())
        try:
            RawRepl(self._port, timeout_s=_REPL_S).reset()
            self.started_s = time.monotonic()
        except ReplError as error:
            raise BenchError(
                f"{self.name} has no RTS to reset the board by, and no MicroPython answers: press its RESET button"
            ) from error

    def _write(self, data: bytes) -> None:
        try:
            self._port.write(data)
        except (OSError, ValueError, TypeError) as error:  # TypeError: a socket that is closed meanwhile has no number
            if self._is_closed:
                return
            raise ports.trouble(self.name, str(error)) from error

    def _hear(self) -> None:
        if self._lost:
            self._open_again()
            return
        try:
            self._unseen.extend(self._parser.feed(self._read()))
        except ports.PortError as error:
            ports.close_port(self._port)
            self._lost = True
            self._unseen.extend(self._parser.end())
            self._unseen.append({"event": "port_lost", "port": self.name, "detail": str(error)})

    def _read(self) -> bytes:
        """What came, or nothing after a tenth of a second. Raises PortError."""
        try:
            said = bytes(self._port.read(1))
        except OSError as error:
            raise ports.trouble(self.name, str(error)) from error
        if said:
            with contextlib.suppress(OSError):  # the next read raises it, and what came before is handed out
                said += bytes(self._port.read(self._port.in_waiting))
            if self._log:
                self._log.write(said)
        return said

    def _awaited(self, deadline: float) -> serial.Serial:
        """The open port, which may come until a deadline."""
        while True:
            try:
                return ports.open_port(self.name, baud=self._baud)
            except ports.PortError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(_RETRY_S)

    def _open_again(self) -> None:
        try:
            self._port = ports.open_port(self.name, baud=self._baud)
        except ports.PortError:
            time.sleep(_RETRY_S)
        else:
            self._lost = False
            self._unseen.append({"event": "port_back", "port": self.name})
