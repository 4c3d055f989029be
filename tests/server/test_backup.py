"""Backups of a running server: restored elsewhere, every device logs in, over every transport."""

import contextlib
import hashlib
import io
import json
import os
import ssl
import tarfile
import threading

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from bench.errors import BenchError
from bench.registry import credentials, devices, profiles
from bench.registry.files import DATABASE_FILE, KEY_FILE
from bench.server import backup
from tests.support.at_rest import everything, holding, is_intact
from tests.support.certificates import make, write
from tests.support.http_requests import call
from tests.support.mqtt_packets import connack, connect
from tests.support.operators import login
from tests.support.packages import CONTENT, new_package
from tests.support.raw_client import RawClient


def quiet(_done, _total):
    pass


def make_backup(server, file, **options):
    return backup.make(server.data, file, **{"with_keys": True, "on_progress": quiet, **options})


def populate(server, certificate):
    """Make a device of each kind of credentials."""
    owns = {
        "token": credentials.access_token("token-of-one"),
        "basic": credentials.mqtt_basic("client-of-two", "user-of-two", "password-of-two"),
        "certificate": credentials.x509(credentials.trim_certificate(certificate.pem.decode())),
    }

    def store(session):
        for name, own in owns.items():
            devices.create(session, name, profiles.default(session), own=own)

    server.query(lambda registry: registry.write(store))


def expect_logins(server, certificate, folder):
    for fields in (
        {"username": "token-of-one"},
        {"client_id": "client-of-two", "username": "user-of-two", "password": b"password-of-two"},
    ):
        with RawClient(server.ports.mqtt) as client:
            client.send(connect(**fields))
            client.expect(connack(0))
    assert call(server, "/api/v1/token-of-one/telemetry", b'{"t":1}')[0] == 200
    context = ssl.create_default_context(cadata=server.identity.ca.public_bytes(Encoding.DER))
    context.load_cert_chain(*write(folder, "shown", certificate))
    with RawClient(server.ports.mqtts) as client:
        client.socket = context.wrap_socket(client.socket, server_hostname="localhost")
        client.send(connect())
        client.expect(connack(0))


def test_backup_of_a_running_server_is_restored_elsewhere_and_every_device_logs_in(start_server, tmp_path):
    server = start_server()
    certificate = make("certificate")
    populate(server, certificate)
    assert (server.data / f"{DATABASE_FILE}-wal").stat().st_size > 0  # a copy of the file alone would lack them
    with login(server) as operator:
        customer = operator.post("/api/customer", json={"title": "Acme"}).json()
    stop, sent = threading.Event(), []

    def write_on():
        while not stop.is_set():
            assert call(server, "/api/v1/token-of-one/telemetry", b'{"n":%d}' % len(sent))[0] == 200
            sent.append(len(sent))

    writing = threading.Thread(target=write_on)
    writing.start()
    try:
        while len(sent) < 5:
            pass
        before = len(sent)
        facts = make_backup(server, tmp_path / "b.tar")
    finally:
        stop.set()
        writing.join()
    assert facts.devices == 3
    account = json.loads((server.data / "operator.json").read_text())
    ca, key = server.identity.ca, server.profile.provision_key
    server.close()
    backup.restore(tmp_path / "b.tar", tmp_path / "elsewhere")
    assert is_intact(tmp_path / "elsewhere" / DATABASE_FILE)
    restored = start_server("elsewhere")
    assert restored.device_names() == ["basic", "certificate", "token"]
    assert restored.query(lambda registry: registry.device("token")).telemetry["n"] >= before - 1
    assert (restored.identity.ca, restored.profile.provision_key) == (ca, key)
    expect_logins(restored, certificate, tmp_path)
    with login(restored, account) as operator:
        assert operator.get("/api/customers?pageSize=9&page=0").json()["data"][0]["id"] == customer["id"]


