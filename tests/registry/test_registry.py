"""The registry: who gets a device and with which token, races, and what is on the disk."""

import asyncio
import re
import uuid

import pytest
from sqlalchemy import select

from bench.contract.credentials import CredentialsType
from bench.contract.releases import release
from bench.errors import UsageError
from bench.registry import devices, profiles, timeseries
from bench.registry.batching import Conflict
from bench.registry.credentials import access_token
from bench.registry.model import Device
from bench.registry.profiles import Strategy
from bench.registry.provision_type import ProvisionType
from bench.registry.provisioning import ProvisionRequest, Status
from bench.registry.registry import Registry
from tests.support.servers import on_both_databases

pytestmark = on_both_databases

CREATE = ProvisionType.ALLOW_CREATE_NEW_DEVICES
CHECK = ProvisionType.CHECK_PRE_PROVISIONED_DEVICES
DISABLED = ProvisionType.DISABLED
BY_SECRET = [each for each in ProvisionType if each is not ProvisionType.X509_CERTIFICATE_CHAIN]
SUCCESS, NOT_FOUND, FAILURE = Status.SUCCESS, Status.NOT_FOUND, Status.FAILURE

RANDOM = re.compile(r"[A-Za-z0-9]{20}")
PROVISIONED = {"SERVER_SCOPE": {"provisionState": "provisioned"}}


def request_for(profile, **fields):
    return ProvisionRequest(**{"key": profile.provision_key, "secret": profile.provision_secret, **fields})


async def names(registry):
    return [device.name for device in await registry.devices()]


# The decision table.

WRONG = [
    {"secret": "wrong"},
    {"key": "wrong"},
    {"key": "a\0b"},
    {"key": "wrong", "secret": "wrong"},
    {"key": ""},
    {"secret": ""},
    {"key": "", "secret": ""},
]


@pytest.mark.parametrize("strategy", BY_SECRET)
@pytest.mark.parametrize("wrong", WRONG, ids=range(len(WRONG)))
def test_wrong_key_or_secret_is_not_found_whatever_the_device(run, strategy, wrong):
    async def scenario(registry):
        profile = await registry.create_profile("mine", strategy)
        await registry.create_profile("other", CHECK)
        await registry.create_device("same", "mine")
        await registry.create_device("foreign", "other")
        before = await registry.devices()
        for name in ("", "absent", "same", "foreign", "bad{{name}}"):
            for token in ("", "a-token"):
                outcome = await registry.provision(request_for(profile, device_name=name, token=token, **wrong))
                assert outcome.status is NOT_FOUND, (name, token)
                assert outcome.credentials is None
        assert await registry.devices() == before

    run(scenario)


@pytest.mark.parametrize(
    ("strategy", "device", "status"),
    [
        (DISABLED, "absent", NOT_FOUND),
        (DISABLED, "same profile", NOT_FOUND),
        (DISABLED, "other profile", NOT_FOUND),
        (DISABLED, "provisioned before", NOT_FOUND),
        (DISABLED, "not named", NOT_FOUND),
        (CREATE, "absent", SUCCESS),
        (CREATE, "same profile", FAILURE),
        (CREATE, "other profile", FAILURE),
        (CREATE, "provisioned before", FAILURE),
        (CREATE, "not named", SUCCESS),
        (CHECK, "absent", FAILURE),
        (CHECK, "same profile", SUCCESS),
        (CHECK, "other profile", FAILURE),
        (CHECK, "provisioned before", FAILURE),
        (CHECK, "not named", FAILURE),
    ],
)
def test_right_secret_decides_by_strategy_and_device(run, strategy, device, status):
    async def scenario(registry):
        profile = await registry.create_profile("mine", strategy)
        await registry.create_profile("other", CREATE)
        if device in {"same profile", "provisioned before"}:
            await registry.create_device("name", "mine", token="its-token")
        elif device == "other profile":
            await registry.create_device("name", "other", token="its-token")
        if device == "provisioned before":
            await mark_provisioned(registry, "provisioned")
        before = await names(registry)
        name = "" if device == "not named" else "name"
        outcome = await registry.provision(request_for(profile, device_name=name, token="asked-for"))
        assert outcome.status is status
        after = await names(registry)
        if status is not SUCCESS:
            assert after == before
            assert outcome.credentials is None
        elif strategy is CHECK:
            assert outcome.credentials == access_token("its-token")
            assert after == before
            assert (await registry.device("name")).attributes == PROVISIONED
        else:
            assert outcome.credentials == access_token("asked-for")
            (created,) = set(after) - set(before)
            assert created == name or RANDOM.fullmatch(created)
            made = await registry.device(created)
            assert (made.profile, made.credentials.id, made.attributes) == ("mine", "asked-for", PROVISIONED)

    run(scenario)


