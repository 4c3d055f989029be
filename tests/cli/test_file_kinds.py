"""Files of one command that are given to another one: the error names the right command, and nothing is done."""

import io
import json
import tarfile

import pytest

from bench.cli import file_kinds, template_files
from bench.cli.file_kinds import FileKind
from bench.cli.provision_output import COLUMNS, DERIVED_COLUMNS, CsvLayout, JsonLayout
from bench.contract.templates import Template
from bench.errors import UsageError
from bench.flash import labels, tray_results
from bench.rest_client import device_files
from tests.support.commands import bench, refused

DEVICE = {"name": "press-1", "label": None, "profile": "press", "attributes": {"SERVER_SCOPE": {"profileData": 1}}}


def batch(layout):
    return layout.head + layout.line(dict.fromkeys((*COLUMNS, *DERIVED_COLUMNS), "x"), 1) + layout.tail


def archive():
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("backup.json"))
    return made.getvalue()


FILES = {
    "devices": (FileKind.DEVICES, device_files.line(DEVICE)),
    "devices_with_a_long_first": (
        FileKind.DEVICES,
        device_files.line({**DEVICE, "attributes": {"SERVER_SCOPE": {"profileData": "x" * 100_000}}}),
    ),
    "table": (FileKind.TABLE, b"NAME,TYPE\npress-1,press\n"),
    "table_of_a_spreadsheet": (FileKind.TABLE, b"\xef\xbb\xbfName;Type\r\npress-1;press\r\n"),
    "batch": (FileKind.BATCH, batch(JsonLayout("press", 1))),
    "batch_as_csv": (FileKind.BATCH, batch(CsvLayout())),
    "batch_of_keys": (FileKind.BATCH, batch(CsvLayout(DERIVED_COLUMNS))),
    "profile": (FileKind.PROFILE, json.dumps({"name": "press", "profileData": {}}, indent=2).encode()),
    "profile_of_thingsboard": (FileKind.PROFILE, json.dumps({"name": "press", "profileData": {}}).encode()),
    "template": (FileKind.TEMPLATE, template_files.text(Template()).encode()),
    "rotation": (FileKind.ROTATION, b'{"id": "1", "name": "a", "status": "taken", "detail": "", "when_ms": 1}\n'),
    "backup": (FileKind.BACKUP, archive()),
    "labels": (FileKind.LABELS, (",".join(labels._COLUMNS) + "\n").encode()),
    "results": (FileKind.RESULTS, tray_results.table([], {}).encode()),
}


@pytest.mark.parametrize(("kind", "content"), FILES.values(), ids=FILES)
def test_file_is_of_its_kind_and_of_no_other(tmp_path, kind, content):
    (tmp_path / "f").write_bytes(content)
    file_kinds.check(tmp_path / "f", kind)
    for other in FileKind:
        if other is not kind:
            with pytest.raises(UsageError, match=kind.value[1]):
                file_kinds.check(tmp_path / "f", other)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\0", b"[" * 99_999, b"{}", b'{"a": ', b"\0" * 600, b'"', b"device_id,device_type,NAME\n"]
)
def test_any_other_file_is_left_to_its_command(tmp_path, content):
    (tmp_path / "f").write_bytes(content)
    for kind in FileKind:
        file_kinds.check(tmp_path / "f", kind)
        file_kinds.check(tmp_path / "none", kind)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data folder with records, and no server."""
    folder = tmp_path_factory.mktemp("kinds") / "data"
    assert bench("profile", "create", "press", "--data", folder).returncode == 0
    return folder


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("devices", ("import", "{}")),
        ("table", ("device", "import", "{}")),
        ("devices", ("profile", "import", "{}")),
        ("profile", ("profile", "template", "default", "--file", "{}")),
        ("batch", ("rotate", "--state", "defined", "--report", "{}")),
        ("table", ("restore", "{}")),
        ("labels", ("flash", "--port", "rfc2217://127.0.0.1:1", "--batch", "{}")),
    ],
)
def test_command_names_the_right_one_for_the_file_of_another(data, tmp_path, name, command):
    kind, content = FILES[name]
    file = tmp_path / "f"
    file.write_bytes(content)
    file.chmod(0o600)
    words = (each.format(file) for each in command)
    refused(2, kind.value[1], *words, "--data", data, BENCH_WIFI_PASSWORD="x" * 8)
    assert file.read_bytes() == content
