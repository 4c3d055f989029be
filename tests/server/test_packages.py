"""Packages as devices meet them: notified over every way of creation and assignment, fetched over every transport."""

import asyncio
import io
import json
import queue
import threading
import uuid

import aiocoap
import pytest
from aiocoap.numbers import codes

from bench.registry import packages
from bench.server import packages as server_packages
from bench.server.coap.server import PACKAGE_PART
from bench.server.journal import Journal
from tests.support.coap_packets import ACK, CON, EMPTY, GET, RawPeer, message, path_options
from tests.support.mqtt_packets import PINGREQ, PINGRESP, TOKEN, device_session, expect_end
from tests.support.operators import login, new_device, new_profile, ok
from tests.support.packages import CONTENT, assign, new_package
from tests.support.servers import PATIENCE_S, on_both_databases

pytestmark = on_both_databases
KEYS = ("title", "version", "tag", "size", "checksum", "checksum_algorithm", "url")


@pytest.fixture
def operator(server):
    with login(server) as client:
        yield client


@pytest.fixture
def device(operator):
    """A device with the token `TOKEN`."""
    form = {"name": "device"}
    return ok(operator.post("/api/device", params={"accessToken": TOKEN}, json=form))


def shared(operator, device):
    """The shared attributes of a device."""
    path = f"/api/plugins/telemetry/DEVICE/{device['id']['id']}/values/attributes/SHARED_SCOPE"
    return {each["key"]: each["value"] for each in ok(operator.get(path))}


def latest(operator, device):
    """The latest telemetry of a device."""
    path = f"/api/plugins/telemetry/DEVICE/{device['id']['id']}/values/timeseries"
    return {key: values[0]["value"] for key, values in ok(operator.get(path)).items()}


def notified(package, prefix="fw"):
    """The attributes that notify of a package."""
    values = {
        "title": package["title"],
        "version": package["version"],
        "tag": package["tag"],
        "size": package["dataSize"],
        "checksum_algorithm": package["checksumAlgorithm"],
        "checksum": package["checksum"],
        "url": package["url"],
    }
    return {f"{prefix}_{key}": value for key, value in values.items() if value is not None}


@pytest.mark.parametrize(
    ("kind", "prefix", "key"), [("FIRMWARE", "fw", "firmwareId"), ("SOFTWARE", "sw", "softwareId")]
)
def test_device_is_notified_of_its_own_package_and_of_its_end(operator, device, kind, prefix, key):
    package = new_package(operator, kind=kind, tag="a tag")
    assign(operator, device, package, key)
    assert shared(operator, device) == notified(package, prefix)
    series = latest(operator, device)
    assert series.pop(f"target_{prefix}_ts")
    assert series == {
        f"target_{prefix}_title": package["title"],
        f"target_{prefix}_version": "1.0",
        f"target_{prefix}_tag": "a tag",
        f"{prefix}_state": "INITIATED",
    }
    assign(operator, device, None, key)
    assert shared(operator, device) == {}


def test_package_elsewhere_is_notified_with_its_url_and_without_what_is_not_known(operator, device):
    package = new_package(operator, None, usesUrl=True, url="https://example.com/press.bin")
    assign(operator, device, package)
    assert shared(operator, device) == {"fw_title": package["title"], "fw_version": "1.0", "fw_url": package["url"]}


def test_same_package_saved_again_tells_nothing_and_changes_no_version(operator, device):
    package = new_package(operator)
    first = assign(operator, device, package)
    before = latest(operator, device)
    again = ok(operator.post("/api/device", json=first))
    assert latest(operator, device) == before
    assert again["version"] == first["version"]


def test_devices_of_a_profile_have_its_package_unless_they_have_their_own(server, operator):
    of_profile, own = new_package(operator), new_package(operator)
    profile = new_profile(operator)
    first, second = (new_device(operator, deviceProfileId=profile["id"]) for _ in range(2))
    assign(operator, second, own)
    ok(operator.post("/api/deviceProfile", json={**profile, "firmwareId": of_profile["id"]}))
    wait_until_notified(server)
    assert shared(operator, first) == notified(of_profile)
    assert shared(operator, second) == notified(own)
    assign(operator, second, None)
    assert shared(operator, second) == notified(of_profile)
    later = new_device(operator, deviceProfileId=profile["id"])
    assert shared(operator, later) == notified(of_profile)
    elsewhere = new_device(operator)
    ok(operator.post("/api/device", json={**later, "deviceProfileId": elsewhere["deviceProfileId"], "type": None}))
    assert shared(operator, later) == {}


def wait_until_notified(server):
    """Wait until every device was notified: the server does so by itself."""

    async def notify(registry):
        while behind := await registry.read(packages.behind):
            await registry.write(packages.notify_devices, behind)

    server.query(notify)


