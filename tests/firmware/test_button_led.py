"""The button to the millisecond, and the LED's patterns, with a clock that the test advances."""

import json

import pytest

from tests.support import micropython

# A pin, a clock and a button; `play` has the pin low or high for so long, polled every `step` ms.
BUTTON = """
import machine, time
machine.attach(None, {"mac": "0242ac110002", "reset_cause": CAUSE})
class Clock:
    now = START
    ticks_diff = staticmethod(time.ticks_diff)
    ticks_add = staticmethod(time.ticks_add)
    ticks_ms = staticmethod(lambda: Clock.now)
level = FIRST
class Pin(machine.Pin):
    def value(self, out=None):
        return level
machine.Pin = Pin
from firstboot import board, button, settings
button.time = Clock
did = []
holder = settings.check({"server": {"host": "h"}, "provision": {"key": "k", "secret": "s"}, "board": {"button": 4}})
it = button.Button(holder, lambda: did.append("wifi"), lambda: did.append("factory"), lambda held: did.append(held))
def play(low, ms, step=1):
    global level
    level = 0 if low else 1
    for _ in range(0, ms, step):
        it.poll()
        Clock.now = time.ticks_add(Clock.now, step)
"""


def press(code, *, cause="PWRON_RESET", first=1, start="1000"):
    """Return what the button did while `code` played."""
    head = f"import time\nCAUSE, FIRST, START = {cause!r}, {first}, {start}\n"
    return json.loads(micropython.run(f"{head}{BUTTON}{code}\nimport json\nprint(json.dumps(did))", rom=True))


@pytest.mark.parametrize(
    ("ms", "did"),
    [
        (20, []),
        (2999, []),
        (3000, []),  # seen down for 2999 ms
        (3001, ["held_wifi", "", "wifi"]),
        (10000, ["held_wifi", "", "wifi"]),
        (10001, ["held_wifi", "held_factory", "factory", ""]),
        (90000, ["held_wifi", "held_factory", "factory", ""]),
    ],
)
@pytest.mark.parametrize("start", ["1000", "time.ticks_add(0, -5000)"], ids=["now", "wrap"])
def test_hold_does_what_its_length_means_once(ms, did, start):
    """Before and across the wrap of the tick counter."""
    assert press(f"play(False, 100)\nplay(True, {ms})\nplay(False, 100)", start=start) == did


@pytest.mark.parametrize("step", [7, 50, 500])
def test_hold_polled_as_seldom_as_waits_do_is_seen_all_the_same(step):
    assert press(f"play(True, 5000, {step})\nplay(False, 2000, {step})") == ["held_wifi", "", "wifi"]
    assert press(f"play(True, 12000, {step})")[-1] == "factory"


def test_factory_is_called_at_ten_seconds_and_not_when_let_go():
    assert press("play(True, 10000)\nassert 'factory' not in did\nplay(True, 1)")[-1] == "factory"


@pytest.mark.parametrize("bounce", [1, 5, 19])
def test_bounces_are_no_presses_and_no_releases(bounce):
    code = f"""
def bounce(to):
    for _ in range(5):
        play(to, {bounce})
        play(not to, {bounce})
bounce(True)
assert did == []
play(True, 2000)
bounce(False)
play(True, 2000)
bounce(False)
play(False, 100)
"""
    assert press(code) == ["held_wifi", "", "wifi"]


def test_short_presses_do_not_add_up():
    assert press("for _ in range(30):\n    play(True, 1000, 10)\n    play(False, 100, 10)") == []


def test_two_holds_are_two():
    assert press("for _ in range(2):\n    play(True, 4000, 10)\n    play(False, 100, 10)").count("wifi") == 2


def test_button_held_from_power_on_counts():
    assert press("play(True, 10050)", first=0)[-1] == "factory"
    assert press("play(True, 4000)\nplay(False, 50)", first=0) == ["held_wifi", "", "wifi"]


@pytest.mark.parametrize("cause", ["HARD_RESET", "WDT_RESET", "SOFT_RESET", "DEEPSLEEP_RESET"])
def test_button_held_through_a_reset_counts_once_it_was_let_go(cause):
    """Else a stuck one would reset to factory for ever, ten seconds after each reset."""
    assert press("play(True, 120000, 50)", cause=cause, first=0) == []
    again = "play(True, 70000, 50)\nplay(False, 100)\nplay(True, 10500)"
    assert press(again, cause=cause, first=0)[-1] == "factory"


def test_stuck_button_fires_once():
    assert press("play(True, 600000, 50)", first=0).count("factory") == 1


def test_gap_between_two_polls_is_not_taken_for_a_hold():
    assert press("play(True, 30)\nClock.now += 8000\nplay(False, 100)") == []


