"""Certificates that the device makes for itself, judged by everyone who will see one."""

import base64
import hashlib
import json
import os
import subprocess
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bench.flash import firmware
from bench.virtual import unix_port
from tests.support import certificates, micropython
from tests.support.mqtt_packets import VERSIONS, request_body
from tests.support.raw_client import RawClient

MQTT = VERSIONS["3.1.1"]
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
# The longest device name there is, and every length at which something changes.
NAMES = [
    "x",
    "press 4",
    'zoë "設備" \\ <a href="/">;,+=#& \N{SMILING FACE WITH OPEN MOUTH}',
    " # ",
    *("x" * length for length in (63, 64, 65, 110, 127, 128, 255)),
    *("é" * length for length in (32, 33, 255)),
    "\N{SMILING FACE WITH OPEN MOUTH}" * 255,
    "\N{SMILING FACE WITH OPEN MOUTH}" * 16,
    "x" + "設" * 254,
    "xx" + "設" * 253,
]
MAKE = """
import binascii, json
from firstboot import p256, x509
def feed(): pass
def hexed(raw): return binascii.hexlify(raw).decode()
def make(name, key=0):
    key = key or p256.make_key()
    public = p256.public(key, feed)
    return x509.self_signed(name, key, public, feed), x509.private_key(key, public)
"""


class Made:
    """A certificate made by a device, and its key."""

    def __init__(self, name: str, certificate: str, key: str) -> None:
        self.name = name
        self.der, self.key_der = bytes.fromhex(certificate), bytes.fromhex(key)
        self.certificate = x509.load_der_x509_certificate(self.der)
        self.key = load_der_private_key(self.key_der, None)

    @property
    def text(self) -> str:
        return base64.b64encode(self.der).decode()


def make(*names, key=0):
    """Certificates for these names, all made by one device."""
    names_json = json.dumps(names, ensure_ascii=False)
    output = micropython.run(f"""{MAKE}
for name in json.loads({names_json!r}):
    print(json.dumps([hexed(raw) for raw in make(name, {key})]))
""")
    return [Made(name, *json.loads(line)) for name, line in zip(names, output.splitlines(), strict=True)]


@pytest.fixture(scope="module")
def all_made():
    """One certificate for each name."""
    return make(*NAMES)


@pytest.fixture(scope="module")
def made(all_made):
    """The certificate of a device with an everyday name."""
    return all_made[NAMES.index("press 4")]


@pytest.fixture(scope="module")
def stranger():
    """A certificate of the same name that nobody knows."""
    return make("press 4")[0]


def openssl(*arguments):
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, timeout=30, check=False)


# What is in it.


def test_certificate_is_bit_by_bit_what_it_should_be(all_made):
    """The same fields, put together by another library, give the same bytes."""
    for made in all_made:
        found = made.certificate
        public = made.key.public_key()
        raw = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        usage = dict.fromkeys(
            (
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "key_cert_sign",
                "crl_sign",
                "encipher_only",
                "decipher_only",
            ),
            False,
        )
        builder = (
            x509.CertificateBuilder()
            .subject_name(found.subject)
            .issuer_name(found.subject)
            .serial_number(found.serial_number)
            .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
            .not_valid_after(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
            .public_key(public)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(digital_signature=True, **usage), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier(hashlib.sha256(raw).digest()[:20]), critical=False)
        )
        expected = builder.sign(made.key, hashes.SHA256())
        assert found.tbs_certificate_bytes == expected.tbs_certificate_bytes
        assert found.signature_algorithm_oid == expected.signature_algorithm_oid
        assert found.version is x509.Version.v3
        found.verify_directly_issued_by(found)
        assert found.public_bytes(Encoding.DER) == made.der
        assert made.key_der == made.key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def test_common_name_is_the_device_or_its_begin_and_digest(all_made):
    for made in all_made:
        (attribute,) = made.certificate.subject
        assert attribute.oid == NameOID.COMMON_NAME
        assert len(attribute.value.encode()) <= 64
        if len(made.name.encode()) <= 64:
            assert attribute.value == made.name
        else:
            begin, _, digest = attribute.value.rpartition("~")
            assert made.name.startswith(begin)
            assert 44 <= len(begin.encode()) <= 47
            assert digest == hashlib.sha256(made.name.encode()).hexdigest()[:16]


