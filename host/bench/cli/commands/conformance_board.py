"""`bench conformance --board`: what of the provisioning contract does a board's firmware keep?"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.cli.render import check_results, tables
from bench.cli.render.tables import DEFAULT_DATA
from bench.conformance.check import chosen, run
from bench.errors import UsageError
from bench.flash import inventory

BoardOption = Annotated[
    str,
    typer.Option("--board", help="Check a board, not a server: unix, virtual, its port, or - for one without a line."),
]
BoardAddress = Annotated[str, typer.Option(help="With --board: this machine, as the board reaches it.")]
MqttPort = Annotated[int, typer.Option(min=0, max=65535, help="With --board: where it finds the server. 0: any.")]
MqttsPort = Annotated[int, typer.Option(min=0, max=65535, help="With --board: the same for TLS.")]
Tls = Annotated[bool, typer.Option("--tls", help="With --board: it speaks TLS where a check leaves that open.")]
Fresh = Annotated[
    str,
    typer.Option(help="With --board: a command that wipes the credentials of another firmware; ask: you do it."),
]
Reset = Annotated[str, typer.Option(help="With --board -: a command that resets it; ask: you do it.")]
Patience = Annotated[
    float, typer.Option(min=0, help="With --board: seconds it may take for what it has to do. 0: as usual.")
]
_HERE = ("unix", "virtual", "-")


@dataclass(frozen=True, kw_only=True)
class BoardChoices:
    """What the options say about a board. `target` is empty if it is a server that is checked."""

    target: str
    address: str
    mqtt_port: int
    mqtts_port: int
    tls: bool
    fresh: str
    reset: str
    patience_s: float

    def check_unused(self) -> None:
        """Raise UsageError if one of them is given for a server."""
        given = [name for name, (value, usual) in self._options().items() if value != usual]
        if given and not self.target:
            raise UsageError(f"{given[0]} goes with --board")

    def again(self, data: Path) -> str:
        """The command, ready to be pasted."""
        words = ["bench", "conformance", "--board", self.target]
        for name, (value, usual) in self._options().items():
            if value != usual:
                words += [name] if value is True else [name, str(value)]
        if data != DEFAULT_DATA:
            words += ["--data", str(data)]
        return shlex.join(words)

    def _options(self) -> dict[str, tuple[Any, Any]]:
        """Each with its value and the usual one."""
        return {
            "--address": (self.address, ""),
            "--mqtt-port": (self.mqtt_port, 0),
            "--mqtts-port": (self.mqtts_port, 0),
            "--tls": (self.tls, False),
            "--fresh": (self.fresh, ""),
            "--reset": (self.reset, ""),
            "--patience": (self.patience_s, 0.0),
        }


def check_board(
    choices: BoardChoices, only: Sequence[str], *, list_checks: bool, junit: Path | None, data: Path, as_json: bool
) -> None:
    """Run the checks of boards, and end with the exit code that they come to."""
    # a whole server, which other commands need nothing of
    from bench.conformance.board import CHECKS, subject  # noqa: PLC0415

    checks = chosen(CHECKS, only)
    if list_checks:
        check_results.show_list(checks, as_json=as_json)
        return
    target = choices.target if choices.target in _HERE else inventory.choose(choices.target)
    with subject(
        target,
        data,
        address=choices.address or "127.0.0.1",
        mqtt_port=choices.mqtt_port,
        mqtts_port=choices.mqtts_port,
        tls=choices.tls,
        fresh=choices.fresh,
        reset=choices.reset,
        patience_s=choices.patience_s,
        prompt=_prompt,
        warn=tables.warn,
        on_ready=lambda server: None if as_json else _tell(server.address, server.ports, data, own=not choices.fresh),
    ) as board:
        outcomes = check_results.collect(run(checks, board), len(checks), as_json=as_json)
    check_results.show(outcomes, again=choices.again(data), as_json=as_json, more={"board": choices.target})
    if junit:  # last: a file that cannot be written takes nothing with it
        check_results.write_junit(junit, outcomes)
    check_results.exit_by(outcomes)


def _prompt(what: str) -> None:
    typer.prompt(f"Please {what}, then press Enter", default="", show_default=False, err=True)


def _tell(address: str, ports: tuple[int, int], data: Path, *, own: bool) -> None:
    """Say what somebody else's firmware has to be set up for."""
    if own:
        return
    folder = data / "conformance"
    tables.say(
        f"the board finds the server at {address}, port {ports[0]}, or {ports[1]} under TLS with the CA "
        f"{folder / 'tls' / 'ca.pem'}; its key and secret: bench profile show default --show-secrets --data {folder}"
    )
