"""The audit trail: what is in a row, and which rows are found."""

import uuid

import pytest

from bench.registry import audit
from bench.registry.audit import Origin, Subject
from bench.registry.model import Audit, Customer, Device, Profile, User
from bench.registry.pages import PageQuery

NOW = 1_800_000_000_000
OWN, OTHER = uuid.UUID(int=1), uuid.UUID(int=2)
USER = User(id=uuid.UUID(int=3), email="ann@example.com", customer_id=OWN)
OPERATOR = User(id=uuid.UUID(int=4), email="op@example.com", customer_id=None)
ORIGIN = Origin("192.0.2.1", "http", "request-1", received_ms=NOW - 1)


def at(monkeypatch, now=NOW):
    monkeypatch.setattr(audit, "now_ms", lambda: now)


@pytest.mark.parametrize(
    ("entity", "subject"),
    [
        (Device(id=OTHER, name="board", customer_id=OWN), Subject("board", OTHER, OWN)),
        (Profile(id=OTHER, name="press"), Subject("press", OTHER, None)),
        (Customer(id=OTHER, title="ACME"), Subject("ACME", OTHER, OTHER)),
        (USER, Subject("ann@example.com", USER.id, OWN)),
    ],
)
def test_subject_has_name_id_and_customer_of_what_it_was_done_to(entity, subject):
    assert Subject.of(entity) == subject


def test_entry_has_who_did_what_to_what_from_where_and_how_it_ended(monkeypatch):
    at(monkeypatch)
    row = audit.entry(ORIGIN, who=USER, what="device.updated", entity=Subject("board", OTHER, OTHER), result="SUCCESS")
    assert row == {
        "ts_ms": NOW,
        "who": "ann@example.com",
        "what": "device.updated",
        "entity": "board",
        "address": "192.0.2.1",
        "transport": "http",
        "result": "SUCCESS",
        "request": "request-1",
        "api_key": "",
        "entity_id": OTHER,
        "user_id": USER.id,
        "customer_id": OTHER,
    }


@pytest.mark.parametrize(
    ("who", "name", "user_id", "customer_id"),
    [
        (USER, "ann@example.com", USER.id, OWN),
        (OPERATOR, "op@example.com", OPERATOR.id, None),
        ("nobody@example.com", "nobody@example.com", None, None),
    ],
)
def test_entry_about_what_is_nobody_s_has_the_customer_of_who_did_it(who, name, user_id, customer_id):
    row = audit.entry(ORIGIN, who=who, what="x", entity="board", result="SUCCESS")
    assert (row["who"], row["user_id"], row["customer_id"]) == (name, user_id, customer_id)
    assert (row["entity"], row["entity_id"]) == ("board", None)


def test_entry_of_a_device_names_no_user():
    row = audit.entry(audit.UNKNOWN_ORIGIN, what="x", entity="", result="SUCCESS")
    assert (row["who"], row["address"], row["transport"], row["request"]) == ("device", "", "", "")
    assert (audit.DEVICE, audit.SERVER) == ("device", "server")


@pytest.mark.parametrize("length", [254, 255, 256, 10_000])
def test_entry_has_255_characters_of_a_name(length):
    row = audit.entry(ORIGIN, who="w" * length, what="x", entity="e" * length, result="SUCCESS")
    assert (row["who"], row["entity"]) == ("w" * min(255, length), "e" * min(255, length))


def test_entry_has_no_nul():
    assert audit.entry(ORIGIN, what="x", entity="a\0b", result="SUCCESS")["entity"] == "a\ufffdb"


def test_origin_is_proven_unless_it_is_a_datagram_s():
    assert [Origin("192.0.2.1", each).is_proven for each in ("mqtt", "http", "", "coap")] == [True, True, True, False]
    assert (ORIGIN.keeps_refusal, Origin("a") == Origin("a", received_ms=5)) == (True, True)
    assert Origin("a", keeps_refusal=False) != Origin("a")


def test_origin_has_the_time_when_it_came():
    before = audit.now_ms()
    assert before <= Origin().received_ms <= audit.now_ms()


