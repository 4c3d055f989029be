"""Packages over REST: made, uploaded, listed, assigned, deleted."""

import hashlib

import pytest

from bench.server.packages import CONTENT_LIMIT
from tests.support.operators import customer_user, login, name, new_device, new_profile, ok, refused
from tests.support.packages import CONTENT, assign, new_package, send, upload
from tests.support.servers import on_both_databases

PATH = "/api/otaPackage"


def of(package):
    return f"{PATH}/{package['id']['id']}"


def form(**fields):
    return {"type": "FIRMWARE", "title": name("title"), "version": "1", **fields}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"type": None}, "Type should be specified!"),
        ({"title": " "}, "OtaPackage title should be specified!"),
        ({"version": None}, "OtaPackage version should be specified!"),
        ({"title": "t" * 256}, "title length must be equal or less than 255"),
        ({"tag": "t" * 256}, "tag length must be equal or less than 255"),
        ({"usesUrl": True}, "Ota package URL should be specified!"),
        (
            {"deviceProfileId": {"entityType": "DEVICE_PROFILE", "id": "11111111-1111-1111-1111-111111111111"}},
            "OtaPackage is referencing to non-existent device profile!",
        ),
    ],
)
def test_package_that_thingsboard_refuses_is_refused(shared_operator, fields, message):
    refused(shared_operator.post(PATH, json=form(**fields)), 400, 31, message)


def test_title_and_version_are_of_one_package_whatever_its_kind(shared_operator):
    made = new_package(shared_operator, None)
    again = form(type="SOFTWARE", title=made["title"], version=made["version"])
    message = "OtaPackage with such title and version already exists!"
    refused(shared_operator.post(PATH, json=again), 400, 31, message)
    ok(shared_operator.post(PATH, json={**again, "version": "2"}))


def test_package_without_content_has_none_to_download_or_to_assign(shared_operator):
    made = new_package(shared_operator, None)
    assert (made["hasData"], made["fileName"], made["dataSize"]) == (False, None, None)
    assert ok(shared_operator.get(f"{PATH}/info/{made['id']['id']}")) == made
    assert shared_operator.get(f"{of(made)}/download").status_code == 404
    device = new_device(shared_operator)
    message = "Can't assign firmware with empty data!"
    refused(shared_operator.post("/api/device", json={**device, "firmwareId": made["id"]}), 400, 31, message)


@on_both_databases
def test_content_is_uploaded_once_and_comes_back(server_operator):
    made = new_package(server_operator, None, tag="press 1", additionalInfo={"description": "new"})
    done = upload(server_operator, made, algorithm="CRC32", checksum="")
    assert done["hasData"] is True
    assert (done["fileName"], done["dataSize"]) == ("press.bin", len(CONTENT))
    assert (done["checksumAlgorithm"], len(done["checksum"])) == ("CRC32", 8)
    assert ok(server_operator.get(of(made))) == {**done, "data": None}
    answer = server_operator.get(f"{of(made)}/download")
    assert answer.content == CONTENT
    assert answer.headers["x-filename"] == "press.bin"
    assert upload(server_operator, made, algorithm="CRC32") == done
    message = "Updating otaPackage content type is prohibited!"
    refused(send(server_operator, made, CONTENT + b"1", "CRC32"), 400, 31, message)
    assert server_operator.get(f"{of(made)}/download").content == CONTENT


@pytest.mark.parametrize(
    ("content", "query", "status", "message"),
    [
        (b"", {}, 400, "OtaPackage file should be specified!"),
        (CONTENT, {"checksum": "00"}, 400, "Wrong otaPackage file!"),
        (bytes(CONTENT_LIMIT + 1), {}, 400, f"A package may have at most {CONTENT_LIMIT} bytes!"),
    ],
    ids=["empty", "another checksum", "too large"],
)
def test_content_that_is_wrong_is_refused_and_leaves_no_file(server, server_operator, content, query, status, message):
    made = new_package(server_operator, None)
    refused(send(server_operator, made, content, **query), status, 31, message)
    assert list(server.data.glob("packages/*")) == []


def test_content_beyond_the_limit_is_413_by_its_length_alone(shared_operator):
    made = new_package(shared_operator, None)
    answer = send(shared_operator, made, bytes(CONTENT_LIMIT + 100_000))
    assert answer.status_code == 413


@pytest.mark.parametrize("body", [{"data": {"file": "text"}}, {"files": {"other": b"1"}}, {"content": b"no form"}])
def test_upload_without_a_file_is_refused(shared_operator, body):
    made = new_package(shared_operator, None)
    answer = shared_operator.post(of(made), params={"checksumAlgorithm": "MD5"}, **body)
    assert answer.status_code == 400


def test_checksum_is_compared_in_any_case(shared_operator):
    made = new_package(shared_operator, None)
    digest = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    assert upload(shared_operator, made, algorithm="MD5", checksum=digest.upper())["checksum"] == digest


def test_only_the_additional_information_of_a_package_changes(shared_operator):
    made = new_package(shared_operator)
    for fields, what in (
        ({"title": "other"}, "otaPackage title"),
        ({"version": "2"}, "otaPackage version"),
        ({"type": "SOFTWARE"}, "type"),
        ({"tag": "other"}, "otaPackage tag"),
    ):
        refused(shared_operator.post(PATH, json={**made, **fields}), 400, 31, f"Updating {what} is prohibited!")
    changed = ok(shared_operator.post(PATH, json={**made, "additionalInfo": {"description": "better"}}))
    assert changed == {**made, "additionalInfo": {"description": "better"}}


