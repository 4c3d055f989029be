"""`bench conformance`: check a server against the provisioning contract, as the release of ThingsBoard that it is."""

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import board_setup, operator_session, server_addresses, text_files
from bench.cli.options.operator_session import ServerOptions
from bench.cli.render import check_results, tables
from bench.cli.render.tables import DEFAULT_DATA
from bench.conformance.check import BAD, chosen, run
from bench.conformance.server import addresses
from bench.conformance.server.addresses import Address, CheckedAddresses
from bench.contract import releases
from bench.errors import BenchError, UsageError
from bench.rest_client import ThingsBoard

if TYPE_CHECKING:
    from bench.conformance.server.subject import CheckedServer, Operator

_SECRET = "BENCH_PROFILE_SECRET"  # noqa: S105 - a variable's name
_PROFILE = "default"
TIMEOUT_S = 10.0
"""The usual time that a server may take to answer, in seconds."""

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
User = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="With --url http(s)://...: an operator's account, for the release and for what only operators see.",
    ),
]
PasswordFile = Annotated[
    Path | None,
    typer.Option(help="A file with its password. Otherwise $BENCH_PASSWORD, or a prompt."),
]
ApiKeyFile = Annotated[Path | None, typer.Option(help="A file with an API key, instead of --user and its password.")]
GivenRelease = Annotated[
    str,
    typer.Option(
        "--release",
        metavar="RELEASE",
        help="The release of ThingsBoard whose rules are to be kept, e.g. 4.2.1. Default: the one that the server says "
        "it is, to an operator; otherwise it is found out as far as the answers differ.",
    ),
]
Only = Annotated[
    list[str], typer.Option(metavar="PATTERN", help="Checks to run, e.g. 'mqtt.*'. Repeatable. Default: all.")
]
Timeout = Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="Longest wait for an answer.")]


