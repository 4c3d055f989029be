"""The JSON of ThingsBoard's device API, the same over every transport.

What a reader cannot make sense of falls into two classes, which the transports answer differently:
text that is not the form at all (Malformed), and a form with a field missing or wrong (BadField).
"""

import json
import math
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

from bench.registry.credentials import CredentialsRequest, CredentialsType
from bench.registry.provisioning import ProvisionOutcome, ProvisionRequest, Status
from bench.server import lenient_json

# Text that upstream takes for a number: digits, and at most one point, which is not the last character.
_NUMERIC = re.compile(r"-?(?:\d++(?:\.\d++)?|\.\d++)")
# Text that it takes for a whole number where one has to be.
_WHOLE = re.compile(r"[+-]?\d++")
# A number of this many characters or more is text, as Gson has it. A power of ten beyond it is refused:
# upstream writes it out in digits, up to gigabytes.
_NUMBER_LIMIT = 1024
_LONG = range(-1 << 63, 1 << 63)
# What Java trims.
_BLANK = "".join(map(chr, range(0x21)))

_ERRORS = {
    Status.NOT_FOUND: "Provision data was not found!",
    Status.FAILURE: "Failed to provision device!",
}


class WireError(ValueError):
    """A payload that cannot be read. The message never quotes a value: it may be a secret."""


class Malformed(WireError):
    """Not JSON, or not the JSON type that is wanted, or a list where it has not exactly one element.

    What upstream's adaptors catch: JsonSyntaxException and IllegalStateException.
    """


class BadField(WireError):
    """An object with a field missing, null, or of no use: any other exception of upstream's."""


class _Number(str):
    """The text of a number, as it was written."""

    __slots__ = ()


