"""`bench package`: packages of any kind on a server, by REST alone, as on any ThingsBoard."""

import pytest

from bench.flash import package
from bench.flash.package import Head, Kind
from tests.support.commands import bench, printed, refused
from tests.support.operators import login, ok


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to work in, with a package and a file of another kind."""
    monkeypatch.chdir(tmp_path)
    head = Head(kind=Kind.SOFTWARE, title="press", version="1.4")
    (tmp_path / "press.fbp").write_bytes(package.write(head, {"main.py": b"import firstboot"}))
    (tmp_path / "image.bin").write_bytes(b"an image")
    return tmp_path


@pytest.fixture
def press(url, folder):
    """A server with the package press 1.4, the profile line, and a device of that; the options that name it."""
    printed("profile", "create", "line", *url)
    printed("device", "create", "press-4", "--profile", "line", *url)
    assert printed("package", "upload", "press.fbp", *url)["kind"] == "sw"
    return url


def assigned(server, key="softwareId"):
    """Return whether the profile `line` is assigned a package, and whether the device `press-4` is."""
    with login(server) as operator:
        profiles = ok(operator.get("/api/deviceProfiles", params={"pageSize": 10, "page": 0}))["data"]
        device = ok(operator.get("/api/tenant/devices", params={"deviceName": "press-4"}))
    profile = next(each for each in profiles if each["name"] == "line")
    return bool(profile[key]), bool(device[key])


def test_package_is_uploaded_listed_downloaded_and_deleted(press, folder):
    (listed,) = printed("package", "list", *press)
    assert (listed["title"], listed["version"], listed["only_for"], listed["assigned_to"]) == ("press", "1.4", "", [])
    assert listed["size"] == (folder / "press.fbp").stat().st_size
    refused(2, "press.fbp exists", "package", "download", "press", "1.4", *press)
    done = printed("package", "download", "press", "1.4", "--out", "again.fbp", *press)
    assert done == {"file": "again.fbp", "size": listed["size"]}
    assert (folder / "again.fbp").read_bytes() == (folder / "press.fbp").read_bytes()
    refused(2, "confirm with --yes", "package", "delete", "press", "1.4", *press)
    assert bench("package", "delete", "press", "1.4", "--yes", *press).stdout == "deleted press 1.4\n"
    assert "No packages yet" in bench("package", "list", *press).stdout
    refused(1, "no package press 1.4: see bench package list", "package", "delete", "press", "1.4", "--yes", *press)


def test_any_other_file_has_its_title_and_version_from_the_command(url, folder):
    refused(2, "give --title and --version", "package", "upload", "image.bin", "--title", "image", *url)
    refused(2, "leave out --title", "package", "upload", "press.fbp", "--title", "image", *url)
    named = ("--title", "an image", "--version", "2", *url)
    printed("profile", "create", "line", *url)
    made = printed("package", "upload", "image.bin", "--kind", "sw", "--profile", "line", *named)
    assert (made["title"], made["kind"], made["size"]) == ("an image", "sw", 8)
    assert printed("package", "list", *url)[0]["only_for"] == "line"
    printed("package", "download", "an image", "2", "--force", *url)
    assert (folder / "image.bin").read_bytes() == b"an image"


def test_damaged_package_is_not_uploaded(url, folder):
    data = (folder / "press.fbp").read_bytes()
    (folder / "press.fbp").write_bytes(data[:-1])
    refused(2, "press.fbp", "package", "upload", "press.fbp", *url)
    assert printed("package", "list", *url) == []


def test_second_upload_changes_nothing_and_other_content_is_refused(press, folder):
    before = printed("package", "list", *press)
    printed("package", "upload", "press.fbp", *press)
    assert printed("package", "list", *press) == before
    named = ("--title", "press", "--version", "1.4", *press)
    refused(1, "there is another package press 1.4", "package", "upload", "image.bin", "--kind", "sw", *named)
    refused(1, "there is another package press 1.4", "package", "upload", "image.bin", *named)


def test_upload_that_was_interrupted_is_completed(server, url, folder):
    with login(server) as operator:
        ok(operator.post("/api/otaPackage", json={"type": "SOFTWARE", "title": "press", "version": "1.4"}))
    refused(1, "has no content yet", "package", "download", "press", "1.4", "--out", "a", *url)
    printed("package", "upload", "press.fbp", *url)
    assert [each["size"] for each in printed("package", "list", *url)] == [(folder / "press.fbp").stat().st_size]


def test_content_that_changed_on_its_way_is_noticed(server, press, folder):
    (stored,) = [path for path in (server.data / "packages").rglob("*") if path.is_file()]
    stored.write_bytes(b"something else")
    refused(1, "another SHA256 than the server says", "package", "download", "press", "1.4", "--out", "a", *press)
    assert not (folder / "a").exists()


def test_package_elsewhere_is_not_downloaded(server, url, folder):
    form = {"type": "SOFTWARE", "title": "press", "version": "1.4", "usesUrl": True, "url": "http://x.example/press"}
    with login(server) as operator:
        ok(operator.post("/api/otaPackage", json=form))
    refused(1, "download it from http://x.example/press", "package", "download", "press", "1.4", *url)
    refused(1, "there is another package press 1.4", "package", "upload", "press.fbp", *url)


def test_package_is_assigned_to_a_profile_and_to_devices_and_taken_from_them(server, press):
    done = bench("package", "assign", "press", "1.4", "--profile", "line", *press)
    assert done.stdout == "press 1.4 is assigned to line\n"
    assert assigned(server) == (True, False)
    assert printed("package", "list", *press)[0]["assigned_to"] == ["line"]
    refused(1, "cannot be deleted", "package", "delete", "press", "1.4", "--yes", *press)
    assert bench("package", "assign", "press", "1.4", "press-4", *press).returncode == 0
    assert assigned(server) == (True, True)
    assert bench("package", "unassign", "press", "1.4", "--profile", "line", *press).returncode == 0
    assert bench("package", "unassign", "press", "1.4", "press-4", *press).stdout == "press 1.4 is taken from press-4\n"
    assert assigned(server) == (False, False)
    assert assigned(server, "firmwareId") == (False, False)
    refused(1, "press-4: press-4 is not assigned press 1.4", "package", "unassign", "press", "1.4", "press-4", *press)


def test_assignment_to_nobody_or_to_what_is_not_there_changes_nothing(server, press):
    refused(2, "name devices, or a profile", "package", "assign", "press", "1.4", *press)
    refused(
        2, "name devices, or a profile", "package", "assign", "press", "1.4", "press-4", "--profile", "line", *press
    )
    refused(1, "no device press-5", "package", "assign", "press", "1.4", "press-4", "press-5", *press)
    refused(1, "no profile other", "package", "assign", "press", "1.4", "--profile", "other", *press)
    refused(1, "no package press 2", "package", "assign", "press", "2", "press-4", *press)
    assert assigned(server) == (False, False)
