"""`bench boards`: the board definitions."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from bench import boards as definitions
from bench.boards import BoardDefinition
from bench.cli.render import tables
from bench.cli.render.tables import Json
from bench.flash import images


def boards(
    name: Annotated[str, typer.Argument(help="A definition. Default: list them all.")] = "",
    as_json: Json = False,
) -> None:
    """List the board definitions, or show one: chip, flash, image, pins, partitions."""
    if name:
        board = definitions.load(name)
        tables.facts(_facts(board) if as_json else _lines(board), as_json=as_json)
        return
    found = [definitions.load(each) for each in definitions.names()]
    rows = [
        {
            "name": board.name,
            "title": board.title,
            "chip": board.chip,
            "micropython": board.image.version,
            "image": _where(board),
        }
        for board in found
    ]
    tables.table(rows, as_json=as_json, empty="boards/ has no definitions")


def _facts(board: BoardDefinition) -> dict[str, Any]:
    found = asdict(board)
    found["image"]["path"] = str(images.cache() / board.image.file)
    found["image"]["state"] = _where(board)
    return found


def _lines(board: BoardDefinition) -> dict[str, Any]:
    """Return the facts about a definition for people."""
    image, ethernet = board.image, board.ethernet
    return {
        "name": board.name,
        "title": board.title,
        "chip": board.kind.title,
        "flash": f"{board.flash_size >> 20} MB, {board.flash_mode}",
        "PSRAM": board.psram,
        "image": f"MicroPython {image.version}, written at {board.image_offset:#x}: {_where(board)}",
        "from": image.url,
        "to": str(images.cache() / image.file),
        "sha256": image.sha256 or "not published: the first file that is used sets it",
        "serial": f"{board.baud} baud, {board.before}, {board.after}",
        "LED": f"pin {board.led}" if board.led >= 0 else "none",
        "button": f"pin {board.button}" if board.button >= 0 else "none",
        "link": f"Ethernet, {ethernet.phy}" if ethernet else "Wi-Fi",
        **{f"at {each.offset:#x}": f"{each.label}, {each.size >> 10} KB" for each in board.partitions},
    }


def _where(board: BoardDefinition) -> str:
    """Return the state of a board's image in the cache."""
    if images.cached(board.image):
        return "here"
    return "damaged" if (images.cache() / board.image.file).exists() else "to download"
