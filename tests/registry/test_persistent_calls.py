"""Persistent calls in the database: which status follows which, what there is room for, and what goes with the time."""

import uuid

import pytest

from bench.errors import Refused, UnknownId
from bench.registry import calls
from bench.registry.calls import CallStatus, NewCall
from bench.registry.model import PersistentCall
from bench.registry.pages import PageQuery
from tests.support.registries import device
from tests.support.servers import on_both_databases

NOW = 1_800_000_000_000
QUEUED, SENT, DELIVERED, TIMEOUT = CallStatus.QUEUED, CallStatus.SENT, CallStatus.DELIVERED, CallStatus.TIMEOUT
SUCCESSFUL, EXPIRED, FAILED = CallStatus.SUCCESSFUL, CallStatus.EXPIRED, CallStatus.FAILED


def new(**fields):
    return NewCall(
        **{
            "id": uuid.uuid4(),
            "expires_ms": NOW + 1000,
            "oneway": False,
            "method": "m",
            "params": "{}",
            **fields,
        }
    )


async def create(registry, device_id, now_ms=NOW, **fields):
    return (await registry.write(calls.create, device_id, new(**fields), now_ms)).id


async def apply(registry, call_id, event):
    if event is SUCCESSFUL:
        await registry.write(calls.answer, call_id, '{"ok":true}')
    elif event is EXPIRED:
        await registry.write(calls.expire, NOW + 1000)
    else:
        await registry.write(calls.advance, call_id, event)


# What happens, one after the other, and the status in the end.
TWO_WAY = [
    ([], QUEUED),
    ([SENT], SENT),
    ([SENT, DELIVERED], DELIVERED),
    ([DELIVERED, SENT], DELIVERED),  # the acknowledgement was faster
    ([DELIVERED, TIMEOUT], DELIVERED),  # of a message before
    ([TIMEOUT], QUEUED),
    ([SENT, TIMEOUT], TIMEOUT),
    ([SENT, TIMEOUT, TIMEOUT], TIMEOUT),
    ([SENT, TIMEOUT, SENT], SENT),
    ([SENT, TIMEOUT, DELIVERED], DELIVERED),
    ([SUCCESSFUL], SUCCESSFUL),
    ([SENT, SUCCESSFUL], SUCCESSFUL),
    ([SENT, DELIVERED, SUCCESSFUL], SUCCESSFUL),
    ([SENT, TIMEOUT, SUCCESSFUL], SUCCESSFUL),
    *(([*before, EXPIRED], EXPIRED) for before in ([], [SENT], [SENT, TIMEOUT], [SENT, DELIVERED])),
    *(([SUCCESSFUL, event], SUCCESSFUL) for event in (SENT, DELIVERED, TIMEOUT, EXPIRED)),
    *(([EXPIRED, event], EXPIRED) for event in (SENT, DELIVERED, TIMEOUT, SUCCESSFUL)),
]
ONE_WAY = [
    ([SENT, DELIVERED], DELIVERED),
    ([DELIVERED], DELIVERED),
    *(([DELIVERED, event], DELIVERED) for event in (SENT, TIMEOUT, EXPIRED, SUCCESSFUL)),
    ([SENT, SUCCESSFUL, DELIVERED], SUCCESSFUL),  # answered all the same
]


@on_both_databases
def test_status_follows_what_happened(run):
    async def scenario(registry):
        device_id = await device(registry, "a")
        for oneway, cases in ((False, TWO_WAY), (True, ONE_WAY)):
            for events, expected in cases:
                call_id = await create(registry, device_id, oneway=oneway)
                for event in events:
                    await apply(registry, call_id, event)
                call = await registry.read(calls.get, call_id)
                assert call.status == expected, (oneway, events)
                finished = expected in (SUCCESSFUL, EXPIRED) or (oneway and expected is DELIVERED)
                assert call.is_open is not finished, (oneway, events)
                await registry.write(lambda session, call=call: calls.delete(session, session.merge(call)))

    run(scenario)


@pytest.mark.parametrize(("retries", "sends"), [(None, 6), (0, 1), (-3, 1), (2, 3), (5, 6), (1000, 6)], ids=str)
def test_call_fails_when_it_was_sent_as_often_as_it_may_be(run, retries, sends):
    async def scenario(registry):
        call_id = await create(registry, await device(registry, "a"), retries=retries)
        for left in reversed(range(sends)):
            assert await registry.write(calls.advance, call_id, SENT)
            is_open = await registry.write(calls.advance, call_id, TIMEOUT)
            call = await registry.read(calls.get, call_id)
            assert (call.status, is_open) == ((TIMEOUT, True) if left else (FAILED, False))
        assert "all retry attempts have been exhausted" in call.response
        for late in (SENT, DELIVERED, TIMEOUT):
            assert not await registry.write(calls.advance, call_id, late)
        assert not await registry.write(calls.answer, call_id, "1")
        assert (await registry.read(calls.get, call_id)).status == FAILED

    run(scenario)


@on_both_databases
def test_calls_are_sent_in_the_order_in_which_they_were_made(run):
    async def scenario(registry):
        one, other = await device(registry, "a"), await device(registry, "b")
        made = [await create(registry, one, method=f"m{n}") for n in range(5)]
        await create(registry, other)
        await create(registry, one, expires_ms=NOW + 10)
        await registry.write(calls.answer, made[1], "null")
        found = await registry.read(calls.open_calls, one, NOW + 10)
        assert [call.method for call in found] == ["m0", "m2", "m3", "m4"]
        assert await registry.read(calls.waiting) == {one, other}

    run(scenario)


