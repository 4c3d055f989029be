"""ThingsBoard's device API over HTTP."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bench.registry import DeviceLogin, Origin
from bench.server import wire
from bench.server.device_api import DeviceApi, Gone
from bench.server.http import request_ids
from bench.server.http.answers import BAD_REQUEST, GENERAL, body_of, error

Save = Callable[[DeviceLogin, bytes, Origin], Awaitable[None]]


def routes(api: DeviceApi) -> list[Route]:
    """The routes of the device API."""
    device = _DeviceRoutes(api)
    return [
        Route("/api/v1/provision", device.provision, methods=["POST"]),
        Route("/api/v1/{token}/telemetry", device.telemetry, methods=["POST"]),
        Route("/api/v1/{token}/attributes", device.attributes, methods=["POST"]),
    ]


def origin(request: Request) -> Origin:
    """Where a request comes from."""
    return Origin(request.client.host if request.client else "", "http", request.scope[request_ids.KEY])


class _DeviceRoutes:
    def __init__(self, api: DeviceApi) -> None:
        self._api = api

    async def provision(self, request: Request) -> Response:
        """All three outcomes are 200; only a request that cannot be read is an error."""
        body = await body_of(request)
        if not body:
            return error(400, "Required request body is missing", BAD_REQUEST)
        try:
            outcome = await self._api.provision(body, origin(request))
        except wire.WireError as unreadable:
            return error(500, str(unreadable), GENERAL)
        return Response(wire.write_answer(outcome), media_type="application/json")

    async def telemetry(self, request: Request) -> Response:
        return await self._save(request, self._api.telemetry)

    async def attributes(self, request: Request) -> Response:
        return await self._save(request, self._api.attributes)

    async def _save(self, request: Request, save: Save) -> Response:
        body, source = await body_of(request), origin(request)
        device = await self._api.token_login(request.path_params["token"], source)
        if device is None:
            return Response(status_code=401)
        try:
            await save(device, body, source)
        except wire.WireError as unreadable:
            return error(500, str(unreadable), GENERAL)
        except Gone:
            return Response(status_code=401)
        return Response()
