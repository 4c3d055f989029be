"""Test certificates for boards: one valid, three that they must refuse."""

import shutil
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from bench import paths
from bench.server.tls import authority

# Long enough ago for a certificate of two years to have ended.
_LONG_AGO = timedelta(days=1200)
_ELSEWHERE = "somebody-else.example"


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """TLS contexts of a server, one for each certificate; `ca` is the CA's certificate, DER, that boards trust.

    Boards have to refuse a certificate of another CA, for another name, and one that has expired.
    """

    ca: bytes
    good: ssl.SSLContext
    other_ca: ssl.SSLContext
    wrong_name: ssl.SSLContext
    expired: ssl.SSLContext


def make(data: Path, names: tuple[str, ...]) -> Certificates:
    """Make the certificates of a server.

    Args:
        data: The server's data folder, whose own CA stays.
        names: Host names and IP addresses by which boards reach it.

    Returns:
        A context for each certificate.

    Raises:
        BenchError: Files in the data folder are damaged or do not belong together, or the CA has expired.
        UsageError: A name is invalid.
    """
    good = authority.ensure(data, names)
    assert good.ca
    wrong = paths.private_folder(data / "wrong")
    now = datetime.now(UTC)
    return Certificates(
        ca=good.ca.public_bytes(serialization.Encoding.DER),
        good=_context(good),
        other_ca=_context(authority.ensure(_emptied(wrong / "other_ca"), names)),
        wrong_name=_context(authority.ensure(_with_ca(data, wrong / "wrong_name"), (_ELSEWHERE,))),
        expired=_context(authority.ensure(_with_ca(data, wrong / "expired"), names, now=now - _LONG_AGO)),
    )


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return paths.private_folder(folder)


def _with_ca(data: Path, folder: Path) -> Path:
    """Return a data folder with the same CA, and no certificate yet."""
    place = paths.private_folder(_emptied(folder) / authority.FOLDER)
    for name in (authority.CA_CERTIFICATE, authority.CA_KEY):
        paths.write_private(place / name, (data / authority.FOLDER / name).read_bytes())
    return folder


def _context(identity: authority.Identity) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    identity.load_into(context)
    return context
