"""The JSON of ThingsBoard's device API, the same over every transport.

What a reader cannot make sense of falls into two classes, which the transports answer differently:
text that is not the form at all (Malformed), and a form with a field missing or wrong (BadField).
"""

import json
import math
import re
from collections.abc import Callable
from typing import Any, NoReturn

from bench.registry import CredentialsType, Outcome, ProvisionRequest, Status

# Text that upstream takes for a number: digits, and at most one point, which is not the last character.
_NUMERIC = re.compile(r"-?\d*\.?\d+")
# As Gson has it; far from where Python's own recursion ends, here or in whoever reads the value again.
_NESTING_LIMIT = 255

_ERRORS = {
    Status.NOT_FOUND: "Provision data was not found!",
    Status.FAILURE: "Failed to provision device!",
}


class WireError(ValueError):
    """A payload that cannot be read. The message never quotes a value: it may be a secret."""


class Malformed(WireError):
    """Not JSON, or not the JSON type that is wanted."""


class BadField(WireError):
    """An object with a field missing, null, or of no use."""


def parse(payload: bytes, number: Callable[[str], Any] = str) -> Any:
    """JSON as ThingsBoard's lenient reader takes it, in its common forms.

    A byte order mark and control characters inside strings are accepted, and of a doubled key the
    last one counts. `number` makes a value of a number's text; by default that is all it is.
    """
    try:
        text = payload.decode("utf-8-sig")
        value = json.loads(text, strict=False, parse_int=number, parse_float=number, parse_constant=_no_constant)
        if "\\ud" in text.lower():  # half a surrogate pair is no text that a database could store
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise Malformed(f"Can't parse value: {type(error).__name__}") from error
    if _depth(value) > _NESTING_LIMIT:
        raise Malformed(f"Can't parse value: it is nested more than {_NESTING_LIMIT} deep")
    return value


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level := [each for each in level if isinstance(each, (dict, list))]:
        depth += 1
        level = [child for each in level for child in (each.values() if isinstance(each, dict) else each)]
    return depth


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def read_request(payload: bytes) -> ProvisionRequest:
    """Read a provisioning request. Raises Malformed or BadField."""
    body = parse(payload)
    if not isinstance(body, dict):
        raise Malformed("Can't parse value: an object is wanted")
    # in the order in which upstream reads them: the first thing wrong decides the error
    fields: dict[str, Any] = {
        "device_name": _text(body, "deviceName"),
        "credentials_type": _credentials_type(body),
        "token": _text(body, "token"),
        "client_id": _text(body, "clientId"),
        "username": _text(body, "username"),
        "password": _text(body, "password"),
        "certificate": _text(body, "hash"),
        "key": _required(body, "provisionDeviceKey"),
        "secret": _required(body, "provisionDeviceSecret"),
    }
    return ProvisionRequest(**fields, gateway=_text(body, "gateway").lower() == "true")


def _credentials_type(body: dict[str, Any]) -> CredentialsType:
    try:
        return CredentialsType(_text(body, "credentialsType", CredentialsType.ACCESS_TOKEN))
    except ValueError as error:
        if isinstance(error, WireError):
            raise
        raise BadField(f"credentialsType is none of {', '.join(CredentialsType)}") from None


def _required(body: dict[str, Any], name: str) -> str:
    if name not in body:
        shown = json.dumps(dict.fromkeys(body, "***"))
        raise BadField(f"Failed to find the field {name} in JSON body {shown}!")
    return _text(body, name)


def _text(body: dict[str, Any], name: str, default: str = "") -> str:
    """A field as text: any scalar counts, and a list of one gives its element."""
    if name not in body:
        return default
    value = body[name]
    while isinstance(value, list):
        if len(value) != 1:
            raise Malformed(f"{name}: Array must have size 1, but has size {len(value)}")
        value = value[0]
    if value is None or isinstance(value, dict):
        raise BadField(f"{name}: {'JsonNull' if value is None else 'JsonObject'}")
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def write_answer(outcome: Outcome) -> bytes:
    """The answer to a provisioning request, keys in upstream's order."""
    answer: dict[str, Any]
    if (own := outcome.credentials) is not None:
        # the parts of MQTT basic credentials are an object, everything else is text
        value = json.loads(own.answer) if own.type is CredentialsType.MQTT_BASIC else own.answer
        answer = {"credentialsValue": value, "credentialsType": own.type.value}
    else:
        answer = {"errorMsg": _ERRORS[outcome.status]}
    return json.dumps({**answer, "status": outcome.status.value}, separators=(",", ":")).encode()


def read_attributes(payload: bytes) -> dict[str, Any]:
    """Client attributes: an object; null values are skipped."""
    return _values(parse(payload, _number))


def read_series(payload: bytes, now_ms: int) -> list[tuple[int, str, Any]]:
    """Telemetry in its three forms; gives `(ts, key, value)` of every entry, in order.

    `{k: v}` (then the time is `now_ms`), `{"ts": ms, "values": {k: v}}`, or a list of either.
    """
    body = parse(payload, _number)
    entries = []
    for entry in body if isinstance(body, list) else [body]:
        if isinstance(entry, dict) and "ts" in entry and "values" in entry:
            ts, values = entry["ts"], entry["values"]
            if not isinstance(ts, int) or isinstance(ts, bool):
                raise Malformed("ts has to be milliseconds since the epoch")
        else:
            ts, values = now_ms, entry
        entries += [(ts, key, value) for key, value in _values(values).items()]
    return entries


def read_telemetry(payload: bytes, now_ms: int) -> dict[str, tuple[int, Any]]:
    """Telemetry in its three forms; gives the newest value of each key as `{key: (ts, value)}`.

    `{k: v}` (then the time is `now_ms`), `{"ts": ms, "values": {k: v}}`, or a list of either.
    """
    body = parse(payload, _number)
    latest: dict[str, tuple[int, Any]] = {}
    for entry in body if isinstance(body, list) else [body]:
        if isinstance(entry, dict) and "ts" in entry and "values" in entry:
            ts, values = entry["ts"], entry["values"]
            if not isinstance(ts, int) or isinstance(ts, bool):
                raise Malformed("ts has to be milliseconds since the epoch")
        else:
            ts, values = now_ms, entry
        for key, value in _values(values).items():
            if key not in latest or latest[key][0] <= ts:
                latest[key] = (ts, value)
    return latest


def _values(body: Any) -> dict[str, Any]:
    """The values of an object. Text that looks like a number becomes one, as upstream has it."""
    if not isinstance(body, dict):
        raise Malformed("Can't parse value: an object is wanted")
    return {
        key: _number(value) if isinstance(value, str) and _NUMERIC.fullmatch(value) else value
        for key, value in body.items()
        if value is not None
    }


def _number(text: str) -> int | float | str:
    """A whole number of 64 bits, or a double; what neither can hold stays text."""
    try:
        number: int | float = int(text)
    except ValueError:  # not whole, or thousands of digits
        number = float(text)
        return number if math.isfinite(number) else text
    return number if -1 << 63 <= number < 1 << 63 else text
