"""`bench conformance`: what of the provisioning contract does a server, or a board, keep?"""

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
from bench.cli.options import operator_session, server_addresses
from bench.cli.options.operator_session import Where
from bench.cli.render import check_results, tables
from bench.cli.render.tables import DEFAULT_DATA, Data, Json
from bench.conformance.check import chosen, run
from bench.conformance.server import addresses
from bench.conformance.server.addresses import Address, ServerAddresses
from bench.errors import BenchError, UsageError

_SECRET = "BENCH_PROFILE_SECRET"  # noqa: S105 - a variable's name
_PROFILE = "default"
_TIMEOUT_S = 10.0

Url = Annotated[
    list[str],
    typer.Option(
        help="Where the server is: mqtt://HOST:PORT, mqtts://, http://, https://, coap://. Repeatable, once a "
        "transport; the bench's own server if not given."
    ),
]
Key = Annotated[str, typer.Option("--profile-key", help="With --url: the profile's provisionDeviceKey.")]
SecretFile = Annotated[
    Path | None,
    typer.Option(
        "--profile-secret-file",
        help=f"With --url: a file with its provisionDeviceSecret. Without: ${_SECRET}, or you are asked.",
    ),
]
Profile = Annotated[str, typer.Option(help="Without --url: the profile of the bench's own server.")]
Names = Annotated[
    list[str],
    typer.Option(
        "--device-name",
        help="A device that was made ahead and never provisioned, for profiles that make none. Used up. Repeatable.",
    ),
]
Ca = Annotated[Path | None, typer.Option(help="With --url: certificates to trust, as PEM, instead of the system's.")]
Only = Annotated[list[str], typer.Option(help="Checks to run, e.g. 'mqtt.*'; all if not given. Repeatable.")]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds that an answer may take.")]


def conformance(
    url: Url = [],  # noqa: B006 - typer's way to say a list
    profile_key: Key = "",
    profile_secret_file: SecretFile = None,
    profile: Profile = "",
    device_name: Names = [],  # noqa: B006
    ca: Ca = None,
    only: Only = [],  # noqa: B006
    timeout: Timeout = _TIMEOUT_S,
    list_checks: Annotated[bool, typer.Option("--list", help="Show the checks and run none.")] = False,
    board: BoardOption = "",
    address: BoardAddress = "",
    mqtt_port: MqttPort = 0,
    mqtts_port: MqttsPort = 0,
    tls: Tls = False,
    fresh: Fresh = "",
    reset: Reset = "",
    patience: Patience = 0.0,
    junit: Annotated[Path | None, typer.Option(help="A file for the verdicts as JUnit's XML.")] = None,
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Check what of the provisioning contract a server keeps: the bench's own, any ThingsBoard, any other.

    Asks what devices ask, and needs no account. Makes devices, and says how they are called. With --board it is a
    board's firmware that is checked, against a server of the bench's own. Exit code 1 if anything that was run
    does not hold.
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
            raise UsageError("--board checks a board against a server of the bench's own: leave out what names another")
        check_board(choices, only, list_checks=list_checks, junit=junit, data=data, as_json=as_json)
        return
    # what it takes to speak all transports takes a while to import, and other commands need none of it
    from bench.conformance.server.subject import CheckedServer  # noqa: PLC0415
    from bench.conformance.server.suite import CHECKS  # noqa: PLC0415

    checks = chosen(CHECKS, only)
    if list_checks:
        check_results.show_list(checks, as_json=as_json)
        return
    if url:
        if profile:
            raise UsageError("--profile goes without --url: of another server name --profile-key")
        if not profile_key:
            raise UsageError("--url needs --profile-key: the provisionDeviceKey of a profile on that server")
        there = [addresses.address(each) for each in url]
        key, secret = profile_key, _secret(profile_secret_file)
    else:
        if profile_key or profile_secret_file or ca:
            raise UsageError("--profile-key, --profile-secret-file and --ca go with --url")
        there, ca = _own(data)
        key, secret = _own_profile(data, profile or _PROFILE)
    reached = ServerAddresses(there, ca=ca, patience_s=timeout)
    _ = reached.trust  # a file that holds no certificates is wrong use, and no verdict
    server = CheckedServer(addresses=reached, key=key, secret=secret, names=list(device_name))
    try:
        outcomes = check_results.collect(run(checks, server), len(checks), as_json=as_json)
        again = _again(url, profile_key, profile_secret_file, profile, ca if url else None, timeout, data)
        check_results.show(outcomes, again=again, as_json=as_json, more={"devices": server.made})
    finally:  # they are there, whatever ended it
        if server.made and not as_json:
            _tell_made(len(server.made), server.prefix, own=not url, data=data)
    if junit:  # last: a file that cannot be written takes nothing with it
        check_results.write_junit(junit, outcomes)
    check_results.exit_by(outcomes)


def _secret(file: Path | None) -> str:
    secret = file.read_text().rstrip("\r\n") if file else os.environ.get(_SECRET, "")
    if not secret and not file and sys.stdin.isatty():
        secret = str(typer.prompt("The profile's provisionDeviceSecret", hide_input=True, err=True))
    if not secret:
        raise UsageError(f"no secret of the profile: put it into a file (--profile-secret-file) or into ${_SECRET}")
    return secret


def _own(data: Path) -> tuple[list[Address], Path]:
    """Where the server on this data folder listens, and whom to trust there."""
    running = server_addresses.of_running(data)
    if running is None:
        raise BenchError(f"no server runs on {data}: bench serve starts one, --url names another")
    ports = {
        "mqtt": running.mqtt_port,
        "mqtts": running.mqtts_port,
        "http": running.http_port,
        "https": running.https_port,
        "coap": running.coap_port,
    }
    return [Address(scheme=each, host=running.host, port=port) for each, port in ports.items()], running.ca


def _own_profile(data: Path, name: str) -> tuple[str, str]:
    """Key and secret of a profile, as its operator knows them."""
    profile = operator_session.ask(Where(data=data), lambda server: server.profile(name))
    configuration = (profile.get("profileData") or {}).get("provisionConfiguration") or {}
    key, secret = profile.get("provisionDeviceKey"), configuration.get("provisionDeviceSecret")
    if not key or not secret or configuration.get("certificateRegExPattern"):
        raise UsageError(f"profile {name} has no key and secret: --profile names one that devices provision with")
    return key, secret


def _again(
    url: list[str], key: str, file: Path | None, profile: str, ca: Path | None, timeout_s: float, data: Path
) -> str:
    """The command with what says which server, ready to be pasted."""
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


def _tell_made(count: int, prefix: str, *, own: bool, data: Path) -> None:
    which = shlex.join(["--data", str(data)]) if own and data != DEFAULT_DATA else ""
    which = which if own else "--url URL --user USER --password-file FILE"
    words = [
        "bench device list",
        which,
        "--search",
        prefix,
        "--json | jq -r '.[].name' | xargs -n1 bench device delete",
    ]
    tables.say(f"Devices that were made on the server: {count}. To remove them:")
    tables.say(f"  {' '.join(each for each in (*words, which) if each)}")
