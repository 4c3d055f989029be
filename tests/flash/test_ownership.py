"""Somebody's own files on a board, and the name that a server knows it by."""

import json
from base64 import b64encode

import pytest

from bench.contract import names, settings
from bench.errors import BenchError
from bench.flash import bring_up, filesystem, firmware, ownership
from bench.flash.inspection import Inspection, digest
from bench.flash.job import FlashJob, FlashOutcome
from bench.flash.progress import Unattended
from bench.virtual.line_server import serve
from tests.support import micropython

FIRMWARE = {"main.py": b"firmware's", "boot.py": b"firmware's", "firstboot/app.mpy": b"app"}
MINE = b"# mine\nfrom firstboot import app\napp.main()\n"


def report(**files):
    there = {f"/{name.replace('_dot_', '.')}": digest(content) for name, content in files.items()}
    return Inspection(
        chip="esp32", micropython=(1, 25, 0), mac="0" * 12, flash_size=1 << 22, room=1 << 21, files=there, parts=()
    )


def job(*, own=(), files=None, firmware_main=False):
    return FlashJob(port="p", firmware=FIRMWARE, own=frozenset(own), files=files, firmware_main=firmware_main)


MIXED = Inspection(
    chip="esp32",
    micropython=(1, 25, 0),
    mac="0" * 12,
    flash_size=1 << 22,
    room=1 << 21,
    files={
        "/main.py": digest(b"mine"),
        "/boot.py": digest(FIRMWARE["boot.py"]),
        "/firstboot/app.mpy": digest(b"old"),
        "/app.py": digest(b"mine"),
        "/settings.json": digest(b"{}"),
    },
    parts=(),
)


@pytest.mark.parametrize(
    ("order", "kept"),
    [
        (job(), ["/main.py"]),
        (job(files=lambda _: {}), ["/main.py"]),
        (job(firmware_main=True), []),
        (job(own=["main.py"]), []),
        (job(own=["app.py"]), ["/main.py"]),
    ],
    ids=["deploy", "flash", "told_otherwise", "with_another_one", "with_another_file"],
)
def test_main_that_is_not_the_firmwares_is_kept(order, kept):
    assert ownership.kept(order, MIXED) == kept


def test_main_of_a_board_without_the_firmware_is_replaced_by_flash_alone():
    found = report(main_dot_py=b"blink")
    assert ownership.kept(job(), found) == ["/main.py"]
    assert ownership.kept(job(files=lambda _: {}), found) == []


def test_main_that_is_missing_or_empty_in_the_report_is_not_kept():
    assert ownership.kept(job(), report()) == []


def test_replaced_are_files_of_others_alone():
    changed = {"/main.py": b"", "/firstboot/app.mpy": b"", "/settings.json": b"", "/app.py": b"", "/new.py": b""}
    assert ownership.replaced(MIXED, changed, {"settings.json": b""}) == ["/app.py", "/main.py"]


def test_notice_names_what_stays_and_what_goes():
    assert ownership.notice([], []) == ""
    text = ownership.notice(["/main.py"], ["/a\x1b.py"])
    assert text.startswith(r"replaced: /a\x1b.py; kept: /main.py, not the firmware's own")
    assert "--firmware-main" in text


class Notices(Unattended):
    """A reporter that keeps the notices."""

    def __init__(self):
        self.texts = []

    def notify(self, text):
        self.texts.append(text)


def deployed(line, **more):
    done, notices = FlashOutcome(), Notices()
    bring_up.deploy(FlashJob(port=line.url, firmware=firmware.files(), **more), notices, done)
    return done, notices.texts


def test_deploy_keeps_a_main_of_the_users_and_reports_it(server, make_board):
    board = make_board(server, files={"main.py": MINE})
    with serve(board) as line:
        done, texts = deployed(line)
        assert (done.written, done.kept, done.replaced) == ([], ["/main.py"], [])
        assert any("kept: /main.py" in each for each in texts)
    assert filesystem.read_files(board.flash())["main.py"] == MINE


def reflashed(board, line, server, name):
    """Flash a board that runs, with settings of this name and server; return the outcome and the notices."""
    sections = json.loads(filesystem.read_files(board.flash())["settings.json"])
    sections["identity"] = {"name": name}
    sections["server"]["port"] = server.ports.mqtt
    files = {settings.FILE: settings.to_json(sections)}
    order = FlashJob(port=line.url, firmware=firmware.files(), files=lambda _: files)
    done, notices = FlashOutcome(), Notices()
    bring_up.flash(order, notices, done)
    return done, notices.texts


def test_provisioned_board_is_not_flashed_under_another_name(server, make_board):
    board = make_board(server, identity={"name": "old"})
    with board.power_on() as power:
        power.expect_event("connected")
    before = filesystem.read_files(board.flash())
    with serve(board) as line:
        with pytest.raises(BenchError, match="the server knows this board as old, not new") as refused:
            reflashed(board, line, server, "new")
        assert "--name old" in str(refused.value)
        assert "--erase" in str(refused.value)
        done, texts = reflashed(board, line, server, "old")
        assert (done.name, texts) == ("old", [])
    after = filesystem.read_files(board.flash())
    assert {name: before[name] for name in before if name.startswith("vault")} == {
        name: after[name] for name in after if name.startswith("vault")
    }
    assert server.device_names() == ["old"]


def test_certificate_of_the_flash_names_its_device_whatever_the_board_is_called():
    credential = {"type": "X509_CERTIFICATE", "certificate": b64encode(b"leaf").decode(), "key": ""}
    for flashed, expected in (({"device.crt": b"leafabove"}, True), ({"device.crt": b"other"}, False), ({}, False)):
        assert ownership._is_flashed(credential, flashed) is expected
    assert not ownership._is_flashed({"type": "ACCESS_TOKEN", "token": "t"}, {"device.crt": b"leaf"})


def test_board_that_was_never_provisioned_is_known_by_its_new_name(server, make_board):
    board = make_board(server, identity={"name": "old"}, server={"port": 1})
    with board.power_on() as power:  # its secret is stored, and reaches nobody
        power.expect_event("pending_stored")
    with serve(board) as line:
        done, texts = reflashed(board, line, server, "new")
        assert done.name == "new"
        assert "deletes credentials that were made for old and never used" in texts
    assert server.device_names() == ["new"]


@pytest.mark.parametrize(
    "identity",
    [
        {},
        {"name": "press"},
        {"name": "{prefix}-{mac}", "prefix": "p"},
        {"name": " {mac} ", "mac": "AA:BB:CC:00:11:22"},
        {"prefix": ""},
    ],
)
def test_name_is_the_one_that_the_firmware_makes(identity):
    output = micropython.run(f"""
from firstboot import identity, settings
own = {{"server": {{"host": "h"}}, "provision": {{"key": "k", "secret": "s"}}, "identity": {identity!r}}}
made = settings.check(own)
print(repr(identity.name(made, "0242ac110002")))
""")
    assert output.strip() == repr(names.of_template("0242ac110002", **identity))
