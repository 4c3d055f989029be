"""`bench conformance --board`: check a board's firmware against the provisioning contract."""

import shlex
import sys
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

_ADDRESS = "127.0.0.1"

BoardOption = Annotated[
    str,
    typer.Option(
        "--board",
        metavar="unix|virtual|PORT|-",
        help="Check a board instead of a server: a virtual one, one on a port, or - for one without a serial line.",
    ),
]
_SECTION = "With --board"
BoardAddress = Annotated[
    str,
    typer.Option(
        help="This machine's address in the board's network.", show_default=_ADDRESS, rich_help_panel=_SECTION
    ),
]
MqttPort = Annotated[
    int,
    typer.Option(
        min=0, max=65535, metavar="PORT", help="The server's MQTT port. 0: any free one.", rich_help_panel=_SECTION
    ),
]
MqttsPort = Annotated[
    int,
    typer.Option(
        min=0,
        max=65535,
        metavar="PORT",
        help="The server's port for MQTT over TLS. 0: any free one.",
        rich_help_panel=_SECTION,
    ),
]
Tls = Annotated[
    bool,
    typer.Option("--tls", help="Use TLS also in checks that work without.", rich_help_panel=_SECTION),
]
Fresh = Annotated[
    str,
    typer.Option(
        metavar="COMMAND",
        help="Firmware other than firstboot's: a shell command that wipes its credentials, or ask, to do it by hand.",
        rich_help_panel=_SECTION,
    ),
]
Reset = Annotated[
    str,
    typer.Option(
        metavar="COMMAND",
        help="A board without a serial line: a shell command that resets it, or ask, to do it by hand.",
        rich_help_panel=_SECTION,
    ),
]
Patience = Annotated[
    float,
    typer.Option(
        min=0,
        metavar="SECONDS",
        help="Longest wait for each step. 0: 10 for a virtual board, 60 for firstboot's firmware, 120 for another.",
        rich_help_panel=_SECTION,
    ),
]
_HERE = ("unix", "virtual", "-")


@dataclass(frozen=True, kw_only=True)
class BoardChoices:
    """The options for a board. `target` is empty if a server is checked."""

    target: str
    address: str
    mqtt_port: int
    mqtts_port: int
    tls: bool
    fresh: str
    reset: str
    patience_s: float

    def check_unused(self) -> None:
        """Raise UsageError if an option for boards is given for a server."""
        given = [name for name, (value, usual) in self._options().items() if value != usual]
        if given and not self.target:
            raise UsageError(f"{given[0]} needs --board")

    def again(self, data: Path) -> str:
        """Return the command that repeats the run, to paste into a shell."""
        words = ["bench", "conformance", "--board", self.target]
        for name, (value, usual) in self._options().items():
            if value != usual:
                words += [name] if value is True else [name, str(value)]
        if data != DEFAULT_DATA:
            words += ["--data", str(data)]
        return shlex.join(words)

    def _options(self) -> dict[str, tuple[Any, Any]]:
        """Return option -> (value, default)."""
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
    """Run the checks of boards, and end the command with 1 if one is broken or in trouble.

    Args:
        choices: The board, and the options for it.
        only: Patterns of names of checks; all if empty.
        list_checks: List the checks instead.
        junit: A file for the verdicts as JUnit XML.
        data: The data folder.
        as_json: Print JSON.

    Raises:
        UsageError: No check matches, or the board cannot be checked like this.
        BenchError: The board or the server cannot be started.
    """
    # imports a whole server, which no other command needs
    from bench.conformance.board import CHECKS, subject  # noqa: PLC0415
    from bench.conformance.board.foreign_boards import BY_HAND  # noqa: PLC0415 - with it

    checks = chosen(CHECKS, only)
    if list_checks:
        check_results.show_list(checks, as_json=as_json)
        return
    if BY_HAND in (choices.fresh, choices.reset) and not sys.stdin.isatty():
        raise UsageError(f"{BY_HAND} needs a terminal: give --fresh and --reset a command instead")
    target = choices.target if choices.target in _HERE else inventory.choose(choices.target)
    with subject(
        target,
        data,
        address=choices.address or _ADDRESS,
        mqtt_port=choices.mqtt_port,
        mqtts_port=choices.mqtts_port,
        tls=choices.tls,
        fresh=choices.fresh,
        reset=choices.reset,
        patience_s=choices.patience_s,
        prompt=_prompt,
        warn=tables.warn,
        on_ready=lambda server: (
            None if as_json else _show_address(server.address, server.ports, data, own=not choices.fresh)
        ),
    ) as board:
        outcomes = check_results.collect(run(checks, board), len(checks), as_json=as_json)
    check_results.show(outcomes, again=choices.again(data), as_json=as_json, more={"board": choices.target})
    if junit:  # last: an unwritable file must not cost the output
        check_results.write_junit(junit, outcomes)
    check_results.exit_by(outcomes)


def _prompt(what: str) -> None:
    typer.prompt(f"Please {what}, then press Enter", default="", show_default=False, err=True)


def _show_address(address: str, ports: tuple[int, int], data: Path, *, own: bool) -> None:
    """Print the server's address, key and secret, for setting up another firmware."""
    if own:
        return
    folder = data / "conformance"
    tables.echo(
        f"the server for the board: {address}, port {ports[0]}, or {ports[1]} with TLS and the CA "
        f"{folder / 'tls' / 'ca.pem'}; its key and secret: bench profile show default --show-secrets --data {folder}"
    )
