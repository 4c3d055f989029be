"""DTR and RTS by exact sequence, and what a wire does to bytes."""

import itertools
import random

import pytest

from bench.virtual.auto_reset import AutoReset, Start, UsbSerialJtag
from bench.virtual.uart_timing import Wire

# What esptool's resets do to (DTR, RTS), as pyserial sets them: one at a time, but for the tight one.
CLASSIC = [(0, 0), (0, 1), (1, 1), (1, 0), (0, 0)]
UNIX_TIGHT = [(0, 0), (1, 1), (0, 1), (1, 0), (0, 0), (0, 0)]
HARD = [(0, 1), (0, 1), (0, 0), (0, 0)]
USB_JTAG = [(0, 0), (0, 0), (1, 0), (1, 0), (1, 1), (0, 1), (0, 1), (0, 1), (0, 0), (0, 0)]
OPEN = [(1, 0), (1, 1)]
CLOSED = [(0, 0)]


def starts(circuit, *sequences):
    return [circuit.set(dtr=bool(dtr), rts=bool(rts)) for sequence in sequences for dtr, rts in sequence]


def events(circuit, *sequences):
    return [start for start in starts(circuit, *sequences) if start]


def test_opening_and_closing_a_port_resets_nothing():
    assert events(AutoReset(), OPEN, CLOSED, OPEN, OPEN, CLOSED) == []


@pytest.mark.parametrize("before", [[], OPEN, CLOSED, [(1, 0)], HARD, CLASSIC])
def test_hard_reset_runs(before):
    circuit = AutoReset()
    starts(circuit, before)
    assert events(circuit, [(0, 0)], HARD) == [Start.HELD, Start.RUN]


@pytest.mark.parametrize("before", [[], OPEN, CLOSED, HARD, CLASSIC, UNIX_TIGHT])
@pytest.mark.parametrize("sequence", [CLASSIC, UNIX_TIGHT])
def test_bootloader_resets_enter_the_loader(before, sequence):
    circuit = AutoReset()
    starts(circuit, before)
    assert events(circuit, sequence)[-2:] == [Start.HELD, Start.DOWNLOAD]


def test_classic_reset_step_by_step():
    assert starts(AutoReset(), CLASSIC) == [None, Start.HELD, None, Start.DOWNLOAD, None]


def test_unix_tight_reset_step_by_step():
    assert starts(AutoReset(), UNIX_TIGHT) == [None, None, Start.HELD, Start.DOWNLOAD, None, None]


def test_the_reset_for_usb_runs_a_board_with_transistors():
    """It lets go of EN only when IO0 is free."""
    assert events(AutoReset(), USB_JTAG) == [Start.HELD, Start.RUN]


def test_both_asserted_is_neither():
    for first in itertools.product((0, 1), repeat=2):
        circuit = AutoReset()
        starts(circuit, [first])
        assert starts(circuit, [(1, 1)] * 3) == [None] * 3


def test_every_sequence_of_four_holds_and_lets_go_in_turn():
    states = list(itertools.product((0, 1), repeat=2))
    for sequence in itertools.product(states, repeat=4):
        found = events(AutoReset(), sequence)
        assert all(start is Start.HELD for start in found[::2])
        assert all(start in (Start.DOWNLOAD, Start.RUN) for start in found[1::2])


def test_usb_reset_enters_the_loader_of_a_chip_with_usb():
    assert events(UsbSerialJtag(), USB_JTAG) == [Start.DOWNLOAD]


def test_hard_reset_of_a_chip_with_usb_runs():
    assert events(UsbSerialJtag(), USB_JTAG, HARD) == [Start.DOWNLOAD, Start.RUN]


def test_classic_reset_runs_a_chip_with_usb():
    assert events(UsbSerialJtag(), CLASSIC) == [Start.RUN]


def wire(*, paced=False, drop=0.0):
    return Wire(paced=paced, drop=drop, random_from=random.Random(1))


def test_nothing_is_under_way_at_first():
    assert (wire().arrived(1e9), wire().next_arrival(), wire().under_way) == (b"", None, 0)


def test_bytes_of_a_wire_without_pace_arrive_at_once():
    found = wire()
    found.send(b"abc", baud=1, now=5.0)
    assert (found.next_arrival(), found.under_way) == (0.0, 3)
    assert found.arrived(5.0) == b"abc"
    assert (found.arrived(5.0), found.under_way, found.traffic) == (b"", 0, 3)


@pytest.mark.parametrize("baud", [9600, 115200, 460800, 921600])
@pytest.mark.parametrize("size", [1, 1023, 1024, 1025, 100_000])
def test_a_byte_takes_ten_bits(baud, size):
    found = wire(paced=True)
    found.send(b"a" * size, baud=baud, now=100.0)
    end = 100.0 + size * 10 / baud
    assert len(found.arrived(end - 1e-6)) < size
    found.arrived(end + 1e-6)
    assert found.under_way == 0


def test_bytes_wait_for_those_before_them():
    found = wire(paced=True)
    found.send(b"a" * 960, baud=9600, now=0.0)
    found.send(b"b" * 960, baud=9600, now=0.5)
    found.send(b"c" * 960, baud=9600, now=10.0)
    assert [found.arrived(at)[:1] for at in (0.99, 1.01, 1.99, 2.01, 10.99, 11.01)] == [b"", b"a", b"", b"b", b"", b"c"]


def test_a_rate_counts_from_the_bytes_that_are_sent_at_it():
    found = wire(paced=True)
    found.send(b"a" * 960, baud=9600, now=0.0)
    found.send(b"b" * 960, baud=96000, now=0.0)
    assert [found.arrived(at)[:1] for at in (1.01, 1.09, 1.11)] == [b"a", b"", b"b"]


def test_a_wire_drops_what_it_is_set_to():
    found = wire(drop=0.1)
    found.send(b"a" * 10_000, baud=1, now=0.0)
    assert 8_800 < len(found.arrived(0.0)) < 9_200
    assert found.traffic == 10_000


def test_a_cleared_wire_is_free():
    found = wire(paced=True)
    found.send(b"a" * 960, baud=9600, now=0.0)
    found.clear()
    assert (found.next_arrival(), found.under_way) == (None, 0)
    found.send(b"b", baud=9600, now=0.0)
    assert found.arrived(0.01) == b"b"
