"""Command-line clients that others wrote, unmodified from PyPI, with the commands of their own documentation.

`tbctl` and ThingsBoard's `tb` are made for people and scripts at any ThingsBoard. `tb` sends statistics and looks for
updates: both are off, and no process of theirs gets through to another machine.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench import paths
from bench.contract.releases import NEWEST
from tests.support.operators import account, login, ok

TOOLS = paths.BUILD / "tools"
ONLY_THIS_MACHINE = Path(__file__).parent / "clients" / "only_this_machine"
WAIT_S = 60
ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

pytestmark = pytest.mark.slow


@pytest.fixture
def environment(tmp_path):
    """The environment of the tools: a home of their own, no statistics, no other machine."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": f"{ONLY_THIS_MACHINE}:{TOOLS}",
        "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
        "TRIED": str(tmp_path / "tried"),
        "TB_ANALYTICS": "0",
        "DO_NOT_TRACK": "1",
        "NO_COLOR": "1",
        "COLUMNS": "200",
    }


@pytest.fixture
def run(tmp_path, environment):
    """Run commands; at the end none has tried to reach another machine."""

    def start(*command, given=None, fails=False):
        program, *arguments = command
        done = subprocess.run(
            [sys.executable, TOOLS / "bin" / program, *arguments],
            cwd=tmp_path,
            env=environment,
            input=given,
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )
        assert (done.returncode != 0) == fails, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    yield start
    assert not (tmp_path / "tried").exists(), (tmp_path / "tried").read_text()


def test_process_of_the_tools_reaches_no_other_machine(tmp_path, environment):
    for attempt in (
        "socket.create_connection(('192.0.2.1', 9), 1)",
        "socket.getaddrinfo('thingsboard.cloud', 443)",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 9))",
        "__import__('httpx').post('https://eu.thingsboard.cloud/api/analytics/track')",
    ):
        command = [sys.executable, "-c", f"import socket; {attempt}"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=WAIT_S, check=False)
        assert "only this machine" in done.stderr
    assert len((tmp_path / "tried").read_text().splitlines()) == 4


def test_tbctl_does_what_its_documentation_has(server, run):
    who = account(server)
    url = f"http://127.0.0.1:{server.ports.http}"

    def tbctl(*command, **options):
        return run("tbctl", *command, **options)

    log_in = ("auth", "login", "--url", url, "-u", who["username"], "--insecure-storage")
    tbctl(*log_in, given="wrong\n", fails=True)
    tbctl(*log_in, given=f"{who['password']}\n")
    assert json.loads(tbctl("auth", "status", "--json"))["user"] == who["username"]
    tbctl("auth", "refresh")
    tbctl("device", "create", "sensor-1", "--device-profile", "default", "--label", "Lobby")
    listed = ("--search", "sensor", "--device-profile", "default", "--token", "--json")
    listed += ("--sort-by", "createdTime", "--sort-order", "DESC")
    (device,) = json.loads(tbctl("device", "list", *listed))
    assert (device["name"], device["label"]) == ("sensor-1", "Lobby")
    tbctl("device", "update", "sensor-1", "--label", "Main hall", "--device-profile", "default")
    assert json.loads(tbctl("device", "get", "sensor-1", "--json"))["label"] == "Main hall"
    assert json.loads(tbctl("device", "profiles", "--search", "def", "--json"))[0]["name"] == "default"
    tbctl("alias", "add", "ruedi", "sensor-1")
    with login(server) as operator:
        values = f"/api/plugins/telemetry/DEVICE/{device['id']['id']}"
        ok(operator.post(f"/api/v1/{device['accessToken']}/telemetry", json={"temperature": 21.5}))
        ok(operator.post(f"{values}/SERVER_SCOPE", json={"fwVersion": "1.0"}))
    assert "temperature" in tbctl("telemetry", "keys", "ruedi")
    assert "21.5" in tbctl("telemetry", "latest", "ruedi", "--keys", "temperature,humidity")
    for span in (["--last", "24h"], ["--last", "20"], ["--last", "7d", "--plot"]):
        tbctl("telemetry", "history", device["id"]["id"], "--keys", "temperature", *span)
    assert "1.0" in tbctl("attributes", "get", "sensor-1", "--scope", "SERVER_SCOPE", "--keys", "fwVersion")
    tbctl("device", "delete", "sensor-1", "--yes")
    tbctl("device", "get", "sensor-1", fails=True)
    tbctl("auth", "logout")
    tbctl("device", "list", fails=True)


def test_tb_does_what_its_documentation_has(server, run, tmp_path):
    who = account(server)

    def tb(*command, **options):
        return run("tb", *command, **options)

    def id_in(text):
        return ID.search(text)[0]

    credentials = ("--username", who["username"], "--password", who["password"])
    tb("config", "set", "--url", f"http://127.0.0.1:{server.ports.http}", *credentials)
    assert NEWEST.version in tb("system", "info")
    device = id_in(tb("device", "save", "--name", "thermo-1", "--type", "default", "--access-token", "a-token"))
    assert "thermo-1" in tb("device", "list")
    assert device in tb("device", "get", "thermo-1")
    assert "a-token" in tb("device", "credentials", device)
    for ttl in ([], ["--ttl", "60"]):
        tb("telemetry", "save", "DEVICE", device, "--json", '{"temperature": 21.5}', *ttl)
    span = ("--start-ts", "0", "--end-ts", "9999999999999")
    assert "21.5" in tb("telemetry", "get", "DEVICE", device, "--keys", "temperature", *span)
    tb("attributes", "save", "DEVICE", device, "--json", '{"mode": "auto"}')
    assert "auto" in tb("attributes", "get", "DEVICE", device, "--scope", "SERVER_SCOPE")
    assert "mode" in tb("attributes", "list", "DEVICE", device)
    customer = id_in(tb("customer", "save", "--title", "Acme"))
    assert customer in tb("customer", "get", "Acme")
    one, other = {"entityType": "CUSTOMER", "id": customer}, {"entityType": "DEVICE", "id": device}
    tb("relation", "save", "--json", json.dumps({"from": one, "to": other, "type": "Contains", "typeGroup": "COMMON"}))
    assert device in tb("relation", "find-from", "CUSTOMER", customer)
    assert customer in tb("relation", "find-to", "DEVICE", device)
    user = id_in(tb("user", "save", "--email", "jo@example.com", "--no-activation-mail"))
    assert "jo@example.com" in tb("user", "get", user)
    profile = id_in(tb("device-profile", "save", "--name", "fleet"))
    assert "fleet" in tb("device-profile", "get", profile)
    tb("device", "delete", device, "--yes")
    tb("device", "get", "thermo-1", fails=True)
    assert not list((tmp_path / ".thingsboard").glob("*analytics*"))
