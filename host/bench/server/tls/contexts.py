"""TLS contexts: the standard library's for HTTPS, and one for MQTT that accepts any client certificate.

Python's ssl requests a client certificate only to verify it. Devices show certificates that no one the server knows has
signed, and are known by the certificate itself. So MQTT's side is done by pyOpenSSL, behind what asyncio expects of an
`ssl.SSLContext` and an `ssl.SSLObject`.
"""

import asyncio.sslproto
import ssl
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import ParamSpec, TypeVar, cast

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL, crypto
from OpenSSL._util import lib  # for the error queue, which pyOpenSSL has no function for

from bench.errors import BenchError
from bench.server.tls import authority, chain
from bench.server.tls.authority import Identity

# Forward secrecy and no SHA-1: what Python's ssl chooses by itself, and OpenSSL does not (RSA key exchange, PSK, SRP).
_CIPHERS = "@SECLEVEL=2:ECDH+AESGCM:ECDH+CHACHA20:ECDH+AES:DHE+AES:!aNULL:!eNULL:!aDSS:!SHA1:!AESCCM:!PSK:!SRP"
_RECORD = 16 * 1024  # all that one read can give (RFC 8446, section 5.1)
_CHUNK = 64 * 1024

# asyncio keeps a buffer for each TLS connection, as long as it lives, of 256 KiB; one read never gives more than this.
asyncio.sslproto.SSLProtocol.max_size = _RECORD

P = ParamSpec("P")
T = TypeVar("T")


def https_context(identity: Identity) -> ssl.SSLContext:
    """Return a server's context, TLS 1.2 and later.

    Raises:
        BenchError: OpenSSL does not accept the certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslobject_class = _Alerting
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    try:
        identity.load_into(context)
    except ssl.SSLError as error:
        raise _unusable(identity.certificate_file, error.reason.replace("_", " ").lower()) from error
    return context


def mqtt_context(identity: Identity, client_ca: Path | None = None) -> ssl.SSLContext:
    """Return a context for `loop.create_server(ssl=...)`, TLS 1.2 and later, that requests a client certificate.

    None is required, and any chain is accepted whose certificates are each signed by the next one. The chain is
    `transport.get_extra_info("ssl_object").peer_chain()`. Sessions are not resumed: a resumed one would come without
    its chain.

    Args:
        identity: The server's.
        client_ca: A PEM file; chains also have to lead to one of the CAs in it, and be valid now.

    Raises:
        BenchError: OpenSSL does not accept the files.
    """
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION)
    context.set_cipher_list(_CIPHERS.encode())
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)  # most connections are idle most of the time
    try:
        context.use_certificate(identity.certificate)
        for above in identity.chain[1:]:
            context.add_extra_chain_cert(above)
        context.use_privatekey(cast("ec.EllipticCurvePrivateKey", identity.key))  # or of another kind for signing
    except SSL.Error as error:
        raise _unusable(identity.certificate_file, _reason(error)) from error
    except TypeError:  # a key for something else, such as X25519
        raise _unusable(identity.certificate_file, "its key cannot sign") from None
    if client_ca:
        _trust(context, client_ca)
    context.set_verify(SSL.VERIFY_PEER, None if client_ca else _accept_any)
    # asyncio uses nothing of a context but wrap_bio()
    return cast("ssl.SSLContext", _Context(context))


def reload(https: ssl.SSLContext, mqtt: ssl.SSLContext, identity: Identity, client_ca: Path | None) -> None:
    """Have new connections shown another certificate; those that are open go on.

    Args:
        https: As `https_context` made it.
        mqtt: As `mqtt_context` made it.
        identity: The new certificate.
        client_ca: As for `mqtt_context`.

    Raises:
        BenchError: OpenSSL does not accept the files. Nothing has changed then.
    """
    https_context(identity)
    cast("_Context", mqtt).replace(cast("_Context", mqtt_context(identity, client_ca)))
    identity.load_into(https)


class _Alerting(ssl.SSLObject):
    """A connection of the standard library's, whose failed handshake ends with an alert."""

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError:
            _send_alert(sys._getframe(1))  # noqa: SLF001 - see there
            raise


def _send_alert(caller: FrameType) -> None:
    """Have asyncio send the alert that OpenSSL made: at an error it closes, and drops what is yet to be sent.

    asyncio has no way to ask for that. Without the alert a device does not know why it is refused.

    Args:
        caller: asyncio's SSLProtocol, at the handshake.
    """
    if (send := getattr(caller.f_locals.get("self"), "_process_outgoing", None)) is not None:
        send()


