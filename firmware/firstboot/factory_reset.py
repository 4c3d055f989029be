"""Factory reset: back to the day the board was flashed, completely, whatever happens on the way.

A record of what to wipe is written first, in the same step that drops the credentials. After a power cut
the reset is finished at the next boot. The empty record that ends it goes to the slot of the newest
credentials: then neither slot holds any. (Erased blocks of the flash may: docs/security.md.)
"""

from firstboot import events
from firstboot import settings as settings_file
from firstboot.errors import SettingsError
from firstboot.vault import Vault

CREDENTIALS = "credentials"
WIFI = "wifi"
ALL = "all"


def reset(vault: Vault, kind: str, by: str) -> None:
    """Wipe credentials, Wi-Fi networks or both; the caller restarts the board afterwards.

    Args:
        vault: the board's own.
        kind: `CREDENTIALS`, `WIFI` or `ALL`.
        by: the origin, for the event: `button`, `console` or `server`.

    Raises:
        VaultError: if the flash did not store the record.
        SettingsError: if the flash did not store the settings.
    """
    events.emit("reset", kind=kind, by=by)
    if kind == WIFI:
        _forget_wifi()
        return
    vault.save({"wipe": [{"kind": kind}]})
    finish(vault)


def finish(vault: Vault) -> None:
    """Complete a reset that a power cut interrupted, if there is one. Raises as `reset` does."""
    wipe = vault.record.get("wipe")
    if wipe:
        if wipe[0]["kind"] == ALL:
            _forget_wifi()
        vault.save({})


def _forget_wifi() -> None:
    try:
        sections = settings_file.read()
    except SettingsError as error:  # nothing left to forget
        events.emit("error", kind=error.kind, detail=str(error))
        return
    wifi = sections.get("wifi", {}) if isinstance(sections, dict) else {}
    kept = {key: value for key, value in wifi.items() if key not in ("ssid", "password", "networks")}
    if kept != wifi:
        sections["wifi"] = kept  # type: ignore[index]
        settings_file.write(sections)  # type: ignore[arg-type]
