"""Boards with old and new releases of ThingsBoard: online with each, and with advice that is right for each."""

import pytest

from bench.contract import releases
from bench.registry.provision_type import ProvisionType
from tests.support.boards import vault_slots
from tests.support.operators import login, ok

of_old_and_new = pytest.mark.parametrize(
    "like", [releases.release("4.2.1"), releases.release("4.2.1.1"), releases.NEWEST], ids=lambda each: each.version
)
TIMES = {"backoff": {"base_ms": 20, "cap_ms": 200, "long_ms": 100}}


@of_old_and_new
def test_board_makes_its_device_and_comes_back(start_server, make_board, like):
    server = start_server(like=like)
    board = make_board(server, identity={"name": "press-4"})
    for _ in range(2):
        with board.power_on() as power:
            power.expect_event("telemetry")
    assert server.device_names() == ["press-4"]


@of_old_and_new
def test_wiped_board_of_a_device_made_ahead_comes_back_by_the_rules_of_the_release(
    start_server, make_board, give_orders, like
):
    server = start_server(like=like)
    profile = server.new_profile(ProvisionType.CHECK_PRE_PROVISIONED_DEVICES)
    made = server.query(lambda registry: registry.create_device("press-4", profile.name))
    board = make_board(server, profile=profile, identity={"name": "press-4"}, **TIMES)
    with board.power_on() as power, login(server) as operator:
        power.expect_event("listening")
        give_orders(server, "press-4").call("factoryReset", {"confirm": "press-4", "wipe": "credentials"})
        power.expect_event("boot", reset="hard")
        if like.hands_over_once:
            assert "delete its attribute provisionState" in power.expect_event("rejected")["fix"]
            device = ok(operator.get("/api/tenant/devices", params={"deviceName": "press-4"}))["id"]["id"]
            path = f"/api/plugins/telemetry/DEVICE/{device}/SERVER_SCOPE"
            ok(operator.delete(path, params={"keys": "provisionState"}))
        power.expect_event("telemetry")
    assert vault_slots(board)[0] == {"active": [{"type": "ACCESS_TOKEN", "token": made.credentials.id}]}


@of_old_and_new
def test_advice_fits_a_device_that_nobody_made(start_server, make_board, like):
    server = start_server(like=like)
    profile = server.new_profile(ProvisionType.CHECK_PRE_PROVISIONED_DEVICES)
    board = make_board(server, profile=profile, identity={"name": "press-4"}, **TIMES)
    with board.power_on() as power:
        fix = power.expect_event("rejected")["fix"]
        assert "If it has such a device: delete that device" in fix
        assert "If the profile takes only devices made in advance: make this one" in fix
        server.query(lambda registry: registry.create_device("press-4", profile.name))
        power.expect_event("telemetry")
