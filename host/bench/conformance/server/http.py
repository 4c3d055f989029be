"""HTTP: paths, codes, bodies."""

import json
import secrets

from bench.conformance.check import Broken
from bench.conformance.server import http_wire
from bench.conformance.server.check_list import CheckList
from bench.conformance.server.mqtt import SAMPLE
from bench.conformance.server.mqtt_devices import await_attribute
from bench.conformance.server.subject import CheckedServer
from bench.conformance.server.transports import PATH

_PROVISIONING = "ThingsBoard: provisioning over HTTP"
_API = "ThingsBoard: a device's API over HTTP"
_OK, _UNAUTHORIZED = 200, 401
_ERRORS = range(400, 600)
_LARGE = 60_000

checks = CheckList()


@checks.add("http.provision.status_is_200", _PROVISIONING)
def _status_is_200(server: CheckedServer) -> None:
    """SUCCESS, FAILURE and NOT_FOUND are all 200: a device looks at `status` alone."""
    for name, fields in (
        (" ", {}),
        (server.new_name(), {"provisionDeviceSecret": secrets.token_hex(10)}),
        (server.newcomer(), {}),
    ):
        answer = http_wire.request(server.addresses, "POST", PATH, server.request(name, **fields))
        status = server.read(answer.body, name).status
        if answer.code != _OK:
            raise Broken(f"{status} is {answer.code}")


@checks.add("http.provision.any_content_type", _PROVISIONING)
def _any_content_type(server: CheckedServer) -> None:
    """The request is read as JSON if its Content-Type is text or bytes, and without one."""
    for kind in ("text/plain", "application/octet-stream", None):
        answer = http_wire.request(server.addresses, "POST", PATH, server.request(" "), content_type=kind)
        if answer.code != _OK:
            raise Broken(f"with Content-Type {kind} it is {answer.code}")
        server.read(answer.body, " ")


@checks.add("http.provision.form", _PROVISIONING)
def _form(server: CheckedServer) -> None:
    """A request with the Content-Type of a form, as `curl -d` has it, is an error (500)."""
    form = "application/x-www-form-urlencoded"
    code = http_wire.request(server.addresses, "POST", PATH, server.request(" "), content_type=form).code
    if code not in _ERRORS:
        raise Broken(f"it is {code}")


@checks.add("http.provision.unreadable", _PROVISIONING)
def _unreadable(server: CheckedServer) -> None:
    """A request that is not a JSON object, lacks the secret or has null for a name, is an error (500, empty 400)."""
    for request in (
        b"{",
        b"[]",
        server.request(server.new_name(), provisionDeviceSecret=...),
        server.request("", deviceName=None),
        b"",
    ):
        code = http_wire.request(server.addresses, "POST", PATH, request).code
        if code not in _ERRORS:
            raise Broken(f"{request[:1].decode() or 'no body'}... is {code}")


@checks.add("http.provision.other_methods", _PROVISIONING)
def _other_methods(server: CheckedServer) -> None:
    """GET and PUT of the path are errors (405)."""
    for method in ("GET", "PUT"):
        code = http_wire.request(server.addresses, method, PATH, server.request(" ")).code
        if code not in _ERRORS:
            raise Broken(f"{method} is {code}")


@checks.add("http.session.unknown_token", _API)
def _unknown_token(server: CheckedServer) -> None:
    """Telemetry, attributes, and to ask for them, is 401 with a token that no device has."""
    path = f"/api/v1/{server.new_token()}"
    for method, what, body in (
        ("POST", "telemetry", SAMPLE),
        ("POST", "attributes", SAMPLE),
        ("GET", "attributes", b""),
    ):
        code = http_wire.request(server.addresses, method, f"{path}/{what}", body).code
        if code != _UNAUTHORIZED:
            raise Broken(f"{method} {what} is {code} instead of 401")


@checks.add("http.session.telemetry", _API)
def _telemetry(server: CheckedServer) -> None:
    """Telemetry is 200, also 60000 bytes of it."""
    for body in (SAMPLE, json.dumps({"conformance": "x" * _LARGE}).encode()):
        code = http_wire.request(server.addresses, "POST", f"/api/v1/{server.token}/telemetry", body).code
        if code != _OK:
            raise Broken(f"{len(body)} bytes are {code}")


@checks.add("http.session.attributes", _API)
def _attributes(server: CheckedServer) -> None:
    """An attribute that the device sent comes back when it asks for it."""
    value, path = server.new_name(), f"/api/v1/{server.token}/attributes"
    code = http_wire.request(server.addresses, "POST", path, json.dumps({"conformance": value}).encode()).code
    if code != _OK:
        raise Broken(f"to send it is {code}")

    def query(_number: int) -> tuple[str, bytes]:
        answer = http_wire.request(server.addresses, "GET", f"{path}?clientKeys=conformance")
        return f"the answer ({answer.code})", answer.body

    await_attribute(server, value, query)


@checks.add("http.session.unreadable", _API)
def _bad_telemetry(server: CheckedServer) -> None:
    """Telemetry that is not JSON is an error (500)."""
    code = http_wire.request(server.addresses, "POST", f"/api/v1/{server.token}/telemetry", b"{").code
    if code not in _ERRORS:
        raise Broken(f"it is {code}")


@checks.add("http.session.unknown_path", _API)
def _unknown_path(server: CheckedServer) -> None:
    """A path outside of the API is an error (404), with a good token, too."""
    code = http_wire.request(server.addresses, "POST", f"/api/v1/{server.token}/nothing-here", SAMPLE).code
    if code not in _ERRORS:
        raise Broken(f"it is {code}")
