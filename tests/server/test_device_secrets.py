"""Secrets of single devices: who may show them, what a proof of one is good for, and what a nonce tells (nothing)."""

import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.contract.credentials import CredentialsType
from bench.contract.proof import claim_secret
from bench.registry import audit, devices
from bench.registry.clock import now_ms
from bench.registry.credentials import access_token
from bench.registry.device_secrets import NONCE_LIFE_MS, Nonces, is_accepted_secret, is_valid_proof
from bench.registry.provision_type import ProvisionType
from bench.registry.provisioning import ProvisionRequest, Status
from bench.server.limits import Rules
from tests.support.at_rest import everything, holding
from tests.support.http_requests import call
from tests.support.mqtt_packets import (
    FAILURE,
    NOT_FOUND,
)
from tests.support.proofs import (
    FIELDS,
    NONCE_REQUEST,
    every_transport,
    nonce_for,
    over_http,
    proof,
    prove,
    proven,
    reference,
    request_for,
    with_key,
)
from tests.support.servers import on_both_databases

CREATE = ProvisionType.ALLOW_CREATE_NEW_DEVICES
CHECK = ProvisionType.CHECK_PRE_PROVISIONED_DEVICES
CHAIN = ProvisionType.X509_CERTIFICATE_CHAIN
# The claim secret.


def test_claim_secret_is_hmac_sha256():
    fox = "The quick brown fox jumps over the lazy dog"
    assert claim_secret("key", fox) == "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8"


@given(st.text(), st.text(max_size=30), st.text("\0\t\n\r ", max_size=4))
def test_claim_secret_is_that_of_the_trimmed_name(key, name, blanks):
    name = name.strip("".join(map(chr, range(33))))
    assert claim_secret(key, blanks + name + blanks) == reference(key, name)


@given(st.text(), st.text(), st.text())
def test_no_other_text_is_right(key, name, shown):
    assert is_accepted_secret(key, name, shown) == (
        shown in {key, claim_secret(key, name)} if name.strip() else shown == key
    )


def test_claim_secret_is_right_for_one_key_and_one_name_alone():
    secret = claim_secret("key", "press-4")
    assert is_accepted_secret("key", "press-4", secret) is True
    assert is_accepted_secret("key", "press-4", "key") is True
    assert is_accepted_secret("key", "  press-4\n", secret)
    wrong = [secret.upper(), secret[:-1], secret + "0", " " + secret, bytes.fromhex(secret).decode("latin-1"), ""]
    assert not any(is_accepted_secret("key", "press-4", each) for each in wrong)
    for key, name in [("kez", "press-4"), ("key", "press-5"), ("key", "Press-4"), ("key", ""), ("key\0x", "press-4")]:
        assert not is_accepted_secret(key, name, secret)


@pytest.mark.parametrize("name", ["", " ", "\0", "\t\n"])
def test_no_name_has_no_claim_secret(name):
    assert not is_accepted_secret("key", name, claim_secret("key", name))
    fields = ["nonce", name, *FIELDS[2:]]
    assert not is_valid_proof("key", name, fields, reference(claim_secret("key", name), "\n".join(fields)))


# The proof.

texts = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=8)
lists = st.lists(texts, min_size=8, max_size=8)


@given(lists, st.integers(0, 7), texts)
def test_proof_is_right_for_its_fields_and_for_no_others(fields, place, other):
    shown = reference(claim_secret("key", "press-4"), "\n".join(fields))
    assert is_valid_proof("key", "press-4", fields, shown) is True
    changed = [*fields[:place], other, *fields[place + 1 :]]
    assert is_valid_proof("key", "press-4", changed, shown) == (changed == fields)


few = st.lists(st.text("a\n", max_size=2), min_size=8, max_size=8)


@given(few, few)
def test_two_lists_of_fields_never_have_one_proof(first, second):
    shown = reference(claim_secret("key", "press-4"), "\n".join(first))
    assert not (is_valid_proof("key", "press-4", second, shown) and first != second)


