"""Checksums of packages, by ThingsBoard's names of their algorithms.

Each is the hex of the bytes in the order in which ThingsBoard's library (Guava) gives them: of CRC32 and MURMUR3_32,
which are numbers, the lowest byte comes first.
"""

import hashlib
import zlib
from collections.abc import Callable
from enum import StrEnum

import mmh3


class Algorithm(StrEnum):
    """The algorithms that ThingsBoard has."""

    MD5 = "MD5"
    SHA256 = "SHA256"
    SHA384 = "SHA384"
    SHA512 = "SHA512"
    CRC32 = "CRC32"
    MURMUR3_32 = "MURMUR3_32"
    MURMUR3_128 = "MURMUR3_128"


_DIGESTS: dict[Algorithm, Callable[[bytes], bytes]] = {
    Algorithm.MD5: lambda data: hashlib.md5(data, usedforsecurity=False).digest(),
    Algorithm.SHA256: lambda data: hashlib.sha256(data).digest(),
    Algorithm.SHA384: lambda data: hashlib.sha384(data).digest(),
    Algorithm.SHA512: lambda data: hashlib.sha512(data).digest(),
    Algorithm.CRC32: lambda data: zlib.crc32(data).to_bytes(4, "little"),
    Algorithm.MURMUR3_32: lambda data: mmh3.mmh3_32(data).digest(),
    Algorithm.MURMUR3_128: lambda data: mmh3.mmh3_x64_128(data).digest(),
}


def of(algorithm: Algorithm, data: bytes) -> str:
    """Return the checksum of some content, as lower-case hex."""
    return _DIGESTS[algorithm](data).hex()
