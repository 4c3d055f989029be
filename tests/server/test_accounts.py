"""Accounts on a data folder: the one that the first start makes, and passwords that are set anew."""

import asyncio
import json
import os
import re
import stat

import pytest

from bench.errors import BenchError, NotFound, UsageError
from bench.registry import audit, users
from bench.registry.audit import Origin
from bench.registry.registry import Registry
from bench.server import accounts
from bench.server.limits import Limits, Rules

FIRST = "operator@firstboot.local"
RANDOM = re.compile(r"[A-Za-z0-9_-]{24}")


def on(folder, scenario):
    """Run `scenario(registry)` on a data folder, and return its result."""

    async def main():
        registry = await Registry.open(folder, None)
        try:
            return await scenario(registry)
        finally:
            await registry.close()

    return asyncio.run(main())


def start(folder):
    on(folder, lambda registry: accounts.ensure_first(registry, folder))


def is_password(folder, email, password):
    async def check(registry):
        return await accounts.is_correct(registry, await registry.read(users.by_email, email), password)

    return on(folder, check)


def emails(folder):
    return on(folder, lambda registry: registry.read(lambda session: [each.email for each in users_of(session)]))


def users_of(session):
    return session.query(users.User).order_by(users.User.email).all()


def reset(folder, email="", password=None):
    return asyncio.run(accounts.reset_password(folder, None, email, password))


def stored(folder):
    return json.loads((folder / "operator.json").read_bytes())


@pytest.fixture
def folder(tmp_path):
    """A data folder with the account of its first start."""
    start(tmp_path)
    return tmp_path


# The first start.


