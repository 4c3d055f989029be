"""Reading packages as strictly as a board: whatever is not exactly as written is refused."""

import hashlib
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import UsageError
from bench.flash.package import manifest as manifests
from bench.flash.package import signing
from bench.flash.package.form import HEAD, MAGIC, WINDOW_BITS
from bench.flash.package.manifest import Manifest, PackagedFile, PackageError

_SIZE_LIMIT = HEAD.size + manifests.MANIFEST_LIMIT + manifests.FILES_LIMIT * manifests.FILE_LIMIT
_CURE = "make it again with bench firmware pack"
# Input for one step of zlib, which copies what it has not used.
_PIECE = 64


@dataclass(frozen=True, kw_only=True)
class Package:
    """A package whose bytes are all as its manifest has them."""

    manifest: Manifest
    files: dict[str, bytes] = field(repr=False)
    _signature: bytes = field(repr=False)
    _signed: bytes = field(repr=False)

    @property
    def is_signed(self) -> bool:
        """True if it has a signature, of whomever."""
        return self._signature != signing.UNSIGNED

    def is_signed_by(self, public: str) -> bool:
        """Return whether the owner of a public key (130 hex digits) signed it."""
        return self.is_signed and signing.is_signed_by(public, self._signed, self._signature)


def read_file(path: Path, key: str = "") -> Package:
    """Return the package in a file. Raises as `read` does, and OSError."""
    if path.stat().st_size > _SIZE_LIMIT:
        raise PackageError(f"{path} is not a package: it has {path.stat().st_size:,} bytes, {_SIZE_LIMIT:,} at most")
    return read(path.read_bytes(), str(path), key)


def read(data: bytes, name: str, key: str = "") -> Package:
    """Return a package.

    Args:
        data: The whole of it.
        name: Of its file, for messages.
        key: The public key (130 hex digits) of whoever must have signed it; empty: anybody or nobody.

    Raises:
        PackageError: It is not a package, is damaged, breaks a rule of the format, or is not signed by the key.
    """
    try:
        return _read(data, key)
    except UsageError as error:
        raise PackageError(f"{name}: {error}: {_CURE}") from None


def _read(data: bytes, key: str) -> Package:
    if not data.startswith(MAGIC):
        raise PackageError("not a package")
    if len(data) < HEAD.size:
        raise PackageError(f"cut off after {len(data)} bytes")
    _, length, signature, sha256 = HEAD.unpack_from(data)
    if length > manifests.MANIFEST_LIMIT:
        raise PackageError(f"a manifest of {length:,} bytes, the limit is {manifests.MANIFEST_LIMIT:,}")
    signed, content = data[HEAD.size : HEAD.size + length], memoryview(data)[HEAD.size + length :]
    if len(signed) < length:
        raise PackageError("cut off in the manifest")
    if hashlib.sha256(signed).digest() != sha256:
        raise PackageError("damaged: the manifest has another SHA-256")
    is_signed = signature != signing.UNSIGNED
    if key and not (is_signed and signing.is_signed_by(key, signed, signature)):
        raise PackageError(f"{'signed by another key' if is_signed else 'not signed'}")
    manifest = manifests.parse(signed)
    if manifest.head.key and not is_signed:
        raise PackageError("a new key, and no signature")
    if len(content) != manifest.size:
        raise PackageError(f"{len(content):,} bytes of content, where the manifest has {manifest.size:,}")
    files, start = {}, 0
    for each in manifest.files:
        files[each.path] = _inflate(bytes(content[start : start + each.length]), each)
        start += each.length
    return Package(manifest=manifest, files=files, _signature=signature, _signed=signed)


def _inflate(packed: bytes, wanted: PackagedFile) -> bytes:
    """Return a file's content; never more than the manifest has of it, however much is packed."""
    found = packed if wanted.length == wanted.size else _inflated(packed, wanted)
    if hashlib.sha256(found).hexdigest() != wanted.sha256:
        raise PackageError(f"damaged: {wanted.path} has another SHA-256")
    return found


def _inflated(packed: bytes, wanted: PackagedFile) -> bytes:
    """Inflate byte by byte: in longer steps zlib lets copies reach further back than the window that a board has."""
    inflater = zlib.decompressobj(-WINDOW_BITS)
    found = bytearray()
    try:
        for start in range(0, len(packed), _PIECE):
            left = packed[start : start + _PIECE]
            while left and not inflater.eof and len(found) <= wanted.size:
                found += inflater.decompress(left, 1)
                left = inflater.unconsumed_tail
            if inflater.unused_data or (left and inflater.eof):
                raise PackageError(f"{wanted.path} is longer in the package than its content")
        while len(found) <= wanted.size and (more := inflater.decompress(b"", 1)):
            found += more
    except zlib.error:
        raise PackageError(f"damaged: {wanted.path} cannot be inflated") from None
    if not inflater.eof or len(found) != wanted.size:
        raise PackageError(f"{wanted.path} is not inflated to {wanted.size:,} bytes")
    return bytes(found)
