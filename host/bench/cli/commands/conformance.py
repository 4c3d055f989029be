"""`bench conformance`: check a server, or a board, against the provisioning contract."""

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.commands.conformance_board import (
    BoardAddress,
    BoardChoices,
    BoardOption,
    Fresh,
    MqttPort,
    MqttsPort,
    Patience,
    Reset,
    Tls,
    check_board,
)
from bench.cli.options import operator_session, server_addresses, text_files
from bench.cli.options.operator_session import ServerOptions
from bench.cli.render import check_results, tables
from bench.cli.render.tables import DEFAULT_DATA, Data, Json
from bench.conformance.check import chosen, run
from bench.conformance.server import addresses
from bench.conformance.server.addresses import Address, CheckedAddresses
from bench.errors import BenchError, UsageError

_SECRET = "BENCH_PROFILE_SECRET"  # noqa: S105 - a variable's name
_PROFILE = "default"
_TIMEOUT_S = 10.0

Url = Annotated[
    list[str],
    typer.Option(
        metavar="URL",
        help="The server: mqtt://HOST:PORT, mqtts://, http://, https:// or coap://. Repeatable, one for each "
        "transport. Default: the bench's own server.",
    ),
]
Key = Annotated[str, typer.Option("--profile-key", help="With --url: the profile's provisionDeviceKey.")]
SecretFile = Annotated[
    Path | None,
    typer.Option(
        "--profile-secret-file",
        help=f"With --url: a file with its provisionDeviceSecret. Otherwise ${_SECRET}, or a prompt.",
    ),
]
Profile = Annotated[
    str, typer.Option(metavar="NAME", help="Without --url: a profile of the bench's own server.", show_default=_PROFILE)
]
Names = Annotated[
    list[str],
    typer.Option(
        "--device-name",
        metavar="NAME",
        help="For profiles that make no devices: one made in advance, never provisioned. It is used up. Repeatable.",
    ),
]
Ca = Annotated[
    Path | None, typer.Option(help="With --url: CA certificates to trust, PEM or DER, instead of the system's.")
]
Only = Annotated[
    list[str], typer.Option(metavar="PATTERN", help="Checks to run, e.g. 'mqtt.*'. Repeatable. Default: all.")
]
Timeout = Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="Longest wait for an answer.")]


