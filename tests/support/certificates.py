"""Certificates for tests: any subject, dates and signer, right or wrong."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Made:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: object

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def subject(*names: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])


def make(
    name="device",
    *,
    issuer: Made | None = None,
    signer: Made | None = None,
    key=None,
    begin=NOW - DAY,
    end=NOW + DAY,
    ca=False,
    path_length=None,
    named: x509.Name | None = None,
    alternative=None,
    more: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> Made:
    """Make a certificate with `issuer` as its issuer, signed by `signer` (the issuer); self-signed without both.

    `ca` None leaves the basic constraints out; `more` are extensions, each with whether it is critical.
    """
    key = key or ec.generate_private_key(ec.SECP256R1())
    named = subject(name) if named is None else named
    signer = signer or issuer
    builder = (
        x509.CertificateBuilder()
        .subject_name(named)
        .issuer_name(issuer.certificate.subject if issuer else named)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
    for extension, critical in more:
        builder = builder.add_extension(extension, critical=critical)
    if alternative:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternative), critical=False)
    signing = signer.key if signer else key
    digest = None if isinstance(signing, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return Made(builder.sign(signing, digest), key)


def usage(*wanted: str) -> x509.KeyUsage:
    """Return a key usage with only these."""
    every = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    every += ("key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{each: each in wanted for each in every})


def line(length: int) -> list[Made]:
    """Make a chain of this many certificates, leaf first, each signed by the next."""
    made = [make("root", ca=True)]
    while len(made) < length:
        made.insert(0, make(f"level {len(made)}", issuer=made[0], ca=len(made) < length - 1))
    return made


def write(folder: Path, name: str, *chain: Made) -> tuple[Path, Path]:
    """Write the chain and the leaf's key as PEM files; return their paths."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    certificate.write_bytes(b"".join(each.pem for each in chain))
    key.write_bytes(chain[0].key_pem)
    return certificate, key
