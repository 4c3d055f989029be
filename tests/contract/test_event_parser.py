"""A console's bytes as events: whatever they are, and wherever they are cut."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.contract.event_parser import EventParser

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
def test_feed_lines_that_are_no_events(line):
    assert EventParser().feed(f"{line}\r\n".encode()) == [text(line)]


def test_feed_bytes_that_are_no_text():
    assert EventParser().feed(b"\xff\xfe\x00{\n") == [text("\ufffd\ufffd\x00{")]


def test_feed_a_line_that_never_ends_keeps_no_more_than_a_piece_of_it():
    parser = EventParser()
    received = [event for _ in range(100) for event in parser.feed(b"x" * 10_000)]
    assert {len(event["text"]) for event in received} == {1 << 16}
    kept = sum(len(event["text"]) for event in parser.end())
    assert kept < 1 << 16
    assert len(received) * (1 << 16) + kept == 1_000_000


def test_end_makes_the_rest_a_line():
    parser = EventParser()
    assert parser.feed(b">>> ") == []
    assert parser.end() == [text(">>> ")]
    assert parser.end() == []


@given(st.lists(st.sampled_from([json.dumps(BOOT), "ets Jul 29 2019", "", "grüß"])), st.lists(st.integers(1, 9)))
def test_feed_the_same_wherever_the_bytes_are_cut(lines, cuts):
    sent = "".join(f"{line}\r\n" for line in lines).encode()
    parser, received = EventParser(), []
    for cut in cuts:
        piece, sent = sent[:cut], sent[cut:]
        received += parser.feed(piece)
    received += parser.feed(sent)
    assert received == [BOOT if line.startswith("{") else text(line) for line in lines]
