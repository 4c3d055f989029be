"""The description of both APIs, for people and for programs."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bench.server.http.operator.forms import ErrorAnswer


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


_ERROR = _json({"$ref": "#/components/schemas/ErrorAnswer"})
ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"content": _ERROR, "description": "The request is of no use."},
    401: {"content": _ERROR, "description": "Not logged in."},
    403: {"content": _ERROR, "description": "Not allowed."},
    404: {"content": _ERROR, "description": "There is no such thing."},
    409: {"content": _ERROR, "description": "Somebody else was faster."},
    413: {"content": _json({"type": "string"}), "description": "The body is too large."},
    429: {"content": _ERROR, "description": "Too many failures; Retry-After says for how long."},
}


def describe(app: FastAPI) -> None:
    """Serve the description: as JSON, and as a page (whose scripts come from a network)."""
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

    async def as_json(_request: Request) -> Response:
        return JSONResponse(app.openapi())

    async def as_page(_request: Request) -> Response:
        return get_swagger_ui_html(openapi_url=str(app.openapi_url), title=app.title)

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's documented way
    app.add_route("/v3/api-docs", as_json, include_in_schema=False)
    for path in ("/docs", "/swagger"):
        app.add_route(path, as_page, include_in_schema=False)


_TOKEN = {"name": "token", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
_EMPTY = {"description": "Stored."}
_UNKNOWN = {"description": "No device has this access token."}
_UNREADABLE = {"description": "The body cannot be read.", "content": _ERROR}


def _body(schema: dict[str, Any], example: Any) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}


def _post(summary: str, body: dict[str, Any], answers: dict[str, Any], *parameters: Any) -> dict[str, Any]:
    operation = {"summary": summary, "tags": ["device API"], "requestBody": body, "responses": answers}
    return {"post": {**operation, "parameters": list(parameters)}}


_TEXT = {"type": "string"}
_STORE = {"200": _EMPTY, "401": _UNKNOWN, "500": _UNREADABLE}

DEVICE_PATHS = {
    "/api/v1/provision": _post(
        "Provision: ask for credentials",
        _body(
            {
                "type": "object",
                "required": ["provisionDeviceKey", "provisionDeviceSecret"],
                "properties": {
                    "provisionDeviceKey": _TEXT,
                    "provisionDeviceSecret": _TEXT,
                    "deviceName": _TEXT,
                    "credentialsType": {"enum": ["ACCESS_TOKEN", "MQTT_BASIC", "X509_CERTIFICATE"]},
                    **dict.fromkeys(("token", "clientId", "username", "password", "hash"), _TEXT),
                    "gateway": {"type": "boolean"},
                },
            },
            {"provisionDeviceKey": "key", "provisionDeviceSecret": "secret", "deviceName": "press-4"},
        ),
        {
            "200": {
                "description": "The outcome, whether or not it is a success.",
                "content": _json(
                    {
                        "type": "object",
                        "required": ["status"],
                        "properties": {"status": {"enum": ["SUCCESS", "NOT_FOUND", "FAILURE"]}},
                    }
                ),
            },
            "400": _UNREADABLE,
            "429": _UNREADABLE,
            "500": _UNREADABLE,
        },
    ),
    "/api/v1/{token}/telemetry": _post("Store telemetry", _body({}, {"temperature": 21.5}), _STORE, _TOKEN),
    "/api/v1/{token}/attributes": _post(
        "Store client attributes", _body({"type": "object"}, {"firmware": "1.0"}), _STORE, _TOKEN
    ),
}
