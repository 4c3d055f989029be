"""TLS: the certificate of the server, and those of devices."""

import base64
import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from bench import paths
from bench.conformance.check import Broken
from bench.conformance.server import mqtt_wire
from bench.conformance.server.addresses import CheckedAddresses
from bench.conformance.server.answers import SUCCESS
from bench.conformance.server.check_list import CheckList
from bench.conformance.server.mqtt_wire import MqttConnection
from bench.conformance.server.subject import CheckedServer
from bench.conformance.server.transports import TRANSPORTS
from bench.errors import BenchError
from bench.mqtt import client_packets

_CERTIFICATES = "ThingsBoard: certificates of devices, over MQTT with TLS"
# What OpenSSL says of a certificate that is trusted, but not now (9, 10) or not for this name (62) or address (64).
_WRONG = {9, 10, 62, 64}
_SCHEMES = {f"tls.{each}": each for each in ("mqtts", "https")}

checks = CheckList()


@checks.add_for_each(_SCHEMES, "certificate", "RFC 9525 (service identity); RFC 5280, 4.1.2.5 (validity)")
def _certificate(scheme: str, server: CheckedServer) -> None:
    """The certificate is in its time, and covers the name or address that devices know the server by."""
    where = server.addresses.at(scheme)
    line = server.addresses.plain(where)
    try:
        with server.addresses.trust.wrap_socket(line, server_hostname=where.host):
            pass
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in _WRONG:
            raise Broken(error.verify_message.rstrip(".")) from error
        raise server.addresses.unreachable(where, error) from error
    except OSError as error:
        raise server.addresses.unreachable(where, error) from error
    finally:
        line.close()


@checks.add_for_each(_SCHEMES, "version_1_2", "RFC 5246; ThingsBoard: TLS 1.2 unless set otherwise")
def _version_1_2(scheme: str, server: CheckedServer) -> None:
    """A client that speaks TLS 1.2 and nothing newer is served: many microcontrollers are such."""
    where = server.addresses.at(scheme)
    server.addresses.connection(where).close()
    old = server.addresses.only(scheme)
    old.trust.maximum_version = ssl.TLSVersion.TLSv1_2
    try:
        old.connection(where).close()
    except BenchError as error:
        raise Broken(str(error)) from error


@checks.add_for_each(_SCHEMES, "provision", "ThingsBoard: the same API over TLS")
def _provision(scheme: str, server: CheckedServer) -> None:
    """A device gets its token over TLS, and logs in with it over TLS."""
    addresses = server.addresses.only(scheme)
    transport = next(each for each in TRANSPORTS if scheme in each.schemes)
    name = server.newcomer()
    with transport.open(addresses) as exchange:
        token = server.provision_over(exchange, name, token=server.new_token()).expect_token()
    if not transport.logs_in(addresses, token):
        raise Broken("the token is refused right after the answer")


@checks.add("tls.mqtts.no_plaintext", "RFC 8446, 5.1")
def _no_plaintext(server: CheckedServer) -> None:
    """A CONNECT that is sent to the port of TLS without TLS is not let in."""
    line = server.addresses.plain(server.addresses.at("mqtts"))
    with MqttConnection(line, level=4, patience_s=server.addresses.patience_s) as plain:
        plain.send(client_packets.connect("", mqtt_wire.PROVISION))
        if plain.is_let_in():
            raise Broken("it was let in")


@checks.add("tls.mqtts.client_certificate", _CERTIFICATES)
def _client_certificate(server: CheckedServer) -> None:
    """A device that asked for X509_CERTIFICATE logs in with its certificate and nothing else."""
    addresses = server.addresses.only("mqtts")
    server.expect_creating()
    text = _show_certificate(addresses, server.new_name())
    request = {"credentialsType": "X509_CERTIFICATE", "hash": text}
    server.provision(server.first, server.new_name(), **request).expect(SUCCESS)
    with mqtt_wire.opened(addresses) as line:
        if code := mqtt_wire.login(line, "a-device"):
            raise Broken(f"CONNACK {code} instead of 0")


@checks.add("tls.mqtts.unknown_certificate", _CERTIFICATES)
def _unknown_certificate(server: CheckedServer) -> None:
    """A certificate that no device has is refused with CONNACK 5 or 4, though a good token comes with it."""
    addresses = server.addresses.only("mqtts")
    _show_certificate(addresses, server.new_name())
    with mqtt_wire.opened(addresses) as line:
        code = mqtt_wire.login(line, "a-device", server.token)
        if code not in (4, 5):
            raise Broken(f"CONNACK {code} instead of 5 or 4")
        line.expect_closed()


def _show_certificate(addresses: CheckedAddresses, name: str) -> str:
    """Have clients show a new certificate from now on; return its text, as ThingsBoard keeps it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # whose clock is right is not what is checked
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "device.pem"
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        paths.write_private(path, pem + certificate.public_bytes(Encoding.PEM))
        addresses.trust.load_cert_chain(path)
    return base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()
