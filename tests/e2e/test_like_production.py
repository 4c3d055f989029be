"""Boards beside a server that is as late as a production server: nothing is believed because it was acknowledged.

All other tests run with it by `pytest tests/e2e --bench-like-production`.
"""

import time

import pytest

from tests.support.boards import steps, vault_slots, way_settings
from tests.support.servers import PATIENCE_S


@pytest.fixture
def server(start_server):
    """A server that is late."""
    return start_server(like_production=True)


def test_first_boot_is_remembered_and_its_report_stored_in_the_end(server, make_board):
    board = make_board(server)
    for _ in range(2):
        with board.power_on() as power:
            power.expect_event("telemetry")
    assert steps(power) == ["boot", "link_up", "connected", "telemetry"]
    assert power.writes == []
    deadline = time.monotonic() + PATIENCE_S
    while not server.query(lambda registry: registry.device(f"firstboot-{board.mac}")).telemetry:
        assert time.monotonic() < deadline


@pytest.mark.parametrize("transport", ["http", "coap"])
def test_first_boot_over_another_transport_is_remembered(server, make_board, transport):
    board = make_board(server, **way_settings(server, transport, tls=False, kind="ACCESS_TOKEN"))
    for _ in range(2):
        with board.power_on() as power:
            power.expect_event("telemetry")
    assert "provisioning" not in steps(power)


def test_calls_are_answered_and_a_rotation_by_an_attribute_ends_with_new_credentials(server, make_board, give_orders):
    board = make_board(server)
    with board.power_on() as power:
        power.expect_event("listening")
    before = vault_slots(board)[0]["active"]
    operator = give_orders(server, f"firstboot-{board.mac}")
    with board.power_on() as power:
        power.expect_event("listening")
        assert operator.call("unknown") == {"error": "unknown method"}
        time.sleep(server.api.lateness.subscribe_s)  # what changes before that is asked for, and may be missed
        operator.share(rotateCredentials="now")
        power.expect_event("rotation", step="done")
        power.expect_event("telemetry")
    assert vault_slots(board)[0]["active"] != before
    assert server.device_names() == [f"firstboot-{board.mac}"]
