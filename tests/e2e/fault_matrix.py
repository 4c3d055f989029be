"""The fault matrix: way x kind of credentials x fault x step, and what every cell of it has to come to."""

import hashlib
import json
import random
import shutil
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Self

import httpx

from bench import paths
from bench.errors import BenchError
from bench.faults.network.framing import Protocol, Route
from bench.faults.network.network import Network
from bench.faults.network.rules import AT_ONE_STEP, USUAL, Fault, FaultKind
from bench.flash import vault
from bench.virtual.board import VirtualBoard
from bench.virtual.power import PowerCycle
from tests.support.boards import KINDS, WAYS, ca_file, new_board, states, steps, vault_slots, way_settings
from tests.support.orders import Orders
from tests.support.servers import PATIENCE_S, RunningServer

# A busy machine takes 80 ms for a TLS handshake.
_TIMEOUT_MS = 400
# ... and a network that is in order is given all the time it needs.
_CALM_MS = 10_000
_DELAY_MS = 600
# A random delay is one of them.
FAULTS = [kind for kind in AT_ONE_STEP if kind is not FaultKind.JITTER]
# Also of what in the field would wait for a person: a fault that is over must not need one.
_BACKOFF = {"base_ms": 20, "cap_ms": 200, "long_ms": 300}
# Boards that are on at the same time; most of their time they wait.
_BOARDS = 3
# So many characters of it say why a cell failed.
_REASON = 300

# Says nothing more after the telemetry of its n-th session: that one's last step is the last one there is.
_MUTE = b"""
from firstboot import app, rpc
begin, sessions = rpc.Handler.begin, []
def once(self, client):
    sessions.append(client)
    if len(sessions) < %d:
        begin(self, client)
rpc.Handler.begin = once
app.main()
"""


@dataclass(frozen=True)
class Column:
    """One way to provision, one kind of credentials."""

    transport: str
    tls: bool
    kind: str

    def __str__(self) -> str:
        return f"{self.transport}{'-tls' * self.tls}-{self.kind}"

    def routes(self, server: RunningServer) -> list[Route]:
        """Everything a board says passes through here."""
        ports = server.ports
        spoken = {ports.mqtts: Protocol.TLS} if self.tls else {ports.mqtt: Protocol.MQTT}
        if self.tls:
            spoken[ports.http] = Protocol.HTTP  # where it asks for the time
        if self.transport == "coap":
            spoken[ports.coap] = Protocol.COAP
        elif self.transport == "http":
            spoken[ports.https if self.tls else ports.http] = Protocol.TLS if self.tls else Protocol.HTTP
        return [Route(to_port=port, protocol=protocol) for port, protocol in spoken.items()]

    def blank(
        self, server: RunningServer, network: Network, folder: Path, timeout_ms: int, files: dict[str, bytes]
    ) -> VirtualBoard:
        """A blank board whose server is behind the network."""
        sections = way_settings(server, self.transport, tls=self.tls, kind=self.kind)
        for section, key in (("server", "port"), ("provision", "port"), ("clock", "http_port")):
            port = sections[section][key]
            sections[section][key] = network.ports.get(port, port)
        # a connection that is half open and not used is found out by a ping, after half the keep-alive time
        keepalive_s = 4 if timeout_ms == _TIMEOUT_MS else 60
        sections["session"] = {"timeout_ms": timeout_ms, "telemetry_s": 60, "keepalive_s": keepalive_s}
        sections["backoff"] = _BACKOFF
        return new_board(folder, server, files={**ca_file(server), **files}, **sections)


COLUMNS = [
    Column(transport, tls, kind) for transport, tls in WAYS for kind in KINDS if tls or kind != "X509_CERTIFICATE"
]


@dataclass(frozen=True)
class Cell:
    """One fault at one step. Its text says all that it takes to have it again."""

    column: Column
    step: int
    kind: FaultKind
    seed: int

    @classmethod
    def of(cls, column: Column, step: int, kind: FaultKind) -> Self:
        return cls(column, step, kind, zlib.crc32(f"{column}/{step}".encode()))

    @classmethod
    def parse(cls, text: str) -> Self:
        """The cell of `str(cell)`."""
        column, step, kind, seed = text.split("/")
        return cls(next(each for each in COLUMNS if str(each) == column), int(step), FaultKind(kind), int(seed))

    def __str__(self) -> str:
        return f"{self.column}/{self.step}/{self.kind}/{self.seed}"

    @property
    def mac(self) -> str:
        return f"02{hashlib.sha256(str(self).encode()).hexdigest()[:10]}"


def every_cell(column: Column, steps: range) -> list[Cell]:
    """Each fault at each step."""
    return [Cell.of(column, step, kind) for step in steps for kind in FAULTS]


def drawn(column: Column, steps: range) -> list[Cell]:
    """Each step once, and each fault at least once: a draw that is the same every time."""
    draw = random.Random(str(column))
    at = draw.sample(steps, len(steps))
    kinds = draw.sample(FAULTS, len(FAULTS))
    return [Cell.of(column, at[i % len(at)], kinds[i % len(kinds)]) for i in range(max(len(at), len(kinds)))]


