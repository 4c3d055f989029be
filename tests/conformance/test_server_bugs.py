"""A server with one bug at a time: exactly the checks that are about it say so.

The bugs (server_bugs) are put into the real server, which goes on running and is right again afterwards.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from OpenSSL import SSL

from bench.conformance.check import Verdict
from bench.conformance.server.suite import CHECKS
from bench.server.tls import contexts
from tests.conformance import server_bugs
from tests.conformance.servers import ended, shared, subject
from tests.support import certificates

# For what never comes: how long the checks wait for it.
SHORT_S = 2.0
EVERY_WAY = ("mqtt", "http", "coap")


def of_each(name):
    return {f"{way}.provision.{name}" for way in EVERY_WAY}


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with shared(tmp_path_factory) as server:
        yield server


@dataclass(frozen=True)
class Bug:
    """`runs`: the checks that are run; `reporting`: those of them that have to report it, and no other."""

    put_in: Callable
    runs: tuple[str, ...]
    reporting: set[str]
    patience_s: float = 10.0


READERS_OF_SUCCESS = ("own_token", "given_token", "token_logs_in_at_once", "same_name_twice")
ANY_WAY = ("provision.*",)
OF_DECISIONS = ("provision.*", *(f"{way}.provision.*" for way in EVERY_WAY))

# But for packages, whose checks make a device and a package each.
MQTT = ("mqtt.provision.*", "mqtt.connect.*", "mqtt.session.*")

BUGS = [
    Bug(
        server_bugs.answers_everyone,
        MQTT,
        {"mqtt.provision.asking_connection_only", "mqtt.provision.request_is_no_publication"},
    ),
    Bug(
        server_bugs.passes_on_what_is_published,
        ("mqtt.provision.*",),
        {
            "mqtt.provision.asking_connection_only",
            "mqtt.provision.request_is_no_publication",
            "mqtt.provision.unreadable",
        },
    ),
    Bug(
        server_bugs.commits_after_the_answer,
        ("*.provision.token_logs_in_at_once", "*.provision.given_token", "provision.token_everywhere"),
        of_each("token_logs_in_at_once") | {"provision.token_everywhere"},
    ),
    Bug(
        server_bugs.does_not_commit,
        ("*.provision.token_logs_in_at_once", "*.provision.own_token", "tls.*.provision"),
        of_each("token_logs_in_at_once") | {"tls.mqtts.provision", "tls.https.provision"},
    ),
    Bug(
        server_bugs.takes_any_secret,
        OF_DECISIONS,
        of_each("wrong_secret")
        | {"provision.secret_to_the_letter", "provision.refusal_makes_nothing", "coap.provision.codes"},
    ),
    Bug(server_bugs.takes_a_secret_with_blanks, ANY_WAY, {"provision.secret_to_the_letter"}),
    Bug(
        server_bugs.gives_a_name_twice,
        OF_DECISIONS,
        of_each("same_name_twice") | {"provision.unicode_name", "provision.name_is_trimmed", "provision.one_of_many"},
    ),
    Bug(server_bugs.lets_all_win_at_once, ("provision.one_of_many", "provision.un*"), {"provision.one_of_many"}),
    Bug(
        server_bugs.makes_its_own_token,
        OF_DECISIONS,
        of_each("own_token")
        | {"provision.number_is_text", "provision.same_token_twice", "provision.control_characters"},
    ),
    Bug(server_bugs.makes_short_tokens, ANY_WAY, {"provision.given_tokens_differ"}),
    Bug(
        server_bugs.lets_anybody_in_over_mqtt,
        (*MQTT, "mqtt5.*", "provision.*"),
        {
            "mqtt.connect.provision_to_the_letter",
            "mqtt.connect.unknown_token",
            "mqtt.connect.unknown_client_id",
            "mqtt5.connect.unknown_token",
            "provision.mqtt_basic_logs_in",
        },
    ),
    Bug(
        server_bugs.knows_any_token,
        ("http.*", "coap.*"),
        {
            *("http.session.unknown_token", "coap.session.unknown_token"),
            *("http.package.none", "coap.package.none"),
        },
    ),
    Bug(server_bugs.forgets_what_came_over_another_transport, ANY_WAY, {"provision.token_everywhere"}),
    Bug(
        server_bugs.refuses_with_another_code,
        (*MQTT, "mqtt5.*"),
        {"mqtt.connect.unknown_token", "mqtt.connect.provision_to_the_letter", "mqtt5.connect.unknown_token"},
    ),
    Bug(server_bugs.knows_provision_in_any_case, (*MQTT, "mqtt5.*"), {"mqtt.connect.provision_to_the_letter"}),
    Bug(
        server_bugs.acknowledges_another_packet,
        (*MQTT, "mqtt5.*", "mqtt.package.chunks"),
        {
            "mqtt.package.chunks",
            "mqtt5.provision.answer",
            "mqtt5.provision.unreadable",
            "mqtt5.session.telemetry",
            "mqtt.provision.puback_has_the_id",
            "mqtt.session.telemetry",
            "mqtt.session.large_telemetry",
            "mqtt.session.attributes",
            "mqtt.session.no_provisioning",
        },
    ),
    Bug(
        server_bugs.grants_another_subscription,
        MQTT,
        {
            "mqtt.provision.subscription_is_granted",
            "mqtt.provision.other_subscriptions",
            "mqtt.session.subscriptions",
        },
    ),
    Bug(
        server_bugs.grants_every_subscription,
        (*MQTT, "mqtt5.*", "mqtt.package.subscriptions"),
        {
            "mqtt.package.subscriptions",
            "mqtt.provision.other_subscriptions",
            "mqtt.session.subscriptions",
            "mqtt5.provision.other_subscriptions",
        },
    ),
    Bug(server_bugs.answers_with_qos_1_only, MQTT, {"mqtt.provision.subscription_is_granted"}),
    Bug(
        server_bugs.answers_subscribers_only,
        ("mqtt.provision.answer_without_subscription", "mqtt.provision.subscription_is_granted"),
        {"mqtt.provision.answer_without_subscription"},
        SHORT_S,
    ),
    Bug(
        server_bugs.never_answers_a_ping,
        ("mqtt.connect.*",),
        {"mqtt.connect.ping", "mqtt.connect.malformed_closes"},
        SHORT_S,
    ),
    Bug(
        server_bugs.takes_telemetry_of_provision_sessions,
        ("*.provision.no_telemetry", "mqtt.provision.connects_again"),
        {"mqtt.provision.no_telemetry", "mqtt5.provision.no_telemetry", "mqtt.provision.connects_again"},
        SHORT_S,
    ),
    Bug(
        server_bugs.stays_after_what_is_no_request,
        ("mqtt.provision.unreadable", "mqtt.provision.missing_field"),
        {"mqtt.provision.unreadable"},
        SHORT_S,
    ),
    Bug(server_bugs.keeps_the_older_session, ("mqtt.session.*",), {"mqtt.session.newer_ends_older"}, SHORT_S),
    Bug(
        server_bugs.answers_ok_instead_of_success,
        ("mqtt.provision.*", "mqtt.connect.*"),
        {f"mqtt.provision.{name}" for name in READERS_OF_SUCCESS},
    ),
    Bug(
        server_bugs.adds_a_field,
        ("http.provision.*", "coap.provision.*"),
        {
            *(f"{way}.provision.{name}" for way in ("http", "coap") for name in ("own_token", "given_token")),
            *(
                f"{way}.provision.{name}"
                for way in ("http", "coap")
                for name in ("token_logs_in_at_once", "same_name_twice")
            ),
            "coap.provision.codes",
            "coap.provision.sent_twice",
        },
    ),
    Bug(server_bugs.writes_username_for_user_name, ANY_WAY, {"provision.mqtt_basic", "provision.mqtt_basic_logs_in"}),
    Bug(server_bugs.echoes_the_secret, OF_DECISIONS, of_each("no_secret_is_echoed")),
    Bug(server_bugs.checks_no_password, ANY_WAY, {"provision.mqtt_basic_logs_in"}),
    Bug(server_bugs.does_not_trim_names, ("provision.*",), {"provision.blank_name", "provision.name_is_trimmed"}),
    Bug(server_bugs.keeps_the_header_of_certificates, ANY_WAY, {"provision.x509"}),
    Bug(
        server_bugs.tells_failure_by_the_code_of_http,
        ("http.*",),
        {"http.provision.status_is_200", "http.provision.any_content_type"},
    ),
    Bug(server_bugs.reads_forms_as_json, ("http.*",), {"http.provision.form"}),
    Bug(server_bugs.tells_every_coap_client_created, ("coap.*",), {"coap.provision.codes"}),
    Bug(
        server_bugs.drops_the_token_of_coap,
        ("coap.provision.wrong_secret", "coap.message.ping", "coap.session.unknown_token"),
        {"coap.provision.wrong_secret", "coap.session.unknown_token"},
    ),
    Bug(server_bugs.decides_a_doubled_datagram_twice, ("coap.*",), {"coap.provision.sent_twice"}),
    Bug(
        server_bugs.takes_any_key,
        OF_DECISIONS,
        of_each("wrong_key") | {"provision.empty_secret", "provision.secret_to_the_letter"},
    ),
    Bug(server_bugs.ignores_the_case_of_names, ANY_WAY, {"provision.name_by_case"}),
    Bug(server_bugs.takes_names_of_any_length, ANY_WAY, {"provision.name_too_long"}),
    Bug(
        server_bugs.refuses_fields_that_it_does_not_know,
        OF_DECISIONS,
        {"provision.unknown_fields", "coap.provision.in_blocks"},
    ),
    Bug(server_bugs.requires_the_material_of_a_type, ANY_WAY, {"provision.type_without_material"}),
    Bug(
        server_bugs.gives_a_token_where_it_should_refuse,
        ANY_WAY,
        {
            "provision.lwm2m",
            "provision.mqtt_basic_without_user",
            "provision.refusal_makes_nothing",
        },
    ),
    Bug(
        server_bugs.answers_what_lacks_a_field,
        ("*.provision.missing_field", "*.provision.unreadable"),
        {
            "mqtt.provision.missing_field",
            "mqtt.provision.unreadable",
            "mqtt5.provision.missing_field",
            "mqtt5.provision.unreadable",
            "http.provision.unreadable",
            "coap.provision.unreadable",
        },
        SHORT_S,
    ),
    Bug(
        server_bugs.knows_provision_as_client_id_only,
        ("mqtt*.connect.*provision*",),
        {"mqtt.connect.user_name_provision", "mqtt5.connect.provision"},
    ),
    Bug(server_bugs.knows_provision_as_user_name_only, (*MQTT, "mqtt5.*"), {"mqtt.connect.client_id_provision"}),
    Bug(
        server_bugs.welcomes_whom_it_refuses,
        ("mqtt.connect.*",),
        {
            "mqtt.connect.unknown_level",
            "mqtt.connect.unknown_token",
            "mqtt.connect.unknown_client_id",
            "mqtt.connect.provision_to_the_letter",
        },
    ),
    Bug(server_bugs.stays_after_disconnect, ("mqtt.connect.*",), {"mqtt.connect.disconnect_closes"}, SHORT_S),
    Bug(
        server_bugs.waits_for_the_rest_of_what_is_malformed,
        ("mqtt.connect.*_closes",),
        {"mqtt.connect.malformed_closes", "mqtt.connect.endless_packet_closes"},
        SHORT_S,
    ),
    Bug(
        server_bugs.closes_after_an_answer,
        ("mqtt.provision.*",),
        {"mqtt.provision.asks_again", "mqtt.provision.puback_has_the_id"},
    ),
    Bug(server_bugs.closes_on_qos_0, ("mqtt.session.*",), {"mqtt.session.qos_0", "mqtt.session.attributes"}),
    Bug(
        server_bugs.loses_attributes,
        ("*.session.attributes",),
        {"mqtt.session.attributes", "http.session.attributes", "coap.session.attributes"},
        SHORT_S,
    ),
    Bug(
        server_bugs.takes_telemetry_that_is_no_json,
        ("http.*", "coap.*"),
        {"http.session.unreadable", "coap.session.telemetry"},
    ),
    Bug(
        server_bugs.has_room_for_little_telemetry,
        ("*.session.*",),
        {"mqtt.session.large_telemetry", "http.session.telemetry"},
    ),
    Bug(server_bugs.finds_every_page, ("http.*",), {"http.provision.other_methods", "http.session.unknown_path"}),
    Bug(server_bugs.takes_no_text_over_coap, ("coap.*",), {"coap.provision.any_content_format"}),
    Bug(
        server_bugs.answers_every_get_over_coap,
        ("coap.provision.*", "coap.session.unknown_token"),
        {"coap.provision.get", "coap.session.unknown_token"},
    ),
    Bug(server_bugs.ignores_coap_pings, ("coap.provision.codes", "coap.message.ping"), {"coap.message.ping"}, SHORT_S),
    Bug(server_bugs.refuses_logins_over_tls, ("tls.*", *MQTT), {"tls.mqtts.provision"}),
    Bug(server_bugs.knows_no_certificate, ("tls.*",), {"tls.mqtts.client_certificate"}),
    Bug(server_bugs.goes_by_the_token_beside_a_certificate, ("tls.*",), {"tls.mqtts.unknown_certificate"}),
    Bug(server_bugs.takes_control_characters, ANY_WAY, {"provision.control_characters"}),
    Bug(server_bugs.notifies_without_a_checksum, ("*.package.*",), {"mqtt.package.notified"}, SHORT_S),
    Bug(
        server_bugs.names_no_keys_that_do_not_apply,
        ("mqtt.package.*",),
        {"mqtt.package.keys_that_do_not_apply"},
        SHORT_S,
    ),
    Bug(server_bugs.deletes_the_title_alone, ("mqtt.package.*",), {"mqtt.package.taken_away"}),
    Bug(
        server_bugs.sends_a_chunk_before_its_puback,
        ("mqtt.package.*",),
        {"mqtt.package.chunks", "mqtt.package.whole", "mqtt.package.keeps_to_its_request"},
    ),
    Bug(
        server_bugs.forgets_the_size_of_chunks,
        ("mqtt.package.*",),
        {"mqtt.package.chunks", "mqtt.package.keeps_to_its_request"},
    ),
    Bug(server_bugs.repeats_the_last_chunk, ("mqtt.package.*",), {"mqtt.package.chunks"}),
    Bug(server_bugs.sends_nothing_without_a_size, ("mqtt.package.*",), {"mqtt.package.whole"}),
    Bug(server_bugs.goes_on_with_another_package, ("mqtt.package.*",), {"mqtt.package.keeps_to_its_request"}),
    Bug(
        server_bugs.reports_errors_of_packages_elsewhere,
        ("mqtt.package.none", "mqtt.package.large_chunk"),
        {"mqtt.package.none", "mqtt.package.large_chunk"},
    ),
    Bug(
        server_bugs.sends_chunks_of_any_size,
        ("mqtt.package.none", "mqtt.package.large_chunk"),
        {"mqtt.package.large_chunk"},
    ),
    Bug(
        server_bugs.has_an_empty_package_over_http,
        ("http.package.*",),
        {"http.package.content", "http.package.none"},
    ),
    Bug(
        server_bugs.has_an_empty_package_over_coap,
        ("coap.package.*",),
        {"coap.package.content", "coap.package.none"},
    ),
    Bug(server_bugs.accepts_any_checksum, ("operator.package", "http.package.*"), {"operator.package"}),
    Bug(server_bugs.ends_sessions_at_every_save, ("operator.*",), {"operator.unchanged_credentials"}),
    Bug(server_bugs.reads_cells_as_text, ("operator.*",), {"operator.json_cell"}),
    Bug(server_bugs.makes_no_name_unique, ("operator.*",), {"operator.unique_name"}),
    Bug(server_bugs.lacks_newer_routes, ("operator.*",), {"operator.newer_routes"}),
    Bug(server_bugs.lacks_api_keys, ("operator.*",), {"operator.api_keys"}),
]


@pytest.mark.usefixtures("answers_in_acknowledgements")
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.put_in.__name__)
def test_checks_that_report_a_bug_are_those_about_it(running, monkeypatch, bug):
    with monkeypatch.context() as patch:
        bug.put_in(patch)
        found = ended(subject(running, patience_s=bug.patience_s), *bug.runs)
    assert set(found[Verdict.BROKEN]) == bug.reporting, found


def test_tls_1_3_alone_is_reported(start_server, monkeypatch):
    monkeypatch.setattr("OpenSSL.SSL.TLS1_2_VERSION", SSL.TLS1_3_VERSION)
    make = contexts.https_context

    def strict(identity):
        context = make(identity)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return context

    monkeypatch.setattr("bench.server.server.https_context", strict)
    found = ended(subject(start_server()), "tls.*")
    assert set(found[Verdict.BROKEN]) == {"tls.mqtts.version_1_2", "tls.https.version_1_2"}, found


def test_plain_server_on_the_port_of_tls_is_reported(running):
    server = subject(running, patience_s=SHORT_S)
    server.addresses._addresses["mqtts"] = replace(server.addresses.at("mqtt"), scheme="mqtts")
    found = ended(server, "tls.mqtts.no_plaintext")
    assert set(found[Verdict.BROKEN]) == {"tls.mqtts.no_plaintext"}, found


def test_every_check_reports_some_bug():
    """One that none breaks could be one that cannot fail."""
    reported = set().union(*(bug.reporting for bug in BUGS))
    elsewhere = {
        *("tls.mqtts.certificate", "tls.https.certificate", "tls.mqtts.no_plaintext"),
        *("tls.mqtts.version_1_2", "tls.https.version_1_2"),
    }
    assert {each.name for each in CHECKS} - reported == elsewhere


def test_certificate_for_another_name_is_reported(start_server, tmp_path):
    authority = certificates.make("somebody's CA", ca=True)
    other = certificates.make("bench.example", issuer=authority)
    (tmp_path / "cert.pem").write_bytes(other.pem)
    (tmp_path / "key.pem").write_bytes(other.key_pem)
    running = start_server(tls_cert=tmp_path / "cert.pem", tls_key=tmp_path / "key.pem")
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    server = subject(running, "mqtts", "https")  # which the checks before meet as well
    server.addresses._ca = tmp_path / "ca.pem"
    found = ended(server, "provision.blank_name", "http.provision.wrong_key", "tls.*.certificate")
    assert set(found[Verdict.BROKEN]) == {"tls.mqtts.certificate", "tls.https.certificate"}, found
    assert set(found[Verdict.TROUBLE]) == {"provision.blank_name", "http.provision.wrong_key"}, found


def test_slow_server_is_no_broken_one(running, monkeypatch):
    with monkeypatch.context() as patch:
        server_bugs.takes_its_time(patch)
        found = ended(subject(running, patience_s=5), "coap.provision.given_token", "coap.provision.sent_twice")
    assert set(found[Verdict.HOLDS]) == {"coap.provision.given_token"}
    assert set(found[Verdict.SKIPPED]) == {"coap.provision.sent_twice"}
