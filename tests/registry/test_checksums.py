"""Checksums of packages, as a running ThingsBoard made them of the same content."""

import hashlib

import pytest

from bench.registry.checksums import Algorithm, of

DIGITS = b"123456789"
KNOWN = {
    Algorithm.MD5: "25f9e794323b453885f5181f1b624d0b",
    Algorithm.CRC32: "2639f4cb",
    Algorithm.MURMUR3_32: "82f3feb4",
    Algorithm.MURMUR3_128: "a4cc66db5e64843c05a11e3ac7faf899",
    Algorithm.SHA256: hashlib.sha256(DIGITS).hexdigest(),
    Algorithm.SHA384: hashlib.sha384(DIGITS).hexdigest(),
    Algorithm.SHA512: hashlib.sha512(DIGITS).hexdigest(),
}


@pytest.mark.parametrize("algorithm", Algorithm)
def test_checksum_is_thingsboards(algorithm):
    assert of(algorithm, DIGITS) == KNOWN[algorithm]
    assert of(algorithm, DIGITS[:-1]) != KNOWN[algorithm]
