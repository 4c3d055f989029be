"""`bench backup` and `bench restore` as a user runs them."""

import pytest

from bench.cli.options import server_addresses
from tests.support.commands import bench, printed


def made(tmp_path):
    folder = tmp_path / "data"
    assert bench("profile", "create", "default", "--data", folder).returncode == 0
    assert bench("device", "create", "press-4", "--data", folder).returncode == 0
    return folder


def refused(code, message, *arguments, **options):
    done = bench(*arguments, **options)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1), done.stderr
    assert message in done.stderr


def test_backup_is_made_and_restored(tmp_path):
    data, file, other = made(tmp_path), tmp_path / "b.tar", tmp_path / "other"
    facts = printed("backup", str(file), "--data", str(data))
    assert (facts["file"], facts["size"], facts["devices"]) == (str(file), file.stat().st_size, 1)
    done = bench("restore", file, "--data", other)
    assert done.returncode == 0, done.stderr
    assert f"restored 1 devices, as of {facts['made']}, to {other}\n" in done.stdout
    assert f"bench serve --data {other}" in done.stdout
    assert [each["name"] for each in printed("device", "list", "--data", str(other))] == ["press-4"]
    assert [each["what"] for each in printed("audit", "--data", str(other))].count("ADDED") == 2


def test_file_that_exists_is_replaced_only_if_wanted(tmp_path):
    data, file = made(tmp_path), tmp_path / "b.tar"
    file.write_text("mine")
    refused(2, "or replace it with --force", "backup", file, "--data", data)
    assert file.read_text() == "mine"
    done = bench("backup", file, "--data", data, "--force", "--without-keys")
    assert done.returncode == 0, done.stderr
    assert "worthless without secrets.key" in done.stdout
    assert file.stat().st_mode & 0o777 == 0o600


def test_records_in_postgresql_name_its_own_program(tmp_path):
    data = made(tmp_path)
    environment = {"BENCH_DATABASE": "postgresql+asyncpg://u:a-password@h/n"}
    refused(1, "pg_dump", "backup", tmp_path / "b.tar", "--data", data, env=environment)
    refused(1, "pg_dump", "backup", tmp_path / "b.tar", "--data", tmp_path / "none")
    assert not (tmp_path / "b.tar").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("backup", "{folder}"), "is a folder"),
        (("backup", "{folder}/none/b.tar"), "make it first"),
        (("restore", "{folder}/none.tar"), "no file"),
    ],
)
def test_path_that_does_not_fit_is_one_line(tmp_path, words, message):
    data = made(tmp_path)
    refused(2, message, *(each.format(folder=tmp_path) for each in words), "--data", data)


def test_folder_of_a_running_server_is_not_restored_to(tmp_path):
    data = made(tmp_path)
    assert bench("backup", tmp_path / "b.tar", "--data", data).returncode == 0
    (tmp_path / "new").mkdir()
    with server_addresses.lock_folder(tmp_path / "new"):
        refused(1, "a server is running on", "restore", tmp_path / "b.tar", "--data", tmp_path / "new")
    refused(1, "exists: move the folder away", "restore", tmp_path / "b.tar", "--data", data)