async def fill(registry, *rows):
    """Store rows of these whats, entities, whos and results, a second apart."""
    made = [
        audit.entry(ORIGIN, who=who, what=what, entity=entity, result=result) | {"ts_ms": NOW + 1000 * n}
        for n, (what, entity, who, result) in enumerate(rows)
    ]
    recorded = await registry.write(lambda session: audit.record(session.connection(), made))
    assert recorded == [None] * len(rows)


ROWS = (
    ("login", "b", "device", "refused"),
    ("provision", "a", "device", "SUCCESS"),
    ("provision", "b", "device", "FAILURE"),
    ("user.login", "c", "Ann", "SUCCESS"),
)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"limit": 9}, [3, 2, 1, 0]),
        ({"limit": 2}, [3, 2]),
        ({"limit": 9, "what": "provision"}, [2, 1]),
        ({"limit": 1, "what": "provision"}, [2]),
        ({"limit": 9, "entity": "b"}, [2, 0]),
        ({"limit": 9, "what": "provision", "entity": "b"}, [2]),
        ({"limit": 9, "since_ms": NOW + 2000}, [3, 2]),
        ({"limit": 9, "since_ms": NOW + 2001}, [3]),
    ],
)
def test_newest_rows_are_found_first_by_action_entity_and_time(run, wanted, found):
    async def scenario(registry):
        await fill(registry, *ROWS)
        rows = await registry.read(lambda session: audit.find(session, **wanted))
        assert [(row.ts_ms - NOW) // 1000 for row in rows] == found

    run(scenario)


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("createdTime", [0, 1, 2, 3]),
        ("entityName", [1, 0, 2, 3]),
        ("userName", [3, 0, 1, 2]),
        ("actionType", [0, 1, 2, 3]),
        ("actionStatus", [2, 1, 3, 0]),
    ],
)
def test_page_is_sorted_by_each_column(run, sort, order):
    async def scenario(registry):
        await fill(registry, *ROWS)
        rows, total = await registry.read(audit.page, PageQuery(size=9, sort=sort))
        assert ([(row.ts_ms - NOW) // 1000 for row in rows], total) == (order, 4)

    run(scenario)


@pytest.mark.parametrize(
    ("search", "found"), [("ANN", [3]), ("provis", [1, 2]), ("FAIL", [2]), ("c", [1, 3, 0, 2]), ("zzz", [])]
)
def test_page_is_searched_in_entity_user_action_and_result(run, search, found):
    async def scenario(registry):
        await fill(registry, *ROWS)
        rows, total = await registry.read(audit.page, PageQuery(size=9, search=search))
        assert sorted((row.ts_ms - NOW) // 1000 for row in rows) == sorted(found)
        assert total == len(found)

    run(scenario)


def test_page_has_only_what_meets_all_conditions(run):
    async def scenario(registry):
        await fill(registry, *ROWS)
        where = [Audit.what == "provision", Audit.entity == "b"]
        rows, total = await registry.read(audit.page, PageQuery(size=9), where)
        assert ([row.result for row in rows], total) == (["FAILURE"], 1)

    run(scenario)


def test_logins_are_those_of_users_who_got_in(run):
    async def scenario(registry):
        assert await registry.read(audit.logins) == set()
        await fill(
            registry,
            ("user.login", "", "ann", "SUCCESS"),
            ("user.login", "", "ben", "refused"),
            ("user.login", "", "eve", "FAILURE"),
            ("user.login", "", "zoe", "SUCCESSX"),
            ("user.logout", "", "cid", "SUCCESS"),
            ("login", "", "dan", "SUCCESS"),
        )
        assert await registry.read(audit.logins) == {("192.0.2.1", "ann")}

    run(scenario)


def test_logins_are_those_of_the_newest_rows(run, monkeypatch):
    monkeypatch.setattr(audit, "_RECENT", 3)

    async def scenario(registry):
        await fill(registry, *(("user.login", "", f"user-{n}", "SUCCESS") for n in range(5)))
        assert {who for _, who in await registry.read(audit.logins)} == {"user-2", "user-3", "user-4"}

    run(scenario)
