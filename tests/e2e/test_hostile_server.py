"""A server that means harm, or has large messages: whatever it sends costs at most its own answer."""

import contextlib
import itertools
import json
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import pytest

from bench.contract import settings
from bench.virtual.board import VirtualBoard
from bench.virtual.environment import CHIP_HEAP, Conditions
from bench.virtual.power import PowerCycle
from tests.support.boards import KINDS, QUICK, ca_file, steps, way_settings
from tests.support.mqtt_packets import PROVISION_REQUEST, PROVISION_RESPONSE, packet, puback
from tests.support.scripted_server import PUBLISH, Gone, ScriptedServer, usual_answer

MAIN = b"""
from firstboot import app
def fill(params):
    return bytearray(1 << 30)
app.main(extra={"blink": lambda params: {"ok": params}, "fill": fill})
"""
# A record every 50 ms, for tests that wait for some: what a server sent before it acknowledged one was handled then.
OFTEN = (
    b"""
import time
from firstboot import telemetry
usual = telemetry.Telemetry.collect
def collect(self):
    usual(self)
    self._due = time.ticks_add(time.ticks_ms(), 50)
telemetry.Telemetry.collect = collect
"""
    + MAIN
)
PUBACK = 0x40
CALL = "v1/devices/me/rpc/request/7"
ATTRIBUTES = "v1/devices/me/attributes"
RESPONSE = "v1/devices/me/attributes/response/1"
ANSWER = "v1/devices/me/rpc/response/7"
TOO_LARGE = {"error": "too large"}
HEAPS = ["", CHIP_HEAP]


def message(topic: str | bytes, payload: bytes, *, qos: int = 0) -> bytes:
    raw = topic if isinstance(topic, bytes) else topic.encode()
    packet_id = b"\x12\x34" if qos else b""
    return packet(0x30 | qos << 1, struct.pack(">H", len(raw)) + raw + packet_id + payload)


class Harm:
    """A server that lets the board in, and in each session sends it `packets` once it listens.

    With `then_close` it ends the session after them. `on_publish` makes what it sends after each message of the board,
    `provisioning` is its answer to a provisioning request.
    """

    def __init__(
        self,
        *packets: bytes,
        then_close: bool = False,
        on_publish: Callable[[], bytes] = lambda: b"",
        provisioning: bytes | None = None,
    ) -> None:
        self.answers: list[tuple[str, bytes]] = []
        self.acknowledged = 0
        self.sessions = 0
        self._packets = packets
        self._then_close = then_close
        self._on_publish = on_publish
        self._provisioning = provisioning
        self._server = ScriptedServer()
        self.port = self._server.port
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
        self._thread.join()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection = self._server.accept()
                try:
                    self._session(connection)
                except Gone:
                    pass
                finally:
                    connection.close()

    def _session(self, connection) -> None:
        while True:
            kind, body = connection.packet()
            if kind == PUBACK:
                self.acknowledged += 1
            if kind == PUBLISH:
                end = 2 + int.from_bytes(body[:2], "big")
                topic = body[2:end].decode()
                if topic == PROVISION_REQUEST:
                    if self._provisioning is None:  # it then logs in with what it brought
                        return
                    connection.send(message(PROVISION_RESPONSE, self._provisioning))
                    continue
                self.answers.append((topic, body[end + 2 :]))
                connection.send(puback(int.from_bytes(body[end : end + 2], "big")) + self._on_publish())
            else:
                connection.send(b"" if kind == PUBACK else usual_answer(kind, body))
            if kind == PUBLISH and b"attributes/request/2" in body[:60]:
                self.sessions += 1
                for each in self._packets:
                    connection.send(each)
                if self._then_close:
                    return

    def answer(self, topic: str = ANSWER):
        """Return the last answer to a call, read as JSON; None if there is none."""
        found = [payload for name, payload in self.answers if name == topic]
        return json.loads(found[-1]) if found else None


@contextlib.contextmanager
def board_at(folder: Path, server: Harm, heap: str = "", main: bytes = MAIN, **sections) -> Iterator[PowerCycle]:
    sections = {"backoff": QUICK, "session": {"telemetry_s": 1}} | sections
    made = VirtualBoard.create(
        folder,
        board="esp32_generic",
        files={"main.py": main},
        settings=settings.encode(sections, host="127.0.0.1", port=server.port, key="k", secret="s"),
    )
    with made.power_on(Conditions(heap=heap)) as power:
        yield power


