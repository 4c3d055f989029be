"""Sessions over TLS: the same as over TCP, and devices that show a certificate."""

import contextlib
import socket
import ssl

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from bench.registry import profiles
from bench.registry.chains import Chain
from bench.registry.provision_type import ProvisionType
from bench.server.limits import Rules
from bench.server.tls import chain
from tests.support.certificates import DAY, NOW, make, usage, write
from tests.support.mqtt_packets import (
    DISCONNECT,
    NOT_FOUND,
    PINGREQ,
    PINGRESP,
    PROVISION_REQUEST,
    TELEMETRY,
    TOKEN,
    expect_end,
    expect_open,
    new_device,
    stored,
    success,
)
from tests.support.raw_client import RawClient
from tests.support.servers import PATIENCE_S

REFUSED = (5, 0x87)
UNAVAILABLE = (3, 0x88, 0x83)


@pytest.fixture(scope="module")
def root():
    """The CA of the devices' certificates."""
    return make("root", ca=True)


@pytest.fixture
def secure(server, tmp_path):
    """Makes clients over TLS that show these certificates."""
    return over_tls(server, tmp_path)


def over_tls(server, folder):
    @contextlib.contextmanager
    def client(*shown):
        context = ssl.create_default_context(cadata=server.identity.ca.public_bytes(Encoding.DER))
        if shown:
            context.load_cert_chain(*write(folder, "shown", *shown))
        with RawClient(server.ports.mqtts) as raw:
            raw.socket = context.wrap_socket(raw.socket, server_hostname="localhost")
            yield raw

    return client


def chain_profile(server, root, *, allow_create=True):
    """A profile whose devices are named by the certificates that `root` signed."""
    strategy = profiles.Strategy(
        type=ProvisionType.X509_CERTIFICATE_CHAIN,
        secret=root.pem.decode(),
        certificate_pattern=r"(.*)\.example",
        allow_create=allow_create,
    )
    server.query(lambda registry: registry.write(lambda session: profiles.create(session, "chain", strategy).name))


def leaf(root, name="board.example", **options):
    return make(name, issuer=root, **options)


# The same as over TCP.


def test_token_is_a_login_over_tls_too(server, v, secure):
    new_device(server)
    with secure() as client:
        client.send(v.connect(username=TOKEN) + v.publish(TELEMETRY, b'{"a":1}', qos=1))
        client.expect(v.accepted() + v.puback(1))
        assert server.wait_for("online")["transport"] == "mqtts"
        with RawClient(server.ports.http) as scraper:
            scraper.send(b"GET /metrics HTTP/1.0\r\n\r\n")
            text = scraper.read(1 << 20)
        assert b'firstboot_connections{transport="mqtts"} 1.0' in text
        assert b'firstboot_connections{transport="mqtt"} 0.0' in text
        client.send(DISCONNECT)
        expect_end(client, v, 0x00)
    assert stored(server) == ({"a": 1}, {})


@pytest.mark.parametrize("port", ["mqtts", "https"])
def test_handshake_that_fails_ends_with_an_alert(server, port):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")  # the server's certificate is not RSA's
    with (
        socket.create_connection(("127.0.0.1", getattr(server.ports, port)), PATIENCE_S) as plain,
        pytest.raises(ssl.SSLError, match=r"(?i)alert.handshake.failure"),
    ):
        context.wrap_socket(plain)


def test_provisioning_over_tls(server, v, secure):
    with secure() as client:
        client.send(v.connect(username="provision") + v.request(server.profile, token="A1"))
        client.expect(v.accepted() + v.puback(1) + v.answer(success("A1")))
    assert server.wait_for("exchange")["transport"] == "mqtts"


def test_packets_of_many_records_are_put_together(server, v, secure):
    body = b'{"provisionDeviceKey":"k","provisionDeviceSecret":"s","x":"%s"}' % (b"x" * 60_000)
    with secure() as client:
        client.send(v.connect(username="provision"))
        for packet_id in range(1, 6):
            client.send(v.publish(PROVISION_REQUEST, body, qos=1, packet_id=packet_id) + PINGREQ * 300)
        client.expect(v.accepted())
        for packet_id in range(1, 6):
            client.expect(v.puback(packet_id) + v.answer(NOT_FOUND, packet_id=packet_id) + PINGRESP * 300)


