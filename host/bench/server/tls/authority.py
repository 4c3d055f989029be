"""The server's certificate: issued by a CA of its own, made on the first start, or the user's."""

import ipaddress
import re
import ssl
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bench import paths
from bench.errors import BenchError, UsageError
from bench.input_files import pem
from bench.registry.files import TLS_FOLDER

FOLDER = TLS_FOLDER
CA_CERTIFICATE, CA_KEY = "ca.pem", "ca.key"
CERTIFICATE, KEY = "server.pem", "server.key"
DEFAULT_NAMES = ("localhost", "127.0.0.1")

# Boards' clocks are off, and those of the hosts they are made on.
_BACKDATED = timedelta(days=1)
_CA_LIFE = timedelta(days=3650)
# Apple's systems accept no server certificate that lives longer than 825 days, whoever signed it.
_LIFE = timedelta(days=730)
_RENEW_BEFORE = timedelta(days=30)

_KEY_FORM = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


@dataclass(frozen=True)
class Identity:
    """A certificate with those above it, leaf first, its key, and the file that it is from."""

    certificate_file: Path
    chain: tuple[x509.Certificate, ...]
    key: PrivateKeyTypes = field(repr=False, compare=False)  # its public half is in the certificate

    @property
    def certificate(self) -> x509.Certificate:
        """The server's own certificate."""
        return self.chain[0]

    @property
    def ca(self) -> x509.Certificate | None:
        """The certificate that boards have to trust: the chain's last; None if the user's file has only the leaf."""
        last = self.chain[-1]
        return last if len(self.chain) > 1 or last.issuer == last.subject else None

    @property
    def names(self) -> list[str]:
        """The host names and addresses that the certificate is for."""
        try:
            found = self.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except (x509.ExtensionNotFound, ValueError):
            return []
        return [str(name.value) for name in found.value if isinstance(name, (x509.DNSName, x509.IPAddress))]

    def load_into(self, context: ssl.SSLContext) -> None:
        """Have a context show the certificate, with those above it.

        Raises:
            ssl.SSLError: OpenSSL does not accept it, e.g. a key that is too short.
        """
        # The standard library takes them from a file only; this one is 0600, and gone at once.
        with tempfile.NamedTemporaryFile() as file:
            file.write(self.key.private_bytes(*_KEY_FORM) + pem.encode(*self.chain).encode())
            file.flush()
            context.load_cert_chain(file.name)


def fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of the DER form as openssl prints it: upper-case hex with colons."""
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def ca_file(data: Path) -> Path:
    """Return the path of a data folder's CA, as PEM."""
    return data / FOLDER / CA_CERTIFICATE


def ensure(data: Path, names: Sequence[str] = DEFAULT_NAMES, *, now: datetime | None = None) -> Identity:
    """Return the server's own certificate for these names, in `<data>/tls/`; what is missing is made.

    A certificate that ends within 30 days, or is not for all the names, is issued anew for the same key; the CA is
    kept. Keys are written before their certificates, each file whole or not at all: a start that was killed is
    finished by the next one.

    Args:
        data: The data folder.
        names: Host names and IP addresses.
        now: The time of issue; by default the present.

    Raises:
        BenchError: Files are damaged or do not belong together, or the CA has expired.
        UsageError: A name is invalid.
    """
    now = now or datetime.now(UTC)
    wanted = [_general_name(name) for name in names]
    folder = paths.private_folder(data / FOLDER)
    if not (folder / CA_CERTIFICATE).exists():
        ca_key = _made_key(folder / CA_KEY, _ca_cure(folder))
        paths.write_private(folder / CA_CERTIFICATE, pem.encode(_issue_ca(ca_key, now)).encode(), is_durable=True)
    ca, ca_key = _ca(folder)
    if ca.not_valid_after_utc <= now:
        raise BenchError(f"{folder / CA_CERTIFICATE} has expired: {_ca_cure(folder)}")
    if not (folder / CERTIFICATE).exists() or not _is_good(_own(folder, ca), wanted, now):
        key = _made_key(folder / KEY, _cure(folder))
        leaf = _issue_leaf(key, ca, ca_key, wanted, now)
        paths.write_private(folder / CERTIFICATE, pem.encode(leaf, ca).encode(), is_durable=True)
    return _own(folder, ca)


def existing(data: Path) -> Identity:
    """Return what `ensure` has made.

    Raises:
        BenchError: There is nothing yet, or it is damaged.
    """
    folder = data / FOLDER
    if not (folder / CERTIFICATE).exists():
        raise BenchError(f"no certificate in {folder}: bench serve makes one, or name its folder with --data")
    return _own(folder, _ca(folder)[0])


