"""The bench's own boards under check: set up without credentials, stopped and started by their serial line."""

import json
import shutil
from abc import ABC, abstractmethod
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from bench import paths
from bench.contract import settings
from bench.dut.board import Board
from bench.dut.serial import PortBoard
from bench.dut.unsupported import CannotDo
from bench.errors import BenchError
from bench.flash import firmware

NAME = "localhost"
"""The name that our boards expect in the server's certificate."""

Settings = Mapping[str, Mapping[str, Any]]
"""Sections of our firmware's settings."""

STEADY: Settings = {
    "backoff": {"base_ms": 500, "cap_ms": 8000, "long_ms": 10_000},
    "session": {"telemetry_s": 20, "keepalive_s": 10, "timeout_ms": 8000, "queue": 4},
}
"""Waits of a board that joins a Wi-Fi network first."""
QUICK: Settings = {
    "backoff": {"base_ms": 50, "cap_ms": 800, "long_ms": 1000},
    "session": {"telemetry_s": 4, "keepalive_s": 2, "timeout_ms": 1000, "queue": 4},
}
"""Waits of a board whose network is this machine."""

_SETTINGS, _CA = settings.FILE, "ca.der"
# The files that are read from a board first, and written back at the end.
_KEPT = (_SETTINGS, _CA, "vault.0", "vault.1")
_THERE = "import os,json\nprint(json.dumps(os.listdir('/')))"
_MAC = "import json,machine\nfrom binascii import hexlify\nprint(json.dumps(hexlify(machine.unique_id()).decode()))"


@dataclass(frozen=True, kw_only=True)
class KnownServer:
    """A server's address, ports and secrets, as boards have to know them. `ports`: of MQTT in clear, and under TLS."""

    address: str
    ports: tuple[int, int]
    ca: bytes = field(repr=False)
    """The CA's certificate, DER."""
    key: str
    secret: str = field(repr=False)
    time_port: int
    """The port of HTTP, where boards on this machine get the time."""

    def sections(self, waits: Settings, *, tls: bool) -> dict[str, dict[str, Any]]:
        """Return our firmware's settings for this server, without those of the network.

        Args:
            waits: The settings of waits, STEADY or QUICK; other sections may be added.
            tls: True for MQTT under TLS.

        Returns:
            Section -> name -> value.
        """
        own: Settings = {
            "server": {"host": self.address, "port": self.ports[tls], "tls": tls, "name": NAME},
            "provision": {"key": self.key, "secret": self.secret, "transport": "mqtt", "proof": False},
        }
        return settings.merge(own, waits)


class CheckedBoard(ABC):
    """A board under check. A context manager: at its end the board is off, or has its own settings again."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._open(stack)
            self._undo = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    @property
    def log(self) -> Path | None:
        """The log of the board's serial line, if it has one."""
        return None

    def _open(self, stack: ExitStack) -> None:  # noqa: B027 - a board without a line needs nothing
        """Acquire the board's resources, to be released by the stack. Raises BenchError."""

    def suits(self, *, tls: bool) -> None:  # noqa: B027 - ours can be set up either way
        """Check that the board is, or can be, set up for this.

        Args:
            tls: True for MQTT under TLS.

        Raises:
            NotHere: It is set up for the other, by its owner.
        """

    @abstractmethod
    def fresh(self, *, tls: bool) -> None:
        """Remove the board's credentials, and set it up for the server.

        Args:
            tls: True for MQTT under TLS.

        Raises:
            BenchError: The board cannot be reached, or a command for it fails.
        """

    @abstractmethod
    def stop(self) -> None:
        """Stop the board in the middle of whatever it does, as far as that is possible without starting it again."""

    @abstractmethod
    def start(self) -> None:
        """Start the board anew, whatever it does.

        Raises:
            BenchError: The board cannot be reached, or a command for it fails.
        """


class OnLine(CheckedBoard):
    """A board with a serial line, followed and steered as the boards of tests are."""

    board: Board

    @property
    def log(self) -> Path | None:
        return self.board.log

    def stop(self) -> None:
        with suppress(CannotDo):  # such a board is reset at its start
            self.board.power_off()

    def start(self) -> None:
        self.board.power_on()


