"""Devices that provision again by a proof: who gets its device back, what is left of it, and who does not."""

import asyncio
import secrets
from collections import Counter
from functools import partial

import pytest
from sqlalchemy import func, select, update

from bench.contract.credentials import CredentialsType
from bench.contract.proof import claim_secret
from bench.errors import Refused
from bench.registry import audit, devices, group_keys, lifecycle, profiles
from bench.registry.audit import Origin
from bench.registry.changes import Withdrawal
from bench.registry.clock import now_ms
from bench.registry.credentials import MqttLogin, access_token
from bench.registry.device_secrets import NONCE_LIFE_MS, Nonces
from bench.registry.model import SERVER_SCOPE, Credentials, Customer, Device, Profile
from bench.registry.provision_type import Again, ProvisionType
from bench.registry.provisioning import Status
from bench.registry.reprovisioning import RECENT_S
from tests.support.at_rest import everything, holding
from tests.support.proofs import nonce_for, proven, reference, request_for
from tests.support.servers import on_both_databases

CREATE = ProvisionType.ALLOW_CREATE_NEW_DEVICES
CHECK = ProvisionType.CHECK_PRE_PROVISIONED_DEVICES
SOURCE = Origin("192.0.2.7", "mqtts", "0123456789ab")
both_policies = pytest.mark.parametrize("again", [Again.KEEP, Again.RESET])


async def new_profile(registry, again=Again.KEEP, strategy=CREATE, name="mine"):
    """A profile with a group key."""
    await registry.create_profile(name, strategy)

    def change(session):
        profile = profiles.by_name(session, name)
        group_keys.replace(session, profile)
        group_keys.set_again(profile, again)

    await registry.write(change)
    return await registry.profile(name)


async def by_proof(registry, profile, name="press-4", **fields):
    """A request with a proof by the device's own key, whose nonce is newer than all that were spent so far."""
    await asyncio.sleep(0.002)  # nonces tell milliseconds apart
    return await proven(registry, profile, name, group_key=profile.group_key, **fields)


async def provision(registry, profile, name="press-4", **fields):
    return await registry.provision(await by_proof(registry, profile, name, **fields), SOURCE)


async def id_of(registry, name="press-4"):
    return (await registry.read(devices.by_name, name)).id


async def trail(registry):
    """The audit trail, oldest first."""
    rows = await registry.read(lambda session: audit.find(session, limit=1000))
    return [(row.what, row.entity, row.result) for row in reversed(rows)]


async def change(registry, name="press-4", **values):
    await registry.write(
        lambda session: session.connection().execute(update(Device).where(Device.name == name).values(values)).rowcount
    )


async def with_history(registry, profile, token="the-first"):
    """A device that has been online, and what there is of it."""
    outcome = await provision(registry, profile, token=token)
    assert outcome.status is Status.SUCCESS
    device_id = await id_of(registry)
    await registry.save_telemetry(device_id, [(1_700_000_000_000, "t", 21.5)])
    await registry.save_attributes(device_id, {"serial": "s-1"})

    def own(session):
        device = devices.get(session, device_id)
        customer = Customer(title="acme")
        session.add(customer)
        session.flush()
        device.customer_id = customer.id
        lifecycle.associated(device)

    await registry.write(own)
    return device_id


# Refused.


@on_both_databases
def test_policy_by_default_is_to_refuse(run):
    async def scenario(registry):
        profile = await new_profile(registry, Again.REFUSE)
        device_id = await with_history(registry, profile)
        outcome = await provision(registry, profile, token="another")
        assert (outcome.status, outcome.why) == (Status.FAILURE, "")
        assert await id_of(registry) == device_id
        assert (await registry.device("press-4")).credentials == access_token("the-first")

    run(scenario)


