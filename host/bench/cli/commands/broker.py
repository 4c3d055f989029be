"""`bench broker`: devices at the user's own message broker."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from bench import paths
from bench.cli.broker_files import BrokerLogin, Kind
from bench.cli.options import common, server_addresses
from bench.cli.options.common import Force
from bench.cli.render import tables
from bench.cli.render.help import App
from bench.cli.render.tables import DEFAULT_DATA, Data, Json
from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.registry.registry import Registry

T = TypeVar("T")

app = App(
    help="Your own message broker: EMQX, RabbitMQ or mosquitto, which asks this server about devices.",
    epilog="Example: bench broker key plant --for rabbitmq --output bench.conf",
)

Name = Annotated[str, typer.Argument(metavar="BROKER", help="A name for the broker: letters, digits, _ and -.")]
Database = Annotated[
    str, typer.Option(help="The server's PostgreSQL database, if it has one.", envvar="BENCH_DATABASE")
]


def _on_registry(data: Path, database: str, action: Callable[["Registry"], Awaitable[T]]) -> T:
    """Run an action on the registry in a data folder."""
    from bench.cli.options import own_registry  # noqa: PLC0415 - the database takes long to import

    async def run() -> T:
        async with own_registry.opened(data, database) as registry:
            return await action(registry)

    return asyncio.run(run())


@app.command(epilog="Example: bench broker key plant --for rabbitmq --output bench.conf")
def key(
    name: Name,
    kind: Annotated[
        Kind | None, typer.Option("--for", help="Write the part of this broker's configuration that has it ask.")
    ] = None,
    server: Annotated[
        str,
        typer.Option(
            metavar="URL", help="This server, as the broker reaches it.", show_default="the one that runs on --data"
        ),
    ] = "",
    output: Annotated[Path | None, typer.Option(help="A file to write, for its owner alone.")] = None,
    force: Force = False,
    data: Data = DEFAULT_DATA,
    database: Database = "",
    as_json: Json = False,
) -> None:
    """Give a broker a key to ask this server with. It is shown once, and a key that the broker had is over.

    On the machine with the data folder. A broker asks whether a device may log in, publish and subscribe; without a key
    everybody is told no.
    """
    from bench.registry import audit, broker_keys  # noqa: PLC0415

    if kind and as_json:
        raise UsageError("--json is not for a broker's configuration: leave out --for, or --json")
    running = server_addresses.running_server(data)
    url = server or (running.http if running else "http://127.0.0.1:8080")
    BrokerLogin(name, "", url)  # wrong use, before a key is changed
    if output:
        common.check_new(output, force=force)

    def change(session: Any) -> tuple[str, bool]:
        made: tuple[str, bool] = broker_keys.issue(session, name)
        audit.record(session.connection(), [audit.own_entry("broker.key_issued", name)])
        return made

    made, replaced = _on_registry(data, database, lambda registry: registry.write(change))
    login = BrokerLogin(name, made, url)
    found = {"broker": name, "key": made, "header": f"Authorization: {login.header}"}
    if output:
        paths.write_private(output, (login.config(kind) if kind else f"{made}\n").encode())
        summary = {"broker": name, "file": str(output)}
        tables.facts(summary, as_json=as_json)
    elif kind:
        tables.write(login.config(kind))
    else:
        tables.facts(found, as_json=as_json)
    if replaced:
        tables.warn(f"the key that {name} had before is over: it is denied everything until it has this one")


@app.command("list", epilog="Example: bench broker list --json")
def list_brokers(data: Data = DEFAULT_DATA, database: Database = "", as_json: Json = False) -> None:
    """List the brokers that have a key."""
    from bench.registry import broker_keys  # noqa: PLC0415

    found = _on_registry(data, database, lambda registry: registry.read(broker_keys.names))
    rows = [{"broker": each.name, "created": tables.utc_time(each.created_ms)} for each in found]
    tables.table(rows, as_json=as_json, empty="No broker has a key: bench broker key BROKER.", whole=("created",))


@app.command(epilog="Example: bench broker revoke plant")
def revoke(name: Name, data: Data = DEFAULT_DATA, database: Database = "") -> None:
    """Take a broker's key away: from now on it is told no, whatever it asks."""
    from bench.registry import audit, broker_keys  # noqa: PLC0415

    def change(session: Any) -> None:
        broker_keys.revoke(session, name)
        audit.record(session.connection(), [audit.own_entry("broker.key_revoked", name)])

    _on_registry(data, database, lambda registry: registry.write(change))
    tables.echo(f"{name} has no key any more")