def test_long_names_with_the_same_beginning_are_distinguished():
    first, second = make("x" * 254 + "1", "x" * 254 + "2")
    assert first.certificate.subject != second.certificate.subject


def test_no_two_certificates_are_alike():
    made = make(*["press 4"] * 30)
    assert len({each.certificate.serial_number for each in made}) == 30
    assert len({each.certificate.public_key().public_numbers().x for each in made}) == 30
    for each in made:
        assert 0 < each.certificate.serial_number < 1 << 159  # 20 octets and positive: RFC 5280, 4.1.2.2


@pytest.mark.parametrize("key", [1, 2, 255, 256, N - 1])
def test_keys_at_the_edges_have_certificates_too(key):
    (made,) = make("edge", key=key)
    made.certificate.verify_directly_issued_by(made.certificate)
    assert made.key.private_numbers().private_value == key
    assert made.key.public_key() == made.certificate.public_key()


def test_signatures_with_numbers_of_every_length():
    numbers = sorted({value for bits in range(1, 257) for value in (1 << bits - 1, (1 << bits) - 1)})
    pairs = list(zip(numbers, reversed(numbers), strict=True))
    output = micropython.run(f"""{MAKE}
for r, s in {pairs!r}: print(hexed(x509._sequence(x509._integer(r), x509._integer(s))))
""")
    assert output.split() == [encode_dss_signature(r, s).hex() for r, s in pairs]
    assert micropython.run(f"{MAKE}\nprint(hexed(x509._integer(0)))").strip() == "020100"


def test_lengths_of_every_size():
    sizes = [0, 1, 127, 128, 255, 256, 65535]
    output = micropython.run(f"{MAKE}\nfor size in {sizes}: print(hexed(x509._der(4, bytes(size))[:-size or None]))")
    assert output.split() == ["0400", "0401", "047f", "048180", "0481ff", "04820100", "0482ffff"]


# A bit that flips.


def test_bit_that_flips_anywhere_makes_no_certificate(report):
    """One bit of one intermediate result is wrong: the certificate is refused, or right all the same."""
    output = micropython.run(f"""{MAKE}
import os
class Fixed: urandom = staticmethod(lambda count: bytes([7] * count))
p256.os = x509.os = Fixed
step = at = 0
def broken(function, parts):
    def run(*arguments):
        global step
        step += 1
        result = function(*arguments)
        if step != at:
            return result
        changed = list(result)
        changed[at % parts] ^= 1 << at * 37 % 256
        return tuple(changed)
    return run
p256._double = broken(p256._double, 3)
p256._add = broken(p256._add, 3)
p256._times_base = broken(p256._times_base, 2)
good = make("press 4")
steps, refused = step, 0
for at in range(1, steps, 11):
    step = 0
    try:
        assert make("press 4") == good, at
    except ArithmeticError as error:
        refused += 1
        assert str(error) == "the signature of our own certificate does not verify"
print(json.dumps([len(range(1, steps, 11)), refused]))
""")
    tried, refused = json.loads(output)
    assert refused > tried * 0.9  # the rest hit what was not used any more, or not yet
    report(f"a bit flipped at {tried} places of making a certificate: {refused} refused, the others came out right")


def test_key_of_another_certificate_is_refused():
    output = micropython.run(f"""{MAKE}
try:
    x509.self_signed("press 4", p256.make_key(), p256.public(p256.make_key(), feed), feed)
except ArithmeticError as error:
    print("refused", error)
""")
    assert output == "refused the signature of our own certificate does not verify\n"


