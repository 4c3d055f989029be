"""Shell commands by which a device's telemetry is published, as ThingsBoard 4.3 words them.

They are made to be copied into a shell, and have names in them that others chose: a device its user name, a client the
`Host` of its request. What a shell would take for more than text is quoted, where ThingsBoard leaves it as it is.
"""

import json
import re
import shlex
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from bench import addresses
from bench.contract.credentials import CredentialsType
from bench.registry.credentials import DeviceCredentials
from bench.server.endpoints import Ports

DEFAULT_TOPIC = "v1/devices/me/telemetry"
CA_FILE = "ca-root.pem"
_SEE_DOCUMENTATION = "Check documentation"
_PAYLOAD = '"{temperature:25}"'
_DOCKER = "docker run --rm -it "
_DOCKER_HOST = "host.docker.internal"
_USUAL_PORTS = {"http": 80, "https": 443}
# Without meaning to a shell, inside of double quotes and outside.
_PLAIN = re.compile(r"[\w.,:;@%/+=~#^-]+", re.ASCII)
_OPTIONS = {"clientId": "-i", "userName": "-u", "password": "-P"}  # of mosquitto_pub

Commands = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Target:
    """The server as whoever asked has reached it."""

    base_url: str
    """Without a slash at the end."""
    host: str
    ports: Ports


def publish_commands(target: Target, transport_type: str, topic: str, own: DeviceCredentials) -> Commands:
    """Return the commands by transport.

    Args:
        target: The server.
        transport_type: The transport that the device's profile allows.
        topic: The profile's telemetry topic, if it is one for MQTT.
        own: The device's credentials.
    """
    made: Commands = {}
    match transport_type:
        case "DEFAULT":
            made = {"http": _http(target, own), "mqtt": _mqtt(target, DEFAULT_TOPIC, own), "coap": _coap(target, own)}
        case "MQTT":
            made = {"mqtt": _mqtt(target, topic, own)}
        case "COAP":
            made = {"coap": _coap(target, own)}
        case _:
            made = {transport_type: _SEE_DOCUMENTATION}
    return {transport: commands for transport, commands in made.items() if commands}


def _http(target: Target, own: DeviceCredentials) -> Commands:
    if own.type != CredentialsType.ACCESS_TOKEN:
        return {}
    host = f"[{target.host}]" if ":" in target.host else target.host
    made = {}
    for scheme, port in (("http", target.ports.http), ("https", target.ports.https)):
        address = host if port == _USUAL_PORTS[scheme] else f"{host}:{port}"
        url = f"{scheme}://{address}/api/v1/{quote(own.id, safe='')}/telemetry"
        made[scheme] = f"curl -v -X POST {url} --header Content-Type:application/json --data {_PAYLOAD}"
    return made


def _mqtt(target: Target, topic: str, own: DeviceCredentials) -> Commands:
    if own.type == CredentialsType.X509_CERTIFICATE:
        return {"mqtts": _SEE_DOCUMENTATION}
    if (login := _mqtt_login(own)) is None:
        return {}

    def get_ca(base_url: str) -> str:
        return f"curl -f -S -o {CA_FILE} {base_url}/api/device-connectivity/mqtts/certificate/download"

    def publish(options: str, host: str, port: int) -> str:
        return f"mosquitto_pub -d -q 1{options} -h {host} -p {port} -t {_bare(topic)}{login} -m {_PAYLOAD}"

    with_ca = f" --cafile {CA_FILE}"
    docker, inside = _docker(target, "thingsboard/mosquitto-clients")
    both = (
        f"{get_ca(target.base_url.replace(target.host, inside, 1))} && {publish(with_ca, inside, target.ports.mqtts)}"
    )
    return {
        "mqtt": publish("", target.host, target.ports.mqtt),
        "mqtts": [get_ca(target.base_url), publish(with_ca, target.host, target.ports.mqtts)],
        "docker": {
            "mqtt": docker + publish("", inside, target.ports.mqtt),
            "mqtts": f"{docker}/bin/sh -c {shlex.quote(both)}",
        },
    }


def _mqtt_login(own: DeviceCredentials) -> str | None:
    match own.type:
        case CredentialsType.ACCESS_TOKEN:
            parts = {"userName": own.id}
        case CredentialsType.MQTT_BASIC:
            parts = json.loads(own.value or "{}")
        case _:
            return None
    return "".join(f" {option} {_quoted(parts[name])}" for name, option in _OPTIONS.items() if parts.get(name))


def _coap(target: Target, own: DeviceCredentials) -> Commands:
    if own.type != CredentialsType.ACCESS_TOKEN:
        return {}

    def publish(host: str) -> str:
        host = f"[{host}]" if ":" in host else host
        url = f"coap://{host}:{target.ports.coap}/api/v1/{quote(own.id, safe='')}/telemetry"
        return f'coap-client -v 6 -m POST -t "application/json" -e {_PAYLOAD} {url}'

    docker, inside = _docker(target, "thingsboard/coap-clients")
    return {"coap": publish(target.host), "docker": {"coap": docker + publish(inside)}}


def _docker(target: Target, image: str) -> tuple[str, str]:
    """Return the beginning of a command in a container, and the name that the server has there."""
    if addresses.is_loopback(target.host):
        return f"{_DOCKER}--add-host={_DOCKER_HOST}:host-gateway {image} ", _DOCKER_HOST
    return f"{_DOCKER}{image} ", target.host


def _bare(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else shlex.quote(text)


def _quoted(text: str) -> str:
    return f'"{text}"' if _PLAIN.fullmatch(text) else shlex.quote(text)
