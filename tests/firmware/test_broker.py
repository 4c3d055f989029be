"""The setting `broker.url` on a board: its topics are those that the server knows, and garbage is refused by name."""

import json

from bench.contract import broker_topics
from bench.contract.broker_topics import Topics
from tests.support import micropython

GOOD = {"server": {"host": "10.0.0.1"}, "provision": {"key": "k", "secret": "s"}}
MAKE = """
import json, sys
from firstboot import broker, settings
from firstboot.errors import SettingsError
sections = json.loads(sys.argv[1])
found = []
for url, name in json.loads(sys.stdin.readline()):
    sections["broker"] = {"url": url}
    try:
        made = broker.Handler(settings.check(sections), None, name, {})
        found.append([made.telemetry, made.status])
    except SettingsError as error:
        found.append(str(error))
print(json.dumps(found))
"""


def made(*pairs):
    return json.loads(micropython.run(MAKE, arguments=(json.dumps(GOOD),), stdin=json.dumps(pairs).encode()))


def test_topics_are_those_that_the_server_knows():
    names = ["press-4", "press 4.b", "a/b", "+", "#", "größe~1", "$SYS", "a%2Fb"]
    expected = [Topics.of("iot", "default", name) for name in names]
    found = made(*(("mqtt://10.0.0.9/iot/default", name) for name in names))
    assert found == [[each.data, each.status] for each in expected]


def test_board_follows_each_pattern_of_a_template():
    names = ["press-4", "a/b", "größe"]
    for path, pattern in (("x", "x/{id}"), ("line-4/press%201/iot", "line-4/{type}/{prefix}/{id}")):
        expected = [Topics.of("iot", "press 1", name, broker_topics.check_pattern(pattern)) for name in names]
        found = made(*((f"mqtt://10.0.0.9/{path}", name) for name in names))
        assert found == [[each.data, each.status] for each in expected]


def test_garbage_is_refused():
    urls = [
        "a",
        "http://a/iot/x",
        "mqtt:///iot/x",
        "mqtt://a",
        "mqtt://a/",
        "mqtt://a:x/iot/x",
        "mqtts://a:65536/iot/x",
    ]
    problem = "broker.url must be mqtt://HOST:PORT/LEVELS, or mqtts"
    assert made(*((url, "press-4") for url in urls)) == [problem] * len(urls)


def test_topic_of_commands_that_is_too_long_to_be_received_is_refused():
    url = "mqtt://a/iot/default"
    longest = 72 - len("iot/default//cmd")
    found = made((url, "x" * longest), (url, "x" * (longest + 1)))
    assert found[0][0] == f"iot/default/{'x' * longest}/data"
    assert "more than 72 bytes" in found[1]
