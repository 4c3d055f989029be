"""A PostgreSQL that is restarted, or configured not to wait for its disk."""

import asyncio

import pytest
from sqlalchemy import text

from bench.registry.registry import Registry
from tests.support import postgres

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(postgres.programs() is None, reason="PostgreSQL is not installed"),
]


@pytest.fixture(scope="module")
def cluster():
    with postgres.Cluster(postgres.programs()) as running:
        yield running


def test_requests_after_a_restart_are_answered(tmp_path, cluster):
    async def scenario():
        registry = await Registry.open(tmp_path, cluster.database())
        try:
            await registry.ensure_default_profile()
            await registry.create_device("device", "default", token="the-token")
            await asyncio.gather(*(registry.profiles() for _ in range(8)))  # more than one connection
            cluster.restart()
            await registry.create_device("after", "default", token="another-token")
            login = await registry.token_login("the-token")
            await asyncio.gather(
                *(registry.save_telemetry(login.id, [(1, "a", n)]) for n in range(8)),
                *(registry.token_login("another-token") for _ in range(8)),
                *(registry.profiles() for _ in range(8)),
            )
            assert [each.name for each in await registry.devices()] == ["after", "device"]
        finally:
            await registry.close()

    asyncio.run(scenario())


def test_commit_waits_for_the_disk_whatever_the_database_is_set_to(tmp_path, cluster):
    async def scenario():
        url = cluster.database()
        name = url.partition("@/")[2].partition("?")[0]
        registry = await Registry.open(tmp_path, url)
        await registry.write(
            lambda session: session.execute(text(f"ALTER DATABASE {name} SET synchronous_commit = off"))
        )
        await registry.close()
        registry = await Registry.open(tmp_path, url)
        try:
            for way in (registry.write, registry.read):
                assert await way(lambda session: session.scalar(text("SHOW synchronous_commit"))) == "on"
        finally:
            await registry.close()

    asyncio.run(scenario())
