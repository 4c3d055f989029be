"""The pytest plugin, as a project uses it that has nothing to do with firstboot's firmware."""

import contextlib
import os
import shlex
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from bench.virtual.board import VirtualBoard
from bench.virtual.line_server import serve
from tests.support.servers import PATIENCE_S

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.slow  # each is a run of pytest of its own

MAIN = "import time\nprint('hello')\nwhile True:\n  time.sleep(1)\n"
CONFTEST = f"import pytest\n@pytest.fixture\ndef board_files():\n    return {{'main.py': {MAIN.encode()!r}}}\n"
HELLO = "def test_hello(board):\n    board.power_on()\n    board.expect_text('hello')\n"
TROUBLE = "*board trouble: no verdict on these tests*"
HOLDS = """
import sys
from bench.serial.port_lock import PortLock
with PortLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def project(pytester):
    """A project with a program of its own."""
    pytester.makeconftest(CONFTEST)
    return pytester


@pytest.fixture
def served(tmp_path):
    """Virtual boards with MicroPython on them, each on a line."""
    with contextlib.ExitStack() as held:

        def start(name):
            board = VirtualBoard.create(tmp_path / name, settings=b"{}")
            return held.enter_context(serve(board))

        yield start


@pytest.mark.parametrize(("text", "message"), [("[[board", "boards.local.toml: "), ("board = 1", "must be sections")])
def test_inventory_that_is_none_is_wrong_use(project, text, message):
    (project.path / "boards.local.toml").write_text(text)
    ran = project.runpytest_inprocess("--bench-target", "press-4")
    assert ran.ret == pytest.ExitCode.USAGE_ERROR
    ran.stderr.fnmatch_lines([f"*{message}*"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--bench-target", "unix", "--bench-target", "virtual"], "name no other beside it"),
        (["--bench-target", "unix", "--bench-target", "/dev/ttyUSB0"], "name no other beside it"),
        (["--bench-target", "/dev/ttyUSB0", "--bench-target", "/dev/ttyUSB0"], "names a port twice"),
        (["--bench-like", "3.5"], "unknown ThingsBoard release '3.5'"),
        (["--bench-target", "rfc2217://nowhere"], "is not a port"),
        (["--bench-target", "02:00:5e:00:53:01"], "no port has "),
        (["--bench-live", "-n", "2"], "--bench-live shows one run"),
    ],
)
def test_options_that_do_not_fit_are_wrong_use(project, options, message):
    ran = project.runpytest_inprocess(*options)
    assert ran.ret == pytest.ExitCode.USAGE_ERROR
    ran.stderr.fnmatch_lines([f"*{message}*"])


def test_short_names_of_options_do_as_well(project):
    project.makepyfile(HELLO)
    ran = project.runpytest_subprocess(
        "--target", "unix", "--seed=7", "--board-wait", "1", "--", "test_short_names*.py"
    )
    assert ran.ret == pytest.ExitCode.USAGE_ERROR  # what follows -- is a file's name
    ran = project.runpytest_subprocess("--target", "unix", "--seed=7", "--board-wait", "1", "--destructive")
    ran.assert_outcomes(passed=1)
    ran.stdout.fnmatch_lines(["boards: unix; --bench-seed 7"])


def test_short_name_before_a_path_that_exists_keeps_the_projects_conftest(project):
    """pytest loads the conftest of the working directory only if no path is named."""
    there = project.mkdir("there")
    (there / "ttyUSB9").touch()
    project.makepyfile(HELLO)
    ran = project.runpytest_subprocess("--target", "there/ttyUSB9")
    ran.stdout.fnmatch_lines([TROUBLE])


@pytest.mark.parametrize("place", ["conftest", "other"])
def test_option_of_somebody_else_is_left_to_them(pytester, place):
    declares = (
        "def pytest_addoption(parser):\n"
        "    for name in ('--target', '--report', '--metric', '--wifi', '--definition'):\n"
        "        parser.addoption(name)\n"
        "    parser.addoption('--live', action='store_true')\n"
    )
    pytester.makepyfile(
        **{place: declares},
        test_theirs="def test_options(request):\n"
        "    option = request.config.option\n"
        "    assert (option.target, option.report, option.live) == ('esp32', 'out', True)\n"
        "    assert (option.bench_target, option.bench_report, option.bench_live) == (['unix'], '', False)\n",
    )
    loaded = ["-p", "other"] if place == "other" else []
    theirs = ["--target", "esp32", "--report=out", "--live", "--seed", "7"]
    ran = pytester.runpytest_subprocess(*loaded, *theirs, "--bench-target", "unix")
    ran.assert_outcomes(passed=1)
    ran.stdout.fnmatch_lines(["boards: unix; --bench-seed 7"])
    assert not (pytester.path / "out").exists()


def test_folder_of_firmware_that_is_not_there_is_an_error_with_the_cure(pytester):
    pytester.makeini("[pytest]\nbench_firmware = gone\n")
    pytester.makepyfile(HELLO)
    ran = pytester.runpytest_subprocess()
    ran.assert_outcomes(errors=1)
    ran.stdout.fnmatch_lines(["*gone is not a folder: bench_firmware in the ini file*"])


def test_folder_of_firmware_is_what_is_on_the_board(pytester):
    pytester.makeini("[pytest]\nbench_firmware = src\n")
    (pytester.path / "src" / "lib").mkdir(parents=True)
    (pytester.path / "src" / "main.py").write_text("import greeting\n")
    (pytester.path / "src" / "lib" / "greeting.py").write_text("print('hello')\n")
    pytester.makepyfile(HELLO)
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


@pytest.mark.parametrize("target", ["unix", "virtual"])
def test_board_runs_the_projects_program(project, target):
    project.makepyfile(HELLO)
    ran = project.runpytest_subprocess("--bench-target", target)
    ran.assert_outcomes(passed=1)
    ran.stdout.fnmatch_lines([f"boards: {target}; --bench-seed *"])


def test_what_a_board_cannot_do_is_a_skip_with_the_reason(project, served):
    project.makepyfile(
        "import pytest\nfrom bench.virtual.environment import Conditions\n"
        "def test_cut(board):\n    board.power_on(Conditions())\n"
        "def test_two(boards):\n    boards(2)\n"
        "@pytest.mark.destructive\ndef test_wear(board):\n    assert 0\n"
        "@pytest.mark.needs_wifi\ndef test_radio(board):\n    assert 0\n"
        "@pytest.mark.hardware\ndef test_real(board):\n    assert board.kind == 'port'\n"
    )
    ran = project.runpytest_subprocess("--bench-target", served("board").url, "-rs")
    ran.assert_outcomes(passed=1, skipped=4)
    ran.stdout.fnmatch_lines_random(
        ["*is a real board*", "*needs 2 boards*", "*--bench-destructive says*", "*needs a Wi-Fi network*"]
    )


def test_hardware_is_skipped_without_any(project):
    project.makepyfile("import pytest\n@pytest.mark.hardware\ndef test_real(board):\n    assert 0\n")
    ran = project.runpytest_subprocess("-rs")
    ran.assert_outcomes(skipped=1)
    ran.stdout.fnmatch_lines(["*needs a real board, this is unix: --bench-target PORT*"])


def test_port_that_is_not_there_is_trouble_and_no_failure(project, tmp_path):
    project.makepyfile(HELLO)
    ran = project.runpytest_subprocess("--bench-target", str(tmp_path / "ttyUSB9"), "--junit-xml", "junit.xml")
    assert ran.ret == pytest.ExitCode.TESTS_FAILED
    ran.stdout.fnmatch_lines([TROUBLE, "*ttyUSB9: there is no such port*", "*1 board trouble*"])
    ran.stdout.no_fnmatch_line("*1 error*")
    properties = {each.get("name") for each in ET.parse(project.path / "junit.xml").iter("property")}
    assert "board trouble" in properties


def test_port_that_vanishes_is_trouble_and_no_failure(project, served):
    line = served("board")
    project.makepyfile(
        "from pathlib import Path\n"
        "def test_pulled(board):\n"
        "    board.power_on()\n    board.expect_text('hello')\n"
        "    Path('pull').touch()\n    board.expect_text('never', timeout_s=60)\n"
    )

    def pull():
        while not (project.path / "pull").exists():
            time.sleep(0.05)  # a file cannot be awaited
        line.pull_out()

    pulling = threading.Thread(target=pull)
    pulling.start()
    ran = project.runpytest_subprocess("--bench-target", line.url)
    pulling.join()
    ran.stdout.fnmatch_lines([TROUBLE, "*test_pulled: *", "*1 board trouble*"])


def test_failure_prints_the_command_that_has_it_again(project):
    project.makepyfile("def test_silent(board):\n    board.power_on()\n    board.expect_text('bye', timeout_s=0.1)\n")
    ran = project.runpytest_subprocess("--bench-seed", "7")
    ran.assert_outcomes(failed=1)
    ran.stdout.fnmatch_lines(["*no line with 'bye'*", "pytest --bench-target unix --bench-seed 7 *::test_silent"])
    ran.stdout.no_fnmatch_line("*bench/dut/board.py*")


def test_command_that_has_a_failure_again_can_be_typed_where_it_was(project):
    project.makeini("[pytest]")
    source = "import pytest\n@pytest.mark.parametrize('n', [\"it's\"])\ndef test_no(n):\n    assert 0\n"
    project.makepyfile(**{"inner/test_odd": source})
    os.chdir(project.path / "inner")  # pytester goes back
    options = [
        "--bench-definition",
        "esp32_c3",
        "--bench-host",
        "127.0.0.1",
        "--bench-wifi",
        "a net",
        "--bench-destructive",
    ]
    ran = project.runpytest_subprocess("--bench-seed", "7", *options)
    again = next(line for line in ran.outlines if line.startswith("pytest "))
    words = shlex.split(again)
    assert words[1:-1] == ["--bench-target", "unix", *options, "--bench-seed", "7"]
    project.runpytest_subprocess(*words[1:]).assert_outcomes(failed=1)


def test_what_a_board_cannot_do_skips_a_unittest_too(project):
    project.makepyfile(
        "import unittest\nfrom bench.dut.unsupported import CannotDo\n"
        "class TestOld(unittest.TestCase):\n    def test_no(self):\n        raise CannotDo('no way')\n"
    )
    ran = project.runpytest_subprocess("-rs")
    ran.assert_outcomes(skipped=1)
    ran.stdout.fnmatch_lines(["SKIPPED*test_what_a_board*.py:4: no way"])


def test_trouble_is_no_failure_that_was_expected_and_hides_none_after_it(project):
    project.makepyfile(
        "import pytest\nfrom bench.serial.ports import PortError\n"
        "@pytest.fixture\ndef after():\n    yield\n    assert 0, 'the true error'\n"
        "@pytest.mark.xfail\ndef test_expected():\n    raise PortError('PORT', 'gone')\n"
        "def test_hidden(after):\n    raise PortError('PORT', 'gone')\n"
    )
    ran = project.runpytest_subprocess()
    ran.stdout.fnmatch_lines(["*the true error*", "*= 1 error, 2 board trouble in *"])


def test_failure_in_a_fixture_of_the_project_has_its_place(project):
    project.makepyfile(
        "import pytest\n@pytest.fixture\ndef ready(board):\n    board.power_on()\n"
        "    board.expect_text('bye', timeout_s=0.1)\n"
        "def test_ready(ready):\n    pass\n"
    )
    ran = project.runpytest_subprocess()
    ran.assert_outcomes(errors=1)
    ran.stdout.fnmatch_lines(
        [">*board.expect_text('bye', timeout_s=0.1)", "*EventMissing: board board1: no line with 'bye'*"]
    )


@pytest.mark.parametrize("target", ["unix", "virtual"])
def test_run_that_dies_leaves_no_board_on(project, target):
    project.makepyfile(
        "import os\nfrom pathlib import Path\ndef test_dies(board):\n"
        "    board.power_on()\n    board.expect_text('hello')\n"
        "    Path('where').write_text(str(board.folder))\n    os._exit(3)\n"
    )
    project.runpytest_subprocess("--bench-target", target)
    VirtualBoard(Path((project.path / "where").read_text())).lock().close()


def test_port_that_another_run_has_is_left_alone(project, served):
    project.makepyfile(HELLO)
    url = served("board").url
    command = [sys.executable, "-c", HOLDS, url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        ran = project.runpytest_subprocess("--bench-target", url, "--bench-board-wait", "0.1")
        ran.stdout.fnmatch_lines([TROUBLE, f"*{url}: in use by*process {other.pid}*"])
        other.stdin.close()
        assert other.wait(PATIENCE_S) == 0
    project.runpytest_subprocess("--bench-target", url).assert_outcomes(passed=1)


def test_chip_is_queried_for_the_board_unless_it_is_given(project, tmp_path):
    project.makepyfile("def test_kind(board):\n    assert board.definition.name == 'esp32_c3'\n")
    with serve(VirtualBoard.create(tmp_path / "c3", board="esp32_c3", settings=b"{}")) as line:
        project.runpytest_subprocess("--bench-target", line.url).assert_outcomes(passed=1)
        (project.path / "boards.local.toml").write_text(
            f'[[board]]\nname = "press-4"\ndefinition = "esp32_generic"\nport = "{line.url}"\n'
        )
        project.runpytest_subprocess("--bench-target", "press-4").assert_outcomes(failed=1)


def test_workers_share_ports_and_seed(project, served):
    urls = [served("one").url, served("two").url]
    project.makepyfile(
        "import pytest\n@pytest.mark.parametrize('number', range(4))\n"
        "def test_hello(board, board_choice, number):\n"
        "    assert board_choice.seed == 11\n    board.power_on()\n    board.expect_text('hello')\n"
    )
    options = [word for url in urls for word in ("--bench-target", url)]
    project.runpytest_subprocess(*options, "-n", "3", "--bench-seed", "11").assert_outcomes(passed=4)


def test_tests_with_several_boards_do_not_wait_for_each_other_for_ever(project, served):
    project.makepyfile(
        "import pytest\n@pytest.mark.parametrize('number', range(4))\ndef test_pair(boards, number):\n    boards(2)\n"
    )
    options = [word for url in (served("one").url, served("two").url) for word in ("--bench-target", url)]
    project.runpytest_subprocess(*options, "-n", "2", "--bench-board-wait", "60").assert_outcomes(passed=4)


def test_worker_that_dies_gives_its_port_free(project, served):
    project.makepyfile(
        "import os\n"
        "def test_dies(board):\n    os._exit(3)\n"
        "def test_hello(board):\n    board.power_on()\n    board.expect_text('hello')\n"
    )
    ran = project.runpytest_subprocess("--bench-target", served("board").url, "-n", "1")
    ran.assert_outcomes(passed=1, failed=1)
    ran.stdout.fnmatch_lines(["*worker 'gw0' crashed while running*test_dies*"])


def test_seed_is_drawn_and_named_if_not_given(project):
    project.makepyfile("def test_nothing():\n    pass\n")
    first, second = (
        next(line for line in project.runpytest_subprocess().outlines if line.startswith("boards:")) for _ in range(2)
    )
    assert first != second


def test_live_shows_what_boards_print(project):
    project.makepyfile(HELLO)
    project.runpytest_subprocess("--bench-live").stdout.fnmatch_lines(["*board1*switched on*", "*board1*hello*"])
