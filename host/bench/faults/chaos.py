"""Chaos: virtual boards and a real `bench serve` go through rounds of faults, and have to come out of each.

After a round everything is healed, and then the board gets online, again after a power cycle without asking for
credentials; there is exactly one device of its name on the server, which has what the board's vault has; and neither
of them printed a secret.
"""

import asyncio
import json
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx

from bench.contract import names, settings
from bench.faults import board_faults, chaos_checks, server_faults
from bench.faults.chaos_checks import RoundFailed
from bench.faults.chaos_scenario import ChaosRound, Stage
from bench.faults.network.framing import SPOKEN, Route
from bench.faults.network.network import Network
from bench.faults.network.rules import FaultEvent
from bench.faults.server_faults import FaultyServerProcess
from bench.flash import device_config
from bench.flash.device_config import Place, Transport
from bench.rest_client import ThingsBoard, id_of
from bench.server.tls import authority
from bench.virtual.board import VirtualBoard

T = TypeVar("T")

_PROFILE = "default"
_HOST = "127.0.0.1"
# A board waits for a person no longer than for a network: a fault that is over needs no person.
_SECTIONS = {
    "backoff": {"base_ms": 20, "cap_ms": 200, "long_ms": 400},
    "session": {"telemetry_s": 1, "timeout_ms": 1500, "keepalive_s": 4},
    "wifi": {"timeout_s": 1},
}
_TIMEOUT_S = 30.0
# Faults that may crash a board without a defect of its firmware.
_CRASHING = (board_faults.BoardFaultKind.HEAP, board_faults.BoardFaultKind.CORRUPT)


def _ignore(_event: dict[str, Any]) -> None:
    pass


