"""The HTTP application."""

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from bench.server.device_api import DeviceApi
from bench.server.http import answers, device
from bench.server.limits import Limited


def application(api: DeviceApi) -> Starlette:
    """Devices and operators."""

    async def failed(_request: Request, error: Exception) -> Response:
        """What upstream answers when its core does not: 500 without a body."""
        api.journal.failure(error, transport="http")
        return Response(status_code=500)

    return Starlette(
        routes=device.routes(api),
        exception_handlers={
            Exception: failed,
            Limited: answers.limited,
            answers.TooLarge: answers.too_large,
            ClientDisconnect: answers.gone,
        },
    )
