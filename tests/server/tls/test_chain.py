"""The contents of certificates: signatures along a chain, names, dates, and the key of a chain profile."""

import base64
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, padding, rsa, x25519
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import Refused
from bench.registry import chains, profiles
from bench.registry.credentials import sha3, trim_certificate
from bench.registry.credentials import x509 as x509_credentials
from bench.server.tls import chain
from tests.support.certificates import DAY, NOW, line, make, subject

ROOT = make("root", ca=True)
LEAF = make("leaf", issuer=ROOT)
RSA = rsa.generate_private_key(65537, 2048)


def signed(*made):
    return chain.is_signed([each.certificate for each in made])


@pytest.mark.parametrize("length", [0, 1, 2, 3, 10])
def test_chain_that_is_signed(length):
    assert signed(*(line(length) if length else []))


def test_chain_longer_than_java_takes_is_refused():
    assert not signed(*line(11))


@pytest.mark.parametrize("at", range(1, 4))
def test_chain_with_one_wrong_signature_is_refused(at):
    good = line(4)
    stranger = make("stranger", named=good[at].certificate.subject, ca=True)
    assert not signed(*good[:at], stranger, *good[at + 1 :])


def test_chain_in_the_wrong_order_or_of_strangers_is_refused():
    assert not signed(ROOT, LEAF)
    assert not signed(LEAF, make("root"))
    assert not signed(make(), make())


def test_leaf_that_is_shown_twice_is_its_own_issuer_or_not():
    assert signed(ROOT, ROOT)
    assert not signed(LEAF, LEAF)


def test_names_and_dates_do_not_matter():
    old = make("old", signer=ROOT, begin=NOW - 9 * DAY, end=NOW - 8 * DAY)  # names itself as issuer
    assert signed(old, ROOT)


@pytest.mark.parametrize(
    "key",
    [
        RSA,
        ec.generate_private_key(ec.SECP521R1()),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=["rsa", "p521", "ed25519"],
)
def test_kinds_of_keys(key):
    issuer = make("ca", key=key, ca=True)
    leaf = make("leaf", issuer=issuer)
    assert signed(leaf, issuer)
    assert not signed(LEAF, issuer)
    assert not signed(leaf, ROOT)


@pytest.mark.parametrize("key", [ed448.Ed448PrivateKey.generate(), dsa.generate_private_key(2048)], ids=["448", "dsa"])
def test_rarer_kinds_of_keys(key):
    issuer = make("ca", key=ROOT.key)
    digest = None if isinstance(key, ed448.Ed448PrivateKey) else hashes.SHA256()
    ca = builder("ca", key.public_key()).sign(key, digest)
    leaf = builder("leaf", issuer.certificate.public_key()).sign(key, digest)
    assert chain.is_signed([leaf, ca])
    assert not chain.is_signed([LEAF.certificate, ca])


def test_rsa_pss_signature():
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    leaf = builder("leaf", ROOT.certificate.public_key()).sign(RSA, hashes.SHA256(), rsa_padding=pss)
    assert chain.is_signed([leaf, make("ca", key=RSA).certificate])


def test_key_that_cannot_sign_is_no_issuer():
    agreement = builder("agreement", x25519.X25519PrivateKey.generate().public_key()).sign(ROOT.key, hashes.SHA256())
    assert not chain.is_signed([LEAF.certificate, agreement])


def builder(name, public):
    return (
        x509.CertificateBuilder()
        .subject_name(subject(name))
        .issuer_name(subject("ca"))
        .public_key(public)
        .serial_number(1)
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
    )


def test_every_single_flipped_bit_is_found():
    for at in range(len(LEAF.der) * 8):
        raw = bytearray(LEAF.der)
        raw[at // 8] ^= 1 << at % 8
        chain.common_name(bytes(raw))
        chain.is_valid_at(bytes(raw), NOW)
        try:
            with chain.quiet():
                damaged = x509.load_der_x509_certificate(bytes(raw))
        except (ValueError, x509.InvalidVersion):
            continue
        same = (damaged.tbs_certificate_bytes, damaged.signature) == (
            LEAF.certificate.tbs_certificate_bytes,
            LEAF.certificate.signature,
        )  # in how many bits of the signature's last byte count, there is some freedom
        assert chain.is_signed([damaged, ROOT.certificate]) <= same, f"bit {at} of {bytes(raw).hex()}"


@given(st.binary(max_size=200))
def test_what_is_no_certificate_has_no_contents(raw):
    assert chain.common_name(raw) is None
    assert not chain.is_valid_at(raw, NOW)


# What Bouncy Castle's IETFUtils.valueToString makes of a value.
@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("device", "device"),
        ("DeviceA@company.com", "DeviceA@company.com"),
        ("zoë 設備", "zoë 設備"),
        ("a,b", "a\\,b"),
        ('"a"+b=c', '\\"a\\"\\+b\\=c'),
        ("a\\b<c>;", "a\\\\b\\<c\\>\\;"),
        ("#a#", "\\#a#"),
        (" a b ", "\\ a b\\ "),
        ("  ", "\\ \\ "),
        ("a  ", "a\\ \\ "),
        ("  #", "\\ \\ #"),
    ],
)
def test_common_name_is_escaped_as_java_does(name, found):
    assert chain.common_name(make(name).der) == found


