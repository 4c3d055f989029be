"""Liveness, readiness and metrics endpoints."""

from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bench.registry import profiles
from bench.server.device_api import DeviceApi
from bench.server.metrics import CONTENT_TYPE


def routes(api: DeviceApi) -> list[Route]:
    """Return the routes `/healthz`, `/readyz` and `/metrics`."""

    async def alive(_request: Request) -> Response:
        return JSONResponse({"status": "UP"})

    async def ready(_request: Request) -> Response:
        """Answer whether the database works."""
        try:
            await api.registry.read(profiles.default)
        except (SQLAlchemyError, OSError) as error:
            api.journal.failure(error, transport="http")
            return JSONResponse({"status": "DOWN"}, status_code=503)
        return JSONResponse({"status": "UP"})

    async def metrics(_request: Request) -> Response:
        return Response(api.metrics.text(), media_type=CONTENT_TYPE)

    return [Route("/healthz", alive), Route("/readyz", ready), Route("/metrics", metrics)]
