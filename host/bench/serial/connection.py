"""A connection with a board on a serial port: its events, typed lines, and its reset."""

import contextlib
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, Self

import serial

from bench.contract.event_stream import EventStream
from bench.errors import BenchError
from bench.serial import ports
from bench.serial.port_lock import PortLock
from bench.serial.raw_repl import RawRepl, ReplError

_RETRY_S = 0.1
# How long EN is held low, as esptool does it; the second is for a chip's own USB.
_HELD_S, _HELD_USB_S = 0.1, 0.2
# A board reads typed bytes every 50 ms, and its driver keeps 260 of them.
_PIECE, _PIECE_S = 128, 0.1
_REPL_S = 3.0
_LAST_OUTPUT_S = 0.5
_REMEMBERED = 1000


class SerialConnection(EventStream):
    """A connection with the board on a port, which yields events as a virtual board's power cycle does.

    A context manager. When the port goes, as with a cable that is pulled, it is opened again as soon as it is back.
    Two events of the bench's own report that: `port_lost`, whose `detail` has the cure, and `port_back`.
    """

    def __init__(
        self, port: str, *, baud: int = ports.BAUD, patience_s: float = 0.0, log: BinaryIO | None = None
    ) -> None:
        """Lock and open a port.

        Args:
            port: A device's path, or a URL.
            baud: Speed in baud.
            patience_s: Seconds to wait for a port that is not there yet.
            log: Receives all that is read, byte for byte.

        Raises:
            PortError: Another process has it, or it cannot be opened.
            UsageError: It is a URL of another form.
        """
        super().__init__(deque(maxlen=_REMEMBERED))
        self.name = port
        self._log = log
        self._baud = baud
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
        """The port that is open now. Bytes read from it directly do not become events."""
        return self._port

    def close(self) -> None:
        """Close and unlock the port; the board runs on. Lines that another thread types meanwhile are lost."""
        self._is_closed = True
        ports.close_port(self._port)
        self._lock.release()

    @contextmanager
    def borrowed(self) -> Iterator[None]:
        """Close the port for another program in this context, and open it again. It stays locked.

        After an error in the context it stays closed, until `reopen` or `follow`.

        Raises:
            PortError: The port is gone at the end.
        """
        ports.close_port(self._port)
        try:
            yield
        except BaseException:
            self._lost = True
            raise
        self._port = ports.open_port(self.name, baud=self._baud)

    def reopen(self) -> None:
        """Open the port again if it is closed since it was lost or borrowed; an event says so. Raises PortError."""
        if self._lost:
            self._port = ports.open_port(self.name, baud=self._baud)
            self._lost = False
            self._unseen.append({"event": "port_back", "port": self.name})

    def send_line(self, text: str) -> None:
        """Type a line on the board's console, in pieces that it can take. Raises PortError."""
        line = text.encode(errors="surrogateescape") + b"\r"
        for at in range(0, len(line), _PIECE):
            if at:
                time.sleep(_PIECE_S)
            self._write(line[at : at + _PIECE])

    def reset(self) -> None:
        """Restart the board: by RTS, as esptool does, or through MicroPython where the port has no RTS.

        Raises:
            BenchError: There is no RTS, and no MicroPython answers.
            PortError: The port is gone.
        """
        if not self.pulse_reset():
            self._reset_by_repl()

    def pulse_reset(self) -> bool:
        """Hold the chip in reset for a moment, with IO0 high so that it then runs.

        Returns:
            Whether the port has the lines for it.

        Raises:
            PortError: The port is gone.
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
        """Hold the chip in reset. A line that it had begun to print ends.

        Returns:
            Whether the port has the lines for it.

        Raises:
            PortError: The port is gone.
        """
        held = ports.can_reset(self.name) and self._reset_line(asserted=True)
        if held:
            self._unseen.extend(self._parser.end())
        return held

    def release_from_reset(self) -> bool:
        """Let a chip run that is held in reset. Returns and raises as `hold_in_reset` does."""
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
            if ports.lacks_control_lines(error):
                return False
            if self._is_chips_own():  # gone with the chip; it comes back
                return True
            raise ports.port_error(self.name, str(error)) from error
        return True

    def _set_rts(self, *, asserted: bool) -> None:
        """DTR again after it, because Windows' driver for USB sends RTS only with DTR."""
        self._port.rts = asserted
        self._port.dtr = self._port.dtr

    def _reset_by_repl(self) -> None:
        # the board's output until now becomes events; that of its interruption does not
        deadline = time.monotonic() + _LAST_OUTPUT_S
        while time.monotonic() < deadline and (output := self._read()):
            self._unseen.extend(self._parser.feed(output))
        self._unseen.extend(self._parser.end())
        try:
            RawRepl(self._port, timeout_s=_REPL_S).reset()
            self.started_s = time.monotonic()
        except ReplError as error:
            raise BenchError(
                f"{self.name}: no RTS to reset the board by, and no MicroPython answers: press its RESET button"
            ) from error

    def _write(self, data: bytes) -> None:
        try:
            self._port.write(data)
        except (OSError, ValueError, TypeError) as error:  # TypeError: a socket that is closed meanwhile has no number
            if self._is_closed:
                return
            raise ports.port_error(self.name, str(error)) from error

    def _missing(self, event: str, _fields: Mapping[str, Any], timeout_s: float) -> BenchError:
        seen = [each["event"] for each in self.events if each["event"] != "console"]
        return BenchError(f"{self.name}: no event {event} within {timeout_s:.0f} s; the board sent {seen or 'none'}")

    def _collect(self) -> None:
        """Read what there is into events, or see whether a lost port is back."""
        if self._lost:
            try:
                self.reopen()
            except ports.PortError:
                time.sleep(_RETRY_S)
            return
        try:
            self._unseen.extend(self._parser.feed(self._read()))
        except ports.PortError as error:
            ports.close_port(self._port)
            self._lost = True
            self._unseen.extend(self._parser.end())
            self._unseen.append({"event": "port_lost", "port": self.name, "detail": error.reason})

    def _read(self) -> bytes:
        """Return the bytes that came, or none after a tenth of a second. Raises PortError."""
        try:
            data = bytes(self._port.read(1))
        except OSError as error:
            raise ports.port_error(self.name, str(error)) from error
        if data:
            with contextlib.suppress(OSError):  # the next read raises it, after what came before is returned
                data += bytes(self._port.read(self._port.in_waiting))
            if self._log:
                self._log.write(data)
        return data

    def _awaited(self, deadline: float) -> serial.Serial:
        """Return the open port, which may appear until a deadline."""
        while True:
            try:
                return ports.open_port(self.name, baud=self._baud)
            except ports.PortError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(_RETRY_S)
