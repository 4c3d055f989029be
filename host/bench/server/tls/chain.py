"""What a client's certificates say, and what the profile of an X.509 chain is known by.

Java and Bouncy Castle read certificates on a ThingsBoard; where they have ways of their own, so has this.
"""

import base64
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import pairwise

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PSS, PKCS1v15
from cryptography.x509.oid import NameOID

from bench.registry.credentials import sha3, trim_certificate

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
# What Java's TLS takes from a client; each one costs a verification.
_LONGEST_CHAIN = 10
# X.520 ends a common name at 64 characters, but nobody enforces it, and a pattern may need the square of it.
_LONGEST_NAME = 1024
_ESCAPED = re.compile(r'[,"\\+=<>;]')


@contextmanager
def quiet() -> Iterator[None]:
    """Without warnings of odd certificates: strangers send them, and could fill the log."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def is_signed(chain: Sequence[x509.Certificate]) -> bool:
    """Whether each certificate is signed by the next one (leaf first).

    Names, dates, extensions and the last one's signature do not matter. Whatever goes wrong with a
    certificate, e.g. a kind of key that is not known, it is not signed.
    """
    if len(chain) > _LONGEST_CHAIN:
        return False
    try:
        with quiet():
            for certificate, issuer in pairwise(chain):
                _verify(certificate, issuer)
    except Exception:  # noqa: BLE001 - hostile certificates find every one there is
        return False
    return True


def common_name(der: bytes) -> str | None:
    """The first CN of a certificate's subject, escaped as Bouncy Castle does (RFC 4514, section 2.4, and `=`).

    None if there is none, or no certificate.
    """
    try:
        with quiet():
            for rdn in x509.load_der_x509_certificate(der).subject.rdns:
                if rdn.get_attributes_for_oid(NameOID.COMMON_NAME):
                    # of several attributes side by side the first is taken, CN or not
                    return _escape(next(iter(rdn)).value)
    except Exception:  # noqa: BLE001 - as above
        return None
    return None


def device_name(pattern: str, name: str) -> str | None:
    r"""Group 1 of the first place in a common name where the pattern is found.

    None if it is found nowhere, is no pattern, or has no such group. Java's `\d`, `\w` and `\s` are ASCII.
    """
    if len(name) > _LONGEST_NAME:
        return None
    try:
        found = re.search(pattern, name, re.ASCII)
        return found[1] if found else None
    except (re.error, IndexError, OverflowError, RecursionError):
        return None


def certificate_text(der: bytes) -> str:
    """A certificate as credentials store it: Base64 of its DER form without line ends."""
    return base64.b64encode(der).decode()


def is_valid_at(der: bytes, moment: datetime) -> bool:
    """Whether the moment (with time zone) is within a certificate's dates, ends included."""
    try:
        with quiet():
            certificate = x509.load_der_x509_certificate(der)
            return certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc
    except Exception:  # noqa: BLE001 - as above
        return False


def split(pem: str) -> list[str]:
    """The certificates in a PEM text, each without header, footer and line ends.

    A text without any header is one certificate, as it is stored.
    """
    if _BEGIN not in pem:
        return [text] if (text := trim_certificate(pem)) else []
    bodies = (part.partition(_END) for part in pem.split(_BEGIN)[1:])
    return [trim_certificate(body) for body, end, _ in bodies if end]


def profile_secret(pem: str) -> str:
    """A chain profile's certificates as they are stored: one as its bare text, several with headers."""
    texts = split(pem)
    if len(texts) == 1:
        return texts[0]
    return "\n".join(f"{_BEGIN}\n{text}\n{_END}" for text in texts)


def provision_key(pem: str) -> str:
    """What a chain profile is found by: SHA3-256 of its first certificate's text. Empty if there is none."""
    texts = split(pem)
    return sha3(texts[0]) if texts else ""


def to_der(chain: Sequence[x509.Certificate]) -> list[bytes]:
    """Certificates in DER form."""
    return [each.public_bytes(serialization.Encoding.DER) for each in chain]


def _verify(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    """Raise unless the issuer's key made the certificate's signature."""
    key = issuer.public_key()
    signature, signed = certificate.signature, certificate.tbs_certificate_bytes
    parameters, digest = certificate.signature_algorithm_parameters, certificate.signature_hash_algorithm
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(parameters, ec.ECDSA):
        key.verify(signature, signed, parameters)
    elif isinstance(key, rsa.RSAPublicKey) and isinstance(parameters, (PKCS1v15, PSS)) and digest:
        key.verify(signature, signed, parameters, digest)
    elif isinstance(key, (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)):
        key.verify(signature, signed)
    elif isinstance(key, dsa.DSAPublicKey) and digest:
        key.verify(signature, signed, digest)
    else:
        raise TypeError("a kind of key that does not fit the signature")


def _escape(value: str | bytes) -> str:
    if isinstance(value, bytes):
        raise TypeError("no text")
    escaped = _ESCAPED.sub(r"\\\g<0>", value)
    if value.startswith("#"):
        escaped = "\\" + escaped
    bare = escaped.lstrip(" ")
    front = len(escaped) - len(bare)
    body = bare.rstrip(" ")
    return "\\ " * front + body + "\\ " * (len(bare) - len(body))
