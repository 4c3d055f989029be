"""Statements that are compiled once: what they find, add and raise is what SQLAlchemy's own way does."""

import asyncio
import uuid

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import DBAPIError, IntegrityError

from bench.registry.model import Device, Profile
from bench.registry.registry import Registry
from bench.registry.statements import Insertion, Lookup
from tests.support.servers import on_both_databases

pytestmark = on_both_databases

NAMES = ["a", "Gerät 5", "x' OR 1=1 --", "%", "日本", "\N{PILE OF POO}", "a" * 255]
PROFILE = uuid.uuid4()
OWN = {"id": PROFILE, "name": "own", "provision_type": "DISABLED", "sealed_secret": b"\0\xff", "allow_create": True}

find = Lookup(select(Device.id, Device.name, Device.additional_info, Device.label, Device.created_ms), Device.name)
find_profiles = Lookup(select(Profile.allow_create, Profile.sealed_secret, Profile.details), Profile.name)
add = Insertion(Device, "id", "name", "profile_id", "additional_info", "created_ms")


def row(name, **fields):
    return {"id": uuid.uuid4(), "name": name, "profile_id": PROFILE, "additional_info": None, "created_ms": 5, **fields}


@pytest.fixture
def in_transaction(tmp_path, database):
    """Run a function with a connection, in a transaction on a new database with one profile."""

    def run(*works):
        async def main():
            registry = await Registry.open(tmp_path, database)
            try:
                await registry._database.write(lambda connection: connection.execute(insert(Profile), [OWN]))
                return [await registry._database.write(work) for work in works][-1]
            finally:
                await registry.close()

        return asyncio.run(main())

    return run


def test_lookup_finds_what_was_added_and_nothing_else(in_transaction):
    rows = [row(name) for name in NAMES]

    def work(connection):
        add(connection, rows[:1])
        add(connection, rows[1:])
        return {
            wanted: [each.name for each in find(connection, wanted)]
            for wanted in [(), ("",), ("b",), ("a\0",), ("a", "a"), ("%", "b", "Gerät 5"), tuple(NAMES)]
        }

    found = in_transaction(work)
    assert {wanted: sorted(names) for wanted, names in found.items()} == {
        wanted: sorted(set(wanted) & set(NAMES)) for wanted in found
    }


def test_values_come_back_as_they_were(in_transaction):
    info = {"gateway": True, "text": "\N{PILE OF POO}"}
    wanted = row("x", additional_info=info, created_ms=1 << 62)

    def work(connection):
        add(connection, [wanted])
        (device,) = find(connection, ["x"])
        (own,) = find_profiles(connection, ["own"])
        (same,) = connection.execute(select(Device.id, Device.additional_info).where(Device.name == "x"))
        return device, own, same

    device, own, same = in_transaction(work)
    assert (device.id, device.additional_info, device.created_ms) == (wanted["id"], info, 1 << 62)
    assert device.label is None
    assert (own.allow_create, bytes(own.sealed_secret), own.details) == (True, b"\0\xff", {})
    assert tuple(same) == (wanted["id"], info)


@pytest.mark.parametrize("count", [2, 3, 64, 65, 150])
def test_many_rows_are_added_and_found(in_transaction, count):
    rows = [row(f"device-{number}", created_ms=number) for number in range(count)]

    def work(connection):
        add(connection, rows)
        return find(connection, [each["name"] for each in rows])

    found = in_transaction(work)
    assert {(each.id, each.name, each.created_ms) for each in found} == {
        (each["id"], each["name"], each["created_ms"]) for each in rows
    }
    assert len(found) == count


def test_many_rows_are_few_statements(in_transaction, database):
    if database is not None:
        pytest.skip("SQLite's own driver")
    traced = []

    def work(connection):
        driver = connection.connection.driver_connection
        driver.set_trace_callback(traced.append)
        add(connection, [row(f"device-{number}") for number in range(100)])
        find(connection, [f"device-{number}" for number in range(100)])
        driver.set_trace_callback(None)

    in_transaction(work)
    assert len(traced) == 6  # 64, 32 and 4 of each


def test_addition_of_nothing_is_nothing(in_transaction):
    assert in_transaction(lambda connection: add(connection, [])) is None


@pytest.mark.parametrize("fields", [{"name": "a"}, {"name": "b", "profile_id": uuid.uuid4()}])
def test_addition_that_a_constraint_refuses_is_sqlalchemys_error_and_undone(in_transaction, fields):
    def refused(connection):
        with pytest.raises(IntegrityError) as caught, connection.begin_nested():
            add(connection, [row("c"), row(**fields)])
        return caught.value, find(connection, ["c"])

    error, left = in_transaction(lambda connection: add(connection, [row("a")]), refused)
    assert left == []
    assert error.orig is not None
    assert str(PROFILE.hex) not in str(error)  # what is stored may be secret


def test_database_that_fails_is_sqlalchemys_error(in_transaction, database):
    def work(connection):
        connection.exec_driver_sql("PRAGMA query_only=ON" if database is None else "SET TRANSACTION READ ONLY")
        add(connection, [row("a")])

    with pytest.raises(DBAPIError, match=r"read-?only"):
        in_transaction(work)
