"""The package's exceptions, with one root."""


class FirstbootError(Exception):
    """Root of all exceptions that the package raises on purpose.

    Attributes:
        kind: a short stable word for event lines; the message is for people.
    """

    kind = "error"


class SettingsError(FirstbootError):
    """Missing or invalid settings (`/settings.json`)."""

    kind = "settings"


class VaultError(FirstbootError):
    """A record that did not reach the flash as it was written."""

    kind = "vault"


class LinkError(FirstbootError):
    """No Wi-Fi or Ethernet link.

    Attributes:
        kind: the reason: `wrong_password`, `not_found`, `no_network` or `link`.
    """

    kind = "link"

    def __init__(self, message: str, kind: str = "link") -> None:
        super().__init__(message)
        self.kind = kind


class NetworkError(FirstbootError):
    """No connection to the server, or one that broke.

    Attributes:
        retry_ms: the wait that the server asked for, milliseconds; 0 if it asked for none.
    """

    kind = "network"
    retry_ms = 0


class CertificateRefused(NetworkError):
    """A server certificate that the pinned CA did not sign, or not for this name and time."""

    kind = "certificate"


class PlaintextRefused(FirstbootError):
    """Secrets that would have left the local network in clear."""

    kind = "plaintext"


class ClockError(NetworkError):
    """No source of the time, without which no certificate can be verified."""

    kind = "clock"


class Timeout(NetworkError):
    """No answer from the server in time."""

    kind = "timeout"


class Closed(NetworkError):
    """A connection closed by the server."""

    kind = "closed"


class ProtocolError(NetworkError):
    """Something from the server that is not in the protocol."""

    kind = "garbage"


class LoginRefused(NetworkError):
    """A login that the server refused.

    Attributes:
        code: CONNACK's return code (MQTT 3.1.1, 3.2.2.3).
        credentials: whether the refusal is about the credentials.
    """

    kind = "refused"

    def __init__(self, code: int) -> None:
        super().__init__("the server refused the login (CONNACK %d)" % code)
        self.code = code
        # only these two are about the credentials: bad user name or password, not authorised.
        self.credentials = code in (4, 5)


class NotFound(FirstbootError):
    """A provisioning key and secret that no profile has."""

    kind = "not_found"


class Rejected(FirstbootError):
    """A device that the server will not provision, and whose credentials do not log in."""

    kind = "rejected"
