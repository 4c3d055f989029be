"""`bench conformance`: check a server, or a board, against the provisioning contract."""

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
from bench.cli.commands.conformance_server import (
    TIMEOUT_S,
    ApiKeyFile,
    Ca,
    GivenRelease,
    Key,
    Names,
    Only,
    PasswordFile,
    Profile,
    SecretFile,
    ServerChoices,
    Timeout,
    Url,
    User,
    check_server,
)
from bench.cli.render.tables import DEFAULT_DATA, Data, Json
from bench.errors import UsageError


def conformance(
    url: Url = [],  # noqa: B006 - how typer declares a list
    profile_key: Key = "",
    profile_secret_file: SecretFile = None,
    profile: Profile = "",
    device_name: Names = [],  # noqa: B006
    ca: Ca = None,
    user: User = "",
    password_file: PasswordFile = None,
    api_key_file: ApiKeyFile = None,
    release: GivenRelease = "",
    only: Only = [],  # noqa: B006
    timeout: Timeout = TIMEOUT_S,
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

    The checks send what devices send, and need no account; with an operator's, they check what releases of ThingsBoard
    do differently for operators, too. They make devices, whose names are printed. With --board, a board's firmware is
    checked instead, against the bench's own server. Exit code 1 if a check fails.
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
    server = ServerChoices(
        url=url,
        profile_key=profile_key,
        profile_secret_file=profile_secret_file,
        profile=profile,
        device_names=device_name,
        ca=ca,
        user=user,
        password_file=password_file,
        api_key_file=api_key_file,
        release=release,
        timeout_s=timeout,
        data=data,
    )
    if board:
        if server.given:
            raise UsageError(
                "--board checks a board against the bench's own server: leave out options for another server"
            )
        check_board(choices, only, list_checks=list_checks, junit=junit, data=data, as_json=as_json)
        return
    check_server(server, only, list_checks=list_checks, junit=junit, as_json=as_json)
