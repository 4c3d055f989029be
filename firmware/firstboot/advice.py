"""Events with longer texts for people, loaded only when one of them is due."""

from micropython import const

from firstboot import address, events
from firstboot.errors import FirstbootError, LoginRefused
from firstboot.settings import Settings

# Sessions in a row that the server ended soon after the login: fewer may be a server that restarts.
_DISPLACED = const(3)
_REFUSED_FIX = (
    "the server no longer knows this device's credentials: restore them there, enter the new ones here "
    "(firstboot credentials), or provision the device anew (firstboot reset credentials)"
)
_DISPLACED_FIX = (
    "the server ends each session soon: most often another board has a copy of this one's flash, and logs in as "
    "the same device. Have one of them provision anew (firstboot reset credentials), or flash it again"
)


def refused(error: LoginRefused, name: str, count: int) -> None:
    """Emit that the server refused the login with every credential, `count` times in a row."""
    events.emit("refused", code=error.code, count=count, fix=_REFUSED_FIX, name=name)


def offline(error: FirstbootError, settings: Settings, name: str, ended: int) -> None:
    """Emit that an attempt failed, with the server's host and port.

    Args:
        error: its reason; the clock's names its own sources.
        settings: the board's own.
        name: the device's name.
        ended: sessions in a row that ended soon after the login; 0 if this attempt did not log in.
    """
    detail = str(error)
    if error.kind != "clock":
        detail = address.named(error, settings.text("server.host"), settings.port())
    events.emit("offline", kind=error.kind, detail=detail)
    if ended >= _DISPLACED and error.kind in ("closed", "network"):
        events.emit("displaced", count=ended, fix=_DISPLACED_FIX, name=name)
