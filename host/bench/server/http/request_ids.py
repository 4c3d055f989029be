"""An id for every request, which its answer, its events and its row in the audit trail share; answers are counted."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bench.server import device_api
from bench.server.metrics import ServerMetrics

KEY = "request_id"


class RequestIds:
    """Middleware that puts an id into the scope of a request, and into a header of its answer."""

    def __init__(self, app: ASGIApp, metrics: ServerMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = scope[KEY] = device_api.request_id()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.response(message["status"])
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            await send(message)

        await self._app(scope, receive, send_with_id)
