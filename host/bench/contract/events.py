"""Events that the firmware reports on its console, and its states.

An event is one JSON line: `event` (its name) and `ms` (milliseconds since the firmware started), then its fields.
No event holds a secret. docs/device-life.md has the same table for people.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Event = dict[str, Any]
"""An event as it was received. A board with another firmware may report events that are not in `EVENTS`."""


class State(StrEnum):
    """States of a board between two resets. A reset starts in NEW, PENDING or OFFLINE, by what its vault holds."""

    NEW = "new"
    LINKING = "linking"
    PROVISIONING = "provisioning"
    PENDING = "pending"
    ONLINE = "online"
    OFFLINE = "offline"
    REJECTED = "rejected"
    ERROR = "error"


STUCK_STATES = frozenset((State.REJECTED, State.ERROR))
"""States in which a person has to act; the board itself only tries again after a long wait."""


@dataclass(frozen=True, kw_only=True)
class EventSpec:
    """One kind of event."""

    fields: tuple[str, ...] = ()
    """Fields that it always has, besides `event` and `ms`."""
    optional: tuple[str, ...] = ()
    """Fields that it may have."""
    is_trouble: bool = False
    """True for a problem that keeps the board from being online, or may."""
    meaning: str
    """The occasion, for the documentation (Markdown)."""


EVENTS: Mapping[str, EventSpec] = {
    "boot": EventSpec(
        fields=("firmware", "mac", "memory", "micropython", "reset"),
        meaning="power-on and every reset; `reset` is the cause, `memory` the free bytes (below)",
    ),
    "state": EventSpec(fields=("state", "was"), meaning="at each change"),
    "link_up": EventSpec(fields=("address", "network"), meaning="the board is in a network: its SSID, or `ethernet`"),
    "link_failed": EventSpec(
        fields=("kind", "network", "detail"),
        is_trouble=True,
        meaning="each failed network: `not_found`, `wrong_password`, `link`, `no_network`",
    ),
    "clock_set": EventSpec(fields=("source",), meaning="the clock was wrong before TLS; from `ntp` or `http`"),
    "key_made": EventSpec(fields=("took_ms",), meaning="a key and its certificate were made"),
    "pending_stored": EventSpec(fields=("count",), meaning="credentials are in flash, not proved yet"),
    "provisioning": EventSpec(fields=("made_by", "transport", "type"), meaning="before the request leaves"),
    "answer": EventSpec(fields=("status",), meaning="the server has answered"),
    "provisioned": EventSpec(fields=("type",), meaning="a login worked with new credentials: they are active"),
    "connected": EventSpec(fields=("name",), meaning="logged in"),
    "telemetry": EventSpec(fields=("waiting",), meaning="the server acknowledged a record; number of waiting records"),
    "dropped": EventSpec(fields=("count",), meaning="number of records lost to a full queue; reported to the server"),
    "listening": EventSpec(meaning="commands are accepted from now on"),
    "command": EventSpec(fields=("method",), meaning="one of the application's own commands was called"),
    "claim_sent": EventSpec(meaning="the server has received a claim"),
    "rotation": EventSpec(fields=("step",), meaning="`asked`, `delayed`, `stored`, `done`, or `refused` by the server"),
    "update": EventSpec(
        fields=("kind", "step"),
        optional=("title", "version", "progress", "fetched", "detail"),
        meaning="an update: `downloading`, `unverified` (no `update.key`), `downloaded`, `verified`, `trial`, "
        "`updated`, `delayed` or `failed`; `progress` in percent, `fetched` bytes from the server",
    ),
    "skipped": EventSpec(
        optional=("bytes", "kind", "count"),
        is_trouble=True,
        meaning="a message of the server was dropped: `too large`, `busy` or `no memory`; or `count` of them were lost",
    ),
    "no_memory": EventSpec(
        fields=("kind", "memory"),
        is_trouble=True,
        meaning="there was no memory for this `kind` of work, which was dropped: `rpc`, `login` and others",
    ),
    "reset": EventSpec(
        fields=("kind", "by"),
        meaning="credentials, Wi-Fi networks or both are being wiped, by `button`, `server` or console",
    ),
    "setting": EventSpec(fields=("name",), meaning="a setting was changed on the console"),
    "offline": EventSpec(
        fields=("kind", "detail"), is_trouble=True, meaning="see [troubleshooting](troubleshooting.md)"
    ),
    "displaced": EventSpec(
        fields=("fix", "name", "count"),
        is_trouble=True,
        meaning="the server ends each session soon, `count` times in a row: another board is the same device",
    ),
    "retry": EventSpec(fields=("attempt", "in_ms"), meaning="the board waits before the next attempt"),
    "refused": EventSpec(
        fields=("fix", "name", "code", "count"),
        is_trouble=True,
        meaning="the server refused the login, `count` times in a row: needs a person",
    ),
    "rejected": EventSpec(
        fields=("fix", "name"), is_trouble=True, meaning="the server does not provision the board: needs a person"
    ),
    "not_found": EventSpec(
        fields=("fix", "name"), is_trouble=True, meaning="no profile has the board's key and secret: needs a person"
    ),
    "certificate_refused": EventSpec(
        fields=("fix",), is_trouble=True, meaning="the server's certificate is not the right one: needs a person"
    ),
    "plaintext_refused": EventSpec(
        fields=("fix",), is_trouble=True, meaning="secrets would be sent to a public address in clear: needs a person"
    ),
    "error": EventSpec(
        fields=("kind",),
        optional=("detail", "fix"),
        is_trouble=True,
        meaning="a problem of settings or flash, or a bug of the application",
    ),
    "vault_slot_damaged": EventSpec(fields=("slot",), is_trouble=True, meaning="the board uses the other slot"),
    "vault_slot_unreadable": EventSpec(
        fields=("slot", "errno"), is_trouble=True, meaning="the board uses the other slot"
    ),
    "safe_mode": EventSpec(
        fields=("detail",),
        is_trouble=True,
        meaning="an update's `main.py` raised: the board goes on without it, with the firmware of its flash",
    ),
    "crash": EventSpec(
        fields=("kind", "reset_in_ms"), is_trouble=True, meaning="a bug; its traceback is printed before the event"
    ),
}
"""All events of the firmware, in the order in which the documentation lists them."""

MILESTONES = ("boot", "link_up", "key_made", "pending_stored", "answer", "provisioned", "connected", "telemetry")
"""Events on the way of a first boot, in their order; the last one completes it. Only certificates have a key."""

TROUBLE = frozenset(name for name, spec in EVENTS.items() if spec.is_trouble)
"""Events that report a problem."""

FOLLOW_UPS = frozenset(("state", "retry"))
"""Events that follow from the ones before them: they never are the reason of anything."""

BENCH_EVENTS = frozenset(
    ("console", "switched_on", "switched_off", "reset_line", "power_lost", "port_lost", "port_back"),
)
"""Events that the bench itself adds to those of a board; `console` is a line that is not an event."""


def completes_boot(event: Event) -> bool:
    """Return whether a board is online and the server has its first telemetry."""
    return bool(event["event"] == MILESTONES[-1])


def needs_person(event: Event) -> bool:
    """Return whether waiting for the board cannot help any more: it crashed, or a person has to act."""
    name = event["event"]
    return name == "crash" or (name == "state" and event.get("state") in STUCK_STATES)
