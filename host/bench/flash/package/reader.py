"""Reading packages as strictly as a board: whatever is not exactly as written is refused."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import UsageError
from bench.flash.package import manifest as manifests
from bench.flash.package import signing
from bench.flash.package.form import HEAD, MAGIC, inflate
from bench.flash.package.manifest import Manifest, PackageError

_SIZE_LIMIT = HEAD.size + manifests.HEAD_LIMIT + manifests.LIST_LIMIT + manifests.FILES_LIMIT * manifests.FILE_LIMIT
_CURE = "make it again with bench firmware pack"


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
    if length > manifests.HEAD_LIMIT:
        raise PackageError(f"a head of {length:,} bytes, the limit is {manifests.HEAD_LIMIT:,}")
    signed, rest = data[HEAD.size : HEAD.size + length], memoryview(data)[HEAD.size + length :]
    if len(signed) < length:
        raise PackageError("cut off in the head")
    if hashlib.sha256(signed).digest() != sha256:
        raise PackageError("damaged: the head has another SHA-256")
    is_signed = signature != signing.UNSIGNED
    if key and not (is_signed and signing.is_signed_by(key, signed, signature)):
        raise PackageError(f"{'signed by another key' if is_signed else 'not signed'}")
    head, listing = manifests.parse_head(signed)
    if head.key and not is_signed:
        raise PackageError("a new key, and no signature")
    packed, content = bytes(rest[: listing.length]), rest[listing.length :]
    manifest = manifests.parse_list(head, listing, _content(packed, "the list", listing.size, listing.sha256))
    if len(content) != manifest.size:
        raise PackageError(f"{len(content):,} bytes of content, where the manifest has {manifest.size:,}")
    files, start = {}, 0
    for each in manifest.files:
        packed = bytes(content[start : start + each.length])
        files[each.path] = _content(packed, each.path, each.size, each.sha256)
        start += each.length
    return Package(manifest=manifest, files=files, _signature=signature, _signed=signed)


def _content(packed: bytes, what: str, size: int, sha256: str) -> bytes:
    """Return a content of the package from how it stands there."""
    try:
        found = inflate(packed, size)
    except ValueError as error:
        raise PackageError(f"{what} is {error}") from None
    if hashlib.sha256(found).hexdigest() != sha256:
        raise PackageError(f"damaged: {what} has another SHA-256")
    return found
