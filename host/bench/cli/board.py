"""`bench board`: virtual boards."""

import ipaddress
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
from bench.flash import choices, settings
from bench.flash.choices import Choices, Claim, Kind, Place, Transport
from bench.registry import ProvisionType
from bench.server.tls import authority
from bench.targets.virtual import Conditions, Cut, VirtualBoard, mac_address

app = typer.Typer(help="Virtual boards: an ESP32's flash in a file, booted on this machine.", no_args_is_help=True)

_POLL_S = 0.05
_ANSWER_S = 2.0
_DEFAULT_HOST = "127.0.0.1"


def folder(data: Path, name: str) -> Path:
    """Where the board of this name lives."""
    if not name or name in (".", "..") or "/" in name or "\0" in name:
        raise UsageError("a board's name is one word that can name a folder")
    return data / "boards" / name


@app.command(epilog="Example: bench board new board1 --transport http --tls --credentials X509_CERTIFICATE")
def new(
    name: str,
    board: Annotated[str, typer.Option(help="The definition in boards/.")] = "esp32_generic",
    mac: Annotated[str, typer.Option(help="12 hex digits; random if not given.")] = "",
    server: Annotated[
        str, typer.Option(help="HOST:PORT of the MQTT server; the one running on the data folder if not given.")
    ] = "",
    provision_port: Annotated[
        int, typer.Option(min=0, max=65535, help="With --transport http or coap: its port. 0: the server's.")
    ] = 0,
    tls: Annotated[bool, typer.Option("--tls/--no-tls", help="MQTT and HTTP over TLS.")] = False,
    server_ca: Annotated[
        Path | None, typer.Option(help="With --tls: the server's CA, PEM or DER; the data folder's if not given.")
    ] = None,
    server_name: Annotated[
        str, typer.Option(help="With --tls and an address for HOST: a name that the server's certificate is for.")
    ] = "",
    profile: Annotated[str, typer.Option(help="The profile whose key and secret the board gets.")] = "default",
    transport: Annotated[Transport, typer.Option(help="What the board provisions itself over.")] = Transport.MQTT,
    kind: Annotated[
        Kind, typer.Option("--credentials", help="What the board logs in with, and makes itself.")
    ] = Kind.ACCESS_TOKEN,
    certificate: Annotated[
        Path | None, typer.Option(help="A certificate for the board that was made elsewhere, PEM or DER.")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="The key of --certificate, PEM or DER.")] = None,
    server_made: Annotated[
        bool, typer.Option("--server-made", help="Let the server make the token. A lost answer strands the board.")
    ] = False,
    claim: Annotated[
        Claim,
        typer.Option(
            help="What the board shows: the profile's secret, its own, a proof. A ThingsBoard takes the first."
        ),
    ] = Claim.SHARED,
    after_refusals: Annotated[
        int, typer.Option(min=0, max=1000, help="Refused logins in a row until it provisions itself anew. 0: never.")
    ] = 0,
    data: Data = DEFAULT_DATA,
    url: Url = "",
    user: User = "",
    password_file: PasswordFile = None,
    ca: Ca = None,
) -> None:
    """Make a blank board: partition table, file system, firmware, settings."""
    place = folder(data, name)
    mac = mac_address(mac)
    if (certificate is None) != (key is None):
        raise UsageError("--certificate and --key go together")
    if certificate and server_made:
        raise UsageError("--server-made and --certificate are two ways to get credentials: choose one")
    files = choices.pair(certificate, key) if certificate and key else {}
    chosen = Choices(
        transport=transport,
        tls=tls,
        kind=kind,
        made_by="flash" if files else "server" if server_made else "device",
        claim=claim,
        after_refusals=after_refusals,
    )
    to = _place(
        data,
        chosen,
        server=server,
        provision_port=provision_port,
        foreign=bool(url),
        ca=server_ca,
        name=server_name,
    )
    sections = choices.sections(to, chosen, now_s=int(time.time()))
    where = Where(data=data, url=url, user=user, password_file=password_file, ca=ca)
    shown, secret = key_and_secret(where, profile, optional=bool(files))
    made = VirtualBoard.create(
        place,
        board=board,
        mac=mac,
        files={**files, "ca.der": to.ca} if tls else files,
        settings=settings.encode(
            host=to.host,
            port=to.mqtt_port,
            key=shown,
            secret=choices.shown_secret(claim, secret, settings.device_name(mac)),
            **sections,
            **settings.wired(boards.load(board)),
        ),
    )
    output.console.print(
        f"made [bold]{name}[/bold] (MAC {made.mac}) for {to.host}:{to.mqtt_port} in {escape(str(place))}\n"
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


def key_and_secret(where: Where, profile: str, *, optional: bool = False) -> tuple[str, str]:
    """What a profile's boards show to be provisioned.

    If they show nothing of the kind: empty texts if it is `optional`, else raises UsageError.
    """
    found = ask(where, lambda server: server.profile(profile))
    key = found.get("provisionDeviceKey")
    secret = ((found.get("profileData") or {}).get("provisionConfiguration") or {}).get("provisionDeviceSecret")
    if key and secret and found.get("provisionType") != ProvisionType.X509_CERTIFICATE_CHAIN:
        return key, secret
    if optional:
        return "", ""
    raise UsageError(f"profile {profile} has no provisioning key and secret: choose another with --profile")


def _place(
    data: Path, chosen: Choices, *, server: str, provision_port: int, foreign: bool, ca: Path | None, name: str
) -> Place:
    """The server that a board is made for. Ports, CA and names of the data folder's are known; `foreign` is another."""
    running = None if server and foreign else addresses.of_running(data)
    if server:
        host, port = _address(server)
    elif running:
        host, port = running.host, running.port("mqtt", tls=chosen.tls)
    else:
        host, port = _DEFAULT_HOST, 8883 if chosen.tls else 1883
    if running and not provision_port and chosen.transport is not Transport.MQTT:
        provision_port = running.port(chosen.transport, tls=chosen.tls)
    own = authority.ca_file(data)
    shows_own = not foreign and own.exists() and (not running or running.ca == own.resolve())
    if chosen.tls and not ca and shows_own:
        ca = own
        name = name or next(filter(_is_name, authority.existing(data).names), "")
    return Place(
        host=host,
        mqtt_port=port,
        provision_port=provision_port,
        http_port=running.http_port if running else 0,
        ca=choices.ca(ca) if ca else b"",
        name=name,
    )


def _is_name(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return True
    return False


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(f"{text} is no address: write HOST:PORT, e.g. 192.168.1.10:1883")
    return host, int(port)