@pytest.mark.parametrize(
    "forged", [("a\nb", "", "c"), ("a", "b\n", "c"), ("a", "\nb", "c"), ("\n".join("ab"), "", "c")]
)
def test_line_feeds_do_not_move_what_was_proven_from_field_to_field(forged):
    honest = ["n", "press-4", "ACCESS_TOKEN", "a", "b", "", "", "c\nd"]
    shown = reference(claim_secret("key", "press-4"), "\n".join(honest))
    assert is_valid_proof("key", "press-4", honest, shown)  # the last may have some: a certificate has
    moved = ["n", "press-4", "ACCESS_TOKEN", *forged, "", "d"]
    assert not is_valid_proof("key", "press-4", moved, reference(claim_secret("key", "press-4"), "\n".join(moved)))


@pytest.mark.parametrize("place", range(8))
def test_line_feed_is_in_no_field_but_the_last(place):
    fields = ["n", "press-4", "ACCESS_TOKEN", "a", "b", "c", "d", "e"]
    fields[place] += "\n"
    shown = reference(claim_secret("key", "press-4"), "\n".join(fields))
    assert is_valid_proof("key", "press-4", fields, shown) is (place == 7)


@pytest.mark.parametrize("name", ["press-5", "", "PRESS-4"])
def test_proof_of_another_device_is_wrong(name):
    fields = ["nonce", name, *FIELDS[2:]]
    assert not is_valid_proof("key", name, fields, reference(claim_secret("key", "press-4"), "\n".join(fields)))


def test_the_profile_s_own_secret_makes_no_proof():
    own = claim_secret("key", "press-4")
    fields = ["nonce", "press-4", *FIELDS[2:]]
    message = "\n".join(fields)
    raw = hmac.new(bytes.fromhex(own), message.encode(), hashlib.sha256).hexdigest()
    for wrong in ("", "key", own, raw, reference("key", message), reference(own.upper(), message), "\N{BULLET}" * 64):
        assert not is_valid_proof("key", "press-4", fields, wrong)
    assert is_valid_proof("key", "press-4", fields, reference(own, message))


# The nonce.


class Clock:
    """Milliseconds, when told."""

    now = 1_790_000_000_000

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.mark.parametrize(
    ("passed_ms", "good"),
    [(0, True), (1, True), (NONCE_LIFE_MS, True), (NONCE_LIFE_MS + 1, False), (86_400_000, False)],
)
def test_nonce_is_good_for_a_minute(clock, passed_ms, good):
    nonces = Nonces(b"k" * 32, clock)
    nonce = nonces.issue("key", "press-4")
    clock.now += passed_ms
    assert nonces.is_fresh(nonce, "key", "press-4") is good
    assert Nonces(b"k" * 32, clock).is_fresh(nonce, "key", "press-4") is good  # a server that started meanwhile


def test_nonce_is_good_for_its_key_name_and_server_alone(clock):
    nonces = Nonces(b"k" * 32, clock)
    nonce = nonces.issue("key", "press-4")
    for key, name in [("kez", "press-4"), ("key", "press-5"), ("key", ""), ("", "press-4"), ('key", "press-4', "")]:
        assert not nonces.is_fresh(nonce, key, name)
    assert not Nonces(b"l" * 32, clock).is_fresh(nonce, "key", "press-4")


def test_nonce_that_was_touched_anywhere_is_bad(clock):
    nonces = Nonces(b"k" * 32, clock)
    nonce = nonces.issue("key", "press-4")
    for at, one in enumerate(nonce):
        for other in ("0", "f", "-", "F", "\N{ARABIC-INDIC DIGIT ONE}", "\n"):
            if other != one:
                assert not nonces.is_fresh(nonce[:at] + other + nonce[at + 1 :], "key", "press-4")
        assert not nonces.is_fresh(nonce[:at], "key", "press-4")
    for longer in (nonce + "0", nonce + "\n", " " + nonce, "0" + nonce, nonce.upper()):
        assert not nonces.is_fresh(longer, "key", "press-4")


@given(st.text() | st.from_regex(r"[0-9a-f]{12}-[0-9a-f]{64}"))
def test_nonce_that_nobody_issued_is_bad(nonce):
    assert not Nonces(b"k" * 32).is_fresh(nonce, "key", "press-4")


@given(st.text(), st.text())
def test_nonce_is_there_for_any_key_and_name_and_tells_nothing_of_them(key, name):
    clock = Clock()
    nonce = Nonces(b"k" * 32, clock).issue(key, name)
    assert len(nonce) == 77
    assert nonce[:13] == f"{clock.now:012x}-"


