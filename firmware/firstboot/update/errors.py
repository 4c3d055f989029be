"""The ends of an update that is not carried out."""

from firstboot.errors import FirstbootError


class Refused(FirstbootError):
    """A package that this board does not take; the message is the cause, for the server, too."""

    kind = "update"


class Delayed(FirstbootError):
    """A package that the server does not give at the moment, or an update that is not asked for any more.

    Attributes:
        retry_ms: the wait before it is asked for again, milliseconds.
    """

    kind = "update"

    def __init__(self, message: str, retry_ms: int = 60000) -> None:
        super().__init__(message)
        self.retry_ms = retry_ms
