"""`bench firmware pack`, `key` and `show`: packages as users make them and look at them."""

import json
import stat
import subprocess

import pytest

from bench.cli.commands import firmware_package
from bench.flash import firmware, package
from bench.flash.package import signing
from tests.support.commands import bench, printed, refused


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to work in, with an application and a key."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "press").mkdir()
    (tmp_path / "press" / "main.py").write_text("import firstboot\n")
    signing.make_key(tmp_path / "key.pem")
    return tmp_path


def test_firmware_is_packed_without_what_a_board_keeps(folder):
    done = printed("firmware", "pack")
    assert (done["title"], done["version"], done["kind"]) == ("firstboot", firmware.version(), "fw")
    found = package.read_file(folder / f"firstboot-{firmware.version()}.fbp")
    assert found.files == {name: each for name, each in firmware.files().items() if name.startswith("firstboot/")}
    assert not found.is_signed
    assert found.manifest.head.abi == 6


def test_application_is_packed_beside_the_firmware_or_alone(folder):
    both = printed("firmware", "pack", "--with", "press", "--out", "both.fbp")
    alone = printed("firmware", "pack", "--only", "press")
    assert (both["kind"], both["title"]) == ("fw", "firstboot")
    assert both["version"] == f"{firmware.version()}+{alone['version']}"
    assert (alone["kind"], alone["title"], alone["file"]) == ("sw", "press", f"press-{alone['version']}.fbp")
    assert package.read_file(folder / alone["file"]).files == {"main.py": b"import firstboot\n"}
    assert "main.py" in package.read_file(folder / "both.fbp").files
    (folder / "press" / "main.py").write_text("")
    assert printed("firmware", "pack", "--only", "press")["version"] != alone["version"]


def test_package_is_as_the_options_have_it_and_the_same_each_time(folder):
    options = ("--only", "press", "--title", "A press", "--version", "7", "--number", "7", "--downgrade")
    options += ("--least", "0.1.0", "--board", "esp32_c3", "--sign", "key.pem", "--new-key", "key.pem")
    files = [printed("firmware", "pack", *options, "--out", f"{number}.fbp")["file"] for number in range(2)]
    assert (folder / files[0]).read_bytes() == (folder / files[1]).read_bytes()
    public = signing.public_key("key.pem")
    shown = printed("firmware", "show", files[0], "--key", "key.pem")
    assert shown == {
        "kind": "sw",
        "title": "A press",
        "version": "7",
        "number": 7,
        "downgrade": True,
        "least": "0.1.0",
        "chip": "esp32c3",
        "board": "esp32_c3",
        "new_key": public,
        "is_signed": True,
        "content": 17,
        "signature": "valid",
        "files": [{"file": "main.py", "bytes": 17, "in_package": 17}],
    }


def test_wrong_use_of_pack_is_refused_and_writes_nothing(folder):
    refused(2, "exclude each other", "firmware", "pack", "--with", "press", "--only", "press")
    refused(2, "not a folder", "firmware", "pack", "--only", "key.pem")
    refused(2, "name the present one with --sign", "firmware", "pack", "--only", "press", "--new-key", "key.pem")
    refused(2, "not of numbers and dots", "firmware", "pack", "--only", "press", "--least", "new")
    refused(2, "no folder", "firmware", "pack", "--only", "press", "--out", "nowhere/a.fbp")
    (folder / "press" / "settings.json").write_text("{}")
    refused(2, "settings.json is the board's own", "firmware", "pack", "--only", "press")
    (folder / "press" / "settings.json").rename(folder / "press" / "a file")
    refused(2, "a file", "firmware", "pack", "--only", "press")
    (folder / "press" / "firstboot").mkdir()
    (folder / "press" / "a file").rename(folder / "press" / "firstboot" / "app.py")
    refused(2, "leave firstboot/ out", "firmware", "pack", "--with", "press")
    refused(2, "firstboot/ is of the firmware", "firmware", "pack", "--only", "press")
    assert list(folder.glob("*.fbp")) == []


def test_key_is_made_once_and_shown_again(folder):
    made = printed("firmware", "key", "new.pem")
    assert stat.S_IMODE((folder / "new.pem").stat().st_mode) == 0o600
    assert printed("firmware", "key", "new.pem") == made
    assert "PRIVATE" not in bench("firmware", "key", "new.pem").stdout
    refused(2, "holds no private key", "firmware", "key", "press/main.py")
    assert (folder / "press" / "main.py").read_text() == "import firstboot\n"


def test_show_ends_with_1_for_a_package_that_the_key_did_not_sign(folder):
    other = printed("firmware", "key", "other.pem")["key"]
    printed("firmware", "pack", "--only", "press", "--out", "plain.fbp")
    printed("firmware", "pack", "--only", "press", "--sign", "key.pem", "--out", "signed.fbp")
    assert printed("firmware", "show", "plain.fbp")["signature"] == "not signed"
    assert printed("firmware", "show", "signed.fbp")["signature"] == "not checked"
    refused(1, "not signed", "firmware", "show", "plain.fbp", "--key", other)
    refused(1, "signed by another key", "firmware", "show", "signed.fbp", "--key", other)
    assert json.loads(bench("firmware", "show", "signed.fbp", "--key", other, "--json").stdout)["is_signed"]
    refused(2, "not a package", "firmware", "show", "key.pem")
    refused(2, "130 hex digits", "firmware", "show", "signed.fbp", "--key", "05" + other[2:])


def test_signature_is_one_to_openssl(folder):
    """Another program agrees with keys and signatures, whose form in a package is not the usual one."""
    printed("firmware", "pack", "--only", "press", "--sign", "key.pem", "--out", "a.fbp")
    data = (folder / "a.fbp").read_bytes()
    length = int.from_bytes(data[4:8], "little")
    (folder / "manifest").write_bytes(data[104 : 104 + length])
    numbers = [data[at : at + 32].lstrip(b"\0") for at in (8, 40)]
    encoded = b"".join(b"\x02" + bytes([len(each) + (each[0] >> 7)]) + bytes(each[0] >> 7) + each for each in numbers)
    (folder / "signature").write_bytes(b"\x30" + bytes([len(encoded)]) + encoded)
    done = subprocess.run(
        ["openssl", "dgst", "-sha256", "-prverify", "key.pem", "-signature", "signature", "manifest"],
        capture_output=True,
        check=False,
    )
    assert done.stdout == b"Verified OK\n", done.stderr


def test_file_of_a_title_with_anything_in_it_stays_in_the_folder(folder):
    made = printed("firmware", "pack", "--only", "press", "--title", "../a b/ü", "--version", "$1")
    assert made["file"] == f"_a_b__-_1{firmware_package.SUFFIX}"
    assert (folder / made["file"]).is_file()