@on_both_databases
@both_policies
def test_secret_that_is_shown_gets_nothing_back(run, again):
    async def scenario(registry):
        profile = await new_profile(registry, again)
        await with_history(registry, profile)
        before = await registry.devices()
        for secret in (profile.provision_secret, claim_secret(profile.group_key, "press-4")):
            outcome = await registry.provision(request_for(profile, secret=secret, device_name="press-4"), SOURCE)
            assert (outcome.status, outcome.why, outcome.credentials) == (Status.FAILURE, "not_proven", None)
        assert await registry.devices() == before
        assert (await trail(registry))[-2:] == [("provision", "press-4", "not_proven")] * 2

    run(scenario)


@on_both_databases
def test_stolen_provisioning_secret_makes_no_key_of_a_device(run):
    async def scenario(registry):
        profile = await new_profile(registry)
        await with_history(registry, profile)
        before = await registry.devices()
        for name in ("press-4", "press-5"):
            stolen = claim_secret(profile.provision_secret, name)
            shown = await registry.provision(request_for(profile, secret=stolen, device_name=name), SOURCE)
            proof = await registry.provision(await proven(registry, profile, name), SOURCE)
            assert {shown.status, proof.status} == {Status.NOT_FOUND}
        assert await registry.devices() == before
        assert (await trail(registry))[-1] == ("provision", "press-5", "NOT_FOUND")

    run(scenario)


