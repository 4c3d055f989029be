"""The way into the database: many requests, one transaction, and no answer before its commit is durable.

While one transaction runs, the requests that arrive wait in a queue; the next transaction takes them all. So one fsync
serves a whole batch under load, and a single request does not wait for others. Lookups go the same way, for their own
share of it: one query for all that wait.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
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
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Request] = deque()
        self._alone: deque[_Request] = deque()
        self._running: asyncio.Future[Any] | None = None
        self._closed = False
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
        request = _Request(batch, item, self._loop.create_future())
        self._waiting.append(request)
        if len(self._waiting) == 1 and self._running is None:
            self._loop.call_soon(self._begin)  # so late that what came with this one goes with it
        return await request.answer

    async def close(self) -> None:
        """Finish the transaction under way. Requests that still wait are cancelled."""
        self._closed = True
        for requests in (self._alone, self._waiting):
            while requests:
                requests.popleft().answer.cancel()
        while self._running is not None:
            await asyncio.wait([self._running])

    def _begin(self) -> None:
        """Begin the next transaction, if anything waits."""
        if self._alone:
            requests = [self._alone.popleft()]
        else:
            requests = [self._waiting.popleft() for _ in range(min(_MOST, len(self._waiting)))]
        if requests:
            self._running = asyncio.ensure_future(self._transaction(lambda connection: _decide(connection, requests)))
            self._running.add_done_callback(partial(self._end, requests))

    def _end(self, requests: list[_Request], transaction: asyncio.Future[dict[_Request, Any]]) -> None:
        self._running = None
        if transaction.cancelled():  # with the event loop's end
            for request in requests:
                request.answer.cancel()
            return
        error = transaction.exception()
        if error is None:
            self.commits += 1
            results = transaction.result()
            for request in requests:
                _answer(request, results[request])
        elif len(requests) > 1 and isinstance(error, DBAPIError) and not isinstance(error, OperationalError):
            # one of them lost a race, or cannot be stored: the others must not lose with it
            self._alone.extend(requests)
        else:
            if isinstance(error, IntegrityError):
                error = Conflict(str(error.orig))
            for request in requests:
                _answer(request, error)
        self._begin()


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
    if isinstance(result, BaseException):
        request.answer.set_exception(result)
    else:
        request.answer.set_result(result)
