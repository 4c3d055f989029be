"""The bench's own server keeps all of it, and what cannot be checked says why."""

import re

import pytest

from bench.conformance.check import Verdict, run
from bench.conformance.server.suite import CHECKS
from bench.registry.provision_type import ProvisionType
from bench.server.limits import Rules
from tests.conformance.servers import TRANSPORTS, ended, shared, subject

pytestmark = pytest.mark.usefixtures("answers_in_acknowledgements")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with shared(tmp_path_factory) as running:
        yield running


def test_checks_have_names_of_their_own_that_are_for_good():
    names = [each.name for each in CHECKS]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9]+(\.[a-z0-9_]+)+", each) for each in names)


def test_checks_have_a_sentence_for_what_holds_and_its_source():
    for each in CHECKS:
        assert each.rule.endswith("."), each.name
        assert each.source, each.name


@pytest.mark.parametrize("like_production", [False, True])
def test_bench_server_keeps_everything_over_all_transports_within_its_own_limits(start_server, like_production):
    running = start_server(limits=Rules(), like_production=like_production)
    server = subject(running)
    found = ended(server)
    assert {verdict: names for verdict, names in found.items() if verdict is not Verdict.HOLDS} == {
        Verdict.BROKEN: {},
        Verdict.SKIPPED: {},
        Verdict.TROUBLE: {},
    }
    assert running.events("limited") == []
    # what it says that it made is what there is, but for the clients of blank names: those make none
    assert sorted(server.made) == sorted(running.device_names())
    assert all(name.startswith(server.prefix) for name in server.made)


def test_server_without_tls_and_coap_is_checked_for_the_rest(server):
    found = ended(subject(server, "mqtt", "http"))
    assert found[Verdict.BROKEN] == found[Verdict.TROUBLE] == {}
    assert set(found[Verdict.SKIPPED]) == {each.name for each in CHECKS if each.name.startswith(("coap.", "tls."))}
    assert set(found[Verdict.SKIPPED].values()) == {
        f"no --url {each}:// was given" for each in ("coap", "mqtts", "https")
    }


def test_server_with_tls_alone_is_checked_over_tls(server):
    found = ended(subject(server, "mqtts", "https"))
    assert found[Verdict.BROKEN] == found[Verdict.TROUBLE] == {}
    assert {each.partition(".")[0] for each in found[Verdict.SKIPPED]} == {"coap"}
    assert {each.partition(".")[0] for each in found[Verdict.HOLDS]} == {
        "provision",
        "mqtt",
        "mqtt5",
        "http",
        "tls",
        "operator",
    }


@pytest.mark.parametrize("scheme", TRANSPORTS)
def test_single_transport_breaks_nothing(server, scheme):
    found = ended(subject(server, scheme))
    assert found[Verdict.BROKEN] == found[Verdict.TROUBLE] == {}
    assert found[Verdict.HOLDS]
    assert all(found[Verdict.SKIPPED].values())


def test_profile_that_makes_no_devices_is_checked_as_far_as_that_goes(server):
    profile = server.new_profile(ProvisionType.CHECK_PRE_PROVISIONED_DEVICES)
    checked = subject(server, profile=profile)
    found = ended(checked)
    assert found[Verdict.BROKEN] == found[Verdict.TROUBLE] == {}
    assert all("the profile makes no devices" in why for why in found[Verdict.SKIPPED].values())
    assert {"mqtt.provision.wrong_secret", "mqtt.provision.asking_connection_only"} <= set(found[Verdict.HOLDS])
    assert checked.made == []


def test_devices_made_ahead_are_used_up_for_what_needs_one(server):
    profile = server.new_profile(ProvisionType.CHECK_PRE_PROVISIONED_DEVICES)
    names = tuple(f"ahead-{number}" for number in range(20))
    for name in names:
        server.query(lambda registry, name=name: registry.create_device(name, profile.name))
    checked = subject(server, profile=profile, names=names)
    found = ended(checked)
    assert found[Verdict.BROKEN] == found[Verdict.TROUBLE] == {}
    assert {
        *("mqtt.provision.same_name_twice", "coap.provision.sent_twice", "http.provision.status_is_200"),
        *("mqtt.session.attributes", "tls.https.provision"),
    } <= set(found[Verdict.HOLDS])
    assert {"mqtt.provision.own_token", "provision.x509", "provision.one_of_many"} <= set(found[Verdict.SKIPPED])
    assert len(checked.names) < len(names)
    assert checked.made == []


def test_device_that_was_provisioned_before_is_broken_with_the_reason(server):
    profile = server.new_profile(ProvisionType.CHECK_PRE_PROVISIONED_DEVICES)
    found = ended(subject(server, profile=profile, names=("nobody",)), "http.provision.given_token")
    assert found[Verdict.BROKEN] == {"http.provision.given_token": 'the status is "FAILURE" instead of SUCCESS'}


def test_wrong_secret_is_trouble_that_names_it(server):
    checked = subject(server, "http")
    checked.secret = "not-the-secret-of-it"
    found = ended(checked, "http.*")
    assert found[Verdict.BROKEN] == {}
    assert set(found[Verdict.TROUBLE].values()) == {
        "the server answers NOT_FOUND: are key and secret right, or is the profile DISABLED?"
    }
    assert "http.provision.wrong_secret" in found[Verdict.HOLDS]


def test_caller_that_is_limited_is_notified(start_server):
    running = start_server(limits=Rules(per_address=1))
    found = ended(subject(running), "http.*", "coap.*")
    assert found[Verdict.BROKEN] == {}
    assert {why.partition(":")[0] for why in found[Verdict.TROUBLE].values()} == {
        *("429", "4.29"),
        "too many failures",  # as an operator is told
    }


def test_outcomes_come_as_the_checks_end(server):
    """Whoever shows them need not wait for the last."""
    ending = run(CHECKS, subject(server, "http"))
    assert next(ending).name == CHECKS[0].name
