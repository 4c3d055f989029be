"""Secrets that a device shows instead of its profile's: a secret of its own, or a proof of it.

A profile's secret opens the whole profile. The claim secret that follows from it opens one name, so that a board that
is taken apart gives away nothing but itself; and a board that proves its claim secret does not even send it.
"""

import hmac
import json
import re
from collections.abc import Callable, Sequence

from bench.contract.names import trimmed
from bench.contract.proof import claim_secret, proof
from bench.registry.clock import now_ms

NONCE_LIFE_MS = 60_000
_MADE = re.compile(r"[0-9a-f]{12}-[0-9a-f]{64}")
_MADE_DIGITS = 12


def is_accepted_secret(profile_secret: str, device_name: str, shown: str, group_key: str = "") -> bool:
    """Return whether a text is a profile's secret, or the claim secret of a device that has a name.

    Both are compared whatever comes of the first, in constant time.

    Args:
        profile_secret: The profile's secret.
        device_name: The device's name.
        shown: The text.
        group_key: What claim secrets follow from, if that is not the profile's secret.
    """
    shared = _equal(shown, profile_secret)
    own = _equal(shown, claim_secret(group_key or profile_secret, device_name))
    return shared | (own & bool(trimmed(device_name)))


def is_valid_proof(group_key: str, device_name: str, fields: Sequence[str], shown: str) -> bool:
    """Return whether a text proves the claim secret of a device that has a name, for these fields and no others.

    Line feeds separate the fields, so that none but the last may have any: else two lists would have one proof.
    """
    right = _equal(shown, proof(claim_secret(group_key, device_name), fields))
    return right & bool(trimmed(device_name)) & all("\n" not in each for each in fields[:-1])


class Nonces:
    """Makes and checks nonces for proofs: valid for a minute, for one key and one (trimmed) name, and stored nowhere.

    One is made for any key and name, and tells nothing about either.

    Args:
        key: Signs the nonces.
        clock: Returns milliseconds since the epoch.
    """

    def __init__(self, key: bytes, clock: Callable[[], int] = now_ms) -> None:
        self._key = key
        self._clock = clock

    def issue(self, profile_key: str, name: str) -> str:
        """Return a nonce that is valid from now on."""
        return self._made(self._clock(), profile_key, name)

    def is_fresh(self, nonce: str, profile_key: str, name: str) -> bool:
        """Return whether a nonce was issued for this key and name within the last minute."""
        if not _MADE.fullmatch(nonce):
            return False
        made_ms = self.made_ms(nonce)
        # From the future is as good: servers that share a database are not of one time to the millisecond.
        fresh = abs(self._clock() - made_ms) <= NONCE_LIFE_MS
        return _equal(nonce, self._made(made_ms, profile_key, name)) & fresh

    @staticmethod
    def made_ms(nonce: str) -> int:
        """Return when a nonce that is fresh was made."""
        return int(nonce[:_MADE_DIGITS], 16)

    def spent_ms(self, nonce: str) -> int:
        """Return the time from before which nonces are spent, once this one was good for a proof.

        It is now, so that of many who got a nonce at once one is served; or the nonce's own, made by a faster clock.
        """
        return max(self._clock(), self.made_ms(nonce))

    def _made(self, made_ms: int, profile_key: str, name: str) -> str:
        bound = json.dumps([made_ms, profile_key, name]).encode()
        return f"{made_ms:0{_MADE_DIGITS}x}-{hmac.digest(self._key, bound, 'sha256').hex()}"


def _equal(shown: str, right: str) -> bool:
    return hmac.compare_digest(shown.encode(), right.encode())
