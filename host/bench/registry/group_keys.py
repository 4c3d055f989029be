"""Group keys: the own keys of a profile's devices follow from it, and not from the secret that all boards may have.

A device's own key (its claim secret) is an HMAC of its name under the group key. The group key is told once, when it
is made, and is on no board: whoever makes boards gets the keys of single devices.
"""

import secrets
from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from bench.contract.names import trimmed
from bench.contract.proof import claim_secret
from bench.errors import Refused
from bench.registry.encryption import SecretBox
from bench.registry.model import Profile
from bench.registry.provision_type import Again, ProvisionType

_BYTES = 32


def decrypted(secret_box: SecretBox, row: Any) -> str | None:
    """Return the group key of a profile, or of a row of one; None if it has none. Raises WrongKey."""
    return None if row.sealed_group_key is None else secret_box.decrypt(row.sealed_group_key, *_place(row))


def of(session: Session, profile: Profile) -> str | None:
    """Return the group key of a profile, None if it has none."""
    return decrypted(session.info["secret_box"], profile)


def replace(session: Session, profile: Profile) -> str:
    """Make a profile's group key, in the place of the one that it has; what followed from that one opens nothing.

    Returns:
        The key: 64 hex digits.

    Raises:
        Refused: The profile provisions nobody by a secret.
    """
    if profile.provision_type in {ProvisionType.DISABLED, ProvisionType.X509_CERTIFICATE_CHAIN}:
        raise Refused(
            f"profile {profile.name} provisions by {profile.provision_type}, which has no keys of single devices: "
            "give it another strategy"
        )
    secret_box: SecretBox = session.info["secret_box"]
    key = secrets.token_hex(_BYTES)
    profile.sealed_group_key = secret_box.encrypt(key, *_place(profile))
    return key


def remove(profile: Profile) -> None:
    """Remove a profile's group key. Raises Refused while its devices may provision again by it."""
    if profile.again != Again.REFUSE:
        raise Refused(
            f"devices of profile {profile.name} provision again by this key: "
            f"bench profile again {profile.name} refuse comes first"
        )
    profile.sealed_group_key = None


def set_again(profile: Profile, again: Again) -> None:
    """Set what becomes of devices that provision again.

    Raises:
        Refused: There is no group key, or the profile's devices are made by operators alone.
    """
    if again is not Again.REFUSE and profile.sealed_group_key is None:
        raise Refused(
            f"profile {profile.name} has no group key, and a secret that many boards have must not be enough: "
            f"bench profile group-key {profile.name} makes one"
        )
    if again is Again.RESET and profile.provision_type != ProvisionType.ALLOW_CREATE_NEW_DEVICES:
        raise Refused(f"only a profile with {ProvisionType.ALLOW_CREATE_NEW_DEVICES} makes new devices: use keep")
    profile.again = again.value


def device_keys(session: Session, profile: Profile, names: Sequence[str]) -> list[str]:
    """Return the own keys of devices, existing or not, in the order of their names.

    Raises:
        Refused: The profile has no group key, or one of the names is empty.
    """
    key = of(session, profile)
    if key is None:
        raise Refused(f"profile {profile.name} has no group key: bench profile group-key {profile.name} makes one")
    if not all(map(trimmed, names)):
        raise Refused("a device without a name has no key: name it")
    return [claim_secret(key, name) for name in names]


def _place(profile: Any) -> tuple[object, ...]:
    return "profile", profile.id, "group key"