def conformance(
    url: Url = [],  # noqa: B006 - how typer declares a list
    profile_key: Key = "",
    profile_secret_file: SecretFile = None,
    profile: Profile = "",
    device_name: Names = [],  # noqa: B006
    ca: Ca = None,
    only: Only = [],  # noqa: B006
    timeout: Timeout = _TIMEOUT_S,
    list_checks: Annotated[bool, typer.Option("--list", help="List the checks and exit.")] = False,
    board: BoardOption = "",
    address: BoardAddress = "",
    mqtt_port: MqttPort = 0,
    mqtts_port: MqttsPort = 0,
    tls: Tls = False,
    fresh: Fresh = "",
    reset: Reset = "",
    patience: Patience = 0.0,
    junit: Annotated[Path | None, typer.Option(help="Write the verdicts to this file as JUnit XML.")] = None,
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Check a server against the provisioning contract: the bench's own, any ThingsBoard, any other.

    The checks send what devices send, and need no account. They make devices, whose names are printed. With
    --board, a board's firmware is checked instead, against the bench's own server. Exit code 1 if a check fails.
    """
    choices = BoardChoices(
        target=board,
        address=address,
        mqtt_port=mqtt_port,
        mqtts_port=mqtts_port,
        tls=tls,
        fresh=fresh,
        reset=reset,
        patience_s=patience,
    )
    choices.check_unused()
    if board:
        if url or profile_key or profile_secret_file or profile or device_name or ca:
            raise UsageError(
                "--board checks a board against the bench's own server: leave out options for another server"
            )
        check_board(choices, only, list_checks=list_checks, junit=junit, data=data, as_json=as_json)
        return
    # the clients of all transports are slow to import, and no other command needs them
    from bench.conformance.server.subject import CheckedServer  # noqa: PLC0415
    from bench.conformance.server.suite import CHECKS  # noqa: PLC0415

    checks = chosen(CHECKS, only)
    if list_checks:
        check_results.show_list(checks, as_json=as_json)
        return
    if url:
        if profile:
            raise UsageError("--profile is for the bench's own server: with --url use --profile-key")
        if not profile_key:
            raise UsageError("--url needs --profile-key: the provisionDeviceKey of a profile on that server")
        there = [addresses.address(each) for each in url]
        key, secret = profile_key, _secret(profile_secret_file)
    else:
        if profile_key or profile_secret_file or ca:
            raise UsageError("--profile-key, --profile-secret-file and --ca go with --url")
        there, ca = _own(data)
        key, secret = _own_profile(data, profile or _PROFILE)
    reached = CheckedAddresses(there, ca=ca, patience_s=timeout)
    _ = reached.trust  # a file without certificates is wrong use, not a verdict
    server = CheckedServer(addresses=reached, key=key, secret=secret, names=list(device_name))
    try:
        outcomes = check_results.collect(run(checks, server), len(checks), as_json=as_json)
        again = _again(url, profile_key, profile_secret_file, profile, ca if url else None, timeout, data)
        check_results.show(outcomes, again=again, as_json=as_json, more={"devices": server.made})
    finally:  # the devices exist, whatever ended the run
        if server.made and not as_json:
            _show_devices(len(server.made), server.prefix, own=not url, data=data)
    if junit:  # last: an unwritable file must not cost the output
        check_results.write_junit(junit, outcomes)
    check_results.exit_by(outcomes)


def _secret(file: Path | None) -> str:
    secret = text_files.read_value(file) if file else os.environ.get(_SECRET, "")
    if not secret and not file and sys.stdin.isatty():
        secret = str(typer.prompt("The profile's provisionDeviceSecret", hide_input=True, err=True))
    if not secret:
        raise UsageError(
            f"the profile's secret is missing: put it into a file (--profile-secret-file) or into ${_SECRET}"
        )
    return secret


def _own(data: Path) -> tuple[list[Address], Path]:
    """Return the addresses of the server on this data folder, and its CA."""
    running = server_addresses.running_server(data)
    if running is None:
        raise BenchError(f"no server runs on {data.resolve()}: start bench serve, or give another server with --url")
    ports = {
        "mqtt": running.mqtt_port,
        "mqtts": running.mqtts_port,
        "http": running.http_port,
        "https": running.https_port,
        "coap": running.coap_port,
    }
    return [Address(scheme=each, host=running.host, port=port) for each, port in ports.items()], running.ca


def _own_profile(data: Path, name: str) -> tuple[str, str]:
    """Query the bench's own server for a profile's key and secret."""
    profile = operator_session.run_on_server(ServerOptions(data=data), lambda server: server.profile(name))
    configuration = (profile.get("profileData") or {}).get("provisionConfiguration") or {}
    key, secret = profile.get("provisionDeviceKey"), configuration.get("provisionDeviceSecret")
    if not key or not secret or configuration.get("certificateRegExPattern"):
        raise UsageError(f"profile {name} has no provisioning key and secret: choose another with --profile")
    return key, secret


def _again(
    url: list[str], key: str, file: Path | None, profile: str, ca: Path | None, timeout_s: float, data: Path
) -> str:
    """Return the command with its options for the server, to paste into a shell."""
    words = ["bench", "conformance"]
    for each in url:
        words += ["--url", each]
    for option, value in {
        "--profile-key": key,
        "--profile-secret-file": file,
        "--ca": ca,
        "--profile": profile,
        "--timeout": None if timeout_s == _TIMEOUT_S else f"{timeout_s:g}",
        "--data": None if url or data == DEFAULT_DATA else data,
    }.items():
        words += [option, str(value)] if value else []
    return shlex.join(words)


def _show_devices(count: int, prefix: str, *, own: bool, data: Path) -> None:
    which = shlex.join(["--data", str(data)]) if own and data != DEFAULT_DATA else ""
    which = which if own else "--url URL --user USER --password-file FILE"
    words = [
        "bench device list",
        which,
        "--search",
        prefix,
        "--json | jq -r '.[].name' | xargs -n1 bench device delete",
    ]
    tables.echo(f"Devices made on the server: {count}. To delete them:")
    tables.echo(f"  {' '.join(each for each in (*words, which) if each)}")
