"""The HTTP side: ThingsBoard's device API."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from bench.registry import Conflict, Registry
from bench.registry.model import now_ms
from bench.server import wire
from bench.server.journal import Journal

BODY_LIMIT = 65536
# A connection that has not sent a whole request by then is closed.
REQUEST_DEADLINE_S = 10.0
_GENERAL_ERROR = 2
_BAD_REQUEST = 31


class _TooLarge(Exception):
    pass


class _Deadline(HttpToolsProtocol):
    """uvicorn's connection, with a deadline for each request and a bound for its head.

    uvicorn waits for ever for a request that never becomes whole, and takes headers without end.
    """

    deadline_s = REQUEST_DEADLINE_S
    _timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_head = True

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._arm()

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        # BODY_LIMIT on top, because the first bytes of the body may come with the end of the head
        if self._in_head and self._head_bytes > BODY_LIMIT:
            self.transport.abort()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if not self.cycle.response_complete:  # else the deadline is the next request's already
            self._disarm()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._disarm()
        a_whole_one_waits = not (self.cycle.response_complete or self.cycle.more_body)
        if not (a_whole_one_waits or self.transport.is_closing()):
            self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._disarm()

    def drop_unfinished_request(self) -> None:
        """Close the connection if part of a request has arrived, but not all of it."""
        if self.cycle is not None and not self.cycle.response_complete and self.cycle.more_body:
            self.transport.abort()

    def _arm(self) -> None:
        self._timer = self.loop.call_later(self.deadline_s, self.transport.abort)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class HttpServer(uvicorn.Server):
    """uvicorn, run by us: the signals are the whole server's business."""

    def __init__(self, app: Starlette, *, request_deadline_s: float, grace_s: float) -> None:
        protocol = type("Deadline", (_Deadline,), {"deadline_s": request_deadline_s})
        super().__init__(
            uvicorn.Config(
                app,
                http=protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=int(grace_s),
            )
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer the requests that arrived, and wait for no others."""
        for connection in list(self.server_state.connections):
            assert isinstance(connection, _Deadline)
            connection.drop_unfinished_request()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def application(registry: Registry, journal: Journal) -> Starlette:
    """The HTTP application."""
    api = _Api(registry, journal)
    return Starlette(
        routes=[
            Route("/api/v1/provision", api.provision, methods=["POST"]),
            Route("/api/v1/{token}/telemetry", api.telemetry, methods=["POST"]),
            Route("/api/v1/{token}/attributes", api.attributes, methods=["POST"]),
        ],
        exception_handlers={Exception: api.failed, _TooLarge: _too_large, ClientDisconnect: _gone},
    )


class _Api:
    def __init__(self, registry: Registry, journal: Journal) -> None:
        self._registry = registry
        self._journal = journal

    async def provision(self, request: Request) -> Response:
        """All three outcomes are 200; only a request that cannot be read is an error."""
        body = await _body(request)
        peer = request.client.host if request.client else ""
        if not body:
            return _error(400, "Required request body is missing", _BAD_REQUEST)
        try:
            asked = wire.read_request(body)
        except wire.WireError as error:
            self._journal.write("bad_request", peer=peer, transport="http", kind=type(error).__name__)
            return _error(500, str(error), _GENERAL_ERROR)
        outcome = await self._registry.provision(asked)
        self._journal.write(
            "exchange",
            peer=peer,
            transport="http",
            status=outcome.status.value,
            device=outcome.device_name or asked.device_name,
        )
        return Response(wire.write_answer(outcome), media_type="application/json")

    async def telemetry(self, request: Request) -> Response:
        async def save(device_id: Any, body: bytes) -> list[str]:
            values = wire.read_telemetry(body, now_ms())
            await self._registry.save_telemetry(device_id, values)
            return sorted(values)

        return await self._save(request, "telemetry", save)

    async def attributes(self, request: Request) -> Response:
        async def save(device_id: Any, body: bytes) -> list[str]:
            values = wire.read_attributes(body)
            await self._registry.save_attributes(device_id, values)
            return sorted(values)

        return await self._save(request, "attributes", save)

    async def _save(self, request: Request, what: str, save: Callable[[Any, bytes], Awaitable[list[str]]]) -> Response:
        body = await _body(request)
        device = await self._registry.token_login(request.path_params["token"])
        if device is None:
            self._journal.write("login_refused", peer=request.client.host if request.client else "", transport="http")
            return Response(status_code=401)
        try:
            keys = await save(device.id, body)
        except wire.WireError as error:
            self._journal.write("bad_message", device=device.name, transport="http", kind=type(error).__name__)
            return _error(500, str(error), _GENERAL_ERROR)
        except Conflict:  # deleted meanwhile
            return Response(status_code=401)
        self._journal.write(what, device=device.name, transport="http", keys=keys)
        return Response()

    async def failed(self, _request: Request, error: Exception) -> Response:
        """What upstream answers when its core does not: 500 without a body."""
        self._journal.failure(error, transport="http")
        return Response(status_code=500)


async def _body(request: Request) -> bytes:
    """The body, bounded whether or not its length was announced."""
    if int(request.headers.get("content-length", 0)) > BODY_LIMIT:
        raise _TooLarge
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_LIMIT:
            raise _TooLarge
    return body


def _error(status: int, message: str, code: int) -> Response:
    """ThingsBoard's error shape."""
    return JSONResponse(
        {"status": status, "message": message, "errorCode": code, "timestamp": now_ms()}, status_code=status
    )


async def _too_large(_request: Request, _error: Exception) -> Response:
    """The connection stays until its deadline: a client that is still sending hears this only afterwards."""
    text = json.dumps(f"Payload size exceeds the limit of {BODY_LIMIT} bytes")
    return Response(text, status_code=413, media_type="application/json")


async def _gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=400)  # nobody reads it
