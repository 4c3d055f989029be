"""What watches over the server: is it alive, can it work, and what did it do."""

from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bench.registry import profiles
from bench.server.device_api import DeviceApi
from bench.server.metrics import CONTENT_TYPE


def routes(api: DeviceApi) -> list[Route]:
    """`/healthz`, `/readyz`, `/metrics`."""

    async def alive(_request: Request) -> Response:
        return JSONResponse({"status": "UP"})

    async def ready(_request: Request) -> Response:
        """Whether the database answers."""
        try:
            await api.registry.read(profiles.default)
        except (SQLAlchemyError, OSError) as error:
            api.journal.failure(error, transport="http")
            return JSONResponse({"status": "DOWN"}, status_code=503)
        return JSONResponse({"status": "UP"})

    async def metrics(_request: Request) -> Response:
        return Response(api.metrics.text(), media_type=CONTENT_TYPE)

    return [Route("/healthz", alive), Route("/readyz", ready), Route("/metrics", metrics)]
