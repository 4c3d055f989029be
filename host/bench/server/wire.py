"""The JSON of ThingsBoard's device API, the same over every transport.

What a reader cannot make sense of falls into two classes, which the transports answer differently:
text that is not the form at all (Malformed), and a form with a field missing or wrong (BadField).
"""

import json
from decimal import Decimal
from typing import Any, NoReturn

from bench.registry import Outcome, ProvisionRequest, Status

CREDENTIALS_TYPES = ("ACCESS_TOKEN", "X509_CERTIFICATE", "MQTT_BASIC", "LWM2M_CREDENTIALS")

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


def parse(payload: bytes) -> Any:
    """JSON as ThingsBoard's lenient reader takes it, in its common forms.

    A byte order mark and control characters inside strings are accepted, and of a doubled key the
    last one counts. Numbers keep their text: `1.50` stays `1.50` (as Decimal).
    """
    try:
        text = payload.decode("utf-8-sig")
        value = json.loads(text, strict=False, parse_float=Decimal, parse_constant=_no_constant)
        if "\\ud" in text.lower():  # half a surrogate pair is no text that a database could store
            json.dumps(value, ensure_ascii=False, default=str).encode()
    except (ValueError, RecursionError) as error:
        raise Malformed(f"Can't parse value: {type(error).__name__}") from error
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def read_request(payload: bytes) -> ProvisionRequest:
    """Read a provisioning request. Raises Malformed or BadField."""
    body = parse(payload)
    if not isinstance(body, dict):
        raise Malformed("Can't parse value: an object is wanted")
    # in the order in which upstream reads them: the first thing wrong decides the error
    fields = {
        "device_name": _text(body, "deviceName"),
        "credentials_type": _text(body, "credentialsType", "ACCESS_TOKEN"),
        "token": _text(body, "token"),
        "client_id": _text(body, "clientId"),
        "username": _text(body, "username"),
        "password": _text(body, "password"),
        "certificate": _text(body, "hash"),
        "key": _required(body, "provisionDeviceKey"),
        "secret": _required(body, "provisionDeviceSecret"),
    }
    if fields["credentials_type"] not in CREDENTIALS_TYPES:
        raise BadField(f"credentialsType is none of {', '.join(CREDENTIALS_TYPES)}")
    return ProvisionRequest(**fields, gateway=_text(body, "gateway").lower() == "true")


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
    if outcome.status is Status.SUCCESS:
        answer = {"credentialsValue": outcome.credentials_value, "credentialsType": outcome.credentials_type}
    else:
        answer = {"errorMsg": _ERRORS[outcome.status]}
    return json.dumps({**answer, "status": outcome.status.value}, separators=(",", ":")).encode()


def read_attributes(payload: bytes) -> dict[str, Any]:
    """Client attributes: an object; null values are skipped."""
    return _values(parse(payload))


def read_telemetry(payload: bytes, now_ms: int) -> dict[str, tuple[int, Any]]:
    """Telemetry in its three forms; gives the newest value of each key as `{key: (ts, value)}`.

    `{k: v}` (then the time is `now_ms`), `{"ts": ms, "values": {k: v}}`, or a list of either.
    """
    body = parse(payload)
    latest: dict[str, tuple[int, Any]] = {}
    for entry in body if isinstance(body, list) else [body]:
        if isinstance(entry, dict) and "ts" in entry and "values" in entry:
            ts, values = entry["ts"], entry["values"]
            if not isinstance(ts, int) or isinstance(ts, bool) or abs(ts) >= 1 << 63:
                raise Malformed("ts has to be milliseconds since the epoch")
        else:
            ts, values = now_ms, entry
        for key, value in _values(values).items():
            if key not in latest or latest[key][0] <= ts:
                latest[key] = (ts, value)
    return latest


def _values(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise Malformed("Can't parse value: an object is wanted")
    return {key: _plain(value) for key, value in body.items() if value is not None}


def _plain(value: Any) -> Any:
    """A value that JSON can hold again; text that is a number becomes one, as upstream has it."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, Decimal):
        return float(value) if value.is_finite() and abs(value) < Decimal("1e308") else str(value)
    return value
