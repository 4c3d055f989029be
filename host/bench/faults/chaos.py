"""Chaos: virtual boards and a real server go through rounds of faults, and have to come out of each.

After a round everything is healed, and then the board gets online, again after a power cycle without asking for
credentials; there is exactly one device of its name on the server, which has what the board's vault has; and neither
of them printed a secret.
"""

import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from bench.contract import names, settings
from bench.faults import board_faults, chaos_checks, chaos_servers
from bench.faults.chaos_scenario import ChaosRound, Stage
from bench.faults.chaos_servers import ChaosServer
from bench.faults.network.framing import SPOKEN, Route
from bench.faults.network.network import Network
from bench.faults.network.rules import FaultEvent
from bench.flash import device_config
from bench.flash.device_config import Choices, Place, Transport
from bench.virtual.board import VirtualBoard

_HOST = "127.0.0.1"
# A board waits for a person no longer than for a network: a fault that is over needs no person.
_SECTIONS = {
    "backoff": {"base_ms": 20, "cap_ms": 200, "long_ms": 400},
    "session": {"telemetry_s": 1, "timeout_ms": 1500, "keepalive_s": 4},
    "wifi": {"timeout_s": 1},
}
# Faults that may crash a board without a defect of its firmware.
_CRASHING = (board_faults.BoardFaultKind.HEAP, board_faults.BoardFaultKind.CORRUPT)


def _ignore(_event: dict[str, Any]) -> None:
    pass


class Chaos:
    """A network in front of a server, and a folder of boards. A context manager, which starts and stops the network."""

    def __init__(
        self,
        folder: Path,
        server: ChaosServer,
        *,
        files: Mapping[str, bytes] | None = None,
        on_event: Callable[[dict[str, Any]], None] = _ignore,
    ) -> None:
        """Prepare; nothing starts before the context is entered.

        Args:
            folder: Holds the boards of the rounds; the board of a failed round stays.
            server: The server, which runs.
            files: Path -> content, added to every board's own files.
            on_event: Called with events: each round, its faults, and the end of it; also from the network's thread.
        """
        self._folder = folder
        self._server = server
        self._files = dict(files or {})
        self._on_event = on_event
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            places = self._server.places
            routes = [Route(to_host=host, to_port=port, protocol=SPOKEN[name]) for name, (host, port) in places.items()]
            self._network = undo.enter_context(Network(routes, observer=self._on_fault))
            self._ports = dict(zip(places, self._network.listening, strict=True))
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
        self._server.check()
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
                wrong.enter_context(self._server.inject(stage.server, self._network))
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
        clock = self._server.clock
        place = Place(
            host=_HOST,
            mqtt_port=self._ports["mqtts" if tls else "mqtt"],
            provision_port=0 if chosen.transport is Transport.MQTT else self._ports[_provision_port(chosen)],
            http_port=self._ports[clock] if clock else 0,
            http_tls=clock == "https",
            ca=self._server.ca if tls else b"",
            name=self._server.name,
        )
        chosen_sections = device_config.sections(place, chosen, now_s=int(time.time()))
        written = settings.encode(
            chosen_sections,
            _SECTIONS,
            {"identity": {"prefix": self._server.prefix}},
            host=_HOST,
            port=place.mqtt_port,
            key=self._server.key,
            secret=self._server.secret,
        )
        ca = {"ca.der": place.ca} if tls else {}
        return VirtualBoard.create(folder, settings=written, mac=found.mac, files={**ca, **self._files})

    def _expect_agreement(self, board: VirtualBoard) -> None:
        name = names.of_template(board.mac, prefix=self._server.prefix)
        found = self._server.query(lambda server: chaos_servers.credentials_of(server, name))
        chaos_checks.expect_agreement(board, found)

    def _expect_no_secret_printed(self, board: VirtualBoard) -> None:
        """Expect no secret in the output of the board, or of the server since the last time."""
        secrets = {*self._server.secrets, settings.VIRTUAL_WIFI["password"]}
        outputs = {"the board": board.console.read_bytes(), "the server": self._server.printed()}
        chaos_checks.expect_no_secret_printed(board, secrets, outputs)

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


def _provision_port(chosen: Choices) -> str:
    """Return the name of the port for the provisioning request over HTTP or CoAP; CoAP has no TLS."""
    return "https" if chosen.tls and chosen.transport is Transport.HTTP else chosen.transport.value
