"""The binary form of a package: its first bytes, and how files are deflated."""

import struct

MAGIC = b"FBP1"
HEAD = struct.Struct("<4sI64s32s")
"""Magic, length of the manifest, signature, SHA-256 of the manifest."""
WINDOW_BITS = 10
"""Of raw deflate: what a board needs in RAM to inflate a file is 1 KiB."""
