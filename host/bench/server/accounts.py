"""Accounts' passwords, hashed and checked off the event loop, and the account that the first start makes."""

import asyncio
import json
import os
import secrets
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

from sqlalchemy.orm import Session

from bench import paths
from bench.errors import BenchError, NotFound, UsageError
from bench.registry import announcements, audit, passwords, users
from bench.registry.audit import Subject
from bench.registry.batching import Conflict
from bench.registry.files import OPERATOR_FILE
from bench.registry.model import User
from bench.registry.registry import Registry
from bench.server.limits import Limits

FILE = OPERATOR_FILE
FIRST = "operator@firstboot.local"
MIN_PASSWORD, MAX_PASSWORD = 6, 72
"""Characters."""
_PASSWORD_BYTES = 18


# Hashes of passwords at a time. They yield to whatever else this machine has to do.
_AT_ONCE = 2
_NICE = 10


def _step_back() -> None:
    """Have this thread wait for others: a thread of Linux has a priority of its own."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


_hashing = ThreadPoolExecutor(_AT_ONCE, "passwords", _step_back)


async def hashed(password: str, *, is_random: bool = False) -> str:
    """Return the hash of a password (see `passwords.hashed`)."""
    hash_it = partial(passwords.hashed, password, is_random=is_random)
    return await asyncio.get_running_loop().run_in_executor(_hashing, hash_it)


async def is_correct(registry: Registry, user: User | None, password: str) -> bool:
    """Return whether a password is a user's; takes as long for nobody."""
    check = partial(passwords.is_correct, registry.secret_box, user, password)
    return await asyncio.get_running_loop().run_in_executor(_hashing, check)


def limited_name(username: str) -> str:
    """Return the name of a user's account for the limits."""
    return f"user {username}"


async def remember_logins(registry: Registry, limits: Limits) -> None:
    """Have users served, whoever guesses at their passwords, where they logged in before this start."""
    for address, username in await registry.read(audit.logins):
        limits.succeeded(address, limited_name(username))


async def ensure_first(registry: Registry, folder: Path) -> None:
    """Make an operator's account if there is no account at all; its password is in a file for its owner alone.

    First the file and then the account, which is made from the file: whenever this is interrupted, the next start goes
    on. Nothing happens if the file is deleted later.

    Args:
        registry: Holds the accounts.
        folder: The data folder, for the file `operator.json`.

    Raises:
        BenchError: There is such a file, but it holds no account.
    """
    if await registry.read(users.any_exist):
        return
    path = folder / FILE
    is_ours = not path.exists()  # else a user may have chosen what is in it
    if is_ours:
        made = {"username": FIRST, "password": secrets.token_urlsafe(_PASSWORD_BYTES)}
        paths.write_private_once(path, json.dumps(made).encode() + b"\n")
    try:
        account = json.loads(path.read_bytes())
        username, password = str(account["username"]), str(account["password"])
    except (OSError, ValueError, LookupError, TypeError):
        raise BenchError(f"{path} holds no account, and the registry has none: delete the file") from None
    stored = await hashed(password, is_random=is_ours)
    try:
        await registry.write(users.create, username, None, password_hash=stored)
    except (Conflict, BenchError):
        if not await registry.read(users.any_exist):  # else another server was faster
            raise


async def reset_password(folder: Path, database_url: str | None, email: str, password: str | None) -> str:
    """Give an account another password, as whoever owns the data folder may. A running server knows it at once.

    If it is the account in `operator.json`, the file is written anew.

    Args:
        folder: The data folder.
        database_url: A PostgreSQL database that holds the accounts instead.
        email: The account; if empty, the one in `operator.json`, or else the one that a first start makes.
        password: The new password; None for a random one, which only `operator.json` gets to know.

    Returns:
        The account's e-mail address.

    Raises:
        UsageError: The password is too short or too long.
        NotFound: There is no such account.
    """
    file = folder / FILE
    own = _username(file)
    email = email or own
    is_random = password is None
    password = password if password is not None else secrets.token_urlsafe(_PASSWORD_BYTES)
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise UsageError(f"a password must have {MIN_PASSWORD} to {MAX_PASSWORD} characters")
    stored = await hashed(password, is_random=is_random)

    def change(session: Session) -> None:
        user = users.by_email(session, email)
        if user is None:
            raise NotFound(f"no user {email}: see bench user list")
        users.set_password(session, user.id, stored, instead_of=user.password_hash)
        row = audit.own_entry("user.credentials_updated", Subject.of(user))
        audit.record(session.connection(), [row])
        announcements.announce_users(session.connection())

    registry = await Registry.open(folder, database_url)
    try:
        await registry.write(change)
    finally:
        await registry.close()
    if email == own:
        paths.write_private(file, json.dumps({"username": email, "password": password}).encode() + b"\n")
    return email


def _username(file: Path) -> str:
    """Return the account in `operator.json`; that of a first start if there is no such file, or it is damaged."""
    try:
        return str(json.loads(file.read_bytes())["username"])
    except (OSError, ValueError, LookupError, TypeError):
        return FIRST
