"""Trays: serial numbers, and what is kept of each board."""

import stat

import pytest

from bench.errors import UsageError
from bench.flash.tray import Result, Tray, serials


@pytest.mark.parametrize("text", ["", "press", "7a"])
def test_serials_that_end_in_no_number_are_refused(text):
    with pytest.raises(UsageError, match="count from"):
        serials(text)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "no column serial"),
        ("name\na\n", "no column serial"),
        ("serial\n\n\n", "no column serial"),
        ("serial,note\n,x\n", "line 2: there is no serial"),
        ("serial\na\nb\na\n", "line 4: a is there twice"),
    ],
)
def test_serials_of_a_file_that_is_no_good_are_refused(tmp_path, text, error):
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(UsageError, match=error):
        serials(str(tmp_path / "s.csv"))


def test_serials_of_a_file_come_in_its_order(tmp_path):
    (tmp_path / "s.csv").write_text("\ufeffserial,note\nb, 1\n a ,2\n")
    assert list(serials(str(tmp_path / "s.csv"))) == ["b", "a"]


def test_serials_are_counted_with_their_zeros():
    counted = serials("press-0099")
    assert [next(counted) for _ in range(3)] == ["press-0099", "press-0100", "press-0101"]


def test_tray_gone_on_with_leaves_each_board_its_number(tmp_path):
    first = Tray(tmp_path / "t", serials("p1"))
    assert [first.serial(mac) for mac in ("aa", "bb", "aa")] == ["p1", "p2", "p1"]
    again = Tray(tmp_path / "t", serials("p1"))
    assert [again.serial(mac) for mac in ("cc", "bb", "aa")] == ["p3", "p2", "p1"]


def test_tray_without_a_number_left_says_so(tmp_path):
    (tmp_path / "s.csv").write_text("serial\na\n")
    tray = Tray(tmp_path / "t", serials(str(tmp_path / "s.csv")))
    assert tray.serial("aa") == "a"
    with pytest.raises(UsageError, match="no serial number left"):
        tray.serial("bb")


def test_tray_keeps_one_result_a_board_and_port(tmp_path):
    tray = Tray(tmp_path / "t")
    tray.record(Result(port="/dev/a", mac="", name="", error="cable out"))
    assert tray.finished("/dev/a") is None
    tray.record(Result(port="/dev/a", mac="02", name="n"))
    assert [each.name for each in tray.results()] == ["n"]
    found = Tray(tmp_path / "t").finished("/dev/a")
    assert found is not None
    assert (found.mac, found.name) == ("02", "n")
    modes = {stat.S_IMODE(each.stat().st_mode) for each in (tmp_path / "t").iterdir()}
    assert modes == {0o600}
