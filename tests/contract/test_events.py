"""A console's bytes as events: whatever they are, and wherever they are cut."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.contract.events import Listener

BOOT = {"event": "boot", "ms": 33, "reset": "hard"}


def text(line):
    return {"event": "console", "text": line}


@pytest.mark.parametrize(
    "line",
    [
        "",
        "boot",
        "[]",
        "5",
        "null",
        '"event"',
        "{}",
        '{"event": 5}',
        '{"event": null}',
        '{"ms": 5}',
        '{"event": "boot"',
        "rst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)",
        "[" * 60_000,
        '{"event":' * 7_000,
        "9" * 5_000,
        '{"event": "console"}',
        '{"event": "console", "text": 5}',
        '{"event": "port_lost"}',
        '{"event": "power_lost"}',
    ],
)
def test_hear_lines_that_are_no_events(line):
    assert Listener().hear(f"{line}\r\n".encode()) == [text(line)]


def test_hear_bytes_that_are_no_text():
    assert Listener().hear(b"\xff\xfe\x00{\n") == [text("\ufffd\ufffd\x00{")]


def test_hear_a_line_that_never_ends_keeps_no_more_than_a_piece_of_it():
    listener = Listener()
    heard = [event for _ in range(100) for event in listener.hear(b"x" * 10_000)]
    assert {len(event["text"]) for event in heard} == {1 << 16}
    kept = sum(len(event["text"]) for event in listener.end())
    assert kept < 1 << 16
    assert len(heard) * (1 << 16) + kept == 1_000_000


def test_end_makes_the_rest_a_line():
    listener = Listener()
    assert listener.hear(b">>> ") == []
    assert listener.end() == [text(">>> ")]
    assert listener.end() == []


@given(st.lists(st.sampled_from([json.dumps(BOOT), "ets Jul 29 2019", "", "grüß"])), st.lists(st.integers(1, 9)))
def test_hear_the_same_wherever_the_bytes_are_cut(lines, cuts):
    said = "".join(f"{line}\r\n" for line in lines).encode()
    listener, heard = Listener(), []
    for cut in cuts:
        piece, said = said[:cut], said[cut:]
        heard += listener.hear(piece)
    heard += listener.hear(said)
    assert heard == [BOOT if line.startswith("{") else text(line) for line in lines]
