"""What can go wrong on the device, with one root."""


class FirstbootError(Exception):
    """Root of all errors the package raises on purpose.

    `kind` is a short stable word for event lines; the message is for people.
    """

    kind = "error"


class SettingsError(FirstbootError):
    """`/settings.json` is missing or wrong."""

    kind = "settings"


class VaultError(FirstbootError):
    """A record did not reach the flash as it was written."""

    kind = "vault"


class LinkError(FirstbootError):
    """No Wi-Fi or Ethernet link; `kind` says why: `wrong_password`, `not_found`, `no_network` or `link`."""

    kind = "link"

    def __init__(self, message: str, kind: str = "link") -> None:
        super().__init__(message)
        self.kind = kind


class NetworkError(FirstbootError):
    """The server was not reached, or the connection broke.

    `retry_ms` is how long the server asks to be left alone, 0 if it did not.
    """

    kind = "network"
    retry_ms = 0


class CertificateRefused(NetworkError):
    """The server's certificate is not one that the pinned CA signed for this name and time."""

    kind = "certificate"


class PlaintextRefused(FirstbootError):
    """Secrets would have left the local network in clear."""

    kind = "plaintext"


class ClockError(NetworkError):
    """Nobody told the time, and without it no certificate can be judged."""

    kind = "clock"


class Timeout(NetworkError):
    """The server did not answer in time."""

    kind = "timeout"


class Closed(NetworkError):
    """The server closed the connection."""

    kind = "closed"


class ProtocolError(NetworkError):
    """The server sent something that is not the protocol."""

    kind = "garbage"


class Refused(NetworkError):
    """The server refused the login. `code` is CONNACK's return code (MQTT 3.1.1, 3.2.2.3)."""

    kind = "refused"

    def __init__(self, code: int) -> None:
        super().__init__("the server refused the login (CONNACK %d)" % code)
        self.code = code
        # Only these two speak about the credentials: bad user name or password, not authorised.
        self.credentials = code in (4, 5)


class NotFound(FirstbootError):
    """No profile has this provisioning key and secret."""

    kind = "not_found"


class Rejected(FirstbootError):
    """The server will not provision this name, and no secret we hold logs in."""

    kind = "rejected"