# The decision.


@on_both_databases
@pytest.mark.parametrize("strategy", [CREATE, CHECK, ProvisionType.DISABLED])
def test_claim_secret_of_another_name_or_profile_is_not_found(run, strategy):
    async def scenario(registry):
        profile = await registry.create_profile("mine", strategy)
        other = await registry.create_profile("other", strategy)
        await registry.create_device("press-4", "mine")
        before = await registry.devices()
        for device_name in ("", "press-4", "press-5"):
            for group_key, name in [
                (profile.provision_secret, "press-6"),
                (profile.provision_secret, ""),
                (other.provision_secret, device_name),
                (profile.provision_key, device_name),
                ("", device_name),
            ]:
                secret = reference(group_key, name)
                outcome = await registry.provision(request_for(profile, secret=secret, device_name=device_name))
                assert outcome.status is Status.NOT_FOUND, (device_name, name)
        assert await registry.devices() == before

    run(scenario)


@on_both_databases
@pytest.mark.parametrize("by_proof", [False, True], ids=["secret", "proof"])
@pytest.mark.parametrize(
    ("strategy", "device", "status"),
    [
        (ProvisionType.DISABLED, "absent", Status.NOT_FOUND),
        (ProvisionType.DISABLED, "there", Status.NOT_FOUND),
        (CREATE, "there", Status.FAILURE),
        (CREATE, "absent", Status.SUCCESS),
        (CHECK, "absent", Status.FAILURE),
        (CHECK, "there", Status.SUCCESS),
    ],
)
def test_claim_secret_is_as_good_as_the_profile_s_for_its_name(run, strategy, device, status, by_proof):
    async def scenario(registry):
        profile = await registry.create_profile("mine", strategy)
        if device == "there":
            await registry.create_device("press-4", "mine", token="its-token")
        if by_proof:
            requested = await proven(registry, profile, "press-4 ", token="asked-for")
        else:
            secret = claim_secret(profile.provision_secret, "press-4")
            requested = request_for(profile, secret=secret, device_name="press-4 ", token="asked-for")
        outcome = await registry.provision(requested)
        assert outcome.status is status
        if status is Status.SUCCESS:
            assert outcome.credentials == access_token("its-token" if strategy is CHECK else "asked-for")
            assert [each.name for each in await registry.devices()] == ["press-4"]
        replayed = await registry.provision(requested)
        assert replayed.status is (Status.FAILURE if status is Status.SUCCESS else status)

    run(scenario)


@on_both_databases
def test_secret_of_a_chain_profile_is_none_however_it_is_shown(run):
    async def scenario(registry):
        profile = await registry.create_profile("chain", CHAIN)
        for requested in (
            request_for(profile, device_name="a", secret=claim_secret(profile.provision_secret, "a")),
            await proven(registry, profile, "a"),
        ):
            assert (await registry.provision(requested)).status is Status.FAILURE
        assert await registry.devices() == []

    run(scenario)


REQUESTED = {
    "token": {"token": "a-token"},
    "nothing": {},
    "basic": {
        "credentials_type": CredentialsType.MQTT_BASIC,
        "client_id": "a-client",
        "username": "a-user",
        "password": "a-password",
    },
    "certificate": {"credentials_type": CredentialsType.X509_CERTIFICATE, "certificate": "MIIB\nIjAN"},
}


@on_both_databases
@pytest.mark.parametrize("wish", REQUESTED.values(), ids=REQUESTED)
def test_proof_with_any_one_field_changed_is_not_found(run, wish):
    async def scenario(registry):
        profile = await registry.create_profile("mine", CREATE)
        other = await registry.create_profile("other", CREATE)
        requested = await proven(registry, profile, "press-4", **wish)
        fields = {**vars(requested)}
        later = Nonces(registry.secret_box.nonce_key, lambda: now_ms() + 1)
        changes = {
            "key": ["", other.provision_key, "unknown"],
            "secret": ["wrong"],
            "device_name": ["", "press-5", "press-4 ", "PRESS-4"],
            "credentials_type": [each for each in CredentialsType if each is not requested.credentials_type],
            "nonce": ["", requested.nonce[:-1], requested.nonce.upper(), later.issue(requested.key, "press-4")],
            "proof": [
                "",
                requested.proof[:-1],
                requested.proof.upper(),
                reference(profile.provision_secret, "press-4"),
            ],
        }
        for name in ("token", "client_id", "username", "password", "certificate"):
            changes[name] = [fields[name] + "x", fields[name] + "\n", fields[name][:-1] if fields[name] else " "]
        for name, values in changes.items():
            for value in values:
                outcome = await registry.provision(ProvisionRequest(**{**fields, name: value}))
                assert outcome.status is Status.NOT_FOUND, name
        assert await registry.devices() == []
        outcome = await registry.provision(requested)
        assert outcome.status is Status.SUCCESS
        assert outcome.credentials.type is requested.credentials_type

    run(scenario)