def test_everything_sent_before_the_goodbye_is_stored(server, v, secure):
    new_device(server)
    with secure() as client:
        client.send(v.connect(username=TOKEN))
        client.expect(v.accepted())
        client.send(b"".join(v.publish(TELEMETRY, b'{"k%d":%d}' % (n, n)) for n in range(20)))
    server.wait_for("offline")
    for n in range(20):
        server.wait_for("telemetry", keys=[f"k{n}"])
    assert stored(server)[0] == {f"k{n}": n for n in range(20)}


def test_session_over_tls_takes_over_one_over_tcp(server, v, secure):
    new_device(server)
    with RawClient(server.ports.mqtt) as older, secure() as newer:
        older.send(v.connect(username=TOKEN))
        older.expect(v.accepted())
        newer.send(v.connect(username=TOKEN))
        newer.expect(v.accepted())
        expect_end(older, v, 0x8E)


# With a certificate.


def test_certificate_that_nobody_knows_is_refused_whatever_else_is_shown(server, v, secure, root):
    new_device(server)
    for names in ({}, {"username": TOKEN}, {"username": TOKEN, "password": b"p"}, {"client_id": ""}):
        with secure(leaf(root), root) as client:
            client.send(v.connect(**names) + PINGREQ)
            client.expect(v.refused(*REFUSED))
            client.expect_closed()
    assert server.device_names() == ["device"]


def test_device_of_a_chain_is_made_in_the_handshake_and_logs_in_with_its_certificate(server, v, secure, root):
    chain_profile(server, root)
    with secure(leaf(root), root) as client:
        assert server.wait_for("chain", status="SUCCESS", device="board")["transport"] == "mqtts"
        client.send(v.connect(client_id="x", username="not looked at", password=b"either"))
        client.send(v.publish(TELEMETRY, b'{"a":1}', qos=1))
        client.expect(v.accepted() + v.puback(1))
    assert stored(server, "board") == ({"a": 1}, {})


def test_connect_in_one_piece_with_the_handshake_waits_for_the_device_to_be_made(server, v, secure, root):
    chain_profile(server, root)
    for number in range(5):
        with secure(leaf(root, f"board{number}.example"), root) as client:
            client.send(v.connect())
            client.expect(v.accepted())


def test_leaf_alone_makes_no_device(server, v, secure, root):
    chain_profile(server, root)
    with secure(leaf(root)) as client:
        client.send(v.connect())
        client.expect(v.refused(*REFUSED))
    assert server.device_names() == []


def test_chain_that_may_not_make_devices_is_refused(server, v, secure, root):
    chain_profile(server, root, allow_create=False)
    with secure(leaf(root), root) as client:
        client.send(v.connect())
        client.expect(v.refused(*REFUSED))
        client.expect_closed()
    assert server.wait_for("chain")["status"] == "FAILURE"


def test_new_certificate_replaces_the_old_one_and_ends_its_session(server, v, secure, root):
    chain_profile(server, root)
    old, new = leaf(root), leaf(root)
    with secure(old, root) as older:
        older.send(v.connect())
        older.expect(v.accepted())
        with secure(new, root) as newer:
            expect_end(older, v, 0x98)
            newer.send(v.connect())
            newer.expect(v.accepted())
            with secure(old) as late:
                late.send(v.connect())
                late.expect(v.refused(*REFUSED))
            expect_open(newer)
    assert server.device_names() == ["board"]


@pytest.mark.parametrize(("begin", "end"), [(NOW - 2 * DAY, NOW - DAY), (NOW + DAY, NOW + 2 * DAY)])
def test_certificate_out_of_date_makes_a_device_that_cannot_log_in(server, v, secure, root, begin, end):
    chain_profile(server, root)
    with secure(leaf(root, begin=begin, end=end), root) as client:
        client.send(v.connect())
        client.expect(v.refused(*REFUSED))
        client.expect_closed()
    assert server.device_names() == ["board"]
    assert len(server.events("login_refused")) == 1


NO_AUTHORITY = {
    "another device": {"ca": False},
    "another device, out of date": {"begin": NOW - 2 * DAY, "end": NOW - DAY},
    "no basic constraints": {"ca": None},
    "an authority out of date": {"ca": True, "begin": NOW - 2 * DAY, "end": NOW - DAY},
    "an authority that is not valid yet": {"ca": True, "begin": NOW + DAY, "end": NOW + 2 * DAY},
    "an authority for other things": {"ca": True, "more": [(usage("digital_signature"), True)]},
}


