"""`bench settings`: the settings of a running board, over its console."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.cli.options import prompts, text_files
from bench.cli.options.common import Port
from bench.cli.render import progress, tables
from bench.cli.render.help import App
from bench.cli.render.tables import Json
from bench.contract import settings as schema
from bench.dut.console import ConsoleClient, Setting
from bench.dut.serial import PortBoard
from bench.errors import BenchError, UsageError
from bench.flash import inventory
from bench.input_files import decoding

app = App(help="The settings of a running board, over its console.", epilog="Example: bench settings list")

_SHOWN = {True: "(set)", False: "(not set)"}


@app.command("list", epilog="Example: bench settings list --port /dev/ttyUSB0")
def all_settings(port: Port = "", as_json: Json = False) -> None:
    """Show all settings of a board. Secrets are only shown as set or not set."""
    with _open_console(port) as board:
        found, complaint = board.settings()
    if complaint:
        tables.warn(f"the board's settings are invalid: {complaint}")
    if as_json:
        tables.table([_facts(each) for each in found], as_json=True, empty="")
        return
    rows = [{"name": each.name, "value": _text(each)} for each in found]
    tables.table(rows, as_json=False, empty="the board has no settings")


@app.command(epilog="Example: bench settings get --port /dev/ttyUSB0 wifi.ssid")
def get(name: str, port: Port = "", as_json: Json = False) -> None:
    """Show one setting of a board."""
    with _open_console(port) as board:
        found = _one(board, name)
    if as_json:
        tables.facts(_facts(found), as_json=True)
    else:
        tables.echo(_text(found))


@app.command("set", epilog="Example: bench settings set --port /dev/ttyUSB0 wifi.password")
def change(
    name: str,
    value: Annotated[
        str | None, typer.Argument(help="Default: standard input, or a prompt, which hides secrets.")
    ] = None,
    port: Port = "",
    value_file: Annotated[Path | None, typer.Option(help="A file with the value.")] = None,
    default: Annotated[bool, typer.Option("--default", help="Remove the setting from the board's file.")] = False,
) -> None:
    """Change a setting of a board, which restarts, and check the new value.

    The board keeps its credentials. Do not write a secret on the command line, which the shell records.
    """
    if (value is not None) + (value_file is not None) + default > 1:
        raise UsageError("a value, --value-file and --default exclude each other: choose one")
    if value_file:
        value = text_files.read_value(value_file)
    elif value is None and not default and not sys.stdin.isatty():
        value = text_files.read_value(decoding.STDIN)
    if not default:  # which removes any entry from the board's file
        if value is None:
            value = prompts.prompt(name, "give a value", secret=schema.require(name).is_secret)
        schema.parse(name, value)
    with _open_console(port) as board:
        left = board.change(name, value)
    done = f"{name} is back to its default" if default else f"{name} is set"
    tables.echo(
        f"{done}; the board restarts when its settings are complete: {left}" if left else f"{done}, the board restarted"
    )


@contextmanager
def _open_console(port: str) -> Iterator[ConsoleClient]:
    name = inventory.choose(port)
    with PortBoard(name, reset=False) as board, progress.waiting(f"waiting for the board on {name}", quiet=True):
        yield ConsoleClient(board)


def _one(board: ConsoleClient, name: str) -> Setting:
    found, _ = board.settings(name)
    if len(found) != 1 or found[0].name != name:
        raise BenchError(f"unexpected answer about {name} from the board: try again")
    return found[0]


def _facts(setting: Setting) -> dict[str, Any]:
    return {"name": setting.name, "value": setting.value, "secret": setting.is_secret, "set": setting.is_set}


def _text(setting: Setting) -> str:
    if setting.is_secret:
        return _SHOWN[setting.is_set]
    return setting.value if isinstance(setting.value, str) else json.dumps(setting.value)
