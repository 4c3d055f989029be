"""The life of a device's record: each step, what moves it and what does not, and who is let in."""

import asyncio

import pytest

from bench.errors import NotFound, Refused
from bench.registry import (
    audit,
    chains,
    claims,
    customers,
    devices,
    lifecycle,
    profiles,
    rotation,
    sub_devices,
    tombstones,
)
from bench.registry.audit import UNKNOWN_ORIGIN
from bench.registry.batching import Conflict
from bench.registry.chains import Chain
from bench.registry.credentials import CredentialsRequest, MqttLogin, access_token, lwm2m, mqtt_basic, sha3, x509
from bench.registry.device_states import Access, ProvisioningState
from bench.registry.device_states import Status as DeviceStatus
from bench.registry.model import CLIENT_SCOPE, Tombstone
from bench.registry.profiles import Strategy
from bench.registry.provision_type import ProvisionType
from bench.registry.provisioning import ProvisionRequest, Status
from bench.registry.sub_devices import Wanted
from tests.support.servers import on_both_databases

pytestmark = on_both_databases
CREATE, CHECK = ProvisionType.ALLOW_CREATE_NEW_DEVICES, ProvisionType.CHECK_PRE_PROVISIONED_DEVICES
DEFINED, ACTIVATED, PROVISIONED, ASSOCIATED = ProvisioningState
MANY = 50
LWM2M = '{"client": {"securityConfigClientMode": "NO_SEC", "endpoint": "end"}, "bootstrap": {}}'


async def device(registry, name="d"):
    return await registry.read(devices.by_name, name)


async def state(registry, name="d"):
    """The state of a device; its steps' times are as its state says, and none is later than one that follows."""
    found = await device(registry, name)
    reached = lifecycle.provisioning_state(found)
    times = [found.activated_ms, found.provisioned_ms]
    known = [each for each in times if each is not None]
    assert known == sorted(known)
    assert known == times[: len(known)]
    return reached


async def change(registry, function, name="d"):
    return await registry.write(lambda session: function(devices.by_name(session, name)))


async def decommission(registry, name="d"):
    return await registry.write(lambda session: lifecycle.decommission(session, devices.by_name(session, name)))


async def provision(registry, profile, name="d", **fields):
    request = ProvisionRequest(key=profile.provision_key, secret=profile.provision_secret, device_name=name, **fields)
    return (await registry.provision(request)).status


async def token_login(registry, token):
    """Log in as the server's device API does."""
    found = await registry.token_login(token)
    if found is not None:
        await registry.logged_in(found)
    return found


async def gateway_of(registry):
    def make(session):
        return devices.create(session, "gateway", profiles.by_name(session, "mine")).id

    return await registry.write(make)


# How far it has come.


def test_state_of_an_operators_device_moves_with_its_credentials_and_its_first_login(run):
    async def scenario(registry):
        await registry.create_profile("mine", CREATE)
        await registry.create_device("d", "mine")
        assert await state(registry) is DEFINED
        version = (await device(registry)).version
        found = await device(registry)
        assert not await registry.write(devices.set_credentials, found.id, (await registry.device("d")).credentials)
        assert await state(registry) is DEFINED  # it has them already: nothing was issued
        assert await registry.write(devices.set_credentials, found.id, access_token("first"))
        assert await state(registry) is ACTIVATED
        activated = (await device(registry)).activated_ms
        assert await registry.write(devices.set_credentials, found.id, access_token("second"))
        assert (await device(registry)).activated_ms == activated
        assert await token_login(registry, "first") is None
        assert await state(registry) is ACTIVATED
        assert (await token_login(registry, "second")).is_first
        assert await state(registry) is PROVISIONED
        first = await device(registry)
        assert (first.activated_ms, first.version) == (activated, version)  # nobody's copy of it is out of date
        assert not (await token_login(registry, "second")).is_first
        assert await registry.write(devices.set_credentials, found.id, access_token("third"))
        assert await token_login(registry, "third")
        assert (await device(registry)).provisioned_ms == first.provisioned_ms

    run(scenario)


