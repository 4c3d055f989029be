"""Secrets at rest: what the database and its files do not tell, and the key that they need."""

import asyncio
import base64
import hashlib
import hmac
import json
import multiprocessing
import os
import stat
import subprocess
import sys
import time
import uuid

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, text, update

from bench.errors import BenchError
from bench.registry import claims, customers, devices, passwords, profiles, users
from bench.registry.credentials import MqttLogin, access_token, mqtt_basic, x509
from bench.registry.encryption import SecretBox, WrongKey
from bench.registry.files import DATABASE_FILE, KEY_FILE
from bench.registry.model import Credentials, Device, Profile, User
from bench.registry.provision_type import ProvisionType
from bench.registry.provisioning import ProvisionRequest, Status
from bench.registry.registry import Registry
from tests.support.at_rest import everything, holding, is_intact, on_database
from tests.support.mqtt_packets import PROVISION_RESPONSE, connack, connect, puback, request, subscribe
from tests.support.raw_client import RawClient
from tests.support.servers import on_both_databases

SECRET_BOX = SecretBox(bytes(range(32)))


def run(folder, url=None, scenario=None):
    async def main():
        registry = await Registry.open(folder, url)
        try:
            return await scenario(registry) if scenario else None
        finally:
            await registry.close()

    return asyncio.run(main())


# What is stored.

REQUESTED = {
    "token": {"token": "a-token-of-its-own"},
    "user": {"credentialsType": "MQTT_BASIC", "username": "a-user-alone"},
    "user-password": {"credentialsType": "MQTT_BASIC", "username": "user-of-two", "password": "password-of-two"},
    "all-three": {
        "credentialsType": "MQTT_BASIC",
        "clientId": "client-of-three",
        "username": "user-of-three",
        "password": "password-of-three",
    },
    "odd-token": {"token": 'a "quoted" tökén \\ 漢字'},
}


def provisioned(server, profile, **fields):
    """Provision over MQTT; returns what the device is told."""
    with RawClient(server.ports.mqtt) as client:
        client.send(connect(username="provision") + subscribe(1, (PROVISION_RESPONSE, 0)) + request(profile, **fields))
        client.expect(connack(0) + b"\x90\x03\x00\x01\x00" + puback(1))
        first, length = client.read(2)
        assert first == 0x30
        if length >= 128:
            length += (client.read(1)[0] - 1) * 128
        return json.loads(client.read(length)[2 + len(PROVISION_RESPONSE) :])


@given(st.lists(st.text()))
def test_texts_are_bound_and_digested_as_json_has_them(texts):
    key = hmac.digest(bytes(range(32)), b"digest", "sha256")
    assert SECRET_BOX.digest(*texts) == hmac.digest(key, json.dumps(texts).encode(), "sha256").hex()
    rest = SECRET_BOX.encrypt("secret", "table", *texts)
    cipher = AESGCM(hmac.digest(bytes(range(32)), b"seal", "sha256"))
    assert cipher.decrypt(rest[:12], rest[12:], json.dumps(["table", *texts]).encode()) == b"secret"


@on_both_databases
def test_nothing_issued_or_entered_can_be_read_at_rest(server, database):
    check = server.query(
        lambda registry: registry.create_profile(
            "tray", ProvisionType.CHECK_PRE_PROVISIONED_DEVICES, key="key-of-tray", secret="a-secret-that-was-entered"
        )
    )
    server.query(lambda registry: registry.create_device("press-4", "tray", token="token-that-was-entered"))
    generated = server.query(lambda registry: registry.create_device("press-5", "tray")).credentials.id
    assert provisioned(server, check, deviceName="press-4")["credentialsValue"] == "token-that-was-entered"
    secrets = [server.profile.provision_secret, check.provision_secret, "token-that-was-entered", generated]
    for name, fields in REQUESTED.items():
        assert provisioned(server, server.profile, deviceName=name, **fields)["status"] == "SUCCESS"
        secrets += [value for key, value in fields.items() if key not in ("credentialsType", "clientId")]
    secrets.append(provisioned(server, server.profile, deviceName="server-made")["credentialsValue"])
    device = server.query(lambda registry: registry.token_login("token-that-was-entered"))
    assert server.query(lambda registry: registry.write(claims.offer, device.id, "a-secret-to-claim", None)).accepted
    secrets.append("a-secret-to-claim")
    wrong = {"provisionDeviceSecret": "a-wrong-guess-that-was-nearly-right"}
    assert provisioned(server, check, deviceName="press-5", **wrong)["status"] == "NOT_FOUND"
    secrets += wrong.values()
    with RawClient(server.ports.mqtt) as client:
        client.send(connect(username="a-mistyped-user", password=b"a-mistyped-password"))
        client.expect(connack(5))
    secrets += ["a-mistyped-user", "a-mistyped-password"]
    assert len(secrets) == len(set(secrets)) == 16
    quoted = [json.dumps(secret)[1:-1] for secret in secrets]
    assert holding(everything(server.data, database), secrets + quoted) == []
    server.close()
    stored = everything(server.data, database)
    assert holding(stored, secrets + quoted) == []
    assert holding(stored, ["press-4", "key-of-tray"])  # it does look where things are


