"""Facts that virtual boards have to share with an ESP32, and the differences that are left: each is checked on both.

`pytest tests/hardware --bench-target /dev/ttyUSB0` checks a board beside a virtual one, both over their serial lines.
It has to be an ESP32 with MicroPython 1.23 or later; its files are left alone. It is taken out of its program and left
at the REPL: reset it afterwards. What differs is in docs/virtual-boards.md.
"""

import contextlib

import pytest

from bench import paths
from bench.dut.serial import PortBoard
from bench.virtual import line_server
from bench.virtual.board import VirtualBoard

SILENCE_S = 3.0

SETUP = """
import json, time
import gc, hashlib, machine, network, sys
def raised(call, *args, **values):
    try:
        call(*args, **values)
    except Exception as error:
        return type(error).__name__
def each(where, names):
    return [getattr(where, name) for name in names.split()]
def lan(**values):
    return network.LAN(0, mdc=machine.Pin(23), mdio=machine.Pin(18), **values)
def radio():
    wlan = network.WLAN(network.STA_IF)
    wlan.active(True)
    wlan.disconnect()
    wlan.config(reconnects=0)
    return wlan
def changes(wlan, old):
    # whether another status shows soon
    for _ in range(10):
        if wlan.status() != old:
            return True
        time.sleep_ms(50)
    return False
def ends(wlan):
    # the status in which an attempt to join a network that nobody has ends; the last one's may show before
    time.sleep_ms(5000 if sys.platform == "esp32" else 100)
    return wlan.status()
"""

NOWHERE = '"nobody has this network"'

FACTS = {
    # constants
    "interfaces": ("[network.STA_IF, network.AP_IF]", [0, 1]),
    "status": ("[network.STAT_IDLE, network.STAT_CONNECTING, network.STAT_GOT_IP]", [1000, 1001, 1010]),
    "reasons": (
        "each(network, 'STAT_BEACON_TIMEOUT STAT_NO_AP_FOUND STAT_WRONG_PASSWORD STAT_HANDSHAKE_TIMEOUT')",
        [200, 201, 202, 204],
    ),
    "power_save": ("each(network.WLAN, 'PM_NONE PM_PERFORMANCE PM_POWERSAVE')", [0, 1, 2]),
    "ethernet": (
        "each(network, 'ETH_INITIALIZED ETH_STARTED ETH_STOPPED ETH_CONNECTED ETH_DISCONNECTED ETH_GOT_IP')",
        [0, 1, 2, 3, 4, 5],
    ),
    "phys": (
        "each(network, 'PHY_LAN8710 PHY_LAN8720 PHY_IP101 PHY_RTL8201 PHY_DP83848 PHY_KSZ8041 PHY_KSZ8081')",
        [0, 1, 2, 3, 4, 5, 6],
    ),
    "resets": ("each(machine, 'PWRON_RESET HARD_RESET WDT_RESET DEEPSLEEP_RESET SOFT_RESET')", [1, 2, 3, 4, 5]),
    "pins": ("each(machine.Pin, 'IN OUT PULL_DOWN PULL_UP')", [1, 3, 1, 2]),
    # the chip
    "mac": ("len(machine.unique_id())", 6),
    "reset_cause": ("machine.reset_cause() in (1, 2, 3, 4, 5)", True),
    "no_such_pin": ("raised(machine.Pin, 99)", "ValueError"),
    "input_only_pin": ("raised(machine.Pin, 34, machine.Pin.OUT)", "ValueError"),
    "output": ("[machine.Pin(2, machine.Pin.OUT, value=1).value(), machine.Pin(2).value(0)]", [1, None]),
    "pulled_up": ("machine.Pin(4, machine.Pin.IN, machine.Pin.PULL_UP).value()", 1),
    "reset_by_its_line": ("machine.reset_cause()", 1),
    "hashes": ("[hasattr(hashlib, name) for name in ('md5', 'sha1', 'sha256', 'sha512')]", [True, True, True, False]),
    # time, in 32 bits
    "epoch": ("time.gmtime(0)[:3]", [2000, 1, 1]),
    "last_second": ("time.gmtime((1 << 31) - 1)[:6]", [2068, 1, 19, 3, 14, 7]),
    "time_after_the_last_second": ("raised(time.gmtime, 1 << 31)", "OverflowError"),
    "time_far_ahead": ("raised(time.gmtime, 3155760000)", "OverflowError"),
    "clock_far_ahead": ("[machine.RTC().datetime((2100, 1, 1, 4, 0, 0, 0, 0)), time.gmtime()[0]]", [None, 1963]),
    "clock": ("[machine.RTC().datetime((2040, 2, 29, 2, 1, 2, 3, 0)), time.gmtime()[:5]]", [None, [2040, 2, 29, 1, 2]]),
    # the station
    "no_such_interface": ("raised(network.WLAN, 7)", "ValueError"),
    "one_radio": ("[network.WLAN(0).active(True), network.WLAN(0).active()]", [True, True]),
    "connect_while_off": (
        f"[network.WLAN(0).active(False), raised(network.WLAN(0).connect, {NOWHERE})]",
        [False, "OSError"],
    ),
    "reconnects": ("[radio().config('reconnects'), network.WLAN(0).config(reconnects=-1)]", [0, None]),
    "no_bound": ("[radio().config(reconnects=-1), network.WLAN(0).config('reconnects')]", [None, -1]),
    "pm": ("[radio().config(pm=2), network.WLAN(0).config('pm'), network.WLAN(0).config(pm=1)]", [None, 2, None]),
    "no_such_parameter": ("raised(radio().config, color=1)", "ValueError"),
    "not_joined": ("[radio().isconnected(), network.WLAN(0).ifconfig()[0]]", [False, "0.0.0.0"]),
    "absent_network": (f"[radio().connect({NOWHERE}), ends(network.WLAN(0))]", [None, 201]),
    # which the firmware has to know: the reason outlives the next connect()
    "old_reason": (
        f"[radio().connect({NOWHERE}), ends(network.WLAN(0)), radio().connect({NOWHERE}), network.WLAN(0).status()]",
        [None, 201, None, 201],
    ),
    # ... and that breaking off an attempt replaces it
    "reason_of_an_attempt_that_is_broken_off": (
        f"""[radio().connect({NOWHERE}), ends(network.WLAN(0)), network.WLAN(0).connect({NOWHERE}),
        network.WLAN(0).disconnect(), changes(network.WLAN(0), 201)]""",
        [None, 201, None, None, True],
    ),
    "attempt_given_up": (f"[radio().connect({NOWHERE}), radio().isconnected()]", [None, False]),
    "host_name": ("[network.hostname('firstboot-1'), network.hostname()]", [None, "firstboot-1"]),
    "long_host_name": ("raised(network.hostname, 'x' * 33)", "ValueError"),
    "longest_host_name": ("[network.hostname('x' * 32), len(network.hostname())]", [None, 32]),
    # the cable; nothing here starts its driver
    "wires": ("raised(network.LAN, 0, phy_type=network.PHY_LAN8720, phy_addr=1)", "ValueError"),
    "phy_address": ("raised(lan, phy_type=network.PHY_LAN8720, phy_addr=32)", "ValueError"),
    "phy_missing": ("raised(lan, phy_addr=1)", "TypeError"),
    "no_such_wire": (
        "raised(lan, power=None, ref_clk=None, ref_clk_mode=machine.Pin.IN, phy_type=1, phy_addr=1, color=1)",
        "TypeError",
    ),
}