async def mark_provisioned(registry, value):
    def mark(session):
        for device_id in session.scalars(select(Device.id)).all():
            timeseries.set_attributes(session, device_id, "SERVER_SCOPE", {"provisionState": value})

    await registry.write(mark)


def test_blank_name_is_failure_even_with_a_wrong_key(run):
    async def scenario(registry):
        for strategy in BY_SECRET:
            profile = await registry.create_profile(strategy, strategy)
            for name in (" ", "\t\n\r ", "\0", "\x1f\x01"):
                for fields in ({}, *WRONG):
                    outcome = await registry.provision(request_for(profile, device_name=name, **fields))
                    assert outcome.status is FAILURE
        assert await names(registry) == []

    run(scenario)


def test_key_of_a_chain_profile_is_failure_whatever_the_secret(run):
    """It stands for certificates: there is no secret that a request could know."""

    async def scenario(registry):
        strategy = Strategy(
            type=ProvisionType.X509_CERTIFICATE_CHAIN, secret="QUJD", certificate_pattern="(.*)", allow_create=True
        )
        key = await registry.write(lambda session: profiles.create(session, "chain", strategy).provision_key)
        for secret in ("QUJD", "wrong"):
            for name in ("", "name"):
                outcome = await registry.provision(ProvisionRequest(key=key, secret=secret, device_name=name))
                assert outcome.status is FAILURE
        assert (await registry.provision(ProvisionRequest(key=key, secret=""))).status is NOT_FOUND
        assert await names(registry) == []

    run(scenario)


def test_secret_of_another_profile_is_not_found(run):
    async def scenario(registry):
        mine = await registry.create_profile("mine", CREATE)
        other = await registry.create_profile("other", CREATE)
        outcome = await registry.provision(request_for(mine, secret=other.provision_secret))
        assert outcome.status is NOT_FOUND
        for near in (
            mine.provision_secret[:-1],
            mine.provision_secret + " ",
            " " + mine.provision_secret,
            mine.provision_secret.swapcase(),
        ):
            assert (await registry.provision(request_for(mine, secret=near))).status is NOT_FOUND
            assert (await registry.provision(request_for(mine, key=near, secret=near))).status is NOT_FOUND
        assert await names(registry) == []

    run(scenario)


def test_pre_provisioned_device_is_handed_over_once_until_it_is_re_armed(run):
    async def scenario(registry):
        profile = await registry.create_profile("mine", CHECK)
        await registry.create_device("name", "mine", token="its-token")
        request = request_for(
            profile,
            device_name=" name\n",
            gateway=True,
            credentials_type=CredentialsType.LWM2M_CREDENTIALS,
            password="x",
        )
        assert (await registry.provision(request)).credentials.id == "its-token"
        assert (await registry.provision(request)).status is FAILURE
        device = await registry.read(devices.by_name, "name")
        gone = await registry.write(timeseries.delete_attributes, device.id, "SERVER_SCOPE", ["provisionState"])
        assert gone == ["provisionState"]
        assert (await registry.provision(request)).credentials.id == "its-token"

    run(scenario)