def lives_on(power: PowerCycle) -> None:
    """Expect more records of the first session in which the board listens."""
    for _ in range(3):
        power.expect_event("telemetry")
    after = steps(power)[steps(power).index("listening") :]
    assert not {"crash", "offline", "retry", "boot"} & set(after), power.events[-5:]


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def call(params: bytes) -> bytes:
    return message(CALL, b'{"method":"blink","params":' + params + b"}")


UNKNOWN = {"error": "unknown method"}
# What the server sends, and the answer to it.
CASES = {
    "method_list": (message(CALL, b'{"method":[],"params":{}}'), UNKNOWN),
    "method_object": (message(CALL, b'{"method":{"a":1}}'), UNKNOWN),
    "method_null": (message(CALL, b'{"method":null}'), UNKNOWN),
    "method_missing": (message(CALL, b"{}"), UNKNOWN),
    "call_that_is_a_list": (message(CALL, b"[1]"), None),
    "nested_30": (call(nested(30)), {"ok": json.loads(nested(30))}),
    "nested_200": (call(nested(200)), TOO_LARGE),
    "nested_900": (call(nested(900)), TOO_LARGE),
    "nested_5000": (call(nested(5000)), TOO_LARGE),
    "nested_objects": (call(b'{"a":' * 300 + b"1" + b"}" * 300), TOO_LARGE),
    "small_objects_2_kb": (call(b"[" + b",".join([b"{}"] * 650) + b"]"), TOO_LARGE),
    "small_objects_16_kb": (call(b"[" + b",".join([b"{}"] * 5300) + b"]"), TOO_LARGE),
    "numbers_16_kb": (call(b"[" + b",".join([b"1.5"] * 4000) + b"]"), TOO_LARGE),
    "numbers_1_kb": (call(b"[" + b",".join([b"1.5"] * 200) + b"]"), {"ok": [1.5] * 200}),
    "text_2000": (call(b'"' + b"a" * 2000 + b'"'), {"ok": "a" * 2000}),
    "text_4000": (call(b'"' + b"a" * 4000 + b'"'), TOO_LARGE),
    "text_60000": (call(b'"' + b"a" * 60000 + b'"'), TOO_LARGE),
    "integer_huge": (call(b"9" * 1500), {"ok": int("9" * 1500)}),
    "float_infinite": (call(b"1e999"), {"error": "ValueError"}),
    "not_utf8": (message(CALL, b'{"method":"blink","params":"\xff\xfe"}'), None),
    "character_in_two_halves": (call(b'"\\ud83d\\ude00"'), {"ok": "😀"}),
    "half_a_character": (call(b'"\\ud83d"'), {"ok": "\ufffd"}),
    "escapes_16_kb": (call(b'"' + b"\\ud83d\\ude00" * 1300 + b'"'), TOO_LARGE),
    "escapes_2_kb": (call(b'"' + b"\\ud83d\\ude00" * 160 + b'"'), {"ok": "😀" * 160}),
    "empty": (message(CALL, b""), None),
    "application_without_memory": (message(CALL, b'{"method":"fill"}'), {"error": "no memory"}),
    "wipe_list": (message(CALL, b'{"method":"factoryReset","params":{"confirm":1,"wipe":[]}}'), ...),
    "confirm_object": (message(CALL, b'{"method":"factoryReset","params":{"confirm":{"a":[]}}}'), ...),
    "topic_not_utf8": (message(b"v1/devices/me/rpc/request/\xff\xfe", b'{"method":"x"}'), None),
    "topic_with_wildcard": (message("v1/devices/me/rpc/request/+", b'{"method":"x"}'), None),
    "topic_long": (message("v1/devices/me/rpc/request/" + "7" * 500, b'{"method":"x"}'), None),
    "topic_huge": (message("a" * 60000, b"x"), None),
    "topic_empty": (message("", b"{}"), None),
    "attribute_nested": (message(ATTRIBUTES, b'{"rotateCredentials":' + nested(5000) + b"}"), None),
    "attribute_nested_200": (message(RESPONSE, b'{"shared":{"rotateCredentials":' + nested(200) + b"}}"), None),
    "attribute_list": (message(ATTRIBUTES, b'{"rotateCredentials":[1]}'), None),
    "attribute_object": (message(ATTRIBUTES, b'{"rotateCredentials":{"a":1}}'), None),
    "attribute_of_20000": (message(ATTRIBUTES, b'{"rotateCredentials":"' + b"x" * 20000 + b'"}'), None),
    "shared_list": (message(RESPONSE, b'{"shared":[1,2]}'), None),
    "shared_null": (message(RESPONSE, b'{"shared":null}'), None),
    "status_object": (message("v1/devices/me/rpc/response/1", b'{"status":{}}'), None),
    "status_unasked": (message("v1/devices/me/rpc/response/1", b'{"status":"SUCCESS"}'), None),
    "no_topic_of_ours": (message("no/such/topic", b"[" * 8192), None),
}


