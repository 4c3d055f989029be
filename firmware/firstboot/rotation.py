"""New credentials for old ones, in two phases: stored as pending, proved by a login, then the old dropped.

The server starts it, by the RPC `rotateCredentials` or by a shared attribute of that name with a new
value. The new secret is made here; until it has logged in the old one stays, and each is tried.
"""

from firstboot import credentials, events
from firstboot.errors import SettingsError, VaultError
from firstboot.settings import Settings
from firstboot.vault import Vault

NAME = "rotateCredentials"


def prepare(settings: Settings, vault: Vault, name: str, value: str = "") -> dict[str, str]:
    """What the server needs to know of the new credential. Asked again, it is the same one.

    `value` is the attribute's. Raises VaultError if the new credential did not reach the flash, and
    SettingsError for a device whose certificate somebody else makes.
    """
    if settings.text("provision.made_by") == "flash":
        raise SettingsError("this device's certificate comes with its flash: flash another one")
    active, pending = vault.record.get("active"), vault.record.get("pending", [])
    if not active:  # it logs in with what could not be stored as active
        raise VaultError("no credential is active: nothing to rotate from")
    marks = [{"value": value}] if value else vault.record.get("rotation", [])
    if not pending:
        pending = [credentials.make(active[0]["type"], name)]
    if pending != vault.record.get("pending") or marks != vault.record.get("rotation", []):
        vault.update(pending=pending, rotation=marks)
        events.emit("rotation", step="stored")
    return credentials.request_fields(pending[0])


def is_done(vault: Vault, value: str) -> bool:
    """Whether the rotation that this value of the attribute asks for is over."""
    return not vault.record.get("pending") and vault.record.get("rotation") == [{"value": value}]
