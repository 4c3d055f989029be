"""JSON as ThingsBoard reads it: any payload to Python's values, numbers as they are stored.

What cannot be read falls into two classes, which the transports answer differently: text that is not the form at all
(Malformed), and a form with a field missing or wrong (BadField).
"""

import json
import math
import re
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from typing import Any, NoReturn

from bench.server import json_writer, lenient_json

# Text that upstream takes for a number: digits, and at most one point, which is not the last character.
_NUMERIC = re.compile(r"-?(?:\d++(?:\.\d++)?|\.\d++)")
# A number of this many characters or more is text, as Gson has it. A power of ten beyond it is refused:
# upstream writes it out in digits, up to gigabytes.
_NUMBER_LIMIT = 1024
# A whole number of 64 bits, Java's long.
LONG = range(-1 << 63, 1 << 63)
_SPACE = " \t\r\n"


class PayloadError(ValueError):
    """A payload that cannot be read. The message never quotes a value: it may be a secret."""


class Malformed(PayloadError):
    """Not JSON, or not the JSON type that is wanted, or a list that has not exactly one element.

    ThingsBoard's adaptors catch it: JsonSyntaxException and IllegalStateException.
    """


class BadField(PayloadError):
    """An object with a field missing, null, or invalid: any other exception of ThingsBoard's."""


class Number(str):
    """The text of a number, as it was written."""

    __slots__ = ()


def parse(payload: bytes, make_number: Callable[[str], Any] = str) -> Any:
    """Return the value of JSON as ThingsBoard's lenient reader accepts it.

    A byte order mark and control characters inside strings are accepted, and of a doubled key the last one counts.

    Args:
        payload: UTF-8.
        make_number: Makes a value of a number's text; by default that is all it is.

    Raises:
        Malformed: It is not JSON, not even to that reader.
    """
    try:
        text = payload.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Malformed("Can't parse value: not UTF-8") from None
    try:
        value = _decoder(make_number).decode(text)
    except (ValueError, RecursionError):
        try:
            return lenient_json.parse(text, make_number)
        except ValueError as error:
            raise Malformed(f"Can't parse value: {error}") from None
    _check(text, value)
    return value


@cache
def _decoder(make_number: Callable[[str], Any]) -> json.JSONDecoder:
    """Return a decoder: `json.loads` makes another for each call."""
    return json.JSONDecoder(strict=False, parse_int=make_number, parse_float=make_number, parse_constant=_no_constant)


def _check(text: str, value: Any) -> None:
    """Raise Malformed for what could be read, but not be stored or written."""
    if _depth(value) > lenient_json.NESTING_LIMIT:
        raise Malformed(f"Can't parse value: nested more than {lenient_json.NESTING_LIMIT} deep")
    if "\\ud" in text.lower():  # half a surrogate pair is no text that a database could store
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise Malformed("Can't parse value: half a surrogate pair") from None


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level := [each for each in level if isinstance(each, (dict, list))]:
        depth += 1
        level = [child for each in level for child in (each.values() if isinstance(each, dict) else each)]
    return depth


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _finite(text: str) -> float | str:
    double = float(text)
    return double if math.isfinite(double) else json_writer.double(double)


_STRICT = json.JSONDecoder(parse_float=_finite, parse_constant=_no_constant)


def strict(text: str) -> Any:
    """Return the value of JSON as ThingsBoard's strict reader (Jackson) accepts it; what follows it is ignored.

    Raises:
        Malformed: It is not JSON (RFC 8259).
    """
    begin = text.lstrip(_SPACE)
    try:
        value, end = _STRICT.raw_decode(begin)
    except (ValueError, RecursionError):
        raise Malformed("Can't parse value") from None
    # what has no mark at its end, is ended by space alone: 007 is not a 0
    if not isinstance(value, (str, dict, list)) and begin[end : end + 1].strip(_SPACE):
        raise Malformed("Can't parse value")
    _check(text, value)
    return value


def cast(value: Any) -> Any:
    """Return a value as an operator's attribute is stored: a number, or text that looks like one, as a number."""
    if isinstance(value, Number) or (isinstance(value, str) and _NUMERIC.fullmatch(value)):
        return _converted(value)
    return plain(value)


def stored(value: Any) -> Any:
    """Return a device's value as it is stored.

    It is cast twice: ThingsBoard's transport writes it as JSON for the rule engine, which reads it again. That writes
    a double from 1e7 on with an exponent, so that a whole one becomes a long; and it leaves out members that are null.
    """
    value = cast(value)
    if isinstance(value, float):
        return _converted(json_writer.double(value))
    if isinstance(value, str):
        return value.replace("\0", "")  # PostgreSQL's texts have none
    return _without_nulls(value)


def _converted(text: str) -> int | float | str:
    """Return a number of 64 bits, whole unless it is written with a point, or a double.

    What neither can hold, or has more than 16 decimals, is text: the digits, without an exponent.
    """
    mantissa, _, exponent = text.lower().partition("e")
    decimals = len(mantissa.partition(".")[2]) - int(exponent or 0)
    if exponent and abs(decimals) > _NUMBER_LIMIT:
        raise BadField("a number is out of range")
    exact = Decimal(text)
    if exact == exact.to_integral_value() and (exponent or "." not in mantissa):
        if LONG.start <= exact < LONG.stop:
            return int(exact)
    elif decimals <= 16:
        double = float(exact) or 0.0  # upstream knows no negative zero
        return double if math.isfinite(double) else json_writer.double(double)
    return f"{exact or exact.copy_abs():f}"


def _without_nulls(value: Any) -> Any:
    """Return a value without the members of objects, however deep inside, that are null."""
    holders = [value] if isinstance(value, (dict, list)) else []
    while holders:
        holder = holders.pop()
        if isinstance(holder, dict):
            for key in [key for key, each in holder.items() if each is None]:
                del holder[key]
        within = holder.values() if isinstance(holder, dict) else holder
        holders += [each for each in within if isinstance(each, (dict, list))]
    return value


def plain(value: Any) -> Any:
    """Return a value with its numbers, however deep inside, as Python's."""
    whole = [value]
    holders: list[Any] = [whole]
    while holders:
        holder = holders.pop()
        for key, each in holder.items() if isinstance(holder, dict) else enumerate(holder):
            if isinstance(each, Number):
                holder[key] = _exact(each)
            elif isinstance(each, (dict, list)):
                holders.append(each)
    return whole[0]


def _exact(text: str) -> int | float | str:
    """Return a whole number or a double; one that is infinite is text."""
    try:
        return int(text)
    except ValueError:
        return _finite(text)


def number(text: str) -> str:
    """Return a number's text as Number, or as text if ThingsBoard would not read it as a number."""
    return Number(text) if len(text) < _NUMBER_LIMIT else text
