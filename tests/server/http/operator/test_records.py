"""The route of exports: devices as a whole, a page at a time; and the same one by one, where it is not there."""

import asyncio
import json

import httpx
import pytest

from bench.registry import device_records
from bench.registry.roles import Role
from bench.rest_client import ThingsBoard, device_export, device_files
from tests.support.operators import account, new_customers_user, new_device, new_operator, new_profile, ok, refused

PATH = "/api/deviceRecords"


@pytest.fixture
def profile(shared_operator):
    """A profile whose devices are those of one test."""
    return new_profile(shared_operator)["name"]


def page(client, profile, **query):
    return ok(client.get(PATH, params={"pageSize": 10, "type": profile, **query}))


def names(found):
    return [each["name"] for each in found["devices"]]


def test_credentials_are_refused_to_whoever_may_not_read_them(shared_server, shared_operator, profile):
    device = new_device(shared_operator, type=profile)
    with new_operator(shared_server, Role.READ_ONLY) as reader:
        found = page(reader, profile)
        assert names(found) == [device["name"]]
        assert "credentials" not in found["devices"][0]
        refused(reader.get(PATH, params={"pageSize": 1, "withCredentials": True}), 403, 20)
    with new_operator(shared_server, Role.LINE) as line:
        refused(line.get(PATH, params={"pageSize": 1}), 403, 20)


def test_customers_user_gets_the_customers_devices_alone(shared_server, shared_operator, profile):
    customer, user = new_customers_user(shared_server, shared_operator)
    own, _ = (new_device(shared_operator, type=profile) for _ in range(2))
    ok(shared_operator.post(f"/api/customer/{customer['id']['id']}/device/{own['id']['id']}"))
    with user:
        (found,) = page(user, profile, withCredentials=True)["devices"]
    assert (found["name"], found["customer"]) == (own["name"], customer["title"])
    assert found["credentials"]["credentialsType"] == "ACCESS_TOKEN"


def test_reading_of_credentials_is_recorded_of_each_device(shared_operator, profile):
    made = {new_device(shared_operator, type=profile)["name"] for _ in range(3)}
    page(shared_operator, profile)
    found = page(shared_operator, profile, withCredentials=True)
    trail = ok(shared_operator.get("/api/audit/logs?pageSize=20&page=0&sortProperty=createdTime&sortOrder=DESC"))
    read = [each["entityName"] for each in trail["data"] if each["actionType"] == "CREDENTIALS_READ"]
    assert len([each for each in read if each in made]) == len(made)
    assert not any(each["credentials"]["credentialsId"] in json.dumps(trail) for each in found["devices"])


def test_pages_have_each_device_once_whatever_is_made_and_deleted_meanwhile(shared_operator, profile):
    made = [new_device(shared_operator, name=f"{profile}-{each}", type=profile) for each in "bdf"]
    first = page(shared_operator, profile, pageSize=2)
    assert (names(first), first["left"]) == ([f"{profile}-b", f"{profile}-d"], 3)
    ok(shared_operator.delete(f"/api/device/{made[0]['id']['id']}"))
    new_device(shared_operator, name=f"{profile}-a", type=profile)
    new_device(shared_operator, name=f"{profile}-e", type=profile)
    rest = page(shared_operator, profile, pageSize=2, after=names(first)[-1])
    assert (names(rest), rest["left"]) == ([f"{profile}-e", f"{profile}-f"], 2)
    assert page(shared_operator, profile, after=names(rest)[-1]) == {"devices": [], "left": 0}


def test_page_ends_before_it_is_too_large_and_has_one_device_at_least(shared_operator, profile, monkeypatch):
    monkeypatch.setattr(device_records, "SIZE", 1000)
    for number, size in enumerate((400, 400, 400, 2000)):
        device = new_device(shared_operator, name=f"{profile}-{number}", type=profile)["id"]["id"]
        path = f"/api/plugins/telemetry/DEVICE/{device}/attributes/SHARED_SCOPE"
        ok(shared_operator.post(path, json={"text": "x" * size}))
    sizes, after = [], ""
    while found := page(shared_operator, profile, after=after)["devices"]:
        sizes.append(len(found))
        after = found[-1]["name"]
    assert sizes == [2, 1, 1]


def test_server_without_such_pages_gives_the_same_lines(shared_server, shared_operator, profile):
    for number in range(3):
        form = {"name": f"{profile}-{number}", "label": "L", "additionalInfo": {"description": "x"}}
        device = new_device(shared_operator, type=profile, **form)["id"]["id"]
        ok(shared_operator.post(f"/api/lifecycle/device/{device}/serialNumber", json={"serialNumber": f"SN-{number}"}))
        for scope in ("SHARED_SCOPE", "SERVER_SCOPE"):
            path = f"/api/plugins/telemetry/DEVICE/{device}/attributes/{scope}"
            ok(shared_operator.post(path, json={"b": 1.5, "a": {"c": True}}))

    async def lines(transport):
        url = f"http://127.0.0.1:{shared_server.ports.http}"
        async with httpx.AsyncClient(base_url=url, timeout=30, transport=transport) as http:
            server = ThingsBoard(http, *account(shared_server).values())
            found = device_export.pages(server, search="", profile=profile, with_credentials=True)
            return [device_files.line(each) async for some, _ in found for each in some]

    class Without(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request):
            if request.url.path == PATH:
                return httpx.Response(404, json={"message": "no such path"})
            return await super().handle_async_request(request)

    pages, one_by_one = asyncio.run(lines(None)), asyncio.run(lines(Without()))
    assert pages == one_by_one
    assert len(pages) == 3