def test_device_that_provisions_is_notified_with_its_answer(server, operator):
    package = new_package(operator)
    profile = new_profile(operator, "ALLOW_CREATE_NEW_DEVICES")
    ok(operator.post("/api/deviceProfile", json={**profile, "firmwareId": package["id"]}))
    secret = profile["profileData"]["provisionConfiguration"]["provisionDeviceSecret"]
    request = {"provisionDeviceKey": profile["provisionDeviceKey"], "provisionDeviceSecret": secret, "token": TOKEN}
    assert ok(operator.post("/api/v1/provision", json={**request, "deviceName": "new"}))["status"] == "SUCCESS"
    found = ok(operator.get(f"/api/v1/{TOKEN}/attributes?sharedKeys={','.join(f'fw_{key}' for key in KEYS)}"))
    assert found == {"shared": notified(package)}


def test_what_was_not_notified_before_a_crash_is_notified_after_it(server, operator, device, monkeypatch):
    package = new_package(operator)

    def crash(*_):
        raise OSError("no power")

    profile = ok(operator.get(f"/api/deviceProfile/{device['deviceProfileId']['id']}"))
    monkeypatch.setattr(packages, "notify", crash)
    ok(operator.post("/api/deviceProfile", json={**profile, "firmwareId": package["id"]}))
    assert server.wait_for("failure")["what"] == "packages"
    assert shared(operator, device) == {}
    monkeypatch.undo()
    server.stop()
    server.start()
    with login(server) as again:
        wait_until_notified(server)
        assert shared(again, device) == notified(package)


# MQTT.


def test_session_is_notified_and_fetches_part_by_part(server, operator, device, v):
    package = new_package(operator)
    with device_session(server, v) as client:
        client.send(v.subscribe(1, ("v1/devices/me/attributes", 0), ("v2/fw/response/+/chunk/+", 0)))
        client.expect(v.suback(1, 0, 0))
        assign(operator, device, package)
        for expected in (json.dumps(notified(package), separators=(",", ":")), '{"deleted":["fw_tag","fw_url"]}'):
            client.expect(v.publish("v1/devices/me/attributes", expected.encode()))
        for number in range(4):
            client.send(v.publish(f"v2/fw/request/1/chunk/{number}", b"1000" if number == 0 else b"", qos=1))
            part = CONTENT[number * 1000 : (number + 1) * 1000]
            client.expect(v.puback(1) + v.publish(f"v2/fw/response/1/chunk/{number}", part))


@pytest.mark.parametrize("size", [b"", b"0", b"-5"])
def test_session_that_names_no_size_gets_all(server, operator, device, v, size):
    assign(operator, device, new_package(operator))
    with device_session(server, v) as client:
        client.send(v.publish("v2/fw/request/9/chunk/0", size) + PINGREQ)
        client.expect(v.publish("v2/fw/response/9/chunk/0", CONTENT, qos=1) + PINGRESP)


def test_request_goes_on_with_the_package_that_it_began_with(server, operator, device, v):
    first, second = new_package(operator), new_package(operator, CONTENT[::-1])
    assign(operator, device, first)
    with device_session(server, v) as client:
        client.send(v.subscribe(1, ("v2/fw/response/+/chunk/+", 0)))
        client.expect(v.suback(1, 0))
        client.send(v.publish("v2/fw/request/1/chunk/0", b"8"))
        client.expect(v.publish("v2/fw/response/1/chunk/0", CONTENT[:8]))
        assign(operator, device, second)
        client.send(v.publish("v2/fw/request/1/chunk/1", b"") + v.publish("v2/fw/request/2/chunk/0", b"8"))
        client.expect(v.publish("v2/fw/response/1/chunk/1", CONTENT[8:16]))
        client.expect(v.publish("v2/fw/response/2/chunk/0", CONTENT[::-1][:8]))


def test_session_with_a_package_elsewhere_gets_an_error_and_is_closed(server, operator, device, v):
    assign(operator, device, new_package(operator, None, usesUrl=True, url="https://example.com/a"))
    with device_session(server, v) as client:
        client.send(v.publish("v2/fw/request/1/chunk/0", b"8"))
        client.expect(v.publish("v2/fw/error", b"FAILURE", qos=1))
        expect_end(client, v, 0x83)


def test_content_that_is_lost_is_none(server, operator, device, v):
    assign(operator, device, new_package(operator))
    for each in server.data.glob("packages/*"):
        each.unlink()
    with device_session(server, v) as client:
        client.send(v.publish("v2/fw/request/1/chunk/0", b"8"))
        client.expect(v.publish("v2/fw/error", b"NOT_FOUND", qos=1))
        expect_end(client, v, 0x83)


# HTTP.


def test_package_is_fetched_over_http_whole_and_in_parts(server, operator, device):
    package = new_package(operator, kind="SOFTWARE")
    assign(operator, device, package, "softwareId")
    name = {"title": package["title"], "version": package["version"]}
    path = f"/api/v1/{TOKEN}/software"
    whole = operator.get(path, params=name)
    assert (whole.status_code, whole.content) == (200, CONTENT)
    assert whole.headers["content-disposition"] == "attachment;filename=press.bin"
    for number, part in ((0, CONTENT[:1000]), (2, CONTENT[2000:]), (3, b"")):
        found = operator.get(path, params={**name, "size": 1000, "chunk": number})
        assert (found.status_code, found.content) == (200, part)
    assert operator.get(path, params={**name, "version": "2"}).status_code == 400
    assert operator.get(f"/api/v1/{TOKEN}/firmware", params=name).status_code == 404


