"""The messages of ThingsBoard's gateway API as JSON: those of devices, for several devices at once.

Each `read_` function raises Malformed for a payload that is not JSON, and BadField for everything else that is wrong
with the message as a whole. What is wrong with one device's part of it stands in that device's place: ThingsBoard 4.3's
AbstractGatewaySessionHandler reads each part by itself.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from bench.registry import profiles
from bench.server import device_json, json_reader
from bench.server.json_reader import BadField, Malformed, PayloadError
from bench.server.json_writer import write

T = TypeVar("T")

Series = list[tuple[int, str, Any]]
Claim = tuple[str, int | None]

_INT = range(-1 << 31, 1 << 31)
# What ThingsBoard's own gateway adds to telemetry, and ThingsBoard takes out to measure delays.
_METADATA = "metadata"


class EmptyList(BadField):
    """A list without telemetry: ThingsBoard accepts it, and never acknowledges the message that it is in."""


@dataclass(frozen=True)
class AttributeRequest:
    """A request for attributes of one device, all of one scope. A key may be empty."""

    id: int
    device: str
    client: bool
    """Client attributes, not shared ones."""
    keys: list[str]


def read_connect(payload: bytes) -> tuple[str, str]:
    """Return the name of a device that is there, and the profile that it gets if it is new."""
    with _body(payload) as body:
        kind = body.get("type")
        return _device(body), profiles.DEFAULT if kind is None else device_json.text(body, "type")


def read_disconnect(payload: bytes) -> str:
    """Return the name of a device that is gone."""
    with _body(payload) as body:
        return _device(body)


def read_telemetry(payload: bytes, now_ms: int) -> dict[str, Series | PayloadError]:
    """Return telemetry by device; of each a list, as `device_json.read_series` has it."""
    return _by_device(payload, list, lambda value: _series(value, now_ms))


def _series(value: list[Any], now_ms: int) -> Series:
    if not value:
        raise EmptyList("an empty list")
    for entry in value:
        if isinstance(entry, dict) and _METADATA in entry:
            metadata = device_json.object_of(entry.pop(_METADATA))
            for name in ("receivedTs", "publishedTs"):
                device_json.whole(metadata, name)
            device_json.required(metadata, "connector")
    return device_json.series_of(value, now_ms)


def read_attributes(payload: bytes) -> dict[str, dict[str, Any] | PayloadError]:
    """Return client attributes by device."""
    return _by_device(payload, dict, device_json.attributes_of)


def read_claims(payload: bytes) -> dict[str, Claim | PayloadError]:
    """Return offers to be claimed by device: the secret, and for how many milliseconds."""
    return _by_device(payload, dict, device_json.claim_of)


def read_attribute_request(payload: bytes) -> AttributeRequest:
    """Return a request for attributes."""
    with _body(payload) as body:
        request, device = _int(body, "id"), device_json.required(body, "device")
        client = device_json.required(body, "client").lower() == "true"
        if "key" in body:
            keys = [device_json.text(body, "key")]
        elif isinstance(listed := body.get("keys"), list):
            keys = [device_json.text({"key": each}, "key") for each in listed]
        else:
            raise BadField("keys must be a list")
        return AttributeRequest(request, device, client, list(dict.fromkeys(keys)))


def read_answer(payload: bytes) -> tuple[str, int, Any]:
    """Return the answer of a device to a call: its name, the call's id, and any JSON."""
    with _body(payload) as body:
        device, call = device_json.required(body, "device"), _int(body, "id")
        if "data" not in body:
            raise BadField("data is missing")
        return device, call, json_reader.plain(body["data"])


def write_attributes(request: AttributeRequest, *groups: dict[str, Any]) -> bytes:
    """Return the answer to a request for attributes: one `value`, or `values` if several were requested."""
    answer: dict[str, Any] = {"id": request.id, "device": request.device}
    for group in groups:
        if len(group) == 1 and len(request.keys) <= 1:
            (answer["value"],) = group.values()
        elif group:
            answer.setdefault("values", {}).update(group)
    return write(answer)


def write_update(device: str, changed: dict[str, Any], deleted: list[str]) -> bytes:
    """Return a change of a device's shared attributes."""
    return write({"device": device, "data": {**changed, "deleted": deleted} if deleted else changed})


def write_call(device: str, call_id: int, method: str, params: Any) -> bytes:
    """Return the server's call to a device."""
    return write({"device": device, "data": {"id": call_id, "method": method, "params": params}})


@contextmanager
def _body(payload: bytes) -> Iterator[dict[str, Any]]:
    """Yield a message's object. Once it is JSON nothing is Malformed: ThingsBoard's adaptor is not asked any more."""
    body = json_reader.parse(payload, json_reader.number)
    try:
        yield device_json.object_of(body)
    except Malformed as error:
        raise BadField(str(error)) from None


def _by_device(payload: bytes, kind: type, read: Callable[[Any], T]) -> dict[str, T | PayloadError]:
    """Return what is read of each device's part; parts of another type are left out, but not all of them."""
    found: dict[str, T | PayloadError] = {}
    with _body(payload) as body:
        for device, value in body.items():
            if isinstance(value, kind):
                try:
                    found[device] = read(value)
                except PayloadError as error:
                    found[device] = error
    if not found:
        raise BadField("there is nothing of any device in it")
    return found


def _device(body: dict[str, Any]) -> str:
    name = device_json.required(body, "device")
    if not name:
        raise BadField("device is empty")
    return name


def _int(body: dict[str, Any], name: str) -> int:
    if (number := device_json.whole(body, name)) not in _INT:
        raise BadField(f"{name} is out of range")
    return number
