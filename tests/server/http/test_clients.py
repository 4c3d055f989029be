"""An HTTP client that others wrote: curl."""

import json
import shutil
import subprocess

import pytest

from tests.support.http_requests import wait_for_listeners
from tests.support.mqtt_packets import FAILURE, NOT_FOUND, request_body, success
from tests.support.servers import TOKEN

WAIT_S = 20

JSON = ("--header", "Content-Type: application/json")

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")


@pytest.fixture
def url(server):
    return f"http://127.0.0.1:{server.ports.http}/api/v1"


def command(*args):
    return ["curl", "--silent", "--show-error", "--write-out", "\n%{http_code}", *args]


def curl(*args):
    """Status and body."""
    body, _, status = subprocess.run(
        command(*args), capture_output=True, text=True, timeout=WAIT_S, check=True
    ).stdout.rpartition("\n")
    return int(status), body


def test_curl_provisions_and_reports(server, url):
    wrong = request_body(server.profile, provisionDeviceSecret="x").decode()
    body = request_body(server.profile, deviceName="a", token="A1").decode()
    assert curl(f"{url}/provision", "--data", wrong, *JSON) == (200, NOT_FOUND.decode())
    assert curl(f"{url}/provision", "--data", body)[0] == 500  # a form, as curl has it
    assert curl(f"{url}/provision", "--data", body, *JSON) == (200, success("A1").decode())
    assert curl(f"{url}/provision", "--data", body, *JSON) == (200, FAILURE.decode())
    assert curl(f"{url}/provision", "--data", "{", *JSON)[0] == 500
    assert curl(f"{url}/provision")[0] == 405
    assert curl(f"{url}/provision/", "--data", body)[0] == 404
    assert curl(f"{url}/A1/telemetry", "--data", '{"t":1}', *JSON) == (200, "")
    assert curl(f"{url}/A2/telemetry", "--data", '{"t":1}') == (401, "")
    assert server.query(lambda registry: registry.device("a")).telemetry == {"t": 1}


def test_curl_reads_back_what_it_uploads_in_chunks(server, device_id, url, tmp_path):
    values = {"a": "x" * 100_000}
    (tmp_path / "body").write_text(json.dumps(values))
    chunked = ("--header", "Transfer-Encoding: chunked", "--data-binary", f"@{tmp_path / 'body'}", *JSON)
    assert curl(f"{url}/{TOKEN}/attributes", *chunked) == (200, "")
    status, body = curl(f"{url}/{TOKEN}/attributes?clientKeys=a")
    assert (status, json.loads(body)) == (200, {"client": values})


def test_curl_receives_413_for_a_body_beyond_the_limit(server, device_id, url, tmp_path):
    (tmp_path / "body").write_bytes(b" " * (2 << 20))
    options = ("--data-binary", f"@{tmp_path / 'body'}")  # with Expect: 100-continue
    status, body = curl(f"{url}/{TOKEN}/attributes", *options)
    assert (status, body) == (413, '"Payload size exceeds the limit of 1048576 bytes"')


def test_curl_polls(server, device_id, url):
    client = subprocess.Popen(command(f"{url}/{TOKEN}/rpc"), stdout=subprocess.PIPE, text=True)
    wait_for_listeners(server, device_id, 1)
    calling = server.submit(lambda api: api.presence.call(device_id, "echo", [1], oneway=False, timeout_s=WAIT_S))
    assert client.communicate(timeout=WAIT_S)[0] == '{"id":0,"method":"echo","params":[1]}\n200'
    assert curl(f"{url}/{TOKEN}/rpc/0", "--data", "[2]", *JSON) == (200, "")
    assert calling.result(WAIT_S) == [2]
    assert curl(f"{url}/{TOKEN}/rpc?timeout=10") == (408, "")
