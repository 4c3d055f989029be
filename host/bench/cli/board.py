"""`bench board`: virtual boards."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from bench import boards
from bench.cli import addresses, keyboard, output, timeline
from bench.cli.operator import Ca, PasswordFile, Url, User, Where, ask
from bench.cli.output import DEFAULT_DATA, Data
from bench.errors import BenchError, UsageError
from bench.flash import settings
from bench.registry import ProvisionType
from bench.targets.virtual import Conditions, Cut, VirtualBoard

app = typer.Typer(help="Virtual boards: an ESP32's flash in a file, booted on this machine.", no_args_is_help=True)

_POLL_S = 0.05
_ANSWER_S = 2.0
_DEFAULT_ADDRESS = ("127.0.0.1", 1883)


def folder(data: Path, name: str) -> Path:
    """Where the board of this name lives."""
    if not name or name in (".", "..") or "/" in name or "\0" in name:
        raise UsageError("a board's name is one word that can name a folder")
    return data / "boards" / name


@app.command(epilog="Example: bench board new board1 --mac 02:00:5e:00:53:01")
def new(
    name: str,
    board: Annotated[str, typer.Option(help="The definition in boards/.")] = "esp32_generic",
    mac: Annotated[str, typer.Option(help="12 hex digits; random if not given.")] = "",
    server: Annotated[
        str, typer.Option(help="HOST:PORT of the MQTT server; the one running on the data folder if not given.")
    ] = "",
    profile: Annotated[str, typer.Option(help="The profile whose key and secret the board gets.")] = "default",
    server_made: Annotated[
        bool, typer.Option("--server-made", help="Let the server make the token. A lost answer strands the board.")
    ] = False,
    data: Data = DEFAULT_DATA,
    url: Url = "",
    user: User = "",
    password_file: PasswordFile = None,
    ca: Ca = None,
) -> None:
    """Make a blank board: partition table, file system, firmware, settings."""
    place = folder(data, name)
    host, port = _address(server) if server else _running_server(data)
    key, secret = key_and_secret(Where(data=data, url=url, user=user, password_file=password_file, ca=ca), profile)
    made = VirtualBoard.create(
        place,
        board=board,
        mac=mac,
        settings=settings.encode(
            host=host,
            port=port,
            key=key,
            secret=secret,
            provision={"made_by": "server" if server_made else "device"},
            **settings.wired(boards.load(board)),
        ),
    )
    output.console.print(
        f"made [bold]{name}[/bold] (MAC {made.mac}) for {host}:{port} in {escape(str(place))}\n"
        f"boot it: bench board boot {name}{output.data_option(data)}"
    )


@app.command(epilog="Example: bench board boot board1 --until telemetry")
def boot(
    name: str,
    until: Annotated[str, typer.Option(help="Power off after this event, e.g. telemetry.")] = "",
    cut_at: Annotated[
        int | None, typer.Option(min=0, help="Cut the power before this write to the flash, counted from 0.")
    ] = None,
    torn: Annotated[bool, typer.Option("--torn", help="With --cut-at: in the middle of that write.")] = False,
    wifi_failures: Annotated[int, typer.Option(min=0, help="How many Wi-Fi joins fail first.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the board's own lines.")] = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Switch a board on and show what it says, until Ctrl-C, a power cut, or --until.

    Lines that are typed meanwhile go to its serial line, e.g. firstboot help.
    """
    if torn and cut_at is None:
        raise UsageError("--torn says how --cut-at cuts: name the write, e.g. --cut-at 0 --torn")
    cut = None if cut_at is None else Cut(at=cut_at, torn=torn)
    conditions = Conditions(cut=cut, wifi_failures=wifi_failures)
    made = VirtualBoard(folder(data, name))
    with made.power_on(conditions) as power:
        if keyboard.is_there():
            keyboard.forward(made)
        for event in power.follow():
            if as_json:
                print(event["text"] if event["event"] == "console" else json.dumps(event), flush=True)
            else:
                timeline.show(event)
            if event["event"] == until:
                return
    if cut is None:
        raise BenchError("the board's program ended: what it said last tells why")
    output.console.print("[red]power lost[/red]")


@app.command(epilog="Example: echo firstboot status | bench board console board1")
def console(name: str, data: Data = DEFAULT_DATA) -> None:
    """Talk to a board that is on: type lines on its serial line and see what it says, until Ctrl-C.

    When the input ends, what the board says in the two seconds after that is shown, too.
    """
    made = VirtualBoard(folder(data, name))
    if not made.is_on():
        raise BenchError(f"board {name} is off: bench board boot {name} switches it on")
    with made.console.open("rb") as said:
        said.seek(0, os.SEEK_END)
        typing = keyboard.forward(made)
        end = None
        while made.is_on() and (end is None or time.monotonic() < end):
            sys.stdout.buffer.write(said.read())
            sys.stdout.flush()
            time.sleep(_POLL_S)
            if end is None and not typing.is_alive():
                end = time.monotonic() + _ANSWER_S


def key_and_secret(where: Where, profile: str) -> tuple[str, str]:
    """What a profile's boards show to be provisioned. Raises UsageError if they show nothing of the kind."""
    found = ask(where, lambda server: server.profile(profile))
    key = found.get("provisionDeviceKey")
    secret = ((found.get("profileData") or {}).get("provisionConfiguration") or {}).get("provisionDeviceSecret")
    if not key or not secret or found.get("provisionType") == ProvisionType.X509_CERTIFICATE_CHAIN:
        raise UsageError(f"profile {profile} has no provisioning key and secret: choose another with --profile")
    return key, secret


def _running_server(data: Path) -> tuple[str, int]:
    """Host and MQTT port of the server that runs on this data folder; the usual ones if none does."""
    running = addresses.of_running(data)
    return (running.host, running.mqtt_port) if running else _DEFAULT_ADDRESS


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(f"{text} is no address: write HOST:PORT, e.g. 192.168.1.10:1883")
    return host, int(port)
