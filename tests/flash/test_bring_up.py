"""`make flash`, `bench flash` and `bench deploy`, with the real esptool, on a virtual board behind RFC 2217."""

import time

import pytest

from bench import boards
from bench.errors import BenchError
from bench.flash import bring_up, firmware, probe
from bench.flash.job import FlashJob, FlashOutcome
from bench.flash.program_end import ProgramEnd
from bench.flash.progress import Unattended
from bench.flash.wifi_refusal import WifiRefusal
from bench.virtual.board import VirtualBoard
from bench.virtual.environment import VIRTUAL_WIFI, AccessPoint, Conditions
from bench.virtual.line_server import serve
from tests.support.boards import vault_slots
from tests.support.flash_commands import bench, options, result, run


@pytest.fixture
def blank(tmp_path):
    return VirtualBoard.create(tmp_path / "blank", blank=True)


@pytest.mark.slow
def test_flash_of_a_blank_board_ends_online_and_later_ones_send_what_changed(server, blank, tmp_path, report):
    with serve(blank) as line:
        made = run(
            ["make", "flash", f"PORT={line.url}", "BOARD=esp32_generic", f"ARGS={' '.join(options(server, '--json'))}"]
        )
        first = result(made)
        device = f"firstboot-{blank.mac}"
        assert first["name"] == device
        assert first["written"] == ["0x1000", "0x8000", "0x10000", "0x202000", "0x200000"]
        assert server.device_names() == [device]
        secrets = vault_slots(blank)
        whole = line.traffic.to_board

        port = ["--port", line.url]
        unchanged = result(bench("flash", *port, *options(server, "--json")))
        assert unchanged["written"] == []
        again = line.traffic.to_board - whole
        assert again < whole / 10

        (tmp_path / "own").mkdir()
        (tmp_path / "own" / "main.py").write_text("# mine\nfrom firstboot import app\napp.main()\n")
        changed = result(bench("flash", *port, *options(server, "--json", "--files", str(tmp_path / "own"))))
        assert changed["written"] == ["/main.py"]
        one = line.traffic.to_board - whole - again
        assert one < whole * 15 / 100

        for command in (["deploy"], ["flash", *options(server)]):
            deployed = result(bench(*command, *port, "--json"))
            assert (deployed["written"], deployed["kept"]) == ([], ["/main.py"])
            assert deployed["name"] == device
        deployed = result(bench("deploy", *port, "--json", "--firmware-main"))
        assert (deployed["written"], deployed["replaced"]) == (["/main.py"], ["/main.py"])

        assert vault_slots(blank) == secrets
    assert [each["status"] for each in server.events("exchange")] == ["SUCCESS"]
    report(f"flash: {whole} bytes to a blank board, {again} to the same one again, {one} with one file changed")


def expect_another_layout(server, board):
    before = board.flash()
    with serve(board) as line:
        done = bench("flash", "--port", line.url, *options(server))
    assert done.returncode == 1
    assert "another layout, a file system of 960 kB where esp32_generic has 2048 kB" in done.stderr
    assert board.flash() == before


def test_flash_of_a_board_with_another_layout_is_refused_and_nothing_is_written(server, make_board):
    """Its file system, with the credentials, would not be where the definition has it."""
    board = make_board(server, definition="esp32_generic_ota")
    with board.power_on() as power:
        power.expect_event("connected")
    expect_another_layout(server, board)


def test_flash_through_the_loader_of_a_board_with_another_layout_is_refused_and_nothing_is_written(server, make_board):
    """Its own program keeps MicroPython busy, so only the loader can say what is in the flash."""
    expect_another_layout(
        server, make_board(server, definition="esp32_generic_ota", files={"boot.py": b"while True: pass\n"})
    )


def test_flash_for_another_chip_is_refused_and_nothing_is_written(server, blank):
    with serve(blank) as line:
        done = bench("flash", "--port", line.url, "--board", "esp32_c3", *options(server))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "esp32" in done.stderr
    assert blank.flash() == b"\xff" * 0x400000


def test_flash_without_a_wifi_password_names_where_it_may_be(server, blank, tmp_path):
    done = bench("flash", "--port", "rfc2217://127.0.0.1:1", *options(server), wifi=None, cwd=tmp_path)
    assert done.returncode == 2
    assert "BENCH_WIFI_PASSWORD" in done.stderr


def test_flash_of_a_real_port_with_the_bench_on_loopback_is_refused(server):
    done = bench("flash", "--port", "/dev/ttyUSB0", *options(server))
    assert done.returncode == 2
    assert "--host 0.0.0.0" in done.stderr


def test_deploy_to_a_board_without_micropython_explains_how_it_gets_there(blank):
    with serve(blank) as line:
        done = bench("deploy", "--port", line.url)
    assert done.returncode == 1
    assert f"bench flash --port {line.url}" in done.stderr


@pytest.mark.parametrize("boot_s", [0.3, 1.0, 2.0])
def test_deploy_to_a_board_that_boots_waits_for_it(server, make_board, boot_s):
    with serve(make_board(server), conditions=Conditions(boot_s=boot_s)) as line:
        deployed = result(bench("deploy", "--port", line.url, "--json"))
    assert deployed["written"] == []


