"""The HTTP side: status codes and bodies, and what no HTTP client should send."""

import contextlib
import json
import socket
import time

import pytest

from bench.registry import profiles, timeseries
from bench.registry.clock import now_ms
from bench.registry.model import SHARED_SCOPE
from bench.registry.provision_type import ProvisionType
from bench.server.http import device as device_routes
from bench.server.http import uvicorn_server
from bench.server.presence import AnswerUnreadable
from tests.support.http_requests import METHODS, PROVISION, call, expect_error, head, read_response
from tests.support.mqtt_packets import (
    FAILURE,
    NOT_FOUND,
    expect_silence,
    expect_unharmed,
    held_back_commits,
    new_device,
    request_body,
    success,
    trickle,
)
from tests.support.raw_client import RawClient
from tests.support.servers import TOKEN

LIMIT = 1 << 20
RPC_LIMIT = 65536


def too_large(limit=LIMIT):
    return b'"Payload size exceeds the limit of %d bytes"' % limit


# POST /api/v1/provision.


@pytest.mark.parametrize("path", METHODS)
def test_other_methods_are_405(shared_server, path):
    for method in {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"} - set(METHODS[path]):
        status, _, headers = call(shared_server, path, b"{}", method=method)
        assert status == 405
        assert set(headers["allow"].split(", ")) == set(METHODS[path])


@pytest.mark.parametrize("path", METHODS)
def test_trailing_slash_is_404(shared_server, path):
    for method in METHODS[path]:
        assert call(shared_server, path + "/", b"{}", method=method)[0] == 404


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/api/v1", "/api/v1/provision/more", "/api/v1/Provision", "/api/v2/provision", "/api/v1//telemetry"),
        *("/api/v1/token", "/api/v1/token/Telemetry", "/api/v1/token/attributes/more", "/api/v1/token/rpc/1/2"),
    ],
)
def test_other_paths_are_404(shared_server, path):
    assert call(shared_server, path, request_body(shared_server.profile, deviceName="a"))[0] == 404
    expect_unharmed(shared_server)


@pytest.mark.parametrize("path", ["/api/v1/to%0Aken/telemetry", "/api/v1/%0a/attributes", "/api/auth/%0Auser"])
def test_line_feed_in_a_path_is_400_without_a_body(shared_server, path):
    assert call(shared_server, path, b"{}")[:2] == (400, b"")


def test_missing_body_is_400_whatever_the_token(shared_server):
    for path, methods in METHODS.items():
        if "POST" in methods and "claim" not in path:
            expect_error(call(shared_server, path), 400, "Required request body is missing", 31)