def test_packages_are_restored_with_their_content(server, start_server, tmp_path):
    with login(server) as operator:
        package = new_package(operator)
    make_backup(server, tmp_path / "b.tar", with_keys=True)
    backup.restore(tmp_path / "b.tar", tmp_path / "other")
    (file,) = (tmp_path / "other" / "packages").iterdir()
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (CONTENT, 0o600)
    account = json.loads((server.data / "operator.json").read_text())
    again = start_server("other")
    with login(again, account) as operator:
        assert operator.get(f"/api/otaPackage/{package['id']['id']}/download").content == CONTENT


@pytest.mark.parametrize("name", ["packages/../evil", "packages/" + "0" * 64, "packages"])
def test_archive_with_a_package_of_another_name_is_refused(server, tmp_path, name):
    with login(server) as operator:
        digest = hashlib.sha256(CONTENT).hexdigest()
        new_package(operator)
    make_backup(server, tmp_path / "b.tar")
    with tarfile.open(tmp_path / "b.tar") as archive:
        members = {each.name: archive.extractfile(each).read() for each in archive}
    facts = json.loads(members["backup.json"])
    facts["files"][name] = facts["files"].pop(f"packages/{digest}")
    members = {**members, "backup.json": json.dumps(facts).encode(), name: members.pop(f"packages/{digest}")}
    with tarfile.open(tmp_path / "c.tar", "w") as archive:
        for each, content in members.items():
            member = tarfile.TarInfo(each)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    with pytest.raises(BenchError, match="lists other files"):
        backup.restore(tmp_path / "c.tar", tmp_path / "other")
    assert not (tmp_path / "evil").exists()


def test_every_file_of_a_backup_is_private_from_its_first_byte(server, tmp_path):
    populate(server, make("x"))
    folder = tmp_path / "backups"
    folder.mkdir()
    modes = []

    def look(_done, _total):
        modes.extend(each.stat().st_mode & 0o777 for each in folder.iterdir())

    before = os.umask(0)
    try:
        make_backup(server, folder / "b.tar", on_progress=look)
        backup.restore(folder / "b.tar", tmp_path / "new")
    finally:
        os.umask(before)
    assert modes
    assert set(modes) == {0o600}
    assert [each.name for each in folder.iterdir()] == ["b.tar"]
    assert (folder / "b.tar").stat().st_mode & 0o777 == 0o600
    found = [each for each in (tmp_path / "new").rglob("*") if each.is_file() and each.stat().st_size]
    assert {each.stat().st_mode & 0o777 for each in found} == {0o600}
    assert {each.stat().st_mode & 0o777 for each in (tmp_path / "new").rglob("*") if each.is_dir()} == {0o700}


def test_backup_without_keys_opens_nothing_and_needs_its_own_key(server, start_server, tmp_path):
    certificate = make("certificate")
    populate(server, certificate)
    facts = make_backup(server, tmp_path / "b.tar", with_keys=False)
    assert (list(facts.files), facts.has_key) == ([DATABASE_FILE], False)
    secrets = ["token-of-one", "password-of-two", server.profile.provision_secret]
    assert holding({"b.tar": (tmp_path / "b.tar").read_bytes()}, secrets) == []
    backup.restore(tmp_path / "b.tar", tmp_path / "elsewhere")
    with pytest.raises(BenchError, match=r"secrets\.key is missing"):
        start_server("elsewhere")
    (tmp_path / "elsewhere" / KEY_FILE).write_bytes((server.data / KEY_FILE).read_bytes())
    restored = start_server("elsewhere")
    with RawClient(restored.ports.mqtt) as client:
        client.send(connect(username="token-of-one"))
        client.expect(connack(0))


def test_backup_without_keys_is_restored_beside_its_key_and_no_other(server, tmp_path):
    make_backup(server, tmp_path / "b.tar", with_keys=False)
    for name, key, taken in (
        ("own", (server.data / KEY_FILE).read_bytes(), True),
        ("foreign", bytes(32), False),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / KEY_FILE).write_bytes(key)
        (tmp_path / name / KEY_FILE).chmod(0o600)
        with contextlib.nullcontext() if taken else pytest.raises(BenchError, match="is not the key"):
            backup.restore(tmp_path / "b.tar", tmp_path / name)
        assert (tmp_path / name / DATABASE_FILE).exists() == taken
        assert (tmp_path / name / KEY_FILE).read_bytes() == key


