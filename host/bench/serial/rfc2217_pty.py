"""A pseudo-terminal in front of a port behind RFC 2217, for esptool.

esptool changes its read timeout with nearly every command, and pyserial's RFC 2217 client sends the
port's settings anew at each change, and waits for the answers: 0.2 s a command. A terminal has no such wait.
"""

import os
import select
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress

from serial import rfc2217

from bench.serial import boot_mode, ports
from bench.serial.connection import SerialConnection

try:
    import pty
    import termios
    import tty
except ImportError:  # Windows: esptool gets the URL
    RATES = {}
else:
    # termios' code of a speed -> baud
    RATES = {getattr(termios, name): int(name[1:]) for name in dir(termios) if name[0] == "B" and name[1:].isdigit()}

_OUTPUT_SPEED = 5  # in what tcgetattr answers
_PIECE = 4096


def can_relay(port: str, baud: int) -> bool:
    """Return whether esptool reaches a port faster through a relay, at a speed in baud that a terminal has."""
    return port.startswith("rfc2217://") and baud in RATES.values()


class Relay:
    """A relay of bytes between a pseudo-terminal and a port, until it is closed.

    The port follows each speed that is set on the terminal, before the next byte goes out. When the port
    breaks, the terminal hangs up.
    """

    def __init__(self, line: SerialConnection) -> None:
        """Begin on an open connection behind RFC 2217, which is the relay's alone until `close`."""
        self._name = line.name
        assert isinstance(line.port, rfc2217.Serial)
        self._port = line.port
        with ExitStack() as held:
            held.callback(self._restore_speed)
            self._ours, self._theirs = pty.openpty()
            held.callback(os.close, self._theirs)
            os.set_blocking(self._ours, False)
            tty.setraw(self._theirs)
            self._set_terminal_speed(ports.BAUD)
            self.device = os.ttyname(self._theirs)
            """The path of the terminal for esptool to open."""
            self._end, self._ending = os.pipe()
            held.callback(os.close, self._end)
            held.callback(os.close, self._ending)
            self._hung_up = threading.Barrier(2, action=lambda: os.close(self._ours))
            for work in (self._to_board, self._from_board):
                thread = threading.Thread(target=self._until_end, args=(work,), name=f"relay of {line.name}")
                thread.start()
                held.callback(thread.join)
            held.callback(self._signal_end)
            self._held = held.pop_all()

    def close(self) -> None:
        """End the relay; the connection stays open, and the chip as it is."""
        self._held.close()

    def enter_loader(self, how: str, *, longer_s: float = 0.0) -> None:
        """Reset the chip into its ROM loader, at the speed that loaders begin with.

        Args:
            how: esptool's `default-reset` or `usb-reset`.
            longer_s: Seconds to hold IO0 low in addition; see `boot_mode`.

        Raises:
            PortError: The port is gone.
        """
        try:
            self._set_terminal_speed(ports.BAUD)
            self._adopt_speed()
            boot_mode.enter_loader(self._port, how, longer_s=longer_s)
            # output of the chip until now is not for esptool
            termios.tcflush(self._theirs, termios.TCIFLUSH)
        except termios.error as error:  # no OSError: the terminal was hung up on
            raise ports.port_error(self._name, "it ended while esptool spoke to the chip") from error
        except OSError as error:
            raise ports.port_error(self._name, str(error)) from error

    def _set_terminal_speed(self, baud: int) -> None:
        settings = termios.tcgetattr(self._theirs)
        settings[_OUTPUT_SPEED - 1] = settings[_OUTPUT_SPEED] = getattr(termios, f"B{baud}")
        termios.tcsetattr(self._theirs, termios.TCSANOW, settings)

    def _restore_speed(self) -> None:
        with suppress(OSError, ValueError):  # it is gone, which its next user finds
            self._port.baudrate = ports.BAUD

    def _adopt_speed(self) -> None:
        baud = RATES.get(termios.tcgetattr(self._theirs)[_OUTPUT_SPEED])
        if baud and baud != self._port.baudrate:
            self._port.baudrate = baud

    def _until_end(self, work: Callable[[], None]) -> None:
        """Work until a side breaks: then the other one ends too, and the terminal hangs up."""
        try:
            with suppress(OSError, ValueError):  # ValueError: the other end does not have this speed
                work()
        finally:
            self._signal_end()
            self._hung_up.wait()

    def _signal_end(self) -> None:
        os.write(self._ending, b".")

    def _to_board(self) -> None:
        while self._end not in (able := select.select([self._end, self._ours], [], [])[0]):
            if able:
                data = os.read(self._ours, _PIECE)
                self._adopt_speed()
                self._port.write(data)

    def _from_board(self) -> None:
        while self._end not in select.select([self._end], [], [], 0)[0]:
            data = self._port.read(max(1, self._port.in_waiting))
            while data:
                if self._end in select.select([self._end], [self._ours], [])[0]:
                    return
                data = data[os.write(self._ours, data) :]
