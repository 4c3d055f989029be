"""X-Forwarded-For: believed from the proxies that an operator named, and from nobody else."""

import os
import tracemalloc
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import UsageError
from bench.registry import audit
from bench.server.limits import Rules
from bench.server.trusted_proxies import TrustedProxies, read_address
from tests.support import operators
from tests.support.http_requests import PROVISION, call, read_response
from tests.support.mqtt_packets import NOT_FOUND, request_body
from tests.support.raw_client import RawClient
from tests.support.servers import PATIENCE_S

PEER, CLIENT, OTHER = "10.0.0.1", "192.0.2.7", "198.51.100.9"


def client_of(*values, trusted=("10.0.0.0/24",), peer=PEER):
    return TrustedProxies(trusted).client_of(peer, values)


@pytest.mark.parametrize("value", [CLIENT, "127.0.0.1", "10.0.0.2", f"{CLIENT}, {OTHER}", "", "nonsense"])
@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "10.0.1.1", OTHER, "", "testclient"])
def test_nobody_is_believed_who_was_not_named(peer, value):
    assert client_of(value, peer=peer) == peer
    assert client_of(value, peer=peer, trusted=()) == peer


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([CLIENT], CLIENT),
        ([f" {CLIENT} "], CLIENT),
        ([f"{OTHER}, {CLIENT}"], CLIENT),  # the client wrote the first
        ([OTHER, CLIENT], CLIENT),
        ([f"{OTHER}, {CLIENT}, 10.0.0.2"], CLIENT),
        ([f"{CLIENT}:54321"], CLIENT),
        (["[2001:db8::1]:443"], "2001:db8::1"),
        (["2001:DB8:0::1"], "2001:db8::1"),
        (["fe80::1%eth0"], "fe80::1"),
        ([f"::ffff:{CLIENT}"], CLIENT),
        (["10.0.0.3, 10.0.0.2"], "10.0.0.3"),  # a proxy's own request
    ],
)
def test_client_is_the_last_address_that_is_no_proxy_s(values, expected):
    assert client_of(*values) == expected


@pytest.mark.parametrize(
    "value",
    ["", " ", ",", "unknown", "_hidden", "<script>\x1b[2J", "1.2.3", "1.2.3.4.5", "x" * 60_000, "::1::2", "[", "]"],
)
def test_what_is_no_address_is_the_proxy_s_own_request(value):
    assert client_of(value) == PEER
    assert client_of(f"{OTHER}, {value}") == PEER


@given(st.lists(st.text(max_size=20), max_size=4))
def test_any_header_gives_an_address(values):
    assert read_address(client_of(*values)) is not None


def test_hops_beyond_the_bound_are_not_read():
    assert client_of(", ".join([OTHER, *["10.0.0.2"] * 32])) == "10.0.0.2"


def test_peer_whose_ipv4_address_is_written_as_ipv6_is_the_same_proxy():
    assert client_of(CLIENT, peer=f"::ffff:{PEER}") == CLIENT


@pytest.mark.parametrize("text", ["", "*", "localhost", "10.0.0.1/24", "10.0.0.0/33", "proxy.example", "1.2.3.4:80"])
def test_proxy_that_is_no_address_is_refused_with_the_form(text):
    with pytest.raises(UsageError, match=r"write 192\.0\.2\.1, or 192\.0\.2\.0/24"):
        TrustedProxies([text])


# On the wire.


def wrong(server, address, n=0, **more):
    body = request_body(server.profile, deviceName=f"name-{n}", provisionDeviceSecret="nearly-right")
    return call(server, PROVISION, body, headers={"X-Forwarded-For": address, **more})


def addresses(server):
    rows = server.query(lambda registry: registry.read(lambda session: audit.find(session, limit=1000)))
    return {row.address for row in rows if row.what == "provision"}


@pytest.mark.parametrize("named", [(), ("10.0.0.1", "192.0.2.0/24")])
def test_header_changes_nothing_by_default(start_server, named):
    server = start_server(limits=Rules(per_address=5), trusted_proxies=named)
    assert [wrong(server, f"192.0.2.{n}", n)[0] for n in range(6)] == [200] * 5 + [429]
    assert addresses(server) == {"127.0.0.1"}
    assert {each["peer"] for each in server.events("exchange")} == {"127.0.0.1"}


@pytest.mark.parametrize("variable", ["FORWARDED_ALLOW_IPS", "UVICORN_FORWARDED_ALLOW_IPS", "UVICORN_PROXY_HEADERS"])
def test_environment_makes_nobody_a_proxy(start_server, variable):
    with mock.patch.dict(os.environ, {variable: "*"}):
        server = start_server()
    assert wrong(server, CLIENT)[:2] == (200, NOT_FOUND)
    assert addresses(server) == {"127.0.0.1"}


def test_limits_and_audit_have_the_address_that_a_named_proxy_gives(start_server):
    server = start_server(limits=Rules(per_address=2), trusted_proxies=("127.0.0.1",))
    assert [wrong(server, CLIENT, n)[0] for n in range(3)] == [200, 200, 429]
    assert wrong(server, OTHER)[0] == 200
    assert wrong(server, f"{OTHER}, {CLIENT}")[0] == 429  # what the client wrote in front changes nothing
    assert addresses(server) == {CLIENT, OTHER}
    assert call(server, PROVISION, request_body(server.profile, provisionDeviceSecret="x"))[0] == 200
    assert addresses(server) == {CLIENT, OTHER, "127.0.0.1"}


def chunked(path, headers, body, trailers):
    head = "\r\n".join([f"POST {path} HTTP/1.1", "Host: x", "Transfer-Encoding: chunked", *headers, "", ""])
    last = "\r\n".join(["0", *trailers, "", ""])
    return head.encode() + b"%x\r\n%s\r\n" % (len(body), body) + last.encode()


def test_trailer_is_no_header_of_the_proxy_s(start_server):
    """A proxy that writes its header may pass on what comes behind the body."""
    server = start_server(trusted_proxies=("127.0.0.1",))
    body = request_body(server.profile, provisionDeviceSecret="nearly-right")
    with RawClient(server.ports.http) as client:
        client.send(chunked(PROVISION, [f"X-Forwarded-For: {CLIENT}"], body, [f"X-Forwarded-For: {OTHER}"]))
        assert read_response(client)[0] == 200
    assert addresses(server) == {CLIENT}


@pytest.mark.parametrize("name", ["X-Authorization", "Authorization"])
def test_trailer_authenticates_nobody(server, name):
    with operators.client(server) as anonymous:
        token = anonymous.post("/api/auth/login", json=operators.account(server)).json()["token"]
    with RawClient(server.ports.http) as client:
        client.send(chunked("/api/auth/logout", [], b"{}", [f"{name}: Bearer {token}"]))
        assert read_response(client)[0] == 401


def test_trailers_without_end_need_no_memory(server):
    with RawClient(server.ports.http, PATIENCE_S) as client:
        client.send(chunked(PROVISION, [], b"{}", [])[:-2])
        tracemalloc.start()
        try:
            for _ in range(200):
                client.send(b"x: y\r\n" * 5000)
            client.send(b"\r\n")
            assert read_response(client)[0] == 500
            assert tracemalloc.get_traced_memory()[1] < 4_000_000  # the headers would have 100 MB
        finally:
            tracemalloc.stop()
