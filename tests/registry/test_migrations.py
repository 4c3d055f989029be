"""A database of an older bench, brought up to date: nobody loses a login, nothing stays readable."""

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
import uuid
from contextlib import closing

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, func, insert, inspect, select

from bench.errors import BenchError
from bench.registry import credentials as kinds
from bench.registry import database, passwords, timeseries, users
from bench.registry.credentials import MqttLogin
from bench.registry.encryption import SecretBox
from bench.registry.files import DATABASE_FILE, KEY_FILE
from bench.registry.model import Base
from bench.registry.provisioning import ProvisionRequest, Status
from bench.registry.registry import Registry
from bench.registry.schema import MIGRATIONS
from tests.support.at_rest import everything, holding, is_intact, on_database
from tests.support.servers import on_both_databases

# Every kind of credentials, and a login that shows it; None: nothing that a CONNECT can show.
DEVICES = {
    "token": (kinds.access_token("a-token-in-plain"), MqttLogin(username="a-token-in-plain")),
    "client": (kinds.mqtt_basic("a-client-id", "", ""), MqttLogin(client_id="a-client-id")),
    "user": (kinds.mqtt_basic("", "a-user-in-plain", None), MqttLogin(username="a-user-in-plain")),
    "user-password": (
        kinds.mqtt_basic(None, "another-user", "password-in-plain"),
        MqttLogin(client_id="any", username="another-user", password="password-in-plain"),
    ),
    "all-three": (
        kinds.mqtt_basic("third-client", "third-user", "third-password"),
        MqttLogin(client_id="third-client", username="third-user", password="third-password"),
    ),
    "certificate": (kinds.x509("testHash"), None),
}
# name, strategy, key, secret
PROFILES = [
    ("default", "ALLOW_CREATE_NEW_DEVICES", "key-of-default", "secret-of-default"),
    ("tray", "CHECK_PRE_PROVISIONED_DEVICES", "key-of-tray", "secret-of-tray"),
    ("locked", "DISABLED", None, None),
    ("keyed", "DISABLED", "key-of-keyed", None),
]
DELETED = "token-of-a-deleted-device"
SECRETS = [
    "a-token-in-plain",
    "a-user-in-plain",
    "another-user",
    "password-in-plain",
    "third-password",
    "secret-of-default",
    "secret-of-tray",
    DELETED,
]


def config(connection):
    made = Config()
    made.set_main_option("script_location", str(MIGRATIONS))
    made.attributes["connection"] = connection
    return made


def build_first(connection):
    """A database as the first bench left it, with everything in it that it could hold."""
    command.upgrade(config(connection), "0001")
    tables = MetaData()
    tables.reflect(connection)
    profile, device, credentials, attribute, telemetry = (
        tables.tables[name] for name in ("profile", "device", "credentials", "attribute", "telemetry")
    )

    sqlite = connection.dialect.name == "sqlite"

    def plain(value):  # its reflection has no Uuid
        return value.hex if sqlite else value

    profiles = {name: plain(uuid.uuid4()) for name, *_ in PROFILES}
    for name, strategy, key, secret in PROFILES:
        row = {"provision_type": strategy, "provision_key": key, "provision_secret": secret, "created_ms": 1}
        connection.execute(insert(profile).values(id=profiles[name], name=name, **row))

    def add(name, own, profile_name):
        device_id = plain(uuid.uuid4())
        row = {"id": device_id, "name": name, "profile_id": profiles[profile_name], "created_ms": 2}
        connection.execute(insert(device).values(**row, additional_info={"gateway": True}))
        row = {"type": own.type.value, "credentials_id": own.id, "credentials_value": own.value}
        connection.execute(insert(credentials).values(device_id=device_id, **row))
        state = {"scope": "SERVER_SCOPE", "key": "provisionState", "value": '"provisioned"', "ts_ms": 3}
        connection.execute(insert(attribute).values(device_id=device_id, **state))
        connection.execute(insert(telemetry).values(device_id=device_id, key="t", value="21.5", ts_ms=4))
        return device_id

    for name, (own, _) in DEVICES.items():
        add(name, own, "default")
    for n in range(300):  # more than a page of the file
        add(f"many-{n}", kinds.access_token(f"token-of-many-{n}"), "tray")
    room = "x" * 20_000  # more than what the upgrade will use again
    for n in range(100):
        add(f"deleted-{n}", kinds.access_token(f"{DELETED}-{n}-{room}" if sqlite else f"{DELETED}-{n}"), "tray")


def delete_some(connection):
    if connection.dialect.name == "sqlite":  # some builds overwrite what is deleted, unless they are told not to
        connection.exec_driver_sql("PRAGMA secure_delete=OFF")
    connection.exec_driver_sql("DELETE FROM credentials WHERE credentials_id LIKE 'token-of-a-deleted%%'")
    for table in ("attribute", "telemetry", "device"):
        column = "id" if table == "device" else "device_id"
        connection.exec_driver_sql(f"DELETE FROM {table} WHERE {column} NOT IN (SELECT device_id FROM credentials)")