@dataclass(frozen=True, kw_only=True)
class ServerChoices:
    """The options for a server. Without `url` it is the bench's own, running on the data folder."""

    url: Sequence[str]
    profile_key: str
    profile_secret_file: Path | None
    profile: str
    device_names: Sequence[str]
    ca: Path | None
    user: str
    password_file: Path | None
    api_key_file: Path | None
    release: str
    timeout_s: float
    data: Path

    @property
    def given(self) -> bool:
        """True if an option is given that chooses a server, its profile or its release."""
        return bool(self.url or self.profile or self.device_names or self.release or any(self._of_others().values()))

    def again(self, server: "CheckedServer") -> str:
        """Return the command that repeats the run, to paste into a shell, with devices made in advance if it had some.

        Each run uses some up. On the bench's own server another one is made; elsewhere, the devices of the used names
        have to be made anew first.

        Args:
            server: After the run.
        """
        repeated = self._repeated()
        if not self.device_names or server.names or self.url:
            left = server.names or self.device_names
            return " ".join([repeated, *(f"--device-name {shlex.quote(each)}" for each in left)])
        name = f"{server.prefix}again"
        make = ["bench", "device", "create", name, "--profile", self.profile or _PROFILE]
        make += [] if self.data == DEFAULT_DATA else ["--data", str(self.data)]
        return f"{shlex.join(make)} && {repeated} --device-name {name}"

    def _repeated(self) -> str:
        """Return the command without the names of devices."""
        words = ["bench", "conformance"]
        for each in self.url:
            words += ["--url", each]
        for option, value in {
            **self._of_others(),
            "--profile": self.profile,
            "--release": self.release,
            "--timeout": None if self.timeout_s == TIMEOUT_S else f"{self.timeout_s:g}",
            "--data": None if self.url or self.data == DEFAULT_DATA else self.data,
        }.items():
            words += [option, str(value)] if value else []
        return shlex.join(words)

    def _of_others(self) -> dict[str, object]:
        """Return option -> value of those that go with --url."""
        return {
            "--profile-key": self.profile_key,
            "--profile-secret-file": self.profile_secret_file,
            "--ca": self.ca,
            "--user": self.user,
            "--password-file": self.password_file,
            "--api-key-file": self.api_key_file,
        }

    def subject(self) -> tuple["CheckedServer", str]:
        """Return the server to check, and the version that it says it is: empty if it was not asked.

        Raises:
            UsageError: The options do not go together, or something is missing.
            BenchError: No server runs on the data folder, or it does not let the operator in.
        """
        # the clients of all transports are slow to import, and no other command needs them
        from bench.conformance.server.subject import CheckedServer  # noqa: PLC0415

        wanted = releases.release(self.release) if self.release else None
        there, ca, key, secret, operator = self._at_url() if self.url else self._own()
        reached = CheckedAddresses(there, ca=ca, patience_s=self.timeout_s)
        _ = reached.trust  # a file without certificates is wrong use, not a verdict
        reported = "" if wanted or operator is None else str(operator(ThingsBoard.release))
        server = CheckedServer(
            addresses=reached,
            key=key,
            secret=secret,
            names=list(self.device_names),
            release=wanted or releases.nearest(reported),
            operator=operator,
        )
        return server, reported

    def _at_url(self) -> tuple[list[Address], Path | None, str, str, "Operator | None"]:
        """Return addresses, CA, key, secret and the operator's account of a server elsewhere."""
        if self.profile:
            raise UsageError("--profile is for the bench's own server: with --url use --profile-key")
        if not self.profile_key:
            raise UsageError("--url needs --profile-key: the provisionDeviceKey of a profile on that server")
        there = [addresses.address(each) for each in self.url]
        secret = _secret(self.profile_secret_file)
        return there, self.ca, self.profile_key, secret, self._operator(there)

    def _operator(self, there: Sequence[Address]) -> "Operator | None":
        if not (self.user or self.password_file or self.api_key_file):
            return None
        if self.password_file and not self.user:
            raise UsageError("--password-file needs --user: an operator's account on that server")
        where = {each.scheme: each for each in there}
        address = where.get("https") or where.get("http")
        if address is None:
            raise UsageError(
                "an operator needs --url http://HOST:PORT or https://HOST: operators use no other protocol"
            )
        options = ServerOptions(
            data=self.data,
            url=str(address),
            user=self.user,
            password_file=self.password_file,
            api_key_file=self.api_key_file,
            ca=self.ca if address.tls else None,
        )
        return partial(operator_session.run_on_server, options)

    def _own(self) -> tuple[list[Address], Path | None, str, str, "Operator | None"]:
        """Return the same of the server on the data folder."""
        if any(self._of_others().values()):
            raise UsageError(f"{', '.join(self._of_others())} go with --url: the bench's own server needs none of them")
        there, ca = _own(self.data)
        key, secret = board_setup.key_and_secret(ServerOptions(data=self.data), self.profile or _PROFILE)
        return there, ca, key, secret, partial(operator_session.run_on_server, ServerOptions(data=self.data))


def check_server(
    choices: ServerChoices, only: Sequence[str], *, list_checks: bool, junit: Path | None, as_json: bool
) -> None:
    """Run the checks of a server, and print the outcomes.

    Args:
        choices: The server.
        only: Patterns of the checks to run; none for all.
        list_checks: Print the checks instead.
        junit: Write the outcomes to this file, too.
        as_json: Print JSON.

    Raises:
        typer.Exit: A check is broken or in trouble.
    """
    from bench.conformance.server.suite import CHECKS  # noqa: PLC0415 - as `subject` says

    checks = chosen(CHECKS, only)
    if list_checks:
        check_results.show_list(checks, as_json=as_json)
        return
    server, reported = choices.subject()
    try:
        outcomes = check_results.collect(run(checks, server), len(checks), as_json=as_json)
        verdict = server.as_release.summary(reported, [each.name for each in outcomes if each.verdict in BAD])
        more = {"devices": server.made, "release": verdict}
        check_results.show(outcomes, again=choices.again(server), as_json=as_json, more=more)
        if not as_json:
            tables.echo(verdict)
    finally:  # the devices exist, whatever ended the run
        if server.made and not as_json:
            _show_devices(len(server.made), server.prefix, own=not choices.url, data=choices.data)
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