@pytest.mark.parametrize("heap", HEAPS, ids=["plenty", "chip"])
@pytest.mark.parametrize("name", CASES)
def test_message_costs_at_most_its_own_answer(tmp_path, name, heap):
    data, answer = CASES[name]
    with Harm(data) as server, board_at(tmp_path / "board", server, heap, OFTEN) as power:
        power.expect_event("listening")
        lives_on(power)
    found = server.answer()
    assert server.sessions == 1
    assert found == answer or (answer is ... and "error" in found)


def test_message_that_was_skipped_is_acknowledged(tmp_path):
    packets = message(CALL, b"x" * 9000, qos=1)
    with Harm(packets) as server, board_at(tmp_path / "board", server) as power:
        skipped = power.expect_event("skipped")
        lives_on(power)
    assert (skipped["bytes"], skipped["kind"]) == (9000, "too large")
    assert server.acknowledged == 1
    assert server.answer() == TOO_LARGE


def test_burst_that_does_not_fit_into_the_buffer_costs_the_rest_of_it(tmp_path):
    one = call(b'"' + b"a" * 900 + b'"')
    with Harm(one * 40) as server, board_at(tmp_path / "board", server, CHIP_HEAP) as power:
        power.expect_event("skipped")
        lives_on(power)
    assert {"ok": "a" * 900} in [json.loads(payload) for topic, payload in server.answers if topic == ANSWER]
    assert server.sessions == 1


def test_eight_large_messages_at_once_on_a_chip(tmp_path):
    with Harm(call(b'"' + b"a" * 16200 + b'"') * 8) as server, board_at(tmp_path / "board", server, CHIP_HEAP) as power:
        power.expect_event("listening")
        lives_on(power)
    assert server.answer() == TOO_LARGE


def test_buffer_of_another_size_reads_larger_messages(tmp_path):
    sections = {"session": {"telemetry_s": 1, "receive_bytes": 8000}}
    packets = call(b'"' + b"a" * 6000 + b'"')
    with Harm(packets) as server, board_at(tmp_path / "board", server, **sections) as power:
        power.expect_event("listening")
        lives_on(power)
    assert server.answer() == {"ok": "a" * 6000}


@pytest.mark.parametrize(
    "packets",
    [b"", message(ATTRIBUTES, b'{"rotateCredentials":"' + b"x" * 20000 + b'"}'), message(CALL, b"{}", qos=2)],
    ids=["closed", "large_attribute", "qos_2"],
)
def test_session_that_ends_at_once_is_backed_off_from_whatever_was_acknowledged(tmp_path, packets):
    waits = {"base_ms": 10, "cap_ms": 60_000, "long_ms": 60_000}
    with Harm(packets, then_close=True) as server, board_at(tmp_path / "board", server, backoff=waits) as power:
        power.expect_event("listening")
        first = power.expect_event("retry")["attempt"]
        for attempt in range(first + 1, first + 5):
            assert power.expect_event("retry")["attempt"] == attempt
            assert "telemetry" in steps(power)


def test_session_that_lived_for_the_highest_ceiling_resets_the_waits(tmp_path):
    waits = {"base_ms": 10, "cap_ms": 1500, "long_ms": 60_000}
    closing = []
    with (
        Harm(on_publish=lambda: message(CALL, b"{}", qos=2) if closing else b"") as server,
        board_at(tmp_path / "board", server, backoff=waits) as power,
    ):
        power.expect_event("listening")
        for _ in range(4):
            power.expect_event("telemetry")
        closing.append(True)
        power.expect_event("offline", kind="garbage")
        assert power.expect_event("retry")["attempt"] == 1


