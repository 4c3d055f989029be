"""TLS on the device: against servers of every kind of wrong, and the bench's own."""

import ipaddress
import socket
import ssl
import warnings

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.support import micropython
from tests.support.certificates import DAY, NOW, make
from tests.support.peers import Secured, receive, server_context, until_closed
from tests.support.servers import RunningServer

HEAD = """
import sys, time
from firstboot import board, settings, tls
from firstboot.errors import FirstbootError
from firstboot.stream import server_stream
port, tls.CA, name, timeout_ms = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
found = settings.check({"server": {"host": "127.0.0.1", "port": port, "name": name, "tls": True},
    "provision": {"key": "k", "secret": "s"}, "session": {"timeout_ms": timeout_ms}})
def file(name):
    with open(name, "rb") as each:
        return each.read()
identity = (file(sys.argv[5]), file(sys.argv[6])) if len(sys.argv) > 6 else None
def connected():
    stream = server_stream(found, identity)
    stream.within(timeout_ms)
    stream.connect(("127.0.0.1", port))
    stream.write(b"ping")
    return stream
def attempt():
    started = time.ticks_ms()
    stream = None
    try:
        stream = connected()
        print("done", stream.read(4))
    except FirstbootError as error:
        print(error.kind, error)
    if stream:
        stream.close()
    took = time.ticks_diff(time.ticks_ms(), started)
    assert took < timeout_ms + 1500, took
"""
NAMES = [x509.DNSName("server.example"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
CA = make("the CA", ca=True)
OTHER = make("the CA", ca=True)  # of the same name, with another key
GOOD = make("server", issuer=CA, alternative=NAMES)


def key_der(made) -> bytes:
    """SEC1's ECPrivateKey."""
    return made.key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


@pytest.fixture
def ca_file(tmp_path):
    (tmp_path / "ca.der").write_bytes(CA.der)
    return str(tmp_path / "ca.der")


@pytest.fixture
def identity(tmp_path):
    """Files with a certificate and its key."""

    def write(made):
        (tmp_path / "device.crt").write_bytes(made.der)
        (tmp_path / "device.key").write_bytes(key_der(made))
        return str(tmp_path / "device.crt"), str(tmp_path / "device.key")

    return write


def shake_hands_and_receive(tls, size):
    tls.shake_hands()
    return tls.receive(size)


def pong(context):
    def behave(connection):
        tls = Secured(connection, context)
        assert shake_hands_and_receive(tls, 4) == b"ping"
        tls.send(b"pong")
        until_closed(connection)

    return behave


def refused(context):
    """The device has to close before it sends anything: nothing of it may be readable."""

    def behave(connection):
        tls = Secured(connection, context)
        with pytest.raises((ConnectionError, ssl.SSLError)):
            shake_hands_and_receive(tls, 1)

    return behave


def device_output(behave, peer, ca, name="server.example", *more, timeout_ms=5000, code="attempt()"):
    return micropython.run(HEAD + code, arguments=(str(peer(behave)), str(ca), name, str(timeout_ms), *more)).strip()


WRONG = {
    "another_ca": (make("server", issuer=OTHER, alternative=NAMES), "not signed by the CA"),
    "forged": (make("server", issuer=CA, signer=OTHER, alternative=NAMES), "not signed by the CA"),
    "signed_by_itself": (make("server", alternative=NAMES), "not signed by the CA"),
    "signed_by_a_leaf": (make("server", issuer=GOOD, alternative=NAMES), "not signed by the CA"),
    "expired": (make("server", issuer=CA, alternative=NAMES, begin=NOW - 2 * DAY, end=NOW - DAY), "not valid now"),
    "of_tomorrow": (make("server", issuer=CA, alternative=NAMES, begin=NOW + DAY, end=NOW + 2 * DAY), "not valid now"),
    "another_name": (make("server", issuer=CA, alternative=[x509.DNSName("evil.example")]), "for server.example: set"),
    "its_address_alone": (make("server", issuer=CA, alternative=NAMES[1:]), "for server.example: set"),
    "name_in_subject_only": (
        make("server.example", issuer=CA, alternative=[x509.DNSName("evil.example")]),
        "not for server.example",
    ),
}


@pytest.mark.parametrize(("made", "output"), WRONG.values(), ids=WRONG)
def test_connect_refuses_a_certificate_of(made, output, peer, ca_file, tmp_path):
    chain = [made, GOOD] if made is WRONG["signed_by_a_leaf"][0] else [made]
    message = device_output(refused(server_context(tmp_path, *chain)), peer, ca_file)
    assert message.startswith("certificate the server's certificate is ")
    assert output in message


@pytest.mark.parametrize("name", ["server.example", "", "127.0.0.1"])
def test_connect_takes_the_right_certificate(name, peer, ca_file, tmp_path):
    assert device_output(pong(server_context(tmp_path, GOOD)), peer, ca_file, name) == "done b'pong'"


def test_connect_takes_a_chain_that_ends_in_the_ca(peer, ca_file, tmp_path):
    middle = make("between", issuer=CA, ca=True)
    context = server_context(tmp_path, make("server", issuer=middle, alternative=NAMES), middle)
    assert device_output(pong(context), peer, ca_file) == "done b'pong'"


@pytest.mark.parametrize("roots", [(CA, OTHER), (OTHER, CA), (OTHER, make("more", ca=True), CA)])
def test_connect_takes_the_certificate_of_each_ca_of_several(roots, peer, ca_file, tmp_path):
    (tmp_path / "ca.der").write_bytes(b"".join(each.der for each in roots))
    for each in {CA, OTHER} & set(roots):
        made = make("server", issuer=each, alternative=NAMES)
        assert device_output(pong(server_context(tmp_path, made)), peer, ca_file) == "done b'pong'"


def test_connect_refuses_a_certificate_of_none_of_several_cas(peer, ca_file, tmp_path):
    (tmp_path / "ca.der").write_bytes(OTHER.der + make("more", ca=True).der)
    assert "not signed by the CA" in device_output(refused(server_context(tmp_path, GOOD)), peer, ca_file)


def test_connect_with_an_old_protocol_is_refused(peer, ca_file, tmp_path):
    context = server_context(tmp_path, GOOD)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    assert device_output(refused(context), peer, ca_file).split()[0] in ("network", "garbage")


@pytest.mark.parametrize(
    ("content", "output"),
    [
        (None, "no CA certificate in"),
        (b"", "not a certificate"),
        (CA.pem, "not a certificate"),
        (CA.der + b"x", "not a certificate"),
        (CA.der + OTHER.der[:-1], "not a certificate"),
    ],
)
def test_without_a_ca_there_is_no_connection(content, output, tmp_path):
    path = tmp_path / "ca.der"
    if content is not None:
        path.write_bytes(content)
    message = micropython.run(f"{HEAD}attempt()", arguments=("1", str(path), "server.example", "1000"))
    assert message.startswith("certificate ")
    assert output in message


def test_identity_of_no_use_is_a_matter_of_settings(ca_file, tmp_path):
    (tmp_path / "bad").write_bytes(b"\x30\x03abc")
    message = micropython.run(
        f"{HEAD}attempt()", arguments=("1", ca_file, "server.example", "1000", *[str(tmp_path / "bad")] * 2)
    )
    assert message.startswith("settings the device's own certificate or key")


def test_identity_is_shown_to_a_server_that_requests_it(peer, ca_file, tmp_path, identity):
    context = server_context(tmp_path, GOOD, client_ca=CA)
    files = identity(make("device", issuer=CA))
    assert device_output(pong(context), peer, ca_file, "server.example", *files) == "done b'pong'"


@pytest.mark.parametrize("levels", [1, 2])
def test_identity_is_shown_with_the_certificates_above_it(levels, peer, ca_file, tmp_path):
    above = [make("intermediate", issuer=CA, ca=True)]
    while len(above) < levels:
        above.insert(0, make("lower", issuer=above[0], ca=True))
    made = make("device", issuer=above[0])
    (tmp_path / "device.crt").write_bytes(b"".join(each.der for each in (made, *above)))
    (tmp_path / "device.key").write_bytes(key_der(made))
    context = server_context(tmp_path, GOOD, client_ca=CA)  # knows the root only
    files = (str(tmp_path / "device.crt"), str(tmp_path / "device.key"))
    assert device_output(pong(context), peer, ca_file, "server.example", *files) == "done b'pong'"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_identity_that_the_server_refuses_is_reported(version, peer, ca_file, tmp_path, identity):
    context = server_context(tmp_path, GOOD, client_ca=CA)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = version

    def behave(connection):
        tls = Secured(connection, context)
        with pytest.raises(ssl.SSLError):
            tls.shake_hands()
        connection.sendall(tls._out.read())
        until_closed(connection)

    files = identity(make("device", issuer=OTHER))
    message = device_output(behave, peer, ca_file, "server.example", *files)
    assert message == "network the server ended TLS with an alert: it may not accept this device's certificate"


def test_server_without_tls_is_reported(peer, ca_file):
    def behave(connection):
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        until_closed(connection)

    assert device_output(behave, peer, ca_file).startswith("garbage the server does not speak TLS")


class Spoiled:
    """A server's bytes on their way: cut off after `cut` of them, with the one at `flip` changed."""

    def __init__(self, connection, *, cut=None, flip=None):
        self._connection, self._cut, self._flip = connection, cut, flip
        self.sent = 0

    def __call__(self, data):
        data = bytearray(data)
        if self._flip is not None and self.sent <= self._flip < self.sent + len(data):
            data[self._flip - self.sent] ^= 0x15
        if self._cut is not None:
            data = data[: max(self._cut - self.sent, 0)]
        self.sent += len(data)
        self._connection.sendall(data)


def flight(tmp_path, peer, ca_file):
    """Return the number of bytes that a server sends in a whole exchange."""
    sizes = []

    def behave(connection):
        spoiled = Spoiled(connection)
        tls = Secured(connection, server_context(tmp_path, GOOD), spoiled)
        tls.shake_hands()
        record = tls.record(b"pong")
        sizes.append(spoiled.sent + len(record))
        connection.sendall(record)
        until_closed(connection)

    assert device_output(behave, peer, ca_file) == "done b'pong'"
    return sizes[0]


def spoiled(context, *, hold, **how):
    def behave(connection):
        tls = Secured(connection, context, Spoiled(connection, **how))
        try:
            tls.shake_hands()
            tls.receive(4)
            tls.send(b"pong")
        except (ssl.SSLError, OSError):
            return
        if hold:
            until_closed(connection)

    return behave


def test_connect_to_a_server_that_sends_a_byte_wrong_never_succeeds(peer, ca_file, tmp_path, report):
    context = server_context(tmp_path, GOOD)
    places = range(0, flight(tmp_path, peer, ca_file) - 1, 29)
    port = peer(*[spoiled(context, hold=True, flip=place) for place in places])
    output = micropython.run(
        f"{HEAD}for _ in range({len(places)}): attempt()", arguments=(str(port), ca_file, "server.example", "400")
    ).splitlines()
    assert len(output) == len(places)
    assert {line.split()[0] for line in output} <= {"garbage", "certificate", "network", "closed", "timeout"}
    report(f"a TLS handshake was spoiled at {len(places)} places: none succeeded")


def test_connect_to_a_server_that_stops_anywhere_ends_in_time(peer, ca_file, tmp_path):
    context = server_context(tmp_path, GOOD)

    def stops(cut, hold):
        def behave(connection):
            tls = Secured(connection, context, Spoiled(connection, cut=cut))
            if hold:
                with pytest.raises(ConnectionError):  # the device's patience ends first
                    shake_hands_and_receive(tls, 100)
            else:
                receive(connection, 5)
                Spoiled(connection, cut=cut)(b"\x16\x03\x03\x01\x00" + bytes(200))
                connection.shutdown(socket.SHUT_WR)
                until_closed(connection)

        return behave

    whole = flight(tmp_path, peer, ca_file)
    places = [0, 1, 4, 5, 6, 50, 90, 95, 130, whole // 2, whole - 200, whole - 100]
    port = peer(*[stops(place, hold=True) for place in places], *[stops(place, hold=False) for place in (0, 3, 5, 90)])
    output = micropython.run(
        f"{HEAD}for _ in range({len(places) + 4}): attempt()", arguments=(str(port), ca_file, "server.example", "150")
    ).splitlines()
    kinds = [line.split()[0] for line in output]
    assert kinds == ["timeout"] * len(places) + ["closed"] * 4


def test_handshake_that_waits_calls_what_wants_to_be_called(peer, ca_file):
    code = """
calls = 0
def count():
    global calls
    calls += 1
board.on_idle(count, 10)
attempt()
print(10 <= calls <= 100)  # and no more: waiting is not spinning
"""
    output = device_output(until_closed, peer, ca_file, timeout_ms=300, code=code).splitlines()
    assert output[0].startswith("timeout")
    assert output[1] == "True"


def test_ready_knows_what_tls_holds_and_waits_for_the_rest_of_a_record(peer, ca_file, tmp_path):
    def behave(connection):
        tls = Secured(connection, server_context(tmp_path, GOOD))
        assert shake_hands_and_receive(tls, 4) == b"ping"
        tls.send(b"hello")
        assert tls.receive(1) == b"1"
        record = tls.record(b"world")
        connection.sendall(record[:-3])
        assert tls.receive(1) == b"2"
        connection.sendall(record[-3:])
        assert tls.receive(1) == b"3"
        connection.sendall(tls.record(b"one") + tls.record(b"two"))
        until_closed(connection)

    code = """
stream = connected()
print(stream.ready(5000), stream.read(1), stream.ready(0), stream.ready(0))
print(stream.read(3), stream.ready(0), stream.read(1))
print(stream.ready(50))
stream.write(b"1"); stream.flush()
print(stream.ready(50))
stream.write(b"2"); stream.flush()
print(stream.ready(5000), stream.read(5))
stream.write(b"3")
print(stream.read(3), stream.ready(5000), stream.read(2), stream.ready(0), stream.read(1), stream.ready(50))
stream.close()
"""
    output = device_output(behave, peer, ca_file, timeout_ms=9000, code=code).splitlines()
    assert output == [
        "True b'h' True True",
        "b'ell' True b'o'",
        "False",
        "False",
        "True b'world'",
        "b'one' True b'tw' True b'o' False",
    ]


EXCHANGE = """
from firstboot import provisioning
from firstboot.mqtt import Mqtt
from firstboot.transports import mqtt
print(bytes(mqtt.exchange(found, "a board", json.dumps({"deviceName": "a board",
    "provisionDeviceKey": sys.argv[5], "provisionDeviceSecret": sys.argv[6],
    "credentialsType": "ACCESS_TOKEN", "token": "the token of this board"}))))
client = Mqtt(found, "a board", "the token of this board")
client.connect()
client.publish("v1/devices/me/telemetry", '{"temperature": 21}', 1)
client.close()
print("acknowledged")
"""


def test_provisioning_and_telemetry_against_the_bench(server: RunningServer, tmp_path):
    (tmp_path / "ca.der").write_bytes(server.identity.ca.public_bytes(serialization.Encoding.DER))
    code = HEAD.replace("identity = (file", "identity = None and (file").replace("import sys,", "import json, sys,")
    output = micropython.run(
        code + EXCHANGE,
        arguments=(
            str(server.ports.mqtts),
            str(tmp_path / "ca.der"),
            "localhost",
            "10000",
            server.profile.provision_key,
            server.profile.provision_secret,
        ),
    )
    assert '"status":"SUCCESS"' in output
    assert output.endswith("acknowledged\n")
    assert server.device_names() == ["a board"]
