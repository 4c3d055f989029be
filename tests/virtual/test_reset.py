"""A board that is reset through its serial line, as it finds DTR and RTS."""

from bench.serial.connection import SerialConnection
from bench.virtual.board import VirtualBoard
from bench.virtual.line_server import serve

IDLE = {"main.py": b"print('idle')\n"}


def test_reset_by_rts_is_esptools_sequence_and_the_board_runs(tmp_path, controls):
    board = VirtualBoard.create(tmp_path / "board", settings=b"{}", files=IDLE)
    with serve(board) as served, SerialConnection(served.url) as line:
        before, opened = served.power, len(controls)
        line.reset()
        # (DTR, RTS); IO0 is high all the time, EN low while RTS is set, and each RTS is followed by DTR once more
        assert controls[opened:] == [(0, 1), (0, 1), (0, 1), (0, 0), (0, 0)]
        assert served.power
        assert served.power is not before
        line.expect_event("console", text="idle")


def test_port_that_is_opened_and_closed_disturbs_no_board(tmp_path, controls):
    board = VirtualBoard.create(tmp_path / "board", settings=b"{}", files=IDLE)
    with serve(board) as served:
        before = served.power
        with SerialConnection(served.url):
            opened = len(controls)
        assert served.power is before
    # RTS goes before DTR: the other way round is a reset
    assert controls[opened:] == [(1, 0), (0, 0)]