def test_common_name_is_the_first_one():
    assert chain.common_name(make(named=subject("first", "second")).der) == "first"
    assert chain.common_name(make(named=x509.Name([])).der) is None


def test_common_name_beside_another_attribute_gives_way_to_the_first_of_both():
    one = x509.NameAttribute(NameOID.COMMON_NAME, "device")
    other = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "org")
    name = x509.Name([x509.RelativeDistinguishedName([one, other])])
    der = make(named=name).der
    first = "device" if der.rindex(b"device") < der.rindex(b"org") else "org"
    assert chain.common_name(der) == first


def test_common_name_too_long_for_the_standard_is_read_without_a_warning():
    with pytest.warns(UserWarning, match="length"):
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "n" * 70, _validate=False)])
    assert chain.common_name(make(named=name).der) == "n" * 70


@pytest.mark.parametrize(
    ("pattern", "name", "found"),
    [
        (r"(.*)\.company.com", "DeviceA.company.com", "DeviceA"),
        (r"(.*)@company.com", "DeviceA@company.com", "DeviceA"),
        (r"\D+\.(.*)\.\d+@company.com", "region.DeviceA.220423@company.com", "DeviceA"),
        (r"prefix(.*)suffix", "prefixDeviceAsuffix", "DeviceA"),
        (r"(\d+)", "room 12, rack 7", "12"),  # found, not matched in full
        (r"(a)|b", "b", None),
        (r"a(x?)", "a", ""),
        (r"a", "a", None),
        (r"(b)", "a", None),
        (r"(", "a", None),
        (r"(a{99999999999})", "a", None),
        (r"(\d)", "٣", None),
        (r"(a)", "a" * 1025, None),
    ],
)
def test_device_name_is_the_first_group(pattern, name, found):
    assert chains.name_in(name, pattern) == found


@pytest.mark.parametrize(
    ("moment", "valid"),
    [
        (NOW - DAY - timedelta(seconds=1), False),
        (NOW - DAY, True),
        (NOW, True),
        (NOW + DAY, True),
        (NOW + DAY + timedelta(milliseconds=1), False),
    ],
)
def test_dates_include_their_ends(moment, valid):
    assert chain.is_valid_at(LEAF.der, moment) is valid


def test_certificate_text_is_what_credentials_store():
    text = chain.certificate_text(LEAF.der)
    assert text == trim_certificate(LEAF.pem.decode())
    assert x509_credentials(LEAF.pem.decode()).id == sha3(text)
    assert base64.b64decode(text) == LEAF.der


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_chain_profile_is_known_by_its_first_certificate(end):
    first, second = chain.certificate_text(ROOT.der), chain.certificate_text(LEAF.der)
    pem = (b"Bag Attributes\n" + ROOT.pem + b"\n" + LEAF.pem).decode().replace("\n", end)
    stored = "\n".join(f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----" for text in (first, second))
    assert profiles.certificates(pem) == profiles.certificates(stored) == (stored, sha3(first))


def test_profile_of_one_certificate_stores_its_text():
    text = chain.certificate_text(ROOT.der)
    assert profiles.certificates(ROOT.pem.decode()) == profiles.certificates(text) == (text, sha3(text))


@pytest.mark.parametrize("pem", ["", "\r\n", "-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_text_without_a_certificate_is_refused(pem):
    with pytest.raises(Refused):
        profiles.certificates(pem)


# A vector of ThingsBoard's: the SHA3-256 of `testHash`. The text need not be a certificate.
def test_provision_key_is_a_hash_of_text():
    _, key = profiles.certificates("-----BEGIN CERTIFICATE-----\ntest\nHash\n-----END CERTIFICATE-----\n")
    assert key == "57f6600424d6553263f1f32e0117012894a36fbf07e3e9c3c556272f86b7d985"
