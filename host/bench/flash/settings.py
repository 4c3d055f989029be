"""The `settings.json` that goes into a board's flash."""

import json
from typing import Any

# The one access point that virtual boards see.
VIRTUAL_WIFI = {"ssid": "bench", "password": "the air is loopback"}


def encode(*, host: str, port: int, key: str, secret: str, **sections: dict[str, Any]) -> bytes:
    """The file's bytes. `sections` (`session={"telemetry_s": 5}`) overlay what is set here.

    The result holds secrets: whatever it is written to has to be private.
    """
    settings: dict[str, dict[str, Any]] = {
        "server": {"host": host, "port": port},
        "provision": {"key": key, "secret": secret},
        "wifi": dict(VIRTUAL_WIFI),
    }
    for section, values in sections.items():
        settings.setdefault(section, {}).update(values)
    return json.dumps(settings, indent=1, ensure_ascii=False).encode()
