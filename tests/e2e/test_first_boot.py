"""The main path, for real: a blank board, a server, two boots."""

import time

from tests.support.boards import states, steps, vault_slots
from tests.support.servers import PATIENCE_S, on_both_databases

MEMORY = {"free_heap", "idf_free", "idf_least"}

pytestmark = on_both_databases


def reported(server, name):
    """The device, once what it reported is stored; see `--bench-like-production`."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        device = server.query(lambda registry: registry.device(name))
        if device.telemetry and "CLIENT_SCOPE" in device.attributes:
            return device
        assert time.monotonic() < deadline


def test_first_boot_provisions_stores_and_reports(server, make_board):
    board = make_board(server)
    with board.power_on() as power:
        power.expect_event("telemetry")
    assert steps(power) == [
        "boot",
        "link_up",
        "pending_stored",
        "provisioning",
        "answer",
        "provisioned",
        "connected",
        "telemetry",
    ]
    assert states(power) == ["new", "linking", "provisioning", "pending", "online"]
    assert server.device_names() == [f"firstboot-{board.mac}"]
    device = reported(server, f"firstboot-{board.mac}")
    assert device.attributes["CLIENT_SCOPE"].keys() == MEMORY | {
        "firmware",
        "micropython",
        "reset_cause",
        "vault_writes",
    }
    assert device.attributes["CLIENT_SCOPE"]["reset_cause"] == "power_on"
    assert device.attributes["SERVER_SCOPE"]["provisionState"] == "provisioned"
    assert device.telemetry.keys() == MEMORY | {"uptime_s"}
    active, pending = vault_slots(board)
    assert active == {"active": [{"type": "ACCESS_TOKEN", "token": device.credentials.id}]}
    assert pending == {"pending": active["active"]}


def test_second_boot_neither_provisions_nor_writes(server, make_board):
    board = make_board(server)
    with board.power_on() as power:
        power.expect_event("telemetry")
    with board.power_on() as power:
        power.expect_event("telemetry")
    assert steps(power) == ["boot", "link_up", "connected", "telemetry"]
    assert states(power) == ["offline", "linking", "online"]
    assert power.writes == []