# OpenSSL.


def test_openssl_verifies_it_strictly(all_made, tmp_path):
    for made in all_made:
        (tmp_path / "own.pem").write_bytes(made.certificate.public_bytes(Encoding.PEM))
        own = tmp_path / "own.pem"
        strict = ["verify", "-x509_strict", "-check_ss_sig", "-purpose", "sslclient", "-CAfile", own]
        done = openssl(*strict, own)
        assert done.stdout.strip() == f"{own}: OK", done.stderr
        shown = openssl("x509", "-in", own, "-noout", "-text", "-nameopt", "utf8")
        assert shown.returncode == 0
        assert "Not After : Dec 31 23:59:59 9999 GMT" in shown.stdout
        (tmp_path / "own.key").write_bytes(made.key_der)
        assert openssl("ec", "-inform", "DER", "-in", tmp_path / "own.key", "-check", "-noout").returncode == 0


def test_openssl_does_not_verify_it_for_a_server_or_with_a_bit_changed(made, tmp_path):
    good, bad = tmp_path / "good.der", tmp_path / "bad.der"
    good.write_bytes(made.der)
    bad.write_bytes(made.der[:-1] + bytes([made.der[-1] ^ 1]))
    for purpose, file in (("sslserver", good), ("sslclient", bad)):
        done = openssl("verify", "-x509_strict", "-check_ss_sig", "-purpose", purpose, "-CAfile", file, file)
        assert done.returncode != 0, purpose
    damaged = x509.load_der_x509_certificate(bad.read_bytes())
    with pytest.raises(InvalidSignature):
        damaged.verify_directly_issued_by(damaged)


# TLS.

LOGIN = """
import socket, ssl
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.verify_mode = ssl.CERT_REQUIRED
context.load_verify_locations(cadata=bytes.fromhex("{ca}"))
context.load_cert_chain(bytes.fromhex("{certificate}"), bytes.fromhex("{key}"))
connection = socket.socket()
connection.connect(socket.getaddrinfo("127.0.0.1", {port})[0][-1])
try:
    connection = context.wrap_socket(connection, server_hostname="localhost")
    connection.write({packet!r})
    print(connection.read(4).hex())
except OSError as error:
    print(type(error).__name__)
"""


def login(server, made, key=None):
    """Return the server's answer to a device with this certificate: CONNACK as hex, or the exception."""
    ca = server.identity.ca.public_bytes(Encoding.DER)
    code = LOGIN.format(
        ca=ca.hex(),
        certificate=made.der.hex(),
        key=(key or made).key_der.hex(),
        port=server.ports.mqtts,
        packet=MQTT.connect(client_id="x"),
    )
    return micropython.run(code).strip()


def provision(server, made, name="press 4"):
    """Provision a device with this certificate over HTTP; returns the answer."""
    body = request_body(server.profile, deviceName=name, credentialsType="X509_CERTIFICATE", hash=made.text)
    with RawClient(server.ports.http) as client:
        head = b"POST /api/v1/provision HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        client.send(head % len(body) + body)
        return json.loads(client.read(1 << 20).partition(b"\r\n\r\n")[2])


def test_certificate_that_was_not_provisioned_is_refused(server, made, stranger):
    assert provision(server, made)["status"] == "SUCCESS"
    assert login(server, stranger) == MQTT.refused(5, 0x87).hex()


def test_certificate_with_the_key_of_another_is_refused(server, made, stranger):
    assert provision(server, made)["status"] == "SUCCESS"
    assert login(server, made, key=stranger) in ("OSError", "")
    assert server.events("online") == []


def test_device_logs_in_with_the_certificate_it_was_provisioned_with(server, all_made):
    for number, made in enumerate(all_made):
        answer = provision(server, made, f"press {number}")
        assert (answer["status"], answer["credentialsType"]) == ("SUCCESS", "X509_CERTIFICATE")
        assert login(server, made) == MQTT.accepted().hex()
        assert server.wait_for("online", device=f"press {number}")["transport"] == "mqtts"


