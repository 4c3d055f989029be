"""The audit trail: a row for everything that was decided, where it came from, and never a secret."""

import asyncio
import json

import pytest

from bench.registry import audit, claims
from bench.registry.provision_type import ProvisionType
from bench.registry.provisioning import ProvisionRequest
from bench.registry.registry import Registry
from tests.support.at_rest import everything, holding
from tests.support.http_requests import PROVISION, call
from tests.support.mqtt_packets import (
    FAILURE,
    NOT_FOUND,
    connack,
    connect,
    request_body,
    success,
)
from tests.support.provisioning import over_http, over_mqtt
from tests.support.raw_client import RawClient
from tests.support.servers import on_both_databases

pytestmark = on_both_databases


def rows(server, **wanted):
    """The trail as dictionaries, oldest first."""
    found = server.query(lambda registry: registry.read(lambda session: audit.find(session, limit=1000, **wanted)))
    return [{key: field for key, field in vars(row).items() if key[0] != "_"} for row in reversed(found)]


def brief(server, **wanted):
    return [(row["transport"], row["what"], row["entity"], row["result"]) for row in rows(server, **wanted)]


@pytest.mark.parametrize(("transport", "provision"), [("mqtt", over_mqtt), ("http", over_http)])
def test_every_provisioning_outcome_has_its_row(server, transport, provision):
    tray = server.new_profile(ProvisionType.CHECK_PRE_PROVISIONED_DEVICES)
    disabled = server.new_profile(ProvisionType.DISABLED)
    server.query(lambda registry: registry.create_device("press-4", tray.name, token="token-of-press-4"))
    provision(server, server.profile, success("a-token-of-its-own"), deviceName="a", token="a-token-of-its-own")
    provision(server, server.profile, FAILURE, deviceName="a")
    provision(server, server.profile, FAILURE, deviceName="b", token="a-token-of-its-own")
    provision(server, server.profile, NOT_FOUND, deviceName="c", provisionDeviceSecret="nearly-right")
    provision(server, disabled, NOT_FOUND, deviceName="d")
    provision(server, tray, success("token-of-press-4"), deviceName="press-4")
    provision(server, tray, FAILURE, deviceName="press-4")
    provision(server, tray, FAILURE, deviceName="not there")
    assert brief(server) == [
        (transport, "provision", entity, result)
        for entity, result in (
            ("a", "SUCCESS"),
            ("a", "FAILURE"),
            ("b", "FAILURE"),
            ("c", "NOT_FOUND"),
            ("d", "NOT_FOUND"),
            ("press-4", "SUCCESS"),
            ("press-4", "FAILURE"),
            ("not there", "FAILURE"),
        )
    ]
    events = server.events("exchange")
    for row, event in zip(rows(server), events, strict=True):
        assert (row["who"], row["address"], row["transport"]) == ("device", "127.0.0.1", transport)
        assert row["request"] == event["request"]
        assert abs(row["ts_ms"] - event["ts"]) < 60_000
    assert len({row["request"] for row in rows(server)}) == 8