@on_both_databases
def test_packages_are_listed_and_those_of_a_profile_only_with_content(server_operator):
    first, second = (new_profile(server_operator) for _ in range(2))
    of_all, empty = new_package(server_operator), new_package(server_operator, None)
    of_first = new_package(server_operator, deviceProfileId=first["id"])
    elsewhere = new_package(server_operator, None, usesUrl=True, url="https://example.com/a", kind="SOFTWARE")
    page = {"pageSize": 10, "page": 0, "sortProperty": "createdTime", "sortOrder": "ASC"}

    def titles(path, **more):
        return [each["title"] for each in ok(server_operator.get(path, params={**page, **more}))["data"]]

    every = [each["title"] for each in (of_all, empty, of_first, elsewhere)]
    assert titles("/api/otaPackages") == every
    assert titles("/api/otaPackages", textSearch=empty["title"]) == [empty["title"]]
    for profile, kind, expected in (
        (first, "FIRMWARE", [of_all, of_first]),
        (second, "FIRMWARE", [of_all]),
        (first, "SOFTWARE", [elsewhere]),
    ):
        assert titles(f"/api/otaPackages/{profile['id']['id']}/{kind}") == [each["title"] for each in expected]


def test_package_of_another_kind_or_profile_is_not_assigned(shared_operator):
    profile, device = new_profile(shared_operator), new_device(shared_operator)
    software, other = (
        new_package(shared_operator, kind="SOFTWARE"),
        new_package(shared_operator, deviceProfileId=profile["id"]),
    )
    unknown = {"entityType": "OTA_PACKAGE", "id": "11111111-1111-1111-1111-111111111111"}
    for package_id, message in (
        (unknown, "Can't assign non-existent firmware!"),
        (software["id"], "Can't assign firmware with type: SOFTWARE"),
        (other["id"], "Can't assign firmware with different deviceProfile!"),
    ):
        refused(shared_operator.post("/api/device", json={**device, "firmwareId": package_id}), 400, 31, message)
        if package_id is not other["id"]:
            refused(shared_operator.post("/api/deviceProfile", json={**profile, "firmwareId": package_id}), 400, 31)
    assert ok(shared_operator.get(f"/api/device/{device['id']['id']}"))["firmwareId"] is None


@on_both_databases
def test_package_is_deleted_with_its_file_once_nobody_is_to_have_it(server, server_operator):
    device, profile = new_device(server_operator), new_profile(server_operator)
    first, twin = (new_package(server_operator) for _ in range(2))
    assert len(list(server.data.glob("packages/*"))) == 1
    device = assign(server_operator, device, first)
    message = "The otaPackage referenced by the devices cannot be deleted!"
    refused(server_operator.delete(of(first)), 400, 31, message)
    assign(server_operator, device, None)
    profile = ok(server_operator.post("/api/deviceProfile", json={**profile, "firmwareId": first["id"]}))
    assert profile["firmwareId"] == first["id"]
    message = "The otaPackage referenced by the device profile cannot be deleted!"
    refused(server_operator.delete(of(first)), 400, 31, message)
    ok(server_operator.post("/api/deviceProfile", json={**profile, "firmwareId": None}))
    ok(server_operator.delete(of(first)))
    refused(server_operator.get(f"{PATH}/info/{first['id']['id']}"), 404, 32)
    assert len(list(server.data.glob("packages/*"))) == 1
    ok(server_operator.delete(of(twin)))
    assert list(server.data.glob("packages/*")) == []


def test_devices_with_a_package_of_their_own_are_not_counted_for_the_profiles(shared_operator):
    profile = new_profile(shared_operator)
    first, _ = (new_device(shared_operator, deviceProfileId=profile["id"]) for _ in range(2))
    assign(shared_operator, first, new_package(shared_operator))
    for kind, count in (("FIRMWARE", 1), ("SOFTWARE", 2)):
        assert ok(shared_operator.get(f"/api/devices/count/{kind}/{profile['id']['id']}")) == count


def test_packages_are_for_operators_and_customers_users_see_what_there_is(shared_server, shared_operator):
    made = new_package(shared_operator)
    _, who = customer_user(shared_server, shared_operator)
    with login(shared_server, who) as user:
        assert ok(user.get(f"{PATH}/info/{made['id']['id']}"))["title"] == made["title"]
        for answer in (user.post(PATH, json=form()), send(user, made), user.delete(of(made)), user.get(of(made))):
            refused(answer, 403, 20)
        refused(user.get(f"{of(made)}/download"), 403, 20)


def test_actions_are_in_the_audit_trail(shared_operator):
    made = new_package(shared_operator)
    ok(shared_operator.delete(of(made)))
    page = {"pageSize": 10, "page": 0, "sortProperty": "createdTime", "sortOrder": "ASC"}
    rows = ok(shared_operator.get(f"/api/audit/logs/entity/OTA_PACKAGE/{made['id']['id']}", params=page))["data"]
    assert [each["actionType"] for each in rows] == ["ADDED", "UPDATED", "DELETED"]