def test_state_of_a_device_with_chosen_credentials_is_activated_and_a_login_provisions_a_random_one(run):
    async def scenario(registry):
        await registry.create_profile("mine", CREATE)
        await registry.create_device("chosen", "mine", token="t")
        assert await state(registry, "chosen") is ACTIVATED
        await registry.create_device("random", "mine")
        assert await token_login(registry, (await registry.device("random")).credentials.id)
        assert await state(registry, "random") is PROVISIONED

    run(scenario)


def test_state_of_a_device_that_provisions_is_provisioned(run):
    async def scenario(registry):
        creates, checks = [await registry.create_profile(f"by-{each}", each) for each in (CREATE, CHECK)]
        assert await provision(registry, creates) is Status.SUCCESS
        await registry.create_device("pre", "by-CHECK_PRE_PROVISIONED_DEVICES")
        assert await provision(registry, creates, "pre") is Status.FAILURE
        assert await state(registry, "pre") is DEFINED
        assert await provision(registry, checks, "pre") is Status.SUCCESS
        strategy = Strategy(
            type=ProvisionType.X509_CERTIFICATE_CHAIN, secret="QUJD", certificate_pattern="(.*)", allow_create=True
        )
        await registry.write(profiles.create, "chain", strategy)
        chain = Chain(certificates=("LEAF", "QUJD"), common_name="by-chain")
        assert (await registry.provision_chain(chain)).status is Status.SUCCESS
        gateway_id = await gateway_of_profile(registry, "chain")
        await registry.write(sub_devices.connect, gateway_id, {"behind": Wanted(profile="chain")}, UNKNOWN_ORIGIN)
        for name in ("d", "pre", "by-chain", "behind"):
            assert await state(registry, name) is PROVISIONED, name

    run(scenario)


async def gateway_of_profile(registry, profile):
    return await registry.write(lambda s: devices.create(s, "gateway", profiles.by_name(s, profile)).id)


def test_state_is_associated_by_the_first_claim_and_never_goes_back(run):
    async def scenario(registry):
        await registry.create_profile("mine", CREATE)
        await registry.create_device("d", "mine")
        device_id = (await device(registry)).id
        customer = await registry.write(customers.save, "Acme")

        async def claim(secret):
            await registry.write(claims.offer, device_id, "secret", None)
            return await registry.write(lambda s: claims.claim(s, devices.get(s, device_id), customer, secret))

        async def assign(customer_id):
            await change(registry, lambda each: setattr(each, "customer_id", customer_id))

        assert await claim("wrong") is claims.ClaimResult.FAILURE
        await assign(customer.id)
        await assign(None)
        assert await state(registry) is DEFINED  # an operator's hand is no claim
        assert await claim("secret") is claims.ClaimResult.SUCCESS
        assert await state(registry) is ASSOCIATED
        first = (await device(registry)).associated_ms
        await assign(None)
        assert await state(registry) is ASSOCIATED
        assert await claim("secret") is claims.ClaimResult.SUCCESS
        await registry.write(devices.set_credentials, device_id, access_token("other"))
        assert await token_login(registry, "other")
        found = await device(registry)
        assert lifecycle.provisioning_state(found) is ASSOCIATED
        assert found.associated_ms == first

    run(scenario)


# What it is doing.


def test_status_is_what_an_online_device_reports(run):
    async def scenario(registry):
        await registry.create_profile("mine", CREATE)
        await registry.create_device("d", "mine", token="t")
        device_id = (await device(registry)).id

        async def status():
            return (await registry.read(lifecycle.statuses, [device_id]))[device_id]

        assert await status() == "provisioning"
        await token_login(registry, "t")
        assert await status() == "offline"
        await registry.save_online(device_id, True)
        assert await status() == "online"
        for report in DeviceStatus:
            await registry.save_attributes(device_id, {"status": report.value}, CLIENT_SCOPE)
            assert await status() == report
        for unknown in ("", "fine", "onlin", None, 1, ["error"], {"error": 1}):
            await registry.save_attributes(device_id, {"status": unknown}, CLIENT_SCOPE)
            assert await status() == "online"
        await registry.save_attributes(device_id, {"status": "error"}, CLIENT_SCOPE)
        await registry.save_online(device_id, False)
        assert await status() == "offline"

    run(scenario)


# Deactivated.


