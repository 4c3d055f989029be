"""Options of the libraries that face the network: each is decided in docs/library-defaults.md, and in the code."""

import asyncio
import inspect
import re
import socket
import ssl
from pathlib import Path

import fastapi
import pytest
import uvicorn
from aiocoap.numbers.constants import TransportTuning

from bench.registry.registry import Registry
from bench.server.device_api import DeviceApi
from bench.server.http.app import application
from bench.server.http.polls import Polls
from bench.server.http.uvicorn_server import HttpServer, HttpTimeouts
from bench.server.http.websocket_connection import WebSocketConnection
from bench.server.journal import Journal
from bench.server.limits import Limits, Rules
from bench.server.metrics import ServerMetrics
from tests.support.http_requests import call

PAGE = (Path(__file__).parents[2] / "docs" / "library-defaults.md").read_text()
# What only shapes FastAPI's description of the API.
DESCRIPTION = {
    *("title", "summary", "description", "version", "openapi_tags", "servers", "terms_of_service", "contact"),
    *("license_info", "responses", "callbacks", "webhooks", "deprecated", "include_in_schema", "swagger_ui_parameters"),
    *("swagger_ui_oauth2_redirect_url", "swagger_ui_init_oauth", "generate_unique_id_function"),
    *("separate_input_output_schemas", "openapi_external_docs"),
}
# The application itself.
PARTS = {
    *("self", "app", "extra", "routes", "dependencies", "default_response_class", "middleware", "exception_handlers"),
    *("on_startup", "on_shutdown", "lifespan"),
}


def decided(section):
    """The options that a section of the page has."""
    (text,) = re.findall(rf"^## {section}.*?\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return {
        name for line in text.splitlines() if line[:1] == "|" for name in re.findall(r"`(\w+)`", line.split("|")[1])
    }


@pytest.mark.parametrize(
    ("section", "options"),
    [
        ("uvicorn", set(inspect.signature(uvicorn.Config).parameters) - PARTS),
        ("FastAPI", set(inspect.signature(fastapi.FastAPI).parameters) - PARTS - DESCRIPTION),
        ("aiocoap", {name for name in dir(TransportTuning) if name[0] != "_"}),
    ],
)
def test_each_option_is_decided(section, options):
    assert options - decided(section) == set()


def test_uvicorn_has_nothing_from_the_environment(monkeypatch):
    for name in ("FORWARDED_ALLOW_IPS", "WEB_CONCURRENCY", "ROOT_PATH"):
        monkeypatch.setenv(name, "7")

    async def app(_scope, _receive, _send):
        pass

    async def make():
        waits = HttpTimeouts(request_s=1, stop_s=2)
        return HttpServer(app, waits, on_malformed=lambda _: None, on_stop=lambda: None).config

    config = asyncio.run(make())
    assert (config.proxy_headers, config.forwarded_allow_ips) == (False, [])
    assert config.loaded_app is app  # nothing is wrapped around it
    assert (config.workers, config.root_path, config.access_log, config.server_header) == (1, "", False, False)
    assert (config.timeout_graceful_shutdown, config.limit_max_requests) == (2, None)
    assert (config.ws_protocol_class, config.ws_max_size) == (WebSocketConnection, 32768)
    assert (config.ws_per_message_deflate, config.ws_ping_interval, config.ws_ping_timeout) == (False, 10, 30)


def test_application_tells_no_one_else_of_requests(monkeypatch, tmp_path):
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")

    async def telemetry():
        registry = await Registry.open(tmp_path)
        try:
            api = DeviceApi(registry, Journal(), Limits(Rules()), ServerMetrics(lambda: 0))
            return application(api, Polls())._app._telemetry
        finally:
            await registry.close()

    found = asyncio.run(telemetry())
    assert {name: found[name] for name in ("tracing", "metrics", "logs", "auto_configure")} == {
        "tracing": False,
        "metrics": False,
        "logs": False,
        "auto_configure": False,
    }


def test_answer_has_no_word_of_the_software(shared_server):
    headers = call(shared_server, "/healthz", method="GET")[2]
    assert "server" not in headers
    assert call(shared_server, "/healthz/", method="GET")[0] == 404  # and not a redirect


@pytest.mark.parametrize("transport", ["mqtts", "https"])
@pytest.mark.parametrize("cipher", ["AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA", "aNULL"])
def test_cipher_without_forward_secrecy_or_with_sha1_is_refused(shared_server, transport, cipher):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"{cipher}:@SECLEVEL=0")
    with (
        socket.create_connection(("127.0.0.1", getattr(shared_server.ports, transport)), 20) as plain,
        pytest.raises((ssl.SSLError, ConnectionResetError)),
    ):
        context.wrap_socket(plain)


@pytest.mark.parametrize("transport", ["mqtts", "https"])
@pytest.mark.parametrize("cipher", ["ECDHE+AESGCM", "ECDHE+CHACHA20", "ECDHE+AES256", "ECDHE+AES128+SHA256"])
def test_cipher_of_small_boards_is_accepted(shared_server, transport, cipher):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(cipher)
    with (
        socket.create_connection(("127.0.0.1", getattr(shared_server.ports, transport)), 20) as plain,
        context.wrap_socket(plain) as encrypted,
    ):
        assert encrypted.version() == "TLSv1.2"