@pytest.mark.parametrize("value", ["something", None, False, ""])
def test_any_other_provision_state_is_failure(run, value):
    async def scenario(registry):
        profile = await registry.create_profile("mine", CHECK)
        await registry.create_device("name", "mine")
        await mark_provisioned(registry, value)
        assert (await registry.provision(request_for(profile, device_name="name"))).status is FAILURE

    run(scenario)


def test_older_releases_hand_a_provisioned_device_over_again(tmp_path, database):
    async def scenario():
        registry = await Registry.open(tmp_path / "data", database, release("4.2.1"))
        try:
            profile = await registry.create_profile("mine", CHECK)
            await registry.create_device("name", "mine", token="its-token")
            request = request_for(profile, device_name="name")
            again = await asyncio.gather(*(registry.provision(request) for _ in range(3)))
            assert [each.credentials and each.credentials.id for each in again] == ["its-token"] * 3
            assert (await registry.provision(request)).credentials.id == "its-token"
            for other in ("something", "another"):
                await mark_provisioned(registry, other)
                assert (await registry.provision(request)).status is FAILURE
        finally:
            await registry.close()

    asyncio.run(scenario())


def test_provision_state_that_the_device_set_itself_does_not_count(run):
    async def scenario(registry):
        profile = await registry.create_profile("mine", CHECK)
        await registry.create_device("name", "mine", token="its-token")
        login = await registry.token_login("its-token")
        await registry.save_attributes(login.id, {"provisionState": "provisioned"})
        assert (await registry.provision(request_for(profile, device_name="name"))).status is SUCCESS

    run(scenario)


# Credentials that are asked for.


@pytest.mark.parametrize("credentials_type", list(CredentialsType))
def test_credentials_type_without_material_is_ignored(run, credentials_type):
    async def scenario(registry):
        profile = await registry.create_profile("mine", CREATE)
        outcome = await registry.provision(request_for(profile, device_name="name", credentials_type=credentials_type))
        assert (outcome.status, outcome.credentials.type) == (SUCCESS, "ACCESS_TOKEN")
        assert RANDOM.fullmatch(outcome.credentials.id)
        assert (await registry.device("name")).credentials.id == outcome.credentials.id

    run(scenario)


@pytest.mark.parametrize(
    "fields",
    [
        {"username": "u"},
        {"password": "p"},
        {"client_id": "c"},
        {"certificate": "h"},
        {"token": "abc\n"},
        {"token": "\0"},
        {"token": "a\x1fb"},
        {"token": "a\x7f"},
        {"credentials_type": CredentialsType.LWM2M_CREDENTIALS, "token": "t"},
    ],
)
def test_material_that_makes_no_token_is_failure_and_nothing_remains(run, fields):
    async def scenario(registry):
        profile = await registry.create_profile("mine", CREATE)
        assert (await registry.provision(request_for(profile, device_name="name", **fields))).status is FAILURE
        assert await names(registry) == []
        assert (await registry.provision(request_for(profile, device_name="name"))).status is SUCCESS

    run(scenario)


@pytest.mark.parametrize(
    "token", ["t", " spaced ", "é漢😀", "x" * 5000, "'; DROP TABLE device; --", "a:b/c?d#e%f", "%"]
)
def test_any_other_token_is_taken_as_it_is(run, token):
    async def scenario(registry):
        profile = await registry.create_profile("mine", CREATE)
        fields = {"username": "ignored", "client_id": "ignored", "certificate": "ignored"}
        outcome = await registry.provision(request_for(profile, device_name="name", token=token, **fields))
        assert outcome.credentials.id == token
        assert (await registry.token_login(token)).name == "name"
        for other in (token + " ", token[:-1], "T"):
            assert await registry.token_login(other) is None

    run(scenario)


