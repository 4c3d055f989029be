"""Data folders that others had a hand in: closed, and messages so, or refused. Files that survive a power cut."""

import asyncio
import json
import os
import stat
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench import paths
from bench.errors import BenchError
from bench.registry import data_folder
from bench.registry.encryption import SecretBox
from bench.registry.files import DATABASE_FILE, KEY_FILE, OPERATOR_FILE, TLS_FOLDER
from bench.registry.registry import Registry
from bench.server.tls import authority
from tests.support.commands import bench
from tests.support.operators import account, login
from tests.support.servers import RunningServer

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def used(folder):
    """A folder that a server ran on."""
    server = RunningServer(folder)
    server.close()
    return folder


def opened(folder):
    async def main():
        await (await Registry.open(folder)).close()

    asyncio.run(main())


# Modes.


def test_folder_that_is_made_is_its_owner_s_alone_and_needs_no_message(folder):
    assert data_folder.secure(folder) == []
    assert mode(folder) == 0o700
    opened(folder)
    assert data_folder.secure(folder) == []


@pytest.mark.parametrize("before", [0o777, 0o755, 0o770, 0o701])
def test_empty_folder_that_others_have_access_to_is_closed(folder, before):
    folder.mkdir()
    folder.chmod(before)
    (message,) = data_folder.secure(folder)
    assert mode(folder) == 0o700
    assert str(folder) in message
    assert f"{before:04o}" in message
    assert data_folder.secure(folder) == []


def restored(folder):
    """As a backup is unpacked with the umask of most."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def test_restored_folder_is_closed_file_by_file(used):
    restored(used)
    messages = data_folder.secure(used)
    for path in (used, *used.rglob("*")):
        assert mode(path) == (0o700 if path.is_dir() else 0o600), path
        assert any(str(path) in each for each in messages), path
    assert data_folder.secure(used) == []
    assert {KEY_FILE, DATABASE_FILE, OPERATOR_FILE, TLS_FOLDER} <= {path.name for path in used.iterdir()}


@pytest.mark.parametrize("name", [KEY_FILE, OPERATOR_FILE, DATABASE_FILE, "tls/ca.key", "tls/server.key"])
def test_single_file_that_others_can_read_is_closed(used, name):
    (used / name).chmod(0o640)
    (message,) = data_folder.secure(used)
    assert mode(used / name) == 0o600
    assert str(used / name) in message


def test_server_closes_what_is_open_before_it_reads_it(used):
    restored(used)
    used.chmod(0o777)
    server = RunningServer(used)
    try:
        login(server, account(server)).close()
        assert [mode(each) for each in (used, used / KEY_FILE, used / "tls" / "ca.key")] == [0o700, 0o600, 0o600]
    finally:
        server.close()


def test_command_warns_on_standard_error_of_what_was_open(used):
    (used / KEY_FILE).chmod(0o644)
    done = bench("device", "list", "--data", used)
    assert done.returncode == 0, done.stderr
    assert f"warning: others had access to {used / KEY_FILE} (0644)" in done.stderr
    done = bench("device", "list", "--data", used)
    assert (done.returncode, done.stderr) == (0, "")


def test_folder_for_other_things_is_left_alone_if_others_can_only_read_it(folder):
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    (folder / "report.txt").write_text("x")
    (folder / "report.txt").chmod(0o644)
    assert data_folder.secure(folder) == []
    assert (mode(folder), mode(folder / "report.txt")) == (0o755, 0o644)


@pytest.mark.parametrize("before", [0o777, 0o775, 0o757, 0o1777])
def test_folder_for_other_things_that_others_can_write_to_is_refused(folder, before):
    folder.mkdir()
    (folder / "report.txt").write_text("x")
    if before & stat.S_ISVTX:  # as /tmp: whoever likes can have put these there
        (folder / KEY_FILE).write_bytes(bytes(32))
    folder.chmod(before)
    with pytest.raises(BenchError, match="others can write to"):
        opened(folder)
    assert mode(folder) == before & 0o1777
    assert DATABASE_FILE not in {path.name for path in folder.iterdir()}


# Owners.


@contextmanager
def given_away(path):
    """A file of somebody else's, for the length of the block."""
    os.chown(path, NOBODY, -1, follow_symlinks=False)
    yield
    os.chown(path, 0, -1, follow_symlinks=False)


