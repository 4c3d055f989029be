"""CoAP clients that others wrote: libcoap's command line and aiocoap."""

import asyncio
import json
import shutil
import subprocess

import aiocoap
import pytest
from aiocoap.numbers import codes

from tests.support.mqtt_packets import FAILURE, NOT_FOUND, request_body, success
from tests.support.servers import TOKEN

WAIT_S = 20
CLIENT = shutil.which("coap-client-notls") or shutil.which("coap-client")


@pytest.fixture
def url(server):
    return f"coap://127.0.0.1:{server.ports.coap}/api/v1"


def libcoap(*args):
    """Run coap-client, and return its answer, or the code of an error and its payload."""
    if CLIENT is None:
        pytest.skip("no coap-client here (Debian: libcoap3-bin)")
    ended = subprocess.run([CLIENT, "-v", "3", *args], capture_output=True, text=True, timeout=WAIT_S, check=True)
    return ended.stdout.strip() or ended.stderr.strip()


def test_libcoap_provisions_and_reports(server, url):
    body = request_body(server.profile, deviceName="a", token="A1").decode()
    wrong = request_body(server.profile, provisionDeviceSecret="x").decode()
    assert libcoap("-m", "post", "-e", "{", f"{url}/provision") == "4.00"
    assert libcoap("-m", "post", "-e", wrong, f"{url}/provision") == f"4.00 {NOT_FOUND.decode()}"
    assert libcoap("-m", "post", "-e", body, f"{url}/provision") == success("A1").decode()
    assert libcoap("-m", "post", "-e", body, f"{url}/provision") == f"4.00 {FAILURE.decode()}"
    assert libcoap("-m", "post", "-e", '{"t":1}', f"{url}/A1/telemetry") == ""
    assert libcoap("-m", "get", f"{url}/A2/attributes") == "4.01"
    assert libcoap("-m", "get", f"{url}/A1/attributes") == "4.04"
    assert server.query(lambda registry: registry.device("a")).telemetry == {"t": 1}


# libcoap 4.3.1 never asks for the second block of an answer that came by itself (obgm/libcoap 1440, 1595)
@pytest.mark.parametrize("options", [(), ("-b", "64"), ("-b", "1024")])
def test_libcoap_sends_long_attributes(server, device, url, options):
    values = {"a": "x" * 5000}
    assert libcoap("-m", "post", "-e", json.dumps(values), *options, f"{url}/{TOKEN}/attributes") == ""
    assert device() == ({}, values)


def test_libcoap_reads_long_attributes_unconfirmed(server, device, url):
    values, attributes = {"a": "x" * 5000}, f"{url}/{TOKEN}/attributes"
    assert libcoap("-m", "post", "-e", json.dumps(values), "-b", "1024", "-N", attributes) == ""
    assert json.loads(libcoap("-m", "get", "-N", attributes + "?clientKeys=a")) == {"client": values}


def test_libcoap_observes(server, device_id, url):
    if CLIENT is None:
        pytest.skip("no coap-client here (Debian: libcoap3-bin)")
    command = ["stdbuf", "-o0", CLIENT, "-m", "get", "-s", "60", f"{url}/{TOKEN}/rpc"]
    client = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        server.submit(lambda api: api.presence.call(device_id, "reboot", None, oneway=True, timeout_s=WAIT_S)).result()
        expected = b'{"id":0,"method":"reboot","params":null}'
        received = b""
        while len(received.strip()) < len(expected):
            received += client.stdout.read(1)
        assert received.strip() == expected
    finally:
        client.terminate()
        client.communicate(timeout=WAIT_S)


def with_aiocoap(talk):
    async def run():
        context = await aiocoap.Context.create_client_context()
        try:
            async with asyncio.timeout(WAIT_S):
                return await talk(context)
        finally:
            await context.shutdown()

    return asyncio.run(run())


def test_aiocoap_provisions_and_reports(server, url):
    async def talk(context):
        async def send(code, path, payload=b""):
            request = aiocoap.Message(code=code, uri=f"{url}/{path}", payload=payload)
            answer = await context.request(request).response
            return answer.code, answer.payload

        body = request_body(server.profile, deviceName="a", token="A1")
        assert await send(codes.POST, "provision", b"{") == (codes.BAD_REQUEST, b"")
        assert await send(codes.POST, "provision", body) == (codes.CREATED, success("A1"))
        assert await send(codes.POST, "provision", body) == (codes.BAD_REQUEST, FAILURE)
        long = json.dumps({"a": "x" * 20_000}).encode()
        assert await send(codes.POST, "A1/attributes", long) == (codes.CREATED, b"")
        code, found = await send(codes.GET, "A1/attributes?clientKeys=a")
        assert code == codes.CONTENT
        assert json.loads(found) == {"client": {"a": "x" * 20_000}}

    with_aiocoap(talk)


def test_aiocoap_observes(server, device_id, url):
    async def talk(context):
        request = aiocoap.Message(code=codes.GET, uri=f"{url}/{TOKEN}/attributes", observe=0)
        requested = context.request(request)
        assert (await requested.response).payload == b"{}"
        notifications = aiter(requested.observation)
        for n in range(3):

            async def deed(api, n=n):
                api.presence.notify_attributes(device_id, {"a": n}, [])

            await asyncio.wrap_future(server.submit(deed))
            assert json.loads((await anext(notifications)).payload) == {"a": n}
        requested.observation.cancel()

    with_aiocoap(talk)


def test_aiocoap_provisions_many_at_once(server, url):
    count = 200

    async def talk(context):
        async def provision(n):
            body = request_body(server.profile, deviceName=f"d{n}", token=f"T{n}")
            request = aiocoap.Message(code=codes.POST, uri=f"{url}/provision", payload=body)
            request.transport_tuning = aiocoap.Unreliable
            return (await context.request(request).response).payload

        assert await asyncio.gather(*map(provision, range(count))) == [success(f"T{n}") for n in range(count)]

    with_aiocoap(talk)
    assert len(server.device_names()) == count
