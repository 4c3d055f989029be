"""The way into the database: many requests, one transaction, and no answer before its commit is durable.

While one transaction runs, the requests that arrive wait in a queue; the next transaction takes them all. So one fsync
serves a whole batch under load, and a single request does not wait for others. Lookups go the same way, for their own
share of it: one query for all that wait.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

# A batch function decides for many items at once, in order, and returns a result each. It may run in a
# thread: it touches nothing but its arguments.
Batch = Callable[[Connection, Sequence[Any]], Sequence[Any]]

# Bounds a transaction's length, and the number of parameters of its statements.
_MOST = 256


class Conflict(Exception):
    """Another transaction was faster: a unique or foreign key constraint refused this one."""


class Outdated(Conflict):
    """A change of something that was changed since it was read. The message is ThingsBoard's."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"{kind} was already changed by someone else")


@dataclass(eq=False)
class _Request:
    batch: Batch
    item: Any
    answer: asyncio.Future[Any]


class Pipeline:
    """Runs batch functions in transactions, one after the other.

    Args:
        transaction: Database.read or Database.write.
    """

    def __init__(self, transaction: Callable[[Callable[[Connection], Any]], Awaitable[Any]]) -> None:
        self._transaction = transaction
        self._queue: asyncio.Queue[_Request | None] = asyncio.Queue()
        self._closed = False
        self._task = asyncio.create_task(self._run())
        self.commits = 0

    async def submit(self, batch: Batch, item: Any) -> Any:
        """Have `item` decided by `batch`, and return its result after the commit.

        Raises:
            Conflict: A constraint refused it.
            RuntimeError: The pipeline is closed.
            SQLAlchemyError: Whatever else the database raised.
        """
        if self._closed:
            raise RuntimeError("the registry is closed")
        request = _Request(batch, item, asyncio.get_running_loop().create_future())
        self._queue.put_nowait(request)
        return await request.answer

    async def close(self) -> None:
        """Finish the transaction under way. Requests that still wait are cancelled."""
        self._closed = True
        while not self._queue.empty():
            if (request := self._queue.get_nowait()) is not None:
                request.answer.cancel()
        self._queue.put_nowait(None)
        await self._task

    async def _run(self) -> None:
        while (first := await self._queue.get()) is not None:
            requests = [first]
            while len(requests) < _MOST and not self._queue.empty():
                following = self._queue.get_nowait()
                if following is None:
                    self._queue.put_nowait(None)
                    break
                requests.append(following)
            await self._commit(requests)

    async def _commit(self, requests: list[_Request]) -> None:
        try:
            results = await self._transaction(lambda connection: _decide(connection, requests))
        except Exception as error:  # noqa: BLE001 - the callers get it
            if len(requests) > 1 and isinstance(error, DBAPIError) and not isinstance(error, OperationalError):
                # one of them lost a race, or cannot be stored: the others must not lose with it
                for request in requests:
                    await self._commit([request])
                return
            if isinstance(error, IntegrityError):
                error = Conflict(str(error.orig))
            for request in requests:
                _answer(request, error)
        else:
            self.commits += 1
            for request in requests:
                _answer(request, results[request])


def _decide(connection: Connection, requests: list[_Request]) -> dict[_Request, Any]:
    groups: dict[Batch, list[_Request]] = {}
    for request in requests:
        groups.setdefault(request.batch, []).append(request)
    results: dict[_Request, Any] = {}
    for batch, group in groups.items():
        decided = batch(connection, [request.item for request in group])
        results.update(zip(group, decided, strict=True))
    return results


def _answer(request: _Request, result: Any) -> None:
    if request.answer.done():  # the caller has left meanwhile
        return
    if isinstance(result, Exception):
        request.answer.set_exception(result)
    else:
        request.answer.set_result(result)
