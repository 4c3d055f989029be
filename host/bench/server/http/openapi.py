"""The OpenAPI description of both APIs, as JSON and as a page."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.staticfiles import StaticFiles

from bench.registry.provisioning import Status
from bench.server.http.operator.api_router import ERROR, ERRORS, json_content
from bench.server.http.operator.schemas.common import ErrorAnswer

_ASSETS = "/docs/assets"
_JSON, _THINGSBOARDS = "/openapi.json", "/v3/api-docs"


def _json_route(app: FastAPI) -> Callable[[Request], Awaitable[Response]]:
    """Return the handler of the description as JSON."""
    writing: asyncio.Task[bytes] | None = None

    async def as_json(_request: Request) -> Response:
        nonlocal writing
        if writing is None:  # takes over a second: once for all, beside the event loop, whoever leaves meanwhile
            writing = asyncio.create_task(asyncio.to_thread(lambda: bytes(JSONResponse(app.openapi()).body)))
        return Response(await asyncio.shield(writing), media_type="application/json")

    return as_json


def describe(app: FastAPI) -> None:
    """Serve the description: as JSON, and as a page, which needs no network but this server."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            described = generate()
            for path in described["paths"].values():
                for operation in path.values():
                    operation["responses"].pop("422", None)  # such requests are 400 here
            for name in ("HTTPValidationError", "ValidationError"):
                described["components"]["schemas"].pop(name, None)
            described["components"]["schemas"]["ErrorAnswer"] = ErrorAnswer.model_json_schema()
            described["paths"].update(DEVICE_PATHS)
            app.openapi_schema = described
        return app.openapi_schema

    async def as_page(_request: Request) -> Response:
        return get_swagger_ui_html(
            openapi_url=_JSON,
            title=app.title,
            swagger_js_url=f"{_ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{_ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{_ASSETS}/favicon-32x32.png",
        )

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's documented way
    app.mount(_ASSETS, StaticFiles(packages=[("fastapi_swagger", "resources")]))
    as_json = _json_route(app)
    for path in (_JSON, _THINGSBOARDS):
        app.add_route(path, as_json, include_in_schema=False)
    for path in ("/docs", "/swagger"):
        app.add_route(path, as_page, include_in_schema=False)


_TEXT = {"type": "string"}
_TOKEN = {"name": "token", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
_EMPTY = {"description": "Stored."}
_UNKNOWN = {"description": "No device has this access token."}
_UNREADABLE = {"description": "The body cannot be read.", "content": ERROR}


def _body(schema: dict[str, Any], example: Any) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}


def _operation(summary: str, answers: dict[str, Any], *parameters: Any, **more: Any) -> dict[str, Any]:
    return {"summary": summary, "tags": ["device API"], "responses": answers, "parameters": list(parameters), **more}


def _query(name: str, schema: dict[str, Any] = _TEXT) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema}


_NUMBER = {"type": "integer"}
_BAD = {"description": "A parameter is missing or invalid.", "content": ERROR}
_SILENCE = {"description": "Nothing happened in time."}
_FOUND = {"description": "The result.", "content": json_content({})}
_STORE = {"200": _EMPTY, "400": _BAD, "401": _UNKNOWN, "500": _UNREADABLE}
_POLL = {"200": _FOUND, "400": _BAD, "401": _UNKNOWN, "408": _SILENCE}
_OUTCOME = {"type": "object", "required": ["status"], "properties": {"status": {"enum": list(Status)}}}
_REQUEST = {
    "type": "object",
    "required": ["provisionDeviceKey", "provisionDeviceSecret"],
    "properties": {
        "credentialsType": {"enum": ["ACCESS_TOKEN", "MQTT_BASIC", "X509_CERTIFICATE"]},
        "gateway": {"type": "boolean"},
        **dict.fromkeys(("provisionDeviceKey", "provisionDeviceSecret", "deviceName"), _TEXT),
        **dict.fromkeys(("token", "clientId", "username", "password", "hash"), _TEXT),
        "proof": {"enum": ["nonce"]},
        **dict.fromkeys(("provisionDeviceNonce", "provisionDeviceProof"), _TEXT),
    },
}
_WANTED = {"provisionDeviceKey": "key", "provisionDeviceSecret": "secret", "deviceName": "press-4"}
_PACKAGE = {
    "get": _operation(
        "A package; none are kept here",
        {"400": _BAD, "401": _UNKNOWN, "404": {"description": "Not found."}},
        _TOKEN,
        *(_query(name) for name in ("title", "version")),
        *(_query(name, _NUMBER) for name in ("size", "chunk")),
    )
}

DEVICE_PATHS = {
    "/api/v1/provision": {
        "post": _operation(
            "Provision: request credentials",
            {
                "200": {
                    "description": "The outcome, whether or not it is a success.",
                    "content": json_content(_OUTCOME),
                },
                **dict.fromkeys(("400", "429", "500"), _UNREADABLE),
            },
            requestBody=_body(_REQUEST, _WANTED),
        )
    },
    "/api/v1/{token}/telemetry": {
        "post": _operation("Store telemetry", _STORE, _TOKEN, requestBody=_body({}, {"temperature": 21.5}))
    },
    "/api/v1/{token}/attributes": {
        "get": _operation("Client and shared attributes", _POLL, _TOKEN, _query("clientKeys"), _query("sharedKeys")),
        "post": _operation(
            "Store client attributes", _STORE, _TOKEN, requestBody=_body({"type": "object"}, {"firmware": "1.0"})
        ),
    },
    "/api/v1/{token}/attributes/updates": {
        "get": _operation("Wait for shared attributes", _POLL, _TOKEN, _query("timeout", _NUMBER))
    },
    "/api/v1/{token}/claim": {
        "post": _operation(
            "May be claimed", _STORE, _TOKEN, requestBody=_body({"type": "object"}, {"secretKey": "s3cret"})
        )
    },
    "/api/v1/{token}/rpc": {
        "get": _operation("Wait for a call", _POLL, _TOKEN, _query("timeout", _NUMBER)),
        "post": _operation(
            "Call the server",
            {**_STORE, "200": _FOUND, "408": _SILENCE, "413": ERRORS[413]},
            _TOKEN,
            requestBody=_body({"type": "object"}, {"method": "getCurrentTime", "params": {}}),
        ),
    },
    "/api/v1/{token}/rpc/{requestId}": {
        "post": _operation(
            "Answer a call",
            {**_STORE, "413": ERRORS[413]},
            _TOKEN,
            {"name": "requestId", "in": "path", "required": True, "schema": _NUMBER},
            requestBody=_body({}, {"done": True}),
        )
    },
    "/api/v1/{token}/firmware": _PACKAGE,
    "/api/v1/{token}/software": _PACKAGE,
}
