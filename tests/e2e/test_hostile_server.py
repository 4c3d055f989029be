"""A server that means harm, or has large messages: whatever it sends costs at most its own answer."""

import contextlib
import json
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from bench.contract import settings
from bench.virtual.board import VirtualBoard
from bench.virtual.environment import CHIP_HEAP, Conditions
from bench.virtual.power import PowerCycle
from tests.support.boards import QUICK, steps
from tests.support.mqtt_packets import PROVISION_REQUEST, packet, puback
from tests.support.scripted_server import PUBLISH, Gone, ScriptedServer, usual_answer

MAIN = b"""
from firstboot import app
def fill(params):
    return bytearray(1 << 30)
app.main(extra={"blink": lambda params: {"ok": params}, "fill": fill})
"""
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
    """A server that lets the board in, and in each session sends it `packets` once it listens."""

    def __init__(self, *packets: bytes, then_close: bool = False) -> None:
        self.answers: list[tuple[str, bytes]] = []
        self.acknowledged = 0
        self.sessions = 0
        self._packets = packets
        self._then_close = then_close
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
                if topic == PROVISION_REQUEST:  # it then logs in with what it brought
                    return
                self.answers.append((topic, body[end + 2 :]))
                connection.send(puback(int.from_bytes(body[end : end + 2], "big")))
            else:
                connection.send(b"" if kind == PUBACK else usual_answer(kind, body))
            if kind == PUBLISH and b"attributes/request" in body[:60]:
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
def board_at(folder: Path, server: Harm, heap: str = "", **sections) -> Iterator[PowerCycle]:
    sections = {"backoff": QUICK, "session": {"telemetry_s": 1}} | sections
    made = VirtualBoard.create(
        folder,
        board="esp32_generic",
        files={"main.py": MAIN},
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
    with Harm(data) as server, board_at(tmp_path / "board", server, heap) as power:
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
