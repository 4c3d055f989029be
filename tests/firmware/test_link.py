"""The links: the network that is joined, the events of the others, and the bounds of all attempts."""

import json

import pytest

from tests.support import micropython

HOME = {"ssid": "home", "password": "at home"}
WORK = {"ssid": "work", "password": "at work"}

# A board with this in the air and on its cable, whose clock goes on only while it sleeps.
BOARD = """
import json, sys, time
sections, air, socket = json.loads(WORLD)
import machine, network
machine.attach(None, {"mac": "0242ac110002", "reset_cause": "PWRON_RESET"})
joins = []
class Power:
    def trace(self, **entry):
        joins.append(entry["join"])
network.attach(Power(), {"wifi": air, "ethernet": socket})
from firstboot import board, link, settings
from firstboot.errors import LinkError, SettingsError
class Clock:
    now = 0
    ticks_diff = staticmethod(time.ticks_diff)
    ticks_add = staticmethod(time.ticks_add)
    ticks_ms = staticmethod(lambda: Clock.now)
    def sleep_ms(ms):
        Clock.now += ms
    sleep_ms = staticmethod(sleep_ms)
board.time = network.time = Clock
def up(found):
    try:
        return found.up()
    except LinkError as error:
        return error.kind
base = {"server": {"host": "h"}, "provision": {"key": "k", "secret": "s"}}
base.update(sections)
checked = settings.check(base)
for name in ("wifi", "ethernet"):
    __import__("firstboot." + name)
    sys.modules["firstboot." + name].time = Clock
"""


def run(code, *, networks=(), fail=0, socket=None, **sections):
    """Return the events of the code, and the last line of its output as it is."""
    world = json.dumps([sections, {"networks": networks, "fail": fail}, socket])
    *events, last = micropython.run(f"WORLD = {world!r}\n{BOARD}{code}", rom=True).splitlines()
    return [json.loads(line) for line in events], last


UP = """
found = link.find(checked)
first = up(found)
print(first, found.network, Clock.now, ",".join(joins))
"""


def test_wrong_password_and_absent_network_are_distinguished_and_the_third_is_joined():
    events, last = run(
        UP,
        networks=[WORK, {"ssid": "cafe"}],
        wifi={"networks": [HOME, {**WORK, "password": "guessed"}, {"ssid": "cafe"}], "tries": 1},
    )
    assert [(each["event"], each["kind"], each["network"]) for each in events] == [
        ("link_failed", "not_found", "home"),
        ("link_failed", "wrong_password", "work"),
    ]
    assert "guessed" not in str(events)
    assert last.split()[:2] == ["127.0.0.1", "cafe"]
    assert last.split()[3] == "home,work,cafe"


@pytest.mark.parametrize("reason", [202, 15, 204])
def test_wrong_password_is_known_by_each_of_its_reasons_and_tried_a_bounded_number_of_times(reason):
    events, last = run(
        UP, networks=[{**HOME, "refuses_with": reason}], wifi={**HOME, "password": "x", "tries": 3, "timeout_s": 5}
    )
    assert [each["kind"] for each in events] == ["wrong_password"]
    assert last.split()[0] == "wrong_password"
    assert last.split()[-1] == "home,home,home"


@pytest.mark.parametrize(("reason", "output"), [(210, "another security"), (203, "status 203"), (2, "status 2")])
def test_other_failures_are_explained(reason, output):
    events, _ = run(UP, networks=[{**HOME, "refuses_with": reason}], wifi={**HOME, "password": "x"})
    assert [each["kind"] for each in events] == ["link"]
    assert output in events[0]["detail"]


def test_order_of_the_networks_is_the_order_of_preference():
    for order in ([HOME, WORK], [WORK, HOME]):
        _, last = run(UP, networks=[HOME, WORK], wifi={**order[0], "networks": order[1:]})
        assert last.split()[1] == order[0]["ssid"]


