"""Results of flashing as the server has them."""

import pytest

from bench.cli.commands import flash_work
from bench.cli.options.operator_session import ServerOptions
from bench.flash.tray import Tray
from bench.flash.tray_results import TrayResult
from tests.support.operators import account


@pytest.fixture
def where(server, tmp_path):
    (tmp_path / "password").write_text(account(server)["password"])
    return ServerOptions(
        data=tmp_path,
        url=f"http://127.0.0.1:{server.ports.http}",
        user=account(server)["username"],
        password_file=tmp_path / "password",
    )


def test_board_that_the_server_knows_by_another_name_is_an_error(server, where, make_board, tmp_path):
    board = make_board(server, identity={"name": "known"})
    with board.power_on() as power:
        power.expect_event("connected")
    results = [
        TrayResult(port="/dev/a", mac="0a", name="known"),
        TrayResult(port="/dev/b", mac="0b", name="unknown\x1b"),
        TrayResult(port="/dev/c", mac="0c", name="", error="cable out"),
    ]
    tray = Tray(tmp_path / "tray")
    for each in results:
        tray.record(each)
    good, wrong, failed = flash_work.confirmed(results, where, tray)
    assert (good, failed) == (results[0], results[2])
    assert r"the server has no device unknown\x1b" in wrong.error
    assert "--name" in wrong.error
    assert [each.name for each in tray.labels()] == ["known"]
    assert sorted(tray.results(), key=lambda each: each.port) == [good, wrong, failed]


def test_server_that_is_not_known_to_run_is_not_looked_at(tmp_path):
    results = [TrayResult(port="/dev/a", mac="0a", name="somebody")]
    assert flash_work.confirmed(results, ServerOptions(data=tmp_path), None) == results
    assert list(tmp_path.iterdir()) == []