@on_both_databases
def test_calls_expire_at_their_time_and_not_before(run):
    async def scenario(registry):
        device_id = await device(registry, "a")
        assert await registry.read(calls.next_expiry) is None
        first = await create(registry, device_id, expires_ms=NOW + 1)
        later = await create(registry, device_id, expires_ms=NOW + 2)
        over = await create(registry, device_id, expires_ms=NOW)
        assert (await registry.read(calls.get, over)).status == EXPIRED
        assert await registry.read(calls.next_expiry) == NOW + 1
        assert await registry.write(calls.expire, NOW) == []
        assert await registry.write(calls.expire, NOW + 1) == [(device_id, first)]
        assert (await registry.read(calls.get, later)).status == QUEUED

    run(scenario)


async def refused(registry, device_id, words, **fields):
    with pytest.raises(Refused, match=words):
        await create(registry, device_id, **fields)


def test_device_has_room_for_so_many_open_calls(run, monkeypatch):
    async def scenario(registry):
        one, other = await device(registry, "a"), await device(registry, "b")
        monkeypatch.setattr(calls, "OPEN", 3)
        first, _, _ = [await create(registry, one) for _ in range(3)]
        await refused(registry, one, "room for 3 open")
        await create(registry, other)
        await create(registry, one, expires_ms=NOW)  # is not open
        await registry.write(calls.answer, first, None)
        await create(registry, one)
        await refused(registry, one, "room for 3 open")

    run(scenario)


def test_device_has_room_for_so_many_bytes_of_open_calls(run, monkeypatch):
    async def scenario(registry):
        one = await device(registry, "a")
        await refused(registry, one, "65536 bytes", params='"' + "é" * 32768 + '"')
        await refused(registry, one, "65536 bytes", additional_info="x" * 65_536)
        await create(registry, one, params="x" * 65_535)
        monkeypatch.setattr(calls, "OPEN_SIZE", 70_000)
        await refused(registry, one, "70000 bytes", params="x" * 5_000)
        await create(registry, one, params="x" * 4_000)

    run(scenario)


@on_both_databases
def test_oldest_finished_calls_make_room_and_open_ones_never(run, monkeypatch):
    async def scenario(registry):
        one, other = await device(registry, "a"), await device(registry, "b")
        monkeypatch.setattr(calls, "KEPT", 4)
        elsewhere = await create(registry, other, expires_ms=0)
        open_ = await create(registry, one)
        ended = [await create(registry, one, expires_ms=0) for _ in range(5)]
        kept = await registry.read(calls.page, one, None, PageQuery(size=10))
        assert [call.id for call in kept[0]] == [open_, *ended[2:]]
        monkeypatch.setattr(calls, "KEPT_SIZE", 2_000)
        last = await create(registry, one, expires_ms=0, params="x" * 1_996)
        kept = await registry.read(calls.page, one, None, PageQuery(size=10))
        assert [call.id for call in kept[0]] == [open_, last]
        await registry.read(calls.get, elsewhere)

    run(scenario)


@on_both_databases
def test_id_is_used_once_whoever_has_it(run):
    async def scenario(registry):
        one, other = await device(registry, "a"), await device(registry, "b")
        call_id = await create(registry, one)
        for each in (one, other):
            await refused(registry, each, "this id already", id=call_id)
        assert (await registry.read(calls.get, call_id)).device_id == one

    run(scenario)


@on_both_databases
def test_calls_go_with_their_device(run):
    async def scenario(registry):
        call_id = await create(registry, await device(registry, "a"))
        kept = await create(registry, await device(registry, "b"))
        await registry.delete_device("a")
        with pytest.raises(UnknownId):
            await registry.read(calls.get, call_id)
        await registry.read(calls.get, kept)
        assert not await registry.write(calls.advance, call_id, SENT)
        assert not await registry.write(calls.answer, call_id, "1")

    run(scenario)


@on_both_databases
@pytest.mark.parametrize("descending", [False, True])
def test_page_is_sorted_by_each_column(run, descending):
    async def scenario(registry):
        device_id = await device(registry, "a")
        fields = [
            {"method": "a", "expires_ms": NOW + 30, "additional_info": '"c"'},
            {"method": "b", "expires_ms": NOW + 20, "additional_info": '"b"'},
            {"method": "c", "expires_ms": NOW + 10, "additional_info": '"a"'},
        ]
        made = [await create(registry, device_id, NOW + n, **each) for n, each in enumerate(fields)]
        await registry.write(calls.answer, made[1], "1")
        await registry.write(calls.answer, made[2], "2")
        await registry.write(calls.advance, made[0], SENT)

        async def sort(name, status=None):
            wanted = PageQuery(size=2, sort=name, descending=descending)
            found, total = await registry.read(calls.page, device_id, status, wanted)
            return total, [made.index(call.id) for call in found]

        forward, backward = [0, 1], [2, 1]
        assert await sort("createdTime") == (3, backward if descending else forward)
        assert await sort("request") == (3, backward if descending else forward)
        assert await sort("expirationTime") == (3, forward if descending else backward)
        assert await sort("additionalInfo") == (3, forward if descending else backward)
        assert await sort("response", SUCCESSFUL) == (2, [2, 1] if descending else [1, 2])
        assert (await sort("status"))[0] == 3
        assert await sort("status", EXPIRED) == (0, [])

    run(scenario)


def test_every_sort_has_a_column():
    assert all(isinstance(each, list) or each.class_ is PersistentCall for each in calls.SORTS.values())
