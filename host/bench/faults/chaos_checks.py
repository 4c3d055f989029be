"""Conditions that hold after a round of chaos, on the board, its vault and what was printed.

Each function raises RoundFailed if its condition does not hold.
"""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from bench.errors import BenchError
from bench.flash import vault
from bench.virtual.board import VirtualBoard
from bench.virtual.power import PowerCycle, PowerLost

PATIENCE_S = 30.0
"""From the end of all faults to telemetry that the server has."""
_SHORTEST_SECRET = 8
_SHOWN = 8  # of the board's last events, in an error


class RoundFailed(Exception):
    """A condition did not hold at the end of a round. The text names it, and holds no secret."""


def expect_recovery(power: PowerCycle) -> float:
    """Expect a board that is on to get online by itself, without a power cycle; return the seconds that it took."""
    start = time.monotonic()
    _expect_telemetry(power, "again by itself")
    return time.monotonic() - start


def expect_online(board: VirtualBoard) -> float:
    """Expect a board to get online after power-on, without a crash; return the seconds that it took."""
    start = time.monotonic()
    with board.power_on() as power:
        _expect_telemetry(power, "after power-on")
    expect_no_crash(power)
    return time.monotonic() - start


def expect_settled(board: VirtualBoard) -> None:
    """Expect a board that was online to be so after another power cycle, without a provisioning request."""
    with board.power_on() as power:
        _expect_telemetry(power, "a second time")
    if "provisioning" in {event["event"] for event in power.events}:
        raise RoundFailed("it asked for credentials once more, after it had been online with some")


def expect_no_crash(power: PowerCycle) -> None:
    """Expect that no program crashed in this power cycle."""
    for event in power.events:
        if event["event"] == "crash":
            raise RoundFailed(f"the board crashed ({event.get('kind', event.get('detail', ''))})")


def expect_agreement(board: VirtualBoard, devices: list[tuple[str, Any]]) -> None:
    """Expect one device of the board's name, with the credentials of its vault.

    Args:
        board: The board, which is off.
        devices: The credentials of every device of its name on the server, in the form of `vault.shown`.
    """
    if len(devices) != 1:
        raise RoundFailed(f"there are {len(devices)} devices of its name on the server")
    held = vault.record(board.flash())
    if held.keys() != {"active"} or [vault.shown(each) for each in held["active"]] != devices:
        raise RoundFailed("the server has other credentials than the vault")


def expect_no_secret_printed(board: VirtualBoard, secrets: set[str], outputs: Mapping[str, bytes]) -> None:
    """Expect no secret of 8 characters or more in what was printed.

    Args:
        board: The board, which is off: the secrets in its vault are searched for, too.
        secrets: The other ones.
        outputs: The name of who printed it -> the output.
    """
    known = secrets | set(_secrets_in_vault(board))
    for who, output in outputs.items():
        if any(secret.encode() in output for secret in known if len(secret) >= _SHORTEST_SECRET):
            raise RoundFailed(f"{who} printed a secret")


def _expect_telemetry(power: PowerCycle, when: str) -> None:
    try:
        power.expect_event("telemetry", timeout_s=PATIENCE_S)
    except PowerLost as lost:
        raise RoundFailed(str(lost)) from lost
    except BenchError:
        names = [event["event"] for event in power.events if event["event"] not in ("console", "state")]
        raise RoundFailed(
            f"it did not get online {when} within {PATIENCE_S:.0f} s; "
            f"the last events of the board: {', '.join(names[-_SHOWN:]) or 'nothing'}"
        ) from None


def _secrets_in_vault(board: VirtualBoard) -> Iterator[str]:
    for slot in vault.slots(board.flash()):
        for credentials in (slot.record or {}).values():
            for each in credentials:
                yield from (each[name] for name in ("token", "password", "key") if name in each)