def test_token_is_unique_over_all_profiles(run):
    async def scenario(registry):
        first = await registry.create_profile("first", CREATE)
        second = await registry.create_profile("second", CREATE)
        assert (await registry.provision(request_for(first, device_name="a", token="same"))).status is SUCCESS
        for profile in (first, second):
            assert (await registry.provision(request_for(profile, device_name="b", token="same"))).status is FAILURE
        with pytest.raises(UsageError):
            await registry.create_device("c", "first", token="same")
        assert await names(registry) == ["a"]
        assert (await registry.token_login("same")).name == "a"

    run(scenario)


@pytest.mark.parametrize(("gateway", "info"), [(True, {"gateway": True}), (False, None)])
def test_new_device_is_a_gateway_if_requested(run, gateway, info):
    async def scenario(registry):
        profile = await registry.create_profile("mine", CREATE)
        assert (await registry.provision(request_for(profile, device_name="name", gateway=gateway))).status is SUCCESS
        assert await registry.read(lambda session: devices.by_name(session, "name").additional_info) == info

    run(scenario)


def test_generated_names_and_tokens_differ(run):
    async def scenario(registry):
        profile = await registry.create_profile("mine", CREATE)
        outcomes = [await registry.provision(request_for(profile)) for _ in range(20)]
        assert all(RANDOM.fullmatch(outcome.credentials.id) for outcome in outcomes)
        assert all(RANDOM.fullmatch(outcome.device_name) for outcome in outcomes)
        assert len({outcome.credentials.id for outcome in outcomes}) == 20
        assert len(await names(registry)) == 20

    run(scenario)


# Names.


@pytest.mark.parametrize(
    "name",
    [
        "x" * 256,
        "😀" * 128,
        "{{x}}",
        "a{{}}b",
        "{{\n}}",
        "<script>",
        "<b>x</b>",
        "a<b",
        "</b>",
        "<!--",
        "<?xml",
        "a\0b",
    ],
)
def test_name_that_no_new_device_may_have_is_failure(run, name):
    async def scenario(registry):
        profile = await registry.create_profile("mine", CREATE)
        assert (await registry.provision(request_for(profile, device_name=name))).status is FAILURE
        with pytest.raises(UsageError):
            await registry.create_device(name, "mine")
        assert await names(registry) == []

    run(scenario)


ACCEPTED = [
    "a < b",
    "A&B",
    "x>y",
    "'quoted\"",
    "#",
    ":",
    "a\tb",
    "漢字",
    "😀",
    "{x}",
    "{{",
    "}}{{",
    "<1",
    "%s",
    "x" * 255,
]


def test_names_that_look_odd_are_accepted(run):
    accepted = [*ACCEPTED, "😀" * 127]

    async def scenario(registry):
        profile = await registry.create_profile("mine", CREATE)
        for name in accepted:
            assert (await registry.provision(request_for(profile, device_name=name))).status is SUCCESS, name
        assert sorted(await names(registry)) == sorted(accepted)

    run(scenario)


def test_name_is_trimmed_as_java_does_and_compared_case_by_case(run):
    async def scenario(registry):
        profile = await registry.create_profile("mine", CREATE)
        assert (await registry.provision(request_for(profile, device_name="\0\t name \x1f\n"))).status is SUCCESS
        assert (await registry.provision(request_for(profile, device_name="name"))).status is FAILURE
        assert (await registry.provision(request_for(profile, device_name=" name"))).status is FAILURE
        assert (await registry.provision(request_for(profile, device_name="Name"))).status is SUCCESS
        assert (await registry.provision(request_for(profile, device_name="\u00a0name"))).status is SUCCESS
        assert sorted(await names(registry)) == ["Name", "name", "\u00a0name"]

    run(scenario)


# Races.


def statuses(outcomes):
    return sorted(outcome.status for outcome in outcomes)


