"""Proxy between boards and a server: an event loop in a thread of its own, and its TCP listeners."""

import asyncio
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, Self

from bench.errors import BenchError

_START_S = 10.0
_QUEUE = 128

HOST = "127.0.0.1"

Serve = Callable[[socket.socket], Coroutine[Any, Any, None]]


def bind(kind: socket.SocketKind, host: str, port: int) -> socket.socket:
    """Return a socket that is bound to a port, and neither listens nor is connected.

    Args:
        kind: `SOCK_STREAM` or `SOCK_DGRAM`.
        host: The address, IPv4 or IPv6.
        port: The port; 0 for any free one.

    Raises:
        BenchError: The port or the address cannot be used, e.g. because another program has it.
    """
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
    made.setblocking(False)
    if kind is socket.SOCK_STREAM:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        raise BenchError(f"cannot listen on {host} port {port} ({error.strerror}): choose another one") from error
    return made


class TcpPort:
    """A TCP port; closed, it keeps the port and refuses connections. To be made and used on the event loop."""

    def __init__(self, accept: Callable[[socket.socket], None], host: str, port: int) -> None:
        """Listen on a port.

        Args:
            accept: Called with the non-blocking socket of each connection.
            host: The address to listen on.
            port: The port; 0 for any free one.

        Raises:
            BenchError: As `bind` does.
        """
        self._accept = accept
        self._loop = asyncio.get_running_loop()
        self._socket = bind(socket.SOCK_STREAM, host, port)
        self._host, self.port = host, int(self._socket.getsockname()[1])
        self._listening = False
        self.open()

    def open(self) -> None:
        """Accept connections from now on."""
        if not self._listening:
            self._listening = True
            self._socket.listen(_QUEUE)
            self._loop.add_reader(self._socket, self._accept_one)

    def close(self) -> None:
        """Refuse connections from now on."""
        if self._listening:
            self._listening = False
            self.end()
            self._socket = bind(socket.SOCK_STREAM, self._host, self.port)

    def end(self) -> None:
        """Give up the port."""
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _accept_one(self) -> None:
        try:
            connection, _ = self._socket.accept()
        except OSError:
            return  # it is gone again
        connection.setblocking(False)
        self._accept(connection)


class Proxy(ABC):
    """A context manager that listens while it is entered, and cuts every connection at the end.

    Entering raises BenchError if a port is in use, and TimeoutError if the proxy does not start within 10 s. A defect
    of the proxy that ended a connection is raised at the end.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self._listeners: list[TcpPort] = []

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread.start()
        if not self._ready.wait(_START_S):
            raise TimeoutError("the proxy did not start")
        if self._failure:
            self._thread.join()
            self._loop.close()
            raise self._failure
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()
        if self._failure and kind is None:
            raise self._failure

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    @abstractmethod
    def _open(self) -> None:
        """Begin to listen."""

    def _close(self) -> None:  # noqa: B027 - not all have more than connections
        """Release all but the listeners and the connections of `_listen`."""

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        try:
            self._open()
        except BenchError as error:
            self._failure = error
        else:
            self._ready.set()
            await self._stop.wait()
        for listener in self._listeners:
            listener.end()
        self._close()
        await self._cut()
        self._ready.set()

    def _listen(self, serve: Serve, host: str = HOST, port: int = 0) -> TcpPort:
        """Serve each TCP connection in a task of its own."""
        listener = TcpPort(lambda connection: self._begin(serve(connection)), host, port)
        self._listeners.append(listener)
        return listener

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine as a task, which ends by itself or when everything is cut."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._failure = self._failure or error

    async def _cut(self) -> None:
        """Cancel all tasks of `_begin`, and wait for their ends."""
        await asyncio.sleep(0)  # a task that was begun just now first has to open what it closes when it is cancelled
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