HANDSHAKE = """
import io, json, ssl
class Pipe(io.IOBase):
    def __init__(self, inbox, outbox): self.inbox, self.outbox = inbox, outbox
    def readinto(self, buffer):
        if not self.inbox: return None
        count = min(len(buffer), len(self.inbox))
        buffer[:count] = self.inbox[:count]
        self.inbox[:] = self.inbox[count:]
        return count
    def write(self, data):
        self.outbox.extend(data)
        return len(data)
    def ioctl(self, request, argument): return 0
up, down = bytearray(), bytearray()
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.verify_mode = ssl.CERT_REQUIRED
context.load_verify_locations(cadata=bytes.fromhex("{server_certificate}"))
context.load_cert_chain(bytes.fromhex("{certificate}"), bytes.fromhex("{key}"))
client = context.wrap_socket(Pipe(down, up), server_hostname="server", do_handshake_on_connect=False)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.verify_mode = ssl.CERT_REQUIRED
context.load_verify_locations(cadata=bytes.fromhex("{trusted}"))
context.load_cert_chain(bytes.fromhex("{server_certificate}"), bytes.fromhex("{server_key}"))
server = context.wrap_socket(Pipe(up, down), server_side=True, do_handshake_on_connect=False)
output = received = None
try:
    for _ in range(100):
        output = output or client.write(b"hello")
        received = received or server.read(5)
    print(received)
except (OSError, ValueError) as error:
    print("refused", error)
"""


def handshake(made, *, trusted):
    """Return what the server received in mutual TLS between two ends that are both MicroPython, or why it did not."""
    server = certificates.make("server")
    key = server.key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return micropython.run(
        HANDSHAKE.format(  # as hex: what looks like a private name, by chance, is refused in a text
            certificate=made.der.hex(),
            key=made.key_der.hex(),
            server_certificate=server.der.hex(),
            server_key=key.hex(),
            trusted=trusted.der.hex(),
        )
    )


def test_micropython_does_not_trust_another_of_the_same_name(made, stranger):
    assert "not correctly signed by the trusted CA" in handshake(made, trusted=stranger)


def test_micropython_trusts_it_in_mutual_tls(all_made):
    for made in all_made:
        assert handshake(made, trusted=made) == "b'hello'\n"


# What it takes.


@pytest.fixture
def run_compiled(tmp_path):
    """Run code on a unix port that has the firmware as a board has it, in a heap of so many KiB."""
    (tmp_path / "firstboot").mkdir()
    built = firmware.files()
    for name in ("__init__", "proof", "p256", "x509"):
        path = f"firstboot/{name}"
        (tmp_path / f"{path}.mpy").write_bytes(built[f"{path}.mpy"])

    def run(code, heap_kib):
        return subprocess.run(
            [unix_port.interpreter(), "-X", f"heapsize={heap_kib}k", "-c", code],
            env={**os.environ, "MICROPYPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def test_time_and_heap_that_it_takes(run_compiled, report):
    code = f"""
import time
begin = time.ticks_us()
{MAKE}
make("press 4")
print(time.ticks_diff(time.ticks_us(), begin))
"""
    fits, short = 128, 4
    assert run_compiled(code, fits).returncode == 0
    while fits - short > 1:
        heap = (fits + short) // 2
        done = run_compiled(code, heap)
        assert done.returncode == 0 or "MemoryError" in done.stdout, done.stdout
        fits, short = (heap, short) if done.returncode == 0 else (fits, heap)
    took_ms = min(int(run_compiled(code, 64).stdout) for _ in range(5)) / 1000
    report(f"a key and its certificate take {took_ms:.0f} ms and a heap of {fits} KiB on the unix port")
    assert fits <= 48  # half as much where pointers have four bytes; an ESP32 has 150 KiB
