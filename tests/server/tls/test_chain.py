"""The contents of certificates: signatures along a chain, names, dates, and the key of a chain profile."""

import base64
import subprocess
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
from tests.support.certificates import DAY, NOW, Made, line, make, subject, usage, write

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


# Which of those above may vouch for the leaf.


def vouched(*made):
    """The number of certificates that are left of a chain, the leaf among them."""
    found = chain.presented([each.der for each in made], NOW)
    texts = [chain.certificate_text(each.der) for each in made]
    assert list(found.certificates) == texts[: len(found.certificates)]
    assert bool(found.flaw) == (len(found.certificates) < len(made))
    return len(found.certificates)


@pytest.mark.parametrize("length", range(1, 11))
def test_path_of_authorities_is_kept_whole(length):
    assert vouched(*line(length)) == length


OLD = {"begin": NOW - 9 * DAY, "end": NOW - 8 * DAY}
YOUNG = {"begin": NOW + DAY, "end": NOW + 2 * DAY}
CA = usage("key_cert_sign", "crl_sign")
CRITICAL = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
NO_AUTHORITY = {
    "another device": {"ca": False},
    "another device, out of date": {"ca": False, **OLD},
    "no basic constraints": {"ca": None},
    "no basic constraints, but a key usage": {"ca": None, "more": [(CA, True)]},
    "another device that may sign certificates": {"ca": False, "more": [(CA, True)]},
    "key usage without signing certificates": {"ca": True, "more": [(usage("digital_signature", "crl_sign"), True)]},
    "expired": {"ca": True, **OLD},
    "not yet valid": {"ca": True, **YOUNG},
    "unknown critical extension": {"ca": True, "more": [(CRITICAL, True)]},
    "names that it must not sign": {
        "ca": True,
        "more": [(x509.NameConstraints(None, [x509.DirectoryName(subject("leaf"))]), True)],
    },
    "names other than those it may sign": {
        "ca": True,
        "more": [(x509.NameConstraints([x509.DirectoryName(subject("other"))], None), True)],
    },
}


@pytest.mark.parametrize("flaw", NO_AUTHORITY.values(), ids=NO_AUTHORITY)
def test_certificate_that_is_no_authority_vouches_for_nobody(flaw):
    between = make("between", issuer=ROOT, **flaw)
    leaf = make("leaf", issuer=between)
    assert chain.is_signed([each.certificate for each in (leaf, between, ROOT)])
    # one whose key usage says so may be trusted itself, but nobody's trust goes through it
    assert vouched(leaf, between, ROOT) == (2 if flaw == NO_AUTHORITY["no basic constraints, but a key usage"] else 1)


@pytest.mark.parametrize("flaw", NO_AUTHORITY.values(), ids=NO_AUTHORITY)
def test_certificate_that_is_no_authority_ends_a_path_further_up(flaw):
    top = make("top", ca=True)
    between = make("between", issuer=top, **flaw)
    lower = make("lower", issuer=between, ca=True)
    assert vouched(make("leaf", issuer=lower), lower, between, top) <= 3
    assert vouched(make("leaf", issuer=lower), lower) == 2


@pytest.mark.parametrize(("path_length", "kept"), [(0, 3), (1, 3), (2, 4), (None, 4)])
def test_path_length_ends_a_path(path_length, kept):
    top = make("top", ca=True, path_length=path_length)
    upper = make("upper", issuer=top, ca=True)
    lower = make("lower", issuer=upper, ca=True)
    assert vouched(make("leaf", issuer=lower), lower, upper, top) == kept


def test_authority_named_otherwise_than_by_its_issuer_vouches_for_nobody():
    stray = make("stray", signer=ROOT)  # names itself as its issuer
    assert chain.is_signed([stray.certificate, ROOT.certificate])
    assert vouched(stray, ROOT) == 1


