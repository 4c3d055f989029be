"""Boards that carry a secret of their own instead of their profile's, said or proved."""

import socket

import pytest

from bench.contract.proof import claim_secret, derived_token
from bench.mqtt import codec
from bench.registry import devices, group_keys, profiles
from bench.registry.provision_type import Again, ProvisionType
from tests.support.boards import WAYS, ca_file, steps, vault_slots, way_settings

OWN_WAYS = [pytest.param(transport, tls, id=f"{transport}{'-tls' * tls}") for transport, tls in WAYS]


def claimed(
    server, make_board, transport="mqtt", /, *, tls=False, name="press4", owner="press4", proof=False, **options
):
    """A board of this name with the claim secret of `owner`."""
    sections = way_settings(server, transport, tls=tls, kind="ACCESS_TOKEN")
    sections["server"] |= options.pop("server", {})
    sections["provision"] |= {"secret": claim_secret(server.profile.provision_secret, owner), "proof": proof}
    return make_board(server, identity={"name": name}, files=ca_file(server), **sections, **options)


@pytest.mark.parametrize("proof", [False, True], ids=["said", "proved"])
@pytest.mark.parametrize(("transport", "tls"), OWN_WAYS)
def test_secret_of_another_board_is_not_found(server, make_board, transport, tls, proof):
    board = claimed(server, make_board, transport, tls=tls, owner="press5", proof=proof)
    with board.power_on() as power:
        assert "compare" in power.expect_event("not_found")["fix"]
    assert server.device_names() == []


@pytest.mark.parametrize("proof", [False, True], ids=["said", "proved"])
@pytest.mark.parametrize(("transport", "tls"), OWN_WAYS)
def test_secret_of_its_own_ends_online(server, make_board, transport, tls, proof):
    board = claimed(server, make_board, transport, tls=tls, proof=proof)
    with board.power_on() as power:
        power.expect_event("telemetry")
    assert server.device_names() == ["press4"]
    assert "not_found" not in steps(power)


def test_proof_of_the_shared_secret_is_not_found(server, make_board):
    board = make_board(server, provision={"proof": True})
    with board.power_on() as power:
        power.expect_event("not_found")
    assert server.device_names() == []


@pytest.mark.parametrize("strategy", [ProvisionType.CHECK_PRE_PROVISIONED_DEVICES])
def test_proof_gets_what_was_made_ahead(server, make_board, strategy):
    profile = server.new_profile(strategy)
    server.query(lambda registry: registry.create_device("press4", profile.name))
    secret = claim_secret(profile.provision_secret, "press4")
    board = make_board(
        server, profile=profile, identity={"name": "press4"}, provision={"secret": secret, "proof": True}
    )
    with board.power_on() as power:
        power.expect_event("telemetry")
    token = server.query(lambda registry: registry.device("press4")).credentials.id
    assert vault_slots(board)[0]["active"] == [{"type": "ACCESS_TOKEN", "token": token}]


@pytest.mark.parametrize(
    ("answer", "event"),
    [(b'{"status":"NOT_FOUND","errorMsg":"Provision data was not found!"}', "not_found"), (b"{}", "offline")],
    ids=["plain_thingsboard", "garbage"],
)
def test_server_that_knows_no_proofs_never_sees_the_secret(server, make_board, answer, event):
    with socket.create_server(("127.0.0.1", 0)) as plain:
        board = claimed(server, make_board, proof=True, server={"port": plain.getsockname()[1]})
        secret = claim_secret(server.profile.provision_secret, "press4")
        received = b""
        with board.power_on() as power:
            exchange, _ = plain.accept()
            with exchange:
                received += exchange.recv(1024)
                exchange.sendall(b"\x20\x02\x00\x00")
                received += exchange.recv(1024)
                exchange.sendall(b"\x90\x03\x00\x01\x00")
                received += exchange.recv(4096)
                exchange.sendall(codec.publish("/provision/response", answer))
                found = power.expect_event(event)
    assert b'"nonce"' in received
    assert secret.encode() not in received
    assert event != "not_found" or "proofs" in found["fix"]


# Wiped boards.


def with_policy(server, again):
    """Give the default profile a group key and a policy; returns the claim secret of press4."""

    def change(session):
        profile = profiles.by_name(session, server.profile.name)
        key = group_keys.replace(session, profile)
        group_keys.set_again(profile, again)
        return key

    return claim_secret(server.query(lambda registry: registry.write(change)), "press4")


def proving(server, make_board, secret, transport="mqtt", /, *, tls=False, **provision):
    """A board that proves this claim secret."""
    sections = way_settings(server, transport, tls=tls, kind="ACCESS_TOKEN")
    sections["provision"] |= {"secret": secret, "proof": True, **provision}
    soon = {"base_ms": 50, "cap_ms": 200, "long_ms": 3_600_000}
    return make_board(server, identity={"name": "press4"}, files=ca_file(server), backoff=soon, **sections)


def record(server):
    return server.query(lambda registry: registry.read(devices.by_name, "press4"))


@pytest.mark.parametrize("again", [Again.KEEP, Again.RESET])
@pytest.mark.parametrize(("transport", "tls"), OWN_WAYS)
def test_wiped_board_is_online_in_one_boot_where_its_profile_lets_it(server, make_board, transport, tls, again):
    secret = with_policy(server, again)
    first = proving(server, make_board, secret, transport, tls=tls)
    with first.power_on() as power:
        power.expect_event("telemetry")
    before = record(server)
    server.query(lambda registry: registry.save_telemetry(before.id, [(1_700_000_000_000, "old", 1)]))
    old = vault_slots(first)[0]["active"]
    wiped = proving(server, make_board, secret, transport, tls=tls)
    with wiped.power_on() as power:
        power.expect_event("telemetry")
    after = record(server)
    assert (after.id == before.id) is (again is Again.KEEP)
    kept = server.query(lambda registry: registry.device("press4")).telemetry
    assert ("old" in kept) is (again is Again.KEEP)
    assert vault_slots(wiped)[0]["active"] != old
    assert server.query(lambda registry: registry.token_login(old[0]["token"])) is None


def test_wiped_board_is_rejected_by_default(server, make_board):
    secret = with_policy(server, Again.REFUSE)
    for event in ("telemetry", "rejected"):
        with proving(server, make_board, secret).power_on() as power:
            power.expect_event(event)


def test_clone_is_rejected_while_the_board_is_online_and_comes_in_once_it_is_off(server, make_board):
    secret = with_policy(server, Again.KEEP)
    original, clone = (proving(server, make_board, secret) for _ in range(2))
    with original.power_on() as power:
        power.expect_event("telemetry")
        with clone.power_on() as copy:
            copy.expect_event("rejected")
            copy.expect_event("rejected")  # and asks again soon
            power.expect_event("telemetry")
            power.power_off()
            copy.expect_event("telemetry")
    assert "clone_online" in [each.get("why") for each in server.events("exchange")]


def test_wiped_board_whose_token_is_derived_has_it_again(server, make_board):
    secret = with_policy(server, Again.REFUSE)
    for sent in (["answer"], []):
        board = proving(server, make_board, secret, made_by="claim")
        with board.power_on() as power:
            power.expect_event("telemetry")
        assert [step for step in steps(power) if step == "answer"] == sent
        token = {"type": "ACCESS_TOKEN", "token": derived_token(secret, "press4")}
        assert vault_slots(board)[0]["active"] == [token]
