"""The memory that requests' bodies take, of one address and of all together."""

from collections import Counter

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bench import addresses

ALL = 128 << 20
"""Bytes of bodies that are being received or handled; what comes on top is answered 503."""
ADDRESS = 32 << 20
"""The same for one address."""


class Busy(Exception):
    """There is no room for another body."""


class Bodies:
    """An ASGI application around another one, which bounds what it receives."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._all = 0
        self._by_place: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; its body counts until it is handled."""
        taken = 0
        place = addresses.network(scope["client"][0]) if scope.get("client") else ""

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            size = len(message.get("body", b""))
            if size:
                taken += size
                self._all += size
                self._by_place[place] += size
                if self._all > ALL or self._by_place[place] > ADDRESS:
                    raise Busy
            return message

        try:
            await self._app(scope, counted, send)
        finally:
            if taken:
                self._all -= taken
                self._by_place[place] -= taken
                if not self._by_place[place]:
                    del self._by_place[place]


async def busy(_request: object, _error: Exception) -> Response:
    """Answer a request whose body has no room."""
    return Response(status_code=503, headers={"Retry-After": "1", "Connection": "close"})
