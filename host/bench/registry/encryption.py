"""Encryption of secrets at rest: the database alone gives none away, and takes none from another row.

One key, in a file beside the database and never in it, makes four: one for digests, by which a secret is found and
compared without being known, one for encrypting what the protocol makes the server give back, one for signing users'
tokens, and one for the nonces of devices.
"""

import hmac
import secrets
from collections.abc import Iterable
from json.encoder import encode_basestring_ascii
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bench import paths
from bench.errors import BenchError
from bench.registry.files import KEY_FILE
from bench.registry.random_bytes import RandomBytes

_KEY_BYTES = 32
_NONCE_BYTES = 12
_nonce = RandomBytes(_NONCE_BYTES)


class WrongKey(Exception):
    """A text was encrypted with another key or for another row, or is damaged."""


class SecretBox:
    """AES-256-GCM and HMAC-SHA256 under keys derived from one key of 32 bytes."""

    def __init__(self, key: bytes) -> None:
        self._digest = hmac.new(hmac.digest(key, b"digest", "sha256"), digestmod="sha256")
        self._cipher = AESGCM(hmac.digest(key, b"seal", "sha256"))
        self.signing_key = hmac.digest(key, b"sign", "sha256")
        """The key that signs users' tokens."""
        self.nonce_key = hmac.digest(key, b"nonce", "sha256")
        """The key that makes nonces and checks them."""

    @classmethod
    def from_folder(cls, folder: Path) -> Self:
        """Return the box whose key is in a data folder; the key is made, for its owner alone, if there is none.

        Raises:
            BenchError: The file is not a key.
        """
        path = folder / KEY_FILE
        if not path.exists():
            paths.write_private_once(path, secrets.token_bytes(_KEY_BYTES))
        key = path.read_bytes()
        if len(key) != _KEY_BYTES:
            raise BenchError(f"{path} is not {_KEY_BYTES} bytes long: put the key back that belongs to this database")
        return cls(key)

    def digest(self, *parts: str) -> str:
        """Return what stands for texts when they are looked up or compared: hex, the same for the same texts."""
        digest = self._digest.copy()  # `hmac.digest` lets go of Python's lock, and has to get it back
        digest.update(_listed(parts))
        return digest.hexdigest()

    def encrypt(self, text: str, *row: object) -> bytes:
        """Return a text encrypted; two encryptions of one text differ.

        Args:
            text: The secret.
            row: The place that it is for: the table, its primary key, and what else must not change without the secret.
                None is of the tables before 0003 alone.
        """
        nonce = _nonce()
        return nonce + self._cipher.encrypt(nonce, text.encode(), _bound(row))

    def decrypt(self, sealed: bytes, *row: object) -> str:
        """Return the text that was encrypted for this row. Raises WrongKey."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _bound(row)).decode()
        except (InvalidTag, ValueError):
            raise WrongKey from None


def _bound(row: tuple[object, ...]) -> bytes | None:
    """Return the associated data of a row (of AES-GCM; NIST SP 800-38D)."""
    return _listed(map(str, row)) if row else None


def _listed(texts: Iterable[str]) -> bytes:
    """Return texts so that no others look the same: as JSON, in the form that `json.dumps` gives it, but quicker."""
    return f"[{', '.join(map(encode_basestring_ascii, texts))}]".encode()
