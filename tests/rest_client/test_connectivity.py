"""Hosts and ports of a ThingsBoard, in the forms of several releases."""

import pytest

from bench.rest_client.connectivity import endpoints, places

BY_DEFAULT = {"mqtt": ("tb.example", 1883), "mqtts": ("tb.example", 8883), "coap": ("tb.example", 5683)}


@pytest.mark.parametrize(
    "commands",
    [
        None,
        {},
        [],
        "text",
        {"mqtt": None, "http": 5, "coap": []},
        {"mqtt": {"mqtts": "Check documentation"}},
        {"mqtt": {"mqtt": "mosquitto_pub -h tb.example -p 65536"}},
        {"mqtt": {"mqtt": "mosquitto_pub -h tb.example -p 0"}, "snmp": "Check documentation"},
        {"mqtt": {"mqtt": "mosquitto_pub -h " + "a" * 300}},
        {"mqtt": {"mqtt": "mosquitto_pub -x-h tb.example"}},
        {"coap": {"coap": "coap-client coap://[:]/api/v1/T/telemetry", "coaps": "coaps://a:1/api/v1/"}},
        {"http": {"https": "curl http://tb.example:1/api/v1/T"}},
    ],
)
def test_answer_without_places_is_a_thingsboard_by_default(commands):
    assert places(endpoints(commands), "https://tb.example") == {**BY_DEFAULT, "https": ("tb.example", 443)}


def test_hosts_and_ports_are_those_of_the_commands():
    commands = {
        "http": {"http": "curl -v -X POST http://localhost:8080/api/v1/T/telemetry --header x"},
        "mqtt": {
            "mqtt": 'mosquitto_pub -d -q 1 -h mqtt.example -p 12883 -t v1/devices/me/telemetry -u "T" -m "{}"',
            "mqtts": ["curl -o ca https://tb.example/x", 'mosquitto_pub --cafile ca -h "mqtt.example" -p "19883" -t x'],
            "docker": {"mqtt": "docker run mosquitto_pub -h host.docker.internal -p 1 -t x"},
        },
        "coap": {"coap": "coap-client -m POST coap://[2001:db8::5]/api/v1/T/telemetry", "coaps": "coaps://a:1/"},
    }
    assert places(endpoints(commands), "https://tb.example:8443") == {
        "mqtt": ("mqtt.example", 12883),
        "mqtts": ("mqtt.example", 19883),
        "http": ("tb.example", 8080),  # loopback is where the server is, not we
        "https": ("tb.example", 8443),
        "coap": ("2001:db8::5", 5683),
    }


def test_first_releases_have_a_command_of_each_transport():
    commands = {"mqtt": "mosquitto_pub -h localhost -t x -u T", "coap": "coap-client coap://localhost:16683/api/v1/T/x"}
    assert places(endpoints(commands), "http://127.0.0.1:19090") == {
        "mqtt": ("127.0.0.1", 1883),
        "coap": ("127.0.0.1", 16683),
        "http": ("127.0.0.1", 19090),
    }


def test_port_of_the_url_is_right_whatever_the_answer_is():
    commands = {"http": {"http": "curl http://tb.example:8080/api/v1/T/telemetry"}}
    assert places(endpoints(commands), "http://tb.example:19090") == {"http": ("tb.example", 19090)}
