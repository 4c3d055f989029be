"""`bench serve`: the provisioning server."""

import asyncio
import fcntl
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from bench import house
from bench.cli import output
from bench.cli.output import DEFAULT_DATA, Data
from bench.errors import BenchError
from bench.server.journal import Journal
from bench.server.limits import Rules
from bench.server.server import Options, Server

# Where a running server leaves its addresses for other commands, in its data folder.
ADDRESSES = "server.json"
_RULES = Rules()


def serve(
    data: Data = DEFAULT_DATA,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    mqtt_port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free port.")] = 1883,
    http_port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free port.")] = 8080,
    ready_file: Annotated[
        Path | None, typer.Option(help="A JSON file with the real ports, written when the server listens.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print events as JSON lines.")] = False,
    per_caller: Annotated[
        int, typer.Option("--limit-per-caller", min=1, help="Wrong secrets a minute of one name at one address.")
    ] = _RULES.per_caller,
    per_address: Annotated[
        int, typer.Option("--limit-per-address", min=1, help="Wrong secrets a minute of one address.")
    ] = _RULES.per_address,
    per_key: Annotated[
        int, typer.Option("--limit-per-key", min=1, help="Wrong secrets a minute for one provisioning key.")
    ] = _RULES.per_key,
    lift_loopback: Annotated[
        bool, typer.Option("--lift-limits-for-loopback", help="No limits for this machine: for tests and benchmarks.")
    ] = False,
) -> None:
    """Serve ThingsBoard's device provisioning over MQTT and HTTP.

    Ends on SIGTERM or Ctrl-C, after what is in flight. The first start makes a profile `default`
    with a random key and secret.
    """
    house.private_folder(data)
    rules = Rules(per_caller=per_caller, per_address=per_address, per_key=per_key, lift_loopback=lift_loopback)
    with _alone(data):
        asyncio.run(
            _serve(
                Options(data=data, host=host, mqtt_port=mqtt_port, http_port=http_port, limits=rules),
                Journal(as_json=as_json),
                [data / ADDRESSES, *([ready_file] if ready_file else [])],
                quiet=as_json,
            )
        )


def running(data: Path) -> bool:
    """Whether a server runs on this data folder."""
    try:
        with _alone(data):
            return False
    except BenchError:
        return True


@contextmanager
def _alone(data: Path) -> Iterator[None]:
    """One server a data folder: two would not know of each other's sessions."""
    with (data / "server.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BenchError(f"a server is running on {data} already: stop it, or use another --data") from None
        yield


async def _serve(options: Options, journal: Journal, ready_files: list[Path], *, quiet: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    for path in ready_files:  # what a server that was killed left behind
        path.unlink(missing_ok=True)
    async with Server(options, journal) as server:
        ready: dict[str, Any] = {
            "pid": os.getpid(),
            "host": options.host,
            "mqtt_port": server.ports.mqtt,
            "http_port": server.ports.http,
            "data": str(options.data.resolve()),
        }
        if not quiet:
            _welcome(ready, options.data, server.new_profile.name if server.new_profile else None)
        try:
            for path in ready_files:
                house.write_private(path, json.dumps(ready).encode())
            journal.write("listening", **ready)
            await stop.wait()
            journal.write("stopping")
        finally:
            (options.data / ADDRESSES).unlink(missing_ok=True)
    journal.write("stopped")


def _welcome(ready: dict[str, Any], data: Path, new_profile: str | None) -> None:
    option = output.data_option(data)
    lines = [
        f"[bold]MQTT[/bold]  {ready['host']}:{ready['mqtt_port']}",
        f"[bold]HTTP[/bold]  http://{ready['host']}:{ready['http_port']}/api/v1/provision",
        f"[bold]data[/bold]  {escape(ready['data'])}",
    ]
    if new_profile:
        lines += [
            f"\nMade the profile [bold]{new_profile}[/bold] with a random key and secret. In another terminal:",
            f"  bench profile show {new_profile} --show-secrets{option}   [dim]for boards of your own[/dim]",
            f"  bench board new board1{option} && bench board boot board1{option}   [dim]a virtual board[/dim]",
        ]
    output.console.print("\n".join(lines) + "\n")
