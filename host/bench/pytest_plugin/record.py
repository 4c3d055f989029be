"""Record of a test on one time axis: the events of its boards and servers, and the faults of its networks."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from bench.dut.board import Board

METRIC = "metric "
"""Beginning of the name of a report's property that holds a figure; the rest is the figure's name."""
_SHORTEST = 8  # characters; anything shorter occurs in innocent text
_HIDDEN = "***"
_SECRET_KEYS = ("secret", "password")
# Phases of a boot with their first and last events. Firmware without these events has no phases.
_PHASES = (
    ("boot", "switched_on", "boot"),
    ("link", "boot", "link_up"),
    ("provisioned", "link_up", "provisioned"),
    ("connected", "provisioned", "connected"),
    ("first telemetry", "connected", "telemetry"),
)
# The most significant fields of an event, in this order.
_TELLING = ("status", "state", "kind", "name", "device", "method", "step", "detail")


@dataclass(frozen=True)
class Moment:
    """An occurrence on the time axis. `at` is in seconds since 1970."""

    at: float
    what: str
    detail: str = ""


@dataclass(frozen=True)
class Phase:
    """A phase of a board's boot. `began` and `ended` are in seconds since 1970."""

    board: str
    name: str
    began: float
    ended: float


@dataclass
class Record:
    """The boards, servers and networks of a test, of which the last two are those of its fixtures."""

    began: float = field(default_factory=time.time)
    boards: list[Board] = field(default_factory=list)
    servers: list[Any] = field(default_factory=list)
    thingsboards: list[Any] = field(default_factory=list)
    """Servers that tell no events: other people's."""
    networks: list[Any] = field(default_factory=list)

    def lanes(self) -> dict[str, list[Moment]]:
        """Return the moments of each board, the server and the network, in order, by the name of the lane."""
        lanes = {board.name: [_moment(each.at, each.event) for each in board.received] for board in self.boards}
        for server in self.servers:
            lanes["server"] = [_moment(each["ts"] / 1000, each) for each in server.events()]
        clock = time.time() - time.monotonic()
        for network in self.networks:
            lanes["network"] = [
                Moment(clock + each.time_s, str(each.kind), f"{each.direction}, {each.size} bytes")
                for each in network.events
            ]
        return lanes

    def phases(self) -> Iterator[Phase]:
        """Yield each phase of each boot of the boards."""
        for board in self.boards:
            seen: dict[str, float] = {}
            for each in board.received:
                kind = each.event["event"]
                if kind in ("switched_on", "reset_line"):
                    seen = {"switched_on": each.at}
                for phase, begin, end in _PHASES:
                    if kind == end and begin in seen and end not in seen:
                        yield Phase(board.name, phase, seen[begin], each.at)
                seen.setdefault(kind, each.at)

    def facts(self) -> Iterator[dict[str, str]]:
        """Yield the identity and the versions of each board, and the digest of the files on it, as texts by column."""
        for board in self.boards:
            boot: dict[str, Any] = next((each for each in board.events if each["event"] == "boot"), {})
            content = hashlib.sha256()
            for path, data in sorted(board.installed.items()):
                content.update(f"{path}\0{len(data)}\0".encode() + data)
            yield {
                "board": board.name,
                "kind": board.kind,
                "MAC": board.mac or str(boot.get("mac", "?")),
                "MicroPython": str(boot.get("micropython", "?")),
                "firmware": str(boot.get("firmware", "?")),
                "files": str(len(board.installed)),
                "SHA-256 of the files": content.hexdigest()[:16],
            }

    def consoles(self) -> Iterator[tuple[str, str]]:
        """Yield each board's name and output; each line begins with the seconds since the test began."""
        for board in self.boards:
            lines = []
            for each in board.received:
                text = each.event["text"] if each.event["event"] == "console" else json.dumps(each.event)
                lines.append(f"{each.at - self.began:9.3f}  {text}\n")
            yield board.name, "".join(lines)

    def masking(self) -> Callable[[str], str]:
        """Return a function that masks secrets in a text.

        It masks every secret of at least 8 characters that the test's servers and boards are known to have now, also
        as JSON escapes it.
        """
        secrets = sorted(self._secrets(), key=len, reverse=True)

        def mask(text: str) -> str:
            for secret in secrets:
                for form in {secret, json.dumps(secret)[1:-1]}:
                    text = text.replace(form, _HIDDEN)
            return text

        return mask

    def _secrets(self) -> set[str]:
        found: set[str] = set()
        for server in (*self.servers, *self.thingsboards):
            found |= server.secrets()
        for board in self.boards:
            with suppress(ValueError):
                found |= set(_secret_values(json.loads(board.installed.get("settings.json", b"{}"))))
        return {each for each in found if len(each) >= _SHORTEST}


RECORD = pytest.StashKey[Record]()


def _secret_values(value: Any, *, is_secret: bool = False) -> Iterator[str]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _secret_values(each, is_secret=key in _SECRET_KEYS)
    elif isinstance(value, list):
        for each in value:
            yield from _secret_values(each, is_secret=is_secret)
    elif is_secret and isinstance(value, str):
        yield value


def _moment(at: float, event: dict[str, Any]) -> Moment:
    if event["event"] == "console":
        return Moment(at, "console", str(event["text"]))
    telling = [str(event[key]) for key in _TELLING if event.get(key) not in (None, "")]
    return Moment(at, str(event["event"]), " ".join(telling))