def test_driver_left_to_itself_repeats_a_wrong_password_for_ever():
    """The reason for the bound; and for not relying on a status of "connecting"."""
    _, last = run(
        """
wlan = network.WLAN(network.STA_IF)
wlan.active(True)
wlan.connect("home", "x")
for _ in range(1000):
    Clock.sleep_ms(50)
    assert wlan.status() == network.STAT_CONNECTING
print(len(joins))
""",
        networks=[{**HOME, "refuses_with": 15}],
    )
    assert int(last) > 900


def test_slow_join_after_a_failed_one_is_waited_for_although_the_old_reason_shows():
    """The driver goes on showing "not found" until the next join is through."""
    events, last = run(
        UP, networks=[{**WORK, "takes_ms": 9000}], wifi={**HOME, "networks": [WORK], "tries": 1, "timeout_s": 10}
    )
    assert [each["network"] for each in events] == ["home"]
    assert last.split()[1] == "work"


@pytest.mark.parametrize("reason", [201, 202, 210], ids=["not_found", "wrong_password", "other_security"])
def test_network_that_fails_the_same_way_again_is_not_waited_for(reason):
    """The driver shows the last reason on, which hides that the same one came again."""
    there = [] if reason == 201 else [{**HOME, "refuses_with": reason}]
    events, last = run(
        """
found = link.find(checked)
for _ in range(4):
    up(found)
print(Clock.now, len(joins))
""",
        networks=there,
        wifi={**HOME, "password": "x", "tries": 2, "timeout_s": 15},
    )
    now, joins = map(int, last.split())
    assert now < 5000
    assert joins == 8
    assert len({each["kind"] for each in events}) == 1
    assert len(events) == 4


def test_driver_that_keeps_its_old_reason_is_waited_for():
    """An attempt that is broken off may leave no reason."""
    code = """
leave = network.WLAN._leave
def quietly(wlan):
    reason = wlan._reason
    leave(wlan)
    network.WLAN._reason = reason
network.WLAN._leave = quietly
"""
    slow = {**WORK, "takes_ms": 9000}
    events, last = run(code + UP, networks=[slow], wifi={**HOME, "networks": [WORK], "tries": 1, "timeout_s": 10})
    assert [each["kind"] for each in events] == ["not_found"]
    assert last.split()[1] == "work"


def test_join_that_does_not_end_is_given_up():
    events, last = run(UP, networks=[{**HOME, "takes_ms": 3600000}], wifi={**HOME, "tries": 2, "timeout_s": 7})
    assert [each["kind"] for each in events] == ["link"]
    assert 14000 <= int(last.split()[-2]) < 15000


def test_link_that_is_up_is_left_alone():
    _, last = run(
        """
found = link.find(checked)
up(found)
before = len(joins)
print(up(found), len(joins) - before)
""",
        networks=[HOME],
        wifi=HOME,
    )
    assert last == "127.0.0.1 0"


def test_lost_access_point_is_joined_again_by_us_and_not_by_the_driver():
    _, last = run(
        """
found = link.find(checked)
up(found)
network.lose()
Clock.sleep_ms(60000)
alone = network.WLAN().isconnected()
print(alone, len(joins), up(found), len(joins))
""",
        networks=[HOME],
        wifi=HOME,
    )
    assert last == "False 1 127.0.0.1 2"


def test_hidden_network_is_joined_without_a_scan():
    _, last = run(
        """
network.WLAN.scan = None
print(up(link.find(checked)))
""",
        networks=[{**HOME, "hidden": True}],
        wifi=HOME,
    )
    assert last == "127.0.0.1"


def test_driver_that_raises_is_a_failed_link():
    events, last = run(
        """
def broken(self, *_):
    raise OSError("Wifi Internal Error")
network.WLAN.connect = broken
print(up(link.find(checked)))
""",
        networks=[HOME],
        wifi=HOME,
    )
    assert last == "link"
    assert "Wifi Internal Error" in events[0]["detail"]