class Chaos:
    """A server, and a network in front of it, in a folder. A context manager, which starts and stops both.

    Entering raises BenchError if the server does not start.
    """

    def __init__(
        self,
        folder: Path,
        *,
        files: Mapping[str, bytes] | None = None,
        on_event: Callable[[dict[str, Any]], None] = _ignore,
    ) -> None:
        """Prepare; nothing starts before the context is entered.

        Args:
            folder: Holds the server's data and the boards of the rounds; the board of a failed round stays.
            files: Path -> content, added to every board's own files.
            on_event: Called with events: each round, its faults, and the end of it; also from the network's thread.
        """
        self._folder = folder
        self._files = dict(files or {})
        self._on_event = on_event
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            self._server = undo.enter_context(
                FaultyServerProcess(self._folder / "server", "--lift-limits-for-loopback")
            )
            ready = self._server.ready
            routes = [Route(to_port=ready[f"{name}_port"], protocol=spoken) for name, spoken in SPOKEN.items()]
            self._network = undo.enter_context(Network(routes, observer=self._on_fault))
            self._ports = {name: self._network.ports[ready[f"{name}_port"]] for name in SPOKEN}
            self._key, self._secret = self._query(_key_and_secret)
            self._searched = 0
            self._stack = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, found: ChaosRound) -> None:
        """Run a round, and check the board and the server at its end.

        Args:
            found: The round, as `chaos_scenario.draw_round` draws it.

        Raises:
            RoundFailed: A condition does not hold. The board's folder stays, to look at.
            BenchError: A fault could not be injected, or the server did not start again.
        """
        self._on_event({"event": "round", **found.entry()})
        board = self._board(found)
        self._network.begin()
        if found.provisioned:
            chaos_checks.expect_online(board)
        recovered = 0.0
        for stage in found.stages:
            recovered = self._run_stage(stage, board, is_last=stage is found.stages[-1])
        self._network.begin()
        if not self._server.is_running():
            raise RoundFailed(f"the server ended by itself; see {self._server.log}")
        again = chaos_checks.expect_online(board)
        chaos_checks.expect_settled(board)
        self._expect_agreement(board)
        self._expect_no_secret_printed(board)
        shutil.rmtree(board.folder)
        self._on_event({"event": "survived", "number": found.number, "took_s": round(recovered or again, 2)})

    def _run_stage(self, stage: Stage, board: VirtualBoard, *, is_last: bool) -> float:
        """Run a stage; return the seconds that the board took to get online afterwards, 0 if it did not have to."""
        before = board.flash()
        with ExitStack() as stack:
            self._network.begin(seed=stage.network_seed)
            if stage.server:
                self._on_event({"event": "server_fault", "fault": stage.server.kind.value})
            wrong = stack.enter_context(ExitStack())
            conditions = None
            faults = list(stage.network)
            if stage.board:
                self._on_event({"event": "board_fault", "fault": stage.board.kind.value})
                conditions = stack.enter_context(board_faults.inject(stage.board, board))
                faults += board_faults.on_network(stage.board)
            power = stack.enter_context(board.power_on(conditions))
            if stage.server:
                wrong.enter_context(server_faults.inject(stage.server, self._server, self._network))
            self._network.at(*faults)
            for _ in power.follow(stage.for_s):
                pass
            self._network.heal()
            wrong.close()
            took = chaos_checks.expect_recovery(power) if is_last and not stage.board else 0.0
        if not (stage.board and stage.board.kind in _CRASHING):
            chaos_checks.expect_no_crash(power)
        if stage.board and stage.board.damages:
            board.burn(before)
        return took

    def _board(self, found: ChaosRound) -> VirtualBoard:
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
        chosen_sections = device_config.sections(place, chosen, now_s=int(time.time()))
        written = settings.encode(
            chosen_sections, _SECTIONS, host=_HOST, port=place.mqtt_port, key=self._key, secret=self._secret
        )
        ca = {"ca.der": place.ca} if tls else {}
        return VirtualBoard.create(folder, settings=written, mac=found.mac, files={**ca, **self._files})

    def _expect_agreement(self, board: VirtualBoard) -> None:
        name = names.of_mac(board.mac)

        async def look(tb: ThingsBoard) -> list[tuple[str, Any]]:
            found = [each for each in await tb.devices(name) if each["name"] == name]
            return [_known(await tb.credentials(id_of(each))) for each in found]

        chaos_checks.expect_agreement(board, self._query(look))

    def _expect_no_secret_printed(self, board: VirtualBoard) -> None:
        """Expect no secret in the output of the board, or of the server since the last time."""
        account = json.loads((self._server.data / "operator.json").read_bytes())
        secrets = {self._secret, self._key, account["password"], settings.VIRTUAL_WIFI["password"]}
        with self._server.log.open("rb") as log:
            log.seek(self._searched)
            journal = log.read()
        self._searched += len(journal)
        outputs = {"the board": board.console.read_bytes(), "the server": journal}
        chaos_checks.expect_no_secret_printed(board, secrets, outputs)

    # The server's side.

    def _query(self, question: Callable[[ThingsBoard], Awaitable[T]]) -> T:
        account = json.loads((self._server.data / "operator.json").read_bytes())

        async def run() -> T:
            url = f"http://{_HOST}:{self._server.ready['http_port']}"
            async with httpx.AsyncClient(base_url=url, timeout=_TIMEOUT_S, trust_env=False) as http:
                return await question(ThingsBoard(http, account["username"], account["password"]))

        return asyncio.run(run())

    def _on_fault(self, fault: FaultEvent) -> None:
        self._on_event(
            {
                "event": "network_fault",
                "fault": fault.kind,
                "port": fault.port,
                "direction": fault.direction.value,
                "bytes": fault.size,
            }
        )


async def _key_and_secret(tb: ThingsBoard) -> tuple[str, str]:
    found = await tb.profile(_PROFILE)
    return (
        str(found["provisionDeviceKey"]),
        str(found["profileData"]["provisionConfiguration"]["provisionDeviceSecret"]),
    )


def _known(own: dict[str, Any]) -> tuple[str, Any]:
    """Return credentials as the server has them, in the form of `vault.shown`."""
    match own["credentialsType"]:
        case "MQTT_BASIC" as kind:
            return kind, json.loads(own["credentialsValue"])
        case "X509_CERTIFICATE" as kind:
            return kind, own["credentialsValue"]
        case kind:
            return str(kind), own["credentialsId"]
