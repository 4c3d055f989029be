"""Devices by their certificates: what a chain makes of a profile, branch by branch."""

import asyncio
import base64
import warnings
from pathlib import Path

import certifi
import pytest
from cryptography import x509 as x509_library
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from bench.contract.credentials import CredentialsType
from bench.errors import Refused
from bench.registry import audit, chains, devices, profiles, public_authorities
from bench.registry.audit import Origin
from bench.registry.chains import Chain
from bench.registry.credentials import access_token, mqtt_basic, sha3, trim_certificate, x509
from bench.registry.profiles import Strategy
from bench.registry.provision_type import ProvisionType
from bench.registry.provisioning import Status
from tests.support.certificates import make
from tests.support.servers import on_both_databases

SUCCESS, FAILURE = Status.SUCCESS, Status.FAILURE
CHAIN = ProvisionType.X509_CERTIFICATE_CHAIN
SOURCE = Origin("192.0.2.7", "mqtts", "0123456789ab")
PROVISIONED = {"SERVER_SCOPE": {"provisionState": "provisioned"}}


def pem(*texts):
    return "".join(f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n" for text in texts)


def chain(*certificates, name="DeviceA.company.com", **fields):
    return Chain(certificates=certificates, common_name=name, **fields)


async def new_profile(registry, *, name="mine", certificates=("ROOT",), pattern=r"(.*)\.company.com", allow=True):
    strategy = Strategy(type=CHAIN, secret=pem(*certificates), certificate_pattern=pattern, allow_create=allow)
    return await registry.write(profiles.create, name, strategy)


async def show(registry, *certificates, **fields):
    return await registry.provision_chain(chain(*certificates, **fields), SOURCE)


async def add(registry, name, profile, own):
    def create(session):
        return devices.create(session, name, profiles.by_name(session, profile), own=own).id

    return await registry.write(create)


async def trail(registry):
    """The audit trail, oldest first."""
    rows = await registry.read(lambda session: audit.find(session, limit=1000))
    return [(row.what, row.entity, row.result) for row in reversed(rows)]


async def logs_in(registry, certificate):
    found = await registry.certificate_login(certificate)
    return found.name if found else None


# Nobody's business.


@on_both_databases
def test_chain_that_no_profile_has_is_nothing_at_all(run):
    async def scenario(registry):
        await new_profile(registry)
        await registry.create_profile("by-secret", ProvisionType.ALLOW_CREATE_NEW_DEVICES, key=sha3("OTHER"))
        for certificates in (("LEAF",), ("LEAF", "ELSE"), ("OTHER",), ("LEAF", "OTHER"), ()):
            assert await show(registry, *certificates) == chains.ChainOutcome(None)
        assert await registry.devices() == []
        assert await trail(registry) == []

    run(scenario)


@on_both_databases
def test_certificate_of_a_device_is_left_alone_before_a_profile_is_looked_for(run):
    async def scenario(registry):
        await new_profile(registry)
        await registry.create_profile("other", ProvisionType.DISABLED)
        await add(registry, "known", "other", x509("KNOWN"))
        for certificates in (("KNOWN", "ROOT"), ("NEW", "KNOWN", "ROOT")):
            assert (await show(registry, *certificates)).status is None
        assert [device.name for device in await registry.devices()] == ["known"]
        # The first that says something decides: here it is the profile.
        assert (await show(registry, "NEW", "ROOT", "KNOWN")).status is SUCCESS

    run(scenario)


# Which profile.


@on_both_databases
def test_profile_of_another_strategy_with_this_key_is_passed_over(run):
    async def scenario(registry):
        for strategy in ProvisionType:
            if strategy is not CHAIN:
                await registry.create_profile(strategy, strategy, key=sha3(f"INTERMEDIATE-{strategy}"))
        await new_profile(registry)
        between = [f"INTERMEDIATE-{strategy}" for strategy in ProvisionType]
        assert (await show(registry, "LEAF", *between, "ROOT")).status is SUCCESS
        assert (await registry.device("DeviceA")).profile == "mine"

    run(scenario)


@on_both_databases
@pytest.mark.parametrize(
    ("certificates", "profile"),
    [
        (("LEAF", "NEAR", "FAR"), "near"),
        (("LEAF", "FAR", "NEAR"), "far"),
        (("LEAF", "X", "FAR"), "far"),
        (("NEAR", "FAR"), "near"),  # the leaf itself
        (("FAR",), "far"),
    ],
)
def test_profile_nearest_to_the_leaf_decides(run, certificates, profile):
    async def scenario(registry):
        await new_profile(registry, name="near", certificates=["NEAR"])
        await new_profile(registry, name="far", certificates=["FAR", "NEVER LOOKED AT"])
        assert (await show(registry, "LEAF", "NEVER LOOKED AT")).status is None
        assert (await show(registry, *certificates)).status is SUCCESS
        device = await registry.device("DeviceA")
        assert (device.profile, device.credentials) == (profile, x509(certificates[0]))

    run(scenario)


@on_both_databases
def test_two_profiles_with_one_certificate_are_refused(run):
    async def scenario(registry):
        await new_profile(registry, certificates=["ROOT", "A"])
        with pytest.raises(Refused, match="such certificate already exists"):
            await new_profile(registry, name="other", certificates=["ROOT", "B"])
        with pytest.raises(Refused, match="certificate should be specified"):
            await new_profile(registry, name="other", certificates=[])

    run(scenario)


# What becomes of the device.


@on_both_databases
@pytest.mark.parametrize("allow", [True, False])
def test_absent_device_is_made_only_where_that_is_allowed(run, allow):
    async def scenario(registry):
        await new_profile(registry, allow=allow)
        outcome = await show(registry, "LEAF", "ROOT")
        assert outcome == chains.ChainOutcome(SUCCESS if allow else FAILURE, "DeviceA")
        assert [each.name for each in await registry.devices()] == ["DeviceA"] * allow
        assert await logs_in(registry, "LEAF") == ("DeviceA" if allow else None)
        if allow:
            device = await registry.device("DeviceA")
            assert (device.profile, device.credentials, device.attributes) == ("mine", x509("LEAF"), PROVISIONED)
        assert await trail(registry) == [("provision", "DeviceA", outcome.status)]

    run(scenario)


@on_both_databases
@pytest.mark.parametrize("allow", [True, False])
def test_device_of_the_same_profile_gets_the_new_leaf(run, allow):
    async def scenario(registry):
        await new_profile(registry, allow=allow)
        device_id = await add(registry, "DeviceA", "mine", x509("OLD"))
        for leaf, before in (("NEW", "OLD"), ("NEWER", "NEW"), ("OLD", "NEWER")):
            assert await show(registry, leaf, "ROOT") == chains.ChainOutcome(SUCCESS, "DeviceA", device_id)
            assert await logs_in(registry, leaf) == "DeviceA"
            assert await logs_in(registry, before) is None
        assert (await show(registry, "OLD", "ROOT")).status is None  # nothing new
        device = await registry.device("DeviceA")
        assert (device.credentials, device.attributes) == (x509("OLD"), {})
        assert await trail(registry) == [("provision", "DeviceA", "SUCCESS")] * 3

    run(scenario)


@on_both_databases
def test_leaf_out_of_date_makes_a_device_and_replaces_none(run):
    async def scenario(registry):
        await new_profile(registry)
        await add(registry, "DeviceA", "mine", x509("OLD"))
        outcome = await show(registry, "NEW", "ROOT", is_current=False)
        assert outcome == chains.ChainOutcome(FAILURE, "DeviceA")
        assert (await registry.device("DeviceA")).credentials == x509("OLD")
        assert (await show(registry, "OLD", "ROOT", is_current=False)).status is None
        outcome = await show(registry, "OTHER", "ROOT", name="DeviceB.company.com", is_current=False)
        assert outcome == chains.ChainOutcome(SUCCESS, "DeviceB")
        assert await trail(registry) == [("provision", "DeviceA", "FAILURE"), ("provision", "DeviceB", "SUCCESS")]

    run(scenario)


# The profile's certificate.


class WithoutPrivateKey:
    """The public half of a key that somebody else has."""

    def __init__(self, public):
        self.public_key = lambda: public


def public_roots():
    with warnings.catch_warnings(action="ignore"):  # some are older than the standard
        return x509_library.load_pem_x509_certificates(Path(certifi.where()).read_bytes())


@on_both_databases
def test_root_of_a_public_authority_is_refused(run):
    root = public_roots()[0].public_bytes(serialization.Encoding.PEM).decode()
    bare = trim_certificate(root)

    async def scenario(registry):
        for text in (root, bare, f"{pem('OWN')}{root}"):
            strategy = Strategy(type=CHAIN, secret=text, certificate_pattern="(.*)", allow_create=True)
            with pytest.raises(Refused, match="cannot be well known root CA"):
                await registry.write(profiles.create, "public", strategy)
        profile = await new_profile(registry)

        def change(session):
            strategy = Strategy(type=CHAIN, secret=root)
            profiles.configure(session, profiles.get(session, profile.id), strategy)

        with pytest.raises(Refused, match="cannot be well known root CA"):
            await registry.write(change)
        assert (await registry.profile("mine")).provision_key == sha3("ROOT")

    run(scenario)


def test_every_public_root_is_known_and_so_is_its_key_in_another_certificate():
    roots = public_roots()
    assert len(roots) > 50
    for root in roots:
        assert public_authorities.is_public_root(
            base64.b64encode(root.public_bytes(serialization.Encoding.DER)).decode()
        )
    key = next(root for root in roots if isinstance(root.public_key(), ec.EllipticCurvePublicKey)).public_key()
    signer = make("another name")
    again = make("issued again", signer=signer, key=WithoutPrivateKey(key), ca=True)
    assert public_authorities.is_public_root(base64.b64encode(again.der).decode())
    assert not public_authorities.is_public_root(base64.b64encode(signer.der).decode())


@pytest.mark.parametrize("text", ["", "ROOT", "testHash", "AAAA", "é", "MIIB"])
def test_text_that_is_no_certificate_is_no_public_root(text):
    assert not public_authorities.is_public_root(text)


@on_both_databases
@pytest.mark.parametrize("own", [access_token("its-token"), mqtt_basic("c", "u", "p")], ids=["token", "basic"])
def test_device_with_credentials_of_another_kind_is_left_as_it_is(run, own):
    async def scenario(registry):
        await new_profile(registry)
        await add(registry, "DeviceA", "mine", own)
        for _ in range(2):
            assert await show(registry, "LEAF", "ROOT") == chains.ChainOutcome(SUCCESS, "DeviceA")
        assert (await registry.device("DeviceA")).credentials == own
        assert await logs_in(registry, "LEAF") is None

    run(scenario)


@on_both_databases
@pytest.mark.parametrize("allow", [True, False])
@pytest.mark.parametrize("own", [access_token("its-token"), x509("OLD")], ids=["token", "certificate"])
def test_device_of_another_profile_is_failure_and_untouched(run, allow, own):
    async def scenario(registry):
        await new_profile(registry, allow=allow)
        await new_profile(registry, name="other", certificates=["OTHER"])
        await add(registry, "DeviceA", "other", own)
        before = await registry.devices()
        assert await show(registry, "LEAF", "ROOT") == chains.ChainOutcome(FAILURE, "DeviceA")
        assert await registry.devices() == before
        assert await trail(registry) == [("provision", "DeviceA", "FAILURE")]

    run(scenario)


@on_both_databases
@pytest.mark.parametrize("renewal", [True, False])
def test_leaf_whose_id_is_another_device_s_token_is_failure(run, renewal):
    """Ids are unique over all kinds: who takes a certificate's digest for its token takes the certificate's place."""

    async def scenario(registry):
        await new_profile(registry)
        await add(registry, "squatter", "mine", access_token(sha3("LEAF")))
        if renewal:
            await add(registry, "DeviceA", "mine", x509("OLD"))
        before = await registry.devices()
        assert (await show(registry, "LEAF", "ROOT")).status is FAILURE
        assert await registry.devices() == before
        assert await logs_in(registry, "LEAF") is None
        assert [result for _, _, result in await trail(registry)] == ["FAILURE"]
        assert (await show(registry, "ANOTHER", "ROOT")).status is SUCCESS

    run(scenario)


@on_both_databases
def test_audit_has_the_origin_and_shows_no_certificate(run):
    async def scenario(registry):
        await new_profile(registry)
        await show(registry, "LEAF-CERTIFICATE", "ROOT")
        await show(registry, "LEAF-CERTIFICATE-2", "ROOT", name="unknown.example")
        rows = await registry.read(lambda session: audit.find(session, limit=9))
        assert [(row.who, row.address, row.transport, row.request) for row in rows] == [
            ("device", SOURCE.address, SOURCE.transport, SOURCE.request)
        ] * 2
        assert [(row.entity, row.result) for row in rows] == [("unknown.example", "FAILURE"), ("DeviceA", "SUCCESS")]
        assert not any("CERTIFICATE" in str(vars(row)) for row in rows)

    run(scenario)


# Names.

HARD = r"\D+\.(.*)\.\d+@company.com"


@pytest.mark.parametrize(
    ("pattern", "common_name", "name"),
    [
        (r"(.*)\.company.com", "DeviceA.company.com", "DeviceA"),
        (HARD, "region.DeviceA.220423@company.com", "DeviceA"),
        (r"([a-z]+)", "007 bond 008", "bond"),  # found anywhere, the first one
        (r"(.*)", " spaced ", " spaced "),
        (r"^(.+)$", "漢字 😀", "漢字 😀"),
        (r"(a)|b", "b", None),  # the group took no part
        (r"(a)?b", "b", None),
        (r"(x)", "y", None),
        (r"x", "x", None),  # no group
        (r"(", "x", None),
        (r"(?P<", "x", None),
        (r"(x){99999999999999999999}", "x", None),
        ("(" * 5000 + ")" * 5000, "x", None),
        (r"\p{Alpha}(x)", "x", None),  # Java's, not Python's
        ("", "x", None),
        (None, "x", None),
        (r"(.*)", None, None),
        (r"(.*)", "a\0b", None),
        (r"(.*)", "x" * 1025, None),
        (r"(.*)", "x" * 1024, "x" * 1024),
        (r"(.*)", "", ""),
    ],
)
def test_name_is_the_first_group_where_the_pattern_fits(pattern, common_name, name):
    assert chains.name_in(common_name, pattern) == name


@given(st.none() | st.text(max_size=40), st.none() | st.text(max_size=300))
def test_no_pattern_and_no_name_makes_it_raise(pattern, common_name):
    name = chains.name_in(common_name, pattern)
    assert name is None or name in common_name


@on_both_databases
@pytest.mark.parametrize("name", [None, "", "other", "a\0b", "x" * 10_000, "<script>.company.com", "{{x}}.company.com"])
def test_name_that_no_device_may_have_is_failure_and_audited(run, name):
    async def scenario(registry):
        await new_profile(registry)
        assert (await show(registry, "LEAF", "ROOT", name=name)).status is FAILURE
        assert await registry.devices() == []
        assert await logs_in(registry, "LEAF") is None
        ((what, _, result),) = await trail(registry)
        assert (what, result) == ("provision", "FAILURE")

    run(scenario)


@on_both_databases
def test_empty_name_is_failure(run):
    async def scenario(registry):
        await new_profile(registry, pattern="(x*)")
        assert (await show(registry, "LEAF", "ROOT", name="y")).status is FAILURE
        assert await registry.devices() == []

    run(scenario)


# Races.


@on_both_databases
@pytest.mark.parametrize("registries", [1, 2])
def test_many_chains_for_one_new_name_make_one_device(run, registries):
    async def scenario(*opened):
        await new_profile(opened[0])
        for n in range(10):
            name = f"Device{n}.company.com"
            outcomes = await asyncio.gather(
                *(show(opened[k % registries], f"LEAF-{n}-{k}", "ROOT", name=name) for k in range(8))
            )
            statuses = [outcome.status for outcome in outcomes]
            assert set(statuses) <= {SUCCESS, FAILURE}
            assert registries > 1 or set(statuses) == {SUCCESS}
            (inside,) = [k for k in range(8) if await logs_in(opened[0], f"LEAF-{n}-{k}")]
            assert statuses[inside] is SUCCESS
            assert (await opened[-1].device(f"Device{n}")).credentials == x509(f"LEAF-{n}-{inside}")
        assert len(await opened[0].devices()) == 10
        assert len(await trail(opened[0])) == 80

    run(scenario, registries=registries)


@on_both_databases
@pytest.mark.parametrize("registries", [1, 2])
def test_one_leaf_shown_many_times_at_once_makes_one_device(run, registries):
    async def scenario(*opened):
        await new_profile(opened[0])
        for n in range(10):
            shown = [show(opened[k % registries], f"LEAF-{n}", "ROOT", name=f"D{n}.company.com") for k in range(8)]
            statuses = [outcome.status for outcome in await asyncio.gather(*shown)]
            assert statuses.count(SUCCESS) == 1
            assert await logs_in(opened[0], f"LEAF-{n}") == f"D{n}"
        assert len(await opened[0].devices()) == 10

    run(scenario, registries=registries)


@on_both_databases
@pytest.mark.parametrize("registries", [1, 2])
def test_renewals_at_once_leave_every_device_with_one_of_them(run, registries):
    """Two processes renew the same devices in opposite orders: a deadlock, to a database that locks rows."""
    count = 12

    async def scenario(*opened):
        await new_profile(opened[0])
        for n in range(count):
            await show(opened[0], f"OLD-{n}", "ROOT", name=f"D{n}.company.com")

        async def renew(registry, generation, order):
            shown = [show(registry, f"{generation}-{n}", "ROOT", name=f"D{n}.company.com") for n in order]
            return await asyncio.gather(*shown)

        for turn in range(2):
            outcomes = await asyncio.gather(
                renew(opened[0], f"A{turn}", range(count)), renew(opened[-1], f"B{turn}", reversed(range(count)))
            )
            assert [outcome.status for each in outcomes for outcome in each] == [SUCCESS] * count * 2
            assert all(outcome.replaced for each in outcomes for outcome in each)
            for n in range(count):
                inside = [each for each in ("A", "B") if await logs_in(opened[0], f"{each}{turn}-{n}")]
                assert len(inside) == 1
                assert await logs_in(opened[0], f"OLD-{n}") is None
                device = await opened[-1].device(f"D{n}")
                assert device.credentials == x509(f"{inside[0]}{turn}-{n}")
        assert len(await opened[0].devices()) == count

    run(scenario, registries=registries)


@on_both_databases
def test_chain_that_loses_takes_no_other_with_it(run):
    async def scenario(registry):
        await new_profile(registry)
        await add(registry, "squatter", "mine", access_token(sha3("TAKEN")))
        outcomes = await asyncio.gather(
            show(registry, "LEAF-1", "ROOT", name="D1.company.com"),
            show(registry, "TAKEN", "ROOT", name="D2.company.com"),
            show(registry, "LEAF-3", "ROOT", name="D3.company.com"),
        )
        assert [outcome.status for outcome in outcomes] == [SUCCESS, FAILURE, SUCCESS]
        assert [each.name for each in await registry.devices()] == ["D1", "D3", "squatter"]
        assert (await registry.device("D1")).credentials.type is CredentialsType.X509_CERTIFICATE

    run(scenario)
