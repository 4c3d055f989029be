"""The HTTP application: the device API, the operators' API, health and metrics."""

from collections.abc import Sequence

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp

from bench.contract import broker_topics
from bench.server.broker.access import BrokerAccess
from bench.server.device_api import DeviceApi
from bench.server.endpoints import Endpoints
from bench.server.http import bodies, broker, compat, device, error_responses, health, openapi, operator
from bench.server.http.forwarded import Forwarded
from bench.server.http.operator.live.routes import routes as live_routes
from bench.server.http.polls import Polls
from bench.server.http.request_ids import RequestIds
from bench.server.http.tomcat import ChunkedErrors, PathCheck
from bench.server.limits import Limited
from bench.server.trusted_proxies import TrustedProxies

_ANY = "*"


def application(  # noqa: PLR0913 - all that a server has
    api: DeviceApi,
    polls: Polls,
    endpoints: Endpoints | None = None,
    proxies: TrustedProxies | None = None,
    *,
    cors_origins: Sequence[str] = (),
    access: BrokerAccess | None = None,
) -> ASGIApp:
    """Return the application: devices and operators, on one port as ThingsBoard has them.

    Args:
        api: Decides the requests.
        polls: Those that wait.
        endpoints: Where the server listens; None if it does not.
        proxies: Whose X-Forwarded-For is believed; by default nobody's.
        cors_origins: Web pages of these origins may use the APIs; `*` is any.
        access: Decides for the user's own broker; None if there is no server that one could ask.
    """

    async def failed(_request: Request, error: Exception) -> Response:
        """Log an unexpected error, and answer as ThingsBoard does when its core fails: 500 without a body."""
        api.journal.failure(error, transport="http")
        return Response(status_code=500)

    app = FastAPI(
        title="firstboot",
        summary="A provisioning server that a device, and an operator's client, cannot tell from ThingsBoard.",
        version="1",
        # Each default is decided: docs/library-defaults.md has the reasons.
        debug=False,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        root_path="",
        redirect_slashes=False,
        openapi_url=None,  # `openapi.describe` serves it
        docs_url=None,
        redoc_url=None,
        exception_handlers={
            Exception: failed,
            Limited: error_responses.limited,
            bodies.Busy: bodies.busy,
            error_responses.TooLarge: error_responses.too_large,
            ClientDisconnect: error_responses.gone,
            RequestValidationError: error_responses.invalid,
            HTTPException: error_responses.http_error,
            **operator.HANDLERS,
        },
    )
    app.add_middleware(ChunkedErrors)
    app.add_middleware(bodies.Bodies)
    app.add_middleware(PathCheck)
    app.router.routes[:0] = device.routes(api, polls)  # first: they have the most requests
    app.state.operators = operator.Operators(api)
    app.state.endpoints = endpoints
    app.state.topic_prefix = access.prefix if access else broker_topics.PREFIX
    app.router.routes += live_routes(app.state.operators)
    app.router.routes += operator.ROUTES + compat.ROUTES
    app.router.routes += health.routes(api)
    if access is not None:
        app.router.routes += broker.routes(api, access)
    openapi.describe(app)
    if cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=[each for each in cors_origins if each != _ANY],
            allow_origin_regex=".*" if _ANY in cors_origins else None,  # answered with the origin, as there
            allow_methods=("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"),
            allow_headers=(_ANY,),
            allow_credentials=True,
            max_age=1800,
        )
    answering = RequestIds(app, api.metrics)
    return Forwarded(answering, proxies) if proxies else answering
