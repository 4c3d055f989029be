"""JSON as ThingsBoard reads it: Gson's lenient reader, for what Python's own reader refuses.

Beyond RFC 8259 that is: nothing at all, which is null; names and text without quotes or in single ones; `=` and `=>`
for `:`; `;` for `,`; list elements left out, which are null (`[1,]` has two); true, false and null in any case;
comments (`//`, `#`, `/* */`) before and inside the value; a first line of `)]}'`; a backslash before `'` or the end of
a line inside text; and after a null at the top, anything.

Hand-written because no library reads exactly this: JSON5 and Hjson accept other things and refuse some of these.
"""

import re
from collections.abc import Callable
from typing import Any

# How deep objects and lists may be nested. As Gson has it; far from where Python's own recursion ends,
# in whoever handles the value afterwards.
NESTING_LIMIT = 255

# No pattern gives back what it matched (`++`, `*+`), so that none takes more than one pass over the text.
_SPACE = re.compile(r"[ \t\r\n]*+")
_SPACE_AND_COMMENTS = re.compile(r"(?:[ \t\r\n]++|//[^\r\n]*+|#[^\r\n]*+|/\*.*?\*/)*+", re.DOTALL)
_QUOTED = {quote: re.compile(rf"{quote}((?:[^{quote}\\]++|\\.)*+){quote}", re.DOTALL) for quote in "\"'"}
_UNQUOTED = re.compile(r"[^/\\;#={}\[\]:, \t\f\r\n]++")
# A word or text without escapes, and what is simple around it: most of a long payload, in one step a member.
_SIMPLE = (
    r"""([^"'/\\;#={}\[\]:, \t\f\r\n][^/\\;#={}\[\]:, \t\f\r\n]*+|"[^"\\\ud800-\udfff]*+"|'[^'\\\ud800-\udfff]*+')"""
)
_MEMBER = re.compile(rf"[ \t\r\n]*+{_SIMPLE}[ \t\r\n]*+[:=][ \t\r\n]*+(?!>){_SIMPLE}[ \t\r\n]*+[,;]")
_ELEMENT = re.compile(rf"[ \t\r\n]*+{_SIMPLE}[ \t\r\n]*+[,;]")
_LEFT_OUT = re.compile("[,;]++")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPED = {**dict(zip("tbnrf", "\t\b\n\r\f", strict=True)), **{each: each for each in "\"'\\/\n"}}
_SURROGATE = re.compile("[\ud800-\udfff]")
_KEYWORDS = {"true": True, "false": False, "null": None}
_PREFIX = ")]}'\n"


def parse(text: str, number: Callable[[str], Any] = str) -> Any:
    """Return the value of `text`, in time that grows with its length and no faster.

    Of a doubled name the last value counts.

    Args:
        text: The JSON.
        number: Makes a value of a number's text; what is not quite a number, like `007`, `.5` or `NaN`, is text without
            quotes.

    Raises:
        ValueError: It is not JSON; the message has the place and never quotes the text.
    """
    return _Reader(text, number).document()


