"""Rounds of chaos, drawn from a seed: a board, and the faults around it, one stage after the other.

A round is a function of its seed and its number, and of the families of faults: no round before it matters.
"""

import hashlib
import random
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bench.contract.credentials import BoardCredentialsType
from bench.faults.board_faults import BoardFault, BoardFaultKind
from bench.faults.network import rules
from bench.faults.network.rules import Direction, Fault
from bench.faults.server_faults import ServerFault, ServerFaultKind
from bench.flash.device_config import Choices, Transport

_STAGES = 3
_STAGE_S = (0.5, 3.0)
# Every family joins a stage with this chance.
_JOINS = 0.45
_HALF = 0.5
# A first boot has one or two dozen messages, most of them in its first half second.
_STEPS = 20
_LATEST_S = 1.0
_HOURS = (-24 * 365 * 20, -24, -1, 1, 24, 24 * 365 * 20)
_SEEDS = 1 << 32


class Family(StrEnum):
    """The families of faults, by where they happen."""

    NETWORK = "network"
    SERVER = "server"
    BOARD = "board"


@dataclass(frozen=True, kw_only=True)
class Ways:
    """Transports of the provisioning request that a server has for boards in clear, and for those with TLS."""

    clear: tuple[Transport, ...] = tuple(Transport)
    tls: tuple[Transport, ...] = tuple(Transport)

    @property
    def names(self) -> list[str]:
        """Their names: `mqtt`, `http-tls`."""
        return [*self.clear, *(f"{each}-tls" for each in self.tls)]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Simultaneous faults, while a board is on for `for_s` seconds."""

    for_s: float
    network: tuple[Fault, ...] = ()
    network_seed: int = 0
    server: ServerFault | None = None
    board: BoardFault | None = None

    def entry(self) -> dict[str, Any]:
        """Return it as events have it."""
        found: dict[str, Any] = {"for_s": round(self.for_s, 2)}
        if self.network:
            found["network"] = [each.entry() for each in self.network]
        if self.server:
            found["server"] = {"fault": self.server.kind.value, "amount": self.server.amount}
        if self.board:
            found["board"] = {"fault": self.board.kind.value, "seed": self.board.seed}
        return found


@dataclass(frozen=True, kw_only=True)
class ChaosRound:
    """A board and its stages. `provisioned`: it was online before the first of them."""

    number: int
    mac: str
    choices: Choices
    provisioned: bool
    stages: tuple[Stage, ...]

    def entry(self) -> dict[str, Any]:
        """Return it as events have it."""
        way = f"{self.choices.transport}{'-tls' * self.choices.tls}-{self.choices.kind}"
        return {
            "number": self.number,
            "way": way,
            "provisioned": self.provisioned,
            "turns": [each.entry() for each in self.stages],
        }


def draw_round(seed: int, number: int, families: Iterable[Family], ways: Ways | None = None) -> ChaosRound:
    """Draw a round.

    Args:
        seed: Decides all of it, with the other arguments.
        number: The number of the round, from 1.
        families: The families of faults that may happen.
        ways: Those of the server, at least one; all of them by default.

    Returns:
        The round; the same for the same arguments.
    """
    chosen = sorted(set(families))
    text = f"{seed}/{number}/{'+'.join(chosen)}"
    draw = random.Random(text)  # noqa: S311 - it has to come out the same again
    choices = _choices(draw, ways or Ways())
    stages = tuple(_stage(draw, chosen, choices) for _ in range(draw.randint(1, _STAGES)))
    # a record can be missed only where there is another, and a flash can be put back only with what is in it
    needs = any(stage.board and stage.board.kind in (BoardFaultKind.CORRUPT, BoardFaultKind.VAULT) for stage in stages)
    provisioned = draw.random() < _HALF or needs
    mac = f"02{hashlib.sha256(text.encode()).hexdigest()[:10]}"
    return ChaosRound(number=number, mac=mac, choices=choices, provisioned=provisioned, stages=stages)


def _choices(draw: random.Random, ways: Ways) -> Choices:
    tls = draw.random() < _HALF
    tls = bool(ways.tls) and (tls or not ways.clear)
    kinds = [kind for kind in BoardCredentialsType if tls or kind is not BoardCredentialsType.X509_CERTIFICATE]
    return Choices(transport=draw.choice(ways.tls if tls else ways.clear), tls=tls, kind=draw.choice(kinds))


def _stage(draw: random.Random, families: list[Family], choices: Choices) -> Stage:
    joining = [each for each in families if draw.random() < _JOINS] or [draw.choice(families)]
    return Stage(
        for_s=draw.uniform(*_STAGE_S),
        network=_network(draw, choices) if Family.NETWORK in joining else (),
        network_seed=draw.randrange(_SEEDS),
        server=_server(draw) if Family.SERVER in joining else None,
        board=_board(draw) if Family.BOARD in joining else None,
    )


def _network(draw: random.Random, choices: Choices) -> tuple[Fault, ...]:
    kinds = [kind for kind in rules.FaultKind if kind not in (rules.FaultKind.REFUSE, rules.FaultKind.UNAVAILABLE)]
    if not choices.tls or choices.transport is Transport.COAP:
        # In clear, a change on the way cannot be noticed: only TLS protects against it.
        kinds.remove(rules.FaultKind.CORRUPT)
    return tuple(_fault(draw, draw.choice(kinds)) for _ in range(draw.randint(1, 3)))


def _fault(draw: random.Random, kind: rules.FaultKind) -> Fault:
    amounts = {
        rules.FaultKind.DELAY: lambda: draw.uniform(10, 800),
        rules.FaultKind.JITTER: lambda: draw.uniform(10, 400),
        rules.FaultKind.BANDWIDTH: lambda: draw.uniform(300, 20_000),
        rules.FaultKind.BLACKHOLE: lambda: 1.0,
    }
    direction = draw.choice(list(Direction))
    if kind in rules.AT_ONE_STEP and draw.random() < _HALF:
        amount = amounts[kind]() if kind in amounts else 1.0
        return Fault(kind=kind, amount=amount, direction=direction, step=draw.randint(1, _STEPS))
    amount = amounts[kind]() if kind in amounts else draw.uniform(0.05, 0.8)
    at_s = 0.0 if draw.random() < _HALF else draw.uniform(0, _LATEST_S)
    return Fault(kind=kind, amount=amount, direction=direction, at_s=at_s, for_s=draw.uniform(0.1, 2))


def _server(draw: random.Random) -> ServerFault:
    kind = draw.choice(list(ServerFaultKind))
    amounts = {
        ServerFaultKind.UNAVAILABLE: lambda: float(draw.randint(0, 1)),
        ServerFaultKind.CLOCK: lambda: draw.choice(_HOURS) * 3600.0,
    }
    return ServerFault(kind=kind, amount=amounts[kind]() if kind in amounts else 0.0)


def _board(draw: random.Random) -> BoardFault:
    return BoardFault(kind=draw.choice(list(BoardFaultKind)), seed=draw.randrange(_SEEDS))
