"""The provisioning exchange over a network that fails at every step of it."""

import json
from contextlib import contextmanager

import pytest

from bench.errors import BenchError
from bench.faults.exchange import ExchangeFault, ExchangeFaultKind, ExchangeFaults
from bench.faults.network.framing import Protocol, Route
from bench.faults.network.network import Network
from bench.mqtt import codec
from bench.registry.provision_type import ProvisionType
from bench.registry.registry import Registry
from tests.support.boards import vault_slots
from tests.support.servers import on_both_databases

pytestmark = pytest.mark.slow


def answer(body: object) -> bytes:
    """An answer that the server never gave."""
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    return codec.publish("/provision/response", payload)


GARBAGE = {
    "not_mqtt": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "random": bytes(range(255, 0, -7)),
    "endless_length": b"\x30\xff\xff\xff\xff\xff\xff",
    "huge_packet": b"\x30\xff\xff\xff\x7f\x00\x13/provision/response",
    "topic_longer_than_packet": b"\x30\x05\xff\xff/pro",
    "truncated_forever": b"\x30\x7f\x00\x13/provision/response{",
    "empty_payload": answer(b""),
    "not_json": answer(b"<html>"),
    "invalid_utf8": answer(b'{"status":"\xff\xfe"}'),
    "not_an_object": answer(["SUCCESS"]),
    "no_status": answer({}),
    "unknown_status": answer({"status": "MAYBE"}),
    "success_without_credentials": answer({"status": "SUCCESS"}),
    "success_of_another_type": answer({"status": "SUCCESS", "credentialsType": "MQTT_BASIC", "credentialsValue": {}}),
    "success_with_null": answer({"status": "SUCCESS", "credentialsType": "ACCESS_TOKEN", "credentialsValue": None}),
    "success_with_a_wrong_token": answer(
        {"status": "SUCCESS", "credentialsType": "ACCESS_TOKEN", "credentialsValue": "not the one"}
    ),
    "success_with_a_token_that_servers_choke_on": answer(
        {"status": "SUCCESS", "credentialsType": "ACCESS_TOKEN", "credentialsValue": "a\0b"}
    ),
    "success_with_a_token_too_long": answer(
        {"status": "SUCCESS", "credentialsType": "ACCESS_TOKEN", "credentialsValue": "x" * 5000}
    ),
    "failure_in_spite_of_success": answer({"status": "FAILURE", "errorMsg": "Failed to provision device!"}),
}

FAULTS = {
    "connection_dropped_before_the_request": ExchangeFault(ExchangeFaultKind.DROP_CONNECTION),
    "request_lost": ExchangeFault(ExchangeFaultKind.DROP_REQUEST),
    "request_delivered_after_the_next_one_was_made": ExchangeFault(ExchangeFaultKind.HOLD_REQUEST),
    "answer_lost": ExchangeFault(ExchangeFaultKind.DROP_ANSWER),
    "answer_doubled": ExchangeFault(ExchangeFaultKind.DOUBLE_ANSWER),
    "answer_late": ExchangeFault(ExchangeFaultKind.LATE_ANSWER),
    **{
        f"answer_garbage_{name}": ExchangeFault(ExchangeFaultKind.REPLACE_ANSWER, data=data)
        for name, data in GARBAGE.items()
    },
}


@contextmanager
def faulty(server, faults):
    """A network whose provisioning exchanges meet these faults: its port, and those that happened."""
    exchange = ExchangeFaults(faults)
    with Network([Route(to_port=server.ports.mqtt, protocol=Protocol.MQTT)], handler=exchange) as network:
        yield network.ports[server.ports.mqtt], exchange.happened


def assert_one_device_online(server, board, power):
    name = f"firstboot-{board.mac}"
    assert server.device_names() == [name]
    token = server.query(lambda registry: registry.device(name)).credentials.id
    assert vault_slots(board)[0] == {"active": [{"type": "ACCESS_TOKEN", "token": token}]}
    assert not any(event["event"] in ("rejected", "crash", "console") for event in power.events)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_exchange_ends_online_with_one_device_when(server, make_board, fault):
    with faulty(server, [fault]) as (port, happened):
        board = make_board(server, port=port, session={"timeout_ms": 400})
        with board.power_on() as power:
            power.expect_event("telemetry")
        assert happened == [fault]
    assert_one_device_online(server, board, power)


@on_both_databases
@pytest.mark.parametrize(
    "fault",
    [ExchangeFault(ExchangeFaultKind.DROP_ANSWER), ExchangeFault(ExchangeFaultKind.DROP_REQUEST)],
    ids=["answer", "request"],
)
def test_exchange_ends_online_when_lost_three_times_in_a_row(server, make_board, fault):
    with faulty(server, [fault] * 3) as (port, happened):
        board = make_board(server, port=port, session={"timeout_ms": 400})
        with board.power_on() as power:
            power.expect_event("telemetry")
        # a lost answer is found out by the login that follows: no second request
        assert len(happened) == (1 if fault.kind is ExchangeFaultKind.DROP_ANSWER else 3)
    assert_one_device_online(server, board, power)