class TlsSession:
    """A connection: what asyncio uses of an `ssl.SSLObject`, and the client's certificates.

    Bytes go from `incoming` to OpenSSL only when it has nothing left: asyncio's flow control looks at how many are
    waiting there.
    """

    def __init__(self, context: SSL.Context, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> None:
        self._connection = SSL.Connection(context, None)
        self._connection.set_accept_state()
        self._incoming = incoming
        self._outgoing = outgoing
        self._peer_chain: list[bytes] = []

    def peer_chain(self) -> list[bytes]:
        """Return the client's certificates, DER, leaf first; empty if it showed none."""
        return self._peer_chain

    def do_handshake(self) -> None:
        try:
            self._run(self._handshake)
        except ssl.SSLWantReadError:
            raise
        except ssl.SSLError:
            _send_alert(sys._getframe(1))  # noqa: SLF001 - see there
            raise

    def read(self, size: int, buffer: memoryview | None = None) -> bytes | int:
        """Read up to `size` bytes, as bytes or into the buffer; none after the client's close_notify."""
        try:
            if buffer is None:
                return self._run(self._connection.recv, min(size, _RECORD))
            return self._run(self._connection.recv_into, buffer, min(size, _RECORD))
        except ssl.SSLZeroReturnError:
            return b"" if buffer is None else 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Write all of the data: memory is never full."""
        return self._run(self._connection.sendall, data) if data else 0

    def unwrap(self) -> None:
        self._run(self._shutdown)

    def getpeercert(self) -> None:
        """Return nothing: what asyncio asks for after a handshake is `peer_chain` here."""

    def cipher(self) -> tuple[str | None, str | None, int | None]:
        connection = self._connection
        return connection.get_cipher_name(), connection.get_cipher_version(), connection.get_cipher_bits()

    def compression(self) -> None:
        """Return nothing: it is off."""

    def pending(self) -> int:
        return self._connection.pending()

    def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Let OpenSSL work on what was received, and pass on what it sends. Raises as an SSLObject does."""
        # Before 4.0 OpenSSL mistakes what another connection or a certificate left there for this one's error.
        lib.ERR_clear_error()
        try:
            while True:
                try:
                    return work(*args, **kwargs)
                except SSL.WantReadError:
                    received = self._incoming.read()
                    if not received:
                        raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "more is to come") from None
                    self._connection.bio_write(received)
        except SSL.ZeroReturnError:
            raise ssl.SSLZeroReturnError(ssl.SSL_ERROR_ZERO_RETURN, "the client closed the session") from None
        except SSL.Error as error:
            raise ssl.SSLError(ssl.SSL_ERROR_SSL, _reason(error)) from None
        finally:
            for chunk in self._outgoing_bytes():
                self._outgoing.write(chunk)

    def _outgoing_bytes(self) -> Iterator[bytes]:
        """Yield what OpenSSL sends, each byte once."""
        with suppress(SSL.WantReadError):  # that was all
            while True:
                yield self._connection.bio_read(_CHUNK)

    def _handshake(self) -> None:
        self._connection.do_handshake()
        shown = _client_certificates(self._connection)
        if not chain.is_signed(shown):
            deque(self._outgoing_bytes(), maxlen=0)  # the client must not see a success
            raise ssl.SSLCertVerificationError(ssl.SSL_ERROR_SSL, "a certificate is not signed by the next one")
        self._peer_chain = chain.to_der(shown)

    def _shutdown(self) -> None:
        """Send close_notify, and wait for the client's."""
        if not self._connection.shutdown() and not self._connection.shutdown():
            raise SSL.WantReadError


class _Context:
    """The part of an `ssl.SSLContext` that asyncio uses."""

    def __init__(self, context: SSL.Context) -> None:
        self._context = context

    def replace(self, other: "_Context") -> None:
        """Use the other one's settings for connections from now on."""
        self._context = other._context  # noqa: SLF001 - its own class

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002 - ssl.SSLContext's signature
        server_hostname: str | None = None,
        session: None = None,
    ) -> TlsSession:
        if not server_side or server_hostname or session:
            raise ValueError("for servers only")
        return TlsSession(self._context, incoming, outgoing)


def _client_certificates(connection: SSL.Connection) -> list[x509.Certificate]:
    """Return the client's certificates. On a server OpenSSL keeps the leaf apart from the rest."""
    try:
        with chain.quiet():
            leaf = connection.get_peer_certificate(as_cryptography=True)
            rest = connection.get_peer_cert_chain(as_cryptography=True)
    except Exception:  # noqa: BLE001 - hostile certificates find every one there is
        raise ssl.SSLCertVerificationError(ssl.SSL_ERROR_SSL, "a certificate that cannot be read") from None
    return [leaf, *(rest or [])] if leaf else []


def _trust(context: SSL.Context, client_ca: Path) -> None:
    store = context.get_cert_store()
    assert store
    try:
        for ca in authority.certificates(client_ca, "name a file with the CAs of client certificates"):
            store.add_cert(crypto.X509.from_cryptography(ca))
            context.add_client_ca(ca)
    except (SSL.Error, crypto.Error) as error:
        raise _unusable(client_ca, _reason(error)) from error
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)  # one of these CAs may be below another


def _accept_any(*_: object) -> bool:
    return True


def _reason(error: SSL.Error | crypto.Error) -> str:
    """Return OpenSSL's reason: pyOpenSSL has (library, function, reason) triples, or an errno and a text."""
    entries = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return "; ".join(entry[-1] for entry in entries) or "TLS failed"


def _unusable(path: Path, reason: str) -> BenchError:
    return BenchError(f"{path} cannot be used for TLS ({reason}): name another file")
