"""Retention: what is beyond its age or size goes, the oldest first, in small transactions, and nothing else."""

import json
import uuid

import pytest
from sqlalchemy import delete, func, insert, select

from bench.registry import audit, calls, profiles, pruning
from bench.registry.calls import CallStatus, NewCall
from bench.registry.model import Audit, PersistentCall, Telemetry, TelemetryHistory
from bench.registry.retention import DAYS, MEGABYTES, Retention
from tests.support.registries import device
from tests.support.servers import on_both_databases

DAY = 86_400_000
NOW = 1_800_000_000_000
NEVER = Retention(history_days=0, history_mb=0, audit_days=0, audit_rows=0, calls_days=0)


async def fill(registry, device_id, key, times, value="1"):
    rows = [{"device_id": device_id, "key": key, "ts_ms": ts, "value": value} for ts in times]

    def store(session):
        session.execute(insert(TelemetryHistory), rows)
        session.add(Telemetry(device_id=device_id, key=key, ts_ms=max(times), value=value))

    await registry.write(store)


async def times(registry, device_id, key):
    statement = select(TelemetryHistory.ts_ms).where(
        TelemetryHistory.device_id == device_id, TelemetryHistory.key == key
    )
    return await registry.read(lambda session: sorted(session.scalars(statement)))


def count_writes(registry, monkeypatch):
    """Return the numbers of rows that each transaction deletes."""
    deleted = []
    count = pruning._count
    monkeypatch.setattr(pruning, "_count", lambda *args: deleted.append(count(*args)) or deleted[-1])
    return deleted


@on_both_databases
def test_history_ends_with_its_age_and_the_latest_values_stay(run):
    async def scenario(registry):
        first, second = await device(registry, "a"), await device(registry, "b")
        for each, key in ((first, "t"), (first, "u"), (second, "t")):
            await fill(registry, each, key, [NOW - 91 * DAY, NOW - 90 * DAY, NOW - DAY])
        await fill(registry, second, "old", [NOW - 100 * DAY, NOW - 95 * DAY])
        done = await pruning.prune(registry, Retention(), NOW)
        assert done.history == 5
        assert await times(registry, first, "u") == [NOW - 90 * DAY, NOW - DAY]
        assert await times(registry, second, "old") == []
        assert (await registry.device("b")).telemetry["old"] == 1
        assert (await pruning.prune(registry, Retention(), NOW)).history == 0

    run(scenario)


@on_both_databases
def test_profile_has_an_age_and_a_size_of_its_own(run):
    async def scenario(registry):
        found = [await device(registry, name, name) for name in ("usual", "short", "ever", "odd")]

        def configure(session):
            for name, details in (("short", {DAYS: 1.5}), ("ever", {DAYS: 0, MEGABYTES: 0}), ("odd", {DAYS: "x"})):
                profiles.by_name(session, name).details = details

        await registry.write(configure)
        for each in found:
            await fill(registry, each, "t", [NOW - 1000 * DAY, NOW - 3 * DAY, NOW - DAY])
        await pruning.prune(registry, Retention(), NOW)
        assert [len(await times(registry, each, "t")) for each in found] == [2, 1, 3, 2]

    run(scenario)


@on_both_databases
def test_without_limits_nothing_goes(run):
    async def scenario(registry):
        one = await device(registry, "a")
        await fill(registry, one, "t", range(5000))
        await registry.record({**audit.entry(audit.UNKNOWN_ORIGIN, what="x", entity="", result="y"), "ts_ms": 1})
        assert await pruning.prune(registry, NEVER, NOW) == pruning.Pruned(history=0, calls=0, audit=0)

    run(scenario)


@on_both_databases
def test_much_is_deleted_in_small_transactions(run, monkeypatch):
    async def scenario(registry):
        one = await device(registry, "a")
        await fill(registry, one, "long", range(7_001))
        for n in range(150):
            await fill(registry, one, f"k{n}", range(20))
        deleted = count_writes(registry, monkeypatch)
        assert (await pruning.prune(registry, Retention(), NOW)).history == 7_001 + 150 * 20
        assert max(deleted) <= 1000
        assert (
            await registry.read(lambda session: session.scalar(select(func.count()).select_from(TelemetryHistory))) == 0
        )

    run(scenario)


