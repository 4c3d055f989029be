"""Commands that publish a device's telemetry: as ThingsBoard words them, and as a shell takes them."""

import asyncio
import json
import shlex
import shutil
import subprocess

import httpx
import pytest

from bench.server.run import in_process
from tests.support.operators import client, name, new_credentials, new_device, new_profile, ok, refused

ABSENT = "00000000-0000-0000-0000-000000000001"


def commands(operator, device, **headers):
    return ok(operator.get(f"/api/device-connectivity/{device['id']['id']}", headers=headers))


def device_with(operator, kind, own_id=None, value=None, **fields):
    device = new_device(operator, **fields)
    form = {"credentialsType": kind, "credentialsId": own_id, "credentialsValue": value}
    ok(operator.post("/api/device/credentials", json=new_credentials(operator, device, **form)))
    return device


def test_device_that_is_not_there_is_404(shared_operator):
    absent = f"Device with id [{ABSENT}] is not found"
    refused(shared_operator.get(f"/api/device-connectivity/{ABSENT}"), 404, 32, absent)
    refused(shared_operator.get("/api/device-connectivity/mqtts"), 400, 31, "Invalid UUID string: mqtts")


@pytest.mark.parametrize("host", ["$(reboot)", "a;b", "a`b`", "a'b", 'a"b', "a b"])
def test_host_that_a_shell_takes_for_more_is_in_no_command(shared_operator, host):
    device = new_device(shared_operator)
    answer = shared_operator.get(f"/api/device-connectivity/{device['id']['id']}", headers={"host": host})
    if answer.status_code != 200:
        refused(answer, 400, 31, "Invalid Host header!")
    assert json.dumps(host)[1:-1] not in answer.text


@pytest.mark.parametrize("text", ["$(touch {})", "`touch {}`", '"; touch {}; "', "'; touch {}; '"])
def test_device_s_names_run_nothing_in_a_shell(shared_operator, tmp_path, text):
    marker = tmp_path / "marker"
    hostile = text.format(marker)
    value = json.dumps({"clientId": name(), "userName": hostile, "password": hostile})
    made = commands(shared_operator, device_with(shared_operator, "MQTT_BASIC", value=value))["mqtt"]
    for command in (made["mqtt"], *made["mqtts"], *made["docker"].values()):
        shell = f"mosquitto_pub() {{ :; }}; docker() {{ :; }}; curl() {{ :; }}; {command}"
        subprocess.run(["sh", "-c", shell], check=True, capture_output=True)
        assert not marker.exists(), command
    inside = shlex.split(made["docker"]["mqtts"])[-1]
    subprocess.run(["sh", "-c", f"mosquitto_pub() {{ :; }}; curl() {{ :; }}; {inside}"], check=True)
    assert not marker.exists()
    assert shlex.split(made["mqtt"])[-5:-2] == [hostile, "-P", hostile]


def test_commands_name_this_server(shared_server, shared_operator):
    ports, device = shared_server.ports, device_with(shared_operator, "ACCESS_TOKEN", token := name())
    data = '"{temperature:25}"'
    ca = f"http://127.0.0.1:{ports.http}/api/device-connectivity/mqtts/certificate/download"
    docker, inside = "docker run --rm -it --add-host=host.docker.internal:host-gateway", "host.docker.internal"
    publish = f'-t v1/devices/me/telemetry -u "{token}" -m {data}'
    post = f'coap-client -v 6 -m POST -t "application/json" -e {data} coap://'
    over_tls = f"mosquitto_pub -d -q 1 --cafile ca-root.pem -h {inside} -p {ports.mqtts} {publish}"
    assert commands(shared_operator, device) == {
        "http": {
            scheme: f"curl -v -X POST {scheme}://127.0.0.1:{port}/api/v1/{token}/telemetry "
            f"--header Content-Type:application/json --data {data}"
            for scheme, port in (("http", ports.http), ("https", ports.https))
        },
        "mqtt": {
            "mqtt": f"mosquitto_pub -d -q 1 -h 127.0.0.1 -p {ports.mqtt} {publish}",
            "mqtts": [
                f"curl -f -S -o ca-root.pem {ca}",
                f"mosquitto_pub -d -q 1 --cafile ca-root.pem -h 127.0.0.1 -p {ports.mqtts} {publish}",
            ],
            "docker": {
                "mqtt": f"{docker} thingsboard/mosquitto-clients mosquitto_pub -d -q 1 -h {inside} "
                f"-p {ports.mqtt} {publish}",
                "mqtts": f"{docker} thingsboard/mosquitto-clients /bin/sh -c 'curl -f -S -o ca-root.pem "
                f"{ca.replace('127.0.0.1', inside)} && {over_tls}'",
            },
        },
        "coap": {
            "coap": f"{post}127.0.0.1:{ports.coap}/api/v1/{token}/telemetry",
            "docker": {
                "coap": f"{docker} thingsboard/coap-clients {post}{inside}:{ports.coap}/api/v1/{token}/telemetry"
            },
        },
    }