def test_exchange_ends_online_when_the_answer_is_cut_at_every_byte(server, make_board, report):
    size = 0
    while True:
        size += 1
        with faulty(server, [ExchangeFault(ExchangeFaultKind.CUT_ANSWER, size=size)]) as (port, _):
            board = make_board(server, port=port)
            with board.power_on() as power:
                power.expect_event("telemetry")
        name = f"firstboot-{board.mac}"
        assert server.device_names().count(name) == 1
        if any(event["event"] == "answer" for event in power.events):
            break
    assert size > 100
    report(f"answer cut at each of its {size} bytes")


@on_both_databases
def test_exchange_ends_online_when_the_server_fails_before_the_commit(server, make_board, monkeypatch):
    commit = Registry.provision
    failed = []

    async def provision(self, request, origin):
        if not failed:
            failed.append(request)
            raise OSError("the disk is full")
        return await commit(self, request, origin)

    monkeypatch.setattr(Registry, "provision", provision)
    board = make_board(server)
    with board.power_on() as power:
        power.expect_event("offline", kind="closed")
        power.expect_event("telemetry")
    assert len(failed) == 1
    assert_one_device_online(server, board, power)


@on_both_databases
def test_exchange_ends_online_when_the_power_fails_instead_of_the_answer(server, make_board):
    with faulty(server, [ExchangeFault(ExchangeFaultKind.LATE_ANSWER)]) as (port, _):
        board = make_board(server, port=port)
        with board.power_on() as power:
            power.expect_event("provisioning")
            server.wait_for("exchange", status="SUCCESS")  # committed, and the answer is on its way
        assert server.device_names() == [f"firstboot-{board.mac}"]
        with board.power_on() as power:
            power.expect_event("telemetry")
    assert "provisioning" not in [event["event"] for event in power.events]
    assert_one_device_online(server, board, power)


@pytest.mark.parametrize(
    "fault",
    [
        ExchangeFault(ExchangeFaultKind.DROP_ANSWER),
        ExchangeFault(ExchangeFaultKind.CUT_ANSWER, size=50),
        ExchangeFault(ExchangeFaultKind.REPLACE_ANSWER, data=GARBAGE["not_json"]),
    ],
    ids=["dropped", "cut", "garbage"],
)
def test_server_made_token_is_lost_with_its_answer(server, make_board, fault):
    """The documented limit of server-made tokens: the very faults that a device-made secret survives."""
    with faulty(server, [fault]) as (port, _):
        board = make_board(server, port=port, provision={"made_by": "server"})
        with board.power_on() as power:
            rejected = power.expect_event("rejected")
            assert "delete that device" in rejected["fix"]
            assert power.expect_event("retry")["in_ms"] >= 30_000
        # what the event says has to be done is what helps
        server.query(lambda registry: registry.delete_device(rejected["name"]))
        with board.power_on() as power:
            power.expect_event("telemetry")
    assert_one_device_online(server, board, power)


@on_both_databases
def test_server_made_token_is_stored_and_used(server, make_board):
    board = make_board(server, provision={"made_by": "server"})
    with board.power_on() as power:
        power.expect_event("telemetry")
    assert_one_device_online(server, board, power)
    assert len(vault_slots(board)[0]["active"][0]["token"]) == 20
    with board.power_on() as power:
        power.expect_event("telemetry")
    assert power.writes == []


@on_both_databases
def test_preprovisioned_device_takes_over_the_servers_token(server, make_board):
    profile = server.new_profile(ProvisionType.CHECK_PRE_PROVISIONED_DEVICES)
    made = server.query(lambda registry: registry.create_device("press-4", profile.name))
    board = make_board(server, profile=profile, identity={"name": "press-4"})
    with board.power_on() as power:
        power.expect_event("telemetry")
    assert vault_slots(board)[0] == {"active": [{"type": "ACCESS_TOKEN", "token": made.credentials.id}]}
    assert server.device_names() == ["press-4"]


@on_both_databases
def test_preprovisioned_device_that_does_not_exist_is_rejected(server, make_board):
    profile = server.new_profile(ProvisionType.CHECK_PRE_PROVISIONED_DEVICES)
    board = make_board(server, profile=profile)
    with board.power_on() as power:
        power.expect_event("rejected")
        with pytest.raises(BenchError, match="no event telemetry"):
            power.expect_event("telemetry", timeout_s=0.5)
    assert server.device_names() == []