@pytest.mark.parametrize(("setting", "mode"), [("none", 0), ("min", 1), ("max", 2)])
def test_power_save_is_set_where_there_is_one(setting, mode):
    code = "up(link.find(checked))\nprint(network.WLAN().config('pm'), network.WLAN().config('reconnects'))"
    assert run(code, networks=[HOME], wifi={**HOME, "power_save": setting})[1] == f"{mode} 0"
    older = "for name in ('PM_NONE', 'PM_PERFORMANCE', 'PM_POWERSAVE'):\n    delattr(network.WLAN, name)\n" + code
    assert run(older, networks=[HOME], wifi={**HOME, "power_save": setting})[1] == "1 0"


def test_fixed_address_is_set_before_the_join():
    fixed = "192.168.1.50/24 192.168.1.1 9.9.9.9"
    code = "print(up(link.find(checked)), network.WLAN().ifconfig())"
    _, last = run(code, networks=[HOME], wifi={**HOME, "address": fixed})
    assert last == "192.168.1.50 ('192.168.1.50', '255.255.255.0', '192.168.1.1', '9.9.9.9')"


BAD_ADDRESSES = {
    "one_word": ("192.168.1.50", 'must be "address/bits gateway dns"'),
    "no_dns": ("192.168.1.50/24 192.168.1.1", 'must be "address/bits gateway dns"'),
    "too_many": ("192.168.1.50/24 192.168.1.1 1.1.1.1 8.8.8.8", "must be"),
    "no_bits": ("192.168.1.50 192.168.1.1 1.1.1.1", "must be"),
    "two_slashes": ("192.168.1.50/24/24 192.168.1.1 1.1.1.1", "must be"),
    "bits_none": ("192.168.1.50/ 192.168.1.1 1.1.1.1", "must be"),
    "bits_0": ("192.168.1.50/0 192.168.1.1 1.1.1.1", "must be"),
    "bits_31": ("192.168.1.50/31 192.168.1.51 1.1.1.1", "must be"),
    "bits_mask": ("192.168.1.50/255.255.255.0 192.168.1.1 1.1.1.1", "must be"),
    "256": ("192.168.1.256/24 192.168.1.1 1.1.1.1", "must be"),
    "three_quads": ("192.168.50/24 192.168.1.1 1.1.1.1", "must be"),
    "negative": ("192.168.1.-5/24 192.168.1.1 1.1.1.1", "must be"),
    "dns_name": ("192.168.1.50/24 192.168.1.1 dns.example", "must be"),
    "gateway_elsewhere": ("192.168.1.50/24 192.168.2.1 1.1.1.1", "gateway must be another address of the same"),
    "gateway_itself": ("192.168.1.50/24 192.168.1.50 1.1.1.1", "gateway must be another address of the same"),
    "network": ("192.168.1.0/24 192.168.1.1 1.1.1.1", "192.168.1.0 is the network's own"),
    "broadcast": ("192.168.1.255/24 192.168.1.1 1.1.1.1", "broadcast"),
}

FIND = """
try:
    print("accepted", link.find(checked))
except SettingsError as error:
    print("refused", error)
"""


@pytest.mark.parametrize(("address", "output"), BAD_ADDRESSES.values(), ids=BAD_ADDRESSES.keys())
def test_fixed_address_of_no_use_is_refused_at_boot(address, output):
    _, last = run(FIND, wifi={**HOME, "address": address})
    assert last.startswith("refused wifi.address")
    assert output in last


@pytest.mark.parametrize(
    ("sections", "name"),
    [
        ({}, "firstboot-0242ac110002"),
        ({"identity": {"name": "Press 4 / Süd"}}, "press-4---s-d"),
        ({"identity": {"name": "x" * 40 + "-{mac}"}}, "x" * 19 + "-0242ac110002"),
        ({"identity": {"name": "-" * 40}}, "firstboot"),
        ({"identity": {"name": "ab" + "-" * 31}}, "b"),
        ({"wifi": {"hostname": "Boiler-7"}}, "boiler-7"),
        ({"wifi": {"hostname": "x" * 32}}, "x" * 32),
    ],
)
def test_host_name_is_fit_for_dns(sections, name):
    _, last = run("link.find(checked)\nprint(network.hostname())", **sections)
    assert last == name
    assert 1 <= len(last) <= 32


