"""Comparison of a board's own report with what it is to be: whether the definition fits, and what differs."""

from collections.abc import Mapping, Sequence

from bench.boards import BoardDefinition
from bench.errors import BenchError
from bench.flash.filesystem import Region
from bench.flash.inspection import Inspection, digest

# The files outside the package that the bench writes; all others are left alone.
_OURS = ("/boot.py", "/main.py", "/settings.json", "/ca.der", "/device.crt", "/device.key", "/device.json")
_PACKAGE = "/firstboot/"
_UNFINISHED = ".new"
RECORD = ("/trees.0", "/trees.1")
"""Files of a board that was updated over the air: without the first one, the files beside them are in force."""
_UPDATES = ("/update.list", "/fw.a/", "/fw.b/", "/sw.a/", "/sw.b/")


def check_definition(found: Inspection, board: BoardDefinition) -> None:
    """Raise BenchError unless the definition is for this board."""
    if found.chip and found.chip != board.chip:
        raise BenchError(f"this is an {found.chip}, and {board.name} is for {board.chip}: see bench boards")
    if found.flash_size < board.flash_size:
        raise BenchError(
            f"this board has {found.flash_size >> 20} MB of flash, and {board.name} is for "
            f"{board.flash_size >> 20} MB: see bench boards"
        )
    if found.files is not None and found.room != board.partition("vfs").size:
        raise other_layout(found.room, board)


def other_layout(room: int, board: BoardDefinition) -> BenchError:
    """Return the error of a board whose file system of so many bytes is not the definition's."""
    return BenchError(
        f"this board has another layout, a file system of {room >> 10} kB where {board.name} has "
        f"{board.partition('vfs').size >> 10} kB: name its own definition with --board, or --erase wipes it, with its "
        "credentials"
    )


def has_image(found: Inspection, parts: Sequence[Region]) -> bool:
    """Return whether the board has these regions, or as many of them as were inspected."""
    return all(digest(content) == there for (_, content), there in zip(parts, found.parts, strict=False))


def file_changes(
    found: Inspection, wanted: Mapping[str, bytes], *, with_settings: bool, kept: Sequence[str] = ()
) -> tuple[dict[str, bytes], list[str]]:
    """Return the files to send, and those to remove: an older firmware's, updates', and what an interruption left.

    Args:
        found: The board's report; its file system can be read.
        wanted: Path without a leading slash -> content.
        with_settings: Settings and what goes with them are among the wanted files; otherwise the board keeps its own.
        kept: Absolute paths of files that stay as they are.

    Returns:
        Absolute path -> content of the files that differ, and the absolute paths to remove.
    """
    assert found.files is not None
    there = found.files
    changed = {f"/{name}": content for name, content in wanted.items() if there.get(f"/{name}") != digest(content)}
    for path in kept:
        changed.pop(path, None)
    renamed = {f"{path}{_UNFINISHED}" for path in changed}  # gone when the new file takes the old one's place
    gone = [
        path
        for path in there.keys() - renamed
        if path.endswith(_UNFINISHED)
        or (path[1:] not in wanted and (path.startswith(_PACKAGE) or (with_settings and path in _OURS)))
    ]
    updates = [path for path in RECORD if path in there] + [path for path in there if path.startswith(_UPDATES)]
    return changed, gone + updates
