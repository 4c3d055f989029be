"""Files of somebody's own on a board that is brought up to date, and the name that a server knows it by."""

import json
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from bench.contract import names
from bench.contract.credentials import CredentialsType
from bench.contract.settings import FILE
from bench.errors import BenchError
from bench.flash import batch, comparison, vault
from bench.flash.inspection import Inspection, digest
from bench.flash.job import FlashJob
from bench.serial.raw_repl import RawRepl
from bench.text import printable

# MicroPython runs them by name, so the firmware has some, and so have applications.
_PROGRAMS = ("main.py", "boot.py")
# Those that firmware before updates over the air had, by their digests: boot.py, and main.py.
_FORMER = frozenset(("21937be489892e4e", "9fe9ea3f439d5425", "d8f67c85a2b61b79", "62f916f14feb86fd"))
_PACKAGE = "/firstboot/"
_FIRMWARE_MAIN = "--firmware-main"


def kept(job: FlashJob, found: Inspection) -> list[str]:
    """Return the program files of the board that stay, by their absolute paths: they are not the firmware's.

    They stay on a board that has the firmware, or is to get only that. A board that is flashed anew gets the
    firmware's own, which has to run.
    """
    there = found.files or {}
    if job.firmware_main or (job.files and not any(path.startswith(_PACKAGE) for path in there)):
        return []
    firmwares = [name for name in _PROGRAMS if name in job.firmware and name not in job.own]
    known = {name: ("", digest(job.firmware[name]), *_FORMER) for name in firmwares}
    return [f"/{name}" for name in firmwares if there.get(f"/{name}", "") not in known[name]]


def replaced(found: Inspection, changed: Mapping[str, bytes], settings: Mapping[str, bytes]) -> list[str]:
    """Return the files of somebody's own that get another content: not the package's, not those with the settings."""
    there = found.files or {}
    return sorted(
        path for path in changed if path in there and not path.startswith(_PACKAGE) and path[1:] not in settings
    )


def notice(stay: list[str], go: list[str]) -> str:
    """Return a line about the files that stay and those that are replaced; "" if there are none."""
    parts = [f"replaced: {', '.join(map(printable, go))}"] if go else []
    if stay:
        parts.append(f"kept: {', '.join(stay)}, not the firmware's own ({_FIRMWARE_MAIN} replaces it)")
    return "; ".join(parts)


def update_notice(found: Inspection) -> str:
    """Return a line about the update over the air that is in force no more; "" if there was none."""
    is_updated = any(path in comparison.RECORD for path in found.files or {})
    return "it was updated over the air: from now on what is flashed is in force again" if is_updated else ""


def stale_vault(repl: RawRepl, found: Inspection, settings: Mapping[str, bytes]) -> tuple[list[str], str]:
    """Return what is to be removed so that the board can have the name in its new settings, and a notice about it.

    Credentials that were made for another name and never used would log the board in as that, if the server has it.

    Args:
        repl: The board's.
        found: Its report.
        settings: The files with its new settings; empty if it keeps its own.

    Raises:
        BenchError: The board has credentials that worked, and the server knows it by another name.
        ReplError: The board does not answer.
    """
    there = found.files or {}
    if FILE not in settings or there.get(f"/{FILE}", "") in ("", digest(settings[FILE])):
        return [], ""
    had = device_name(repl.read_file(f"/{FILE}"), found.mac)
    wanted = device_name(settings[FILE], found.mac)
    slots = [path for path in there if path.startswith("/vault.")]
    if not slots or not had or had == wanted:
        return [], ""
    record = vault.newest({path[1:]: repl.read_file(path) for path in slots})
    active = record.get("active", [])
    if any(_is_flashed(each, settings) for each in active):
        return [], ""
    if active:
        shown = printable(had)
        raise BenchError(
            f"the server knows this board as {shown}, not {printable(wanted)}, and it has that device's credentials: "
            f"keep the name (--name {shown}), or --erase deletes them, so that it provisions itself anew"
        )
    return (slots, f"deletes credentials that were made for {printable(had)} and never used") if record else ([], "")


def _is_flashed(credential: Mapping[str, str], settings: Mapping[str, bytes]) -> bool:
    """Return whether a credential is the one beside the settings, which names its device by itself."""
    if credential.get("type") == CredentialsType.MQTT_BASIC:
        return settings.get(batch.FILE) == json.dumps(credential).encode()
    own = b64decode(credential.get("certificate", ""))
    return bool(own) and settings.get("device.crt", b"").startswith(own)


def device_name(content: bytes, mac: str) -> str:
    """Return the device's name that follows from settings; "" if they cannot be read."""
    try:
        sections: Any = json.loads(content)
        identity = sections.get("identity", {})
        return names.of_template(mac, **{key: str(value) for key, value in identity.items() if key in names.PARTS})
    except (ValueError, AttributeError):
        return ""
