"""`bench rotate`: which devices are asked, what becomes of each, and runs that go on."""

import json
import stat
import threading

import pytest

from bench.registry.credentials import access_token
from bench.registry.provision_type import ProvisionType
from tests.support.commands import bench, refused
from tests.support.mqtt_packets import connack, connect, publish, suback, subscribe
from tests.support.raw_client import RawClient

CALLS = "v1/devices/me/rpc/request/+"
PATIENCE_S = 30.0


@pytest.fixture
def tray(server):
    """Devices of two profiles, whose tokens are `token-of-NAME`."""

    async def make(registry):
        for profile in ("press", "other"):
            await registry.create_profile(profile, ProvisionType.DISABLED)
        for name, profile in (("press-1", "press"), ("press-2", "press"), ("other-1", "other")):
            await registry.create_device(name, profile, token=f"token-of-{name}")

    server.query(make)
    return server


class Answering(RawClient):
    """A device that is online, and answers calls. Where that replaces its token, it logs in with the new one."""

    def __init__(self, server, name, *answers):
        super().__init__(server.ports.mqtt, PATIENCE_S)
        self._port, self._answers = server.ports.mqtt, answers
        self.send(connect(username=f"token-of-{name}") + subscribe(1, (CALLS, 0)))
        self.expect(connack(0) + suback(1, 0))
        self._thread = threading.Thread(target=self._answer)
        self._thread.start()

    def _answer(self):
        for answer in self._answers:
            head = self.read(2)
            rest = self.read(head[1])
            topic = rest[2 : 2 + rest[1]].decode()
            self.send(publish(topic.replace("request", "response"), json.dumps(answer).encode()))
            if token := answer.get("token"):
                self.expect_closed()
                with RawClient(self._port, PATIENCE_S) as again:
                    again.send(connect(username=token))
                    again.expect(connack(0))

    def __exit__(self, *_):
        self._thread.join(PATIENCE_S)
        super().__exit__()


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("name the devices", ()),
        ("write KEY=VALUE", ("--where", "x")),
        ("write KEY=VALUE", ("--where", "=x")),
        ("there is no folder", ("--profile", "press", "--report", "{folder}/none/x")),
        ("not a report", ("--profile", "press", "--report", "{folder}/password")),
    ],
)
def test_rotate_refuses_what_cannot_be(server, url, tmp_path, message, arguments):
    refused(2, message, "rotate", *(each.format(folder=tmp_path) for each in arguments), *url)


def test_rotate_reports_of_each_device_whether_it_has_taken_its_new_credentials(tray, url, tmp_path):
    report = tmp_path / "report.jsonl"
    where = ("rotate", "--profile", "press", "--report", report, "--json", *url)
    new = {"credentialsType": "ACCESS_TOKEN", "token": "new-token-of-press-1"}
    with Answering(tray, "press-1", new), Answering(tray, "press-2", {}):
        done = bench(*where)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "1 of 2 devices keep their old credentials" in done.stderr
    found = {each["name"]: each["status"] for each in json.loads(done.stdout)}
    assert found == {"press-1": "taken", "press-2": "failed"}
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
    assert "token-of" not in report.read_text() + done.stdout
    kept = {name: tray.query(lambda registry, name=name: registry.device(name)) for name in ("press-1", "press-2")}
    assert kept["press-1"].credentials == access_token("new-token-of-press-1")
    assert kept["press-2"].credentials == access_token("token-of-press-2")
    with report.open("a") as file:
        file.write('{"id": "cut')  # off, by a kill
    with Answering(tray, "press-2", {}):
        again = bench(*where)  # asks the one that is left, and not the one that has taken them
    assert {each["name"]: each["status"] for each in json.loads(again.stdout)} == found
    lines = [json.loads(line) for line in report.read_text().splitlines() if line.endswith("}")]
    assert [each["status"] for each in lines if each["name"] == "press-1"] == ["changed", "taken"]
    assert [each["status"] for each in lines if each["name"] == "press-2"] == ["failed", "failed"]


def test_rotate_finds_devices_by_attribute_and_state(tray, url):
    for assigned in ("hall=7", "hot=true", "line=B"):
        assert bench("device", "attributes", "other-1", "--set", assigned, *url).returncode == 0
    for conditions, names in (
        (("--where", "hall=7", "--where", "hot=true", "--where", "line=B"), ["other-1"]),
        (("--where", "hall=8"), []),
        (("--where", "hall=7", "--profile", "press"), []),
    ):
        done = bench("rotate", *conditions, "--timeout", "1", "--json", *url)
        assert [(each["name"], each["status"]) for each in json.loads(done.stdout)] == [
            (one, "offline") for one in names
        ]
        assert done.returncode == (1 if names else 0)
