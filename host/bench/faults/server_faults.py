"""Faults of a server: of a real `bench serve`, or of one in a thread, which cannot be killed.

    with inject(ServerFault(kind=ServerFaultKind.LOCKED), server, network): ...

It is over with the block, and the server has to work again by itself.
"""

import json
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bench.errors import BenchError, UsageError
from bench.faults.network.network import Network
from bench.registry.files import DATABASE_FILE
from bench.server.run.subprocess import ServerProcess

if TYPE_CHECKING:
    from bench.server.run.thread import RunningServer

_LOCK_S = 30.0


class ServerFaultKind(StrEnum):
    """Kinds of faults of a server. A number in a kind is the fault's amount."""

    REFUSE = "refuse"  # nobody listens
    HANG = "hang"  # it accepts connections, and sends nothing
    UNAVAILABLE = "unavailable"  # 503 and its like; the amount is seconds of Retry-After, 0 leaves it out
    KILL = "kill"  # SIGKILL; it is started again at the end
    RESTART = "restart"  # SIGTERM; started again at the end
    LOCKED = "locked"  # another process holds the database's lock
    FULL = "full"  # its disk
    LIKE_PRODUCTION = "like-production"  # stores late, acknowledges out of order, as a busy ThingsBoard does
    CLOCK = "clock"  # the amount is the seconds that it is ahead; negative: behind


@dataclass(frozen=True, kw_only=True)
class ServerFault:
    """A fault, and its amount in the unit of its kind."""

    kind: ServerFaultKind
    amount: float = 0.0


class Target(Protocol):
    """A server that faults can be injected into, as FaultyServerProcess and FaultyServerThread.

    `start` returns when it listens again. Between `hang` and `resume` it answers nobody. `jump_clock(0)`,
    `fill_disk(full=False)` and `be_late(late=False)` end what `jump_clock`, `fill_disk` and `be_late` began.
    """

    @property
    def data(self) -> Path: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...
    def hang(self) -> None: ...
    def resume(self) -> None: ...
    def jump_clock(self, ahead_ms: int) -> None: ...
    def fill_disk(self, *, full: bool) -> None: ...
    def be_late(self, *, late: bool) -> None: ...


@contextmanager
def inject(fault: ServerFault, server: Target, network: Network | None = None) -> Iterator[None]:
    """Inject a fault until the end of the block.

    Args:
        fault: The fault.
        server: The server, which has to work again by itself afterwards.
        network: The network in front of it, for the kinds REFUSE and UNAVAILABLE; it is healed at the end.

    Raises:
        UsageError: A kind needs a network and there is none, or this server cannot have it.
        BenchError: The database could not be locked within 30 s, or the server did not start again at the end.
    """
    with ExitStack() as undo:
        match fault.kind:
            case ServerFaultKind.REFUSE | ServerFaultKind.UNAVAILABLE:
                undo.enter_context(_in_front(fault, network))
            case ServerFaultKind.HANG:
                server.hang()
                undo.callback(server.resume)
            case ServerFaultKind.KILL:
                server.kill()
                undo.callback(server.start)
            case ServerFaultKind.RESTART:
                server.stop()
                undo.callback(server.start)
            case ServerFaultKind.LOCKED:
                undo.enter_context(locked(server.data))
            case ServerFaultKind.FULL:
                server.fill_disk(full=True)
                undo.callback(server.fill_disk, full=False)
            case ServerFaultKind.LIKE_PRODUCTION:
                server.be_late(late=True)
                undo.callback(server.be_late, late=False)
            case ServerFaultKind.CLOCK:
                server.jump_clock(int(fault.amount * 1000))
                undo.callback(server.jump_clock, 0)
        yield


@contextmanager
def _in_front(fault: ServerFault, network: Network | None) -> Iterator[None]:
    if network is None:
        raise UsageError(f"{fault.kind} happens in front of a server: it takes a network")
    if fault.kind is ServerFaultKind.REFUSE:
        network.refuse()
    else:
        network.unavailable(int(fault.amount))
    try:
        yield
    finally:
        network.heal()


@contextmanager
def locked(data: Path) -> Iterator[None]:
    """Hold the lock of the SQLite database in a data folder until the end of the block.

    Args:
        data: The data folder of a server.

    Raises:
        BenchError: The database could not be locked within 30 s.
    """
    path = data / DATABASE_FILE
    # the block may end in another thread than it began in
    with closing(sqlite3.connect(path, timeout=_LOCK_S, isolation_level=None, check_same_thread=False)) as other:
        try:
            other.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            raise BenchError(f"{path} could not be locked ({error})") from error
        yield
        other.execute("ROLLBACK")


class FaultyServerProcess(ServerProcess):
    """A `bench serve` in a process of its own, for every kind of fault."""

    _MODULE = "bench.faults.server_process"

    def hang(self) -> None:
        """Stop the process by SIGSTOP: the kernel accepts connections, and nobody answers."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it run again."""
        self._process.send_signal(signal.SIGCONT)

    def jump_clock(self, ahead_ms: int) -> None:
        """Set the clock ahead, or behind, as `server_inject.jump_clock` does."""
        self._inject(ahead_ms=ahead_ms)

    def fill_disk(self, *, full: bool) -> None:
        """Keep the database from growing, or not, as `server_inject.fill_disk` does."""
        self._inject(full=full)

    def be_late(self, *, late: bool) -> None:
        """Be as late as a production server, or not, as `server_inject.be_late` does."""
        self._inject(late=late)

    def _inject(self, **wrong: Any) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(wrong).encode() + b"\n")
        self._process.stdin.flush()
        self.expect_event("upset", **wrong)


class FaultyServerThread:
    """A server in a thread; its clock, its disk and how late it is are those of the whole process."""

    def __init__(self, server: "RunningServer") -> None:
        """Wrap a server.

        Args:
            server: The server, which runs.
        """
        self._server = server
        self._over = threading.Event()

    @property
    def data(self) -> Path:
        """The data folder of the server."""
        return self._server.data

    def start(self) -> None:
        """Start the server again."""
        self._server.start()

    def stop(self) -> None:
        """Stop the server."""
        self._server.stop()

    def kill(self) -> None:
        """Raise UsageError: no thread can be killed."""
        raise UsageError("a server in a thread cannot be killed: take one in a process")

    def hang(self) -> None:
        """Block the server's event loop, and return as soon as it is blocked."""
        begun = threading.Event()
        self._over.clear()

        def hold(_api: Any) -> None:
            begun.set()
            self._over.wait()

        self._server.submit(hold)
        begun.wait()

    def resume(self) -> None:
        """Let it run again."""
        self._over.set()

    def jump_clock(self, ahead_ms: int) -> None:
        """Set the clock ahead, or behind, as `server_inject.jump_clock` does."""
        from bench.faults import server_inject  # noqa: PLC0415 - it takes a server to import, which few commands need

        server_inject.jump_clock(ahead_ms)

    def fill_disk(self, *, full: bool) -> None:
        """Keep the database from growing, or not, as `server_inject.fill_disk` does."""
        from bench.faults import server_inject  # noqa: PLC0415 - it takes a server to import, which few commands need

        server_inject.fill_disk(full=full)

    def be_late(self, *, late: bool) -> None:
        """Be as late as a production server, or not, as `server_inject.be_late` does."""
        from bench.faults import server_inject  # noqa: PLC0415 - it takes a server to import, which few commands need

        server_inject.be_late(late=late)
