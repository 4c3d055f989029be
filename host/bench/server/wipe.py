"""The order to a decommissioned device to wipe itself, the same over every transport: it is let in for that alone.

It gets the order as a call each time that it waits for calls, until it answers: then its credentials are dead.
"""

from bench.registry.audit import Origin
from bench.registry.logins import DeviceLogin
from bench.server import device_json, json_reader
from bench.server.device_api import DeviceApi

METHOD = "factoryReset"
"""The call by which firstboot's boards wipe themselves."""
CALL_ID = 0
# A board that was reset a moment ago waits before it writes to its flash again: it gets the order the next time.
_LATER = "too soon"


def order(device: DeviceLogin, call_id: int | None = CALL_ID) -> bytes:
    """Return the order as JSON; without an id for a transport that has it elsewhere."""
    return device_json.write_rpc_request(call_id, METHOD, {"confirm": device.name, "wipe": "all"})


async def answered(api: DeviceApi, device: DeviceLogin, payload: bytes, source: Origin) -> None:
    """Store that a device has had the order, unless it obeys later."""
    answer = _read(payload)
    if not str(answer.get("error", "")).startswith(_LATER):
        await api.wiped(device, source, obeyed="wiped" in answer)


def _read(payload: bytes) -> dict[str, object]:
    try:
        found = json_reader.parse(payload)
    except json_reader.PayloadError:
        return {}
    return found if isinstance(found, dict) else {}