def test_the_key_is_in_no_file_but_its_own(server):
    key = (server.data / KEY_FILE).read_bytes()
    assert len(key) == 32
    for name, data in everything(server.data, None).items():
        assert key not in data, name
        assert key.hex().encode() not in data, name


# The key.


def shorten(path):
    path.write_bytes(path.read_bytes()[:-1])


def lengthen(path):
    path.write_bytes(path.read_bytes() + b"\n")


def empty(path):
    path.write_bytes(b"")


def replace(path):
    path.write_bytes(os.urandom(32))


def flip(path):
    data = bytearray(path.read_bytes())
    data[7] ^= 1
    path.write_bytes(data)


def remove(path):
    path.unlink()


@on_both_databases
@pytest.mark.parametrize("harm", [shorten, lengthen, empty, replace, flip, remove])
def test_key_that_is_not_the_database_s_is_one_line_and_changes_nothing(tmp_path, database, harm):
    run(tmp_path, database, lambda registry: registry.ensure_default_profile())
    path = tmp_path / KEY_FILE
    own = path.read_bytes()
    before = everything(tmp_path, database)
    harm(path)
    harmed = path.read_bytes() if path.exists() else None
    with pytest.raises(BenchError) as caught:
        run(tmp_path, database)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert ("is missing" in str(caught.value)) == (harm is remove)
    assert (path.read_bytes() if path.exists() else None) == harmed
    assert everything(tmp_path, database) == before
    path.write_bytes(own)
    assert run(tmp_path, database, lambda registry: registry.profile("default")).provision_secret


def test_keys_of_two_databases_that_were_swapped_are_refused(tmp_path):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        run(folder, None, lambda registry: registry.ensure_default_profile())
    first, second = (folder / KEY_FILE for folder in folders)
    own = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(own)
    for folder in folders:
        with pytest.raises(BenchError, match="is not the key of this database"):
            run(folder)
        assert is_intact(folder / DATABASE_FILE)


def test_serve_reports_it_in_one_line(tmp_path):
    run(tmp_path)
    replace(tmp_path / KEY_FILE)
    command = [sys.executable, "-m", "bench.cli", "serve", "--data", tmp_path, "--mqtt-port", "0", "--http-port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(f"error: {tmp_path / KEY_FILE} is not the key")


ONE_OF_MANY = """
import sys
from pathlib import Path
from bench.registry.encryption import SecretBox
print("ready", flush=True)
sys.stdin.readline()
print(SecretBox.from_folder(Path(sys.argv[1])).digest("x"))
"""


def test_processes_that_make_the_key_at_once_get_the_same(tmp_path):
    command = [sys.executable, "-c", ONE_OF_MANY, tmp_path]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(6)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    digests = {process.communicate(timeout=30)[0] for process in processes}
    assert digests == {SecretBox.from_folder(tmp_path).digest("x") + "\n"}
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]


