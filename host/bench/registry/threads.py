"""Threads that do work for the event loop, with as little between the two as there can be.

An executor of `concurrent.futures` has a lock, a semaphore and a second future for each piece of work; where most work
takes less than a millisecond, that is much of it.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


class Threads:
    """A few threads that take work from one queue, in its order.

    Args:
        count: How many.
        name: Their name.
    """

    def __init__(self, count: int, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._work: queue.SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._run, name=name, daemon=True) for _ in range(count)]
        for each in self._threads:
            each.start()

    def submit(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Have a thread do work, and return what will have its result. Cancelled in time, it is not begun."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._work.put((work, future))
        return future

    def shut_down(self) -> None:
        """Wait until all that was submitted is done; then the threads are gone."""
        for _ in self._threads:
            self._work.put(None)
        for each in self._threads:
            each.join()

    def _run(self) -> None:
        while (taken := self._work.get()) is not None:
            work, future = taken
            if not future.cancelled():
                self._do(work, future)
            del taken, work, future  # else they would live as long as this waits

    def _do(self, work: Callable[[], Any], future: asyncio.Future[Any]) -> None:
        result: Any = None
        failure: BaseException | None = None
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - whoever waits gets it
            failure = error
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(_settle, future, result, failure)


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():  # whoever waited has left
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