@pytest.mark.parametrize("hostname", ["x" * 33, "-a", "a-", "a b", "a.b", "ü", "a_b", "-"])
def test_host_name_of_no_use_is_refused(hostname):
    assert run(FIND, wifi={"hostname": hostname})[1].startswith("refused wifi.hostname")


@pytest.mark.parametrize(
    "wifi",
    [{"ssid": "x" * 33}, {"ssid": "ü" * 17}, {"ssid": "a", "networks": [{"ssid": "b", "password": "s3cret" * 11}]}],
)
def test_name_or_password_that_the_driver_would_cut_is_refused(wifi):
    _, last = run(FIND, wifi=wifi)
    assert last.startswith("refused wifi.ssid has at most 32 bytes")
    assert "s3cret" not in last


def test_board_without_a_network_prints_how_to_enter_one():
    events, last = run("print(up(link.find(checked)))")
    assert last == "no_network"
    assert [(each["event"], each["kind"]) for each in events] == [("link_failed", "no_network")]
    assert "firstboot set wifi.ssid" in events[0]["detail"]


PHY = {"phy": "LAN8720", "phy_address": 1, "power": 16, "clock": 0}
SOCKET = {"phy": "LAN8720", "phy_address": 1, "cable": True, "dhcp": True}


def test_ethernet_is_used_before_wifi_and_the_radio_stays_off():
    _, last = run(
        "found = link.find(checked)\nprint(up(found), found.network, network.WLAN().active())",
        networks=[HOME],
        socket=SOCKET,
        wifi=HOME,
        ethernet=PHY,
    )
    assert last == "127.0.0.1 ethernet False"


@pytest.mark.parametrize(
    ("socket", "kind", "output"),
    [
        ({**SOCKET, "cable": False}, "not_found", "no Ethernet link: is the cable in?"),
        ({**SOCKET, "dhcp": False}, "link", "no DHCP server?"),
        ({**SOCKET, "phy_address": 5}, "link", "PHY does not answer"),
        (None, "link", "PHY does not answer"),
    ],
    ids=["cable", "dhcp", "address", "phy"],
)
def test_ethernet_that_fails_is_explained_and_wifi_takes_over(socket, kind, output):
    events, last = run(UP, networks=[HOME], socket=socket, wifi=HOME, ethernet=PHY)
    assert [(each["kind"], each["network"]) for each in events] == [(kind, "ethernet")]
    assert output in events[0]["detail"]
    assert last.split()[:2] == ["127.0.0.1", "home"]


def test_ethernet_without_dhcp_works_with_a_fixed_address():
    fixed = "192.168.1.50/24 192.168.1.1 9.9.9.9"
    events, last = run(UP, socket={**SOCKET, "dhcp": False}, wifi={"address": fixed}, ethernet=PHY)
    assert events == []
    assert last.split()[:2] == ["192.168.1.50", "ethernet"]


def test_cable_is_waited_for_once_and_then_known():
    _, last = run(
        """
found = link.find(checked)
kinds = [up(found)]
first = Clock.now
kinds.append(up(found))
again = Clock.now - first
network._ethernet["cable"] = True
kinds.append(up(found))
print(kinds, first > 3000, again)
""",
        socket={**SOCKET, "cable": False},
        ethernet=PHY,
    )
    assert last == "['not_found', 'not_found', '127.0.0.1'] True 0"


def test_wifi_that_is_up_is_left_alone_until_the_cable_is_in_and_then_switched_off():
    _, last = run(
        """
found = link.find(checked)
up(found)
before = Clock.now
names = [found.network]
up(found)
names.append(found.network)
quick = Clock.now == before
network._ethernet["cable"] = True
up(found)
names.append(found.network)
print(names, quick, network.WLAN().active(), len(joins))
""",
        networks=[HOME],
        socket={**SOCKET, "cable": False},
        wifi=HOME,
        ethernet=PHY,
    )
    assert last == "['home', 'home', 'ethernet'] True False 1"


