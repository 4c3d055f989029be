"""Root certificates of public authorities: anybody gets a certificate from one of these, and would be any device.

ThingsBoard refuses those of Java's store; here it is Mozilla's list, and their keys: a root is issued more than once.
"""

import re
import warnings
from base64 import b64decode
from functools import cache

import certifi
from cryptography import x509
from cryptography.hazmat.primitives import serialization

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----([^-]+)-----END CERTIFICATE-----")


def is_public_root(text: str) -> bool:
    """Return whether a certificate (Base64 of its DER form) is a well-known root, or has the key of one."""
    return text in _known() or _key(text) in _known()


@cache
def _known() -> frozenset[str | bytes]:
    """Return the certificates, and the keys of those that can be read."""
    texts = ["".join(body.split()) for body in _PEM.findall(certifi.contents())]
    return frozenset([*texts, *(key for key in map(_key, texts) if key)])


def _key(text: str) -> bytes:
    """Return the public key of a certificate, none if it cannot be read: any text is accepted for a certificate."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    try:
        with warnings.catch_warnings(action="ignore"):
            key = x509.load_der_x509_certificate(b64decode(text)).public_key()
            return key.public_bytes(serialization.Encoding.DER, form)
    except Exception:  # noqa: BLE001 - hostile certificates find every one there is
        return b""