MALFORMED = {
    "blank": b" ",
    "open": b"{",
    "list": b"[]",
    "null": b"null",
    "text": b'"a"',
    "not UTF-8": b'{"provisionDeviceKey":"\xff"}',
    "protobuf": b"\x08\x02",
    "form": b"provisionDeviceKey=a&provisionDeviceSecret=b",
    "deep": b"[" * 60_000,
    "number of many digits": b"9" * 60_000,
    "exponent beyond all bounds": b"1e99999999999999999999",
    "list of two": b'{"deviceName":["a","b"]}',
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_body_that_is_not_the_form_is_500(shared_server, body):
    expect_error(call(shared_server, PROVISION, body), 500, "", 2)
    expect_unharmed(shared_server)


@pytest.mark.parametrize("missing", ["provisionDeviceKey", "provisionDeviceSecret"])
def test_missing_key_or_secret_is_500_with_the_values_redacted(shared_server, missing):
    profile = shared_server.profile
    body = request_body(profile, deviceName="its-name", token="its-token", **{missing: ...})
    response = call(shared_server, PROVISION, body)
    expect_error(response, 500, f"Failed to find the field {missing} in JSON body {{", 2)
    for value in (profile.provision_key, profile.provision_secret, "its-name", "its-token"):
        assert value.encode() not in response[1]
    assert b'\\"deviceName\\": \\"***\\"' in response[1]
    expect_unharmed(shared_server)


@pytest.mark.parametrize("fields", [{"deviceName": None}, {"token": {}}, {"credentialsType": "?"}, {"gateway": None}])
def test_bad_field_is_500(shared_server, fields):
    response = call(shared_server, PROVISION, request_body(shared_server.profile, **fields))
    expect_error(response, 500, "", 2)
    assert shared_server.profile.provision_secret.encode() not in response[1]
    expect_unharmed(shared_server)


def test_registry_that_fails_is_500_without_a_body(server):
    async def fail(*_request):
        raise RuntimeError("no disk")

    server.registry.provision = fail
    assert call(server, PROVISION, request_body(server.profile))[:2] == (500, b"")
    assert [event["kind"] for event in server.events("failure")] == ["RuntimeError"]


def test_all_three_outcomes_are_200(server):
    for fields, body in (
        ({"provisionDeviceKey": "x"}, NOT_FOUND),
        ({"provisionDeviceSecret": "x"}, NOT_FOUND),
        ({"deviceName": "a", "token": "A1"}, success("A1")),
        ({"deviceName": "a", "token": "A2"}, FAILURE),
        ({"deviceName": " "}, FAILURE),
    ):
        status, found, headers = call(server, PROVISION, request_body(server.profile, **fields))
        assert (status, found, headers["content-type"]) == (200, body, "application/json")
    assert server.device_names() == ["a"]


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/octet-stream", "nonsense", "text/plain; charset=latin1", 'a/b;charset="UTF-8"'],
)
def test_other_content_types_and_queries_do_not_matter(server, content_type):
    body = request_body(server.profile, provisionDeviceKey="x")
    status, found, _ = call(server, PROVISION + "?a=b", body, headers={"Content-Type": content_type})
    assert (status, found) == (200, NOT_FOUND)


FORM = "application/x-www-form-urlencoded"
REFUSED_TYPES = [(FORM, 500, 2), (f"{FORM.upper()}; charset=UTF-8", 500, 2), ("multipart/form-data", 400, 31)]
REFUSED_TYPES += [("multipart/form-data; boundary=x", 400, 31), ("text/plain; charset=nonsense", 415, 2)]
REFUSED_TYPES += [("*/*", 500, 2), ("application/*; charset=UTF-8", 500, 2)]


@pytest.mark.parametrize(("content_type", "status", "code"), REFUSED_TYPES)
@pytest.mark.parametrize(
    "path", [PROVISION, *(f"/api/v1/{TOKEN}/{what}" for what in ("telemetry", "attributes", "claim"))]
)
def test_body_of_a_form_and_of_a_content_type_that_is_none_is_refused(server, device, path, content_type, status, code):
    body = request_body(server.profile, deviceName="a")
    expect_error(call(server, path, body, headers={"Content-Type": content_type}), status, "", code)
    assert device() == ({}, {})
    assert server.device_names() == ["device"]
    assert server.events("claim") == []


def test_form_without_a_body_is_a_claim(server, device):
    assert call(server, f"/api/v1/{TOKEN}/claim", b"", headers={"Content-Type": FORM})[:2] == (200, b"")