def test_host_is_the_requested_one(shared_operator):
    made = commands(shared_operator, new_device(shared_operator), host="[2001:db8::1]")
    assert "http://[2001:db8::1]:" in made["http"]["http"]
    assert " -h 2001:db8::1 " in made["mqtt"]["mqtt"]
    assert made["mqtt"]["docker"]["mqtt"].startswith("docker run --rm -it thingsboard/")
    assert "coap://[2001:db8::1]:" in made["coap"]["coap"]


def test_profile_and_credentials_decide_which_commands_there_are(shared_operator):
    topic = {"type": "MQTT", "deviceTelemetryTopic": "a b/+"}
    profile = new_profile(shared_operator, transportType="MQTT", profileData={"transportConfiguration": topic})
    only_mqtt = commands(shared_operator, new_device(shared_operator, type=profile["name"]))
    assert list(only_mqtt) == ["mqtt"]
    assert " -t 'a b/+' -u " in only_mqtt["mqtt"]["mqtt"]
    profile = new_profile(
        shared_operator, transportType="COAP", profileData={"transportConfiguration": {"type": "COAP"}}
    )
    assert list(commands(shared_operator, new_device(shared_operator, type=profile["name"]))) == ["coap"]
    profile = new_profile(
        shared_operator, transportType="SNMP", profileData={"transportConfiguration": {"type": "SNMP"}}
    )
    snmp = new_device(shared_operator, type=profile["name"])
    assert commands(shared_operator, snmp) == {"SNMP": "Check documentation"}
    basic = device_with(shared_operator, "MQTT_BASIC", value=json.dumps({"clientId": (own := name())}))
    made = commands(shared_operator, basic)
    assert list(made) == ["mqtt"]
    assert f' -i "{own}" -m ' in made["mqtt"]["mqtt"]


def test_certificate_is_public_and_of_this_server(shared_server):
    with client(shared_server) as anonymous:
        answer = anonymous.get("/api/device-connectivity/mqtts/certificate/download")
        assert answer.status_code == 200
        assert answer.content == (shared_server.data / "tls" / "ca.pem").read_bytes()
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-disposition"] == "attachment;filename=ca-root.pem"
        assert answer.headers["x-filename"] == "ca-root.pem"
        for other in ("coaps", "mqtt", "x"):
            refused(anonymous.get(f"/api/device-connectivity/{other}/certificate/download"), 404, 32)


def test_reading_is_in_the_audit_trail(shared_operator):
    device = new_device(shared_operator)
    commands(shared_operator, device)
    path = f"/api/audit/logs/entity/DEVICE/{device['id']['id']}?pageSize=9&page=0&actionTypes=CREDENTIALS_READ"
    assert len(ok(shared_operator.get(path))["data"]) == 1


def test_server_that_does_not_listen_has_no_commands(tmp_path):
    async def scenario():
        async with in_process.asgi_transport(tmp_path) as transport, httpx.AsyncClient(transport=transport) as operator:
            form = json.loads((tmp_path / "operator.json").read_text())
            token = (await operator.post("http://x/api/auth/login", json=form)).json()["token"]
            operator.headers["x-authorization"] = f"Bearer {token}"
            device = ok(await operator.post("http://x/api/device", json={"name": "a", "type": "b"}))
            made = ok(await operator.get(f"http://x/api/device-connectivity/{device['id']['id']}"))
            return made, await operator.get("http://x/api/device-connectivity/mqtts/certificate/download")

    made, certificate = asyncio.run(scenario())
    assert made == {}
    refused(certificate, 404, 32)


def run(command, folder):
    done = subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["http", "mqtt", "mqtts", "coap"])
def test_command_publishes(server, server_operator, tmp_path, transport):
    device = new_device(server_operator)
    made = commands(server_operator, device)
    wanted = made["mqtt" if transport == "mqtts" else transport][transport]
    wanted = [wanted] if isinstance(wanted, str) else wanted
    for command in wanted:
        if shutil.which(program := command.split()[0]) is None:
            pytest.skip(f"{program} is not installed")
        run(command, tmp_path)
    latest = f"/api/plugins/telemetry/DEVICE/{device['id']['id']}/values/timeseries?keys=temperature"
    assert ok(server_operator.get(latest))["temperature"][0]["value"] == "25"