@as_root
@pytest.mark.parametrize(
    "name", [KEY_FILE, OPERATOR_FILE, DATABASE_FILE, f"{DATABASE_FILE}.lock", "tls", "tls/ca.key", "tls/ca.pem", "."]
)
def test_what_somebody_else_made_is_refused_by_name(used, name):
    path = used / name
    with given_away(path):
        with pytest.raises(BenchError) as caught:
            opened(used)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert "belongs to somebody else" in str(caught.value)
    opened(used)


@as_root
@pytest.mark.parametrize("planted", [KEY_FILE, OPERATOR_FILE])
def test_key_and_account_that_were_planted_in_an_open_folder_are_not_used(folder, planted):
    folder.mkdir()
    content = bytes(32) if planted == KEY_FILE else json.dumps({"username": "evil@x.org", "password": "known"}).encode()
    (folder / planted).write_bytes(content)
    os.chown(folder / planted, NOBODY, -1)
    folder.chmod(0o777)
    with pytest.raises(BenchError, match="belongs to somebody else"):
        RunningServer(folder)
    assert {path.name for path in folder.iterdir()} == {planted}
    done = bench("serve", "--data", folder, "--free-ports")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith(f"error: {folder / planted} belongs to somebody else")


@as_root
def test_link_that_somebody_else_made_or_that_leads_to_their_file_is_refused(used, tmp_path):
    elsewhere = tmp_path / "key"
    (used / KEY_FILE).rename(elsewhere)
    (used / KEY_FILE).symlink_to(elsewhere)
    opened(used)  # one's own link to one's own file
    for path in (used / KEY_FILE, elsewhere):
        with given_away(path), pytest.raises(BenchError, match="belongs to somebody else"):
            opened(used)


# What is written.


class Disk:
    """The order of what reaches the disk: contents of files, names in folders, and the moments when names change."""

    def __init__(self, monkeypatch):
        self.events = []
        self._sync, self._replace, self._link = os.fsync, os.replace, os.link
        monkeypatch.setattr(os, "fsync", self.fsync)
        monkeypatch.setattr(os, "replace", lambda *args, **more: self.named(self._replace, *args, **more))
        monkeypatch.setattr(os, "link", lambda *args, **more: self.named(self._link, *args, **more))

    def fsync(self, descriptor):
        found = os.fstat(descriptor)
        kind = "names" if stat.S_ISDIR(found.st_mode) else "content"
        self.events.append((kind, found.st_ino))
        self._sync(descriptor)

    def named(self, change, source, target, **more):
        self.events.append(("named", Path(target).name, Path(source).stat().st_ino))
        change(source, target, **more)


def is_durable(events, path):
    """Return true if a file was on the disk before it had its name, and then its name."""
    named = max(at for at, event in enumerate(events) if event[:2] == ("named", path.name))
    content = ("content", path.stat().st_ino) in events[:named]
    return content and ("names", path.parent.stat().st_ino) in events[named:]


@pytest.mark.parametrize(
    "write", [paths.write_private_once, lambda path, data: paths.write_private(path, data, is_durable=True)]
)
def test_durable_file_is_on_the_disk_before_its_name_and_then_its_name(tmp_path, monkeypatch, write):
    disk = Disk(monkeypatch)
    write(tmp_path / "key", b"content")
    assert is_durable(disk.events, tmp_path / "key")
    assert (tmp_path / "key").read_bytes() == b"content"
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_keys_of_a_first_start_survive_a_power_cut(tmp_path, monkeypatch):
    disk = Disk(monkeypatch)
    SecretBox.from_folder(tmp_path)
    authority.ensure(tmp_path)
    for name in (KEY_FILE, "tls/ca.key", "tls/ca.pem", "tls/server.key", "tls/server.pem"):
        assert is_durable(disk.events, tmp_path / name), name


def test_private_file_is_written_through_no_link_and_over_what_was_left(tmp_path):
    victim, target = tmp_path / "victim", tmp_path / "target"
    victim.write_text("mine")
    temporary = tmp_path / f".target.{os.getpid()}"
    temporary.symlink_to(victim)  # whoever can guess the number
    paths.write_private(target, b"secret")
    assert (victim.read_text(), target.read_bytes()) == ("mine", b"secret")
    assert not target.is_symlink()
    temporary.write_text("left behind by one that was killed")
    temporary.chmod(0o666)
    paths.write_private(target, b"new secret")
    assert (target.read_bytes(), mode(target)) == (b"new secret", 0o600)