def test_key_is_its_owner_s_alone_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        SecretBox.from_folder(tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600


@pytest.mark.slow
def test_registries_on_one_postgresql_need_one_key(tmp_path, cluster):
    url = cluster.database()
    run(tmp_path / "a", url, lambda registry: registry.ensure_default_profile())
    with pytest.raises(BenchError, match="is missing"):
        run(tmp_path / "b", url)
    assert list((tmp_path / "b").iterdir()) == []
    (tmp_path / "b" / KEY_FILE).write_bytes((tmp_path / "a" / KEY_FILE).read_bytes())
    assert run(tmp_path / "b", url, lambda registry: registry.profile("default"))
    assert (
        on_database(tmp_path, url, lambda connection: connection.scalar(text("SELECT count(*) FROM seal_check"))) == 1
    )


# Rows of one's own making: somebody who can write to the database, and does not have the key.


async def two_of_each(registry):
    """Two profiles, and two devices of each kind, one of them a victim's."""
    for name in ("mine", "victim"):
        secret = f"secret-of-{name}"
        await registry.create_profile(name, ProvisionType.ALLOW_CREATE_NEW_DEVICES, key=f"key-of-{name}", secret=secret)
        for kind, own in (
            ("token", access_token(f"token-of-{name}")),
            ("basic", mqtt_basic(None, f"user-of-{name}", f"password-of-{name}")),
            ("certificate", x509(f"certificate-of-{name}")),
        ):
            await registry.write(
                lambda session, device=f"{name}-{kind}", own=own: devices.create(
                    session, device, profiles.by_name(session, "mine"), own=own
                )
            )


LOGINS = {
    "token": lambda registry, name: registry.token_login(f"token-of-{name}"),
    "token over MQTT": lambda registry, name: registry.login(MqttLogin(username=f"token-of-{name}")),
    "basic": lambda registry, name: registry.login(
        MqttLogin(username=f"user-of-{name}", password=f"password-of-{name}")
    ),
    "certificate": lambda registry, name: registry.certificate_login(f"certificate-of-{name}"),
}
COLUMNS = ("type", "lookup", "parts", "proof", "sealed")


@on_both_databases
@pytest.mark.parametrize("columns", [COLUMNS, ("lookup",), ("lookup", "proof"), ("lookup", "proof", "type", "parts")])
@pytest.mark.parametrize("how", LOGINS)
def test_login_of_one_device_moved_to_another_s_row_logs_nobody_in(tmp_path, database, how, columns):
    kind = how.partition(" ")[0]
    run(tmp_path, database, two_of_each)

    def move(connection):
        found = {
            name: connection.execute(
                select(Credentials.__table__).join(Device).where(Device.name == f"{name}-{kind}")
            ).one()
            for name in ("mine", "victim")
        }
        table = Credentials.__table__
        connection.execute(table.delete().where(table.c.device_id == found["mine"].device_id))
        values = {column: getattr(found["mine"], column) for column in columns}
        connection.execute(table.update().where(table.c.device_id == found["victim"].device_id).values(values))

    async def logged_in(registry):
        return [found.name if (found := await LOGINS[how](registry, name)) else None for name in ("mine", "victim")]

    assert run(tmp_path, database, logged_in) == [f"mine-{kind}", f"victim-{kind}"]
    on_database(tmp_path, database, move)
    assert run(tmp_path, database, logged_in) == [None, None]


@on_both_databases
def test_sealed_credentials_moved_to_another_row_are_not_opened(tmp_path, database):
    run(tmp_path, database, two_of_each)

    def move(connection):
        for kind in ("token", "basic", "certificate"):
            theirs = select(Credentials.sealed).join(Device).where(Device.name == f"victim-{kind}")
            mine = select(Device.id).where(Device.name == f"mine-{kind}").scalar_subquery()
            statement = (
                update(Credentials).where(Credentials.device_id == mine).execution_options(synchronize_session=False)
            )
            connection.execute(statement.values(sealed=connection.scalar(theirs)))

    async def read(registry):
        for kind in ("token", "basic", "certificate"):
            assert (await registry.device(f"victim-{kind}")).credentials
            with pytest.raises(WrongKey):
                await registry.device(f"mine-{kind}")

    on_database(tmp_path, database, move)
    run(tmp_path, database, read)


@on_both_databases
def test_profile_with_another_one_s_secret_provisions_nobody_and_leaves_the_others_alone(tmp_path, database):
    run(tmp_path, database, two_of_each)

    def move(connection):
        theirs = connection.scalar(select(Profile.sealed_secret).where(Profile.name == "victim"))
        connection.execute(update(Profile).where(Profile.name == "mine").values(sealed_secret=theirs))

    async def provision(registry):
        with pytest.raises(WrongKey):
            await registry.profile("mine")
        requests = [
            ProvisionRequest(key=f"key-of-{key}", secret=f"secret-of-{secret}", device_name=f"{key}-{secret}")
            for key in ("mine", "victim")
            for secret in ("mine", "victim")
        ]
        outcomes = await asyncio.gather(*map(registry.provision, requests))  # in one batch
        assert [each.status for each in outcomes] == [*[Status.NOT_FOUND] * 3, Status.SUCCESS]

    on_database(tmp_path, database, move)
    run(tmp_path, database, provision)


async def users_of_each(registry):
    def create(session):
        customer = customers.save(session, "a customer")
        users.create(session, "operator@example.org", None, password_hash=passwords.hashed("summer2026"))
        users.create(session, "user@example.org", customer, password_hash=passwords.hashed("autumn2026"))

    await registry.write(create)


async def is_in(registry, email, password):
    user = await registry.read(users.by_email, email)
    return passwords.is_correct(registry.secret_box, user, password)


@on_both_databases
def test_password_cannot_be_guessed_or_set_with_the_database_alone(tmp_path, database):
    run(tmp_path, database, users_of_each)

    def read(connection):
        return connection.execute(select(User.__table__)).all()

    for row in on_database(tmp_path, database, read):
        right = "summer2026" if row.customer_id is None else "autumn2026"
        scheme, n, r, p, salt, kept = row.password_hash.split("$")
        derived = hashlib.scrypt(
            right.encode(), salt=base64.b64decode(salt), n=int(n), r=int(r), p=int(p), maxmem=1 << 26
        )
        assert scheme == "scrypt"
        assert kept not in (derived.hex(), base64.b64encode(derived).decode())
        user = User(id=row.id, customer_id=row.customer_id, password_hash=row.password_hash)
        assert not passwords.is_correct(SecretBox(bytes(32)), user, right)

    def write(connection):
        rows = {row.email: row for row in connection.execute(select(User.__table__)).all()}
        operator, user = rows["operator@example.org"], rows["user@example.org"]
        table = User.__table__
        for email, stored in (("own@x.org", passwords.hashed("evilevil")), ("copy@x.org", operator.password_hash)):
            values = {"id": uuid.uuid4(), "email": email, "password_hash": stored, "created_ms": 1}
            connection.execute(table.insert().values(values))
        connection.execute(table.update().where(table.c.id == user.id).values(customer_id=None))  # an operator now?

    async def logins(registry):
        assert await is_in(registry, "operator@example.org", "summer2026")
        assert not await is_in(registry, "operator@example.org", "autumn2026")
        assert not await is_in(registry, "own@x.org", "evilevil")
        assert not await is_in(registry, "copy@x.org", "summer2026")
        assert not await is_in(registry, "user@example.org", "autumn2026")
        assert not await is_in(registry, "nobody@example.org", "summer2026")

    on_database(tmp_path, database, write)
    run(tmp_path, database, logins)


@pytest.mark.parametrize("harm", ["", "scrypt$16$8$1$AAAA$", "plain$16$8$1$AAAA$AAAA"])
def test_password_of_an_account_without_one_or_with_nonsense_is_no_password(harm):
    user = User(id=uuid.uuid4(), customer_id=None, password_hash=harm)
    assert not passwords.is_correct(SECRET_BOX, user, "")


# The secret_box.


@given(st.text(), st.lists(st.text(), min_size=1, max_size=3), st.lists(st.text(), max_size=3))
def test_seal_of_one_row_is_refused_in_any_other(secret, row, other):
    assert SECRET_BOX.decrypt(SECRET_BOX.encrypt(secret, *row), *row) == secret
    if row != other:
        with pytest.raises(WrongKey):
            SECRET_BOX.decrypt(SECRET_BOX.encrypt(secret, *row), *other)
        with pytest.raises(WrongKey):
            SECRET_BOX.decrypt(SECRET_BOX.encrypt(secret, *other), *row)


@pytest.mark.parametrize("clock", ["time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"])
def test_nonces_are_random_and_do_not_come_from_a_clock(monkeypatch, clock):
    """One that comes twice gives away both texts and the key of all tags."""
    monkeypatch.setattr(time, clock, lambda: 1_800_000_000)
    nonces = [SECRET_BOX.encrypt("x")[:12] for _ in range(2_000)]
    assert len(set(nonces)) == len(nonces)
    for at in range(12):  # a counter, or a clock that stands nearly still, has bytes that change seldom
        assert len({nonce[at] for nonce in nonces}) > 200


def test_processes_have_nonces_of_their_own():
    """Two that were forked off one have the same state of any generator that is theirs."""
    with multiprocessing.get_context("fork").Pool(4) as pool:
        nonces = pool.map(_nonce, range(400), chunksize=1)
    assert len(set(nonces)) == 400


def _nonce(_):
    return SECRET_BOX.encrypt("x")[:12]


@given(st.text())
def test_what_is_sealed_comes_back_and_never_looks_the_same(secret):
    first, second = SECRET_BOX.encrypt(secret), SECRET_BOX.encrypt(secret)
    assert first != second
    assert SECRET_BOX.decrypt(first) == SECRET_BOX.decrypt(second) == secret


@given(st.text(), st.data())
def test_seal_that_was_touched_is_refused(secret, data):
    sealed = bytearray(SECRET_BOX.encrypt(secret))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(WrongKey):
        SECRET_BOX.decrypt(bytes(sealed))
    with pytest.raises(WrongKey):
        SECRET_BOX.decrypt(bytes(sealed[: data.draw(st.integers(0, len(sealed) - 1))]))
    with pytest.raises(WrongKey):
        SecretBox(bytes(32)).decrypt(SECRET_BOX.encrypt(secret))


@given(st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=4))
def test_digests_are_equal_for_equal_texts_only(first, second):
    assert (SECRET_BOX.digest(*first) == SECRET_BOX.digest(*second)) == (first == second)
    assert SECRET_BOX.digest(*first) != SecretBox(bytes(32)).digest(*first)
