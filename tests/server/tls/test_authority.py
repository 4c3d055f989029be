"""The server's certificate: what is made, when it is made anew, and what a killed start leaves."""

import os
import signal
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bench.errors import BenchError, UsageError
from bench.server.tls import authority
from bench.server.tls.contexts import https_context, mqtt_context
from tests.support.certificates import make, write

NOW = datetime.now(UTC).replace(microsecond=0)
FILES = ("ca.key", "ca.pem", "server.key", "server.pem")


def damage(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("name", ["", "a b", "-a", "a-", "a..b", "x" * 64, "ä.example", "a/b", "*.local", "a\n"])
def test_ensure_refuses_what_is_no_host_name(tmp_path, name):
    with pytest.raises(UsageError, match="is not a host name"):
        authority.ensure(tmp_path, ["localhost", name])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "act", "message"),
    [
        ("ca.pem", damage, r"ca\.pem holds no certificate.*delete \S+tls: bench serve makes a new CA"),
        ("ca.key", damage, r"ca\.key holds no private key.*delete \S+tls: bench serve makes a new CA"),
        ("ca.key", os.unlink, r"ca\.key: No such file.*delete \S+tls: bench serve makes a new CA"),
        ("server.pem", damage, r"server\.pem holds no certificate.*delete \S+server\.pem and \S+server\.key: "),
        ("server.key", damage, r"server\.key holds no private key.*delete \S+server\.pem and \S+server\.key: "),
        ("server.key", os.unlink, r"server\.key: No such file.*delete \S+server\.pem and \S+server\.key: "),
    ],
)
def test_damaged_or_missing_file_is_one_line_with_the_cure(tmp_path, name, act, message):
    authority.ensure(tmp_path)
    act(tmp_path / "tls" / name)
    for start in (authority.ensure, authority.existing):
        with pytest.raises(BenchError, match=message) as caught:
            start(tmp_path)
        assert "\n" not in str(caught.value)
        assert "PRIVATE" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ca.key", r"ca\.key is not the key of ca\.pem"),
        ("server.key", r"server\.key is not the key of server\.pem"),
        ("server.pem", r"server\.key is not the key of server\.pem"),
    ],
)
def test_file_of_another_bench_is_reported(tmp_path, name, message):
    authority.ensure(tmp_path / "one")
    authority.ensure(tmp_path / "other")
    (tmp_path / "other" / "tls" / name).replace(tmp_path / "one" / "tls" / name)
    with pytest.raises(BenchError, match=message):
        authority.ensure(tmp_path / "one")


def test_certificate_of_another_ca_is_reported_and_the_cure_works(tmp_path):
    authority.ensure(tmp_path / "one")
    authority.ensure(tmp_path / "other")
    for name in ("ca.pem", "ca.key"):
        (tmp_path / "other" / "tls" / name).replace(tmp_path / "one" / "tls" / name)
    with pytest.raises(BenchError, match=r"server\.pem is not of the CA in ca\.pem"):
        authority.ensure(tmp_path / "one")
    for name in ("server.pem", "server.key"):
        (tmp_path / "one" / "tls" / name).unlink()
    authority.ensure(tmp_path / "one")


def test_certificate_that_only_claims_the_ca_is_reported(tmp_path):
    identity = authority.ensure(tmp_path)
    key = identity.key
    forged = make(key=key, named=identity.certificate.subject)
    identity.certificate_file.write_bytes(forged.pem + identity.ca.public_bytes(serialization.Encoding.PEM))
    with pytest.raises(BenchError, match="is not of the CA"):
        authority.ensure(tmp_path)


def test_certificate_without_its_ca_is_reported(tmp_path):
    identity = authority.ensure(tmp_path)
    identity.certificate_file.write_bytes(identity.certificate.public_bytes(serialization.Encoding.PEM))
    with pytest.raises(BenchError, match="is not of the CA"):
        authority.ensure(tmp_path)


def test_expired_ca_is_reported(tmp_path):
    authority.ensure(tmp_path, now=NOW - timedelta(days=3651))
    with pytest.raises(BenchError, match=r"ca\.pem has expired: .* makes a new CA"):
        authority.ensure(tmp_path)


