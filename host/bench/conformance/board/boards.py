"""What can be checked, and boards of the bench's own: how each is set up, and started again.

Ours are given settings for a short life: quick waits, and a keep-alive of seconds.
"""

import threading
from abc import ABC, abstractmethod
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from bench.flash import settings
from bench.targets.virtual import VirtualBoard, mac_address

NAME = "localhost"
"""What our boards call the server when they look at its certificate."""

_TURN_S = 0.02
_PAUSE_S = 0.002
_CA = "ca.der"
Settings = dict[str, dict[str, Any]]
"""Sections of our firmware's settings."""

STEADY: Settings = {
    "backoff": {"base_ms": 500, "cap_ms": 8000, "long_ms": 10_000},
    "session": {"telemetry_s": 20, "keepalive_s": 10, "timeout_ms": 8000, "queue": 4},
}
"""Waits of a board that joins a Wi-Fi network first."""

_QUICK: Settings = {
    "backoff": {"base_ms": 50, "cap_ms": 800, "long_ms": 1000},
    "session": {"telemetry_s": 4, "keepalive_s": 2, "timeout_ms": 1000, "queue": 4},
}


@dataclass(frozen=True, kw_only=True)
class Server:
    """What a board has to know: where the server is (MQTT's port in clear, and under TLS), and its secrets."""

    address: str
    ports: tuple[int, int]
    ca: bytes = field(repr=False)
    key: str
    secret: str = field(repr=False)
    time_port: int
    """Where boards on this machine are told the time, by HTTP."""

    def sections(self, waits: Settings, *, tls: bool) -> Settings:
        """Our firmware's settings for it, without those of the network."""
        server = {"host": self.address, "port": self.ports[tls], "tls": tls, "name": NAME}
        return {"server": server, "provision": {"key": self.key, "secret": self.secret}, **waits}

    @property
    def quick(self) -> Settings:
        """Waits of a board whose network is this machine, and where that is told the time."""
        return {**_QUICK, "clock": {"ntp": "", "http_port": self.time_port}}


class Board(ABC):
    """A context manager: at its end the board is off, or as it was."""

    console: Path | None = None
    """The file that gets what the board says on its serial line, if it has one."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._open(stack)
            self._undo = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def _open(self, stack: ExitStack) -> None:  # noqa: B027 - a board without a line needs nothing
        """Take what it needs, to be given back by the stack. Raises BenchError."""

    @abstractmethod
    def fresh(self, *, tls: bool) -> None:
        """Take its credentials away, and set it up for the server. Raises NotHere if it cannot be set up so."""

    @abstractmethod
    def stop(self) -> None:
        """Stop it in the middle of whatever it does, as far as that can be done without starting it again."""

    @abstractmethod
    def start(self) -> None:
        """Start it anew, whatever it does."""


class Unix(Board):
    """A virtual board without a serial line: it is switched on and off."""

    def __init__(self, folder: Path, server: Server, files: dict[str, bytes]) -> None:
        self._folder = folder
        self._server = server
        self._files = files
        self._mac = mac_address()
        self._running: _Power | None = None
        self.console = folder / "console.log"

    def _open(self, stack: ExitStack) -> None:
        stack.callback(self.stop)

    def fresh(self, *, tls: bool) -> None:
        self.stop()
        self._made = _virtual(self._folder, self._server, self._files, self._mac, tls=tls)

    def stop(self) -> None:
        if self._running:
            self._running.off()
            self._running = None

    def start(self) -> None:
        self.stop()
        self._running = _Power(self._made)


class _Power:
    """A virtual board that is on: a thread reads its events, which is what resets it, too."""

    def __init__(self, made: VirtualBoard) -> None:
        self._power = made.power_on()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def off(self) -> None:
        self._ends.set()
        self._thread.join()
        self._power.power_off()

    def _follow(self) -> None:
        while not self._ends.is_set():
            for _ in self._power.follow(_TURN_S):
                pass
            self._ends.wait(_PAUSE_S)  # it has lost its power by itself


def _virtual(folder: Path, server: Server, files: dict[str, bytes], mac: str, *, tls: bool) -> VirtualBoard:
    """A virtual board with our firmware, for that server. `files` are added, or replace the firmware's."""
    sections = server.sections(server.quick, tls=tls)
    chosen = settings.encode(
        host=server.address, port=server.ports[tls], key=server.key, secret=server.secret, **sections
    )
    (folder / "board.json").unlink(missing_ok=True)
    return VirtualBoard.create(folder, mac=mac, settings=chosen, files={_CA: server.ca, **files})


def virtual(folder: Path, server: Server) -> VirtualBoard:
    """A virtual board that can be put behind a serial line."""
    return _virtual(folder, server, {}, mac_address(), tls=False)
