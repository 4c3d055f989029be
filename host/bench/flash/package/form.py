"""The binary form of a package: its first bytes, and how lists and files are deflated."""

import struct
import zlib

MAGIC = b"FBP1"
HEAD = struct.Struct("<4sI64s32s")
"""Magic, length of the manifest's head, signature over it, its SHA-256."""
WINDOW_BITS = 10
"""Of raw deflate: what a board needs in RAM to inflate a file is 1 KiB."""
# Input for one step of zlib, which copies what it has not used.
_PIECE = 64


def deflate(content: bytes) -> bytes:
    """Return a content as it stands in a package: deflated, or as it is where that is not shorter."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -WINDOW_BITS, 9)
    packed = deflater.compress(content) + deflater.flush()
    return packed if len(packed) < len(content) else content


def inflate(packed: bytes, size: int) -> bytes:
    """Return a content from how it stands in a package; never more than it should have, however much is packed.

    Args:
        packed: As it stands there.
        size: Bytes of the content.

    Raises:
        ValueError: It is not exactly that; the message says what it is instead.
    """
    return packed if len(packed) == size else _inflated(packed, size)


def _inflated(packed: bytes, size: int) -> bytes:
    """Inflate byte by byte: in longer steps zlib lets copies reach further back than the window that a board has."""
    inflater = zlib.decompressobj(-WINDOW_BITS)
    found = bytearray()
    try:
        for start in range(0, len(packed), _PIECE):
            left = packed[start : start + _PIECE]
            while left and not inflater.eof and len(found) <= size:
                found += inflater.decompress(left, 1)
                left = inflater.unconsumed_tail
            if inflater.unused_data or (left and inflater.eof):
                raise ValueError("longer in the package than its content")
        while len(found) <= size and (more := inflater.decompress(b"", 1)):
            found += more
    except zlib.error:
        raise ValueError("damaged: it cannot be inflated") from None
    if not inflater.eof or len(found) != size:
        raise ValueError(f"not inflated to {size:,} bytes")
    return bytes(found)