def test_deactivated_device_neither_logs_in_nor_provisions_until_it_is_activated(run):
    async def scenario(registry):
        checks = await registry.create_profile("mine", CHECK)
        own = {
            "token": (access_token("t"), MqttLogin(username="t")),
            "user": (mqtt_basic("", "u", "p"), MqttLogin(client_id="any", username="u", password="p")),
            "client": (mqtt_basic("c", "", ""), MqttLogin(client_id="c")),
            "leaf": (x509("LEAF"), None),
        }

        async def is_let_in(name):
            login = own[name][1]
            return await (registry.login(login) if login else registry.certificate_login("LEAF")) is not None

        for name, (each, _) in own.items():
            await registry.write(
                lambda s, name=name, each=each: devices.create(s, name, profiles.by_name(s, "mine"), own=each)
            )
            assert await is_let_in(name)
            assert await change(registry, lifecycle.deactivate, name)
            assert not await change(registry, lifecycle.deactivate, name)
            assert lifecycle.access(await device(registry, name)) is Access.DEACTIVATED
            assert not await is_let_in(name)
            assert await provision(registry, checks, name) is Status.FAILURE
            assert "SERVER_SCOPE" not in (await registry.device(name)).attributes
            assert await change(registry, lifecycle.activate, name)
            assert not await change(registry, lifecycle.activate, name)
            assert await is_let_in(name)
            assert await provision(registry, checks, name) is Status.SUCCESS

    run(scenario)


def test_deactivated_device_is_not_renewed_rotated_or_let_through_a_gateway(run):
    async def scenario(registry):
        strategy = Strategy(
            type=ProvisionType.X509_CERTIFICATE_CHAIN, secret="QUJD", certificate_pattern="(.*)", allow_create=True
        )
        await registry.write(profiles.create, "mine", strategy)
        await registry.provision_chain(Chain(certificates=("LEAF", "QUJD"), common_name="d"))
        login = await registry.certificate_login("LEAF")
        gateway_id = await gateway_of(registry)
        await registry.write(sub_devices.connect, gateway_id, {"behind": Wanted(profile="mine")}, UNKNOWN_ORIGIN)
        for name in ("d", "behind"):
            await change(registry, lifecycle.deactivate, name)
        renewed = await registry.provision_chain(Chain(certificates=("NEW", "QUJD"), common_name="d"))
        assert (renewed.status, renewed.replaced) == (Status.FAILURE, None)
        with pytest.raises(NotFound):
            await registry.write(rotation.rotate, login, CredentialsRequest(token="new"), UNKNOWN_ORIGIN)
        assert await registry.read(sub_devices.find, gateway_id, ["behind"]) == {}
        found = await registry.write(
            sub_devices.connect, gateway_id, {"behind": Wanted(profile="mine")}, UNKNOWN_ORIGIN
        )
        assert isinstance(found["behind"], Refused)
        assert (await registry.device("d")).credentials == x509("LEAF")
        await change(registry, lifecycle.activate, "behind")
        assert await registry.read(sub_devices.find, gateway_id, ["behind"])

    run(scenario)


# Decommissioned.

