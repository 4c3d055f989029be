"""SLIP framing: malformed packets first, then that every packet arrives, however it is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.virtual.rom_loader import slip

LIMIT = 64


def decode(data):
    return slip.Decoder(LIMIT).feed(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"abc",
        b"\xc0",
        b"\xc0\xc0\xc0",
        b"\xc0abc",
        b"\xc0\xdb\xc0",
        b"\xc0ab\xdb\xc0",
        b"\xc0a\xdb\xdeb\xc0",
        b"\xc0\xdb\xdb\xdc\xc0",
        b"\xc0" + b"a" * (LIMIT + 1) + b"\xc0",
        b"\xc0" + b"a" * (10 * LIMIT) + b"\xc0",
    ],
)
def test_feed_what_is_no_packet(data):
    assert decode(data) == []


def test_feed_a_packet_without_end_is_bounded():
    decoder = slip.Decoder(LIMIT)
    for _ in range(1000):
        decoder.feed(b"\xc0" + b"a" * 100)
        decoder.feed(b"a" * 100)
    assert len(decoder._packet or b"") <= 2 * LIMIT


@pytest.mark.parametrize("bad", [b"noise", b"\xc0a\xdb\xdeb\xc0", b"\xc0lost its end", b"\xc0" + b"a" * 200 + b"\xc0"])
def test_feed_goes_on_after_what_is_no_packet(bad):
    # what follows a lost END at once is taken for its rest, and what follows that is whole
    assert decode(bad + slip.encode(b"first") + slip.encode(b"second"))[-1] == b"second"


def test_encode_escapes():
    assert slip.encode(b"\xc0\xdb\xdc\xdd") == b"\xc0\xdb\xdc\xdb\xdd\xdc\xdd\xc0"


@given(st.lists(st.binary(min_size=1, max_size=LIMIT)), st.data())
def test_feed_finds_every_packet_however_cut(packets, data):
    line = b"".join(map(slip.encode, packets))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(line)))))
    decoder = slip.Decoder(LIMIT)
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(line)], strict=True):
        found += decoder.feed(line[start:end])
    assert found == packets


@given(st.binary())
def test_feed_survives_anything(data):
    assert all(0 < len(packet) <= LIMIT for packet in decode(data))
