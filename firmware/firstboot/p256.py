"""Keys and signatures on the curve NIST P-256 (FIPS 186-5, SEC 1), for the one certificate a device makes itself.

Not constant-time: the duration depends on the key. Nothing leaks here, as a key is made and
used once, on the board, at a moment nobody outside can choose or measure; its later uses, the
handshakes, are made by mbedTLS. `feed` is called every few milliseconds meanwhile, for the watchdog.
"""

import os

from micropython import const

from firstboot.proof import hmac_sha256

# y^2 = x^3 - 3x + b modulo _P; _N is the order of the base point.
_P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_BASE = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
# The base point times 2^128: with it, a multiple of the base takes half the doublings.
_HIGH_BASE = (
    0x447D739BEEDB5E67FB982FD588C6766EFC35FF7DC297EAC357C84FC9D789BD85,
    0x2D4825AB834131EEE12E9D953A4AAFF73D349B95A7FAE5000C7E33C972E25B32,
)
_BYTES = const(32)
# A random number is not a key once in 2^32 times. This often in a row, the random source is broken.
_TRIES = const(8)


def make_key() -> int:
    """Return a new private key, uniform in [1, n-1]; raise ArithmeticError if the random source is broken.

    On the ESP32 the hardware generator is only a true one while the radio is on: call with the link up.
    """
    for _ in range(_TRIES):
        key = int.from_bytes(os.urandom(_BYTES), "big")
        if 0 < key < _N:
            return key
    raise ArithmeticError("the random source gives no random numbers")


def public(key: int, feed: object) -> bytes:
    """Return the public key as an uncompressed point, 65 bytes (SEC 1, 2.3.3)."""
    x, y = _times_base(key, feed)
    return b"\x04" + x.to_bytes(_BYTES, "big") + y.to_bytes(_BYTES, "big")


def sign(key: int, digest: bytes, feed: object) -> tuple[int, int]:
    """Return the ECDSA signature `(r, s)` of a SHA-256 digest, with RFC 6979's nonce of key and digest."""
    message = int.from_bytes(digest, "big")
    secret, state = _seeded(key, message % _N)
    while True:
        state = hmac_sha256(secret, state)
        nonce = int.from_bytes(state, "big")
        if 0 < nonce < _N:
            r = _times_base(nonce, feed)[0] % _N
            s = pow(nonce, _N - 2, _N) * (message + r * key) % _N
            if r and s:
                return r, s
        secret = hmac_sha256(secret, state + b"\x00")
        state = hmac_sha256(secret, state)


def verify(public: bytes, digest: bytes, r: int, s: int, feed: object) -> bool:
    """Return whether `(r, s)` signs a SHA-256 digest. The public key is the device's own: it is not validated."""
    if not (0 < r < _N and 0 < s < _N):
        return False
    point = (int.from_bytes(public[1:33], "big"), int.from_bytes(public[33:], "big"))
    inverse = pow(s, _N - 2, _N)
    u = int.from_bytes(digest, "big") * inverse % _N
    v = r * inverse % _N
    # the point at infinity is returned as x = 0, which is no r
    return _sum(u.to_bytes(_BYTES, "big"), _BASE, v.to_bytes(_BYTES, "big"), point, feed)[0] % _N == r


def _seeded(key: int, message: int) -> tuple[bytes, bytes]:
    """Return the nonce generator's K and V before its first output (RFC 6979, 3.2 b to g)."""
    seed = key.to_bytes(_BYTES, "big") + message.to_bytes(_BYTES, "big")
    secret, state = bytes(_BYTES), b"\x01" * _BYTES
    for step in (b"\x00", b"\x01"):
        secret = hmac_sha256(secret, state + step + seed)
        state = hmac_sha256(secret, state)
    return secret, state


def _times_base(number: int, feed: object) -> tuple[int, int]:
    """Return the multiple of the base point, as `(x, y)`."""
    raw = number.to_bytes(_BYTES, "big")
    return _sum(raw[16:], _BASE, raw[:16], _HIGH_BASE, feed)


def _sum(u: bytes, p: tuple[int, int], v: bytes, q: tuple[int, int], feed: object) -> tuple[int, int]:
    """Return `u*p + v*q` as `(x, y)`, and as `(0, 0)` if it is the point at infinity. `u` and `v` are equally long.

    Computed bit by bit for both at once, in Jacobian coordinates: (x, y, z) is the point (x/z^2, y/z^3).
    """
    point = (1, 1, 0)  # infinity
    for u_byte, v_byte in zip(u, v):  # noqa: B905 - MicroPython's zip has no strict=
        feed()  # type: ignore[operator]
        mask = 0x80
        while mask:
            point = _double(point)
            if u_byte & mask:
                point = _add(point, p)
            if v_byte & mask:
                point = _add(point, q)
            mask >>= 1
    x, y, z = point
    inverse = pow(z, _P - 2, _P)
    square = inverse * inverse % _P
    return x * square % _P, y * square % _P * inverse % _P


def _double(point: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return twice a point. Infinity stays infinity: z stays 0."""
    x, y, z = point
    delta = z * z % _P
    gamma = y * y % _P
    beta = x * gamma % _P
    alpha = 3 * (x - delta) * (x + delta) % _P
    x = (alpha * alpha - 8 * beta) % _P
    return x, (alpha * (4 * beta - x) - 8 * gamma * gamma) % _P, 2 * y * z % _P


def _add(point: tuple[int, int, int], other: tuple[int, int]) -> tuple[int, int, int]:
    """Return a point plus another one whose z is 1."""
    x, y, z = point
    if not z:
        return other[0], other[1], 1
    square = z * z % _P
    h = (other[0] * square - x) % _P
    t = (other[1] * square % _P * z - y) % _P
    if not h:  # the same x: the same point, or its opposite
        return (1, 1, 0) if t else _double(point)
    h2 = h * h % _P
    h3 = h2 * h % _P
    v = x * h2 % _P
    x = (t * t - h3 - 2 * v) % _P
    return x, (t * (v - x) - y * h3) % _P, z * h % _P