FORMS = {
    "token": (access_token("secret-t"), [access_token("secret-t"), mqtt_basic("", "secret-t", "p")]),
    "user": (mqtt_basic("", "u", "p"), [mqtt_basic("", "u", "q"), mqtt_basic("new", "u", None), access_token("u")]),
    "both": (
        mqtt_basic("c", "cu", "p"),
        [mqtt_basic("c", "cu", None), mqtt_basic("c", "", ""), mqtt_basic("c", "new", ""), access_token("cu")],
    ),
    "client": (mqtt_basic("only", "", ""), [mqtt_basic("only", "", ""), mqtt_basic("only", "new", "")]),
    "leaf": (x509("LEAF"), [x509("LEAF")]),
    "lwm2m": (lwm2m(LWM2M), [lwm2m(LWM2M)]),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("deleted", [False, True])
def test_decommissioned_name_and_credentials_are_refused_for_ever(run, form, deleted):
    own, same = FORMS[form]

    async def scenario(registry):
        creates = await registry.create_profile("mine", CREATE)
        strategy = Strategy(
            type=ProvisionType.X509_CERTIFICATE_CHAIN, secret="QUJD", certificate_pattern="(.*)", allow_create=True
        )
        await registry.write(profiles.create, "chain", strategy)

        def create(session, name, own=None):
            return devices.create(session, name, profiles.by_name(session, "mine"), own=own).id

        await registry.write(create, "d", own)
        other = await registry.write(create, "other", access_token("others"))
        login = await registry.token_login("others")
        gateway_id = await gateway_of(registry)
        assert await decommission(registry)
        if deleted:
            await registry.delete_device("d")
        else:
            assert not await decommission(registry)
            for step in (lifecycle.activate, lifecycle.deactivate):
                with pytest.raises(Refused, match="decommissioned"):
                    await change(registry, step)
            with pytest.raises(Refused, match="decommissioned"):
                await registry.write(devices.set_credentials, (await device(registry)).id, access_token("new"))
        with pytest.raises(Refused):
            await registry.write(create, "d")
        with pytest.raises(Refused):
            await registry.write(lambda s: devices.rename(s, devices.get(s, other), "d"))
        assert await provision(registry, creates) is Status.FAILURE
        by_chain = Chain(certificates=("ANOTHER", "QUJD"), common_name="d")
        assert (await registry.provision_chain(by_chain)).status is Status.FAILURE
        found = await registry.write(sub_devices.connect, gateway_id, {"d": Wanted(profile="mine")}, UNKNOWN_ORIGIN)
        assert isinstance(found["d"], Refused)
        for each in same:
            with pytest.raises(Refused):
                await registry.write(create, "new", each)
            with pytest.raises(Refused):
                await registry.write(devices.set_credentials, other, each)
        if form == "leaf":
            by_leaf = Chain(certificates=("LEAF", "QUJD"), common_name="new")
            assert (await registry.provision_chain(by_leaf)).status is (Status.FAILURE if deleted else None)
        if form == "both":
            wanted = CredentialsRequest(credentials_type="MQTT_BASIC", client_id="c", username="more", password="p")
            assert await provision(registry, creates, "new", **vars(wanted)) is Status.FAILURE
            with pytest.raises(Refused):
                await registry.write(rotation.rotate, login, wanted, UNKNOWN_ORIGIN)
        names = {each.name for each in await registry.devices()}
        assert names == {"other", "gateway"} | (set() if deleted else {"d"})
        assert await provision(registry, creates, "free") is Status.SUCCESS

    run(scenario)


def test_decommissioned_device_is_let_in_until_it_is_wiped(run):
    async def scenario(registry):
        await registry.create_profile("mine", CREATE)
        await registry.create_device("d", "mine", token="t")
        device_id = (await device(registry)).id
        row = audit.entry(UNKNOWN_ORIGIN, what="device.wiped", entity="d", result=audit.SUCCESS)
        assert not await registry.write(lifecycle.wiped, device_id, row)
        await change(registry, lifecycle.deactivate)
        await decommission(registry)  # a deactivated one is to be wiped, too
        assert (await registry.token_login("t")).is_decommissioned
        assert lifecycle.is_wipe_pending(await device(registry))
        assert await registry.write(lifecycle.wiped, device_id, row)
        assert not await registry.write(lifecycle.wiped, device_id, row)
        assert len(await registry.read(lambda session: audit.find(session, limit=9, what="device.wiped"))) == 1
        assert await registry.token_login("t") is None
        found = await device(registry)
        assert (lifecycle.access(found), lifecycle.is_wipe_pending(found)) == (Access.DECOMMISSIONED, False)

    run(scenario)


def test_tombstones_hold_no_name_and_no_secret(run):
    async def scenario(registry):
        await registry.create_profile("mine", CREATE)
        await registry.create_device("a-name", "mine", token="a-token")
        await decommission(registry, "a-name")
        rows = await registry.read(lambda session: session.query(Tombstone).all())
        assert len(rows) == 2
        assert all(len(row.digest) == len(sha3("")) for row in rows)
        mine = tombstones.digests(registry.secret_box, "a-name", access_token("a-token"))
        assert {row.digest for row in rows} == mine

    run(scenario)


# Races.


async def outcomes(*coroutines):
    return await asyncio.gather(*coroutines, return_exceptions=True)


def test_one_of_many_that_deactivate_or_decommission_at_once_does_it(run):
    async def scenario(registry):
        await registry.create_profile("mine", CREATE)
        await registry.create_device("d", "mine")
        assert sum(await outcomes(*(change(registry, lifecycle.deactivate) for _ in range(MANY)))) == 1
        assert sum(await outcomes(*(decommission(registry) for _ in range(MANY)))) == 1

    run(scenario)


def test_first_logins_at_once_set_one_time(run):
    async def scenario(registry):
        await registry.create_profile("mine", CREATE)
        await registry.create_device("d", "mine", token="t")
        found = await outcomes(*(token_login(registry, "t") for _ in range(MANY)))
        assert all(each.is_first for each in found)
        first = (await device(registry)).provisioned_ms
        await outcomes(*(registry.logged_in(each) for each in found))
        assert (await device(registry)).provisioned_ms == first

    run(scenario)


def test_deactivated_while_boards_provision_is_deactivated(run):
    async def scenario(registry):
        checks = await registry.create_profile("mine", CHECK)
        await registry.create_device("d", "mine", token="t")
        *answers, done = await outcomes(
            *(provision(registry, checks) for _ in range(MANY)), change(registry, lifecycle.deactivate)
        )
        assert done is True
        assert answers.count(Status.SUCCESS) <= 1
        assert answers.count(Status.FAILURE) >= MANY - 1
        assert await registry.token_login("t") is None
        # it was handed over, or it was not: nothing of it is left in between
        given = Status.SUCCESS in answers
        assert ("SERVER_SCOPE" in (await registry.device("d")).attributes) is given
        assert await state(registry) is (PROVISIONED if given else ACTIVATED)

    run(scenario)


def test_name_of_a_device_that_is_decommissioned_and_deleted_while_boards_provision_stays_nobodys(run):
    async def scenario(registry):
        creates = await registry.create_profile("mine", CREATE)
        await registry.create_device("d", "mine", token="t")

        async def end():
            await decommission(registry)
            await registry.delete_device("d")

        tries = [provision(registry, creates, token="t" if at % 2 else f"t{at}") for at in range(MANY)]
        *answers, done = await outcomes(*tries[: MANY // 2], end(), *tries[MANY // 2 :], asyncio.sleep(0))
        assert not [each for each in (*answers, done) if isinstance(each, BaseException)]
        assert [each for each in answers if each is not None] == [Status.FAILURE] * MANY
        assert await registry.devices() == []
        assert await registry.token_login("t") is None

    run(scenario)


def test_device_made_while_its_twin_is_decommissioned_is_one_or_none(run):
    """A name is free, taken by boards, and decommissioned, all at once: there is one device, or a tombstone."""

    async def scenario(registry):
        creates = await registry.create_profile("mine", CREATE)
        for at in range(5):
            name = f"d{at}"
            answers = await outcomes(
                *(provision(registry, creates, name) for _ in range(MANY // 2)),
                *(decommission(registry, name) for _ in range(MANY // 2)),
            )
            assert answers.count(Status.SUCCESS) == 1
            assert answers.count(True) <= 1
            others = [each for each in answers if each not in (Status.SUCCESS, Status.FAILURE, True, False)]
            assert all(isinstance(each, (NotFound, Conflict)) for each in others)
            decommissioned = (await device(registry, name)).decommissioned_ms is not None
            assert decommissioned is (True in answers)

    run(scenario)


def test_chain_is_refused_for_a_device_that_is_decommissioned_meanwhile(run):
    async def scenario(registry):
        strategy = Strategy(
            type=ProvisionType.X509_CERTIFICATE_CHAIN, secret="QUJD", certificate_pattern="(.*)", allow_create=True
        )
        await registry.write(profiles.create, "mine", strategy)
        await registry.provision_chain(Chain(certificates=("LEAF", "QUJD"), common_name="d"))
        renewals = [
            registry.provision_chain(Chain(certificates=(f"LEAF{at}", "QUJD"), common_name="d")) for at in range(MANY)
        ]
        *answers, done = await outcomes(*renewals, decommission(registry))
        assert done is True
        assert {type(each) for each in answers} == {chains.ChainOutcome}
        renewed = [at for at, each in enumerate(answers) if each.replaced]
        own = (await registry.device("d")).credentials
        assert own == x509(f"LEAF{renewed[-1]}" if renewed else "LEAF")
        buried = await registry.read(
            lambda s: tombstones.found(s.connection(), tombstones.digests(registry.secret_box, "", own))
        )
        assert buried  # what it has is what nobody gets again

    run(scenario)