@pytest.mark.parametrize(("setting", "name"), [("button", "Button(holder, None, None)"), ("led", "Led(holder)")])
@pytest.mark.parametrize("pin", [40, 999])
def test_pin_that_the_chip_does_not_have_is_refused(setting, name, pin):
    output = micropython.run(
        f"""
import machine
machine.attach(None, {{"mac": "0242ac110002", "reset_cause": "PWRON_RESET"}})
from firstboot import {setting}, settings
from firstboot.errors import SettingsError
holder = settings.check({{"server": {{"host": "h"}}, "provision": {{"key": "k", "secret": "s"}},
    "board": {{"{setting}": {pin}}}}})
try:
    {setting}.{name}
except SettingsError as error:
    print(error)
""",
        rom=True,
    )
    assert output.startswith(f"board.{setting}: this chip has no pin {pin}")


LED = """
import json, machine, time
class Clock:
    now = 0
    ticks_diff = staticmethod(time.ticks_diff)
    ticks_ms = staticmethod(lambda: Clock.now)
class Power:
    def trace(self, **entry):
        seen.append((Clock.now, entry["level"]))
seen = []
machine.attach(Power(), {"mac": "0242ac110002", "reset_cause": "PWRON_RESET"})
from firstboot import led, settings
led.time = Clock
holder = settings.check({"server": {"host": "h"}, "provision": {"key": "k", "secret": "s"},
    "board": {"led": 2, "led_low": LOW}})
it = led.Led(holder)
def play(ms, step=10):
    for _ in range(0, ms, step):
        Clock.now += step
        it.tick()
"""


def light(code, *, low=False):
    """Every change of the LED: when, and to what level."""
    output = micropython.run(f"LOW = {low}\n{LED}{code}\nprint(json.dumps(seen))", rom=True)
    return [tuple(each) for each in json.loads(output)]


def test_states_and_patterns_are_the_same_and_distinct():
    patterns = json.loads(
        micropython.run("import json\nfrom firstboot import led\nprint(json.dumps(led.PATTERNS))", rom=True)
    )
    states = ["new", "linking", "provisioning", "pending", "online", "offline", "rejected", "error"]
    assert sorted(patterns) == sorted([*states, "held_wifi", "held_factory"])
    assert len({tuple(patterns[state]) for state in states}) == len(states)
    for pattern in patterns.values():
        assert len(pattern) == 1 or len(pattern) % 2 == 0  # each starts lit again
        assert min(pattern) >= 50  # what it is polled with


def test_led_shows_a_state_over_and_over():
    changes = light("it.show('linking')\nseen.clear()\nplay(2000)")
    assert changes == [(500, 0), (1000, 1), (1500, 0), (2000, 1)]


def test_led_changes_at_once_with_the_state():
    assert light("it.show('provisioning')\nplay(150)\nseen.clear()\nit.show('online')\nplay(5000)") == [(150, 1)]


def test_led_that_lights_when_low_is_the_other_way_round():
    high = light("it.show('rejected')\nplay(5000)")
    low = light("it.show('rejected')\nplay(5000)", low=True)
    assert [(when, 1 - level) for when, level in low[-20:]] == high[-20:]
    assert light("", low=True)[0] == (0, 1)  # dark before the first state


def test_led_shows_how_long_the_button_was_held_and_then_the_state_again():
    changes = light("""
it.show("online")
it.hold("held_wifi")
seen.clear()
play(100)
it.show("offline")  # which waits
play(100)
it.hold("held_factory")
play(400)
it.hold("")
play(2000)
""")
    assert changes[:4] == [(50, 0), (100, 1), (150, 0), (200, 1)]
    assert changes[4:6] == [(200 + 400 + 1900, 0), (200 + 400 + 2000, 1)]


def test_button_and_led_allocate_nothing_while_they_are_polled():
    output = micropython.run(
        """
import gc, machine, time
machine.attach(None, {"mac": "0242ac110002", "reset_cause": "PWRON_RESET"})
class Clock:
    now = 0
    ticks_diff = staticmethod(time.ticks_diff)
    ticks_ms = staticmethod(lambda: Clock.now)
class Pin:
    IN = OUT = PULL_UP = 0
    level = 1
    def __init__(self, *_, value=0):
        pass
    def value(self, out=None):
        return Pin.level
machine.Pin = Pin
from firstboot import board, button, led, settings
holder = settings.check({"server": {"host": "h"}, "provision": {"key": "k", "secret": "s"},
    "board": {"led": 2, "button": 4}})
button.time = led.time = Clock
lamp = led.Led(holder)
nothing = lambda: None
button.Button(holder, nothing, nothing, lamp.hold)
states = tuple(led.PATTERNS)[:8]
def spin(rounds):
    for _ in range(rounds):
        for state in states:
            lamp.show(state)
            for turn in range(600):
                Pin.level = 0 if turn < 300 else 1
                Clock.now += 50
                board.idle()
spin(1)
gc.collect()
gc.disable()
before = gc.mem_alloc()
spin(10)
print(gc.mem_alloc() - before)
""",
        rom=True,
    )
    assert int(output) == 0  # bytes, in 48000 polls
