"""Clients' certificates: their signatures, paths, names and dates.

ThingsBoard reads certificates by Java and Bouncy Castle; where they differ from OpenSSL, this follows them. Paths are
validated by OpenSSL (RFC 5280, section 6), which ThingsBoard leaves out.
"""

import base64
import re
import warnings
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PSS, PKCS1v15
from cryptography.x509.oid import NameOID
from OpenSSL import crypto

from bench.registry.chains import Chain

# The longest chain that Java's TLS accepts from a client; each certificate costs a verification.
_LONGEST_CHAIN = 10
# Others can be made to fit a second certificate (RFC 6151, RFC 6194); OpenSSL leaves that to whoever calls it.
_SHA2 = (hashes.SHA224, hashes.SHA256, hashes.SHA384, hashes.SHA512)
_SHA3 = (hashes.SHA3_224, hashes.SHA3_256, hashes.SHA3_384, hashes.SHA3_512)
# X509_V_FLAG_NO_CHECK_TIME, which pyOpenSSL has no name for. Dates are checked here: the leaf's own do not matter yet.
_NO_DATES = 0x200000
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


class InvalidPath(Exception):
    """A certificate that must not vouch for a leaf; the message says why."""


def presented(shown: Sequence[bytes], moment: datetime) -> Chain:
    """Return what a client's certificates stand for.

    Args:
        shown: In DER form, the leaf first, each signed by the next one.
        moment: When they were shown, with time zone.
    """
    with quiet():
        read = [x509.load_der_x509_certificate(each) for each in shown]
    # The longer a path the more it has to satisfy: where one is invalid, all that go further are.
    flaws: dict[int, str] = {}

    def is_invalid(length: int) -> bool:
        try:
            check_path(read[:length], moment)
        except InvalidPath as error:
            flaws[length] = str(error)
        return length in flaws

    vouched = 1 + bisect_left(range(2, len(read) + 1), x=True, key=is_invalid)
    return Chain(
        certificates=tuple(map(certificate_text, shown[:vouched])),
        common_name=common_name(shown[0]),
        is_current=is_valid_at(shown[0], moment),
        flaw=flaws.get(vouched + 1, ""),
    )


def check_path(path: Sequence[x509.Certificate], moment: datetime) -> None:
    """Check that the last certificate, if it is trusted, vouches for the first one (RFC 5280, section 6).

    The first one's own dates do not matter.

    Raises:
        InvalidPath: It does not.
    """
    try:
        with quiet():
            _check_issuers(path, moment)
            store = crypto.X509Store()
            store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN | _NO_DATES)  # the last one may be below another
            leaf, *between, anchor = map(crypto.X509.from_cryptography, path)
            store.add_cert(anchor)
            crypto.X509StoreContext(store, leaf, between).verify_certificate()
    except (InvalidPath, crypto.X509StoreContextError) as error:
        raise InvalidPath(str(error)) from None
    except Exception:  # noqa: BLE001 - hostile certificates find every one there is
        raise InvalidPath("a certificate that cannot be read") from None


def _check_issuers(path: Sequence[x509.Certificate], moment: datetime) -> None:
    """Check what OpenSSL leaves to its caller, or takes although RFC 5280 does not. Raises InvalidPath."""
    for issuer in path[1:]:
        if not issuer.not_valid_before_utc <= moment <= issuer.not_valid_after_utc:
            raise InvalidPath("a CA out of date")
    for between in path[1:-1]:
        try:
            authority = between.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        except x509.ExtensionNotFound:
            authority = False
        if not authority:
            raise InvalidPath("invalid CA certificate")
    for signed in path[:-1]:
        if not _has_strong_digest(signed):
            raise InvalidPath("a signature with a weak digest")


def _has_strong_digest(certificate: x509.Certificate) -> bool:
    try:
        digest = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return False
    return digest is None or isinstance(digest, _SHA2 + _SHA3)  # Ed25519 and Ed448 have their own


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
