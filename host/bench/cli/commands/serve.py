"""`bench serve`: the provisioning server."""

import asyncio
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from bench import paths
from bench.cli.options import broker_management, serve_toml, server_addresses
from bench.cli.render import tables
from bench.cli.render.tables import DEFAULT_DATA, Data
from bench.contract import broker_topics
from bench.contract.pre_provisioning import Default
from bench.contract.releases import NEWEST, release
from bench.registry import data_folder
from bench.registry.retention import Retention
from bench.server.connections import CONNECTIONS
from bench.server.journal_output import LOG_KEEP, LOG_SIZE, FileTarget
from bench.server.limits import Rules

_RULES = Rules()
_RETENTION = Retention()


def _port(name: str, usual: int) -> Any:
    return typer.Option(min=0, max=65535, metavar="PORT", help=f"{name}. 0: any free one.", show_default=str(usual))


def _chosen(given: int | None, usual: int, free: bool) -> int:
    return given if given is not None else 0 if free else usual


def serve(
    data: Data = DEFAULT_DATA,
    config: Annotated[  # noqa: ARG001 - read by its callback, before all others
        Path | None,
        typer.Option(
            help="A file with these options, by their names (TOML).",
            envvar="BENCH_SERVE_TOML",
            show_default="serve.toml, if there is one",
            is_eager=True,
            callback=serve_toml.use,
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="The address to listen on; 0.0.0.0 for all of this machine's.")
    ] = "127.0.0.1",
    mqtt_port: Annotated[int | None, _port("MQTT", 1883)] = None,
    mqtts_port: Annotated[int | None, _port("MQTT over TLS", 8883)] = None,
    http_port: Annotated[int | None, _port("HTTP", 8080)] = None,
    https_port: Annotated[int | None, _port("HTTPS", 8443)] = None,
    coap_port: Annotated[int | None, _port("CoAP, UDP", 5683)] = None,
    hostname: Annotated[
        list[str],
        typer.Option(metavar="NAME", help="A name or address of this machine, for its certificate. Repeatable."),
    ] = [],  # noqa: B006
    tls_cert: Annotated[Path | None, typer.Option(help="Your own certificate, with its chain, as PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="The key of --tls-cert, as PEM.")] = None,
    tls_client_ca: Annotated[
        Path | None, typer.Option(help="Accept only client certificates signed by this CA (PEM).")
    ] = None,
    database: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="postgresql+asyncpg://USER:PASSWORD@HOST/NAME, instead of SQLite in the data folder.",
            envvar="BENCH_DATABASE",
        ),
    ] = "",
    trusted_proxy: Annotated[
        list[str],
        typer.Option(
            metavar="ADDRESS",
            help="A proxy's address or network: its X-Forwarded-For is believed. Repeatable.",
        ),
    ] = [],  # noqa: B006
    cors_origin: Annotated[
        list[str],
        typer.Option(metavar="ORIGIN", help="Let web pages of this origin use the HTTP APIs; * is any. Repeatable."),
    ] = [],  # noqa: B006
    topic_prefix: Annotated[
        str,
        typer.Option(metavar="PREFIX", help="The first levels of devices' topics at your own broker (bench broker)."),
    ] = broker_topics.PREFIX,
    broker_api: Annotated[
        Path | None,
        typer.Option(help="A private TOML file with your broker's management API: whom you delete is cut off there."),
    ] = None,
    pre_provision: Annotated[
        str,
        typer.Option(
            metavar="HOOK",
            help="May refuse devices before they are provisioned: a URL, or an entry point of firstboot.pre_provision.",
            envvar="BENCH_PRE_PROVISION",
        ),
    ] = "",
    pre_provision_timeout: Annotated[
        float, typer.Option(min=0.1, max=30, metavar="SECONDS", help="The time that it has to decide.")
    ] = 2.0,
    pre_provision_default: Annotated[
        Default, typer.Option(help="What counts if it does not answer in time, or not with an answer.")
    ] = Default.REFUSE,
    like: Annotated[
        str,
        typer.Option(
            metavar="RELEASE",
            help="Answer as this release of ThingsBoard does, e.g. 4.2.1.",
            show_default=NEWEST.version,
        ),
    ] = NEWEST.version,
    like_production: Annotated[
        bool,
        typer.Option("--like-production", help="Store late, acknowledge out of order, as a busy ThingsBoard does."),
    ] = False,
    free_ports: Annotated[
        bool, typer.Option("--free-ports", help="Use a free port for each protocol without a port option.")
    ] = False,
    ready_file: Annotated[
        Path | None, typer.Option(help="A JSON file with the ports in use, written once the server listens.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print events as JSON lines.")] = False,
    log_file: Annotated[
        Path | None, typer.Option(help="Write events to this file, private and rotated, instead of standard output.")
    ] = None,
    log_size: Annotated[
        int, typer.Option(min=100_000, help="The bytes of --log-file at which the next one is begun.")
    ] = LOG_SIZE,
    log_keep: Annotated[
        int, typer.Option(min=0, max=1000, help="How many full files are kept: FILE.1 is the newest.")
    ] = LOG_KEEP,
    per_caller: Annotated[
        int,
        typer.Option(
            "--limit-per-caller",
            min=1,
            help="Wrong secrets a minute, for one name from one address, before it is refused.",
        ),
    ] = _RULES.per_caller,
    per_address: Annotated[
        int, typer.Option("--limit-per-address", min=1, help="The same, for one address.")
    ] = _RULES.per_address,
    per_key: Annotated[
        int, typer.Option("--limit-per-key", min=1, help="The same, for one provisioning key or user name.")
    ] = _RULES.per_key,
    per_person: Annotated[
        int, typer.Option("--limit-per-person", min=1, help="Wrong passwords an hour for one operator or user.")
    ] = _RULES.per_person,
    history_days: Annotated[
        float, typer.Option(min=0, help="Keep telemetry history for so many days. 0: for ever.")
    ] = _RETENTION.history_days,
    history_mb: Annotated[
        float, typer.Option(min=0, help="Keep so many MB of a profile's history, the newest. 0: all.")
    ] = _RETENTION.history_mb,
    audit_days: Annotated[
        float, typer.Option(min=0, help="Keep the audit log for so many days. 0: for ever.")
    ] = _RETENTION.audit_days,
    audit_rows: Annotated[
        int, typer.Option(min=0, help="Keep so many changes in the audit log, and as many other rows. 0: all.")
    ] = _RETENTION.audit_rows,
    calls_days: Annotated[
        float, typer.Option(min=0, help="Keep persistent calls that are over for so many days. 0: for ever.")
    ] = _RETENTION.calls_days,
    connections: Annotated[
        int,
        typer.Option(
            "--max-connections",
            min=8,
            help="Connections at once; fewer if fewer files may be open (ulimit -n).",
        ),
    ] = CONNECTIONS,
    lift_loopback: Annotated[
        bool,
        typer.Option(
            "--lift-limits-for-loopback", help="No limits for clients on this machine, for tests and benchmarks."
        ),
    ] = False,
) -> None:
    """Serve ThingsBoard's device API over MQTT, HTTP and CoAP, and its operators' API.

    SIGTERM or Ctrl-C ends it after the requests in progress. The first start makes a profile `default` with a
    random key and secret, an operator with a random password (operator.json), and a CA of its own.
    """
    # A server takes half a second to import, and no other command needs it.
    from bench.server.hooks.pre_provision import PreProvision  # noqa: PLC0415
    from bench.server.journal import Journal  # noqa: PLC0415
    from bench.server.run import foreground  # noqa: PLC0415
    from bench.server.run.event_loop import new_event_loop  # noqa: PLC0415
    from bench.server.server import Options  # noqa: PLC0415

    wanted = release(like)  # wrong use, before a folder is made
    for repaired in data_folder.secure(data):
        tables.warn(repaired)
    if ":" in database.partition("://")[2].rpartition("@")[0] and any(database in each for each in sys.argv):
        tables.warn("everybody on this machine can see the password in --database: put the URL into BENCH_DATABASE")
    if ready_file:
        paths.check_place(ready_file)
    options = Options(
        data=data,
        host=host,
        mqtt_port=_chosen(mqtt_port, 1883, free_ports),
        mqtts_port=_chosen(mqtts_port, 8883, free_ports),
        http_port=_chosen(http_port, 8080, free_ports),
        https_port=_chosen(https_port, 8443, free_ports),
        coap_port=_chosen(coap_port, 5683, free_ports),
        hostnames=tuple(hostname),
        tls_cert=tls_cert,
        tls_key=tls_key,
        tls_client_ca=tls_client_ca,
        database=database or None,
        trusted_proxies=tuple(trusted_proxy),
        cors_origins=tuple(cors_origin),
        topic_prefix=broker_topics.check_prefix(topic_prefix),
        broker=broker_management.read(broker_api) if broker_api else None,
        pre_provision=PreProvision(
            hook=pre_provision,
            timeout_s=pre_provision_timeout,
            allows_by_default=pre_provision_default is Default.ALLOW,
        )
        if pre_provision
        else None,
        like=wanted,
        like_production=like_production,
        connections=connections,
        limits=Rules(
            per_caller=per_caller,
            per_address=per_address,
            per_key=per_key,
            per_person=per_person,
            lift_loopback=lift_loopback,
        ),
        retention=Retention(
            history_days=history_days,
            history_mb=history_mb,
            audit_days=audit_days,
            audit_rows=audit_rows,
            calls_days=calls_days,
        ),
    )
    # The first file exists only while the server runs, so that other commands find it.
    ready_files = [data / server_addresses.FILE, *([ready_file] if ready_file else [])]
    with server_addresses.lock_folder(data):
        # One writer for standard output: what cannot be shown holds up nothing, the welcome included
        shown = Journal(as_json=as_json)
        journal = Journal(FileTarget(log_file, log_size, log_keep), as_json=as_json) if log_file else shown
        welcome = _no_welcome if as_json else partial(_welcome, shown.show, data)
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(foreground.run(options, journal, ready_files, welcome))
        shown.close()


def _no_welcome(_ready: dict[str, Any], _new_profile: str) -> None:
    pass


def _welcome(show: Callable[[str], None], data: Path, ready: dict[str, Any], new_profile: str) -> None:
    option = tables.data_option(data)
    lines = [
        f"[bold]MQTT[/bold]  {ready['host']}:{ready['mqtt_port']}, with TLS {ready['mqtts_port']}",
        f"[bold]HTTP[/bold]  http://{ready['host']}:{ready['http_port']}, with TLS {ready['https_port']}",
        f"[bold]CoAP[/bold]  coap://{ready['host']}:{ready['coap_port']}",
        f"[bold]data[/bold]  {tables.shown(ready['data'])}",
        f"[bold]CA[/bold]    {tables.shown(ready['ca'])}",
    ]
    if new_profile:
        lines += [
            f"\nMade the profile [bold]{new_profile}[/bold] with a random key and secret. In another terminal:",
            f"  bench profile show {new_profile} --show-secrets{option}   [dim]for boards of your own[/dim]",
            f"  bench board new board1{option} && bench board boot board1{option}   [dim]a virtual board[/dim]",
        ]
    with tables.console.capture() as rendered:
        tables.console.print("\n".join(lines) + "\n")
    show(rendered.get())
