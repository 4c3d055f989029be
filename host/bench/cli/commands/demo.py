"""`bench demo`: a first boot and a second one, on a virtual board and a server of its own."""

import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from bench import paths
from bench.cli.options.board_setup import key_and_secret
from bench.cli.options.operator_session import ServerOptions, run_on_server
from bench.cli.render import event_lines, tables
from bench.cli.render.tables import DEFAULT_DATA
from bench.contract import names, settings
from bench.errors import BenchError
from bench.flash.tracebacks import Tracebacks
from bench.server.run.subprocess import ServerProcess
from bench.virtual.board import VirtualBoard
from bench.virtual.power import PowerCycle

_BOARD = "demo"
_PATIENCE_S = 30.0


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the server and the board running.")] = False,
    data: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where the demo makes a folder of its own, removed at the end.")
    ] = DEFAULT_DATA,
) -> None:
    """Show a blank virtual board provision itself, go online, and come back after a power cycle."""
    folder = Path(tempfile.mkdtemp(prefix="demo-", dir=paths.private_folder(data)))
    try:
        with _server(folder, keep=keep) as server:
            _run(folder, server, keep=keep)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    if not keep:
        shutil.rmtree(folder)


@contextmanager
def _server(data: Path, *, keep: bool) -> Iterator[ServerProcess]:
    server = ServerProcess(data)
    try:
        yield server
    except BaseException:
        server.stop()
        raise
    if not keep:
        server.stop()


def _run(data: Path, server: ServerProcess, *, keep: bool) -> None:
    address = server.ready
    place = f"{address['host']}:{address['mqtt_port']}"
    tables.console.print(f"[bold]A provisioning server[/bold] listens on {place}")
    key, secret = key_and_secret(ServerOptions(data=data), "default")
    board = VirtualBoard.create(
        data / "boards" / _BOARD,
        settings=settings.encode(
            {"session": {"telemetry_s": 5}},
            host=address["host"],
            port=address["mqtt_port"],
            key=key,
            secret=secret,
        ),
    )
    tables.console.print(f"[bold]A blank board[/bold] with 4 MB of flash, MAC {board.mac}\n\n[bold]First boot[/bold]")
    name = names.of_mac(board.mac)
    with board.power_on() as power:
        _watch(power, server, name)
    if not {"provisioning", "provisioned"} <= {event["event"] for event in power.events}:
        raise BenchError("the first boot did not provision: please report this bug")
    event_lines.line(None, f"power cut, after {len(power.writes)} writes to the flash", who="bench")
    tables.console.print("\n[bold]Second boot[/bold], the same flash")
    if keep:
        _keep(data, board, server, address)
        return
    with board.power_on() as power:
        _watch(power, server, name)
    requests = [event for event in power.events if event["event"] == "provisioning"]
    if requests or power.writes:
        raise BenchError("the second boot provisioned again, or wrote to the flash: please report this bug")
    devices = run_on_server(ServerOptions(data=data), lambda server: server.count_devices())
    event_lines.line(None, "power cut, after 0 writes to the flash", who="bench")
    tables.console.print(
        f"\n[green]Done.[/green] One provisioning, no second one; the server has {devices} device: {name}"
    )


def _watch(power: PowerCycle, server: ServerProcess, name: str) -> None:
    """Print a boot up to the first telemetry, as the board and the server each see it."""
    started_ms = time.time_ns() // 1_000_000
    for event in map(Tracebacks().translate, power.follow(_PATIENCE_S)):
        if event["event"] == "boot":
            # the board's clock starts with its first line, which has its own milliseconds
            started_ms = time.time_ns() // 1_000_000 - event["ms"]
        if event["event"] == "telemetry":
            seen = server.expect_event("telemetry", device=name)
            event_lines.line(seen["ts"] - started_ms, f"[green]telemetry[/green] of {name} seen", who="server")
            event_lines.show(event)
            return
        event_lines.show(event)
    raise BenchError(f"the board did not get online: see {server.log}, then run the demo again")


def _keep(data: Path, board: VirtualBoard, server: ServerProcess, address: dict[str, Any]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.cli", "board", "boot", _BOARD, "--data", str(data), "--json"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        server.expect_event("telemetry", device=names.of_mac(board.mac))
    except BaseException:
        process.terminate()
        process.wait()
        raise
    event_lines.line(None, "the board is online and stays on\n", who="bench")
    bench, folder, console, log = (
        tables.shown(shlex.quote(str(path))) for path in (sys.argv[0], data, board.console, server.log)
    )
    tables.console.print(
        "To look at them:\n"
        f"  {bench} device show {names.of_mac(board.mac)} --data {folder}\n"
        f"  tail -f {console}\n"
        f"  tail -f {log}\n"
        f"  curl -i http://{address['host']}:{address['http_port']}/api/v1/provision -d '{{}}'\n"
        f"To stop them:\n  kill {process.pid} {server.pid}; rm -rf {folder}"
    )
