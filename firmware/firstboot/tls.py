"""TLS with the server's certificate verified: against the CA in flash, for its name, and in time.

There is no other TLS here: a connection to an unknown peer protects no secret. stream.py has the connection; this is
loaded to set it up, and for the words for its errors. mbedTLS checks dates against the board's clock, which clock.py
has to have set.
"""

import gc
import ssl

from micropython import const

from firstboot import memory
from firstboot.errors import CertificateRefused, Closed, FirstbootError, NetworkError, ProtocolError, SettingsError
from firstboot.settings import Settings

# The CA's certificate, DER; several lie one after the other.
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


def prepare(settings: Settings, identity: tuple[bytes, bytes] | None = None) -> tuple[ssl.SSLContext, str, bool]:
    """Return a context with the pinned CA and the device's own certificate, the server's name, and if there is one.

    Args:
        settings: the board's own.
        identity: the device's `(certificate, key)`, DER both, for a server that requests one; the certificates above
            it may follow it.

    Raises:
        CertificateRefused: if there is no CA in the flash.
        SettingsError: if the identity is invalid.
    """
    try:
        with open(CA, "rb") as file:
            ca = file.read()
    except OSError as error:
        memory.check(error)
        raise CertificateRefused(_NO_CA)
    gc.collect()  # mbedTLS needs some 40 KiB at once, on some ports from the same heap
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_mode = ssl.CERT_REQUIRED  # type: ignore[attr-defined] # the default verifies nothing
    # mbedTLS reads one certificate of what it is given, and adds it to those that it has
    for each in memory.split(ca) or [ca]:
        try:
            context.load_verify_locations(cadata=each)
        except (OSError, ValueError) as error:
            memory.check_refusal(each, error)
            raise CertificateRefused("%s is not a certificate in DER form: put the server's CA there" % CA)
    if identity:
        for each in memory.split(identity[0]) or [b""]:
            try:
                context.load_cert_chain(each, identity[1])
            except (OSError, ValueError) as error:
                memory.check_refusal(each, error)
                raise SettingsError("the device's own certificate or key is not in DER form, or damaged")
    return context, settings.text("server.name") or settings.text("server.host"), bool(identity)


def translate(error: Exception, name: str, has_identity: bool) -> FirstbootError:
    """Return the error of this package that an exception of mbedTLS stands for.

    Args:
        error: an OSError or ValueError of a socket under TLS.
        name: the name that the server's certificate was to have.
        has_identity: whether the device has a certificate of its own.
    """
    if isinstance(error, OSError):
        return _failure(error.args[0] if error.args else 0, has_identity)
    # the reasons of a failed verification, a line each
    reasons = str(error)
    if "expired" in reasons or "future" in reasons:
        return CertificateRefused(
            "the server's certificate is not valid now: renew it on the server, or check this board's clock"
        )
    if "expected CN" in reasons:
        return CertificateRefused(
            "the server's certificate is not for %s: set server.name to a name that it is for" % name
        )
    return CertificateRefused(
        "the server's certificate is not signed by the CA in %s: put the server's own CA there, "
        "unless somebody pretends to be the server" % CA
    )


def _failure(number: int, has_identity: bool) -> FirstbootError:
    if _X509[0] < number < _X509[1] or number in _CERTIFICATE:
        return CertificateRefused("the server's certificate cannot be verified (TLS error -0x%x)" % -number)
    if number == _END:
        return Closed("the server closed the connection")
    if number == _ALERT:
        about = ": it may not accept this device's certificate" if has_identity else ""
        return NetworkError("the server ended TLS with an alert" + about)
    if number > _SYSTEM:
        return NetworkError("connection failed (%d)" % abs(number))
    return ProtocolError("the server does not speak TLS as we do (error -0x%x)" % -number)
