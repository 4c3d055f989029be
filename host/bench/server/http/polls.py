"""Requests that wait until there is something to tell (long polls)."""

import asyncio
from collections.abc import Callable, Iterable

from starlette.requests import Request
from starlette.responses import Response

from bench.server.presence import Stop

Settle = Callable[[Response], bool]
"""Ends a wait with this answer; False if it ended already."""


class Polls:
    """All requests that wait. Each costs a future, a timer and a look at whether its client is still there."""

    def __init__(self) -> None:
        self._waiting: set[Settle] = set()
        self._over = False

    async def wait(self, request: Request, timeout_s: float, listen: Callable[[Settle], Iterable[Stop]]) -> Response:
        """Wait for what `listen` settles; 408 if nothing comes in time. The request's body has to be read before."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Response] = loop.create_future()

        def settle(response: Response) -> bool:
            if answer.done():
                return False
            answer.set_result(response)
            return True

        timer = loop.call_later(timeout_s, settle, Response(status_code=408))
        leaving = asyncio.ensure_future(request.receive())  # after the body there is nothing to receive but the end
        leaving.add_done_callback(lambda _: settle(Response(status_code=408)))
        stops: list[Stop] = []
        self._waiting.add(settle)
        try:
            stops += listen(settle)
            if self._over:
                settle(_unavailable())
            return await answer
        finally:
            self._waiting.discard(settle)
            timer.cancel()
            leaving.cancel()
            for stop in stops:
                stop()

    def end(self) -> None:
        """The server stops: whoever waits is told to come again, and nobody waits any more."""
        self._over = True
        for settle in list(self._waiting):
            settle(_unavailable())


def _unavailable() -> Response:
    return Response(status_code=503, headers={"Connection": "close"})