def test_device_without_a_name_has_the_one_it_was_given(server):
    with RawClient(server.ports.http) as client:
        body = request_body(server.profile)
        client.send(b"POST /api/v1/provision HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        client.expect(b"HTTP/1.1 200 \r\n")
    (name,) = server.device_names()
    assert brief(server) == [("http", "provision", name, "SUCCESS")]


def test_refused_logins_have_rows_and_accepted_ones_none(server):
    over_mqtt(server, server.profile, success("a-token-of-its-own"), deviceName="a", token="a-token-of-its-own")
    for code, fields in (
        (0, {"username": "a-token-of-its-own"}),
        (5, {"username": "mistyped-token"}),
        (5, {"username": "a-user", "password": b"a-password"}),
        (2, {"client_id": "unknown-client"}),
    ):
        with RawClient(server.ports.mqtt) as client:
            client.send(connect(**fields))
            client.expect(connack(code))
    assert call(server, "/api/v1/a-token-of-its-own/telemetry", b'{"t":1}')[0] == 200
    assert call(server, "/api/v1/mistyped-over-http/telemetry", b'{"t":1}')[0] == 401
    assert brief(server, what="login") == [("mqtt", "login", "", "refused")] * 3 + [("http", "login", "", "refused")]
    found = {row["request"] for row in rows(server, what="login")}
    assert found == {event["request"] for event in server.events("login_refused")}


def test_claims_have_rows_whether_they_were_taken_or_not(server, database):
    over_mqtt(server, server.profile, success("a-token-of-its-own"), deviceName="a", token="a-token-of-its-own")
    body = json.dumps({"secretKey": "a-secret-to-claim", "durationMs": 60_000}).encode()
    for _ in range(2):
        assert call(server, "/api/v1/a-token-of-its-own/claim", body)[:2] == (200, b"")
    found = rows(server, what="claim")
    assert [row["result"] for row in found] == ["SUCCESS", "an earlier word counts still"]
    assert {(row["entity"], row["address"], row["transport"]) for row in found} == {("a", "127.0.0.1", "http")}
    assert [row["request"] for row in found] == [event["request"] for event in server.events("claim")]
    assert holding(everything(server.data, database), ["a-secret-to-claim"]) == []


def test_rows_outlive_the_device(server):
    over_mqtt(server, server.profile, success("a-token-of-its-own"), deviceName="a", token="a-token-of-its-own")
    device = server.query(lambda registry: registry.token_login("a-token-of-its-own"))
    server.query(lambda registry: registry.write(claims.offer, device.id, "a-secret-to-claim", None))
    over_mqtt(server, server.profile, FAILURE, deviceName="a")
    before = rows(server, entity="a")
    assert len(before) == 2
    server.query(lambda registry: registry.delete_device("a"))
    assert server.device_names() == []
    assert [row for row in rows(server, entity="a") if row["what"] == "provision"] == before


def test_trail_holds_no_secret(server):
    secrets = ["a-token-of-its-own", "nearly-right", "mistyped-user", "mistyped-password", "password-of-two"]
    over_http(server, server.profile, success(secrets[0]), deviceName="a", token=secrets[0])
    over_http(server, server.profile, NOT_FOUND, deviceName="b", provisionDeviceSecret=secrets[1])
    basic = {"credentialsType": "MQTT_BASIC", "username": "user-of-two", "password": secrets[4]}
    assert call(server, PROVISION, request_body(server.profile, deviceName="c", **basic))[0] == 200
    with RawClient(server.ports.mqtt) as client:
        client.send(connect(username=secrets[2], password=secrets[3].encode()))
        client.expect(connack(5))
    trail = json.dumps(rows(server), default=str)
    assert len(rows(server)) == 4
    for secret in (*secrets, server.profile.provision_secret, server.profile.provision_key, "user-of-two"):
        assert secret not in trail


@pytest.mark.parametrize("name", ["a\0b", "漢字 😀", "x" * 60_000, "'; DROP TABLE audit; --", "\r\n\x1b[2J"])
def test_odd_names_are_kept_and_long_ones_cut(server, name):
    over_http(server, server.profile, NOT_FOUND, deviceName=name, provisionDeviceSecret="nearly-right")
    ((_, _, entity, _),) = brief(server)
    assert entity == name[:255].replace("\0", "\N{REPLACEMENT CHARACTER}")


def test_loser_of_a_race_between_two_processes_has_a_row_too(server, database):
    """Both find the name free; the database lets one of them have it."""

    async def race(registry):
        other = await Registry.open(server.data, database)
        try:
            profile = server.profile
            for n in range(20):
                wanted = ProvisionRequest(
                    key=profile.provision_key, secret=profile.provision_secret, device_name=f"device-{n}"
                )
                one, two = registry.provision(wanted), other.provision(wanted)
                statuses = [outcome.status for outcome in await asyncio.gather(one, two)]
                assert sorted(statuses) == ["FAILURE", "SUCCESS"]
        finally:
            await other.close()

    server.query(race)
    for n in range(20):
        assert sorted(row["result"] for row in rows(server, entity=f"device-{n}")) == ["FAILURE", "SUCCESS"]


def test_newest_come_first_and_can_be_chosen(server):
    def find(**wanted):
        return server.query(lambda registry: registry.read(lambda session: audit.find(session, **wanted)))

    over_http(server, server.profile, success("token-of-d0"), deviceName="d0", token="token-of-d0")
    over_http(server, server.profile, success("token-of-d1"), deviceName="d1", token="token-of-d1")
    for _ in range(3):
        over_http(server, server.profile, FAILURE, deviceName="d1")
    assert [row.entity for row in find(limit=3)] == ["d1"] * 3
    assert [row.result for row in find(limit=9, entity="d1")] == ["FAILURE"] * 3 + ["SUCCESS"]
    assert find(limit=9, what="login") == []
    assert len(find(limit=100, since_ms=0)) == 5
    newest = find(limit=1)[0]
    assert find(limit=9, since_ms=newest.ts_ms + 1) == []