@on_both_databases
@both_policies
@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"gateway_id": Device.id}, "sub_device"),
        ({"decommissioned_ms": 1}, "decommissioned"),
        ({"deactivated_ms": 1}, "deactivated"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_device_that_nobody_gets_back_is_left_as_it_is(run, again, values, why):
    async def scenario(registry):
        profile = await new_profile(registry, again)
        await with_history(registry, profile)
        await change(registry, **values)
        before = await registry.devices()
        outcome = await provision(registry, profile)
        assert (outcome.status, outcome.why, outcome.credentials) == (Status.FAILURE, why, None)
        assert await registry.devices() == before
        rows = await registry.read(lambda session: audit.find(session, limit=1))
        seen = [(row.what, row.entity, row.result, row.entity_id, row.address) for row in rows]
        assert seen == [("provision", "press-4", why, await id_of(registry), SOURCE.address)]

    run(scenario)


@on_both_databases
def test_device_that_is_online_here_is_so_before_that_is_stored(run):
    async def scenario(registry):
        profile = await new_profile(registry)
        await with_history(registry, profile)
        registry.is_online_here = lambda _: True
        assert (await provision(registry, profile)).why == "clone_online"
        await change(registry, is_online=True)  # and its session has just ended here
        registry.is_online_here = lambda _: False
        assert (await provision(registry, profile)).why == "keep"

    run(scenario)


@on_both_databases
@both_policies
@pytest.mark.parametrize(
    ("connected", "disconnected", "recent_s", "live"),
    [
        (2, 1, 900, True),
        (None, None, 1, True),
        (1, 2, 1, True),
        (None, None, RECENT_S + 60, False),
        (1, 2, RECENT_S + 60, False),
        ("soon", None, RECENT_S + 60, False),
    ],
)
def test_device_at_another_server_is_live_by_its_session_or_its_last_request(
    run, again, connected, disconnected, recent_s, live
):
    async def scenario(registry):
        profile = await new_profile(registry, again)
        await with_history(registry, profile)
        await change(registry, is_online=True)
        times = {"lastConnectTime": connected, "lastDisconnectTime": disconnected}
        times["lastActivityTime"] = now_ms() - round(recent_s * 1000)
        stored = {key: each for key, each in times.items() if each is not None}
        await registry.save_attributes(await id_of(registry), stored, SERVER_SCOPE)
        before = await registry.devices()
        assert (await provision(registry, profile)).why == ("clone_online" if live else again)
        assert (await registry.devices() == before) is live

    run(scenario)


@on_both_databases
@both_policies
def test_device_of_another_profile_is_not_handed_over(run, again):
    async def scenario(registry):
        profile = await new_profile(registry, again)
        other = await new_profile(registry, again, name="other")
        await with_history(registry, other)
        assert (await provision(registry, profile)).why == "other_profile"

    run(scenario)


@on_both_databases
@both_policies
def test_credentials_of_another_device_are_refused_and_nothing_changes(run, again):
    async def scenario(registry):
        profile = await new_profile(registry, again)
        await with_history(registry, profile)
        await registry.create_device("other", "mine", token="another's")
        before = await registry.devices()
        wanted = [
            {"token": "another's"},
            {"credentials_type": CredentialsType.MQTT_BASIC, "password": "p"},
        ]
        for fields in wanted:
            outcome = await provision(registry, profile, **fields)
            assert (outcome.status, outcome.why) == (Status.FAILURE, "credentials"), fields
        assert await registry.devices() == before
        assert (await registry.token_login("the-first")).name == "press-4"

    run(scenario)


@on_both_databases
@both_policies
def test_proof_that_was_good_once_is_replayed(run, again):
    async def scenario(registry):
        profile = await new_profile(registry, again)
        first = await by_proof(registry, profile, token="the-first")
        assert (await registry.provision(first)).status is Status.SUCCESS
        assert (await registry.provision(first)).why == "replayed"  # what made the device does not get it back
        second = await by_proof(registry, profile, token="the-second")
        third = await by_proof(registry, profile, token="the-third")
        assert (await registry.provision(third)).why == again
        assert {(await registry.provision(each)).why for each in (first, second, third)} == {"replayed"}
        assert (await registry.device("press-4")).credentials == access_token("the-third")

    run(scenario)


@on_both_databases
def test_proof_with_a_nonce_of_a_faster_clock_is_good_once(run):
    async def scenario(registry):
        profile = await new_profile(registry)
        await with_history(registry, profile)
        fast = Nonces(registry.secret_box.nonce_key, lambda: now_ms() + NONCE_LIFE_MS // 2)
        nonce = fast.issue(profile.provision_key, "press-4")
        request = await proven(registry, profile, "press-4", group_key=profile.group_key, nonce=nonce)
        assert [(await registry.provision(request)).why for _ in range(3)] == ["keep", "replayed", "replayed"]

    run(scenario)


@on_both_databases
def test_ten_thousand_replays_and_guesses_are_all_refused(run):
    async def scenario(registry):
        profile = await new_profile(registry)
        await registry.provision(await by_proof(registry, profile, token="the-first"))
        used = await by_proof(registry, profile, token="the-second")
        assert (await registry.provision(used)).why == "keep"
        before = await registry.devices()
        fields = vars(used)
        nonce = await nonce_for(registry, profile, "press-4")
        requests = [used] * 5000
        requests += [type(used)(**{**fields, "nonce": nonce, "proof": secrets.token_hex(32)}) for _ in range(2500)]
        requests += [type(used)(**{**fields, "nonce": nonce}) for _ in range(1250)]
        requests += [type(used)(**{**fields, "token": secrets.token_hex(16)}) for _ in range(1250)]
        quiet = Origin(keeps_refusal=False)
        seen = Counter()
        for at in range(0, len(requests), 500):
            some = await asyncio.gather(*(registry.provision(each, quiet) for each in requests[at : at + 500]))
            seen.update((each.status, each.why, each.credentials) for each in some)
        assert seen == {(Status.FAILURE, "replayed", None): 5000, (Status.NOT_FOUND, "", None): 5000}
        assert await registry.devices() == before

    run(scenario)


# Races.


async def whole(registry):
    """The devices with their number of credentials, and nobody's credentials."""

    def read(session):
        owned = select(Device.name, func.count(Credentials.device_id)).outerjoin(
            Credentials, Credentials.device_id == Device.id
        )
        return session.execute(owned.group_by(Device.name)).all(), session.scalar(
            select(func.count()).select_from(Credentials)
        )

    return await registry.read(read)


@on_both_databases
@both_policies
def test_of_fifty_boards_with_one_proof_one_wins(run, again):
    async def scenario(*registries):
        profile = await new_profile(registries[0], again)
        await with_history(registries[0], profile)
        for _ in range(3):
            request = await by_proof(registries[0], profile, token=secrets.token_hex(8))
            outcomes = await asyncio.gather(*(each.provision(request, SOURCE) for each in registries * 10))
            winners = [each for each in outcomes if each.status is Status.SUCCESS]
            assert [each.why for each in winners] == [again]
            assert {each.why for each in outcomes if each.status is Status.FAILURE} <= {"replayed", ""}
            assert await whole(registries[0]) == ([("press-4", 1)], 1)
            assert (await registries[0].token_login(request.token)).name == "press-4"

    run(scenario, registries=5)


@on_both_databases
@both_policies
def test_of_fifty_boards_with_one_key_and_nonces_of_one_moment_one_wins(run, again):
    async def scenario(*registries):
        profile = await new_profile(registries[0], again)
        await with_history(registries[0], profile)
        requests = [await by_proof(registries[0], profile, token=f"token-of-{n}") for n in range(50)]
        sent = zip(requests, registries * 10, strict=True)
        outcomes = await asyncio.gather(*(registry.provision(request, SOURCE) for request, registry in sent))
        assert [each.status for each in outcomes].count(Status.SUCCESS) == 1
        (token,) = [each.credentials.id for each in outcomes if each.status is Status.SUCCESS]
        found = [await registries[0].token_login(request.token) for request in requests]
        assert [each.name for each in found if each] == ["press-4"]
        assert (await registries[0].device("press-4")).credentials == access_token(token)
        assert await whole(registries[0]) == ([("press-4", 1)], 1)

    run(scenario, registries=5)


@on_both_databases
def test_of_fifty_boards_with_one_proof_one_makes_the_device(run):
    async def scenario(*registries):
        profile = await new_profile(registries[0])
        request = await by_proof(registries[0], profile, token="the-first")
        outcomes = await asyncio.gather(*(each.provision(request, SOURCE) for each in registries * 10))
        assert [each.status for each in outcomes].count(Status.SUCCESS) == 1
        assert await whole(registries[0]) == ([("press-4", 1)], 1)

    run(scenario, registries=5)


@on_both_databases
def test_of_fifty_boards_with_one_proof_one_is_handed_over_what_was_made_ahead(run):
    async def scenario(*registries):
        profile = await new_profile(registries[0], strategy=CHECK)
        await registries[0].create_device("press-4", "mine", token="its-token")
        request = await by_proof(registries[0], profile)
        outcomes = await asyncio.gather(*(each.provision(request, SOURCE) for each in registries * 10))
        assert [each.status for each in outcomes].count(Status.SUCCESS) == 1
        assert (await registries[0].provision(request)).why == "replayed"

    run(scenario, registries=5)


# Kept.

REQUESTED = [
    ({"token": "the-second"}, MqttLogin(username="the-second")),
    (
        {"credentials_type": CredentialsType.MQTT_BASIC, "client_id": "c", "username": "u", "password": "p"},
        MqttLogin(client_id="c", username="u", password="p"),
    ),
    ({"credentials_type": CredentialsType.X509_CERTIFICATE, "certificate": "TUFERQ=="}, None),
    ({}, None),
]


@on_both_databases
@pytest.mark.parametrize(("fields", "login"), REQUESTED, ids=["token", "basic", "certificate", "server's"])
def test_device_that_is_kept_has_other_credentials_and_all_else(run, fields, login):
    async def scenario(registry):
        profile = await new_profile(registry)
        device_id = await with_history(registry, profile)
        before = await registry.read(devices.get, device_id)
        outcome = await provision(registry, profile, **fields)
        assert (outcome.status, outcome.why, outcome.ended) == (Status.SUCCESS, "keep", device_id)
        after = await registry.read(devices.get, device_id)
        kept = ("name", "label", "customer_id", "created_ms", "activated_ms", "provisioned_ms", "associated_ms")
        assert {name: getattr(after, name) for name in kept} == {name: getattr(before, name) for name in kept}
        view = await registry.device("press-4")
        assert view.credentials == outcome.credentials
        assert (view.telemetry, view.attributes["CLIENT_SCOPE"]) == ({"t": 21.5}, {"serial": "s-1"})
        assert view.attributes["SERVER_SCOPE"] == {"provisionState": "provisioned"}
        assert await registry.token_login("the-first") is None
        found = None
        if login:
            found = await registry.login(login)
        elif "certificate" in fields:
            found = await registry.certificate_login(fields["certificate"])
        else:
            found = await registry.token_login(outcome.credentials.id)
        assert found.id == device_id
        assert (await trail(registry))[-2:] == [
            ("device.credentials_updated", "press-4", "SUCCESS"),
            ("provision", "press-4", "SUCCESS"),
        ]

    run(scenario)


@on_both_databases
@both_policies
def test_credentials_that_are_replaced_are_withdrawn(run, again):
    async def scenario(registry):
        profile = await new_profile(registry, again)
        device_id = await with_history(registry, profile)
        withdrawn = []
        registry.changes.listen_withdrawals(withdrawn.append)
        await provision(registry, profile, token="the-second")
        await asyncio.sleep(0)
        assert withdrawn == [Withdrawal(device_id, "press-4", access_token("the-first"))]

    run(scenario)


@on_both_databases
def test_device_that_has_these_credentials_is_kept_with_its_sessions(run):
    async def scenario(registry):
        profile = await new_profile(registry)
        await with_history(registry, profile)
        outcome = await provision(registry, profile, token="the-first")
        assert (outcome.status, outcome.why, outcome.ended) == (Status.SUCCESS, "keep", None)
        assert ("device.credentials_updated", "press-4", "SUCCESS") not in await trail(registry)

    run(scenario)


@on_both_databases
def test_device_that_was_made_ahead_is_handed_over_the_same_again(run):
    async def scenario(registry):
        profile = await new_profile(registry, strategy=CHECK)
        await registry.create_device("press-4", "mine", token="its-token")
        for why in ("", "keep", "keep"):
            outcome = await provision(registry, profile, token="asked-for")
            assert (outcome.status, outcome.why) == (Status.SUCCESS, why)
            assert outcome.credentials == access_token("its-token")
        secret = request_for(profile, device_name="press-4")
        assert (await registry.provision(secret)).why == "not_proven"

    run(scenario)


# Reset.


@on_both_databases
def test_device_that_is_reset_is_a_new_one_of_its_name(run):
    async def scenario(registry):
        profile = await new_profile(registry, Again.RESET)
        device_id = await with_history(registry, profile)
        outcome = await provision(registry, profile, token="the-first")
        assert (outcome.status, outcome.why, outcome.ended) == (Status.SUCCESS, "reset", device_id)
        new = await registry.read(devices.by_name, "press-4")
        assert new.id != device_id
        assert (new.customer_id, new.associated_ms, new.additional_info) == (None, None, None)
        view = await registry.device("press-4")
        assert (view.telemetry, view.attributes) == ({}, {"SERVER_SCOPE": {"provisionState": "provisioned"}})
        assert (await registry.token_login("the-first")).id == new.id
        rows = await registry.read(lambda session: audit.find(session, limit=2))
        seen = [(row.what, row.result, row.entity_id) for row in reversed(rows)]
        assert seen == [("device.deleted", "SUCCESS", device_id), ("provision", "SUCCESS", new.id)]

    run(scenario)


# The profile's side.


@on_both_databases
def test_policy_needs_a_group_key_and_the_group_key_stays_while_it_is_needed(run):
    async def scenario(registry):
        await registry.create_profile("mine", CREATE)
        await registry.create_profile("ahead", CHECK)
        await registry.create_profile("off", ProvisionType.DISABLED)

        def work(name, function):
            return registry.write(lambda session: function(session, profiles.by_name(session, name)))

        for again in (Again.KEEP, Again.RESET):
            with pytest.raises(Refused, match="bench profile group-key mine"):
                await work("mine", lambda _, profile, again=again: group_keys.set_again(profile, again))
        with pytest.raises(Refused, match="DISABLED"):
            await work("off", group_keys.replace)
        await work("ahead", group_keys.replace)
        with pytest.raises(Refused, match="use keep"):
            await work("ahead", lambda _, profile: group_keys.set_again(profile, Again.RESET))
        await work("ahead", lambda _, profile: group_keys.set_again(profile, Again.KEEP))
        with pytest.raises(Refused, match="bench profile again ahead refuse"):
            await work("ahead", lambda _, profile: group_keys.remove(profile))
        await work("ahead", lambda _, profile: group_keys.set_again(profile, Again.REFUSE))
        await work("ahead", lambda _, profile: group_keys.remove(profile))
        assert (await registry.profile("ahead")).group_key == ""

    run(scenario)


@on_both_databases
def test_group_key_that_is_replaced_opens_nothing(run):
    async def scenario(registry):
        old = await new_profile(registry)
        await with_history(registry, old)
        await registry.write(lambda session: group_keys.replace(session, profiles.by_name(session, "mine")))
        assert (await provision(registry, old)).status is Status.NOT_FOUND
        new = await registry.profile("mine")
        assert len(new.group_key) == 64
        assert new.group_key != old.group_key
        assert (await provision(registry, new)).why == "keep"

    run(scenario)


@on_both_databases
@both_policies
def test_policy_or_strategy_that_is_another_by_now_counts(run, again):
    async def scenario(registry):
        profile = await new_profile(registry, again)
        await with_history(registry, profile)
        for values in ({"provision_type": CHECK.value}, {"again": "refuse"}):
            request = await by_proof(registry, profile)

            def alter(session, values=values):
                session.connection().execute(update(Profile).values(values))

            decide, write = registry._commits.submit, registry.write

            async def late(batch, item, decide=decide, alter=alter, write=write):
                outcome = await decide(batch, item)
                await write(alter)
                return outcome

            registry._commits.submit = late
            outcome = await registry.provision(request)
            registry._commits.submit = decide
            if again is Again.KEEP and "provision_type" in values:
                assert outcome.credentials == access_token("the-first")
            else:
                assert outcome.why == "policy"
            await write(partial(_restore, again=again))

    run(scenario)


def _restore(session, again):
    session.connection().execute(update(Profile).values(provision_type=CREATE.value, again=again.value))


@on_both_databases
def test_keys_of_devices_follow_from_the_group_key_by_hmac(run):
    async def scenario(registry):
        profile = await new_profile(registry)

        def keys(session, *names):
            return group_keys.device_keys(session, profiles.by_name(session, "mine"), names)

        expected = [reference(profile.group_key, name) for name in ("press-4", "press-5")]
        assert await registry.read(keys, "press-4", " press-5 ") == expected
        with pytest.raises(Refused, match="name it"):
            await registry.read(keys, "press-4", " ")

    run(scenario)


@on_both_databases
def test_group_key_is_nowhere_in_clear(run, tmp_path, database):
    async def scenario(registry):
        profile = await new_profile(registry)
        await with_history(registry, profile)
        await provision(registry, profile)
        await provision(registry, profile, name="press-5")
        return profile.group_key, claim_secret(profile.group_key, "press-4"), repr(profile)

    *found, shown = run(scenario)
    assert holding(everything(tmp_path, database), found) == []
    assert not any(each in shown for each in found)
