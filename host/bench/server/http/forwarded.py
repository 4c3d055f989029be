"""The headers of trusted proxies: X-Forwarded-For and X-Forwarded-Proto."""

from starlette.types import ASGIApp, Receive, Scope, Send

from bench.server.trusted_proxies import TrustedProxies

_FOR, _SCHEME = b"x-forwarded-for", b"x-forwarded-proto"
_SCHEMES = {b"http", b"https"}


class Forwarded:
    """Middleware that puts a client's own address into the scope of a request that a trusted proxy passed on.

    uvicorn's takes any text for an address.
    """

    def __init__(self, app: ASGIApp, proxies: TrustedProxies) -> None:
        self._app = app
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        if client and client[0] in self._proxies:
            sent = [value.decode("latin-1") for name, value in scope["headers"] if name == _FOR]
            if sent:
                scope["client"] = self._proxies.client_of(client[0], sent), 0
            schemes = [value for name, value in scope["headers"] if name == _SCHEME]
            if schemes and schemes[-1] in _SCHEMES:
                scope["scheme"] = schemes[-1].decode()
        await self._app(scope, receive, send)
