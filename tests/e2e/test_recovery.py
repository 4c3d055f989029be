"""Factory reset, and provisioning anew after refusals: complete, or not at all, and never by a network's fault."""

import json

import pytest

from bench.flash import filesystem
from bench.virtual.environment import Conditions
from tests.support.boards import steps, vault_slots
from tests.support.operators import ok
from tests.support.power_cuts import MODES, cuts, loses_power_before


def settings_of(board):
    return json.loads(filesystem.read_files(board.flash())["settings.json"])


@pytest.mark.parametrize(
    "params",
    [{}, {"confirm": "another"}, {"confirm": "press4", "wipe": "wifi"}, {"confirm": "press4", "wipe": 1}, [], "press4"],
)
def test_reset_by_a_call_needs_the_name_of_the_device(server, make_board, give_orders, params):
    board = make_board(server, identity={"name": "press4"})
    with board.power_on() as power:
        power.expect_event("listening")
        before = vault_slots(board)
        assert "confirm" in give_orders(server, "press4").call("factoryReset", params)["error"]
        assert vault_slots(board) == before


@pytest.mark.parametrize("kind", ["credentials", "all"])
def test_reset_wipes_what_it_names_and_restarts(server, make_board, give_orders, kind):
    board = make_board(server, identity={"name": "press4"}, backoff={"long_ms": 100})
    before = settings_of(board)
    with board.power_on() as power:
        power.expect_event("listening")
        token = vault_slots(board)[0]["active"][0]["token"]
        assert give_orders(server, "press4").call("factoryReset", {"confirm": "press4", "wipe": kind}) == {
            "wiped": kind
        }
        power.expect_event("reset", kind=kind, by="server")
        power.expect_event("boot", reset="hard")
        power.expect_event("rejected" if kind == "credentials" else "link_failed")
    assert token not in str(vault_slots(board))
    if kind == "all":
        assert vault_slots(board)[0] == {}
        assert settings_of(board)["wifi"] == {}
        del before["wifi"]
    assert settings_of(board) | before == settings_of(board)


def test_decommissioned_board_is_wiped_by_its_next_login(server, server_operator, make_board):
    board = make_board(server, identity={"name": "press4"})
    with board.power_on() as power:
        power.expect_event("telemetry")
        device = ok(server_operator.get("/api/tenant/devices?deviceName=press4"))["id"]["id"]
        ok(server_operator.post(f"/api/lifecycle/device/{device}/decommission"))
        power.expect_event("offline", kind="closed")
        power.expect_event("reset", kind="all", by="server")
        power.expect_event("link_failed")
    assert vault_slots(board)[0] == {}
    found = ok(server_operator.get(f"/api/lifecycle/device/{device}"))
    assert (found["access"], found["wipePending"]) == ("decommissioned", False)


