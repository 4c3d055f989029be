"""Encryption of secrets at rest: the database alone gives none away, and takes none from another row.

One key, in a file beside the database and never in it, makes four: one for digests, by which a secret is found and
compared without being known, one for encrypting what the protocol makes the server give back, one for signing users'
tokens, and one for the nonces of devices.
"""

import hmac
import json
import os
import secrets
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bench import paths
from bench.errors import BenchError
from bench.registry.files import KEY_FILE

_KEY_BYTES = 32
_NONCE_BYTES = 12


class WrongKey(Exception):
    """A text was encrypted with another key or for another row, or is damaged."""


class SecretBox:
    """AES-256-GCM and HMAC-SHA256 under keys derived from one key of 32 bytes."""

    def __init__(self, key: bytes) -> None:
        self._digest_key = hmac.digest(key, b"digest", "sha256")
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
        return hmac.digest(self._digest_key, json.dumps(parts).encode(), "sha256").hex()

    def encrypt(self, text: str, *row: object) -> bytes:
        """Return a text encrypted; two encryptions of one text differ.

        Args:
            text: The secret.
            row: The place that it is for: the table, its primary key, and what else must not change without the secret.
                None is of the tables before 0003 alone.
        """
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, text.encode(), _bound(row))

    def decrypt(self, sealed: bytes, *row: object) -> str:
        """Return the text that was encrypted for this row. Raises WrongKey."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _bound(row)).decode()
        except (InvalidTag, ValueError):
            raise WrongKey from None


def _bound(row: tuple[object, ...]) -> bytes | None:
    """Return the associated data of a row (of AES-GCM; NIST SP 800-38D)."""
    return json.dumps([str(each) for each in row]).encode() if row else None
