"""The device's name on the server."""

from micropython import const

from firstboot.errors import SettingsError
from firstboot.settings import Settings

# A device name on the server: 1 to 255 characters after trimming.
_NAME_LIMIT = const(255)


def name(settings: Settings, mac: str) -> str:
    """Return the device's name, made from the template in `identity.name`.

    Args:
        settings: the board's own; `identity.mac` overrides `mac`.
        mac: the MAC burnt into the chip, 12 hex digits.

    Raises:
        SettingsError: if the template does not give a valid name.
    """
    mac = (settings.text("identity.mac") or mac).replace(":", "").lower()
    text = settings.text("identity.name").replace("{prefix}", settings.text("identity.prefix")).replace("{mac}", mac)
    text = text.strip()
    if "{" in text or "}" in text:
        raise SettingsError("identity.name knows {prefix} and {mac} only")
    if not 1 <= len(text) <= _NAME_LIMIT:
        raise SettingsError("identity.name gives a name of %d characters; 1 to 255 are allowed" % len(text))
    return text
