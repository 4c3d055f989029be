"""Trays: serial numbers, claim secrets, and results."""

import csv
import io
import itertools
import stat
import threading

import pytest

from bench.errors import UsageError
from bench.flash import serials
from bench.flash.labels import Label
from bench.flash.tray import Tray, tray_folder
from bench.flash.tray_results import TrayResult


def counted(text="p1"):
    return serials.counted(text)


def of_file(text):
    return serials.of_table(text, "s.csv")


def test_tray_continued_leaves_each_board_its_number(tmp_path):
    first = Tray(tmp_path / "t", counted())
    assert [first.serial(mac) for mac in ("aa", "bb", "aa")] == ["p1", "p2", "p1"]
    again = Tray(tmp_path / "t", counted())
    assert [again.serial(mac) for mac in ("cc", "bb", "aa")] == ["p3", "p2", "p1"]


def test_tray_without_a_number_left_is_an_error(tmp_path):
    tray = Tray(tmp_path / "t", of_file("serial\na\n"))
    assert tray.serial("aa") == "a"
    with pytest.raises(UsageError, match="no serial number for the board bb"):
        tray.serial("bb")


@pytest.mark.parametrize("boards", [3, 4])
def test_tray_with_fewer_numbers_than_boards_is_refused(tmp_path, boards):
    def tray_of(text, boards):
        return Tray(tmp_path / "t", of_file(text), ports=[f"/dev/{number}" for number in range(boards)])

    with pytest.raises(UsageError, match=f"there are {boards} boards and 2 serial numbers"):
        tray_of("serial\na\nb\n", boards)
    tray = tray_of("serial\na\nb\n", 2)
    assert [tray.serial(mac) for mac in ("01", "02")] == ["a", "b"]
    # numbers that boards have already are theirs, whatever the file says now
    again = tray_of("serial\nb\nc\n", 3)
    assert [again.serial(mac) for mac in ("02", "03", "01")] == ["b", "c", "a"]
    with pytest.raises(UsageError, match="there are 4 boards and 3"):
        tray_of("serial\nb\nc\n", 4)


def test_tray_without_serials_gives_none(tmp_path):
    assert Tray(tmp_path / "t").serial("01") == ""


def test_claim_secrets_stay_with_their_boards(tmp_path):
    tray = Tray(tmp_path / "t")
    own = {mac: tray.claim_secret(mac) for mac in ("01", "02")}
    assert len(set(own.values())) == 2
    assert all(len(each) == 16 for each in own.values())
    again = Tray(tmp_path / "t")
    assert {mac: again.claim_secret(mac) for mac in ("02", "01")} == own
    assert stat.S_IMODE((tmp_path / "t" / "tray.json").stat().st_mode) == 0o600


def test_labels_are_for_all_boards_that_were_brought_online(tmp_path):
    tray = Tray(tmp_path / "t", counted())
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


PORTS = ["/dev/a", "/dev/b", "/dev/c"]


def answered(tray, *moments):
    """Return the numbers of boards that answer in this order, each `(port, mac)`, or end without (mac None)."""
    found = {}

    def one(port, mac):
        if mac is None:
            tray.leave(port)
        else:
            found[port] = tray.serial(mac, port)
            tray.leave(port)

    threads = []
    for moment in moments:
        threads.append(threading.Thread(target=one, args=moment))
        threads[-1].start()
    for each in threads:
        each.join(10)
        assert not each.is_alive()
    return [found.get(port) for port in PORTS]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_numbers_go_by_the_ports_whichever_board_answers_first(tmp_path, order):
    boards = list(zip(PORTS, ("0a", "0b", "0c"), strict=True))
    tray = Tray(tmp_path / "t", counted(), ports=PORTS)
    assert answered(tray, *[boards[at] for at in order]) == ["p1", "p2", "p3"]