# Where a virtual board is not like a chip: the expression, as it is on a chip, and on a virtual board.
DIFFERENCES = {
    "sys.platform": ("sys.platform", "esp32", "linux"),
    "sys.maxsize": ("sys.maxsize", 0x7FFFFFFF, 0x7FFFFFFFFFFFFFFF),
    "float": ("16777217.0 != 16777216.0", False, True),
}


@pytest.fixture(scope="module")
def virtual(tmp_path_factory):
    """A virtual board on a serial line, with a program that it is taken out of."""
    board = VirtualBoard.create(tmp_path_factory.mktemp("facts") / "board", blank=True)
    board.install({"main.py": b"import time\nwhile True: time.sleep(1)\n"})
    with line_server.serve(board) as served, PortBoard(served.url) as found:
        yield found


@pytest.fixture(scope="module")
def chip(board_choice):
    """The board on the port that was chosen."""
    with PortBoard(board_choice.ports[0]) as found:
        yield found


ON_BOTH = pytest.mark.parametrize("where", ["virtual", pytest.param("chip", marks=pytest.mark.hardware)])


@pytest.fixture(scope="module")
def repls():
    """The raw REPLs that are open, by board: entering one a fact would take minutes over RFC 2217."""
    with contextlib.ExitStack() as opened:
        found = {}

        def of(board):
            if board.name not in found:
                found[board.name] = opened.enter_context(board.repl())
            return found[board.name]

        yield of


@pytest.fixture
def run(where, request, repls):
    """Run an expression on the board, and return its value."""
    repl = repls(request.getfixturevalue(where))
    return lambda expression: repl.run_json(f"{SETUP}\nprint(json.dumps({expression}))")


@ON_BOTH
@pytest.mark.parametrize(("expression", "expected"), FACTS.values(), ids=FACTS.keys())
def test_fact(run, expression, expected):
    assert run(expression) == expected


@ON_BOTH
@pytest.mark.parametrize(("expression", "on_chip", "on_virtual"), DIFFERENCES.values(), ids=DIFFERENCES.keys())
def test_difference(run, where, expression, on_chip, on_virtual):
    assert run(expression) == (on_chip if where == "chip" else on_virtual)


@pytest.mark.parametrize("name", DIFFERENCES)
def test_difference_is_in_the_docs(name):
    assert f"| `{name}` |" in (paths.CHECKOUT / "docs" / "virtual-boards.md").read_text()


# The line. These come last: they end the sessions of the facts above.


@ON_BOTH
def test_typed_while_booting_is_lost_and_the_rom_prints_its_lines(where, request):
    board = request.getfixturevalue(where)
    board.reset()
    board.line.port.write(b"\r\x03\r\x01")
    seen = [event.get("text", "") for event in board.follow(SILENCE_S)]
    assert any("rst:0x1 (POWERON" in text for text in seen)
    assert any(text.startswith("entry 0x") for text in seen)
    assert not any("raw REPL" in text for text in seen)


@ON_BOTH
def test_reset_by_the_program_has_a_cause_of_its_own(where, request):
    board = request.getfixturevalue(where)
    with board.repl() as repl:
        repl.reset()
    assert board.expect_text("rst:0xc (")
    assert board.exec("import machine\nprint(machine.reset_cause())").strip() == "2"