def test_file_name_with_anything_in_it_is_a_header(operator, device):
    package = new_package(operator, None)
    path = f"/api/otaPackage/{package['id']['id']}"
    hostile = 'pr"ess\u00e4\u2028.bin'
    ok(operator.post(path, params={"checksumAlgorithm": "MD5"}, files={"file": (hostile, CONTENT)}))
    assign(operator, device, package)
    name = {"title": package["title"], "version": package["version"]}
    found = operator.get(f"/api/v1/{TOKEN}/firmware", params=name)
    assert found.content == CONTENT
    assert found.headers["x-filename"].isascii()


# CoAP.


def read(server, *paths):
    """Return codes and payloads, as aiocoap's client reads them: blocks put together."""

    async def talk():
        context = await aiocoap.Context.create_client_context()
        try:
            return [await answer(context, path) for path in paths]
        finally:
            await context.shutdown()

    async def answer(context, path):
        request = aiocoap.Message(code=codes.GET, uri=f"coap://127.0.0.1:{server.ports.coap}/{path}")
        found = await asyncio.wait_for(context.request(request).response, 20)
        return found.code, found.payload

    return asyncio.run(talk())


def test_package_is_fetched_over_coap_whole_and_in_parts(server, operator, device):
    package = new_package(operator)
    assign(operator, device, package)
    expected = {
        f"fw/{TOKEN}": (codes.CONTENT, CONTENT),
        f"fw/{TOKEN}?size=500&chunk=0": (codes.CONTENT, CONTENT[:500]),
        f"fw/{TOKEN}?title={package['title']}&version=1.0&size=500&chunk=4": (codes.CONTENT, CONTENT[2000:]),
        f"fw/{TOKEN}?title={package['title']}&version=2": (codes.BAD_REQUEST, b""),
        f"fw/{TOKEN}?size=x": (codes.BAD_REQUEST, b""),
        f"fw/{TOKEN}?size={PACKAGE_PART + 1}": (codes.REQUEST_ENTITY_TOO_LARGE, b""),
        f"sw/{TOKEN}": (codes.NOT_FOUND, b""),
        "fw": (codes.UNAUTHORIZED, b""),
        "fw/unknown": (codes.UNAUTHORIZED, b""),
    }
    assert dict(zip(expected, read(server, *expected), strict=True)) == expected


def test_coap_past_the_end_is_no_answer_at_all(server, operator, device):
    assign(operator, device, new_package(operator))
    with RawPeer(server.ports.coap) as peer:
        peer.send(message(CON, GET, 7, b"t", path_options(f"fw/{TOKEN}?size=1024&chunk=3")))
        received = peer.receive()
        assert (received.kind, received.code) == (ACK, EMPTY)
        peer.expect_silence()


def test_device_with_many_connections_has_one_part_read_at_a_time(run, tmp_path, monkeypatch):
    begun, go_on = queue.SimpleQueue(), threading.Event()

    def read(path, *_):
        begun.put(path.name)
        assert go_on.wait(PATIENCE_S)
        return b"x"

    monkeypatch.setattr(server_packages, "_read", read)

    async def scenario(registry):
        stored = server_packages.Packages(registry, Journal(io.StringIO()))
        greedy, other = uuid.uuid4(), uuid.uuid4()

        def parts(device, name, count):
            content = server_packages.Content("t", "1", name, 8, tmp_path / name)
            return [asyncio.create_task(stored.part(device, content, 1, number)) for number in range(count)]

        waiting = parts(greedy, "greedy", 8)
        first = await asyncio.to_thread(begun.get, timeout=PATIENCE_S)
        waiting += parts(other, "other", 1)
        second = await asyncio.to_thread(begun.get, timeout=PATIENCE_S)
        go_on.set()
        await asyncio.gather(*waiting)
        return first, second

    assert run(scenario) == ("greedy", "other")


def test_large_part_over_http_is_read_in_pieces(server, operator, device, monkeypatch):
    content = bytes(range(251)) * 800
    package = new_package(operator, content)
    assign(operator, device, package)
    lengths, read = [], server_packages._read
    monkeypatch.setattr(
        server_packages, "_read", lambda path, start, length: lengths.append(length) or read(path, start, length)
    )
    for size, number, expected in (
        (2**31 - 1, 0, content),
        (150_000, 0, content[:150_000]),
        (150_000, 1, content[150_000:]),
        (150_000, 2, b""),
        (server_packages.CHUNK_LIMIT, 1, content[65536:131_072]),
    ):
        query = {"title": package["title"], "version": "1.0", "size": size, "chunk": number}
        answer = operator.get(f"/api/v1/{TOKEN}/firmware", params=query)
        assert (answer.status_code, answer.content) == (200, expected)
        assert answer.headers["content-length"] == str(len(expected))
    assert sum(lengths) == 2 * len(content) + server_packages.CHUNK_LIMIT
    assert max(lengths) == server_packages.CHUNK_LIMIT
