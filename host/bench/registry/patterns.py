r"""Operators' regular expressions, matched in bounded time.

Python's own engine tries every way to match, and nothing else in the process runs meanwhile: with `(a+)+$` thirty
characters take a minute. Here a place of the program at a place of the text that led to nothing is not tried again, as
RE2 does it. So the time grows with both lengths and no faster. A step limit holds for what remains: long programs, and
references to groups, which RE2 refuses.
"""

from typing import Any

from bench.registry.pattern_program import Code, InvalidPattern, compiled

STEPS = 200_000
"""Steps of one search, about 0.1 s; a search that takes more finds nothing."""

_Groups = dict[int, int]
_Step = tuple[int, int, _Groups]


class _OutOfSteps(Exception):
    pass


def first_group(pattern: str, text: str) -> str | None:
    """Return group 1 of the first match of a pattern in a text.

    None if it matches nowhere, is not a pattern, has no such group, or takes too many steps.
    """
    try:
        found = _Search(compiled(pattern), text).run()
    except (InvalidPattern, _OutOfSteps):
        return None
    return None if found is None or found.get(2) is None or found.get(3) is None else text[found[2] : found[3]]


class _Search:
    def __init__(self, code: Code, text: str) -> None:
        self._code = code.instructions
        self._text = text
        self._steps = STEPS
        self._remembers = not code.has_references
        self._tried: set[tuple[int, int]] = set()

    def run(self) -> _Groups | None:
        """Return the places of the first match's groups: `2 * n` is where group n begins, `2 * n + 1` its end."""
        for start in range(len(self._text) + 1):
            found = self._match(0, start, {}, self._tried)
            if found is not None:
                return found[1]
        return None

    def _match(
        self, start: int, place: int, groups: _Groups, tried: set[tuple[int, int]]
    ) -> tuple[int, _Groups] | None:
        """Run from an instruction to the next `end`; return where in the text it got, and the groups."""
        waiting = [(start, place, groups)]
        while waiting:
            at, place, groups = waiting.pop()
            while True:
                self._steps -= 1
                if self._steps < 0:
                    raise _OutOfSteps
                if self._remembers:
                    if (at, place) in tried:
                        break
                    tried.add((at, place))
                operation, argument = self._code[at]
                if operation == "end":
                    return place, groups
                if operation == "split":
                    at, other = argument
                    waiting.append((other, place, groups))
                    continue
                if operation == "jump":
                    at = argument
                    continue
                step = self._step(operation, argument, at, place, groups)
                if step is None:
                    break
                at, place, groups = step
        return None

    def _step(self, operation: str, argument: Any, at: int, place: int, groups: _Groups) -> _Step | None:
        """Return where an instruction leads, None if it fails."""
        text = self._text
        step: _Step | None = None
        if operation == "one":
            if place < len(text) and argument(text[place]):
                step = at + 1, place + 1, groups
        elif operation == "save":
            step = at + 1, place, {**groups, argument: place}
        elif operation == "at":
            if argument.match(text, place):
                step = at + 1, place, groups
        elif operation == "atomic":
            if found := self._match(at + 1, place, groups, set()):
                step = argument, *found
        elif operation == "look":
            after, back, wanted = argument
            found = self._match(at + 1, place - back, groups, set()) if place >= back else None
            if (found is not None) is wanted:
                step = after, place, found[1] if found else groups
        else:
            step = self._refer(argument, at, place, groups)
        return step

    def _refer(self, argument: tuple[int, bool], at: int, place: int, groups: _Groups) -> _Step | None:
        number, ignore_case = argument
        begin, end = groups.get(2 * number), groups.get(2 * number + 1)
        if begin is None or end is None or end < begin:
            return None
        wanted = self._text[begin:end]
        found = self._text[place : place + len(wanted)]
        same = found.lower() == wanted.lower() if ignore_case else found == wanted
        return (at + 1, place + len(wanted), groups) if same else None
