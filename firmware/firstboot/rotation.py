"""Rotation of credentials in two phases: the new one is stored as pending, proved by a login, then the old dropped.

The server starts it, by the RPC `rotateCredentials` or by a shared attribute of that name with a new
value. The new secret is made here; until it has logged in the old one stays, and both are tried.
"""

from firstboot import events, temporary
from firstboot.errors import SettingsError, VaultError
from firstboot.settings import Settings
from firstboot.vault import Vault

NAME = "rotateCredentials"


def prepare(settings: Settings, vault: Vault, name: str, value: str = "") -> dict[str, str]:
    """Store a new credential as pending, and return what the server needs to know of it.

    Called again before the login, it returns the same one.

    Args:
        settings: the board's own.
        vault: the board's own.
        name: the device's name.
        value: the attribute's, "" for a rotation by RPC.

    Returns:
        The fields of a provisioning request for the new credential.

    Raises:
        VaultError: if the new credential did not reach the flash, or no credential is active.
        SettingsError: if the device's certificate comes with its flash.
    """
    made_by, kind = settings.text("provision.made_by"), settings.text("provision.credentials")
    if made_by == "flash" and kind == "X509_CERTIFICATE":
        raise SettingsError("this device's certificate comes with its flash: flash another one")
    active, pending = vault.record.get("active"), vault.record.get("pending", [])
    if not active:  # it logs in with what could not be stored as active
        raise VaultError("no credential is active: nothing to rotate from")
    marks = [{"value": value}] if value else vault.record.get("rotation", [])
    with temporary.Imports():
        from firstboot import credentials

        if not pending:
            pending = [credentials.make(active[0]["type"], name)]
        if pending != vault.record.get("pending") or marks != vault.record.get("rotation", []):
            vault.update(pending=pending, rotation=marks)
            events.emit("rotation", step="stored")
        return credentials.request_fields(pending[0])


def is_stored(vault: Vault, value: str) -> bool:
    """Return whether `prepare` has nothing to write for this value."""
    return bool(vault.record.get("pending")) and (not value or vault.record.get("rotation") == [{"value": value}])


def is_done(vault: Vault, value: str) -> bool:
    """Return whether the rotation that this value of the attribute asks for is complete."""
    return not vault.record.get("pending") and vault.record.get("rotation") == [{"value": value}]
