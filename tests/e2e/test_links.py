"""Boards among several Wi-Fi networks, on a cable, with a button that is pressed and an LED that is watched."""

import pytest

from bench import boards
from bench.errors import BenchError
from bench.flash.device_config import wired
from bench.virtual.environment import AccessPoint, Conditions
from tests.support.servers import PATIENCE_S

HOME = AccessPoint(ssid="home", password="at home")
WORK = AccessPoint(ssid="work", password="at work")
WIFI = {"ssid": "home", "password": "at home", "networks": [{"ssid": "work", "password": "at work"}], "tries": 1}


def failures(power) -> list[tuple[str, str]]:
    return [(event["network"], event["kind"]) for event in power.events if event["event"] == "link_failed"]


@pytest.mark.parametrize("reason", [202, 15, 204])
def test_wrong_password_then_the_second_network_works(server, make_board, reason):
    board = make_board(server, wifi={**WIFI, "password": "guessed"})
    home = AccessPoint(ssid="home", password="at home", refuses_with=reason)
    with board.power_on(Conditions(networks=(home, WORK))) as power:
        power.expect_event("link_up", network="work")
        power.expect_event("telemetry")
    assert failures(power) == [("home", "wrong_password")]
    assert power.joins == ["home", "work"]
    assert "guessed" not in board.console.read_text()


def test_absent_network_then_the_hidden_second_one_works(server, make_board):
    board = make_board(server, wifi=WIFI)
    hidden = AccessPoint(ssid="work", password="at work", hidden=True)
    with board.power_on(Conditions(networks=(hidden,))) as power:
        power.expect_event("link_up", network="work")
    assert failures(power) == [("home", "not_found")]


def test_wrong_password_is_tried_as_often_as_set_and_then_waited(server, make_board):
    wifi = {"ssid": "home", "password": "guessed", "tries": 3, "timeout_s": 1}
    # a wait that outlives the test
    board = make_board(server, wifi=wifi, backoff={"base_ms": 80_000_000, "cap_ms": 80_000_000})
    with board.power_on(Conditions(networks=(HOME,))) as power:
        power.expect_event("link_failed", kind="wrong_password")
        power.expect_event("retry")
        assert power.joins == ["home"] * 3


def test_fixed_address_is_the_boards(server, make_board):
    board = make_board(server, wifi={"address": "10.9.8.7/24 10.9.8.1 10.9.8.1"})
    with board.power_on() as power:
        assert power.expect_event("link_up")["address"] == "10.9.8.7"


def test_board_without_a_network_lives_on_and_prints_what_to_do(server, make_board):
    board = make_board(server, wifi={"ssid": ""})
    with board.power_on() as power:
        assert "firstboot set wifi.ssid" in power.expect_event("link_failed", kind="no_network")["detail"]
        power.expect_event("retry")
        power.expect_event("link_failed", kind="no_network")
    assert power.joins == []


WIRED = wired(boards.load("wt32_eth01"))


def test_ethernet_board_provisions_over_its_cable(server, make_board):
    with make_board(server, definition="wt32_eth01", **WIRED).power_on() as power:
        power.expect_event("link_up", network="ethernet")
        power.expect_event("telemetry")
    assert power.joins == []


def test_ethernet_board_falls_back_to_wifi_without_dhcp(server, make_board):
    board = make_board(server, definition="wt32_eth01", wifi={"timeout_s": 1}, **WIRED)
    with board.power_on(Conditions(dhcp=False)) as power:
        power.expect_event("link_up", network="bench")
        power.expect_event("telemetry")
    assert failures(power) == [("ethernet", "link")]


def test_ethernet_settings_on_a_board_without_a_phy_are_reported_and_wifi_is_used(server, make_board):
    with make_board(server, **WIRED).power_on() as power:
        power.expect_event("link_up", network="bench")
    assert failures(power) == [("ethernet", "link")]


# The button and the LED, with holds short enough for a test; how long they are is tested with a clock of its own.
BUTTON = b"""
from firstboot import board, button, events, led, settings
button.WIFI_MS, button.FACTORY_MS = 200, 800
button.POLL_MS = led.POLL_MS = 10
found = settings.load()
lamp = led.Led(found)
def wifi():
    events.emit("wifi_wiped")
def factory():
    events.emit("reset_to_factory", reset=board.reset_cause())
    board.reset()
def hold(pattern):
    lamp.hold(pattern)
    events.emit("held", pattern=pattern)
button.Button(found, wifi, factory, hold)
lamp.show("linking")
events.emit("boot", reset=board.reset_cause())
while True:
    board.sleep(20)
"""
LED, KEY = 2, 4


@pytest.fixture
def button_board(server, make_board):
    return make_board(server, files={"main.py": BUTTON}, board={"led": LED, "button": KEY})


def names(power) -> list[str]:
    return [event["event"] for event in power.events]


def test_button_held_a_little_wipes_the_wifi_when_it_is_let_go(button_board):
    with button_board.power_on() as power:
        power.expect_event("boot")
        power.press(KEY)
        power.expect_event("held", pattern="held_wifi")
        assert "wifi_wiped" not in names(power)
        power.release(KEY)
        power.expect_event("held", pattern="")
        power.expect_event("wifi_wiped")
    assert "reset_to_factory" not in names(power)


@pytest.mark.parametrize("at_boot", [True, False], ids=["at_boot", "running"])
def test_button_held_long_resets_to_factory_once_although_it_stays_down(button_board, at_boot):
    with button_board.power_on(Conditions(pressed=(KEY,) if at_boot else ())) as power:
        power.expect_event("boot", reset="power_on")
        if not at_boot:
            power.press(KEY)
        assert power.expect_event("reset_to_factory")["reset"] == "power_on"
        power.expect_event("boot", reset="hard")
        with pytest.raises(BenchError, match="no event held"):
            power.expect_event("held", timeout_s=1.5)  # twice as long as it takes
    assert names(power).count("reset_to_factory") == 1


@pytest.mark.slow
def test_led_blinks_the_state_and_flickers_while_the_button_is_held(button_board):
    with button_board.power_on() as power:
        for _ in power.follow(PATIENCE_S):
            if len(power.levels) >= 4:
                break
        # dark, then lit and dark in turn: slow, for linking
        assert power.levels[:4] == [(LED, 0), (LED, 1), (LED, 0), (LED, 1)]
        power.press(KEY)
        power.expect_event("held", pattern="held_wifi")
        before = len(power.levels)
        power.expect_event("reset_to_factory")
        assert len(power.levels) - before > 4  # the slow pattern has two in that time


def test_board_without_led_and_button_does_not_touch_a_pin(server, make_board):
    with make_board(server).power_on() as power:
        power.expect_event("telemetry")
    assert power.levels == []
