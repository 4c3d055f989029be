"""Two boards with a copy of one flash, credentials included: one device to the server."""

from tests.support.boards import vault_slots

FAST = {"base_ms": 20, "cap_ms": 60000}


def test_sessions_that_end_for_another_reason_are_not_taken_for_a_copy(server, make_board):
    board = make_board(server, backoff=FAST)
    with board.power_on() as power:
        power.expect_event("telemetry")
        server.stop()
        for _ in range(4):
            power.expect_event("offline")
        server.start()
        power.expect_event("telemetry")
    assert "displaced" not in [each["event"] for each in power.events]


def test_copies_of_one_flash_are_named_as_such(server, make_board):
    board = make_board(server, identity={"name": "press4"}, backoff=FAST)
    with board.power_on() as power:
        power.expect_event("telemetry")
    copy = make_board(server, identity={"name": "press4"}, backoff=FAST)
    (copy.folder / "flash.bin").write_bytes((board.folder / "flash.bin").read_bytes())
    assert vault_slots(copy) == vault_slots(board)
    with board.power_on() as first, copy.power_on() as second:
        for power in (first, second):
            event = power.expect_event("displaced")
            assert event["count"] >= 3
            assert event["name"] == "press4"
            assert "another board has a copy" in event["fix"]
    assert server.device_names() == ["press4"]