@on_both_databases
def test_proof_under_anything_but_the_claim_secret_is_not_found(run):
    async def scenario(registry):
        profile = await registry.create_profile("mine", CREATE)
        nonce = await nonce_for(registry, profile, "press-4")
        own = profile.provision_secret
        for key in (own, "", profile.provision_key, reference(own, ""), reference(own, "press-4").upper()):
            shown = proof(key, nonce=nonce, deviceName="press-4")
            requested = request_for(profile, secret="", device_name="press-4", nonce=nonce, proof=shown)
            assert (await registry.provision(requested)).status is Status.NOT_FOUND
        assert await registry.devices() == []

    run(scenario)


@on_both_databases
def test_nonce_that_is_late_or_foreign_is_not_found(run):
    async def scenario(registry):
        profile = await registry.create_profile("mine", CREATE)
        other = await registry.create_profile("other", CREATE)
        key, real = profile.provision_key, registry.secret_box.nonce_key
        for nonce in (
            Nonces(real, lambda: now_ms() - NONCE_LIFE_MS - 1).issue(key, "press-4"),
            Nonces(bytes(32)).issue(key, "press-4"),
            await nonce_for(registry, profile, "press-5"),
            await nonce_for(registry, other, "press-4"),
            "",
            "n\0nce",
        ):
            assert (
                await registry.provision(await proven(registry, profile, "press-4", nonce=nonce))
            ).status is Status.NOT_FOUND
        early = Nonces(real, lambda: now_ms() - NONCE_LIFE_MS + 30_000).issue(key, "press-4")
        outcome = await registry.provision(await proven(registry, profile, "press-4", nonce=early))
        assert outcome.status is Status.SUCCESS

    run(scenario)


@on_both_databases
def test_what_a_proof_does_not_cover_does_not_count(run):
    async def scenario(registry):
        profile = await registry.create_profile("mine", CREATE)
        await registry.provision(await proven(registry, profile, "press-4", gateway=True))

        made = await registry.read(devices.by_name, "press-4")
        assert made.additional_info is None

    run(scenario)


@on_both_databases
def test_nonce_leaves_nothing_behind_and_is_no_oracle(run):
    async def scenario(registry):
        profile = await registry.create_profile("mine", CREATE)
        await registry.create_profile("off", ProvisionType.DISABLED)
        await registry.create_device("there", "mine")
        off = await registry.profile("off")
        before, commits = await registry.devices(), registry.commits
        shapes = set()
        for key in (profile.provision_key, off.provision_key, "unknown", "", "a\0b"):
            for name in ("there", "absent", "", "  ", "{{bad}}", "a\0b"):
                requested = ProvisionRequest(key=key, secret="", device_name=name, wants_nonce=True, token="a-token")
                outcome = await registry.provision(requested)
                shapes.add((outcome.status, outcome.credentials, outcome.device_name, len(outcome.nonce)))
        assert shapes == {(Status.NONCE, None, "", 77)}
        assert (await registry.devices(), registry.commits) == (before, commits)
        assert await registry.read(lambda session: audit.find(session, limit=9)) == []

    run(scenario)


@on_both_databases
def test_request_with_a_secret_is_a_plain_one_whatever_else_it_has(run):
    async def scenario(registry):
        profile = await registry.create_profile("mine", CREATE)
        more = {"wants_nonce": True, "nonce": "x", "proof": "y", "gateway": True}
        assert (await registry.provision(request_for(profile, secret="wrong", **more))).status is Status.NOT_FOUND
        assert (await registry.provision(request_for(profile, device_name="a", **more))).status is Status.SUCCESS

    run(scenario)


