"""Certificates and keys in the forms in which people have them."""

import pytest
from cryptography.hazmat.primitives import serialization

from bench.errors import UsageError
from bench.input_files import pem
from tests.support import certificates

ONE, TWO = certificates.make("one"), certificates.make("two")
BOTH = (ONE.pem + TWO.pem).decode()
FORMS = {
    "pem": BOTH.encode(),
    "der": ONE.der + TWO.der,
    "line_ends_of_windows": BOTH.replace("\n", "\r\n").encode(),
    "line_ends_of_old_macs": BOTH.replace("\n", "\r").encode(),
    "mark": BOTH.encode("utf-8-sig"),
    "utf-16": BOTH.encode("utf-16"),
    "comments": f"# Büro\n{BOTH}\nsubject=CN = two\n".encode(),
    "comments_of_windows": f"# Büro\n{BOTH}".encode("cp1252"),
    "with_a_key": ONE.pem + ONE.key_pem + TWO.pem,
    "no_line_end": BOTH.rstrip("\n").encode(),
}


@pytest.mark.parametrize("data", FORMS.values(), ids=FORMS)
def test_certificates_are_read_in_any_form(tmp_path, data):
    (tmp_path / "f").write_bytes(data)
    assert pem.certificates(tmp_path / "f") == [ONE.certificate, TWO.certificate]


def key_forms():
    text = ONE.key_pem.decode()
    der = ONE.key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    old = ONE.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    return {
        "pem": text.encode(),
        "der": der,
        "of_openssl_ecparam": parameters + old,
        "mark": text.encode("utf-8-sig"),
        "utf-16": text.encode("utf-16"),
        "line_ends": text.replace("\n", "\r").encode(),
        "behind_its_certificate": ONE.pem + text.encode(),
    }


@pytest.mark.parametrize("form", key_forms())
def test_private_key_is_read_in_any_form(tmp_path, form):
    (tmp_path / "f").write_bytes(key_forms()[form])
    assert pem.private_key(tmp_path / "f").private_numbers() == ONE.key.private_numbers()


REFUSED = {
    "nothing": (b"", "holds no certificate"),
    "text": (b"hello", "holds no certificate"),
    "key": (ONE.key_pem, "it holds private key"),
    "damaged": (ONE.pem.replace(b"M", b"N", 1), "a damaged one"),
    "cut": (ONE.der[:-5], "a damaged one"),
    "something_behind": (ONE.der + b"x", "a damaged one"),
    "pkcs7": (b"-----BEGIN PKCS7-----\nAAAA\n-----END PKCS7-----\n", "it holds pkcs7"),
}


@pytest.mark.parametrize(("data", "error"), REFUSED.values(), ids=REFUSED)
def test_file_without_certificates_is_refused_in_one_line(tmp_path, data, error):
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(UsageError, match=error) as refused:
        pem.certificates(tmp_path / "f")
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("data", [b"", b"hello", ONE.der, ONE.pem, b"-----BEGIN EC PRIVATE KEY-----"])
def test_file_without_a_key_is_refused(tmp_path, data):
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(UsageError, match="holds no private key"):
        pem.private_key(tmp_path / "f")
