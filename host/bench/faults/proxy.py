"""What stands between boards and a server: listeners on loopback, on an event loop in a thread of its own."""

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, Self

_START_S = 10.0

HOST = "127.0.0.1"


class Proxy(ABC):
    """A context manager: it listens as long as it is entered, and cuts every connection at the end."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(_START_S):
            raise TimeoutError("the proxy did not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    @abstractmethod
    async def _open(self) -> None:
        """Begin to listen."""

    def _close(self) -> None:  # noqa: B027 - not all have more than connections
        """Give up what is neither a listener nor a connection of `_listen`."""

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        await self._open()
        self._ready.set()
        await self._stop.wait()
        for server in self._servers:
            server.close()
        self._close()
        await self._cut()

    async def _listen(
        self, serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]
    ) -> int:
        """Serve each TCP connection in a task of its own; returns the port."""

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._begin(serve(reader, writer))

        self._servers.append(await asyncio.start_server(accept, HOST, 0))
        return int(self._servers[-1].sockets[0].getsockname()[1])

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Do that until it is done, or everything is cut."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _cut(self) -> None:
        """End what `_begin` began."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