@pytest.mark.parametrize("first", [True, False])
def test_place_of_a_board_that_is_not_seen_stays_free(tmp_path, first):
    tray = Tray(tmp_path / "t", counted(), ports=PORTS)
    gone, others = ("/dev/b", None), [("/dev/c", "0c"), ("/dev/a", "0a")]
    assert answered(tray, *([gone, *others] if first else [*others, gone])) == ["p1", None, "p3"]
    again = Tray(tmp_path / "t", counted(), ports=PORTS)
    assert answered(again, ("/dev/a", "0a"), ("/dev/c", "0c"), ("/dev/b", "0b")) == ["p1", "p2", "p3"]


def test_board_of_a_tray_that_does_not_answer_again_costs_no_number(tmp_path):
    tray = Tray(tmp_path / "t", counted(), ports=PORTS)
    assert answered(tray, ("/dev/a", "0a"), ("/dev/b", "0b"), ("/dev/c", None)) == ["p1", "p2", None]
    tray.record(TrayResult(port="/dev/a", mac="0a", name="p1"))
    again = Tray(tmp_path / "t", counted(), ports=PORTS)
    assert answered(again, ("/dev/a", None), ("/dev/b", "0b"), ("/dev/c", "0c")) == [None, "p2", "p3"]


def test_numbers_of_certain_boards_are_theirs_and_nobody_elses(tmp_path):
    text = "mac;serial\na0:b7:65:00:00:0C;p1\n;p2\nA0B76500000A;p3\n;p4\n"
    tray = Tray(tmp_path / "t", of_file(text), ports=PORTS)
    macs = [f"a0b76500000{each}" for each in "abc"]
    assert answered(tray, *zip(PORTS, macs, strict=True)) == ["p3", "p2", "p1"]


def test_board_that_the_file_does_not_list_is_an_error(tmp_path):
    tray = Tray(tmp_path / "t", of_file("mac,serial\na0b76500000a,p1\n"))
    with pytest.raises(UsageError, match="no serial number for the board a0b76500000b"):
        tray.serial("a0b76500000b")


def test_board_that_has_another_number_than_in_the_file_is_an_error(tmp_path):
    Tray(tmp_path / "t", counted()).serial("a0b76500000a")
    tray = Tray(tmp_path / "t", of_file("mac,serial\na0b76500000a,p7\n"))
    with pytest.raises(UsageError, match="has the serial number p1 in this tray, and p7 in the file"):
        tray.serial("a0b76500000a")


def test_tray_has_one_table_of_its_results(tmp_path):
    tray = Tray(tmp_path / "t", counted(), ports=PORTS[:2])
    answered(tray, ("/dev/a", "a0b76500000a"), ("/dev/b", "a0b76500000b"))
    tray.claim_secret("a0b76500000a")
    tray.record(TrayResult(port="/dev/b", mac="a0b76500000b", name="", error='no "answer"', when_ms=0))
    tray.record(TrayResult(port="/dev/a", mac="a0b76500000a", name="=p1", firmware="1.0", seconds={"look": 1.5}))
    file = tmp_path / "t" / "results.csv"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    first, second = csv.DictReader(io.StringIO(file.read_text(), newline=""))
    assert (first["serial"], first["name"], first["mac"]) == ("p1", "'=p1", "a0:b7:65:00:00:0a")
    assert (first["result"], first["firmware"], first["seconds"]) == ("online", "1.0", "1.5")
    assert (second["serial"], second["result"], second["error"]) == ("p2", "not online", 'no "answer"')
    assert second["when"] == "1970-01-01T00:00:00Z"
    assert tray.claim_secret("a0b76500000a") not in file.read_text()


@pytest.mark.parametrize("name", ["../../x", "..", ".", ".x", "a/b", "/tmp/x", "a\\b", "a\n", "\0", "", "x" * 101])
def test_name_that_leads_out_of_the_folder_of_trays_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match="a name, not a path"):
        tray_folder(tmp_path, name)


@pytest.mark.parametrize("name", ["tray", "Juni 2026", "line-3_b", "a..b", "Büro"])
def test_name_of_a_tray_is_a_folder_of_its_own(tmp_path, name):
    assert tray_folder(tmp_path, name) == tmp_path / name
