"""Facts that the ROM of virtual boards claims of an ESP32, each checked on both.

`pytest tests/hardware --bench-target /dev/ttyUSB0` checks a board. It has to be an ESP32 with MicroPython 1.23 or
later; its files are left alone. It is taken out of its program and left at the REPL: reset it afterwards.
"""

import json
import subprocess
import sys

import pytest

from tests.support import micropython

_PATIENCE_S = 60

SETUP = """
import json, time
import machine, network
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
def ends(wlan):
    # the status in which an attempt to join a network that nobody has ends
    for _ in range(200):
        if wlan.status() == network.STAT_NO_AP_FOUND:
            return wlan.status()
        time.sleep_ms(50)
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


def on_rom(code: str) -> str:
    """Run code on the unix port, with the ROM of a virtual board."""
    plug = 'import machine\nmachine.attach(None, {"mac": "0242ac110002", "reset_cause": "PWRON_RESET"})\n'
    return micropython.run(plug + code, rom=True)


def on_board(code: str, port: str) -> str:
    """Run code on a real board."""
    command = [sys.executable, "-m", "mpremote", "connect", port, "exec", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("where", ["rom", pytest.param("board", marks=pytest.mark.hardware)])
@pytest.mark.parametrize(("expression", "expected"), FACTS.values(), ids=FACTS.keys())
def test_fact(where, expression, expected, board_choice):
    code = f"{SETUP}\nprint(json.dumps({expression}))"
    output = on_rom(code) if where == "rom" else on_board(code, board_choice.ports[0])
    assert json.loads(output.strip().splitlines()[-1]) == expected