def test_wifi_that_is_up_is_left_alone_while_the_cable_has_no_dhcp_behind_it():
    events, last = run(
        """
found = link.find(checked)
up(found)
before = Clock.now
print(up(found), found.network, Clock.now - before)
""",
        networks=[HOME],
        socket={**SOCKET, "dhcp": False},
        wifi=HOME,
        ethernet=PHY,
    )
    assert len(events) == 1
    assert last == "127.0.0.1 home 0"


def test_ethernet_stays_up_through_a_status_that_wifi_left_until_the_cable_is_out():
    _, last = run(
        """
found = link.find(checked)
names = []
for status in (network.ETH_GOT_IP, network.ETH_STARTED, network.ETH_STOPPED, network.ETH_DISCONNECTED):
    network.LAN.status = lambda self: status
    up(found)
    names.append(found.network)
print(names)
""",
        networks=[HOME],
        socket=SOCKET,
        wifi=HOME,
        ethernet=PHY,
    )
    assert last == "['ethernet', 'ethernet', 'ethernet', 'home']"


def test_ethernet_whose_address_ran_out_is_down():
    _, last = run(
        """
found = link.find(checked)
up(found)
network.LAN.ifconfig = lambda self: ("0.0.0.0",) * 4
network.LAN.status = lambda self: network.ETH_STOPPED
print(up(found), found.network)
""",
        networks=[HOME],
        socket=SOCKET,
        wifi=HOME,
        ethernet=PHY,
    )
    assert last == "127.0.0.1 home"


def test_phy_that_did_not_answer_is_probed_only_once():
    _, last = run(
        """
made = []
class Lan(network.LAN):
    def __init__(self, *args, **wiring):
        made.append(1)
        super().__init__(*args, **wiring)
network.LAN = Lan
found = link.find(checked)
print([up(found) for _ in range(3)], len(made))
""",
        ethernet=PHY,
    )
    assert last == "['link', 'link', 'link'] 1"


@pytest.mark.parametrize(
    ("ethernet", "output"),
    [
        ({**PHY, "phy": "W5500"}, "ethernet.phy must be one of: DP83848, IP101"),
        ({**PHY, "phy": "lan8720"}, "ethernet.phy must be one of"),
        ({**PHY, "mdc": 99}, "ethernet.mdc: this chip has no pin 99"),
        ({**PHY, "clock": 77}, "ethernet.clock: this chip has no pin 77"),
    ],
)
def test_ethernet_that_the_chip_does_not_have_is_refused_at_boot(ethernet, output):
    assert output in run(FIND, ethernet=ethernet)[1]


def test_chip_without_ethernet_is_refused():
    assert (
        "none on this chip"
        in run(
            "for name in dir(network):\n    if name.startswith('PHY_'): delattr(network, name)\n" + FIND, ethernet=PHY
        )[1]
    )


@pytest.mark.parametrize(
    ("sections", "loaded"),
    [({}, []), ({"wifi": HOME}, ["wifi"]), ({"ethernet": PHY}, ["ethernet"])],
    ids=["none", "wifi", "ethernet"],
)
def test_only_what_the_settings_need_is_imported(sections, loaded):
    output = micropython.run(
        """
import json, sys, machine
machine.attach(None, {"mac": "0242ac110002", "reset_cause": "PWRON_RESET"})
from firstboot import link, settings
base = {"server": {"host": "h"}, "provision": {"key": "k", "secret": "s"}}
base.update(json.loads(sys.argv[1]))
link.find(settings.check(base))
print([name for name in ("wifi", "ethernet", "button", "led") if "firstboot." + name in sys.modules])
""",
        rom=True,
        arguments=(json.dumps(sections),),
    )
    assert output.strip() == str(loaded)
