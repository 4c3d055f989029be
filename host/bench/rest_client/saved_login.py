"""A login that later commands use: the server, the account, and tokens that are renewed, in one private file."""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import platformdirs

from bench import paths
from bench.errors import BenchError


@dataclass(frozen=True, kw_only=True)
class SavedLogin:
    """One user's login at one server, or their API key. That and its tokens are secret; the password is not kept."""

    url: str
    user: str
    ca: str = ""
    """The path of the certificates to trust; empty: the system's."""
    token: str = field(default="", repr=False)
    refresh_token: str = field(default="", repr=False)
    api_key: str = field(default="", repr=False)

    def renewed(self, token: str, refresh_token: str) -> "SavedLogin":
        """Keep new tokens, and return the login with them."""
        found = replace(self, token=token, refresh_token=refresh_token)
        save(found)
        return found


def file() -> Path:
    """Return the path of the file, in the user's folder for configuration (XDG)."""
    return platformdirs.user_config_path("firstboot") / "login.json"


def load() -> SavedLogin | None:
    """Return the saved login; None if there is none.

    Raises:
        BenchError: The file is damaged, or others may read it.
    """
    path = file()
    try:
        text, mode = path.read_bytes(), path.stat().st_mode
    except FileNotFoundError:
        return None
    if mode & 0o077:
        raise BenchError(f"others may read {path}, which lets them in: bench logout, then bench login again")
    try:
        return SavedLogin(**{key: str(value) for key, value in json.loads(text).items()})
    except (ValueError, TypeError, AttributeError):
        raise BenchError(f"{path} is damaged: bench logout, then bench login again") from None


def save(login: SavedLogin) -> None:
    """Write the file, with mode 0600 from its first byte."""
    path = file()
    paths.private_folder(path.parent)
    paths.write_private(path, json.dumps(asdict(login)).encode())


def forget() -> None:
    """Remove the file."""
    file().unlink(missing_ok=True)