def test_nothing_is_replaced_by_a_restore(server, tmp_path):
    make_backup(server, tmp_path / "b.tar")
    before = everything(server.data, None)
    with pytest.raises(BenchError, match=f"{DATABASE_FILE} exists: move the folder away"):
        backup.restore(tmp_path / "b.tar", server.data)
    assert everything(server.data, None) == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "operator.json").write_text("mine")
    with pytest.raises(BenchError, match="exists, and is another one"):
        backup.restore(tmp_path / "b.tar", tmp_path / "other")
    assert [each.name for each in (tmp_path / "other").iterdir()] == ["operator.json"]


def rewritten(file, target, change):
    """Write an archive again, with each member's name and content as `change` returns them."""
    with tarfile.open(file) as old, tarfile.open(target, "w") as new:
        for member in old:
            for name, content in change(member.name, old.extractfile(member).read()):
                other = tarfile.TarInfo(name)
                other.size = len(content)
                (folder := target.parent / "member").write_bytes(content)
                with folder.open("rb") as stream:
                    new.addfile(other, stream)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda name, content: [(name, content[:-1] + b"x" if name == DATABASE_FILE else content)], "is damaged"),
        (lambda name, content: [(name, bytes(32) if name == KEY_FILE else content)], "is damaged"),
        (lambda name, content: [] if name == DATABASE_FILE else [(name, content)], "is missing"),
        (lambda name, content: [] if name == "backup.json" else [(name, content)], "is missing"),
        (lambda name, content: [(name, content.replace(b'"format": 1', b'"format": 2'))], "of a newer bench"),
        (lambda name, content: [(name, b"{}" if name == "backup.json" else content)], "cannot be read"),
        (lambda name, content: [(name, content.replace(b'"secrets.key"', b'"../secrets.key"'))], "lists other files"),
        (lambda name, content: [(name, content.replace(b'"schema": "0', b'"schema": "9'))], ""),
    ],
)
def test_archive_that_was_changed_is_refused_whole(server, tmp_path, change, why):
    make_backup(server, tmp_path / "b.tar")
    rewritten(tmp_path / "b.tar", tmp_path / "changed.tar", change)
    if not why:  # told, but the tables themselves decide
        backup.restore(tmp_path / "changed.tar", tmp_path / "new")
        return
    with pytest.raises(BenchError, match=why):
        backup.restore(tmp_path / "changed.tar", tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []
    assert not (tmp_path / "secrets.key").exists()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.95])
def test_archive_that_is_cut_off_is_refused_whole(server, tmp_path, share):
    make_backup(server, tmp_path / "b.tar")
    whole = (tmp_path / "b.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(BenchError, match="not a whole backup"):
        backup.restore(tmp_path / "cut.tar", tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


def test_interrupted_backup_leaves_nothing(server, tmp_path):
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "b.tar").write_text("an older one")

    def interrupt(_done, _total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_backup(server, tmp_path / "to" / "b.tar", on_progress=interrupt)
    assert [each.read_text() for each in (tmp_path / "to").iterdir()] == ["an older one"]


def test_damaged_database_is_not_backed_up(start_server, tmp_path):
    server = start_server()
    populate(server, make("x"))
    server.close()
    database = server.data / DATABASE_FILE
    content = bytearray(database.read_bytes())
    content[8192 : len(content) - 8192] = bytes(len(content) - 16384)
    database.write_bytes(content)
    with pytest.raises(BenchError, match=r"damaged|malformed"):
        make_backup(server, tmp_path / "b.tar")
    assert not (tmp_path / "b.tar").exists()