def counts(connection):
    tables = MetaData()
    tables.reflect(connection)
    return {
        name: connection.scalar(select(func.count()).select_from(table))
        for name, table in tables.tables.items()
        if name in ("profile", "device", "credentials", "attribute", "telemetry")
    }


@pytest.fixture
def first(tmp_path, database):
    """The data folder and URL of a database that the first bench left."""
    if database is None:
        with closing(sqlite3.connect(tmp_path / DATABASE_FILE)) as other:
            other.execute("PRAGMA journal_mode=WAL")
    on_database(tmp_path, database, build_first)
    on_database(tmp_path, database, delete_some)
    return tmp_path, database


def run(folder, url, scenario):
    async def main():
        registry = await Registry.open(folder, url)
        try:
            return await scenario(registry)
        finally:
            await registry.close()

    return asyncio.run(main())


async def nothing(_registry):
    pass


async def expect_all(registry):
    """Everybody gets in as before, and what was there is there."""
    for name, (own, login) in DEVICES.items():
        device = await registry.device(name)
        assert (device.credentials, device.profile, device.created_ms) == (own, "default", 2)
        assert device.attributes == {"SERVER_SCOPE": {"provisionState": "provisioned"}}
        assert device.telemetry == {"t": 21.5}
        found = await (registry.login(login) if login else registry.certificate_login("testHash"))
        assert found is not None, name
        assert found.name == name
        (entry,) = await registry.read(timeseries.history, found.id, "t", timeseries.Span(from_ms=0, to_ms=9, limit=9))
        assert (entry.ts_ms, json.loads(entry.value)) == (4, 21.5)
    assert await registry.login(MqttLogin(username="another-user", password="wrong")) is None
    assert (await registry.token_login("token-of-many-299")).name == "many-299"
    profiles = {each.name: each for each in await registry.profiles()}
    assert {
        (each.name, each.provision_type, each.provision_key, each.provision_secret) for each in profiles.values()
    } == {(name, strategy, key or "", secret or "") for name, strategy, key, secret in PROFILES}
    outcome = await registry.provision(ProvisionRequest(key="key-of-default", secret="secret-of-default"))
    assert outcome.status is Status.SUCCESS
    again = ProvisionRequest(key="key-of-tray", secret="secret-of-tray", device_name="many-7")
    assert (await registry.provision(again)).status is Status.FAILURE  # it was provisioned before
    none = ProvisionRequest(key="key-of-keyed", secret="x")
    assert (await registry.provision(none)).status is Status.NOT_FOUND


@on_both_databases
def test_upgrade_keeps_every_login_secret_and_value(first):
    run(*first, expect_all)
    run(*first, nothing)
    if first[1] is None:
        assert is_intact(first[0] / DATABASE_FILE)


@on_both_databases
def test_upgrade_makes_the_profile_default_the_default(first):
    run(*first, nothing)
    tables = Base.metadata.tables["profile"].c
    found = on_database(
        *first, lambda connection: connection.scalars(select(tables.name).where(tables.is_default)).all()
    )
    assert found == ["default"]


@on_both_databases
def test_upgrade_leaves_nothing_in_plain(first):
    before = everything(*first)
    still_there = SECRETS if first[1] is None else SECRETS[:-1]  # PostgreSQL's rows do not show what was deleted
    assert {number for number, _ in holding(before, SECRETS)} == set(range(len(still_there)))
    run(*first, nothing)
    assert holding(everything(*first), SECRETS) == []
    assert holding(everything(*first), [f"token-of-many-{n}" for n in range(300)]) == []


def test_upgrade_beside_another_leaves_nothing_in_plain(first):
    """Somebody has the file open, so that its log is not folded into it by the last one to close."""
    folder, url = first
    with closing(sqlite3.connect(folder / DATABASE_FILE)) as other:
        assert other.execute("SELECT count(*) FROM device").fetchall() == [(306,)]
        run(folder, url, nothing)
        assert holding(everything(folder, url), SECRETS) == []


@on_both_databases
@pytest.mark.parametrize("start", ["0001", "nothing"])
def test_schema_is_the_models(tmp_path, database, start):
    if start == "0001":
        on_database(tmp_path, database, build_first)
    run(tmp_path, database, nothing)

    def differences(connection):
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return compare_metadata(context, Base.metadata)

    assert on_database(tmp_path, database, differences) == []

    def constraints(connection):
        look = inspect(connection)
        return {
            table: {
                look.get_pk_constraint(table)["name"],
                *(each["name"] for each in look.get_unique_constraints(table)),
                *(each["name"] for each in look.get_foreign_keys(table)),
                *(each["name"] for each in look.get_indexes(table)),
            }
            for table in Base.metadata.tables
        }

    named = on_database(tmp_path, database, constraints)
    for table in Base.metadata.tables.values():
        wanted = {str(each.name) for each in (*table.constraints, *table.indexes)}
        assert wanted <= named[table.name]


