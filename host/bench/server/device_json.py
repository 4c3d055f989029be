"""The messages of ThingsBoard's device API as JSON, the same over every transport.

Each `read_` function raises Malformed or BadField (see `json_reader`).
"""

import json
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

from bench.contract.credentials import CredentialsType
from bench.registry import names
from bench.registry.credentials import CredentialsRequest
from bench.registry.provisioning import ProvisionOutcome, ProvisionRequest, Status
from bench.server import json_reader
from bench.server.json_reader import LONG, BadField, Malformed, PayloadError
from bench.server.json_writer import write

# Text that upstream reads as a whole number where one has to be.
_WHOLE = re.compile(r"[+-]?\d++")
# What Java trims.
_BLANK = "".join(map(chr, range(0x21)))

_ERRORS = {
    Status.NOT_FOUND: "Provision data was not found!",
    Status.FAILURE: "Failed to provision device!",
}


def read_request(payload: bytes) -> ProvisionRequest:
    """Return a provisioning request."""
    body = object_of(json_reader.parse(payload))
    # in the order in which upstream reads them: the first thing wrong decides the error
    fields: dict[str, Any] = {
        "device_name": text(body, "deviceName"),
        **_credentials_request(body),
        "key": required(body, "provisionDeviceKey"),
        "secret": required(body, "provisionDeviceSecret"),
        "gateway": text(body, "gateway").lower() == "true",
        "wants_nonce": _own(body, "proof") == "nonce",
        "nonce": _own(body, "provisionDeviceNonce"),
        "proof": _own(body, "provisionDeviceProof"),
    }
    return ProvisionRequest(**fields)