def parse(payload: bytes, number: Callable[[str], Any] = str) -> Any:
    """JSON as ThingsBoard's lenient reader takes it. Raises Malformed.

    A byte order mark and control characters inside strings are accepted, and of a doubled key the
    last one counts. `number` makes a value of a number's text; by default that is all it is.
    """
    try:
        text = payload.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Malformed("Can't parse value: not UTF-8") from None
    try:
        value = json.loads(text, strict=False, parse_int=number, parse_float=number, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        try:
            return lenient_json.parse(text, number)
        except ValueError as error:
            raise Malformed(f"Can't parse value: {error}") from None
    if _depth(value) > lenient_json.NESTING_LIMIT:
        raise Malformed(f"Can't parse value: nested more than {lenient_json.NESTING_LIMIT} deep")
    if "\\ud" in text.lower():  # half a surrogate pair is no text that a database could store
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise Malformed("Can't parse value: half a surrogate pair") from None
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
    body = _object(parse(payload))
    # in the order in which upstream reads them: the first thing wrong decides the error
    fields: dict[str, Any] = {
        "device_name": _text(body, "deviceName"),
        **_credentials_request(body),
        "key": _required(body, "provisionDeviceKey"),
        "secret": _required(body, "provisionDeviceSecret"),
        "gateway": _text(body, "gateway").lower() == "true",
        "wants_nonce": _own(body, "proof") == "nonce",
        "nonce": _own(body, "provisionDeviceNonce"),
        "proof": _own(body, "provisionDeviceProof"),
    }
    return ProvisionRequest(**fields)


def _credentials_request(body: dict[str, Any]) -> dict[str, Any]:
    """What a device would like to log in with."""
    return {
        "credentials_type": _credentials_type(body),
        "token": _text(body, "token"),
        "client_id": _text(body, "clientId"),
        "username": _text(body, "username"),
        "password": _text(body, "password"),
        "certificate": _text(body, "hash"),
    }


def _own(body: dict[str, Any], name: str) -> str:
    """A field that upstream does not know, and ignores whatever is in it: its text, if it is one."""
    value = body.get(name)
    return value if isinstance(value, str) else ""


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
    value = _scalar(body, name)
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _whole(body: dict[str, Any], name: str) -> int:
    """A field as a whole number of 64 bits: a number loses its fraction, text has to be digits."""
    value = _scalar(body, name)
    if isinstance(value, _Number) or (isinstance(value, str) and _WHOLE.fullmatch(value)):
        try:
            number = Decimal(value)
        except InvalidOperation:  # an exponent that even this cannot hold
            raise BadField(f"{name} is out of range") from None
        if _LONG.start <= number < _LONG.stop:  # upstream lets a number wrap around, to one that nobody meant
            return int(number)
        raise BadField(f"{name} is out of range")
    raise BadField(f"{name} has to be a whole number")


def _scalar(body: dict[str, Any], name: str) -> bool | str:
    """A field's scalar, which may be inside lists of one."""
    value = body[name]
    while isinstance(value, list):
        if len(value) != 1:
            raise Malformed(f"{name}: Array must have size 1, but has size {len(value)}")
        value = value[0]
    if value is None or isinstance(value, dict):
        raise BadField(f"{name}: {'JsonNull' if value is None else 'JsonObject'}")
    assert isinstance(value, (bool, str))
    return value


def _object(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise Malformed("Can't parse value: an object is wanted")
    return body


def write_answer(outcome: ProvisionOutcome) -> bytes:
    """The answer to a provisioning request, keys in upstream's order."""
    answer: dict[str, Any]
    if outcome.status is Status.NONCE:
        answer = {"nonce": outcome.nonce}
    elif (own := outcome.credentials) is not None:
        # the parts of MQTT basic credentials are an object, everything else is text
        value = json.loads(own.answer) if own.type is CredentialsType.MQTT_BASIC else own.answer
        answer = {"credentialsValue": value, "credentialsType": own.type.value}
    else:
        answer = {"errorMsg": _ERRORS[outcome.status]}
    return _write({**answer, "status": outcome.status.value})


def write_status(status: Status) -> bytes:
    """The answer to a call that asked for something to be done."""
    return _write({"status": status.value})


def read_attributes(payload: bytes) -> dict[str, Any]:
    """Client attributes: an object; null values are skipped. Raises Malformed or BadField."""
    return _values(parse(payload, _number))


def read_series(payload: bytes, now_ms: int) -> list[tuple[int, str, Any]]:
    """Telemetry in its three forms, as `(ts, key, value)` in the order of the text. Raises Malformed or BadField.

    `{k: v}` (then the time is `now_ms`), `{"ts": ms, "values": {k: v}}`, or a list of either.
    """
    body = parse(payload, _number)
    series: list[tuple[int, str, Any]] = []
    for entry in body if isinstance(body, list) else [body]:
        if isinstance(entry, dict) and "ts" in entry and "values" in entry:
            ts, values = _whole(entry, "ts"), entry["values"]
        else:
            ts, values = now_ms, entry
        series += [(ts, key, value) for key, value in _values(values).items()]
    return series


def read_attribute_request(payload: bytes) -> tuple[list[str] | None, list[str] | None]:
    """The keys of the client and of the shared attributes that are asked for. Raises Malformed.

    None is none of the kind, unless both are: `{}` asks for all of both.
    """
    body = _object(parse(payload))
    try:
        return _keys(body, "clientKeys"), _keys(body, "sharedKeys")
    except BadField as error:  # here upstream makes no difference
        raise Malformed(str(error)) from None


def _keys(body: dict[str, Any], name: str) -> list[str] | None:
    """The keys, each once; None if there are none, whether or not the field is there."""
    keys = (key.strip(_BLANK) for key in _text(body, name).split(","))
    return list(dict.fromkeys(key for key in keys if key)) or None


def write_attributes(client: dict[str, Any], shared: dict[str, Any]) -> bytes:
    """The answer to a request for attributes; a group without any is left out."""
    return _write({name: group for name, group in (("client", client), ("shared", shared)) if group})


def write_update(changed: dict[str, Any], deleted: list[str]) -> bytes:
    """What a device is told of its shared attributes: those with a new value, and the keys that are gone."""
    return _write({**changed, "deleted": deleted} if deleted else changed)


def read_claim(payload: bytes) -> tuple[str, int | None]:
    """A device's offer to be claimed: the secret, and for how many milliseconds (None: as the server likes).

    Nothing at all is an offer with the empty secret. Raises Malformed or BadField.
    """
    if not payload:
        return "", None
    body = _object(parse(payload, _number))
    secret = _text(body, "secretKey")
    duration = _whole(body, "durationMs") if "durationMs" in body else 0
    return secret, duration if duration > 0 else None


def read_rpc_call(payload: bytes) -> tuple[str, Any]:
    """A device's call to the server: the method, and the parameters or None. Raises Malformed or BadField."""
    body = _object(parse(payload, _number))
    if "method" not in body:
        raise BadField("method is missing")
    return _text(body, "method"), _plain(body.get("params"))


def read_rotation(payload: bytes) -> CredentialsRequest:
    """What a device calls to log in with from now on: the parameters of its call. Raises Malformed or BadField."""
    return CredentialsRequest(**_credentials_request(_object(_object(parse(payload)).get("params"))))


def write_rpc_request(request_id: int | None, method: str, params: Any) -> bytes:
    """The server's call to a device. The id is None where it is told otherwise: in MQTT's topic."""
    id_ = {} if request_id is None else {"id": request_id}
    return _write({**id_, "method": method, "params": params})


def read_rpc_response(payload: bytes) -> Any:
    """A device's reply to a call: any JSON, and nothing at all is None. Raises Malformed.

    Over MQTT and HTTP upstream takes the reply unread: that it is no JSON is no concern of the device's.
    """
    return _plain(parse(payload, _number))


def _write(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _values(body: Any) -> dict[str, Any]:
    """The values of an object, as they are stored. Text that looks like a number becomes one."""
    return {key: _stored(value) for key, value in _object(body).items() if value is not None}


def _stored(value: Any) -> Any:
    if isinstance(value, _Number) or (isinstance(value, str) and _NUMERIC.fullmatch(value)):
        return _converted(value)
    return _plain(value)


def _converted(text: str) -> int | float | str:
    """A number of 64 bits, whole unless it is written with a point, or a double.

    What neither can hold, or has more than 16 decimals, is text: the digits, without an exponent.
    """
    mantissa, _, exponent = text.lower().partition("e")
    decimals = len(mantissa.partition(".")[2]) - int(exponent or 0)
    if exponent and abs(decimals) > _NUMBER_LIMIT:
        raise BadField("a number is out of range")
    number = Decimal(text)
    if number == number.to_integral_value() and (exponent or "." not in mantissa):
        if _LONG.start <= number < _LONG.stop:
            return int(number)
    elif decimals <= 16:
        double = float(number) or 0.0  # upstream knows no negative zero
        return double if math.isfinite(double) else str(text)
    return f"{number or number.copy_abs():f}"


def _plain(value: Any) -> Any:
    """The value with its numbers, however deep inside, as Python has them."""
    whole = [value]
    holders: list[Any] = [whole]
    while holders:
        holder = holders.pop()
        for key, each in holder.items() if isinstance(holder, dict) else enumerate(holder):
            if isinstance(each, _Number):
                holder[key] = _exact(each)
            elif isinstance(each, (dict, list)):
                holders.append(each)
    return whole[0]


def _exact(text: str) -> int | float | str:
    """A whole number or a double; what is too big for a double stays text."""
    try:
        return int(text)
    except ValueError:
        double = float(text)
        return double if math.isfinite(double) else str(text)


def _number(text: str) -> str:
    return _Number(text) if len(text) < _NUMBER_LIMIT else text
