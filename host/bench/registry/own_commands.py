"""A mark on requests of commands that run on the data folder: their logins are not worth a row in the audit trail.

It proves that the sender has the folder's key, which is worth more than any login. It does not log anybody in.
"""

import hmac
import time
from collections.abc import Mapping
from pathlib import Path

from bench.registry.encryption import SecretBox

HEADER = "X-Bench-Command"
# A mark is valid in the window in which it was made, and in the next one.
_WINDOW_S = 60


def headers(folder: Path) -> dict[str, str]:
    """Return the mark as headers of a request, valid for a minute. The folder has a key."""
    return {HEADER: _mark(SecretBox.from_folder(folder), _window())}


def is_from(headers: Mapping[str, str], secret_box: SecretBox) -> bool:
    """Return whether a request has the mark."""
    shown, now = headers.get(HEADER, ""), _window()
    marks = [_mark(secret_box, each) for each in (now, now - 1)]
    return any(hmac.compare_digest(shown.encode(), each.encode()) for each in marks)


def _window() -> int:
    return int(time.time()) // _WINDOW_S


def _mark(secret_box: SecretBox, window: int) -> str:
    return secret_box.digest("command", str(window))
