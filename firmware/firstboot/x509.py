"""A certificate that the device makes for itself (RFC 5280), and its key in the form for TLS (RFC 5915). Both DER."""

import binascii
import hashlib
import os

from micropython import const

from firstboot import p256

# DER's tags (X.690)
_INTEGER = const(0x02)
_BITS = const(0x03)
_OCTETS = const(0x04)
_UTF8 = const(0x0C)
_SEQUENCE = const(0x30)
_SET = const(0x31)

# Object identifiers and other fixed parts, whole
_EC_PUBLIC_KEY = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01"
_P256 = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"
_ECDSA_SHA256 = b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02"
_COMMON_NAME = b"\x06\x03\x55\x04\x03"
_SUBJECT_KEY_ID = b"\x06\x03\x55\x1d\x0e"
_KEY_USAGE = b"\x06\x03\x55\x1d\x0f"
_BASIC_CONSTRAINTS = b"\x06\x03\x55\x1d\x13"
_EXTENDED_KEY_USAGE = b"\x06\x03\x55\x1d\x25"
_CLIENT_AUTH = b"\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x02"
_CRITICAL = b"\x01\x01\xff"
_DIGITAL_SIGNATURE = b"\x03\x02\x07\x80"
# A board has no clock to rely on: from a day long ago to "no expiration date" (RFC 5280, 4.1.2.5).
_VALIDITY = b"\x17\x0d200101000000Z\x18\x0f99991231235959Z"
# [0] { INTEGER 2 }
_VERSION_3 = b"\xa0\x03\x02\x01\x02"

# The longest common name. In characters by RFC 5280, appendix A.1 (ub-common-name), but some readers count bytes.
_NAME_LIMIT = const(64)


def self_signed(name: str, key: int, public: bytes, feed: object) -> bytes:
    """Return a v3 certificate for TLS client authentication whose issuer and subject are `CN=name`.

    Args:
        name: the device's name; of more than 64 bytes the first 47, `~`, and the first 16 hex digits of its
            SHA-256 are used.
        key: the private key.
        public: its public key, an uncompressed point.
        feed: called every few milliseconds, for the watchdog.

    Raises:
        ArithmeticError: if the signature does not verify: a bit flipped somewhere, and neither key nor
            certificate is usable.
    """
    issuer = _sequence(_der(_SET, _sequence(_COMMON_NAME, _der(_UTF8, _common_name(name)))))
    algorithm = _sequence(_ECDSA_SHA256)
    signed = _sequence(
        _VERSION_3,
        _der(_INTEGER, b"\x01" + os.urandom(16)),  # the 1 keeps it positive
        algorithm,
        issuer,
        _sequence(_VALIDITY),
        issuer,
        _sequence(_sequence(_EC_PUBLIC_KEY, _P256), _bits(public)),
        _der(0xA3, _extensions(public)),
    )
    digest = hashlib.sha256(signed).digest()
    r, s = p256.sign(key, digest, feed)
    if not p256.verify(public, digest, r, s, feed):
        raise ArithmeticError("the signature of our own certificate does not verify")
    return _sequence(signed, algorithm, _bits(_sequence(_integer(r), _integer(s))))


def private_key(key: int, public: bytes) -> bytes:
    """Return the key as an ECPrivateKey (RFC 5915), for `load_cert_chain`."""
    return _sequence(_integer(1), _der(_OCTETS, key.to_bytes(32, "big")), _der(0xA0, _P256), _der(0xA1, _bits(public)))


def _common_name(name: str) -> bytes:
    raw = name.encode()
    if len(raw) <= _NAME_LIMIT:
        return raw
    end = _NAME_LIMIT - 17
    while raw[end] & 0xC0 == 0x80:  # not in the middle of a character
        end -= 1
    return raw[:end] + b"~" + binascii.hexlify(hashlib.sha256(raw).digest())[:16]


def _extensions(public: bytes) -> bytes:
    return _sequence(
        _sequence(_BASIC_CONSTRAINTS, _CRITICAL, _der(_OCTETS, _sequence())),  # CA:FALSE is the default
        _sequence(_KEY_USAGE, _CRITICAL, _der(_OCTETS, _DIGITAL_SIGNATURE)),
        _sequence(_EXTENDED_KEY_USAGE, _der(_OCTETS, _sequence(_CLIENT_AUTH))),
        # the leftmost 160 bits of the key's SHA-256 (RFC 7093, 2)
        _sequence(_SUBJECT_KEY_ID, _der(_OCTETS, _der(_OCTETS, hashlib.sha256(public).digest()[:20]))),
    )


def _der(tag: int, *parts: bytes) -> bytes:
    """Return a value of up to 65535 bytes with its tag and length."""
    body = b"".join(parts)
    size = len(body)
    if size < 0x80:
        head = bytes([tag, size])
    elif size < 0x100:
        head = bytes([tag, 0x81, size])
    else:
        head = bytes([tag, 0x82, size >> 8, size & 0xFF])
    return head + body


def _sequence(*parts: bytes) -> bytes:
    return _der(_SEQUENCE, *parts)


def _integer(value: int) -> bytes:
    """Return a number of 0 to 256 bits in as few bytes as possible, without setting the sign."""
    raw = value.to_bytes(33, "big").lstrip(b"\x00")
    return _der(_INTEGER, raw if raw and raw[0] < 0x80 else b"\x00" + raw)


def _bits(raw: bytes) -> bytes:
    """Return whole bytes as a BIT STRING: no bit of the last one is unused."""
    return _der(_BITS, b"\x00", raw)
