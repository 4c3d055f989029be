"""A built wheel does all that a user needs where there is no checkout, with the oldest Python and with the newest."""

import shutil

import pytest

from bench import extras
from tests.support.flash_commands import IMAGE
from tests.support.installed import Installed
from tests.support.pythons import oldest_and_newest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_wheel_alone_runs_the_commands_and_names_each_missing_extra(tmp_path):
    installed = Installed(tmp_path, python=oldest_and_newest()[0])
    assert "Done. One provisioning, no second one" in installed.works("bench", "demo")
    with installed.running("serve", "--free-ports") as server:
        installed.works("bench", "board", "new", "board1", "--mac", "02005e005301")
        online = installed.run("bench", "board", "boot", "board1", "--until", "connected")
        assert "connected as firstboot-02005e005301" in online.stdout, online.stderr
        installed.works("bench", "board", "new", "board2", "--blank", "--mac", "02005e005302")
        if IMAGE.exists():
            with installed.running("board", "serve", "board2") as line:
                there = ["--port", line["url"], "--server", f"127.0.0.1:{server['mqtt_port']}", "--wifi", "bench"]
                password = {"BENCH_WIFI_PASSWORD": "the air is loopback"}
                flashed = installed.works("bench", "flash", *there, "--image", str(IMAGE), **password)
                assert "firstboot-02005e005302" in flashed
        assert "firstboot-02005e005301" in installed.works("bench", "device", "list")
    installed.works("bench", "firmware", "build")
    assert (installed.cwd / "build" / "firmware" / "firstboot" / "app.mpy").exists()

    findings = installed.works("bench", "doctor")
    assert f"firstboot[{','.join(extras.MODULES)}]" in findings
    for extra, command in {
        "plots": ["measure", "-n", "1", "--plot", "boot.svg"],
        "postgresql": ["serve", "--database", "postgresql+asyncpg://user@127.0.0.1:1/name"],
        "labels": ["flash", "--port", "socket://127.0.0.1:1", "--tray", "first"],
    }.items():
        done = installed.run("bench", *command)
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
        assert f"pip install 'firstboot[{extra}]'" in done.stderr

    (package,) = (tmp_path / "environment").glob("lib/python*/site-packages/bench")
    shutil.rmtree(package / "data" / "firmware")
    broken = installed.run("bench", "doctor")
    assert broken.returncode == 1
    assert "the installation is not whole: pip install --force-reinstall firstboot" in broken.stdout


MAIN = "import time\nprint('hello')\nwhile True:\n    time.sleep(1)\n"
TESTS = """
import pytest

def test_says_hello(board):
    board.power_on()
    board.expect_text("hello")
    assert board.exec("print(6 * 7)").strip() == "42"

@pytest.mark.timeout(50)
@pytest.mark.flaky(reruns=1)
def test_gets_in_at_the_second_try(board, request):
    board.power_on()
    board.expect_text("hello")
    assert request.node.execution_count == 2

def test_asks_embedded(request, target):
    assert target == request.config.getoption("--target") == "esp32"
    assert request.config.option.bench_target == ["virtual"]
"""


def test_plugin_serves_a_project_beside_other_plugins(tmp_path):
    others = ("embedded", "xdist", "html", "timeout", "rerunfailures")
    installed = Installed(
        tmp_path, *(f"pytest-{name}" for name in others), python=oldest_and_newest()[1], extras="[test]"
    )
    (installed.cwd / "test_theirs.py").write_text(TESTS)
    (installed.cwd / "pytest.ini").write_text("[pytest]\nbench_firmware = src\n")
    (installed.cwd / "src").mkdir()
    (installed.cwd / "src" / "main.py").write_text(MAIN)
    # --target is pytest-embedded's here, --seed is nobody's
    options = [
        "--bench-target",
        "virtual",
        "--target",
        "esp32",
        "--seed",
        "7",
        "--report",
        "out",
        "-p",
        "no:cacheprovider",
    ]
    for more in ([], ["-n", "2"]):
        ran = installed.works("pytest", *options, *more)
        assert "boards: virtual; --bench-seed 7" in ran
        assert "3 passed" in ran
        assert "1 rerun" in ran
        assert (installed.cwd / "out" / "report.html").exists()
    installed.install("pytest==8.3.*")  # the oldest that pyproject.toml allows
    assert "3 passed" in installed.works("pytest", *options)
    empty = installed.cwd / "elsewhere"
    empty.mkdir()
    (empty / "test_nothing.py").write_text("def test_nothing():\n    pass\n")
    assert "1 passed" in installed.works("pytest", "elsewhere")
