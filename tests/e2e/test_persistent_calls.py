"""Persistent calls of a board: made while it is off, and while it is on."""

from tests.support.operators import login, ok

MAIN = b"""
from firstboot import app
app.main(extra={"echo": lambda params: {"ok": params}})
"""


def keep(operator, device, method, params):
    form = {"method": method, "params": params, "persistent": True, "timeout": 60_000}
    return ok(operator.post(f"/api/rpc/twoway/{device}", json=form))["rpcId"]


def test_call_made_while_a_board_is_off_is_answered_once_it_is_on(server, make_board):
    board = make_board(server, files={"main.py": MAIN})
    with board.power_on() as power:
        power.expect_event("telemetry")
    with login(server) as operator:
        device = ok(operator.get(f"/api/tenant/devices?deviceName=firstboot-{board.mac}"))["id"]["id"]
        made = [keep(operator, device, *call) for call in (("echo", {"first": 1}), ("unknown", {}))]
        with board.power_on() as power:
            power.expect_event("command", method="echo")
            made.append(keep(operator, device, "echo", {"last": 1}))
            power.expect_event("command", method="echo")
            power.expect_event("telemetry")  # it is sent after the answer
        found = [ok(operator.get(f"/api/rpc/persistent/{each}")) for each in made]
    assert [each["status"] for each in found] == ["SUCCESSFUL"] * 3
    assert (found[0]["response"], found[2]["response"]) == ({"ok": {"first": 1}}, {"ok": {"last": 1}})
    assert found[1]["response"] == {"error": "unknown method"}
