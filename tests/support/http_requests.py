"""Requests of the HTTP device API, one connection each, and checks of their answers."""

import contextlib
import http.client
import json
import re
import time

from bench.registry.clock import now_ms
from tests.support.servers import PATIENCE_S

PROVISION = "/api/v1/provision"


def call(server, path, body=b"", method="POST", **options):
    """Send one request on a new connection; return status, body and headers."""
    connection = http.client.HTTPConnection("127.0.0.1", server.ports.http, timeout=PATIENCE_S)
    with contextlib.closing(connection):
        connection.request(method, path, body, **options)
        response = connection.getresponse()
        return response.status, response.read(), response.headers


def head(path, *headers, method="POST"):
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode()


def read_response(client):
    """Return the status and the body of a connection's next response."""
    received = b""
    while b"\r\n\r\n" not in received:
        byte = client.read(1)
        assert byte, received
        received += byte
    status = int(re.match(rb"HTTP/1\.1 (\d+) \r\n", received)[1])
    if b"transfer-encoding: chunked" not in received:
        return status, client.read(int(re.search(rb"content-length: (\d+)", received)[1]))
    body = b""
    while True:
        size = b""
        while not size.endswith(b"\r\n"):
            size += client.read(1)
        chunk = client.read(int(size, 16) + 2)
        if len(chunk) == 2:
            return status, body
        body += chunk[:-2]


METHODS = {
    PROVISION: ["POST"],
    "/api/v1/token/telemetry": ["POST"],
    "/api/v1/token/attributes": ["GET", "HEAD", "POST"],
    "/api/v1/token/attributes/updates": ["GET", "HEAD"],
    "/api/v1/token/claim": ["POST"],
    "/api/v1/token/rpc": ["GET", "HEAD", "POST"],
    "/api/v1/token/rpc/1": ["POST"],
    "/api/v1/token/firmware": ["GET", "HEAD"],
    "/api/v1/token/software": ["GET", "HEAD"],
}


def expect_error(response, status, message, code):
    found_status, body, headers = response
    assert (found_status, headers["content-type"]) == (status, "application/json")
    error = json.loads(body)
    assert abs(error.pop("timestamp") - now_ms()) < 10_000
    assert error.pop("message").startswith(message)
    assert error == {"status": status, "errorCode": code}


def listeners(server, device_id):
    """Return the number of requests that wait for something for the device."""

    async def deed(api):
        device = api.presence._devices.get(device_id)
        return max(len(device.on_attributes), len(device.on_call)) if device else 0

    return server.submit(deed).result()


def wait_for_listeners(server, device_id, count):
    deadline = time.monotonic() + 20
    while listeners(server, device_id) != count:
        assert time.monotonic() < deadline
        time.sleep(0.005)