# From the second revision, which bound nothing to its row.


def build_second(connection, folder):
    build_first(connection)
    made = config(connection)
    made.attributes["secret_box"] = SecretBox.from_folder(folder)
    command.upgrade(made, "0002")
    tables = MetaData()
    tables.reflect(connection)
    sqlite = connection.dialect.name == "sqlite"
    customer_id = uuid.uuid4()
    row = {"id": customer_id.hex if sqlite else customer_id, "title": "a customer", "created_ms": 1}
    connection.execute(insert(tables.tables["customer"]).values(row))
    for email, password, customer in (
        ("operator@example.org", passwords.hashed("summer2026", is_random=True), None),
        ("user@example.org", passwords.hashed("autumn2026", is_random=True), customer_id),
        ("new@example.org", "", None),
    ):
        user_id = uuid.uuid4()
        row = {"id": user_id.hex if sqlite else user_id, "email": email, "password_hash": password, "created_ms": 1}
        if customer:
            row["customer_id"] = customer.hex if sqlite else customer
        connection.execute(insert(tables.tables["user_account"]).values(row))
    sealed = made.attributes["secret_box"].encrypt("firstboot")
    connection.execute(insert(tables.tables["seal_check"]).values(id=1, sealed=sealed))


@pytest.fixture
def second(tmp_path, database):
    """The data folder and URL of a database that the second bench left."""
    on_database(tmp_path, database, lambda connection: build_second(connection, tmp_path))
    return tmp_path, database


def password_hashes(connection):
    rows = connection.exec_driver_sql("SELECT email, password_hash FROM user_account").all()
    return {email: stored for email, stored in rows if stored}


@on_both_databases
def test_upgrade_of_the_second_keeps_every_login_and_password(second):
    before = on_database(*second, password_hashes)
    assert len(before) == 2
    run(*second, expect_all)

    async def expect_users(registry):
        for email, password in (("operator@example.org", "summer2026"), ("user@example.org", "autumn2026")):
            user = await registry.read(users.by_email, email)
            assert passwords.is_correct(registry.secret_box, user, password)
            assert not passwords.is_correct(registry.secret_box, user, "wrong")
        assert (await registry.read(users.by_email, "new@example.org")).password_hash == ""

    run(*second, expect_users)
    derived = [stored.rpartition("$")[2] for stored in before.values()]
    assert holding(everything(*second), derived) == []  # nothing is left by which a password could be guessed


@on_both_databases
def test_upgrade_of_the_second_with_another_key_is_refused_and_changes_nothing(second):
    folder, url = second
    own = (folder / KEY_FILE).read_bytes()
    before = on_database(folder, url, counts), on_database(folder, url, password_hashes)
    (folder / KEY_FILE).write_bytes(bytes(32))
    with pytest.raises(BenchError, match="is not the key of this database"):
        run(folder, url, nothing)
    (folder / KEY_FILE).unlink()
    with pytest.raises(BenchError, match="is missing"):
        run(folder, url, nothing)
    (folder / KEY_FILE).write_bytes(own)
    assert (on_database(folder, url, counts), on_database(folder, url, password_hashes)) == before
    run(folder, url, expect_all)


def test_head_is_the_newest_revision():
    assert ScriptDirectory(str(MIGRATIONS)).get_current_head() == database.HEAD


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from bench.registry import database
from bench.registry.encryption import SecretBox

class Killed(SecretBox):
    left = int(sys.argv[3])
    def encrypt(self, text, *row):
        Killed.left -= 1
        if Killed.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().encrypt(text, *row)

asyncio.run(database.connect(Path(sys.argv[1]), sys.argv[2] or None, Killed.from_folder(Path(sys.argv[1]))))
"""


@pytest.mark.slow
@on_both_databases
@pytest.mark.parametrize("sealed", [0, 1, 2, 150, 307, 310, 500, 615])
def test_upgrade_that_is_killed_leaves_the_old_database_usable(first, sealed):
    """By the number of secrets sealed before: of profiles first, then of devices; then again, for their rows."""
    folder, url = first
    before = on_database(folder, url, counts)
    killed = subprocess.run([sys.executable, "-c", KILLED, folder, url or "", str(sealed)], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    version = "SELECT version_num FROM alembic_version"
    assert on_database(folder, url, lambda connection: connection.exec_driver_sql(version).scalar()) == "0001"
    assert on_database(folder, url, counts) == before
    run(folder, url, expect_all)
    assert holding(everything(folder, url), SECRETS) == []


def test_newer_or_unknown_revision_is_refused_and_untouched(tmp_path):
    run(tmp_path, None, nothing)
    on_database(
        tmp_path, None, lambda connection: connection.exec_driver_sql("UPDATE alembic_version SET version_num='9999'")
    )
    before = (tmp_path / DATABASE_FILE).read_bytes()
    with pytest.raises(BenchError, match="9999"):
        run(tmp_path, None, nothing)
    assert (tmp_path / DATABASE_FILE).read_bytes() == before