def test_existing_makes_nothing(tmp_path):
    with pytest.raises(BenchError, match=r"no certificate in .*: bench serve makes one"):
        authority.existing(tmp_path)
    assert not list(tmp_path.iterdir())


def test_files_are_private(tmp_path):
    authority.ensure(tmp_path)
    folder = tmp_path / "tls"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == dict.fromkeys(FILES, 0o600)


def test_certificate_is_what_clients_require(tmp_path):
    identity = authority.ensure(tmp_path, ["localhost", "Bench.local", "127.0.0.1", "::1", "fe80::1%eth0"], now=NOW)
    leaf, ca = identity.chain
    assert identity.names == ["localhost", "bench.local", "127.0.0.1", "::1", "fe80::1"]
    assert (leaf.not_valid_before_utc, ca.not_valid_before_utc) == (NOW - timedelta(days=1),) * 2
    assert leaf.not_valid_after_utc - NOW == timedelta(days=730)
    assert ca.not_valid_after_utc - NOW == timedelta(days=3650)
    assert identity.ca == ca
    constraints = ca.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=0)
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]


def test_openssl_verifies_the_certificate_strictly(tmp_path):
    identity = authority.ensure(tmp_path)
    ca = tmp_path / "tls" / "ca.pem"
    for name in (["-verify_hostname", "localhost"], ["-verify_ip", "127.0.0.1"]):
        command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", *name, "-CAfile", str(ca)]
        subprocess.run([*command, str(identity.certificate_file)], check=True, capture_output=True, timeout=30)
    done = subprocess.run(
        ["openssl", "x509", "-noout", "-fingerprint", "-sha256", "-in", str(ca)],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stdout.strip().partition("=")[2] == authority.fingerprint(identity.ca)


def test_second_start_keeps_everything(tmp_path):
    first = authority.ensure(tmp_path, ["a.example", "::1"])
    assert authority.ensure(tmp_path, ["::1"]) == first  # fewer names are covered, too
    assert authority.existing(tmp_path) == first


@pytest.mark.parametrize(
    ("days", "names", "reissued"),
    [
        (0, ["b.example"], True),
        (0, ["a.example", "127.0.0.1"], True),
        (699, ["a.example"], False),
        (701, ["a.example"], True),
        (800, ["a.example"], True),
        (-2, ["a.example"], True),  # the clock was ahead when it was made
    ],
)
def test_certificate_is_reissued_under_the_same_ca(tmp_path, days, names, reissued):
    first = authority.ensure(tmp_path, ["a.example"], now=NOW)
    second = authority.ensure(tmp_path, names, now=NOW + timedelta(days=days))
    assert second.ca == first.ca
    assert (second.certificate != first.certificate) is reissued
    assert set(names) <= set(second.names)
    assert second.certificate.not_valid_after_utc <= second.ca.not_valid_after_utc


def test_certificate_ends_with_its_ca(tmp_path):
    first = authority.ensure(tmp_path, now=NOW)
    later = authority.ensure(tmp_path, now=NOW + timedelta(days=3600))
    assert later.certificate.not_valid_after_utc == first.ca.not_valid_after_utc


KILLER = """
import os, signal, sys
from pathlib import Path
from bench.server.tls import authority
data, kill_at, *names = sys.argv[1:]
left = int(kill_at)
def hook(event, arguments):
    # every change of a file: made or opened for writing, renamed
    global left
    writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if (writes or event in ("os.rename", "os.mkdir")) and str(arguments[0]).startswith(data):
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
sys.addaudithook(hook)
authority.ensure(Path(data), names)
"""


def killed(data, at, *names) -> bool:
    """Run a start that is killed before its change number `at` of a file; False if it has fewer."""
    command = [sys.executable, "-c", KILLER, str(data), str(at), *names]
    code = subprocess.run(command, check=False, timeout=60).returncode
    assert code in (0, -signal.SIGKILL)
    return code != 0


@pytest.mark.slow
@pytest.mark.parametrize("before", [[], ["a.example"]], ids=["first start", "reissue"])
def test_killed_start_is_finished_by_the_next(tmp_path, before, report):
    at = 0
    while True:
        data = tmp_path / str(at)
        ca = authority.ensure(data, before).ca if before else None
        if not killed(data, at, "b.example"):
            break
        folder = data / "tls"
        for path in folder.iterdir() if folder.exists() else ():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert (folder / "server.pem").exists() or not before
        found = folder / "ca.pem"
        if found.exists():
            ca = x509.load_pem_x509_certificate(found.read_bytes())
        identity = authority.ensure(data, ["b.example"])
        assert ca in (None, identity.ca)
        assert identity.names == ["b.example"]
        at += 1
    files = 1 if before else 4
    assert at >= 2 * files  # each is opened and renamed
    report(f"TLS files: {at} kills of a {'reissue' if before else 'first start'}")


def test_load_of_the_users_own(tmp_path):
    ca = make("ca", ca=True)
    leaf = make("leaf", issuer=ca, key=rsa.generate_private_key(65537, 2048))
    identity = authority.load(*write(tmp_path, "own", leaf, ca))
    assert identity.chain == (leaf.certificate, ca.certificate)
    assert identity.ca == ca.certificate
    assert identity.names == []
    assert authority.load(*write(tmp_path, "leaf", leaf)).ca is None
    assert authority.load(*write(tmp_path, "self", ca)).ca == ca.certificate


OWN_CA = make("ca", ca=True)
OWN = make("leaf", issuer=OWN_CA)
DER_KEY = OWN.key.private_bytes(
    serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)


@pytest.mark.parametrize(
    ("certificate", "key"),
    [
        (OWN.pem + OWN_CA.pem, OWN.key_pem),
        (OWN_CA.pem + OWN.pem, OWN.key_pem),
        (OWN.der + OWN_CA.der, DER_KEY),
        ((OWN.pem + OWN_CA.pem).decode().replace("\n", "\r\n").encode("utf-16"), b"\xef\xbb\xbf" + OWN.key_pem),
        (b"subject=a\n" + OWN.pem + OWN.key_pem + b"\nissuer=b\n" + OWN_CA.pem, OWN.pem + OWN.key_pem),
    ],
    ids=["leaf first", "CA first", "DER", "of Windows", "one file with comments"],
)
def test_load_of_the_users_own_in_any_form_is_shown_to_clients(tmp_path, certificate, key):
    files = tmp_path / "own.crt", tmp_path / "own.key"
    for path, content in zip(files, (certificate, key), strict=True):
        path.write_bytes(content)
    identity = authority.load(*files)
    assert identity.chain == (OWN.certificate, OWN_CA.certificate)
    assert https_context(identity)
    assert mqtt_context(identity)


@pytest.mark.parametrize(
    ("which", "content", "message"),
    [
        ("certificate", None, "No such file or directory: name the server's certificate"),
        ("certificate", b"", "holds no certificate, .*: name the server's certificate"),
        ("certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "holds no certificate"),
        ("key", None, "No such file or directory: name the server's certificate"),
        ("key", b"\xff\x00", "holds no private key, .*: name the server's certificate and its key"),
        ("key", "other", "is not the key of a certificate in .*: name the server's certificate and its key"),
        ("key", "encrypted", r"is encrypted: .*openssl pkey -in"),
    ],
)
def test_load_of_the_users_own_tells_the_cure(tmp_path, which, content, message):
    made = make()
    certificate, key = write(tmp_path, "own", made)
    path = certificate if which == "certificate" else key
    if content is None:
        path.unlink()
    elif content == "other":
        path.write_bytes(make().key_pem)
    elif content == "encrypted":
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
        path.write_bytes(made.key.private_bytes(*form, serialization.BestAvailableEncryption(b"secret")))
    else:
        path.write_bytes(content)
    with pytest.raises(BenchError, match=message) as caught:
        authority.load(certificate, key)
    assert str(path) in str(caught.value)
