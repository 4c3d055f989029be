"""Somebody else's boards under check: wiped and reset by commands of their owner, or by hand."""

import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.conformance.board.boards import CheckedBoard, OnLine
from bench.conformance.check import NotHere
from bench.dut.serial import PortBoard
from bench.errors import BenchError

BY_HAND = "ask"
"""Stands in place of a command: a person does it."""

_COMMAND_S = 600.0


@dataclass(frozen=True, kw_only=True)
class Orders:
    """Shell commands for somebody else's board, for steps that the bench cannot do itself.

    `fresh` wipes its credentials, `reset` starts it again; `prompt` has a person do it if the command is BY_HAND.
    """

    fresh: str
    reset: str
    prompt: Callable[[str], object]
    tls: bool
    """True if the board's owner set it up for TLS."""

    def suit(self, *, tls: bool) -> None:
        """Check that the board is set up for this.

        Args:
            tls: True for MQTT under TLS.

        Raises:
            NotHere: It is set up for the other.
        """
        if tls != self.tls:
            raise NotHere(f"the board is not set up for {'TLS' if tls else 'a server without TLS'}")

    def wipe(self) -> None:
        """Remove the board's credentials.

        Raises:
            BenchError: The command fails, or takes more than ten minutes.
        """
        self._do(self.fresh, "wipe the board's credentials")

    def start(self) -> None:
        """Start the board anew.

        Raises:
            BenchError: The command fails, or takes more than ten minutes.
        """
        self._do(self.reset, "reset the board")

    def _do(self, command: str, what: str) -> None:
        """Run a command, or have a person do it. Raises BenchError if it fails."""
        if command == BY_HAND:
            self.prompt(what)
            return
        try:
            done = subprocess.run(  # noqa: S602 - the user's own command line
                command, shell=True, capture_output=True, text=True, errors="replace", timeout=_COMMAND_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise BenchError(f"{command} took more than {_COMMAND_S:.0f} s") from None
        if done.returncode:
            message = (done.stderr or done.stdout).strip().rpartition("\n")[2]
            raise BenchError(f"{command} failed ({done.returncode}): {message}")


class Foreign(OnLine):
    """Somebody else's board on a port."""

    def __init__(self, port: str, folder: Path, orders: Orders) -> None:
        """Prepare the board, whose port is opened when the context is entered.

        Args:
            port: The serial port, a device or URL.
            folder: The folder for the board's log.
            orders: The commands of the board's owner.
        """
        self._port = port
        self._folder = folder
        self._orders = orders

    def _open(self, stack: ExitStack) -> None:
        self.board = PortBoard(self._port, self._folder)
        stack.callback(self._close)

    def suits(self, *, tls: bool) -> None:
        self._orders.suit(tls=tls)

    def fresh(self, *, tls: bool) -> None:  # noqa: ARG002 - it is what it is set up for
        self._close()  # the command may need the port
        try:
            self._orders.wipe()
        finally:
            self.board = PortBoard(self._port, self._folder)

    def _close(self) -> None:
        self.board.close()


class OutOfReach(CheckedBoard):
    """Somebody else's board without a serial line."""

    def __init__(self, orders: Orders) -> None:
        """Prepare the board, which is reached by the commands of its owner alone."""
        self._orders = orders

    def suits(self, *, tls: bool) -> None:
        self._orders.suit(tls=tls)

    def fresh(self, *, tls: bool) -> None:  # noqa: ARG002 - it is what it is set up for
        self._orders.wipe()

    def stop(self) -> None:
        """No-op: only the board's owner could stop it."""

    def start(self) -> None:
        self._orders.start()
