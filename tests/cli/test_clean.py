"""`bench clean`: what runs of tests made, and never anything else."""

import asyncio
import time

import httpx

from bench.rest_client import ThingsBoard, runs
from tests.support.commands import bench, printed
from tests.support.operators import account, everything, new_device, new_profile, ok

MARK = "Made by bench for one run, and removed after it, or by bench clean: {name}"
NOTHING = {"profiles": [], "devices": [], "kept": []}


def profile_of_a_run(server):
    """Make a profile as a run of tests does."""
    run = runs.new_run()

    async def make():
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.ports.http}") as http:
            client = ThingsBoard(http, *account(server).values())
            return await runs.create_profile(client, f"{run}-main-1")

    return asyncio.run(make())


def provisioned(operator, device):
    """Mark a device as one that provisioned itself."""
    path = f"/api/plugins/telemetry/DEVICE/{device['id']['id']}/attributes/SERVER_SCOPE"
    ok(operator.post(path, json={"provisionState": "provisioned"}))


def test_profile_that_only_looks_like_a_runs_is_left_alone_with_its_devices(server, server_operator, url):
    theirs = profile_of_a_run(server)
    changes = (
        {"name": "mine"},  # a name of their own
        {"name": "bench-run-mine", "description": MARK.format(name="bench-run-mine")},
        {"description": "our own"},
        {"description": None},
        {"name": "bench-run-20260101-000000-0123abcd-main-1"},  # a copy says another name
    )
    for number, each in enumerate(changes):
        form = {**theirs, **each, "id": None, "provisionDeviceKey": f"key-{time.monotonic_ns()}"}
        if form["name"] == theirs["name"]:
            form["name"] = theirs["name"][:-1] + str(2 + number)
        profile = ok(server_operator.post("/api/deviceProfile", json=form))
        new_device(server_operator, name=f"{profile['name']}-1", deviceProfileId=profile["id"])
    new_profile(server_operator, name="bench-run-1")
    new_device(server_operator, name=f"{theirs['name']}-1")  # of the default profile
    ok(server_operator.delete(f"/api/deviceProfile/{theirs['id']['id']}"))
    before = everything(server_operator)
    assert printed("clean", "--older", "0s", "--yes", *url) == NOTHING
    assert everything(server_operator) == before


def test_device_that_somebody_put_into_a_runs_profile_stays_with_it(server, server_operator, url):
    moved = new_device(server_operator)
    provisioned(server_operator, moved)
    profile = profile_of_a_run(server)
    moved = ok(server_operator.post("/api/device", json={**moved, "deviceProfileId": profile["id"]}))
    by_hand = new_device(server_operator, deviceProfileId=profile["id"])
    new_device(server_operator, name=f"{profile['name']}-02aa", deviceProfileId=profile["id"])
    done = bench("clean", "--older", "0s", "--yes", *url)
    assert done.returncode == 1
    assert f"profile {profile['name']} (stays: 2 devices in it are not of a run)" in done.stdout
    assert "removed 0 profiles and 1 devices" in done.stdout
    assert f"these profiles stay: {profile['name']}: give the devices in them" in done.stderr
    profiles, devices, _ = everything(server_operator)
    assert profile["name"] in {each["name"] for each in profiles}
    assert sorted(each["id"]["id"] for each in devices) == sorted(each["id"]["id"] for each in (moved, by_hand))


def test_what_is_young_may_be_in_use(server, server_operator, url):
    profile_of_a_run(server)
    before = everything(server_operator)
    assert printed("clean", "--yes", *url) == NOTHING
    assert everything(server_operator) == before
    assert len(printed("clean", "--older", "0s", "--yes", *url)["profiles"]) == 1


def test_without_a_terminal_or_a_time_nothing_is_removed(server, server_operator, url):
    name = profile_of_a_run(server)["name"]
    before = everything(server_operator)
    done = bench("clean", "--older", "0s", *url)
    assert (done.returncode, done.stdout) == (2, f"profile {name}\n")
    assert "Remove 1 profiles and 0 devices? There is no terminal" in done.stderr
    assert bench("clean", "--older", "soon", "--yes", *url).returncode == 2
    assert everything(server_operator) == before


def found(server, run, hooks=()):
    async def find():
        url = f"http://127.0.0.1:{server.ports.http}"
        async with httpx.AsyncClient(base_url=url, event_hooks={"request": list(hooks)}) as http:
            return await runs.find(ThingsBoard(http, *account(server).values()), run)

    return asyncio.run(find())


def test_only_a_named_run_is_found(server, server_operator):
    one, other = (profile_of_a_run(server)["name"] for _ in range(2))
    assert [each.profile["name"] for each in found(server, one.removesuffix("-main-1"))] == [one]
    assert [each.profile["name"] for each in found(server, "")] == sorted([one, other])
    assert found(server, one[:15]) == []


def test_server_that_answers_with_devices_of_all_profiles_endangers_none(server, server_operator):
    profile_of_a_run(server)
    provisioned(server_operator, new_device(server_operator))

    async def forget(request):
        request.url = request.url.copy_remove_param("deviceProfileId")

    (made,) = found(server, "", [forget])
    assert (made.devices, made.others) == ([], [])


def test_profile_that_the_server_needs_now_stays(server, server_operator, url):
    profile = profile_of_a_run(server)
    ok(server_operator.post(f"/api/deviceProfile/{profile['id']['id']}/default"))
    done = bench("clean", "--older", "0s", "--yes", *url)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "removed 0 profiles and 0 devices")
    assert f"these profiles stay: {profile['name']}" in done.stderr
