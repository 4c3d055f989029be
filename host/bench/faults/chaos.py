"""Chaos: virtual boards and a real `bench serve` go through rounds of faults, and have to come out of each.

After a round everything is healed, and then the board gets online, again after a power cycle without asking for
credentials; there is exactly one device of its name on the server, which has what the board's vault has; and neither
of them said a secret.
"""

import asyncio
import json
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx

from bench.contract import names
from bench.errors import BenchError
from bench.faults import board_faults, server_faults
from bench.faults.chaos_scenario import Round, Turn
from bench.faults.network.framing import SPOKEN, Route
from bench.faults.network.network import Network
from bench.faults.network.rules import FaultEvent
from bench.faults.server_faults import UpsetProcess
from bench.flash import device_config, settings, vault
from bench.flash.device_config import Place, Transport
from bench.rest_client import ThingsBoard
from bench.server.tls import authority
from bench.virtual.board import VirtualBoard
from bench.virtual.power import PowerCycle, PowerLost

T = TypeVar("T")

_PROFILE = "default"
_HOST = "127.0.0.1"
# A person is waited for no longer than a network: faults that are over need none.
_SECTIONS = {
    "backoff": {"base_ms": 20, "cap_ms": 200, "long_ms": 400},
    "session": {"telemetry_s": 1, "timeout_ms": 1500, "keepalive_s": 4},
    "wifi": {"timeout_s": 1},
}
# From the end of all faults to telemetry that the server has.
_PATIENCE_S = 30.0
_SHORTEST_SECRET = 8
_TIMEOUT_S = 30.0
# What may crash a board without being a defect of its firmware.
_CRASHING = (board_faults.BoardFaultKind.HEAP, board_faults.BoardFaultKind.CORRUPT)


class Failed(Exception):
    """A round did not come to what it has to. The text says what, and holds no secret."""


def _ignore(_event: dict[str, Any]) -> None:
    pass


