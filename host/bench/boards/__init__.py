"""Board definitions: `boards/*.toml`, one a board."""

from bench.boards.chips import CHIPS, ChipKind
from bench.boards.definition import OLDEST, load, names, parse
from bench.boards.model import BoardDefinition, Ethernet, Image, Partition

__all__ = ["CHIPS", "OLDEST", "BoardDefinition", "ChipKind", "Ethernet", "Image", "Partition", "load", "names", "parse"]
