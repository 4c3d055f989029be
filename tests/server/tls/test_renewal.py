"""Certificates renewed while the server runs."""

import socket
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from bench.server.tls import authority
from tests.support.certificates import make, write
from tests.support.http_requests import call

OFTEN = {"certificate_every_s": 0.05}


def shown(server, transport):
    """The certificate that a new connection is shown."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    address = ("127.0.0.1", getattr(server.ports, transport))
    with socket.create_connection(address, 10) as line, context.wrap_socket(line) as secure:
        return x509.load_der_x509_certificate(secure.getpeercert(binary_form=True))


def test_own_certificate_that_is_about_to_expire_is_renewed(start_server):
    server = start_server(**OFTEN)
    (server.data / "tls" / "server.pem").unlink()
    before = authority.ensure(server.data, now=datetime.now(UTC) - timedelta(days=720)).certificate
    assert before.not_valid_after_utc < datetime.now(UTC) + timedelta(days=30)
    event = server.wait_for("certificate_renewed")
    for transport in ("https", "mqtts"):
        found = shown(server, transport)
        assert found.not_valid_after_utc > datetime.now(UTC) + timedelta(days=700)
        assert authority.fingerprint(found) == event["sha256"] or server.events("certificate_renewed")[1:]
    expires = int(found.not_valid_after_utc.timestamp())
    text = call(server, "/metrics", method="GET")[1].decode()
    (line,) = [each for each in text.splitlines() if each.startswith("firstboot_certificate_expires")]
    assert int(float(line.split()[1])) == expires


@pytest.mark.parametrize("transport", ["https", "mqtts"])
def test_certificate_of_the_user_is_read_again_and_a_wrong_one_is_not_used(start_server, tmp_path, transport):
    first, second = make("first"), make("second")
    certificate, key = write(tmp_path, "own", first)
    server = start_server(tls_cert=certificate, tls_key=key, **OFTEN)
    certificate.write_bytes(second.pem)  # its key is still the first one's
    assert "is not the key of" in server.wait_for("certificate_unusable")["problem"]
    assert shown(server, transport) == first.certificate
    key.write_bytes(second.key_pem)
    server.wait_for("certificate_renewed", sha256=authority.fingerprint(second.certificate))
    assert shown(server, transport) == second.certificate