class Chaos:
    """A server, and a network in front of it, in a folder. A context manager.

    `files` are added to every board's own. `tell` is called with events: what happens, and when a round is over; also
    from the network's thread.
    """

    def __init__(
        self,
        folder: Path,
        *,
        files: Mapping[str, bytes] | None = None,
        tell: Callable[[dict[str, Any]], None] = _ignore,
    ) -> None:
        self._folder = folder
        self._files = dict(files or {})
        self._tell = tell
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            self._server = undo.enter_context(UpsetProcess(self._folder / "server", "--lift-limits-for-loopback"))
            ready = self._server.ready
            routes = [Route(to_port=ready[f"{name}_port"], protocol=spoken) for name, spoken in SPOKEN.items()]
            self._network = undo.enter_context(Network(routes, observer=self._happened))
            self._ports = {name: self._network.ports[ready[f"{name}_port"]] for name in SPOKEN}
            self._key, self._secret = self._ask(_key_and_secret)
            self._searched = 0
            self._stack = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, found: Round) -> None:
        """Go through a round. Raises Failed."""
        self._tell({"event": "round", **found.told()})
        board = self._board(found)
        self._network.begin()
        if found.provisioned:
            self._expect_online(board)
        recovered = 0.0
        for turn in found.turns:
            recovered = self._take(turn, board, is_last=turn is found.turns[-1])
        self._network.begin()
        if not self._server.is_running():
            raise Failed(f"the server ended by itself; see {self._server.log}")
        again = self._expect_online(board)
        self._expect_settled(board)
        self._expect_agreement(board)
        self._expect_no_secret_said(board)
        shutil.rmtree(board.folder)
        self._tell({"event": "survived", "number": found.number, "took_s": round(recovered or again, 2)})

    def _take(self, turn: Turn, board: VirtualBoard, *, is_last: bool) -> float:
        """One turn; returns how long the board took to get online afterwards, 0 if it was not to do that by itself."""
        before = board.flash()
        with ExitStack() as stack:
            self._network.begin(seed=turn.network_seed)
            if turn.server:
                self._tell({"event": "server_fault", "fault": turn.server.kind.value})
            wrong = stack.enter_context(ExitStack())
            conditions = None
            faults = list(turn.network)
            if turn.board:
                self._tell({"event": "board_fault", "fault": turn.board.kind.value})
                conditions = stack.enter_context(board_faults.happening(turn.board, board))
                faults += board_faults.on_network(turn.board)
            power = stack.enter_context(board.power_on(conditions))
            if turn.server:
                wrong.enter_context(server_faults.happening(turn.server, self._server, self._network))
            self._network.at(*faults)
            for _ in power.follow(turn.for_s):
                pass
            self._network.heal()
            wrong.close()
            took = self._come_back(power) if is_last and not turn.board else 0.0
        if not (turn.board and turn.board.kind in _CRASHING):
            _expect_no_crash(power)
        if turn.board and turn.board.damages:
            board.burn(before)
        return took

    def _come_back(self, power: PowerCycle) -> float:
        """Demand that it gets online by itself, without a power cycle."""
        start = time.monotonic()
        for event in power.follow(_PATIENCE_S):
            if event["event"] == "telemetry":
                return time.monotonic() - start
        raise Failed(f"it did not get online again by itself within {_PATIENCE_S:.0f} s; {_last_words(power)}")

    def _board(self, found: Round) -> VirtualBoard:
        folder = self._folder / "boards" / f"round{found.number}"
        shutil.rmtree(folder, ignore_errors=True)
        chosen, tls = found.choices, found.choices.tls
        transport = chosen.transport
        place = Place(
            host=_HOST,
            mqtt_port=self._ports["mqtts" if tls else "mqtt"],
            provision_port={
                Transport.MQTT: 0,
                Transport.HTTP: self._ports["https" if tls else "http"],
                Transport.COAP: self._ports["coap"],
            }[transport],
            http_port=self._ports["http"],
            ca=device_config.ca(authority.ca_file(self._server.data)) if tls else b"",
            name="localhost",
        )
        sections = {**device_config.sections(place, chosen, now_s=int(time.time())), **_SECTIONS}
        written = settings.encode(host=_HOST, port=place.mqtt_port, key=self._key, secret=self._secret, **sections)
        ca = {"ca.der": place.ca} if tls else {}
        return VirtualBoard.create(folder, settings=written, mac=found.mac, files={**ca, **self._files})

    # What has to be.

    def _expect_online(self, board: VirtualBoard) -> float:
        """Demand that it gets online after power-on."""
        start = time.monotonic()
        with board.power_on() as power:
            try:
                power.wait_for("telemetry", timeout_s=_PATIENCE_S)
            except PowerLost as lost:
                raise Failed(str(lost)) from lost
            except BenchError:
                raise Failed(f"it did not get online within {_PATIENCE_S:.0f} s; {_last_words(power)}") from None
        _expect_no_crash(power)
        return time.monotonic() - start

    def _expect_settled(self, board: VirtualBoard) -> None:
        """Demand that another power cycle asks for nothing."""
        with board.power_on() as power:
            try:
                power.wait_for("telemetry", timeout_s=_PATIENCE_S)
            except BenchError:
                raise Failed(f"it did not get online a second time; {_last_words(power)}") from None
        if "provisioning" in {event["event"] for event in power.events}:
            raise Failed("it asked for credentials once more, after it had been online with some")

    def _expect_agreement(self, board: VirtualBoard) -> None:
        """Demand one device of its name, with the credentials of the vault."""
        name = names.of_mac(board.mac)

        async def look(tb: ThingsBoard) -> list[tuple[str, Any]]:
            found = [each for each in await tb.devices(name) if each["name"] == name]
            return [_known(await tb.credentials(each["id"]["id"])) for each in found]

        known = self._ask(look)
        if len(known) != 1:
            raise Failed(f"there are {len(known)} devices of its name on the server")
        held = vault.record(board.flash())
        if held.keys() != {"active"} or [vault.shown(each) for each in held["active"]] != known:
            raise Failed("the server has other credentials than the vault")

    def _expect_no_secret_said(self, board: VirtualBoard) -> None:
        """Demand that neither the board nor the server, since it was asked last, said one."""
        account = json.loads((self._server.data / "operator.json").read_bytes())
        secrets = {self._secret, self._key, account["password"], settings.VIRTUAL_WIFI["password"]}
        for slot in vault.slots(board.flash()):
            secrets |= set(_secrets_of(slot.record or {}))
        with self._server.log.open("rb") as log:
            log.seek(self._searched)
            journal = log.read()
        self._searched += len(journal)
        for who, said in (("the board", board.console.read_bytes()), ("the server", journal)):
            if any(secret.encode() in said for secret in secrets if len(secret) >= _SHORTEST_SECRET):
                raise Failed(f"{who} said a secret")

    # The server's side.

    def _ask(self, question: Callable[[ThingsBoard], Awaitable[T]]) -> T:
        account = json.loads((self._server.data / "operator.json").read_bytes())

        async def run() -> T:
            url = f"http://{_HOST}:{self._server.ready['http_port']}"
            async with httpx.AsyncClient(base_url=url, timeout=_TIMEOUT_S, trust_env=False) as http:
                return await question(ThingsBoard(http, account["username"], account["password"]))

        return asyncio.run(run())

    def _happened(self, happened: FaultEvent) -> None:
        self._tell(
            {
                "event": "network_fault",
                "fault": happened.kind,
                "port": happened.port,
                "direction": happened.direction.value,
                "bytes": happened.size,
            }
        )


async def _key_and_secret(tb: ThingsBoard) -> tuple[str, str]:
    found = await tb.profile(_PROFILE)
    return (
        str(found["provisionDeviceKey"]),
        str(found["profileData"]["provisionConfiguration"]["provisionDeviceSecret"]),
    )


def _known(own: dict[str, Any]) -> tuple[str, Any]:
    """Credentials as the server has them, in the form of `vault.shown`."""
    match own["credentialsType"]:
        case "MQTT_BASIC" as kind:
            return kind, json.loads(own["credentialsValue"])
        case "X509_CERTIFICATE" as kind:
            return kind, own["credentialsValue"]
        case kind:
            return str(kind), own["credentialsId"]


def _secrets_of(record: vault.Record) -> Iterator[str]:
    for credentials in record.values():
        for each in credentials:
            yield from (each[name] for name in ("token", "password", "key") if name in each)


def _expect_no_crash(power: PowerCycle) -> None:
    for event in power.events:
        if event["event"] == "crash":
            raise Failed(f"the board crashed ({event.get('kind', event.get('detail', ''))})")


def _last_words(power: PowerCycle) -> str:
    said = [event["event"] for event in power.events if event["event"] not in ("console", "state")]
    return f"the board said last: {', '.join(said[-8:]) or 'nothing'}"