RESET = b"""
from firstboot import board, events, factory_reset
from firstboot.vault import Vault
vault = Vault()
factory_reset.finish(vault)
if "active" in vault.record:
    factory_reset.reset(vault, "KIND", "test")
events.emit("done")
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["credentials", "all"])
@pytest.mark.parametrize("torn", MODES)
def test_reset_survives_a_cut_at_every_write(server, make_board, kind, torn, report):
    """A reset that was begun is finished at the next boot: never half of it, never with an old secret found again."""
    first = make_board(server)
    with first.power_on() as power:
        power.expect_event("telemetry")
    slots = {name: raw for name, raw in filesystem.read_files(first.flash()).items() if name.startswith("vault.")}
    token = vault_slots(first)[0]["active"][0]["token"]
    for cut in cuts(torn):
        board = make_board(server, files={**slots, "main.py": RESET.replace(b"KIND", kind.encode())})
        with board.power_on(Conditions(cut=cut)) as power:
            lost = loses_power_before(power, "done")
        begun = "active" not in vault_slots(board)[0]
        with board.power_on() as power:
            power.expect_event("done")
        assert vault_slots(board)[0] == {}
        assert token not in str(vault_slots(board))
        assert ("ssid" in settings_of(board)["wifi"]) is (kind == "credentials")
        if not lost:
            break
    assert begun
    assert cut.at > 1
    report(f"factory reset of {kind}: {cut.at} writes to the flash, {'torn' if torn else 'cut before'} at each")


STORE = b"""
from firstboot import events, settings
sections = settings.read()
sections["server"]["host"] = "changed"
settings.write(sections)
events.emit("done")
"""


@pytest.mark.slow
@pytest.mark.parametrize("torn", MODES)
def test_settings_are_the_old_or_the_new_ones_after_a_cut_at_every_write(server, make_board, torn, report):
    for cut in cuts(torn):
        board = make_board(server, files={"main.py": STORE})
        with board.power_on(Conditions(cut=cut)) as power:
            done = not loses_power_before(power, "done")
        assert settings_of(board)["server"]["host"] in (["changed"] if done else ["127.0.0.1", "changed"])
        if done:
            break
    assert cut.at > 2
    report(f"settings stored: {cut.at} writes to the flash, {'torn' if torn else 'cut before'} at each")


def locked_out(server, make_board, **sections):
    """A board whose device was deleted on the server."""
    board = make_board(server, identity={"name": "press4"}, **sections)
    with board.power_on() as power:
        power.expect_event("telemetry")
    server.query(lambda registry: registry.delete_device("press4"))
    return board


def test_refusals_below_the_limit_keep_the_credentials(server, make_board):
    board = locked_out(server, make_board, provision={"after_refusals": 20})
    before = vault_slots(board)
    with board.power_on() as power:
        for count in (1, 2, 3, 4):
            assert power.expect_event("refused")["count"] == count
    assert vault_slots(board) == before
    assert server.device_names() == []


def test_refusals_at_the_limit_provision_anew(server, make_board):
    board = locked_out(server, make_board, provision={"after_refusals": 3})
    old = vault_slots(board)[0]["active"]
    with board.power_on() as power:
        power.expect_event("telemetry")
    assert steps(power).count("refused") == 2
    assert steps(power).count("provisioning") == 1
    assert vault_slots(board)[0].keys() == {"active"}
    assert vault_slots(board)[0]["active"] != old
    assert server.device_names() == ["press4"]


def test_network_failures_are_no_refusals(server, make_board, start_server):
    board = make_board(server, provision={"after_refusals": 1})
    port = server.ports.mqtt
    with board.power_on() as power:
        power.expect_event("telemetry")
        server.close()
        for _ in range(4):
            power.expect_event("retry")
        start_server(mqtt_port=port)
        power.expect_event("telemetry")
    assert "refused" not in steps(power)
    assert steps(power).count("provisioning") == 1


def test_device_that_exists_with_other_credentials_keeps_both_sides_apart(server, make_board, give_orders):
    """Asked anew, the server says FAILURE: the credentials that once worked are still there when they work again."""
    board = make_board(server, identity={"name": "press4"}, provision={"after_refusals": 1}, backoff={"long_ms": 100})
    with board.power_on() as power:
        power.expect_event("telemetry")
    operator = give_orders(server, "press4")
    old = operator.credentials()
    operator.save({"credentialsType": "ACCESS_TOKEN", "token": "somebody else's"})
    with board.power_on() as power:
        power.expect_event("rejected")
        power.expect_event("rejected")
        operator.save({"credentialsType": "ACCESS_TOKEN", "token": old["credentialsId"]})
        power.expect_event("telemetry")
    assert vault_slots(board)[0]["active"] == [{"type": "ACCESS_TOKEN", "token": old["credentialsId"]}]


@pytest.mark.slow
@pytest.mark.parametrize("torn", MODES)
def test_provisioning_anew_survives_a_cut_at_every_write(server, make_board, torn, report):
    for cut in cuts(torn):
        board = locked_out(server, make_board, provision={"after_refusals": 1})
        with board.power_on(Conditions(cut=cut)) as power:
            lost = loses_power_before(power, "telemetry")
        vault_slots(board)
        with board.power_on() as power:
            power.expect_event("telemetry")
        assert server.device_names() == ["press4"]
        token = server.query(lambda registry: registry.device("press4")).credentials.id
        assert vault_slots(board)[0]["active"] == [{"type": "ACCESS_TOKEN", "token": token}]
        server.query(lambda registry: registry.delete_device("press4"))
        if not lost:
            break
    assert cut.at > 4
    report(f"provisioning anew: {cut.at} writes to the flash, {'torn' if torn else 'cut before'} at each")


# The thresholds of the button, short enough for a test.
IMPATIENT = b"""
from firstboot import app, button
button.WIFI_MS, button.FACTORY_MS = 150, 600
app.main()
"""
BUTTON, LED = 4, 2


@pytest.mark.parametrize("at", ["running", "boot"])
@pytest.mark.parametrize("kind", ["credentials", "all"])
def test_button_held_long_resets_to_factory(server, make_board, kind, at):
    pins = {"button": BUTTON, "led": LED, "button_wipes": kind}
    board = make_board(server, identity={"name": "press4"}, board=pins, files={"main.py": IMPATIENT})
    with board.power_on() as power:
        power.expect_event("telemetry")
    with board.power_on() as power:
        if at == "running":
            power.expect_event("telemetry")
        power.press(BUTTON)
        power.expect_event("reset", kind=kind, by="button")
        power.expect_event("boot", reset="hard")
        # held on, it does not do it again
        power.expect_event("rejected" if kind == "credentials" else "link_failed")
        power.release(BUTTON)
    assert steps(power).count("reset") == 1
    assert "active" not in vault_slots(board)[0]
    assert ("ssid" in settings_of(board)["wifi"]) is (kind == "credentials")


def test_button_held_shortly_forgets_the_wifi_only(server, make_board):
    pins = {"button": BUTTON, "led": LED}
    board = make_board(server, board=pins, files={"main.py": IMPATIENT.replace(b"600", b"60000")})
    with board.power_on() as power:
        power.expect_event("telemetry")
        before = vault_slots(board)
        lit = len(power.levels)
        power.press(BUTTON)
        while not any(pin == LED for pin, _ in power.levels[lit:]):  # the LED says that it is long enough
            next(power.follow(0.1), None)
        power.release(BUTTON)
        power.expect_event("reset", kind="wifi", by="button")
        assert power.expect_event("link_failed")["kind"] == "no_network"
    assert settings_of(board)["wifi"] == {}
    assert vault_slots(board) == before


def test_led_shows_the_states(server, make_board):
    board = make_board(server, board={"led": LED})
    with board.power_on() as power:
        power.expect_event("telemetry")
    assert (LED, 1) in power.levels


def test_claim_of_the_settings_is_stored_until_it_is_sent(server, make_board):
    board = make_board(server, identity={"name": "press4"}, claim={"secret": "the owner's", "duration_s": 60})
    with board.power_on() as power:
        power.expect_event("claim_sent")
    assert vault_slots(board)[0].keys() == {"active"}
    assert server.wait_for("claim", device="press4")["result"]
    with board.power_on() as power:
        power.expect_event("claim_sent")  # offered again
    assert power.writes == []
    assert "the owner's" not in board.console.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("torn", MODES)
def test_claim_survives_a_cut_at_every_write(server, make_board, torn, report):
    for cut in cuts(torn):
        board = make_board(server, claim={"secret": "the owner's"})
        with board.power_on(Conditions(cut=cut)) as power:
            lost = loses_power_before(power, "claim_sent")
        with board.power_on() as power:
            power.expect_event("claim_sent")  # for the first time, or offered again
        assert server.wait_for("claim", device=f"firstboot-{board.mac}")
        assert vault_slots(board)[0].keys() == {"active"}
        if not lost:
            break
    assert cut.at > 4
    report(f"first boot with a claim: {cut.at} writes to the flash, {'torn' if torn else 'cut before'} at each")
