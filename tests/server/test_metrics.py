"""Metrics as Prometheus reads them, after real exchanges."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bench.server.limits import Rules
from tests.support.http_requests import call
from tests.support.mqtt_packets import (
    FAILURE,
    NOT_FOUND,
    PINGREQ,
    PINGRESP,
    connack,
    connect,
    success,
)
from tests.support.provisioning import over_http, over_mqtt
from tests.support.raw_client import RawClient

RESULTS = {"SUCCESS", "NOT_FOUND", "FAILURE", "unreadable", "limited"}
LOGINS = {"accepted", "refused", "limited"}
TRANSPORTS = {"mqtt", "mqtts", "http", "https", "coap", "websocket"}


def read(server):
    """All samples, `{(name, labels): value}`."""
    code, body, headers = call(server, "/metrics", method="GET")
    assert (code, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def value(samples, name, **labels):
    return samples.get((f"firstboot_{name}", tuple(sorted(labels.items()))), 0)


@pytest.mark.parametrize(("transport", "provision"), [("mqtt", over_mqtt), ("http", over_http)])
def test_exchanges_are_counted_by_how_they_ended(start_server, transport, provision):
    server = start_server(limits=Rules(per_caller=3))
    before = read(server)
    provision(server, server.profile, success("a-token-of-its-own"), deviceName="a", token="a-token-of-its-own")
    for _ in range(2):
        provision(server, server.profile, FAILURE, deviceName="a")
    for _ in range(3):
        provision(server, server.profile, NOT_FOUND, deviceName="b", provisionDeviceSecret="nearly-right")
    for _ in range(4):
        provision(server, server.profile, None, deviceName="b", provisionDeviceSecret="nearly-right")
    provision(server, server.profile, None, provisionDeviceSecret=...)  # not a readable request
    after = read(server)
    counted = {result: value(after, "exchanges_total", transport=transport, result=result) for result in RESULTS}
    assert counted == {"SUCCESS": 1, "FAILURE": 2, "NOT_FOUND": 3, "limited": 4, "unreadable": 1}
    assert value(after, "exchange_seconds_count", transport=transport) == 6  # those that were decided
    assert 0 < value(after, "exchange_seconds_sum", transport=transport) < 60
    assert value(after, "exchange_seconds_bucket", transport=transport, le="+Inf") == 6
    assert value(after, "commits_total") >= value(before, "commits_total") + 6
    others = [key for key, count in after.items() if dict(key[1]).get("transport", transport) != transport and count]
    assert others == []


def test_logins_are_counted_by_how_they_ended(start_server):
    server = start_server(limits=Rules(per_caller=2))
    over_mqtt(server, server.profile, success("a-token-of-its-own"), deviceName="a", token="a-token-of-its-own")
    for code, username in [(0, "a-token-of-its-own")] * 3 + [(5, "mistyped")] * 2 + [(3, "mistyped")] * 4:
        with RawClient(server.ports.mqtt) as client:
            client.send(connect(username=username))
            client.expect(connack(code))
    for code, token in [(200, "a-token-of-its-own")] * 2 + [(401, "mistyped-here")] * 2 + [(429, "mistyped-here")]:
        assert call(server, f"/api/v1/{token}/telemetry", b'{"t":1}')[0] == code
    after = read(server)
    for transport, counted in (("mqtt", (3, 2, 4)), ("http", (2, 2, 1))):
        found = [value(after, "logins_total", transport=transport, result=each) for each in sorted(LOGINS)]
        assert dict(zip(sorted(LOGINS), found, strict=True)) == dict(
            zip(("accepted", "refused", "limited"), counted, strict=True)
        )


def test_open_connections_are_counted_while_they_are_open(server):
    assert value(read(server), "connections", transport="mqtt") == 0
    clients = [RawClient(server.ports.mqtt) for _ in range(3)]
    for client in clients:
        client.send(connect(username="provision") + PINGREQ)
        client.expect(connack(0) + PINGRESP)
    assert value(read(server), "connections", transport="mqtt") == 3
    for client in clients:
        with client:
            client.send(b"\xe0\x00")
            client.expect_closed()
    assert value(read(server), "connections", transport="mqtt") == 0


def test_what_devices_send_makes_no_new_series(server):
    """However many names, topics, paths and transports somebody makes up."""
    over_mqtt(server, server.profile, NOT_FOUND, deviceName="a", provisionDeviceSecret="nearly-right")
    for n in range(30):
        hostile = f'x"{{}}\n\\{n}'
        over_http(server, server.profile, NOT_FOUND, deviceName=hostile, provisionDeviceSecret="nearly-right")
        over_http(server, server.profile, NOT_FOUND, deviceName=hostile, provisionDeviceKey=hostile)
        over_http(server, server.profile, None, deviceName=hostile, credentialsType=hostile)
        with RawClient(server.ports.mqtt) as client:
            client.send(connect(client_id=hostile.replace("\n", ""), username=f"made-up-{n}"))
            client.expect(connack(5))
        call(server, f"/api/v1/made-up-{n}/telemetry", b"{}")
        call(server, f"/api/v1/provision/{n}?transport={n}")
        call(server, f"/made-up/{n}", method=f"GET{'X' * n}")
    series = set(read(server))
    seen = {key: {dict(labels)[key] for _, labels in series if key in dict(labels)} for key in ("transport", "result")}
    assert seen["transport"] <= TRANSPORTS
    assert seen["result"] <= RESULTS | LOGINS
    assert {key for _, labels in series for key, _ in labels} <= {"transport", "result", "le", "version"}
    assert len(series) < 100
    over_http(server, server.profile, NOT_FOUND, deviceName="one-more", provisionDeviceSecret="nearly-right")
    assert set(read(server)) == series


def test_figures_hold_no_secret_and_no_name(server):
    over_http(server, server.profile, success("a-token-of-its-own"), deviceName="press-4", token="a-token-of-its-own")
    text = call(server, "/metrics", method="GET")[1].decode()
    for hidden in (server.profile.provision_key, server.profile.provision_secret, "a-token-of-its-own", "press-4"):
        assert hidden not in text
