"""Keys that sign packages, ECDSA on P-256: made, read, and written as settings and manifests have them."""

import re
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from bench import paths
from bench.errors import UsageError
from bench.input_files import pem

SIGNATURE_BYTES = 64
UNSIGNED = bytes(SIGNATURE_BYTES)
"""In the place of a signature."""
_NUMBER_BYTES = SIGNATURE_BYTES // 2
_PUBLIC = re.compile(r"04[0-9a-f]{128}")
_ALGORITHM = ec.ECDSA(hashes.SHA256())
# RFC 6979: the same package has the same bytes whenever it is made, and no signature depends on random numbers.
_SIGNING = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)


def make_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Make a key in a new file for its owner alone; return it, or the one of a process that was faster.

    Args:
        path: The file, in a folder that exists.

    Raises:
        OSError: It cannot be written.
    """
    made = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PrivateFormat.PKCS8
    paths.write_private_once(path, made.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return private_key(path)


def private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Return the key in a file, PEM or DER.

    Raises:
        UsageError: It holds no private key, or one that is not on P-256.
        OSError: The file cannot be read.
    """
    key = pem.private_key(path)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise UsageError(f"{path} has another kind of key than P-256: bench firmware key makes one")
    return key


def public_hex(key: ec.EllipticCurvePrivateKey) -> str:
    """Return the public key of a private one: 130 hex digits, the point 04 || x || y."""
    form = serialization.PublicFormat.UncompressedPoint
    return key.public_key().public_bytes(serialization.Encoding.X962, form).hex()


def public_key(text: str) -> str:
    """Return the public key that a user named: its 130 hex digits, or a file with its private key.

    Raises:
        UsageError: It is neither.
        OSError: The file cannot be read.
    """
    if re.fullmatch(r"[0-9A-Fa-f]{130}", text):
        check_public(text.lower())
        return text.lower()
    return public_hex(private_key(Path(text)))


def check_public(text: str) -> None:
    """Raise UsageError unless this is a point of P-256 as `public_hex` writes one."""
    if not _PUBLIC.fullmatch(text):
        raise UsageError("a public key has 130 hex digits that begin with 04: bench firmware key shows it")
    try:
        _point(text)
    except ValueError:
        raise UsageError("the public key is not a point of P-256: bench firmware key shows it whole") from None


def sign(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    """Return the signature over the SHA-256 of data: r || s, 32 bytes each."""
    r, s = decode_dss_signature(key.sign(data, _SIGNING))
    return r.to_bytes(_NUMBER_BYTES) + s.to_bytes(_NUMBER_BYTES)


def is_signed_by(public: str, data: bytes, signature: bytes) -> bool:
    """Return whether the owner of a public key, as `public_hex` has it, made this signature over data."""
    r, s = (int.from_bytes(signature[at : at + _NUMBER_BYTES]) for at in (0, _NUMBER_BYTES))
    try:
        _point(public).verify(encode_dss_signature(r, s), data, _ALGORITHM)
    except InvalidSignature:
        return False
    return True


def _point(public: str) -> ec.EllipticCurvePublicKey:
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), bytes.fromhex(public))