def test_first_start_makes_one_account_whose_password_is_in_a_file_for_its_owner(folder):
    path = folder / "operator.json"
    assert stored(folder)["username"] == FIRST
    assert RANDOM.fullmatch(stored(folder)["password"])
    assert path.read_bytes().endswith(b"}\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert is_password(folder, FIRST, stored(folder)["password"])
    before = path.read_bytes()
    start(folder)
    assert (path.read_bytes(), emails(folder)) == (before, [FIRST])


def test_second_start_does_not_make_a_file_that_was_deleted(folder):
    (folder / "operator.json").unlink()
    start(folder)
    assert not (folder / "operator.json").exists()


def test_first_start_takes_the_account_that_a_file_names(tmp_path):
    (tmp_path / "operator.json").write_text('{"username": "ann@example.com", "password": "chosen"}')
    (tmp_path / "operator.json").chmod(0o600)
    start(tmp_path)
    assert emails(tmp_path) == ["ann@example.com"]
    assert is_password(tmp_path, "ann@example.com", "chosen")


@pytest.mark.parametrize("content", ["", "{", "[]", "1", '{"username": "a@b.example"}', '{"password": "x"}'])
def test_first_start_refuses_a_file_that_names_no_account(tmp_path, content):
    (tmp_path / "operator.json").write_text(content)
    (tmp_path / "operator.json").chmod(0o600)
    with pytest.raises(BenchError, match="holds no account, and the registry has none: delete the file"):
        start(tmp_path)
    assert emails(tmp_path) == []


def test_first_start_refuses_a_file_with_an_address_that_is_none(tmp_path):
    (tmp_path / "operator.json").write_text('{"username": "nobody", "password": "chosen"}')
    (tmp_path / "operator.json").chmod(0o600)
    with pytest.raises(BenchError):
        start(tmp_path)


def test_first_starts_at_once_make_one_account(tmp_path):
    async def both(first):
        second = await Registry.open(tmp_path, None)
        try:
            await asyncio.gather(*(accounts.ensure_first(each, tmp_path) for each in (first, second)))
        finally:
            await second.close()

    on(tmp_path, both)
    assert emails(tmp_path) == [FIRST]
    assert is_password(tmp_path, FIRST, stored(tmp_path)["password"])


# Resetting.


@pytest.mark.parametrize("length", [0, 5, 73])
def test_reset_refuses_a_password_that_is_too_short_or_too_long(folder, length):
    with pytest.raises(UsageError, match="a password must have 6 to 72 characters"):
        reset(folder, password="x" * length)
    assert is_password(folder, FIRST, stored(folder)["password"])


def test_reset_of_nobody_is_refused(folder):
    before = stored(folder)
    with pytest.raises(NotFound, match=r"no user nobody@example\.com: see bench user list"):
        reset(folder, "nobody@example.com", "new-password")
    assert stored(folder) == before


@pytest.mark.parametrize("password", ["x" * 6, "y" * 72])
def test_reset_sets_the_password_that_is_given_and_writes_the_file(folder, password):
    assert reset(folder, password=password) == FIRST
    assert stored(folder) == {"username": FIRST, "password": password}
    assert stat.S_IMODE((folder / "operator.json").stat().st_mode) == 0o600
    assert (folder / "operator.json").read_bytes().endswith(b"}\n")
    assert is_password(folder, FIRST, password)


@pytest.mark.parametrize("damage", ["missing", "{", "[]"])
def test_reset_without_a_password_makes_a_random_one_for_the_file(folder, damage):
    before, path = stored(folder)["password"], folder / "operator.json"
    path.unlink() if damage == "missing" else path.write_text(damage)
    assert reset(folder) == FIRST
    assert RANDOM.fullmatch(stored(folder)["password"])
    assert stored(folder)["password"] != before
    assert is_password(folder, FIRST, stored(folder)["password"])
    assert not is_password(folder, FIRST, before)


def test_reset_of_another_account_leaves_the_file_alone_and_is_in_the_trail(folder):
    before = stored(folder)
    on(folder, lambda registry: registry.write(lambda session: users.create(session, "ann@example.com", None) and None))
    assert reset(folder, "ann@example.com", "new-password") == "ann@example.com"
    assert stored(folder) == before
    assert is_password(folder, "ann@example.com", "new-password")
    assert is_password(folder, FIRST, before["password"])
    (row,) = on(folder, lambda registry: registry.read(lambda session: audit.find(session, limit=9)))
    assert (row.who, row.what) == (f"uid {os.geteuid()} on this machine", "user.credentials_updated")
    assert (row.entity, row.transport, row.result) == ("ann@example.com", "cli", "SUCCESS")
    assert row.entity_id is not None


def test_reset_ends_what_was_stamped_with_the_old_password(folder):
    """Tokens are stamped with the hash: one that stays the same would keep them."""

    def hashes():
        return on(folder, lambda registry: registry.read(users.by_email, FIRST)).password_hash

    before = hashes()
    reset(folder, password=stored(folder)["password"])
    assert hashes() != before


# Limits and hashing.


def test_logins_of_before_are_known_after_a_start(folder):
    limits = Limits(Rules())
    row = audit.entry(Origin("192.0.2.1", "http"), who="ann", what="user.login", entity="ann", result="SUCCESS")

    async def scenario(registry):
        await registry.record(row)
        await accounts.remember_logins(registry, limits)

    on(folder, scenario)
    assert accounts.limited_name("ann") == "user ann"
    assert limits.is_known("192.0.2.1", "user ann")
    assert not limits.is_known("192.0.2.1", "ann")
    assert not limits.is_known("192.0.2.2", "user ann")


def test_password_of_nobody_is_never_correct(folder):
    async def check(registry):
        return await accounts.is_correct(registry, None, "")

    assert on(folder, check) is False


def test_passwords_are_hashed_two_at_a_time_by_threads_that_step_back():
    assert accounts._hashing._max_workers == 2
    nice = accounts._hashing.submit(lambda: os.getpriority(os.PRIO_PROCESS, __import__("threading").get_native_id()))
    if os.uname().sysname == "Linux":
        assert nice.result(10) == min(19, 10 + os.nice(0))
