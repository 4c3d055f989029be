"""Board definitions: `boards/*.toml`, one a board."""

from bench.boards.chips import CHIPS, Chip
from bench.boards.definition import OLDEST, load, names, parse
from bench.boards.model import Board, Ethernet, Image, Partition

__all__ = ["CHIPS", "OLDEST", "Board", "Chip", "Ethernet", "Image", "Partition", "load", "names", "parse"]