def load(certificate_file: Path, key_file: Path) -> Identity:
    """Return the user's own certificate, with those above it, and its key: PEM or DER, in any order.

    Raises:
        BenchError: A file cannot be read, or they do not belong together; the message has the cure.
    """
    cure = "name the server's certificate and its key"
    key = _key(key_file, cure)
    chain = pem.chain(key, certificates(certificate_file, cure))
    if not chain:
        raise BenchError(f"{key_file} is not the key of a certificate in {certificate_file}: {cure}")
    return Identity(certificate_file, tuple(chain), key)


@contextmanager
def _cured(cure: str) -> Iterator[None]:
    """Have what is wrong with a file end with the cure."""
    try:
        yield
    except OSError as error:
        raise BenchError(f"{error.filename}: {error.strerror}: {cure}") from error
    except UsageError as error:
        raise BenchError(f"{error}: {cure}") from error.__cause__


def certificates(path: Path, cure: str) -> tuple[x509.Certificate, ...]:
    """Return all certificates in a file, at least one.

    Raises:
        BenchError: It holds none; the message ends with the cure.
    """
    with _cured(cure):
        return tuple(pem.certificates(path))


def _key(path: Path, cure: str) -> PrivateKeyTypes:
    with _cured(cure):
        return pem.private_key(path)


def _ca(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    ca = certificates(folder / CA_CERTIFICATE, _ca_cure(folder))[0]
    key = _key(folder / CA_KEY, _ca_cure(folder))
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not pem.chain(key, [ca]):
        raise BenchError(f"{folder / CA_KEY} is not the key of {CA_CERTIFICATE}: {_ca_cure(folder)}")
    return ca, key


def _own(folder: Path, ca: x509.Certificate) -> Identity:
    chain, key = certificates(folder / CERTIFICATE, _cure(folder)), _key(folder / KEY, _cure(folder))
    identity = Identity(folder / CERTIFICATE, chain, key)
    if not pem.chain(key, chain[:1]):
        raise BenchError(f"{folder / KEY} is not the key of {CERTIFICATE}: {_cure(folder)}")
    if identity.chain[1:] != (ca,) or not pem.is_signed_by(identity.certificate, ca):
        raise BenchError(f"{folder / CERTIFICATE} is not of the CA in {CA_CERTIFICATE}: {_cure(folder)}")
    return identity


def _cure(folder: Path) -> str:
    return f"restore it, or delete {folder / CERTIFICATE} and {folder / KEY}: bench serve makes new ones"


def _ca_cure(folder: Path) -> str:
    return f"restore it, or delete {folder}: bench serve makes a new CA, which all boards then need"


def _is_good(identity: Identity, wanted: Sequence[x509.GeneralName], now: datetime) -> bool:
    certificate = identity.certificate
    in_time = certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc - _RENEW_BEFORE
    return in_time and {str(name.value) for name in wanted} <= set(identity.names)


def _made_key(path: Path, cure: str) -> ec.EllipticCurvePrivateKey:
    """Return the key in this file, which is made if it does not exist."""
    if not path.exists():
        new = ec.generate_private_key(ec.SECP256R1())
        paths.write_private(path, new.private_bytes(*_KEY_FORM), is_durable=True)
    key = _key(path, cure)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise BenchError(f"{path} is not a key on an elliptic curve: {cure}")
    return key


def _issue_ca(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    # Several benches' CAs in one trust store are told apart by name.
    name = _name(f"firstboot CA {identifier.digest.hex()[:8]}")
    return (
        _builder(name, name, key.public_key(), now, now + _CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )


def _issue_leaf(
    key: ec.EllipticCurvePrivateKey,
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    names: Sequence[x509.GeneralName],
    now: datetime,
) -> x509.Certificate:
    public = key.public_key()
    end = min(now + _LIFE, ca.not_valid_after_utc)
    return (
        _builder(_name("firstboot server"), ca.subject, public, now, end)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage("digital_signature"), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(end)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(*wanted: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{usage: usage in wanted for usage in _USAGES})


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name.partition("%")[0]))  # a zone is this host's business
    except ValueError:
        lower = name.lower()
        if len(lower) > 253 or not all(_LABEL.fullmatch(label) for label in lower.split(".")):
            raise UsageError(f"{name!r} is not a host name: write one like bench.local, or an IP address") from None
        return x509.DNSName(lower)