# On the wire.


@every_transport
@on_both_databases
def test_device_that_proves_its_secret_never_sends_it(server, database, send):
    secret = reference(server.profile.provision_secret, "press-4")
    body, answer = prove(server, send, secret, deviceName="press-4", token="a-token-of-press-4")
    assert json.loads(answer) == {
        "credentialsValue": "a-token-of-press-4",
        "credentialsType": "ACCESS_TOKEN",
        "status": "SUCCESS",
    }
    assert send(server, body) == FAILURE  # who heard it all and says it again
    secrets = [secret, body["provisionDeviceProof"], body["provisionDeviceNonce"], "a-token-of-press-4"]
    assert holding(everything(server.data, database), secrets) == []
    events = json.dumps(server.events())
    assert not any(each in events for each in secrets)
    statuses = [each["status"] for each in server.events("exchange")]
    assert statuses == ["NONCE", "SUCCESS", "FAILURE"]


@every_transport
def test_proof_that_is_wrong_is_answered_as_a_wrong_secret(server, send):
    for secret in (server.profile.provision_secret, reference(server.profile.provision_secret, "press-5"), "wrong"):
        assert prove(server, send, secret, deviceName="press-4")[1] == NOT_FOUND
    secret = reference(server.profile.provision_secret, "press-4")
    body, _ = prove(server, send, secret, deviceName="press-4", token="a\nb")
    assert send(server, body) == NOT_FOUND
    for fields in ({"provisionDeviceProof": None}, {"provisionDeviceNonce": {}}, {"proof": [1, 2]}, {"proof": "NONCE"}):
        assert send(server, {**body, "token": "t", **fields}) == NOT_FOUND
    assert server.device_names() == []


@every_transport
def test_nonce_is_the_same_answer_for_what_exists_and_what_does_not(server, send):
    server.query(lambda registry: registry.create_device("there", "default"))
    for fields in ({}, {"provisionDeviceKey": "unknown"}, {"deviceName": "there"}, {"deviceName": "  "}):
        answer = json.loads(send(server, {**NONCE_REQUEST, **fields}))
        assert set(answer) == {"nonce", "status"}
        assert len(answer["nonce"]) == 77
    assert server.device_names() == ["there"]


@every_transport
def test_claim_secret_opens_its_name_and_no_other(server, send):
    secret = claim_secret(server.profile.provision_secret, "press-4")
    for name in ("press-5", ""):
        assert send(server, {"provisionDeviceSecret": secret, "deviceName": name}) == NOT_FOUND
    assert b"SUCCESS" in send(server, {"provisionDeviceSecret": secret, "deviceName": "press-4"})
    assert server.device_names() == ["press-4"]


@every_transport
@pytest.mark.parametrize("odd", [None, {}, [], [1, 2], 7, True, "nonce"])
def test_fields_that_thingsboard_does_not_know_are_ignored_beside_a_secret(server, send, odd):
    more = dict.fromkeys(("proof", "provisionDeviceNonce", "provisionDeviceProof"), odd)
    body = {"provisionDeviceSecret": server.profile.provision_secret, "deviceName": "a", **more}
    assert b'"SUCCESS"' in send(server, body)


def test_proofs_are_limited_as_secrets_are_and_so_are_nonces_then(start_server):
    server = start_server(limits=Rules())
    nonce = json.loads(over_http(server, {**NONCE_REQUEST, "deviceName": "press-4"}))["nonce"]
    wrong = {"provisionDeviceSecret": "", "provisionDeviceNonce": nonce, "provisionDeviceProof": "0" * 64}
    for _ in range(10):
        assert over_http(server, {**wrong, "deviceName": "press-4"}) == NOT_FOUND
        over_http(server, {**NONCE_REQUEST, "deviceName": "press-5"})  # to ask is no failure
    for body in ({**wrong, "deviceName": "press-4"}, {**NONCE_REQUEST, "deviceName": "press-4"}):
        assert call(server, "/api/v1/provision", json.dumps(with_key(server, body)))[0] == 429
    secret = reference(server.profile.provision_secret, "press-5")
    assert b"SUCCESS" in prove(server, over_http, secret, deviceName="press-5")[1]