def _credentials_request(body: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a CredentialsRequest."""
    return {
        "credentials_type": _credentials_type(body),
        "token": text(body, "token"),
        "client_id": text(body, "clientId"),
        "username": text(body, "username"),
        "password": text(body, "password"),
        "certificate": text(body, "hash"),
    }


def _own(body: dict[str, Any], name: str) -> str:
    """Return a field that ThingsBoard does not know, and ignores whatever is in it: its text, if it is one."""
    value = body.get(name)
    return value if isinstance(value, str) else ""


def _credentials_type(body: dict[str, Any]) -> CredentialsType:
    try:
        return CredentialsType(text(body, "credentialsType", CredentialsType.ACCESS_TOKEN))
    except ValueError as error:
        if isinstance(error, PayloadError):
            raise
        raise BadField(f"credentialsType is not one of {', '.join(CredentialsType)}") from None


def required(body: dict[str, Any], name: str) -> str:
    """Return a field as `text` does; one that is not there is a BadField, which names the fields that are."""
    if name not in body:
        shown = json.dumps(dict.fromkeys(body, "***"))
        raise BadField(f"Failed to find the field {name} in JSON body {shown}!")
    return text(body, name)


def text(body: dict[str, Any], name: str, default: str = "") -> str:
    """Return a field as text: any scalar counts, and a list of one gives its element."""
    if name not in body:
        return default
    value = _scalar(body, name)
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def whole(body: dict[str, Any], name: str) -> int:
    """Return a field as a whole number of 64 bits: a number loses its fraction, text has to be digits."""
    value = _scalar(body, name)
    if isinstance(value, json_reader.Number) or (isinstance(value, str) and _WHOLE.fullmatch(value)):
        try:
            number = Decimal(value)
        except InvalidOperation:  # an exponent that even this cannot hold
            raise BadField(f"{name} is out of range") from None
        if LONG.start <= number < LONG.stop:  # upstream lets a number wrap around, to one that nobody meant
            return int(number)
        raise BadField(f"{name} is out of range")
    raise BadField(f"{name} must be a whole number")


def _scalar(body: dict[str, Any], name: str) -> bool | str:
    """Return a field's scalar, which may be inside lists of one."""
    if name not in body:
        raise BadField(f"{name} is missing")
    value = body[name]
    while isinstance(value, list):
        if len(value) != 1:
            raise Malformed(f"{name}: Array must have size 1, but has size {len(value)}")
        value = value[0]
    if value is None or isinstance(value, dict):
        raise BadField(f"{name}: {'JsonNull' if value is None else 'JsonObject'}")
    assert isinstance(value, (bool, str))
    return value


def object_of(body: Any) -> dict[str, Any]:
    """Return a value that has to be an object. Raises Malformed."""
    if not isinstance(body, dict):
        raise Malformed("Can't parse value: an object is wanted")
    return body


def write_answer(outcome: ProvisionOutcome) -> bytes:
    """Return the answer to a provisioning request, keys in ThingsBoard's order."""
    answer: dict[str, Any]
    if outcome.status is Status.NONCE:
        answer = {"nonce": outcome.nonce}
    elif (own := outcome.credentials) is not None:
        # the parts of MQTT basic credentials are an object, everything else is text
        value = json.loads(own.answer) if own.type is CredentialsType.MQTT_BASIC else own.answer
        answer = {"credentialsValue": value, "credentialsType": own.type.value}
    else:
        answer = {"errorMsg": _ERRORS[outcome.status]}
    return write({**answer, "status": outcome.status.value})


def write_status(status: Status) -> bytes:
    """Return the answer to a call that requested an action."""
    return write({"status": status.value})


def read_attributes(payload: bytes) -> dict[str, Any]:
    """Return client attributes, from an object; null values are skipped. None if one of the names is invalid."""
    return attributes_of(json_reader.parse(payload, json_reader.number))


def read_series(payload: bytes, now_ms: int) -> list[tuple[int, str, Any]]:
    """Return telemetry in its three forms, as `(ts, key, value)` in the order of the text.

    `{k: v}` (then the time is `now_ms`), `{"ts": ms, "values": {k: v}}`, or a list of either. What has an invalid name
    in it is left out: all of it, or that element of the list.
    """
    return series_of(json_reader.parse(payload, json_reader.number), now_ms)


def read_operator_series(payload: bytes, now_ms: int) -> list[tuple[int, str, Any]]:
    """Return telemetry that an operator stores, in the same forms; names may be invalid."""
    return series_of(json_reader.parse(payload, json_reader.number), now_ms, _cast)


def attributes_of(body: Any) -> dict[str, Any]:
    """Return the values of an object, as they are stored: none at all if one of the names is invalid.

    ThingsBoard's transport accepts such a message, and its rule engine then fails to store it.
    """
    values = {key: json_reader.stored(value) for key, value in object_of(body).items() if value is not None}
    return values if all(map(_is_key, values)) else {}


def series_of(
    body: Any, now_ms: int, read_values: Callable[[Any], dict[str, Any]] = attributes_of
) -> list[tuple[int, str, Any]]:
    """Return the telemetry of a value that was parsed, see `read_series`."""
    series: list[tuple[int, str, Any]] = []
    for entry in body if isinstance(body, list) else [body]:
        if isinstance(entry, dict) and "ts" in entry and "values" in entry:
            ts, values = whole(entry, "ts"), entry["values"]
        else:
            ts, values = now_ms, entry
        series += [(ts, key, value) for key, value in read_values(values).items()]
    return series


def read_attribute_request(payload: bytes) -> tuple[list[str] | None, list[str] | None]:
    """Return the keys of the client and of the shared attributes that are requested. Raises Malformed only.

    None requests none of the kind, unless both are None: `{}` requests all of both. A key may be empty.
    """
    body = object_of(json_reader.parse(payload))
    try:
        return _keys(body, "clientKeys"), _keys(body, "sharedKeys")
    except BadField as error:  # here upstream makes no difference
        raise Malformed(str(error)) from None


def _keys(body: dict[str, Any], name: str) -> list[str] | None:
    return split_keys(text(body, name)) if name in body else None


def split_keys(text: str) -> list[str] | None:
    """Return the keys of a list with commas as Java splits it, None if there are none.

    Keys are not trimmed, and may be empty, but at the end: `a,,b,` has three of them, `,` none, no text at all one.
    """
    keys = text.split(",")
    while len(keys) > 1 and not keys[-1]:
        keys.pop()
    return None if text and keys == [""] else keys


def wanted_keys(client: str | None, shared: str | None) -> tuple[list[str] | None, list[str] | None]:
    """Return the keys of attributes that a query lists, separated by commas, or None if there are none."""
    return split_keys(client) if client else None, split_keys(shared) if shared else None


def write_attributes(client: dict[str, Any], shared: dict[str, Any]) -> bytes:
    """Return the answer to a request for attributes; a group without any is left out."""
    return write({name: group for name, group in (("client", client), ("shared", shared)) if group})


def write_update(changed: dict[str, Any], deleted: list[str]) -> bytes:
    """Return a change of shared attributes: those with a new value, and the keys that are gone."""
    return write({**changed, "deleted": deleted} if deleted else changed)


def read_claim(payload: bytes) -> tuple[str, int | None]:
    """Return a device's offer to be claimed: the secret, and for how many milliseconds (None: the server's default).

    No payload at all is an offer with the empty secret.
    """
    if not payload:
        return "", None
    return claim_of(json_reader.parse(payload, json_reader.number))


def claim_of(value: Any) -> tuple[str, int | None]:
    """Return the offer of a value that was parsed, see `read_claim`."""
    body = object_of(value)
    secret = text(body, "secretKey")
    duration = whole(body, "durationMs") if "durationMs" in body else 0
    return secret, duration if duration > 0 else None


def read_rpc_call(payload: bytes) -> tuple[str, Any]:
    """Return a device's call to the server: the method, and the parameters or None."""
    body = object_of(json_reader.parse(payload, json_reader.number))
    if "method" not in body:
        raise BadField("method is missing")
    return text(body, "method"), json_reader.plain(body.get("params"))


def read_rotation(payload: bytes) -> CredentialsRequest:
    """Return the credentials that a device requests in the parameters of its call."""
    return CredentialsRequest(**_credentials_request(object_of(object_of(json_reader.parse(payload)).get("params"))))


def write_rpc_request(request_id: int | None, method: str, params: Any) -> bytes:
    """Return the server's call to a device. The id is None where it is elsewhere: in MQTT's topic."""
    id_ = {} if request_id is None else {"id": request_id}
    return write({**id_, "method": method, "params": params})


def read_rpc_response(payload: bytes) -> Any:
    """Return a device's reply to a call: any JSON, and no payload at all is None. Raises Malformed.

    Over MQTT and HTTP ThingsBoard does not read the reply: one that is not JSON is accepted.
    """
    return json_reader.plain(json_reader.parse(payload, json_reader.number))


def _cast(body: Any) -> dict[str, Any]:
    return {key: json_reader.cast(value) for key, value in object_of(body).items() if value is not None}


def _is_key(name: str) -> bool:
    return names.is_valid(name) and bool(name.strip(_BLANK))