@pytest.mark.parametrize("registries", [1, 2])
def test_of_fifty_requests_for_one_name_exactly_one_succeeds(run, registries):
    async def scenario(*opened):
        profile = await opened[0].create_profile("mine", CREATE)
        requests = [request_for(profile, device_name="name", token=f"token-{n}") for n in range(50)]
        outcomes = await asyncio.gather(*(opened[n % registries].provision(each) for n, each in enumerate(requests)))
        assert statuses(outcomes) == [FAILURE] * 49 + [SUCCESS]
        (winner,) = (outcome for outcome in outcomes if outcome.status is SUCCESS)
        for registry in opened:
            (device,) = await registry.devices()
            assert device.credentials.id == winner.credentials.id

    run(scenario, registries=registries)


@pytest.mark.parametrize("registries", [1, 2])
def test_of_fifty_requests_with_one_token_exactly_one_succeeds(run, registries):
    async def scenario(*opened):
        profile = await opened[0].create_profile("mine", CREATE)
        requests = [request_for(profile, device_name=f"name-{n}", token="token") for n in range(50)]
        outcomes = await asyncio.gather(*(opened[n % registries].provision(each) for n, each in enumerate(requests)))
        assert statuses(outcomes) == [FAILURE] * 49 + [SUCCESS]
        assert len(await opened[0].devices()) == 1

    run(scenario, registries=registries)


@pytest.mark.parametrize("registries", [1, 2])
def test_of_two_first_requests_of_a_pre_provisioned_device_exactly_one_succeeds(run, registries):
    async def scenario(*opened):
        profile = await opened[0].create_profile("mine", CHECK)
        for round_ in range(10):
            await opened[0].create_device(f"name-{round_}", "mine")
            request = request_for(profile, device_name=f"name-{round_}")
            outcomes = await asyncio.gather(opened[0].provision(request), opened[-1].provision(request))
            assert statuses(outcomes) == [FAILURE, SUCCESS]

    run(scenario, registries=registries)


def test_requests_of_two_registries_do_not_disturb_each_other(run):
    async def scenario(*opened):
        profile = await opened[0].create_profile("mine", CREATE)
        outcomes = await asyncio.gather(
            *(opened[n % 2].provision(request_for(profile, device_name=f"name-{n}")) for n in range(100))
        )
        assert statuses(outcomes) == [SUCCESS] * 100
        assert len(await opened[1].devices()) == 100

    run(scenario, registries=2)


def test_many_requests_at_once_share_commits(run):
    async def scenario(registry):
        profile = await registry.create_profile("mine", CREATE)
        await asyncio.gather(*(registry.provision(request_for(profile)) for _ in range(600)))
        assert len(await registry.devices()) == 600
        assert registry.commits < 60

    run(scenario)


def test_one_that_loses_a_race_takes_no_other_with_it(run):
    async def scenario(registry):
        await registry.create_profile("mine", CHECK)
        await registry.create_device("name", "mine", token="its-token")
        login = await registry.token_login("its-token")
        results = await asyncio.gather(
            registry.save_telemetry(login.id, [(0, "first", 1)]),
            registry.save_telemetry(uuid.uuid4(), [(0, "deleted", 1)]),
            registry.save_telemetry(login.id, [(0, "second", 2)]),
            registry.save_attributes(uuid.uuid4(), {"deleted": 1}),
            registry.save_attributes(login.id, {"third": 3}),
            return_exceptions=True,
        )
        assert [type(result) for result in results] == [type(None), Conflict, type(None), Conflict, type(None)]
        device = await registry.device("name")
        assert device.telemetry == {"first": 1, "second": 2}
        assert device.attributes == {"CLIENT_SCOPE": {"third": 3}}

    run(scenario)


def test_request_that_nobody_waits_for_any_more_stops_nothing(run):
    async def scenario(registry):
        profile = await registry.create_profile("mine", CREATE)
        given_up = asyncio.ensure_future(registry.provision(request_for(profile, device_name="given up")))
        await asyncio.sleep(0)
        given_up.cancel()
        assert (await registry.provision(request_for(profile, device_name="name"))).status is SUCCESS
        assert "name" in await names(registry)

    run(scenario)