def openssl(folder, *arguments):
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize("digest", ["sha1", "md5"])
@pytest.mark.parametrize("at", ["leaf", "between"])
def test_signature_with_a_weak_digest_ends_a_path(tmp_path, digest, at):
    """The library makes none of these: OpenSSL does, for the same names and keys."""
    top = make("top", ca=True, key=RSA)
    between = make("between", issuer=top, key=RSA, ca=True)
    leaf = make("leaf", issuer=between)
    made, issuer = (leaf, between) if at == "leaf" else (between, top)
    write(tmp_path, "old", made)
    write(tmp_path, "issuer", issuer)
    (tmp_path / "new.ext").write_text(f"basicConstraints = critical, CA:{'FALSE' if at == 'leaf' else 'TRUE'}")
    openssl(tmp_path, "req", "-new", "-key", "old.key", "-subj", f"/CN={at}", "-out", "new.csr")
    issuing = ["-CA", "issuer.pem", "-CAkey", "issuer.key", "-CAcreateserial", f"-{digest}", "-extfile", "new.ext"]
    openssl(tmp_path, "x509", "-req", "-in", "new.csr", *issuing, "-days", "1", "-out", "new.pem")
    weak = Made(x509.load_pem_x509_certificate((tmp_path / "new.pem").read_bytes()), made.key)
    moment = weak.certificate.not_valid_before_utc
    path = [weak if each is made else each for each in (leaf, between, top)]
    found = chain.presented([each.der for each in path], moment)
    assert (len(found.certificates), found.flaw) == (1 if at == "leaf" else 2, "a signature with a weak digest")


@pytest.mark.parametrize("dates", [OLD, YOUNG], ids=["old", "young"])
def test_dates_of_the_leaf_itself_are_reported_and_end_nothing(dates):
    leaf = make("leaf", issuer=ROOT, **dates)
    found = chain.presented([leaf.der, ROOT.der], NOW)
    assert (len(found.certificates), found.is_current, found.common_name) == (2, False, "leaf")
    assert chain.presented([LEAF.der, ROOT.der], NOW).is_current


@pytest.mark.parametrize("dates", [OLD, YOUNG], ids=["old", "young"])
def test_authority_out_of_date_vouches_for_nobody(dates):
    old = make("old", ca=True, **dates)
    assert vouched(make("leaf", issuer=old), old) == 1


def test_leaf_that_signed_itself_is_vouched_for_by_nobody_else():
    alone = make("leaf")
    assert vouched(alone) == 1
    assert not chain.is_signed([alone.certificate, ROOT.certificate])


@pytest.mark.parametrize("key", [RSA, ec.generate_private_key(ec.SECP521R1()), ed25519.Ed25519PrivateKey.generate()])
def test_paths_with_other_kinds_of_keys_are_valid(key):
    top = make("top", ca=True, key=key)
    assert vouched(make("leaf", issuer=top, ca=None), top) == 2


def test_certificates_as_openssl_makes_them_by_default_are_valid(tmp_path):
    """A CA and a leaf of the commands that most people know; the leaf may be of version 1."""

    new = ["-newkey", "rsa:2048", "-nodes"]
    openssl(tmp_path, "req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-days", "9", "-subj", "/CN=factory")
    openssl(tmp_path, "req", *new, "-keyout", "leaf.key", "-out", "leaf.csr", "-subj", "/CN=leaf")
    openssl(
        tmp_path,
        "x509",
        "-req",
        "-in",
        "leaf.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-days",
        "9",
        "-out",
        "leaf.pem",
    )
    loaded = [x509.load_pem_x509_certificate((tmp_path / name).read_bytes()) for name in ("leaf.pem", "ca.pem")]
    chain.check_path(loaded, loaded[0].not_valid_before_utc)


def test_bits_flipped_in_an_authority_make_it_none():
    between = make("between", issuer=ROOT, ca=True)
    leaf = make("leaf", issuer=between)
    for at in range(0, len(between.der) * 8, 5):
        raw = bytearray(between.der)
        raw[at // 8] ^= 1 << at % 8
        try:
            with chain.quiet():
                x509.load_der_x509_certificate(bytes(raw))
        except (ValueError, x509.InvalidVersion):
            continue
        assert len(chain.presented([leaf.der, bytes(raw), ROOT.der], NOW).certificates) < 3


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
