"""Certificates and keys, PEM or DER: also in text of Windows, between comments, and several in one file."""

import re
import ssl
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from bench.errors import UsageError
from bench.input_files import decoding

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_CERTIFICATE = ("CERTIFICATE", "X509 CERTIFICATE")


def certificates(path: Path) -> list[x509.Certificate]:
    """Return all certificates in a file, at least one, in their order.

    Args:
        path: PEM, with whatever else is in it, or DER, one after the other.

    Raises:
        UsageError: It holds no certificate, or a damaged one; the message says what it holds instead.
        OSError: The file cannot be read.
    """
    data = path.read_bytes()
    blocks = _blocks(data, path)
    try:
        if blocks:
            own = [block for kind, block in blocks if kind in _CERTIFICATE]
            found = [x509.load_pem_x509_certificate(block) for block in own]
        else:
            found = [x509.load_der_x509_certificate(each) for each in split_der(data)]
    except (ValueError, x509.InvalidVersion) as error:
        raise UsageError(f"{path} holds no certificate, PEM or DER, or a damaged one") from error
    if not found:
        raise UsageError(f"{path} holds no certificate, PEM or DER: it holds {_kinds(blocks) or 'nothing'}")
    return found


def private_key(path: Path) -> PrivateKeyTypes:
    """Return the first private key in a file, PEM or DER.

    Raises:
        UsageError: It holds no private key, a damaged or an encrypted one. The message never shows the content.
        OSError: The file cannot be read.
    """
    data = path.read_bytes()
    blocks = _blocks(data, path)
    keys = [block for kind, block in blocks if kind.endswith("PRIVATE KEY")]
    if blocks and not keys:
        raise UsageError(f"{path} holds no private key, PEM or DER: it holds {_kinds(blocks)}")
    try:
        if keys:
            return serialization.load_pem_private_key(keys[0], password=None)
        return serialization.load_der_private_key(data, password=None)
    except TypeError:  # the content stays out of the message, and of its cause
        raise UsageError(
            f"{path} is encrypted: remove the passphrase with openssl pkey -in {path} -out KEY, and name that file"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise UsageError(f"{path} holds no private key, PEM or DER, or a damaged one") from None


def chain(key: PrivateKeyTypes, found: Iterable[x509.Certificate]) -> list[x509.Certificate]:
    """Return the certificate of a key and those above it, each signed by the next one; none if it has none.

    Args:
        key: The private key.
        found: Certificates in any order; what is not above the key's own is left out.
    """
    left = list(dict.fromkeys(found))
    above = next((each for each in left if _public_key(each) == key.public_key()), None)
    chain: list[x509.Certificate] = []
    while above:
        chain.append(above)
        left.remove(above)
        above = next((each for each in left if is_signed_by(chain[-1], each)), None)
    return chain


def is_signed_by(certificate: x509.Certificate, other: x509.Certificate) -> bool:
    """Return whether the other certificate's key has signed this one; damaged ones are signed by nobody."""
    try:
        certificate.verify_directly_issued_by(other)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def encode(*found: x509.Certificate) -> str:
    """Return certificates as PEM."""
    return "".join(each.public_bytes(serialization.Encoding.PEM).decode() for each in found)


def client_context(path: Path) -> ssl.SSLContext:
    """Return a context for TLS clients that trusts the certificates in a file. Raises as `certificates` does."""
    return ssl.create_default_context(cadata=encode(*certificates(path)))


def _public_key(certificate: x509.Certificate) -> object:
    try:
        return certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None


def _kinds(blocks: list[tuple[str, bytes]]) -> str:
    return ", ".join(dict.fromkeys(kind.lower() for kind, _ in blocks))


def _blocks(data: bytes, path: Path) -> list[tuple[str, bytes]]:
    """Return the kind and the text of each PEM block; none for DER."""
    if data[:1] == b"\x30":  # a sequence; as text it would be a comment that begins with 0
        return []
    try:
        content = decoding.decode(data, str(path)).content
    except UsageError:
        return []
    return [(each[1], each[0].encode()) for each in _BLOCK.finditer(content)]


def split_der(data: bytes) -> list[bytes]:
    """Return the DER structures that lie one after the other (X.690, 8.1.3)."""
    found = []
    while data:
        size = data[1] & 0x7F if data[1:2] > b"\x80" else 0
        end = 2 + size + int.from_bytes(data[2 : 2 + size] if size else data[1:2], "big")
        found.append(data[:end])
        data = data[end:]
    return found