@on_both_databases
def test_who_sends_too_much_loses_their_own_oldest_values_and_nobody_else_any(run, monkeypatch):
    async def scenario(registry):
        loud, quiet, other = [await device(registry, name) for name in ("loud", "quiet", "other")]
        foreign = await device(registry, "foreign", "another")
        big = json.dumps("x" * 200)
        await fill(registry, loud, "flood", range(NOW, NOW + 9_000), big)
        await fill(registry, loud, "rare", range(NOW, NOW + 10), big)
        for each in (quiet, other, foreign):
            await fill(registry, each, "t", range(NOW, NOW + 500), big)
        deleted = count_writes(registry, monkeypatch)
        done = await pruning.prune(registry, Retention(history_mb=1), NOW)
        left = await times(registry, loud, "flood")
        assert 1_500 < len(left) < 3_000
        assert left[-1] == NOW + 8_999
        assert left == list(range(left[0], left[-1] + 1))
        assert done.history == 9_000 - len(left)
        assert max(deleted) <= 1000
        assert len(await times(registry, loud, "rare")) == 10
        assert [len(await times(registry, each, "t")) for each in (quiet, other, foreign)] == [500] * 3
        assert (await pruning.prune(registry, Retention(history_mb=1), NOW)).history == 0

    run(scenario)


@pytest.mark.parametrize(
    ("sizes", "limit", "part"),
    [([5, 5], 10, float("inf")), ([1, 9], 8, 7), ([4, 4, 4], 6, 2), ([1, 2, 100], 33, 30), ([], 1, float("inf"))],
)
def test_share_leaves_the_small_ones_what_they_have(sizes, limit, part):
    found = pruning.share(dict(enumerate(sizes)), limit)
    assert found == part
    assert sum(min(each, found) for each in sizes) == min(limit, sum(sizes))


@on_both_databases
def test_persistent_calls_that_are_over_end_with_their_age(run):
    async def scenario(registry):
        await registry.ensure_default_profile()
        await registry.create_device("device", "default", token="the-token")
        device_id = (await registry.token_login("the-token")).id

        async def keep(days, expires_ms):
            new = NewCall(id=uuid.uuid4(), expires_ms=expires_ms, oneway=True, method="m", params="null")
            return (await registry.write(calls.create, device_id, new, NOW - days * DAY)).id

        old = [await keep(days, NOW - days * DAY) for days in (100, 91)]
        waits = await keep(91, NOW + DAY)
        kept = [waits, await keep(89, 0), await keep(1, 0)]
        assert (await pruning.prune(registry, NEVER, NOW)).calls == 0
        assert (await pruning.prune(registry, Retention(), NOW)).calls == len(old)
        assert (
            await registry.read(lambda s: list(s.scalars(select(PersistentCall.id).order_by(PersistentCall.number))))
            == kept
        )
        await registry.write(
            lambda s: s.execute(delete(PersistentCall).where(PersistentCall.created_ms > NOW - 90 * DAY))
        )
        await registry.write(calls.advance, waits, CallStatus.DELIVERED)
        assert (await pruning.prune(registry, Retention(), NOW)).calls == 1  # none is newer

    run(scenario)


def rows(*wanted):
    return [
        {**audit.entry(audit.UNKNOWN_ORIGIN, who=who, what=what, entity="", result=result), "ts_ms": ts}
        for who, what, result, ts in wanted
    ]


async def trail(registry):
    return await registry.read(lambda session: [(row.who, row.ts_ms) for row in session.scalars(select(Audit))])


@on_both_databases
def test_audit_ends_with_its_age(run):
    async def scenario(registry):
        made = rows(*(("me", "x", "SUCCESS", NOW - days * DAY) for days in (500, 366, 364, 1)))
        await registry.write(lambda session: session.execute(insert(Audit), made))
        assert (await pruning.prune(registry, Retention(), NOW)).audit == 2
        assert [ts for _, ts in await trail(registry)] == [NOW - 364 * DAY, NOW - DAY]

    run(scenario)


@on_both_databases
def test_flood_of_refusals_does_not_push_out_what_operators_did(run, monkeypatch):
    async def scenario(registry):
        changes = rows(*(("me", "device.added", "SUCCESS", NOW + n) for n in range(30)))
        flood = rows(
            *(("device", "login", "refused", NOW + n) for n in range(4_000)),
            *((f"guess-{n}", "user.login", "refused", NOW + n) for n in range(1_000)),
        )
        for made in (changes, flood):
            await registry.write(lambda session, made=made: session.execute(insert(Audit), made))
        deleted = count_writes(registry, monkeypatch)
        done = await pruning.prune(registry, Retention(audit_rows=500), NOW)
        left = await trail(registry)
        assert done.audit == 4_500
        assert max(deleted) <= 1000
        assert [who for who, _ in left].count("me") == 30
        assert {who for who, _ in left if who != "me"} == {f"guess-{n}" for n in range(500, 1_000)}
        await pruning.prune(registry, Retention(audit_rows=20), NOW)
        assert [ts for who, ts in await trail(registry) if who == "me"] == [NOW + n for n in range(10, 30)]

    run(scenario)
