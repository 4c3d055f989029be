"""Trays: serial numbers, claim secrets, and results."""

import stat

import pytest

from bench.errors import UsageError
from bench.flash.labels import Label
from bench.flash.tray import Tray, TrayResult, serials


@pytest.mark.parametrize("text", ["", "press", "7a"])
def test_serials_that_end_in_no_number_are_refused(text):
    with pytest.raises(UsageError, match="does not end in digits"):
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
def test_serials_of_a_file_with_mistakes_are_refused(tmp_path, text, error):
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(UsageError, match=error):
        serials(str(tmp_path / "s.csv"))


@pytest.mark.parametrize("content", [b"serial\n\xff\xfe\n", b"serial\n" + b"a" * 200_000], ids=["latin", "endless"])
def test_serials_of_another_kind_of_file_are_refused(tmp_path, content):
    (tmp_path / "s.csv").write_bytes(content)
    with pytest.raises(UsageError, match="not a CSV file in UTF-8"):
        serials(str(tmp_path / "s.csv"))


def test_serials_of_a_file_come_in_its_order(tmp_path):
    (tmp_path / "s.csv").write_text("\ufeffserial,note\nb, 1\n a ,2\n")
    assert list(serials(str(tmp_path / "s.csv"))) == ["b", "a"]


def test_serials_are_counted_with_their_zeros():
    counted = serials("press-0099")
    assert [next(counted) for _ in range(3)] == ["press-0099", "press-0100", "press-0101"]


def test_tray_continued_leaves_each_board_its_number(tmp_path):
    first = Tray(tmp_path / "t", serials("p1"))
    assert [first.serial(mac) for mac in ("aa", "bb", "aa")] == ["p1", "p2", "p1"]
    again = Tray(tmp_path / "t", serials("p1"))
    assert [again.serial(mac) for mac in ("cc", "bb", "aa")] == ["p3", "p2", "p1"]


def test_tray_without_a_number_left_is_an_error(tmp_path):
    (tmp_path / "s.csv").write_text("serial\na\n")
    tray = Tray(tmp_path / "t", serials(str(tmp_path / "s.csv")))
    assert tray.serial("aa") == "a"
    with pytest.raises(UsageError, match="no serial number left"):
        tray.serial("bb")


@pytest.mark.parametrize("boards", [3, 4])
def test_tray_with_fewer_numbers_than_boards_is_refused(tmp_path, boards):
    (tmp_path / "s.csv").write_text("serial\na\nb\n")
    file = str(tmp_path / "s.csv")
    with pytest.raises(UsageError, match=f"there are {boards} boards and 2 serial numbers"):
        Tray(tmp_path / "t", serials(file), boards=boards)
    tray = Tray(tmp_path / "t", serials(file), boards=2)
    assert [tray.serial(mac) for mac in ("01", "02")] == ["a", "b"]
    # numbers that boards have already are theirs, whatever the file says now
    (tmp_path / "s.csv").write_text("serial\nb\nc\n")
    again = Tray(tmp_path / "t", serials(file), boards=3)
    assert [again.serial(mac) for mac in ("02", "03", "01")] == ["b", "c", "a"]
    with pytest.raises(UsageError, match="there are 4 boards and 3"):
        Tray(tmp_path / "t", serials(file), boards=4)


def test_tray_without_serials_gives_none(tmp_path):
    assert Tray(tmp_path / "t", boards=8).serial("01") == ""


def test_claim_secrets_stay_with_their_boards(tmp_path):
    tray = Tray(tmp_path / "t")
    own = {mac: tray.claim_secret(mac) for mac in ("01", "02")}
    assert len(set(own.values())) == 2
    assert all(len(each) == 16 for each in own.values())
    again = Tray(tmp_path / "t")
    assert {mac: again.claim_secret(mac) for mac in ("02", "01")} == own
    assert stat.S_IMODE((tmp_path / "t" / "tray.json").stat().st_mode) == 0o600


def test_labels_are_for_all_boards_that_were_brought_online(tmp_path):
    tray = Tray(tmp_path / "t", serials("p1"))
    secret = tray.claim_secret("02")
    assert [tray.serial(mac) for mac in ("03", "02", "01")] == ["p1", "p2", "p3"]
    tray.record(TrayResult(port="/dev/a", mac="03", name="p1", error="cable out"))
    tray.record(TrayResult(port="/dev/b", mac="02", name="p2"))
    later = Tray(tmp_path / "t")
    later.record(TrayResult(port="/dev/c", mac="01", name="n"))
    assert later.labels() == [
        Label(name="n", mac="01", serial="p3"),
        Label(name="p2", mac="02", serial="p2", secret=secret),
    ]


def test_a_board_where_another_one_was_keeps_the_others_result(tmp_path):
    """As when trays are filled by hand, board after board, on the ports that there are."""
    tray = Tray(tmp_path / "t")
    for when, mac in enumerate(("02", "01")):
        tray.record(TrayResult(port="/dev/a", mac=mac, name=f"n{mac}", when_ms=when))
    assert [each.name for each in tray.results()] == ["n01", "n02"]
    found = tray.finished("/dev/a")
    assert found is not None
    assert found.mac == "01"
    tray.record(TrayResult(port="/dev/a", mac="01", name="", error="cable out"))
    assert [each.name for each in tray.labels()] == ["n02"]


def test_tray_keeps_one_result_a_board_and_port(tmp_path):
    tray = Tray(tmp_path / "t")
    tray.record(TrayResult(port="/dev/a", mac="", name="", error="cable out"))
    assert tray.finished("/dev/a") is None
    tray.record(TrayResult(port="/dev/a", mac="02", name="n"))
    assert [each.name for each in tray.results()] == ["n"]
    found = Tray(tmp_path / "t").finished("/dev/a")
    assert found is not None
    assert (found.mac, found.name) == ("02", "n")
    modes = {stat.S_IMODE(each.stat().st_mode) for each in (tmp_path / "t").iterdir()}
    assert modes == {0o600}