def test_attribute_that_changes_all_the_time_does_not_wear_out_the_flash(tmp_path):
    numbers = itertools.count()

    def change() -> bytes:
        return message(ATTRIBUTES, b'{"rotateCredentials":"v%d"}' % next(numbers))

    with Harm(on_publish=change) as server, board_at(tmp_path / "board", server) as power:
        power.expect_event("rotation", step="delayed")
        lives_on(power)
    assert 1 < [event.get("step") for event in power.events].count("stored") <= 8
    assert next(numbers) > 8


def test_factory_resets_in_a_row_are_paced(tmp_path):
    reset = message(CALL, b'{"method":"factoryReset","params":{"confirm":"twin"}}')
    with Harm(reset) as server, board_at(tmp_path / "board", server, identity={"name": "twin"}) as power:
        power.expect_event("reset", by="server")
        power.expect_event("boot", reset="hard")
        power.expect_event("listening")
        for _ in range(2):
            power.expect_event("telemetry")
    assert [event["event"] for event in power.events].count("reset") == 1
    assert "too soon" in server.answer()["error"]


TOKEN = b'{"status":"SUCCESS","credentialsType":"ACCESS_TOKEN","credentialsValue":%s}'
BASIC = b'{"status":"SUCCESS","credentialsType":"MQTT_BASIC","credentialsValue":{"clientId":%s,"password":%s}}'
PROVISIONING = {
    "large": TOKEN % (b'"' + b"x" * 60_000 + b'"'),
    "nested": TOKEN % nested(800),
    "nested_less": TOKEN % nested(30),
    "small_objects": TOKEN % (b"[" + b",".join([b"{}"] * 600) + b"]"),
    "list": b"[1]",
    "status_object": b'{"status":{}}',
    "type_list": b'{"status":"SUCCESS","credentialsType":[],"credentialsValue":"x"}',
    "token_of_control_characters": TOKEN % (b'"' + b"\\u0001" * 300 + b'"'),
    "basic_nested": BASIC % (nested(20), b"1"),
    "basic_of_control_characters": BASIC % (b'"' + b"\\n" * 450 + b'"', b'"' + b"\\n" * 450 + b'"'),
    "not_utf8": TOKEN % b'"\xff\xfe"',
    "empty": b"",
}


@pytest.mark.parametrize("heap", HEAPS, ids=["plenty", "chip"])
@pytest.mark.parametrize("name", PROVISIONING)
def test_provisioning_answer_costs_at_most_its_own_exchange(tmp_path, name, heap):
    with Harm(provisioning=PROVISIONING[name]) as server, board_at(tmp_path / "board", server, heap) as power:
        power.expect_event("telemetry")
    states = {event["state"] for event in power.events if event["event"] == "state"}
    assert not states & {"error", "rejected"}
    assert not {"crash", "error"} & set(steps(power))


@pytest.mark.parametrize("tls", [False, True], ids=["in_clear", "under_tls"])
@pytest.mark.parametrize("kind", KINDS)
def test_chip_answers_large_calls_with_each_login(server, make_board, give_orders, kind, tls):
    if kind == "X509_CERTIFICATE" and not tls:
        pytest.skip("a certificate logs in over TLS only")
    sections = way_settings(server, "mqtt", tls=tls, kind=kind)
    board = make_board(server, files={**ca_file(server), "main.py": MAIN}, **sections)
    with board.power_on(Conditions(heap=CHIP_HEAP)) as power:
        power.expect_event("listening")
        operator = give_orders(server, f"firstboot-{board.mac}")
        for _ in range(3):
            for size in (100, 1000, 1900):
                assert operator.call("blink", {"text": "x" * size}) == {"ok": {"text": "x" * size}}
            for params in ({"text": "x" * 4000}, {"text": "x" * 16_000}, {"list": [{}] * 600}):
                assert operator.call("blink", params) == TOO_LARGE
        power.expect_event("telemetry")
    assert not {"crash", "offline", "no_memory"} & set(steps(power))
