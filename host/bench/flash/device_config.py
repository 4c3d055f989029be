"""Configuration of a board: its maker's choices as settings and files, refused if they cannot work."""

import base64
import ipaddress
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from bench import addresses
from bench.boards import BoardDefinition
from bench.contract.credentials import BoardCredentialsType
from bench.contract.local_networks import is_local
from bench.contract.proof import claim_secret
from bench.errors import UsageError
from bench.input_files import pem

# mbedTLS copies them while it connects, and a chip then has some 12 KB left.
_CA_LIMIT = 6144
# A certificate and its key as a board's vault holds them: base64, in a slot of 4096 bytes with their names.
_PAIR_LIMIT = 3900
# The clock of the host that a board is made on may be fast.
_BACKDATED_S = 86400
# In steps, so that a board that is flashed again the next day has the same settings.
_STEP_S = 28 * 86400


class Transport(StrEnum):
    """Protocol of the provisioning request. Afterwards a board always speaks MQTT."""

    MQTT = "mqtt"
    HTTP = "http"
    COAP = "coap"


class Claim(StrEnum):
    """Proof of identity in the provisioning request: the profile's secret, a claim secret, or a proof of the latter."""

    SHARED = "shared"
    DEVICE = "device"
    PROOF = "proof"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Addresses of a server as boards reach it. A port of 0 is the default one."""

    host: str
    mqtt_port: int
    provision_port: int = 0
    """For the chosen transport, if that is not MQTT."""
    http_port: int | None = None
    """Port for the time of day (HTTP's `Date`); 0: there is none, None: the usual one."""
    http_tls: bool = False
    """That port speaks TLS."""
    ca: bytes = b""
    """The CA that signed its certificate, DER."""
    name: str = ""
    """A name in its certificate."""


@dataclass(frozen=True, kw_only=True)
class Choices:
    """A board's way to provision itself. `made_by`: `device`, `server`, `flash` or `claim` (docs/credentials.md)."""

    transport: Transport = Transport.MQTT
    tls: bool = False
    kind: BoardCredentialsType = BoardCredentialsType.ACCESS_TOKEN
    made_by: str = "device"
    claim: Claim = Claim.SHARED
    after_refusals: int = 0


def check(server: Place, choices: Choices) -> None:
    """Raise unless these choices can get a board online.

    Args:
        server: The addresses and the CA of the server.
        choices: The board's way to provision itself.

    Raises:
        UsageError: The firmware would refuse such settings, or never reach the server. The message has the option to
            change.
    """
    certificate = choices.kind is BoardCredentialsType.X509_CERTIFICATE
    if certificate and not choices.tls:
        raise UsageError("a certificate logs in over TLS only: add --tls")
    _check_maker(choices)
    if server.provision_port and choices.transport is Transport.MQTT:
        raise UsageError("--provision-port goes with --transport http or coap: over MQTT it is the port of --server")
    if choices.tls and not server.ca:
        raise UsageError("boards need the server's CA: start bench serve once, which makes one, or use --server-ca")
    address = _address(server.host)
    if choices.tls and address and not server.name:
        raise UsageError("boards check certificates by name, not by address: add --server-name, a name it is for")
    if address and not is_local(address):
        if not choices.tls:
            raise UsageError(f"{server.host} is a public address, and boards send it no secrets in clear: add --tls")
        if choices.transport is Transport.COAP:
            raise UsageError(f"{server.host} is a public address, and CoAP is in clear: use --transport mqtt or http")


def _check_maker(choices: Choices) -> None:
    """Raise UsageError for credentials that this maker does not make."""
    if choices.made_by == "claim" and choices.kind is not BoardCredentialsType.ACCESS_TOKEN:
        raise UsageError(f"--derived is an access token: leave out --credentials {choices.kind}")
    if choices.made_by == "claim" and choices.claim is Claim.SHARED:
        raise UsageError("--derived needs a secret that no other board has: add --claim proof")
    if choices.made_by == "server" and choices.kind is not BoardCredentialsType.ACCESS_TOKEN:
        raise UsageError(f"--server-made is a token that the server makes: leave out --credentials {choices.kind}")


def sections(server: Place, choices: Choices, *, now_s: int) -> dict[str, dict[str, Any]]:
    """Return the sections of settings.json that follow from these choices.

    Args:
        server: The addresses and the CA of the server.
        choices: The board's way to provision itself.
        now_s: Seconds since 1970. No board's clock is set to a time more than about four weeks before that.

    Raises:
        UsageError: As `check` does.
    """
    check(server, choices)
    provision: dict[str, Any] = {
        "transport": choices.transport.value,
        "credentials": choices.kind.value,
        "made_by": choices.made_by,
        "proof": choices.claim is Claim.PROOF,
        "after_refusals": choices.after_refusals,
    }
    if server.provision_port:
        provision["port"] = server.provision_port
    clock: dict[str, Any] = {"not_before": (now_s - _BACKDATED_S) // _STEP_S * _STEP_S}
    if server.http_port is not None:
        clock["http_port"] = server.http_port
    if server.http_tls:
        clock["http_tls"] = True
    address = _address(server.host)
    if addresses.is_loopback(server.host) and server.http_port != 0:
        clock["ntp"] = ""  # a board that reaches no more than this machine
    return {
        "server": {"tls": choices.tls, "name": server.name if choices.tls and address else ""},
        "provision": provision,
        "clock": clock,
    }


def wired(board: BoardDefinition) -> dict[str, dict[str, Any]]:
    """Return the sections for the hardware of a board: its LED, its button, its Ethernet."""
    pins = {name: pin for name, pin in (("led", board.led), ("button", board.button)) if pin >= 0}
    found: dict[str, dict[str, Any]] = {"board": pins} if pins else {}
    if board.ethernet:
        found["ethernet"] = asdict(board.ethernet)
    return found


def shown_secret(claim: Claim, profile_secret: str, device_name: str) -> str:
    """Return the secret that goes into a board's flash.

    Args:
        claim: The proof of identity that the board gives.
        profile_secret: The provisioning secret of its profile.
        device_name: The device's name.

    Returns:
        The profile's secret if it is shared, else the claim secret of this name.
    """
    return profile_secret if claim is Claim.SHARED else claim_secret(profile_secret, device_name)


def ca(path: Path) -> bytes:
    """Return the CAs in a PEM or DER file as boards hold them: DER, one after the other.

    Those that another one in the file has signed are left out, and what is not a CA: a board trusts them by that one.

    Args:
        path: The file.

    Raises:
        UsageError: The file holds no certificate, no CA, or more of them than boards have memory for.
        OSError: The file cannot be read.
    """
    cas = [each for each in dict.fromkeys(pem.certificates(path)) if _is_ca(each)]
    top = [each for each in cas if not any(pem.is_signed_by(each, other) for other in cas if other is not each)]
    if not cas:
        raise UsageError(f"{path} holds no CA: name the certificate that the server's is signed with")
    found = b"".join(each.public_bytes(serialization.Encoding.DER) for each in top or cas)
    if len(found) > _CA_LIMIT:
        raise UsageError(
            f"{path} holds {len(top or cas)} CAs of {len(found)} bytes, and boards have memory for {_CA_LIMIT}: "
            "name a file with those that sign the server's certificate"
        )
    return found


def pair(certificate_file: Path, key_file: Path) -> dict[str, bytes]:
    """Return the files of a board whose certificate and key were made elsewhere.

    Args:
        certificate_file: PEM or DER; with the board's own those above it, which the board shows, too.
        key_file: Its key, P-256 or RSA, PEM or DER, not encrypted.

    Returns:
        `device.crt`, with the certificates above the board's own behind it, and `device.key`, both DER.

    Raises:
        UsageError: The files hold no certificate or no key that boards can use, do not belong together, or are too
            large for a vault slot (4096 bytes).
        OSError: A file cannot be read.
    """
    key = pem.private_key(key_file)
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise UsageError(f"{key_file} has a key that boards cannot use: make one for P-256 or RSA")
    chain = pem.chain(key, pem.certificates(certificate_file))
    if not chain:
        raise UsageError(f"{key_file} is not the key of a certificate in {certificate_file}")
    form = (serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    files = {
        "device.crt": b"".join(each.public_bytes(serialization.Encoding.DER) for each in chain),
        "device.key": key.private_bytes(serialization.Encoding.DER, *form),
    }
    size = sum(len(base64.b64encode(each)) for each in files.values())
    if size > _PAIR_LIMIT:
        raise UsageError(
            f"{certificate_file} and {key_file} take {size} bytes, a board has room for {_PAIR_LIMIT}: "
            "use a P-256 key, and leave out certificates that the server has"
        )
    return files


def _address(host: str) -> ipaddress.IPv4Address | None:
    try:
        return ipaddress.IPv4Address(host)
    except ValueError:
        return None


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return certificate.issuer == certificate.subject
