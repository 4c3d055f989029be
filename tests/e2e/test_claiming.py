"""Boards that offer themselves to whoever knows the secret on their label, and how long that holds."""

import pytest

from tests.support.commands import bench
from tests.support.operators import customer_user, options

SECRET = "secret-on-the-label"


def offers(server):
    return [each["result"] for each in server.events("claim")]


@pytest.fixture
def customer(server, server_operator, tmp_path):
    """Claim a device as a customer's user does, on the command line; returns the finished command."""
    where = options(server, tmp_path, customer_user(server, server_operator)[1])

    def claim(device, secret):
        (tmp_path / "secret").write_text(secret)
        return bench("device", "claim", device, "--secret-file", tmp_path / "secret", *where)

    return claim


def test_claim_with_every_0_is_sent_once(server, make_board):
    board = make_board(server, claim={"secret": SECRET, "every_s": 0}, session={"telemetry_s": 1})
    with board.power_on() as power:
        power.expect_event("claim_sent")
    with board.power_on() as power:
        for _ in range(3):
            power.expect_event("telemetry")
    assert offers(server) == ["offered"]


def test_wrong_secret_is_made_good_by_the_next_login(server, make_board, customer):
    board = make_board(server, identity={"name": "press4"}, claim={"secret": SECRET})
    with board.power_on() as power:
        power.expect_event("claim_sent")
        done = customer("press4", "a-guess")
        assert done.returncode == 1
        assert "restart the board, which offers itself again" in done.stderr
        assert "FAILURE" in customer("press4", SECRET).stderr  # the guess has ended the offer
    with board.power_on() as power:
        power.expect_event("claim_sent")
        assert customer("press4", SECRET).stdout == "claimed press4\n"
    with board.power_on() as power:
        power.expect_event("claim_sent")
    assert offers(server) == ["offered", "offered", "claimed already"]
    assert SECRET not in board.console.read_text()


def test_claim_is_offered_again_while_online(server, make_board):
    board = make_board(server, claim={"secret": SECRET, "every_s": 1})
    with board.power_on() as power:
        for _ in range(3):
            power.expect_event("claim_sent")
    assert offers(server)[:3] == ["offered", *["an earlier word counts still"] * 2]


def test_board_without_a_secret_offers_nothing(server, make_board):
    board = make_board(server, session={"telemetry_s": 1})
    with board.power_on() as power:
        for _ in range(3):
            power.expect_event("telemetry")
    assert offers(server) == []