@pytest.mark.parametrize("flaw", NO_AUTHORITY.values(), ids=NO_AUTHORITY)
@pytest.mark.parametrize("with_client_ca", [False, True])
def test_leaf_signed_by_what_is_no_authority_becomes_no_device(start_server, tmp_path, v, root, flaw, with_client_ca):
    """Whoever holds one certificate of a profile's CA must not become any device that it names."""
    options = {"tls_client_ca": write(tmp_path, "client-ca", root)[0]} if with_client_ca else {}
    server = start_server(**options)
    chain_profile(server, root)
    secure, real, stray = over_tls(server, tmp_path), leaf(root), make("intranet.example", issuer=root, **flaw)
    forged, new = make("board.example", issuer=stray), make("new.example", issuer=stray)
    with secure(real, root) as client:
        client.send(v.connect())
        client.expect(v.accepted())
        for shown in (forged, new):
            with contextlib.suppress(OSError), secure(shown, stray, root) as other:
                other.send(v.connect())
                if not with_client_ca:
                    other.expect(v.refused(*REFUSED))
                other.expect_closed()
        expect_open(client)
    with secure(real, root) as client:
        client.send(v.connect())
        client.expect(v.accepted())
    assert server.device_names() == ["board"]
    if not with_client_ca:
        assert server.wait_for("chain_invalid")["why"]


@pytest.mark.parametrize(("begin", "end"), [(NOW - 2 * DAY, NOW - DAY), (NOW + DAY, NOW + 2 * DAY)])
def test_certificate_out_of_date_takes_over_no_device(server, v, secure, root, begin, end):
    chain_profile(server, root)
    with secure(leaf(root), root) as client:
        client.send(v.connect())
        client.expect(v.accepted())
        with secure(leaf(root, begin=begin, end=end), root) as other:
            other.send(v.connect())
            other.expect(v.refused(*REFUSED))
        assert server.wait_for("chain", status="FAILURE")["device"] == "board"
        expect_open(client)


def test_chain_goes_up_to_the_profile_s_authority_whatever_is_above_it(server, v, secure, root):
    old = make("old", ca=True, begin=NOW - 2 * DAY, end=NOW - DAY)
    own = make("own", issuer=old, ca=True)
    between = make("between", issuer=own, ca=True)
    chain_profile(server, own)
    with secure(leaf(between), between, own, old) as client:
        client.send(v.connect())
        client.expect(v.accepted())
    assert server.device_names() == ["board"]


def test_client_with_a_certificate_can_request_other_credentials(server, v, secure, root):
    with secure(leaf(root), root) as client:
        client.send(v.connect(username="provision") + v.request(server.profile, token="A1"))
        client.expect(v.accepted() + v.puback(1) + v.answer(success("A1")))


def test_device_that_its_profile_wants_elsewhere_is_answered_unavailable(server, v, secure, root):
    chain_profile(server, root)

    def elsewhere(session):
        profiles.by_name(session, "chain").transport_type = "COAP"

    server.query(lambda registry: registry.write(elsewhere))
    with secure(leaf(root), root) as client:
        client.send(v.connect())
        client.expect(v.refused(*UNAVAILABLE))
        client.expect_closed()


def test_certificate_that_the_registry_cannot_look_up_is_answered_unavailable(server, v, secure, root):
    async def fail(*_arguments):
        raise OSError("the disk is gone")

    server.registry.certificate_login = fail
    server.registry.provision_chain = fail  # which alone would not show
    with secure(leaf(root), root) as client:
        client.send(v.connect())
        client.expect(v.refused(*UNAVAILABLE))
        client.expect_closed()
    assert [event["kind"] for event in server.events("failure")] == ["OSError", "OSError"]


def test_certificate_that_was_wrong_too_often_is_limited(start_server, tmp_path, v, root):
    server = start_server(limits=Rules(per_caller=1))
    secure, shown = over_tls(server, tmp_path), leaf(root)
    for codes in (REFUSED, (3, 0x9F, 0x96)):
        with secure(shown) as client:
            client.send(v.connect())
            client.expect(v.refused(*codes))
            client.expect_closed()


def test_chain_is_reported_as_credentials_have_it(server, v, secure, root):
    seen = []

    async def note(shown, source):
        seen.append((shown, source.transport))

    server.api.provision_chain = note
    shown = leaf(root)
    with secure(shown, root) as client:
        client.send(v.connect())
        client.expect(v.refused(*REFUSED))
    texts = (chain.certificate_text(shown.der), chain.certificate_text(root.der))
    assert seen == [(Chain(certificates=texts, common_name="board.example"), "mqtts")]