def test_flash_of_a_board_that_boots_goes_through_its_micropython(server, make_board):
    with serve(make_board(server)) as line:
        job = FlashJob(port=line.url, board=boards.load("esp32_generic"), firmware=firmware.files())
        done = FlashOutcome()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bring_up, "ChipWriter", None)
            bring_up.flash(job, Unattended(), done)
    assert done.name


@pytest.mark.parametrize("boot_s", [0.3, 1.0])
def test_board_that_boots_is_identified_by_its_micropython(make_board, server, boot_s):
    with serve(make_board(server), conditions=Conditions(boot_s=boot_s)) as line:
        assert probe.probe(line.url, Unattended()).micropython


def test_blank_board_with_settings_is_refused(tmp_path):
    done = bench("board", "new", "desk", "--blank", "--tls", "--data", str(tmp_path))
    assert done.returncode == 2
    assert "--tls sets up a board, and --blank" in done.stderr


def test_blank_board_has_an_erased_flash(tmp_path):
    done = bench("board", "new", "desk", "--blank", "--board", "esp32_s3_8mb", "--data", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert VirtualBoard(tmp_path / "boards" / "desk").flash() == b"\xff" * 0x800000


def test_board_that_runs_another_firmware_than_was_written_is_an_error(server, make_board):
    with serve(make_board(server)) as line:
        job = FlashJob(port=line.url, firmware=firmware.files(), version="9.9.9")
        with pytest.raises(BenchError, match=r"runs firmware 0\.1\.0, not 9\.9\.9, which was written"):
            bring_up.deploy(job, Unattended(), FlashOutcome())


@pytest.mark.parametrize(
    ("events", "ended_by"),
    [
        (["wrong_password", "retry"], None),
        (["wrong_password", "retry", "wrong_password", "retry"], 3),
        (["wrong_password", "not_found", "retry", "wrong_password", "retry"], None),
        (["not_found", "wrong_password", "retry", "not_found", "wrong_password", "retry"], 5),
        (["wrong_password", "retry", "link_up", "retry", "wrong_password", "retry"], None),
        (["retry", "retry", "retry"], None),
    ],
)
def test_wifi_refusal_is_a_second_round_that_ends_with_a_wrong_password(events, ended_by):
    refusal = WifiRefusal()
    found = [
        refusal.feed(
            {"event": each} if each in ("retry", "link_up") else {"event": "link_failed", "kind": each, "detail": "x"}
        )
        for each in events
    ]
    assert [at for at, each in enumerate(found) if each] == ([] if ended_by is None else [ended_by])


def test_flash_with_a_wrong_wifi_password_does_not_wait_until_its_time_is_up(server, make_board):
    air = Conditions(networks=(AccessPoint(ssid=VIRTUAL_WIFI["ssid"], password="another one"),), boot_s=0)
    with serve(make_board(server), conditions=air) as line:
        job = FlashJob(port=line.url, firmware=firmware.files(), patience_s=600)
        with pytest.raises(BenchError, match="not online: wrong password for Wi-Fi network"):
            bring_up.deploy(job, Unattended(), FlashOutcome())


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ('raise ValueError("no sensor\\x1b[2J")', "ValueError: no sensor"),
        ("import no_such_module", "ImportError: no module named 'no_such_module'"),
        ("def def", "SyntaxError: invalid syntax"),
        ("def f():\n    f()\nf()", "RuntimeError: maximum recursion depth exceeded"),
    ],
)
def test_program_that_dies_is_reported_at_once(server, make_board, tmp_path, program, reason):
    board = make_board(server)
    with board.power_on() as power:
        power.expect_event("connected")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "main.py").write_text(f"print('begun')\n{program}\n")
    with serve(board) as line:
        begin = time.monotonic()
        done = bench("deploy", "--port", line.url, "--files", str(tmp_path / "own"), "--timeout", "200")
        took_s = time.monotonic() - begin
    assert done.returncode == 1
    assert f"its program ended: {reason}" in done.stderr
    assert done.stderr.count("\n") == 1
    assert took_s < 100


CAUGHT = """Traceback (most recent call last):
  File "main.py", line 1, in <module>
ValueError: caught
"""
BANNER = """MicroPython v1.25.0 on 2025-04-15; Generic ESP32 module with ESP32
Type "help()" for more information.
"""


@pytest.mark.parametrize(
    ("console", "ended_by"),
    [
        (CAUGHT, ""),
        (BANNER, ""),
        (CAUGHT + BANNER, "ValueError: caught"),
        (CAUGHT.replace("ValueError: caught", "KeyboardInterrupt:") + BANNER, ""),
        (CAUGHT + "the program goes on\n" + BANNER, "ValueError: caught"),
        (CAUGHT + CAUGHT.replace("caught", "again") + BANNER, "ValueError: again"),
        ("ValueError: only printed\n" + BANNER, ""),
    ],
)
def test_program_end_is_an_exception_and_then_the_prompt(console, ended_by):
    program = ProgramEnd()
    found = [program.feed({"event": "console", "text": line}) for line in console.splitlines()]
    assert next(filter(None, found), "") == ended_by
    assert program.feed({"event": "boot"}) == ""
