"""TLS with the server's certificate verified: against the CA in flash, for its name, and in time.

There is no other TLS here: a connection to an unknown peer protects no secret. Nothing here blocks;
stream.py waits. mbedTLS checks dates against the board's clock: clock.py has to have set it.
"""

import gc
import socket
import ssl

from micropython import const

from firstboot import memory
from firstboot.errors import CertificateRefused, Closed, FirstbootError, NetworkError, ProtocolError, SettingsError
from firstboot.settings import Settings

# The CA's certificate, DER.
CA = "/ca.der"
_NO_CA = (
    "no CA certificate in %s, so no server can be trusted: flash the board with the server's CA, "
    "or copy it there in DER form" % CA
)
# mbedTLS's error numbers (mbedtls/ssl.h, mbedtls/x509.h).
_X509 = (-0x3000, -0x2000)
_CERTIFICATE = (-0x7A00, -0x7680)  # not a certificate; no CA for it
_ALERT = const(-0x7780)
_END = const(-0x7280)
# Numbers above are the socket's, with mbedTLS's sign.
_SYSTEM = const(-0x100)


class Tls:
    """A TLS context: the pinned CA, the server's name, the device's own certificate.

    Args:
        settings: the board's own.
        identity: the device's `(certificate, key)`, DER both, for a server that requests one.

    Raises:
        CertificateRefused: if there is no CA in the flash.
        SettingsError: if the identity is invalid.
    """

    def __init__(self, settings: Settings, identity: tuple[bytes, bytes] | None = None) -> None:
        self._name = settings.text("server.name") or settings.text("server.host")
        self._has_identity = bool(identity)
        try:
            with open(CA, "rb") as file:
                ca = file.read()
        except OSError as error:
            memory.check(error)
            raise CertificateRefused(_NO_CA)
        gc.collect()  # mbedTLS needs some 40 KiB at once, on some ports from the same heap
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.verify_mode = ssl.CERT_REQUIRED  # type: ignore[attr-defined] # the default verifies nothing
        try:
            self._context.load_verify_locations(cadata=ca)
        except (OSError, ValueError) as error:
            memory.check_refusal(ca, error)
            raise CertificateRefused("%s is not a certificate in DER form: put the server's CA there" % CA)
        if identity:
            try:
                self._context.load_cert_chain(identity[0], identity[1])
            except (OSError, ValueError) as error:
                memory.check_refusal(identity[0], error)
                raise SettingsError("the device's own certificate or key is not in DER form, or damaged")

    def wrap(self, connection: socket.socket) -> socket.socket:
        """Return a connected socket under TLS; the handshake follows with the first reads and writes.

        Raises:
            FirstbootError: as `translate` returns it.
        """
        gc.collect()
        try:
            return self._context.wrap_socket(  # type: ignore[no-any-return]
                connection, server_hostname=self._name, do_handshake_on_connect=False
            )
        except (OSError, ValueError) as error:
            memory.check(error)
            raise self.translate(error)

    def translate(self, error: OSError | ValueError) -> FirstbootError:
        """Return the error of this package that an exception of mbedTLS stands for; raise MemoryError for that."""
        if isinstance(error, OSError):
            return self._failure(error.args[0] if error.args else 0)
        if memory.is_scarce():  # a signature that could not be computed counts as a wrong one
            raise MemoryError
        # the reasons of a failed verification, a line each
        reasons = str(error)
        if "expired" in reasons or "future" in reasons:
            return CertificateRefused(
                "the server's certificate is not valid now: renew it on the server, or check this board's clock"
            )
        if "expected CN" in reasons:
            return CertificateRefused(
                "the server's certificate is not for %s: set server.name to a name that it is for" % self._name
            )
        return CertificateRefused(
            "the server's certificate is not signed by the CA in %s: put the server's own CA there, "
            "unless somebody pretends to be the server" % CA
        )

    def _failure(self, number: int) -> FirstbootError:
        if _X509[0] < number < _X509[1] or number in _CERTIFICATE:
            return CertificateRefused("the server's certificate cannot be verified (TLS error -0x%x)" % -number)
        if number == _END:
            return Closed("the server closed the connection")
        if number == _ALERT:
            about = ": it may not accept this device's certificate" if self._has_identity else ""
            return NetworkError("the server ended TLS with an alert" + about)
        if number > _SYSTEM:
            return NetworkError("connection failed (%d)" % abs(number))
        return ProtocolError("the server does not speak TLS as we do (error -0x%x)" % -number)
