"""The credential that came with the flash: loaded once, when the vault has none yet."""

import binascii
import json

from firstboot import credentials, memory
from firstboot.errors import SettingsError


def read(kind: str) -> dict[str, str]:
    """Return a certificate and key that lie in the flash as DER, or another credential as the vault has it.

    Raises SettingsError if it is not there.
    """
    try:
        if kind != "X509_CERTIFICATE":
            return json.loads(_content("json"))  # type: ignore[no-any-return]
        certificate, key = _content("crt"), _content("key")
    except (OSError, ValueError) as error:
        memory.check(error)
        raise SettingsError(
            "%s is missing: flash it, or let the device make its own"
            % ("/device.crt or /device.key" if kind == "X509_CERTIFICATE" else "/device.json")
        )
    leaf = (memory.split(certificate) or [certificate])[0]
    made = credentials.pair(leaf, key)
    above = certificate[len(leaf) :]
    if above:
        made["chain"] = binascii.b2a_base64(above).decode().strip()
    return made


def _content(kind: str) -> bytes:
    with open("/device." + kind, "rb") as file:
        content: bytes = file.read()
    return content
