"""Long polls: requests that wait until there is something to send."""

import asyncio
from collections.abc import Callable, Iterable

from starlette.requests import Request
from starlette.responses import Response

from bench.server.presence import Stop

Settle = Callable[[Response], bool]
"""Ends a wait with an answer; returns False if it ended already."""


class Polls:
    """All requests that wait. Each costs a future, a timer and a watch on its client's connection."""

    def __init__(self) -> None:
        self._waiting: set[Settle] = set()
        self._over = False

    async def wait(
        self, request: Request, timeout_s: float, status: int, listen: Callable[[Settle], Iterable[Stop]]
    ) -> Response:
        """Wait for an answer.

        Args:
            request: Its body has been read.
            timeout_s: How long to wait, in seconds.
            status: Of the answer if there is none until then.
            listen: Called with a function that ends the wait with an answer; returns what stops the listening.

        Returns:
            The answer; without a body if there is none in time.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Response] = loop.create_future()

        def settle(response: Response) -> bool:
            if answer.done():
                return False
            answer.set_result(response)
            return True

        timer = loop.call_later(timeout_s, settle, Response(status_code=status))
        leaving = asyncio.ensure_future(request.receive())  # after the body there is nothing to receive but the end
        leaving.add_done_callback(lambda _: settle(Response(status_code=status)))
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
        """End all waits, and all later ones, with 503: the server stops."""
        self._over = True
        for settle in list(self._waiting):
            settle(_unavailable())


def _unavailable() -> Response:
    return Response(status_code=503, headers={"Connection": "close"})
