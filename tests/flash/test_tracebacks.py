"""Tracebacks of boards with the names of the sources."""

import json
import subprocess

import pytest

from bench import paths
from bench.errors import UsageError
from bench.flash import firmware
from bench.flash.tracebacks import Tracebacks, read_names
from bench.virtual import unix_port
from tests.support import micropython

NAMES = {
    "pkg/__init__.py": {},
    "pkg/one.py": {"_a": "_first", "_b": "_second"},
    "pkg/deep/two.py": {"_a": "_third"},
}


def translated(*lines):
    reader = Tracebacks(lambda: NAMES)
    return [reader.translate_line(line) for line in lines]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ('  File "pkg.one", line 12, in _a', '  File "pkg/one.py", line 12, in _first'),
        ('  File "pkg.deep.two", line 3, in _a', '  File "pkg/deep/two.py", line 3, in _third'),
        ('  File "pkg.one", line 1, in <module>', '  File "pkg/one.py", line 1, in <module>'),
        ('  File "pkg.one", line 1', '  File "pkg/one.py", line 1'),
        ('  File "pkg.one", line 5, in main', '  File "pkg/one.py", line 5, in main'),
        ('  File "pkg.one", line 5, in _c', '  File "pkg/one.py", line 5, in _c'),
        ('  File "pkg", line 5, in _a', '  File "pkg/__init__.py", line 5, in _a'),
    ],
)
def test_frame_has_the_names_of_its_module(line, shown):
    assert translated(line) == [shown]


@pytest.mark.parametrize(
    "line",
    [
        '  File "main.py", line 12, in _a',
        '  File "pkg/one.py", line 12, in _a',  # frozen, or of an older firmware: its names are not short
        '  File "pkg.other", line 12, in _a',
        "the file '_a' is not a traceback",
        "in _a",
        "",
    ],
)
def test_other_line_stays(line):
    assert translated(line, line) == [line, line]


def test_error_is_about_the_names_of_its_last_frame_and_only_the_next_line_is():
    lines = [
        '  File "pkg.deep.two", line 3, in _a',
        '  File "pkg.one", line 12, in _a',
        "AttributeError: 'App' object has no attribute '_b'",
        "it was '_b'",
    ]
    assert translated(*lines)[2:] == ["AttributeError: 'App' object has no attribute '_second'", "it was '_b'"]


def test_error_after_a_frame_of_the_users_own_file_stays():
    lines = [
        '  File "pkg.one", line 12, in _a',
        '  File "main.py", line 3, in _a',
        "NameError: name '_a' isn't defined",
    ]
    assert translated(*lines)[1:] == lines[1:]


def test_events_stay_and_lines_between_them_do_not():
    reader = Tracebacks(lambda: NAMES)
    event = {"event": "state", "state": '  File "pkg.one", line 1, in _a'}
    assert reader.translate(event) == event
    line = {"event": "console", "text": '  File "pkg.one", line 1, in _a'}
    assert reader.translate(line) == {"event": "console", "text": '  File "pkg/one.py", line 1, in _first'}


def test_names_of_a_build_are_read(tmp_path):
    firmware.build(tmp_path)
    assert read_names(tmp_path / firmware.NAMES) == firmware.shortened().modules


@pytest.mark.parametrize("content", [None, b"", b"[]", b'{"a": 1}', b"\xff"])
def test_file_without_names_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "names.json").write_bytes(content)
    with pytest.raises(UsageError, match=r"names\.json"):
        read_names(tmp_path / "names.json")


FAILURES = {
    "in private functions of several modules": """
from firstboot import app, board, events, memory
def broken(*_, **__):
    raise ValueError("on purpose")
events.emit = broken
app._main()
""",
    "a private name that is missing": """
from firstboot import telemetry
telemetry.Telemetry.poll(object())
""",
    "a private global that is missing": """
from firstboot import address
del address._octets
address.guard(("192.168.1.1", 1))
""",
    "in a package of the package": """
from firstboot.transports import coap
coap._Message(b"")
""",
}


@pytest.mark.parametrize("failure", FAILURES)
def test_traceback_of_a_board_is_that_of_the_sources(failure):
    """The firmware as boards have it and its sources fail with the same text, line numbers included."""
    code = FAILURES[failure]
    texts = []
    for program, environment in (
        (code, micropython.finding(paths.FIRMWARE, unix_port.rom())),
        (micropython.reaching_in(code), micropython.environment(rom=True)),
    ):
        done = subprocess.run(
            [unix_port.interpreter(), "-c", program],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        reader = Tracebacks()
        texts.append([reader.translate_line(line) for line in done.stdout.splitlines()])
    sources, board = texts
    assert len(board) > 3
    assert board == [line.replace(f"{paths.FIRMWARE}/", "") for line in sources]


def test_names_are_written_as_json(tmp_path):
    firmware.build(tmp_path)
    names = json.loads((tmp_path / "names.json").read_text())
    assert "_attempt" in names["firstboot/app.py"].values()