class Virtual(OnLine):
    """A virtual board with our firmware."""

    def __init__(
        self,
        make: Callable[[Path], Board],
        folder: Path,
        server: KnownServer,
        files: dict[str, bytes],
        credentials: str = "ACCESS_TOKEN",
    ) -> None:
        """Prepare the board, which is made when the context is entered.

        Args:
            make: Makes a board in a folder.
            folder: The board's folder; one of the last run is deleted.
            server: The server to set the board up for.
            files: Path -> content; added to the firmware's files, or in place of them.
            credentials: The kind of credentials that the board makes.
        """
        self._credentials = credentials
        self._make = make
        self._folder = folder
        self._server = server
        self._files = files

    def _open(self, stack: ExitStack) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)  # the last run's board
        self.board = stack.enter_context(self._make(self._folder))

    def fresh(self, *, tls: bool) -> None:
        server = self._server
        clock = {"ntp": "", "http_port": server.time_port}
        chosen = settings.encode(
            server.sections({**QUICK, "clock": clock}, tls=tls),
            {"provision": {"credentials": self._credentials}},
            host=server.address,
            port=server.ports[tls],
            key=server.key,
            secret=server.secret,
        )
        self.board.install({**firmware.files(), _SETTINGS: chosen, _CA: server.ca, **self._files})


class Ours(OnLine):
    """A board with our firmware on a port. At the end it has its settings and credentials again.

    Until then they are in a file, too. If they cannot be written back, `warn` is called, and the board gets them from
    that file at the end of the next check.
    """

    def __init__(self, port: str, folder: Path, server: KnownServer, warn: Callable[[str], object]) -> None:
        """Prepare the board, whose port is opened when the context is entered.

        Args:
            port: The serial port, a device or URL.
            folder: The folder for the board's log; the copy of its settings and credentials is beside it.
            server: The server to set the board up for.
            warn: Called with a text if the settings cannot be written back.
        """
        self._port = port
        self._folder = folder
        self._server = server
        self._warn = warn

    def _open(self, stack: ExitStack) -> None:
        self.board = stack.enter_context(PortBoard(self._port, self._folder))
        with self.board.repl() as repl:
            there = repl.run_json(_THERE)
            if "firstboot" not in there:
                raise BenchError(f"{self._port}: there is no firstboot on this board: say with --fresh how it is wiped")
            found = {name: repl.read_file(f"/{name}") for name in _KEPT if name in there}
            self._copy = self._folder.with_name(f"before-{repl.run_json(_MAC)}.json")
        self._before = self._kept() if self._is_of_checks(found) and self._copy.exists() else found
        content = {name: b64encode(held).decode() for name, held in self._before.items()}
        paths.write_private(self._copy, json.dumps(content).encode())
        stack.callback(self._restore)

    def _kept(self) -> dict[str, bytes]:
        return {name: b64decode(held) for name, held in json.loads(self._copy.read_bytes()).items()}

    def _is_of_checks(self, files: dict[str, bytes]) -> bool:
        """Return whether a board's files are left over from an earlier check."""
        try:
            return bool(json.loads(files[_SETTINGS])["provision"]["key"] == self._server.key)
        except (LookupError, TypeError, ValueError):  # any other content is the board's own
            return False

    def fresh(self, *, tls: bool) -> None:
        held = json.loads(self._before.get(_SETTINGS, b"{}"))  # its Wi-Fi stays
        merged = settings.merge(held, self._server.sections(STEADY, tls=tls))
        self._write({_SETTINGS: settings.to_json(merged), _CA: self._server.ca})

    def _write(self, files: dict[str, bytes]) -> None:
        if not self.board.is_on:
            self.board.power_on()
        there = json.loads(self.board.exec(_THERE))
        self.board.write_files(files, tuple(name for name in _KEPT if name in there and name not in files))

    def _restore(self) -> None:
        try:
            self._write(self._before)
            self.start()
        except (BenchError, KeyboardInterrupt) as error:  # the board itself may be broken
            self._warn(
                f"{self._port}: the board did not get its settings and credentials back ({error or 'interrupted'}); "
                f"they are in {self._copy}, and it gets them at the end of the next bench conformance --board"
            )
            if isinstance(error, KeyboardInterrupt):
                raise
        else:
            self._copy.unlink()
