"""Regular expressions that Python has parsed, as programs for `patterns`."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from re import _constants as sre  # type: ignore[attr-defined]  # the parser's own names, which no public module has
from re import _parser  # type: ignore[attr-defined]
from typing import Any

PROGRAM = 5_000
"""Instructions of one pattern; a longer one (with large repetitions inside each other) is refused."""

LENGTH = 1024
"""Characters of a pattern."""

_CATEGORIES = {
    sre.CATEGORY_DIGIT: re.compile(r"\d", re.ASCII),
    sre.CATEGORY_NOT_DIGIT: re.compile(r"\D", re.ASCII),
    sre.CATEGORY_SPACE: re.compile(r"\s", re.ASCII),
    sre.CATEGORY_NOT_SPACE: re.compile(r"\S", re.ASCII),
    sre.CATEGORY_WORD: re.compile(r"\w", re.ASCII),
    sre.CATEGORY_NOT_WORD: re.compile(r"\W", re.ASCII),
}
_PLACES = {
    sre.AT_BEGINNING_STRING: re.compile(r"\A"),
    sre.AT_END: re.compile(r"$"),
    sre.AT_END_STRING: re.compile(r"\Z"),
    sre.AT_BOUNDARY: re.compile(r"\b", re.ASCII),
    sre.AT_NON_BOUNDARY: re.compile(r"\B", re.ASCII),
}
_LINES = {sre.AT_BEGINNING: re.compile(r"^", re.MULTILINE), sre.AT_END: re.compile(r"$", re.MULTILINE)}

Test = Callable[[str], bool]


class InvalidPattern(ValueError):
    """Not a regular expression, or not one that can be matched here."""


@dataclass
class Code:
    """A program: `(operation, argument)`."""

    instructions: list[tuple[str, Any]] = field(default_factory=list)
    has_references: bool = False

    def add(self, operation: str, argument: Any = None) -> int:
        if len(self.instructions) >= PROGRAM:
            raise InvalidPattern("the pattern is too long")
        self.instructions.append((operation, argument))
        return len(self.instructions) - 1

    def here(self) -> int:
        return len(self.instructions)

    def point(self, at: int, argument: Any) -> None:
        self.instructions[at] = self.instructions[at][0], argument


@lru_cache(maxsize=256)
def compiled(pattern: str) -> Code:
    r"""Return the program of a pattern. Java's `\d`, `\w` and `\s` are ASCII, and so are these.

    Raises:
        InvalidPattern: It is not a regular expression, or asks whether a group matched (`(?(1)...)`).
    """
    if len(pattern) > LENGTH:
        raise InvalidPattern(f"longer than {LENGTH} characters")
    try:
        parsed = _parser.parse(pattern, re.ASCII)
    except (re.error, RecursionError, OverflowError):
        raise InvalidPattern("not a regular expression") from None
    code = Code()
    try:
        _compile(code, parsed, parsed.state.flags)
    except RecursionError:
        raise InvalidPattern("nested too deeply") from None
    code.add("end")
    return code


def _compile(code: Code, items: Iterable[tuple[Any, Any]], flags: int) -> None:
    for operation, argument in items:
        if operation is sre.SUBPATTERN:
            _group(code, argument, flags)
        elif operation is sre.BRANCH:
            _branches(code, argument[1], flags)
        elif operation in (sre.MAX_REPEAT, sre.MIN_REPEAT):
            _repeat(code, argument, flags, greedy=operation is sre.MAX_REPEAT)
        elif operation is sre.POSSESSIVE_REPEAT:
            _part(code, "atomic", [(sre.MAX_REPEAT, argument)], flags)
        elif operation is sre.ATOMIC_GROUP:
            _part(code, "atomic", argument, flags)
        elif operation in (sre.ASSERT, sre.ASSERT_NOT):
            _look(code, operation, argument, flags)
        elif operation is sre.AT:
            code.add("at", _place(argument, flags))
        elif operation is sre.GROUPREF:
            code.has_references = True
            code.add("reference", (argument, bool(flags & re.IGNORECASE)))
        else:
            code.add("one", _test(operation, argument, flags))


def _group(code: Code, argument: Any, flags: int) -> None:
    number, added, removed, items = argument
    if number is not None:
        code.add("save", 2 * number)
    _compile(code, items, (flags | added) & ~removed)
    if number is not None:
        code.add("save", 2 * number + 1)


def _branches(code: Code, branches: Iterable[Any], flags: int) -> None:
    *first, last = branches
    ends = []
    for each in first:
        split = code.add("split")
        _compile(code, each, flags)
        ends.append(code.add("jump"))
        code.point(split, (split + 1, code.here()))
    _compile(code, last, flags)
    for end in ends:
        code.point(end, code.here())


def _repeat(code: Code, argument: Any, flags: int, *, greedy: bool) -> None:
    low, high, items = argument
    for _ in range(low):
        _compile(code, items, flags)
    if high is sre.MAXREPEAT:
        split = code.add("split")
        _compile(code, items, flags)
        code.add("jump", split)
        code.point(split, (split + 1, code.here()) if greedy else (code.here(), split + 1))
        return
    splits = []
    for _ in range(high - low):
        splits.append(code.add("split"))
        _compile(code, items, flags)
    for split in splits:
        code.point(split, (split + 1, code.here()) if greedy else (code.here(), split + 1))


def _part(code: Code, operation: str, items: Any, flags: int) -> None:
    """Add a part that is matched for itself: between this instruction and its end, where the program goes on."""
    at = code.add(operation)
    _compile(code, items, flags)
    code.add("end")
    code.point(at, code.here())


def _look(code: Code, operation: Any, argument: Any, flags: int) -> None:
    direction, items = argument
    back = 0
    if direction < 0:
        low, high = items.getwidth()
        if low != high:
            raise InvalidPattern("a look behind of no fixed width")
        back = low
    at = code.add("look")
    _compile(code, items, flags)
    code.add("end")
    code.point(at, (code.here(), back, operation is sre.ASSERT))


def _place(where: Any, flags: int) -> re.Pattern[str]:
    if where is sre.AT_BEGINNING and not flags & re.MULTILINE:
        where = sre.AT_BEGINNING_STRING
    return _LINES[where] if flags & re.MULTILINE and where in _LINES else _PLACES[where]


def _test(operation: Any, argument: Any, flags: int) -> Test:
    """Return the test of one character."""
    ignore_case = bool(flags & re.IGNORECASE)
    if operation is sre.ANY:
        return (lambda _: True) if flags & re.DOTALL else (lambda each: each != "\n")
    if operation is sre.IN:
        negated = argument[0][0] is sre.NEGATE
        tests = [_test(kind, detail, flags) for kind, detail in argument[negated:]]
        return lambda each: any(test(each) for test in tests) is not negated
    if operation is sre.CATEGORY:
        category = _CATEGORIES[argument]
        return lambda each: category.match(each) is not None
    if operation is sre.RANGE:
        low, high = argument
        forms = _forms if ignore_case else _itself
        return lambda each: any(low <= ord(form) <= high for form in forms(each))
    if operation in (sre.LITERAL, sre.NOT_LITERAL):
        wanted, equal = chr(argument), operation is sre.LITERAL
        forms = _forms if ignore_case else _itself
        return lambda each: (wanted in forms(each)) is equal
    raise InvalidPattern("a kind of pattern that is not supported")


def _itself(each: str) -> tuple[str, ...]:
    return (each,)


def _forms(each: str) -> tuple[str, ...]:
    """Return a character in both cases; as the patterns are ASCII, only ASCII letters have two."""
    return (each, each.swapcase()) if each.isascii() else (each,)
