"""`bench clean`: what runs of tests made, and never anything else."""

import asyncio
import time

import httpx
import pytest

from bench.rest_client import ThingsBoard, pytest_runs
from tests.support.commands import bench, printed
from tests.support.operators import account, login, new_device, new_profile, ok

MARK = "Made by pytest --bench-url for one test, and removed after it, or by bench clean: {name}"
NOTHING = {"profiles": [], "devices": [], "kept": []}


@pytest.fixture
def operator(server):
    with login(server) as found:
        yield found


def profile_of_a_run(server, run=None):
    """Make a profile as a run of tests does."""
    run = run or pytest_runs.new_run()

    async def make():
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.ports.http}") as http:
            client = ThingsBoard(http, *account(server).values())
            return await pytest_runs.create_profile(client, f"{run}-main-1")

    return asyncio.run(make())


def everything(operator):
    """All profiles and devices of a server."""
    return [
        ok(operator.get(f"/api/{kind}?pageSize=100&page=0"))["data"] for kind in ("deviceProfiles", "tenant/devices")
    ]


def provisioned(operator, device):
    """Mark a device as one that provisioned itself."""
    path = f"/api/plugins/telemetry/DEVICE/{device['id']['id']}/attributes/SERVER_SCOPE"
    ok(operator.post(path, json={"provisionState": "provisioned"}))


def test_profile_that_only_looks_like_a_runs_is_left_alone_with_its_devices(server, operator, url):
    theirs = profile_of_a_run(server)
    changes = (
        {"name": "mine"},  # a name of their own
        {"name": "bench-run-mine", "description": MARK.format(name="bench-run-mine")},
        {"description": "our own"},
        {"description": None},
        {"name": "bench-run-20260101-000000-0123abcd-main-1"},  # a copy says another name
    )
    for each in changes:
        form = {**theirs, **each, "id": None, "provisionDeviceKey": f"key-{time.monotonic_ns()}"}
        form.setdefault("name", "")
        if form["name"] == theirs["name"]:
            form["name"] = theirs["name"][:-1] + str(2 + changes.index(each))
        profile = ok(operator.post("/api/deviceProfile", json=form))
        new_device(operator, name=f"{profile['name']}-1", deviceProfileId=profile["id"])
    new_profile(operator, name="bench-run-1")
    new_device(operator, name=f"{theirs['name']}-1")  # of the default profile
    ok(operator.delete(f"/api/deviceProfile/{theirs['id']['id']}"))
    before = everything(operator)
    assert printed("clean", "--older", "0s", "--yes", *url) == NOTHING
    assert everything(operator) == before


def test_device_that_somebody_put_into_a_runs_profile_stays_with_it(server, operator, url):
    moved = new_device(operator)
    provisioned(operator, moved)
    profile = profile_of_a_run(server)
    moved = ok(operator.post("/api/device", json={**moved, "deviceProfileId": profile["id"]}))
    by_hand = new_device(operator, deviceProfileId=profile["id"])
    new_device(operator, name=f"{profile['name']}-02aa", deviceProfileId=profile["id"])
    done = bench("clean", "--older", "0s", "--yes", *url)
    assert done.returncode == 1
    assert f"profile {profile['name']} (stays: 2 devices in it are not of a run)" in done.stdout
    assert "removed 0 profiles and 1 devices" in done.stdout
    assert f"these profiles stay: {profile['name']}: give the devices in them" in done.stderr
    profiles, devices = everything(operator)
    assert profile["name"] in {each["name"] for each in profiles}
    assert sorted(each["id"]["id"] for each in devices) == sorted(each["id"]["id"] for each in (moved, by_hand))


def test_what_is_young_may_be_in_use(server, operator, url):
    profile_of_a_run(server)
    before = everything(operator)
    assert printed("clean", "--yes", *url) == NOTHING
    assert everything(operator) == before
    assert len(printed("clean", "--older", "0s", "--yes", *url)["profiles"]) == 1


def test_without_a_terminal_or_a_time_nothing_is_removed(server, operator, url):
    name = profile_of_a_run(server)["name"]
    before = everything(operator)
    done = bench("clean", "--older", "0s", *url)
    assert (done.returncode, done.stdout) == (2, f"profile {name}\n")
    assert "Remove 1 profiles and 0 devices? There is no terminal" in done.stderr
    assert bench("clean", "--older", "soon", "--yes", *url).returncode == 2
    assert everything(operator) == before


def found(server, run, hooks=()):
    async def find():
        url = f"http://127.0.0.1:{server.ports.http}"
        async with httpx.AsyncClient(base_url=url, event_hooks={"request": list(hooks)}) as http:
            return await pytest_runs.find(ThingsBoard(http, *account(server).values()), run)

    return asyncio.run(find())


def test_only_a_named_run_is_found(server, operator):
    one, other = (profile_of_a_run(server)["name"] for _ in range(2))
    assert [each.profile["name"] for each in found(server, one.removesuffix("-main-1"))] == [one]
    assert [each.profile["name"] for each in found(server, "")] == sorted([one, other])
    assert found(server, one[:15]) == []


def test_server_that_answers_with_devices_of_all_profiles_endangers_none(server, operator):
    profile_of_a_run(server)
    provisioned(operator, new_device(operator))

    async def forget(request):
        request.url = request.url.copy_remove_param("deviceProfileId")

    (made,) = found(server, "", [forget])
    assert (made.devices, made.others) == ([], [])


def test_profile_that_the_server_needs_now_stays(server, operator, url):
    profile = profile_of_a_run(server)
    ok(operator.post(f"/api/deviceProfile/{profile['id']['id']}/default"))
    done = bench("clean", "--older", "0s", "--yes", *url)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "removed 0 profiles and 0 devices")
    assert f"these profiles stay: {profile['name']}" in done.stderr
