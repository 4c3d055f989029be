"""`bench device delete`: one device or many, and never by mistake."""

import pytest

from tests.support.commands import bench, printed
from tests.support.terminal import on_terminal


@pytest.fixture
def data(tmp_path):
    """Options for a data folder with 25 devices, `press-0` and so on."""
    where = ("--data", str(tmp_path / "data"))
    assert bench("profile", "create", "default", *where).returncode == 0
    (tmp_path / "tray.csv").write_text("name\n" + "".join(f"press-{n}\n" for n in range(25)))
    assert bench("import", tmp_path / "tray.csv", *where).returncode == 0
    return where


def names(data):
    return {each["name"] for each in printed("device", "list", *data)}


def test_several_devices_are_deleted(data):
    done = bench("device", "delete", "press-1", "press-2", "press-1", "--yes", *data)
    assert (done.returncode, done.stdout) == (0, "deleted press-1\ndeleted press-2\n")
    assert printed("device", "delete", "press-3", "press-4", "--yes", *data) == {"deleted": ["press-3", "press-4"]}
    assert names(data) == {f"press-{n}" for n in range(25)} - {f"press-{n}" for n in range(1, 5)}


def test_search_that_finds_none_deletes_nothing(data):
    done = bench("device", "delete", "--search", "pess", "--yes", *data)
    assert (done.returncode, done.stdout.count("nothing was deleted")) == (0, 1)
    assert printed("device", "delete", "--search", "pess", "--yes", *data) == {"deleted": []}


def test_devices_of_a_search_are_deleted(data):
    done = bench("device", "delete", "--search", "press-2", "--yes", *data)
    assert done.returncode == 0
    assert sorted(done.stdout.splitlines()) == sorted(f"deleted press-2{n}" for n in ("", 0, 1, 2, 3, 4))
    assert len(names(data)) == 19
    assert printed("device", "delete", "--search", "nothing", *data) == {"deleted": []}


def test_name_that_does_not_exist_deletes_none(data):
    done = bench("device", "delete", "press-1", "nobody", "--yes", *data)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no device nobody" in done.stderr
    assert len(names(data)) == 25


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "or find them with --search TEXT"),
        (("press-1", "--search", "x"), "or find them with --search TEXT"),
        (("press-1", "press-2"), "Delete 2 devices with all values and credentials: press-1, press-2? There is"),
        (("--search", "press"), "confirm with --yes"),
    ],
)
def test_without_a_terminal_many_need_yes(data, words, message):
    done = bench("device", "delete", *words, *data)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert message in done.stderr
    assert len(names(data)) == 25


@pytest.mark.parametrize(("answer", "left"), [("n", 25), ("", 25), ("y", 24)])
def test_question_on_a_terminal_names_what_is_deleted(data, answer, left):
    code, shown = on_terminal("device", "delete", "press-7", *data, typed=answer + "\n")
    assert "Delete 1 device with all values and credentials: press-7? [y/N]" in shown
    assert ("nothing was deleted" in shown) == bool(code)
    assert len(names(data)) == left


def test_question_about_many_names_the_first_ones(data):
    _, shown = on_terminal("device", "delete", "--search", "press", *data, typed="n\n", columns=200)
    assert "Delete 25 devices with all values and credentials: press-0, press-1," in shown
    assert ", ...?" in shown
    assert len(names(data)) == 25
