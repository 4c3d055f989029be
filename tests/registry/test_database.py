"""The database: what is on the disk, whose it is, and what happens to a damaged one."""

import asyncio
import os
import sqlite3
import stat
import sys
from contextlib import closing

import pytest

from bench.errors import BenchError
from bench.registry.files import DATABASE_FILE
from bench.registry.provision_type import ProvisionType
from bench.registry.provisioning import ProvisionRequest
from bench.registry.registry import Registry

CREATE = ProvisionType.ALLOW_CREATE_NEW_DEVICES


def run(folder, scenario):
    """Run `scenario(registry)` with the registry of a folder."""

    async def main():
        registry = await Registry.open(folder)
        try:
            return await scenario(registry)
        finally:
            await registry.close()

    return asyncio.run(main())


def request_for(profile, **fields):
    return ProvisionRequest(**{"key": profile.provision_key, "secret": profile.provision_secret, **fields})


def test_success_is_on_the_disk_when_it_is_sent(tmp_path):
    async def scenario(registry):
        profile = await registry.create_profile("mine", CREATE)
        for n in range(5):
            outcome = await registry.provision(request_for(profile, device_name=f"name-{n}"))
            with closing(sqlite3.connect(tmp_path / DATABASE_FILE)) as other:
                found = other.execute(
                    "SELECT lookup, value FROM device, credentials, attribute WHERE name = ?"
                    " AND credentials.device_id = device.id AND attribute.device_id = device.id",
                    (f"name-{n}",),
                ).fetchall()
            assert found == [(registry.secret_box.digest(outcome.credentials.id), '"provisioned"')]

    run(tmp_path, scenario)


def test_commit_is_synced(tmp_path):
    async def scenario(registry):
        def pragma(session, name):
            return session.connection().exec_driver_sql(f"PRAGMA {name}").scalar()

        assert await registry.write(pragma, "synchronous") == 2  # FULL
        assert await registry.write(pragma, "foreign_keys") == 1

    run(tmp_path, scenario)


def test_registry_is_found_again(tmp_path):
    async def first(registry):
        profile = await registry.ensure_default_profile()
        await registry.provision(request_for(profile, device_name="name", token="token"))
        return profile.provision_secret

    async def second(registry):
        assert await registry.ensure_default_profile() is None
        assert (await registry.token_login("token")).name == "name"
        return (await registry.profile("default")).provision_secret

    assert run(tmp_path, first) == run(tmp_path, second)


def test_data_folder_and_files_are_their_owner_s_alone(tmp_path):
    before = os.umask(0)
    try:

        async def scenario(registry):
            await registry.ensure_default_profile()
            return {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data").iterdir()}

        modes = run(tmp_path / "data", scenario)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    assert modes == dict.fromkeys(
        (DATABASE_FILE, f"{DATABASE_FILE}-wal", f"{DATABASE_FILE}-shm", f"{DATABASE_FILE}.lock", "secrets.key"), 0o600
    )


@pytest.mark.parametrize("content", [b"this is no database\n" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_file_that_is_no_database_is_one_line_and_stays_as_it_is(tmp_path, content):
    (tmp_path / DATABASE_FILE).write_bytes(content)
    with pytest.raises(BenchError) as caught:
        run(tmp_path, lambda _: None)
    assert str(tmp_path / DATABASE_FILE) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (tmp_path / DATABASE_FILE).read_bytes() == content


def test_registry_of_a_newer_bench_is_one_line(tmp_path):
    async def nothing(_registry):
        pass

    run(tmp_path, nothing)
    with closing(sqlite3.connect(tmp_path / DATABASE_FILE)) as other, other:
        other.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(BenchError) as caught:
        run(tmp_path, nothing)
    assert str(tmp_path / DATABASE_FILE) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_registries_that_open_a_new_folder_at_once_all_open(tmp_path):
    async def scenario():
        for n in range(5):
            opened = await asyncio.gather(*(Registry.open(tmp_path / str(n)) for _ in range(4)))
            await opened[0].create_profile("mine", CREATE)
            for registry in opened:
                assert (await registry.profile("mine")).name == "mine"
            await asyncio.gather(*(registry.close() for registry in opened))

    asyncio.run(scenario())


def test_error_of_the_database_shows_no_secret(tmp_path):
    async def scenario(registry):
        profile = await registry.create_profile("mine", CREATE)
        with closing(sqlite3.connect(tmp_path / DATABASE_FILE)) as other, other:
            other.execute("ALTER TABLE credentials RENAME COLUMN lookup TO gone")
        with pytest.raises(Exception, match="lookup") as caught:
            await registry.provision(request_for(profile, device_name="its-name", token="its-token"))
        for secret in (profile.provision_key, profile.provision_secret, "its-token"):
            assert secret not in str(caught.value)
        with pytest.raises(Exception, match="lookup") as caught:
            await registry.token_login("its-token")
        assert "its-token" not in str(caught.value)

    run(tmp_path, scenario)


def test_postgresql_without_asyncpg_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(BenchError, match=r"firstboot\[postgresql\]"):
        asyncio.run(Registry.open(tmp_path, "postgresql+asyncpg://user:secret@127.0.0.1:1/name"))


@pytest.mark.parametrize(
    "url", ["postgresql+asyncpg://u:a-password@127.0.0.1:1/n", "postgresql+asyncpg://u@/n?host=/none"]
)
def test_postgresql_that_cannot_be_reached_is_one_line(tmp_path, url):
    with pytest.raises(BenchError) as caught:
        asyncio.run(Registry.open(tmp_path, url))
    text = str(caught.value)
    assert "\n" not in text
    assert "<class" not in text
    assert "a-password" not in text


@pytest.mark.slow
def test_database_that_postgresql_does_not_have_is_one_line(tmp_path, cluster):
    for url in (cluster.database() + "-none", cluster.database().replace("postgres@", "nobody@")):
        name, _, host = url.partition("?")
        with pytest.raises(BenchError, match="does not exist") as caught:
            asyncio.run(Registry.open(tmp_path, f"{name.replace('-none', '')}x?{host.replace('-none', '')}"))
        assert "\n" not in str(caught.value)
        assert "<class" not in str(caught.value)
