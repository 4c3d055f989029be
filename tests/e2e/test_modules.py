"""The modules that are loaded while a board is online: exactly these, whatever it had to do to get there."""

import pytest

from tests.support.boards import KINDS, WAYS, ca_file, way_settings

ALWAYS = {
    "",
    "app",
    "backoff",
    "board",
    "console",
    "errors",
    "events",
    "link",
    "memory",
    "mqtt",
    "rotation",
    "rpc",
    "session",
    "settings",
    "stream",
    "telemetry",
    "temporary",
    "vault",
    "wifi",
}

# Reports what is loaded whenever a record of telemetry was sent.
MAIN = b"""
import sys
from firstboot import app, events
usual = events.emit
def emit(event, **fields):
    usual(event, **fields)
    if event == "telemetry":
        found = [name[10:] for name in sys.modules if name.split(".")[0] == "firstboot"]
        usual("modules", loaded=found)
events.emit = emit
app.main()
"""


def loaded(power):
    power.expect_event("telemetry")
    return set(power.expect_event("modules")["loaded"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("transport", "tls"), WAYS)
def test_first_and_later_boots_leave_the_same_modules(server, make_board, transport, tls, kind):
    if kind == "X509_CERTIFICATE" and not tls:
        pytest.skip("certificates log in over TLS only")
    sections = way_settings(server, transport, tls=tls, kind=kind)
    board = make_board(server, files={**ca_file(server), "main.py": MAIN}, **sections)
    for boot in ("first", "later"):
        with board.power_on() as power:
            assert (boot, loaded(power)) == (boot, ALWAYS)


def test_hardware_and_claim_add_only_their_own_modules(server, make_board):
    board = make_board(
        server,
        files={"main.py": MAIN},
        board={"led": 2, "button": 4, "console": False},
        claim={"secret": "the owner's"},
        ethernet={"phy": "LAN8720"},
    )
    with board.power_on() as power:
        power.expect_event("claim_sent")
        assert loaded(power) == ALWAYS - {"console"} | {"led", "button", "ethernet"}


def test_rotation_commands_and_calls_leave_the_same_modules_twice(server, make_board, give_orders):
    board = make_board(server, identity={"name": "press4"}, files={"main.py": MAIN})
    with board.power_on() as power:
        power.expect_event("listening")
        operator = give_orders(server, "press4")
        for number in range(2):
            power.send_line("firstboot status")
            power.expect_event("console", text="  state            online")
            assert operator.call("selfDestruct") == {"error": "unknown method"}
            operator.share(rotateCredentials=number)
            power.expect_event("rotation", step="done")
            assert loaded(power) == ALWAYS


def test_second_provisioning_of_one_boot_works_and_leaves_the_same_modules(server, make_board):
    board = make_board(
        server,
        identity={"name": "press4"},
        files={"main.py": MAIN},
        provision={"after_refusals": 1},
        backoff={"long_ms": 100},
    )
    with board.power_on() as power:
        for _ in range(2):
            power.expect_event("provisioned")
            assert loaded(power) == ALWAYS
            server.query(lambda registry: registry.delete_device("press4"))