class _Reader:
    """A place in the text, which only ever moves on."""

    def __init__(self, text: str, number: Callable[[str], Any]) -> None:
        self._text = text
        self._number = number
        self._at = 0

    def document(self) -> Any:
        self._skip()
        if self._text.startswith(_PREFIX, self._at):
            self._at += len(_PREFIX)
            self._skip()
        if self._at == len(self._text):
            return None
        value = self._nested()
        if value is not None:  # Gson's way: behind a null it does not look, and elsewhere it wants no comments
            self._skip(_SPACE)
            if self._at != len(self._text):
                raise self._unexpected("the end")
        return value

    def _nested(self) -> Any:
        """Read one value and all that is in it, without recursion."""
        around: list[Any] = []  # the objects and lists that are open
        names: list[str] = []  # for each of them that is an object, the member that is being read
        while True:
            value = self._value(in_list=bool(around) and isinstance(around[-1], list))
            opened = isinstance(value, (dict, list))
            if opened:
                if len(around) == NESTING_LIMIT:
                    raise ValueError(f"nested more than {NESTING_LIMIT} deep")
                around.append(value)
            while True:
                if not opened:
                    if not around:
                        return value
                    if isinstance(around[-1], list):
                        around[-1].append(value)
                    else:
                        around[-1][names.pop()] = value
                if self._goes_on(around[-1], first=opened):
                    break
                value, opened = around.pop(), False
            self._simple_parts(around[-1])
            if isinstance(around[-1], dict):
                names.append(self._name())

    def _simple_parts(self, holder: dict[str, Any] | list[Any]) -> None:
        """Read what comes next in an object or a list as long as it is simple, each part with the mark behind it."""
        if isinstance(holder, dict):
            self._simple_members(holder)
        else:
            self._simple_elements(holder)

    def _simple_elements(self, holder: list[Any]) -> None:
        text = self._text
        while True:
            if found := _ELEMENT.match(text, self._at):
                holder.append(self._simple(found[1]))
            elif found := _LEFT_OUT.match(text, self._at):
                holder.extend([None] * (found.end() - self._at))
            else:
                return
            self._at = found.end()

    def _simple_members(self, holder: dict[str, Any]) -> None:
        text, at = self._text, self._at
        while found := _MEMBER.match(text, at):
            name, value = found.groups()
            holder[name[1:-1] if name[0] in _QUOTED else name] = self._simple(value)
            at = found.end()
        self._at = at

    def _simple(self, value: str) -> Any:
        return value[1:-1] if value[0] in _QUOTED else self._word(value)

    def _word(self, word: str) -> Any:
        """Return the value of text without quotes."""
        if (lower := word.lower()) in _KEYWORDS:
            return _KEYWORDS[lower]
        return self._number(word) if _NUMBER.fullmatch(word) else word

    def _value(self, *, in_list: bool) -> Any:
        """Read a value without parts, or an empty object or list that has just been opened."""
        match self._next():
            case "{":
                self._at += 1
                return {}
            case "[":
                self._at += 1
                return []
            case '"' | "'" as quote:
                return self._quoted(quote)
            case "," | ";" | "]" if in_list:
                return None  # left out; `_goes_on` reads the mark
        return self._word(self._unquoted("a value"))

    def _goes_on(self, holder: dict[str, Any] | list[Any], *, first: bool) -> bool:
        """Return whether another member follows; what separates it from the one before is read."""
        mark = self._next()
        if mark == ("]" if isinstance(holder, list) else "}"):
            self._at += 1
            return False
        if not first:
            if mark not in (",", ";"):
                raise self._unexpected("a comma, or the end of a list or an object")
            self._at += 1
        return True

    def _name(self) -> str:
        """Read a member's name and what separates it from the value."""
        mark = self._next()
        name = self._quoted(mark) if mark in _QUOTED else self._unquoted("a name")
        mark = self._next()
        if mark not in (":", "="):
            raise self._unexpected("a colon")
        self._at += 2 if mark == "=" and self._text.startswith(">", self._at + 1) else 1
        return name

    def _quoted(self, quote: str) -> str:
        found = _QUOTED[quote].match(self._text, self._at)
        if found is None:
            raise self._unexpected("text with an end")
        raw = found[1]
        text = _ESCAPE.sub(self._unescape, raw) if "\\" in raw else raw
        if _SURROGATE.search(text):  # two that belong together become one; a lone one is no character
            try:
                text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
            except UnicodeDecodeError:
                raise self._unexpected("text without half a surrogate pair") from None
        self._at = found.end()
        return text

    def _unescape(self, found: re.Match[str]) -> str:
        if found[1]:
            return chr(int(found[1], 16))
        if found[2] not in _ESCAPED:
            raise self._unexpected("text with escapes that exist")
        return _ESCAPED[found[2]]

    def _unquoted(self, wanted: str) -> str:
        found = _UNQUOTED.match(self._text, self._at)
        if found is None:
            raise self._unexpected(wanted)
        self._at = found.end()
        return found[0]

    def _next(self) -> str:
        """Return the next character that counts, which is not passed; empty at the end."""
        self._skip()
        return self._text[self._at : self._at + 1]

    def _skip(self, what: re.Pattern[str] = _SPACE_AND_COMMENTS) -> None:
        found = what.match(self._text, self._at)
        assert found is not None  # it matches the empty text
        self._at = found.end()

    def _unexpected(self, wanted: str) -> ValueError:
        return ValueError(f"{wanted} is wanted at character {self._at + 1}")