class FirstBoot:
    """A board's first boot, up to its first telemetry."""

    test = "first_boot"
    sessions = 1

    def before(self, power: PowerCycle) -> None:
        """No fault until here."""

    def go(self, power: PowerCycle, name: str) -> None:  # noqa: ARG002 - nobody has to be told who it is
        """Ends online, whatever goes wrong once."""
        power.expect_event("telemetry")


class Rotation:
    """A rotation: an operator has a board make new credentials, and saves them."""

    test = "rotation"
    sessions = 2

    def __init__(self, operator: httpx.Client) -> None:
        self._operator = operator

    def before(self, power: PowerCycle) -> None:
        power.expect_event("listening")

    def go(self, power: PowerCycle, name: str) -> None:
        orders = Orders(self._operator, name)
        answer = orders.call("rotateCredentials")
        if answer and "credentialsType" in answer:  # or there is nothing to save, and the old ones stay
            orders.save(answer)
            power.expect_event("rotation", step="done")
            power.expect_event("telemetry")


class Matrix:
    """One column of it, on a server. A context manager."""

    def __init__(
        self, server: RunningServer, column: Column, folder: Path, journey: FirstBoot | Rotation | None = None
    ) -> None:
        self._server = server
        self._column = column
        self._folder = folder
        self._journey = journey or FirstBoot()
        self._stack = ExitStack()
        self._places: SimpleQueue[_Place] = SimpleQueue()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def steps(self) -> range:
        """The steps of the journey, as they are without a fault."""
        network = self._network()
        main = _MUTE % self._journey.sessions
        board = self._column.blank(self._server, network, self._folder / "dry", _CALM_MS, {"main.py": main})
        with board.power_on() as power:
            self._journey.before(power)
            first = network.steps + 1
            self._journey.go(power, f"firstboot-{board.mac}")
        return range(first, network.steps + 1)

    def run(self, cells: list[Cell]) -> list[str]:
        """Have each happen to a board of its own; returns what failed, and how to see it again."""
        for number in range(_BOARDS):
            network = self._network()
            blank = self._column.blank(self._server, network, self._folder / f"blank{number}", _TIMEOUT_MS, {})
            self._places.put(_Place(network, blank))
        with ThreadPoolExecutor(_BOARDS) as pool:
            return [failure for failure in pool.map(self._try, cells) if failure]

    def _network(self) -> Network:
        return self._stack.enter_context(Network(self._column.routes(self._server)))

    def _try(self, cell: Cell) -> str:
        place = self._places.get()
        try:
            self._run(cell, place)
        except (AssertionError, BenchError) as error:
            again = f"make matrix CELL={cell} ARGS='-k {self._journey.test}'"
            return f"{again} # {type(error).__name__}: {str(error)[:_REASON]}"
        finally:
            self._places.put(place)
        return ""

    def _run(self, cell: Cell, place: "_Place") -> None:
        board = _twin(place.blank, self._folder / str(cell).replace("/", "_"), cell.mac)
        amount = _DELAY_MS if cell.kind is FaultKind.DELAY else USUAL
        place.network.begin(Fault(kind=cell.kind, step=cell.step, amount=amount), seed=cell.seed)
        name = f"firstboot-{board.mac}"
        with board.power_on() as power:
            self._journey.before(power)
            self._journey.go(power, name)
            # who says something last in a journey is not always the same: then it meets what the board says later
            deadline = time.monotonic() + PATIENCE_S
            while not place.network.is_exhausted and time.monotonic() < deadline:
                for _ in power.follow(0.1):
                    pass
        assert place.network.is_exhausted, "the fault did not happen"
        assert not {"crash", "console"} & set(steps(power)), "the board crashed"
        if (
            cell.kind is not FaultKind.CORRUPT
        ):  # which is taken for the server's word; in the field that costs a long wait
            assert not {"rejected", "error"} & set(states(power)), "a state that waits for a person"
        active = vault_slots(board)[0]["active"]
        with board.power_on() as power:
            power.expect_event("telemetry")
        assert "provisioning" not in steps(power), "the second boot provisioned"
        assert power.writes == [], "the second boot wrote to the flash"
        assert self._server.device_names().count(name) == 1, f"not one device: {self._server.device_names()}"
        assert [vault.shown(each) for each in active] == [_known(self._server, name)], "other credentials"
        shutil.rmtree(board.folder)


@dataclass(frozen=True)
class _Place:
    """Network and blank board, for one board at a time."""

    network: Network
    blank: VirtualBoard


def _twin(blank: VirtualBoard, folder: Path, mac: str) -> VirtualBoard:
    """A board with the same flash. Copied, because a file system takes longer to make than a boot."""
    paths.private_folder(folder)
    paths.write_private(folder / "flash.bin", blank.flash())
    paths.write_private(folder / "board.json", json.dumps({"board": blank.definition, "mac": mac}).encode())
    return VirtualBoard(folder)


def _known(server: RunningServer, name: str) -> tuple[str, object]:
    own = server.query(lambda registry: registry.device(name)).credentials
    return str(own.type), json.loads(own.answer) if own.type == "MQTT_BASIC" else own.answer
