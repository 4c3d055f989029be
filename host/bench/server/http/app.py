"""The HTTP application."""

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from bench.server.device_api import DeviceApi
from bench.server.http import answers, device
from bench.server.http.polls import Polls
from bench.server.limits import Limited


def application(api: DeviceApi, polls: Polls) -> Starlette:
    """Devices and operators."""

    async def failed(_request: Request, error: Exception) -> Response:
        """What upstream answers when its core does not: 500 without a body."""
        api.journal.failure(error, transport="http")
        return Response(status_code=500)

    app = Starlette(
        routes=device.routes(api, polls),
        exception_handlers={
            Exception: failed,
            Limited: answers.limited,
            answers.TooLarge: answers.too_large,
            ClientDisconnect: answers.gone,
        },
    )
    app.router.redirect_slashes = False  # a path with one slash more is another path
    return app
