"""Clients' certificates: their signatures, names and dates.

ThingsBoard reads certificates by Java and Bouncy Castle; where they differ from OpenSSL, this follows them.
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

# The longest chain that Java's TLS accepts from a client; each certificate costs a verification.
_LONGEST_CHAIN = 10
_ESCAPED = re.compile(r'[,"\\+=<>;]')


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress warnings of odd certificates: strangers send them, and could fill the log."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def is_signed(chain: Sequence[x509.Certificate]) -> bool:
    """Return whether each certificate is signed by the next one (leaf first).

    Names, dates, extensions and the last one's signature do not matter. Whatever goes wrong with a certificate, e.g. an
    unknown type of key, it is not signed.
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
    """Return the first CN of a certificate's subject, escaped as Bouncy Castle does (RFC 4514, section 2.4, and `=`).

    None if there is none, or this is not a certificate.
    """
    try:
        with quiet():
            for rdn in x509.load_der_x509_certificate(der).subject.rdns:
                if rdn.get_attributes_for_oid(NameOID.COMMON_NAME):
                    # of several attributes side by side the first is taken, CN or not
                    return _escape(next(iter(rdn)).value)
    except Exception:  # noqa: BLE001 - hostile certificates find every one there is
        return None
    return None


def certificate_text(der: bytes) -> str:
    """Return a certificate as credentials store it: Base64 of its DER form without line ends."""
    return base64.b64encode(der).decode()


def is_valid_at(der: bytes, moment: datetime) -> bool:
    """Return whether a moment (with time zone) is within a certificate's dates, ends included."""
    try:
        with quiet():
            certificate = x509.load_der_x509_certificate(der)
            return certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc
    except Exception:  # noqa: BLE001 - hostile certificates find every one there is
        return False


def to_der(chain: Sequence[x509.Certificate]) -> list[bytes]:
    """Return certificates in DER form."""
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