def test_answer_to_a_call_that_comes_as_a_form_is_unreadable_for_the_caller(server, device, device_id):
    calling = server.submit(lambda api: api.presence.call(device_id, "m", None, oneway=False, timeout_s=20))
    assert call(server, f"/api/v1/{TOKEN}/rpc/0", b"{}", headers={"Content-Type": FORM})[:2] == (200, b"")
    with pytest.raises(AnswerUnreadable):
        calling.result(20)


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/html, application/*;q=0.5", ""])
def test_what_is_json_is_given_to_who_accepts_it(server, device, accept):
    assert call(server, ATTRIBUTES, method="GET", headers={"Accept": accept})[:2] == (200, b"{}")


@pytest.mark.parametrize("what", ["attributes", "attributes/updates", "rpc"])
def test_what_is_json_is_406_to_who_accepts_none(shared_server, what):
    for accept in ("text/plain", "image/*,text/html"):
        assert call(shared_server, f"/api/v1/token/{what}", method="GET", headers={"Accept": accept})[:2] == (406, b"")


def test_head_is_answered_as_get_without_the_body(server, device):
    status, body, headers = call(server, ATTRIBUTES, method="HEAD")
    assert (status, body, headers["content-length"]) == (200, b"", "2")
    assert call(server, "/api/v1/unknown/attributes", method="HEAD")[0] == 401


def test_status_line_has_no_reason_and_an_error_comes_in_chunks(server):
    for path, method, status, headers in (
        (PROVISION, "GET", 405, {"transfer-encoding": "chunked", "content-length": None}),
        (PROVISION, "POST", 400, {"transfer-encoding": "chunked", "content-length": None}),
        ("/api/v1/unknown/rpc", "GET", 401, {"transfer-encoding": None, "content-length": "0"}),
    ):
        found, _, given = call(server, path, method=method)
        assert (found, {name: given[name] for name in headers}) == (status, headers)
    with RawClient(server.ports.http) as client:
        client.send(head(PROVISION, "Content-Length: 0"))
        client.expect(b"HTTP/1.1 400 \r\n")


def test_error_comes_in_one_piece_to_http_1_0(server):
    with RawClient(server.ports.http) as client:
        client.send(b"POST /api/v1/provision HTTP/1.0\r\nContent-Length: 0\r\n\r\n")
        answer = client.read(100_000)
    assert b"transfer-encoding" not in answer
    assert b"content-length: " in answer


def test_requests_of_one_connection_are_answered_in_order(server):
    with RawClient(server.ports.http) as client:
        for token in ("A1", "A2", "A3"):
            body = request_body(server.profile, token=token)
            client.send(head(PROVISION, f"Content-Length: {len(body)}") + body)
        for token in ("A1", "A2", "A3"):
            assert read_response(client) == (200, success(token))


def test_answer_waits_for_the_commit(server):
    body = request_body(server.profile, token="A1")
    with RawClient(server.ports.http) as client:
        with held_back_commits(server):
            client.send(head(PROVISION, f"Content-Length: {len(body)}") + body)
            expect_silence(client)
        assert read_response(client) == (200, success("A1"))


# POST /api/v1/{token}/telemetry and attributes.


@pytest.mark.parametrize("what", ["telemetry", "attributes"])
def test_unknown_token_is_401_without_a_body(shared_server, what):
    for token in ("unknown", "provision", "%00", "%FF", "x" * 3000, "..%2e"):
        for body in (b'{"a":1}', b"no json", b" "):
            assert call(shared_server, f"/api/v1/{token}/{what}", body)[:2] == (401, b"")
    expect_unharmed(shared_server)


@pytest.mark.parametrize("what", ["telemetry", "attributes"])
def test_payload_that_cannot_be_read_is_500(server, device, what):
    for body in (b" ", b"{", b"1", b"null", b'{"a":1,}', b"\xff", b"[" * 60_000):
        expect_error(call(server, f"/api/v1/{TOKEN}/{what}", body), 500, "Can't parse value", 2)
    assert device() == ({}, {})


def test_token_of_a_deleted_device_is_401(server, device):
    server.query(lambda registry: registry.delete_device("device"))
    assert call(server, f"/api/v1/{TOKEN}/telemetry", b'{"a":1}')[:2] == (401, b"")


def test_device_deleted_between_login_and_commit_is_401(server, device):
    login = server.registry.token_login

    async def login_and_delete(token):
        found = await login(token)
        await server.registry.delete_device("device")
        return found

    server.registry.token_login = login_and_delete
    assert call(server, f"/api/v1/{TOKEN}/telemetry", b'{"a":1}')[:2] == (401, b"")


def test_telemetry_and_attributes_are_stored_and_answered_200_without_a_body(server, device):
    assert call(server, f"/api/v1/{TOKEN}/telemetry", b'[{"a":"1.50"},{"ts":5,"values":{"b":[]}}]')[:2] == (200, b"")
    assert call(server, f"/api/v1/{TOKEN}/attributes", b'{"c":{"d":null},"none":null}')[:2] == (200, b"")
    assert device() == ({"a": 1.5, "b": []}, {"c": {}})


def test_token_with_other_characters_is_found(server):
    profile = server.new_profile(ProvisionType.CHECK_PRE_PROVISIONED_DEVICES)
    server.query(lambda registry: registry.create_device("device", profile.name, token="a b?%é漢"))
    assert call(server, "/api/v1/a%20b%3F%25%C3%A9%E6%BC%A2/telemetry", b'{"a":1}')[:2] == (200, b"")


@pytest.mark.parametrize("transport", ["DEFAULT", "MQTT", "COAP", "LWM2M", "SNMP"])
def test_transport_of_the_profile_does_not_matter(server, transport):
    new_device(server, "device", TOKEN, transport_type=transport)
    assert call(server, f"/api/v1/{TOKEN}/telemetry", b'{"a":1}')[:2] == (200, b"")
    profile = server.new_profile(ProvisionType.ALLOW_CREATE_NEW_DEVICES)

    def want(session):
        profiles.by_name(session, profile.name).transport_type = transport

    server.query(lambda registry: registry.write(want))
    assert call(server, PROVISION, request_body(profile, token="A1"))[:2] == (200, success("A1"))


# GET /api/v1/{token}/attributes.

ATTRIBUTES = f"/api/v1/{TOKEN}/attributes"


def set_shared(server, values):
    """An operator sets shared attributes."""
    device = server.query(lambda registry: registry.token_login(TOKEN))
    server.query(lambda registry: registry.write(timeseries.set_attributes, device.id, SHARED_SCOPE, values))


@pytest.fixture
def with_attributes(server, device):
    assert call(server, ATTRIBUTES, b'{"a":1,"b":"x"}')[0] == 200
    set_shared(server, {"a": 2, "s": [1.5]})
    return server


@pytest.mark.parametrize("query", ["", "?clientKeys=a", "?sharedKeys=s"])
def test_attributes_of_an_unknown_token_are_401(shared_server, query):
    assert call(shared_server, "/api/v1/unknown/attributes" + query, method="GET")[:2] == (401, b"")


@pytest.mark.parametrize("query", ["", "?clientKeys=", "?clientKeys=a", "?sharedKeys=a,b&clientKeys=c"])
def test_attributes_of_a_device_without_any_are_an_empty_object(server, device, query):
    assert call(server, ATTRIBUTES + query, method="GET")[:2] == (200, b"{}")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", {"client": {"a": 1, "b": "x"}, "shared": {"a": 2, "s": [1.5]}}),
        ("?clientKeys=&sharedKeys=", {"client": {"a": 1, "b": "x"}, "shared": {"a": 2, "s": [1.5]}}),
        ("?clientKeys=a", {"client": {"a": 1}}),
        ("?clientKeys=s", {}),
        ("?clientKeys=b,none,a", {"client": {"a": 1, "b": "x"}}),
        ("?sharedKeys=a", {"shared": {"a": 2}}),
        ("?clientKeys=b&sharedKeys=s,b", {"client": {"b": "x"}, "shared": {"s": [1.5]}}),
        ("?clientkeys=a&other=b", {"client": {"a": 1, "b": "x"}, "shared": {"a": 2, "s": [1.5]}}),
    ],
)
def test_attributes_are_those_requested(with_attributes, query, found):
    status, body, headers = call(with_attributes, ATTRIBUTES + query, method="GET")
    assert (status, headers["content-type"]) == (200, "application/json")
    assert json.loads(body) == found


# POST /api/v1/{token}/claim.


@pytest.mark.parametrize("body", [b"", b'{"secretKey":"s"}'])
def test_claim_of_an_unknown_token_is_401(shared_server, body):
    assert call(shared_server, "/api/v1/unknown/claim", body)[:2] == (401, b"")


@pytest.mark.parametrize("body", [b"[]", b"{", b"1", b'{"durationMs":"soon"}'])
def test_claim_that_cannot_be_read_is_500(server, device, body):
    expect_error(call(server, f"/api/v1/{TOKEN}/claim", body), 500, "", 2)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"secretKey":"s","durationMs":60000}'])
def test_claim_is_200_whatever_becomes_of_it(server, device, body):
    for _ in range(2):
        assert call(server, f"/api/v1/{TOKEN}/claim", body)[:2] == (200, b"")
    assert len(server.events("claim")) == 2


# POST /api/v1/{token}/rpc.


@pytest.mark.parametrize("body", [b"[]", b"{", b"{}", b'{"method":null}', b'{"method":{}}'])
def test_call_that_cannot_be_read_is_500(server, device, body):
    expect_error(call(server, f"/api/v1/{TOKEN}/rpc", body), 500, "", 2)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "rpc", b'{"method":"none","params":{}}'),
        ("POST", "telemetry", b"[]"),
        ("GET", "attributes?clientKeys=a,,b", b""),
        ("GET", "attributes?sharedKeys=,a&clientKeys=b", b""),
    ],
)
def test_request_that_upstream_never_answers_is_503_after_its_longest_wait(
    server, device, monkeypatch, method, path, body
):
    assert device_routes._LONGEST_S == 30
    monkeypatch.setattr(device_routes, "_LONGEST_S", 0.2)
    start = time.monotonic()
    assert call(server, f"/api/v1/{TOKEN}/{path}", body, method=method)[:2] == (503, b"")
    assert time.monotonic() - start > 0.15
    assert device() == ({}, {})


def test_call_is_answered(server, device):
    status, body, headers = call(server, f"/api/v1/{TOKEN}/rpc", b'{"method":"getCurrentTime","params":{}}')
    assert (status, headers["content-type"]) == (200, "application/json")
    assert abs(json.loads(body) - now_ms()) < 10_000


@pytest.mark.parametrize(
    "call_id", ["x", "1.5", "%20", "2147483648", "-2147483649", "9" * 1000, "1e1", "0x1", "%D9%A1"]
)
def test_answer_to_a_call_with_no_number_is_400(shared_server, call_id):
    message = "Method parameter 'requestId': Failed to convert value to required type 'int'"
    expect_error(call(shared_server, f"/api/v1/unknown/rpc/{call_id}", b"{}"), 400, message, 31)


@pytest.mark.parametrize("call_id", ["0", "-1", "2147483647"])
def test_answer_that_nobody_waits_for_is_200(server, device, call_id):
    for body in (b"{}", b"1", b"no json"):
        assert call(server, f"/api/v1/{TOKEN}/rpc/{call_id}", body)[:2] == (200, b"")


# GET /api/v1/{token}/firmware and software.


@pytest.mark.parametrize("what", ["firmware", "software"])
def test_package_is_400_without_its_name_401_without_a_token_404_with_both(server, device, what):
    for query, missing in (("", "title"), ("?version=1", "title"), ("?title=a", "version")):
        message = f"Required request parameter '{missing}' for method parameter type String is not present"
        expect_error(call(server, f"/api/v1/{TOKEN}/{what}{query}", method="GET"), 400, message, 31)
    query = "?title=a&version=1"
    message = "Method parameter 'size': Failed to convert value to required type 'int'"
    expect_error(call(server, f"/api/v1/{TOKEN}/{what}{query}&size=x", method="GET"), 400, message, 31)
    assert call(server, f"/api/v1/unknown/{what}{query}", method="GET")[:2] == (401, b"")
    assert call(server, f"/api/v1/{TOKEN}/{what}{query}&size=5&chunk=0", method="GET")[:2] == (404, b"")


def test_events_have_no_secret(server, device):
    profile = server.profile
    call(server, PROVISION, request_body(profile, deviceName="a", token="its-token"))
    call(server, PROVISION, request_body(profile, provisionDeviceSecret=...))
    call(server, PROVISION, b"its-secret")
    call(server, f"/api/v1/{TOKEN}/telemetry", b'{"a":"its-secret"}')
    call(server, f"/api/v1/{TOKEN}/attributes", b"its-secret")
    call(server, "/api/v1/its-token-too/attributes", b"{}")
    events = str(server.events())
    assert {"exchange", "bad_request", "telemetry", "bad_message", "login_refused"} <= {
        event["event"] for event in server.events()
    }
    for secret in (profile.provision_key, profile.provision_secret, "its-token", "its-secret", TOKEN):
        assert secret not in events


# Sizes.


@pytest.mark.parametrize("path", [PROVISION, "/api/v1/token/telemetry", "/api/v1/token/attributes"])
def test_body_beyond_the_limit_is_413(shared_server, path):
    assert call(shared_server, path, b"{".ljust(LIMIT + 1))[:2] == (413, too_large())
    expect_unharmed(shared_server)


@pytest.mark.parametrize("path", ["/api/v1/token/rpc", "/api/v1/token/rpc/1"])
def test_call_or_answer_beyond_its_limit_is_413(shared_server, path):
    assert call(shared_server, path, b"{".ljust(RPC_LIMIT + 1))[:2] == (413, too_large(RPC_LIMIT))
    assert call(shared_server, path, b"{".ljust(RPC_LIMIT))[:2] == (401, b"")
    expect_unharmed(shared_server)


def test_chunked_body_beyond_the_limit_is_413(shared_server):
    chunks = iter([b"{" + b" " * (LIMIT - 10_000), b" " * 10_000 + b"}"])
    response = call(shared_server, PROVISION, chunks, encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
    assert response[:2] == (413, too_large())
    expect_unharmed(shared_server)


@pytest.mark.parametrize("length", [LIMIT + 1, 10**12, 10**18])
def test_length_beyond_the_limit_is_413_before_the_body_comes(deadline_server, length):
    with RawClient(deadline_server.ports.http) as client:
        client.send(head(PROVISION, f"Content-Length: {length}"))
        assert read_response(client) == (413, too_large())
        client.expect_closed()
    expect_unharmed(deadline_server)


@pytest.mark.parametrize("headers", ["Content-Length: 3000000", "Transfer-Encoding: chunked"])
def test_client_that_sends_a_body_beyond_the_limit_to_its_end_receives_413(shared_server, headers):
    chunks = (b"%x\r\n" % 10_000 + bytes(10_000) + b"\r\n") * 300 + b"0\r\n\r\n"
    body = chunks if "chunked" in headers else bytes(3_000_000)
    with RawClient(shared_server.ports.http) as client:
        client.send(head(PROVISION, headers) + body + head(PROVISION, "Content-Length: 0"))
        assert read_response(client) == (413, too_large())
        assert read_response(client)[0] == 400
    expect_unharmed(shared_server)


def test_body_at_the_limit_is_taken(server):
    body = request_body(server.profile, provisionDeviceKey="x").ljust(LIMIT)
    assert call(server, PROVISION, body)[:2] == (200, NOT_FOUND)
    chunked = call(server, PROVISION, iter([body]), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
    assert chunked[:2] == (200, NOT_FOUND)


# What no HTTP client should send.

GARBAGE = {
    "MQTT": b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00",
    "zeros": bytes(100),
    "TLS": bytes.fromhex("1603010200010001fc0303"),
    "words": b"hello world\r\n\r\n",
    "not UTF-8": b"\xff\xfe\xfd\r\n\r\n",
    "version 9": b"POST /api/v1/provision HTTP/9.9\r\n\r\n",
    "header without colon": b"POST / HTTP/1.1\r\nnonsense\r\n\r\n",
    "length that is not a number": head(PROVISION, "Content-Length: many"),
    "negative length": head(PROVISION, "Content-Length: -1"),
    "length beyond 64 bits": head(PROVISION, f"Content-Length: {10**30}"),
    "two lengths": head(PROVISION, "Content-Length: 1", "Content-Length: 2"),
    "length and chunks": head(PROVISION, "Content-Length: 5", "Transfer-Encoding: chunked"),
    "chunk size that is not a number": head(PROVISION, "Transfer-Encoding: chunked") + b"xyz\r\n",
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_400_and_closed_and_reported(shared_server, data):
    before = len(shared_server.events("malformed"))
    with RawClient(shared_server.ports.http) as client:
        client.send(data)
        assert read_response(client) == (400, b"Invalid HTTP request received.")
        client.expect_closed()
    events = shared_server.events("malformed")[before:]
    assert [(event["transport"], event["peer"]) for event in events] == [("http", "127.0.0.1")]
    expect_unharmed(shared_server)


@pytest.mark.parametrize("target", [b"\xff\xfe", b"/\xff", b"/api/v1/\xc3\xa9/telemetry", b"*", b"http://[", b"//"])
def test_target_that_is_none_gets_an_error(shared_server, target):
    with RawClient(shared_server.ports.http) as client:
        client.send(b"POST " + target + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        assert read_response(client)[0] in {400, 401, 404}
    expect_unharmed(shared_server)


def test_upgrade_to_websocket_is_none(shared_server):
    with RawClient(shared_server.ports.http) as client:
        client.send(head(PROVISION, "Connection: Upgrade", "Upgrade: websocket", method="GET"))
        assert read_response(client)[0] == 405
    expect_unharmed(shared_server)


def test_headers_without_end_are_cut_off(shared_server):
    with RawClient(shared_server.ports.http) as client:
        client.send(b"POST /api/v1/provision HTTP/1.1\r\n")
        with contextlib.suppress(ConnectionError):
            for n in range(100_000):
                client.send(b"X-%d: %s\r\n" % (n, b"x" * 1000))
            pytest.fail("the server took 100 MB of headers")
    expect_unharmed(shared_server)


def test_header_without_end_is_cut_off_on_a_later_request_too(shared_server):
    with RawClient(shared_server.ports.http) as client:
        client.send(head(PROVISION, "Content-Length: 0"))
        assert read_response(client)[0] == 400
        with contextlib.suppress(ConnectionError):
            client.send(b"POST /api/v1/provision HTTP/1.1\r\nX: ")
            for _ in range(100_000):
                client.send(b"x" * 1000)
            pytest.fail("the server took 100 MB of header")
    expect_unharmed(shared_server)


def test_request_that_ends_early_gets_no_answer(shared_server):
    body = request_body(shared_server.profile, deviceName="late")
    whole = head(PROVISION, f"Content-Length: {len(body)}") + body
    for size in (0, 1, 10, len(whole) - len(body) - 1, len(whole) - len(body), len(whole) - 1):
        with RawClient(shared_server.ports.http) as client:
            client.send(whole[:size])
            client.socket.shutdown(socket.SHUT_WR)
            client.expect_closed()
    expect_unharmed(shared_server)


def test_client_that_vanishes_inside_the_body_harms_nobody(shared_server):
    body = request_body(shared_server.profile, deviceName="late")
    for headers in (f"Content-Length: {len(body)}", "Transfer-Encoding: chunked"):
        with RawClient(shared_server.ports.http) as client:
            client.send(head(PROVISION, headers) + b"5\r\n{" + body[:20])
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    expect_unharmed(shared_server)


# Slowness.


PARTS = {
    "nothing": b"",
    "method": b"POST",
    "head": head(PROVISION, "X: y")[:-2],
    "body": head(PROVISION, "Content-Length: 100") + b"{",
    "chunks": head(PROVISION, "Transfer-Encoding: chunked") + b"1\r\n{\r\n",
}


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_request_that_stays_incomplete_is_closed_at_the_deadline(deadline_server, part):
    with RawClient(deadline_server.ports.http) as client:
        start = time.monotonic()
        client.send(part)
        client.expect_closed()
        assert 0.2 < time.monotonic() - start < 2
    expect_unharmed(deadline_server)


@pytest.mark.parametrize("part", [part for part in PARTS.values() if part])
def test_later_request_that_stays_incomplete_is_closed_at_the_deadline(deadline_server, part):
    with RawClient(deadline_server.ports.http) as client:
        for _ in range(2):
            client.send(head(PROVISION, "Content-Length: 0"))
            assert read_response(client)[0] == 400
        start = time.monotonic()
        client.send(part)
        client.expect_closed()
        assert 0.2 < time.monotonic() - start < 2
    expect_unharmed(deadline_server)


@pytest.mark.parametrize("nothing", [b"", b"\r\n"])
def test_connection_is_kept_for_a_minute_between_requests(deadline_server, monkeypatch, nothing):
    assert uvicorn_server.KEEP_ALIVE_S == 60
    monkeypatch.setattr(uvicorn_server, "KEEP_ALIVE_S", 1.5)
    with RawClient(deadline_server.ports.http) as client:
        for _ in range(2):
            client.send(head(PROVISION, "Content-Length: 0"))
            assert read_response(client)[0] == 400
            client.send(nothing)
            expect_silence(client, 0.8)  # longer than a request may take
        client.expect_closed()


def test_request_after_one_that_was_answered_before_its_body_is_closed_at_the_deadline(deadline_server):
    with RawClient(deadline_server.ports.http) as client:
        client.send(head("/nowhere", "Content-Length: 2"))
        assert read_response(client)[0] == 404
        client.send(b"ab" + head(PROVISION, "X: y")[:-2])
        start = time.monotonic()
        client.expect_closed()
        assert time.monotonic() - start < 2
    expect_unharmed(deadline_server)


def test_pipelined_request_that_stays_incomplete_is_closed_at_the_deadline(deadline_server):
    with RawClient(deadline_server.ports.http) as client:
        client.send(head(PROVISION, "Content-Length: 0") + head(PROVISION, "Content-Length: 5"))
        assert read_response(client)[0] == 400
        client.expect_closed()
    expect_unharmed(deadline_server)


def test_request_that_trickles_is_closed_at_the_deadline(deadline_server):
    for data in (
        head(PROVISION, "X: " + "y" * 1000),
        head(PROVISION, "Content-Length: 1000") + b" " * 1000,
        head(PROVISION, "Transfer-Encoding: chunked") + b"1\r\n \r\n" * 200,
    ):
        with RawClient(deadline_server.ports.http) as client:
            assert 0.2 < trickle(client, data) < 2
    expect_unharmed(deadline_server)


@pytest.mark.parametrize("pipelined", [False, True])
def test_request_that_is_whole_outlives_the_deadline(deadline_server, pipelined):
    body = request_body(deadline_server.profile, token="A1")
    data = head(PROVISION, f"Content-Length: {len(body)}") + body
    first = head(PROVISION, "Content-Length: 0") if pipelined else b""
    with RawClient(deadline_server.ports.http) as client:
        with held_back_commits(deadline_server):
            client.send(first + data)
            if pipelined:
                assert read_response(client)[0] == 400
            expect_silence(client, 0.8)
        assert read_response(client) == (200, success("A1"))


def test_silent_connections_keep_nobody_waiting(server):
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(RawClient(server.ports.http)).send(b"POST")
        expect_unharmed(server)
