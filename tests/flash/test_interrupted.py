"""Flashes interrupted at any moment, in any way: the next one ends online, with the credentials kept."""

import json
import os
import select
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import cycle, product
from pathlib import Path
from typing import Any

import pytest

from bench import boards, paths
from bench.contract import settings
from bench.flash import filesystem, firmware, images
from bench.flash.filesystem import Region
from bench.virtual.board import VirtualBoard
from bench.virtual.line_server import LineServer
from tests.support import budget, tripwires
from tests.support.boards import vault_slots
from tests.support.flash_commands import IMAGE, WIFI_PASSWORD, bench, options
from tests.support.servers import PATIENCE_S
from tests.support.tripwires import Moment, Tripwire

pytestmark = pytest.mark.slow

BOARD = boards.load("esp32_generic")
PARTS = images.parts(IMAGE.read_bytes(), BOARD)
# Benches at the same time: most of their time they wait.
SIDE_BY_SIDE = 3
TRAY = 8


class How(StrEnum):
    """Ways to interrupt a flash."""

    CTRL_C = "Ctrl-C"
    KILLED = "killed"
    PULLED = "pulled out"


# What esptool says to the chip: a frame that begins so is a command.
SYNC, BEGIN, BLOCK, END, MD5, READ = (b"\xc0\x00" + bytes([code]) for code in (0x08, 0x10, 0x11, 0x12, 0x13, 0xD2))

BLANK = [
    Moment("connecting", SYNC),
    Moment("reading", READ),
    Moment("before the first block", BEGIN, 2),
    Moment("early in the image", BLOCK, 6),
    Moment("in the image's middle", BLOCK, 36),
    Moment("at the image's end", BLOCK, 70),
]
# Of the image, only the bootloader has to be sent.
NEW_FILES = [
    Moment("before the files' body", BEGIN, 3),
    Moment("in the files' body", BLOCK, 3),
    Moment("before the files' head", BEGIN, 4),
    Moment("in the files' head", BLOCK, 5),
    Moment("before the reset", MD5, 8),
    Moment("while starting", b'"linking"'),
    Moment("while provisioning", b'"event": "provisioning"'),
]
OTHER_FILES = [
    Moment("surveying", b"ilistdir"),
    Moment("before the first file", b"_open('/"),
    Moment("in a file", b"_put(b'", 3),
    Moment("between files", b"_f.close()", 2),
    Moment("renaming", b"os.rename(_p"),
    Moment("restarting", b"machine.reset()"),
]
OTHER_IMAGE = [
    Moment("before the first block", BEGIN, 2),
    Moment("in the image's middle", BLOCK, 30),
    Moment("asked again", b"ilistdir", 2),
]


@dataclass
class Victim:
    """A board whose flash is interrupted."""

    board: VirtualBoard
    line: LineServer
    wire: Tripwire
    how: How
    temporary: Path
    had: list[dict[str, Any]] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.how} {self.wire.moment}"

    def interrupt(self, arguments: list[str]) -> str:
        """Begin a flash, which is interrupted; return what went wrong with that, if anything."""
        self.temporary.mkdir()
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.cli", "flash", "--port", self.line.url, *arguments],
            env={
                **os.environ,
                "PYTHONPATH": str(paths.CHECKOUT / "host"),
                "BENCH_WIFI_PASSWORD": WIFI_PASSWORD,
                "TMPDIR": str(self.temporary),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.wire.act = {
            How.CTRL_C: lambda: process.send_signal(signal.SIGINT),
            How.KILLED: process.kill,
            How.PULLED: self.line.pull_out,
        }[self.how]
        try:
            out, err = process.communicate(timeout=120)
        finally:
            process.kill()
        wrong = [] if self.wire.tripped.is_set() else ["it was never interrupted"]
        codes = {How.CTRL_C: 130, How.KILLED: -signal.SIGKILL, How.PULLED: 1}
        if process.returncode != codes[self.how]:
            wrong.append(f"exit code {process.returncode}")
        if "Traceback" in out + err or err.count("\n") != (self.how is not How.KILLED):
            wrong.append(f"it said {err!r}")
        if self.how is How.PULLED and "plug it in" not in err and "nothing listens" not in err and "serves" not in err:
            wrong.append(f"it said no cure: {err!r}")
        if self.how is not How.KILLED and list(self.temporary.iterdir()):
            wrong.append("it left files behind")
        left = left_behind(self.temporary)
        if left and (self.how is not How.KILLED or not all(map(ends, left))):
            wrong.append("it left a process behind")
        return "; ".join(wrong)


def left_behind(temporary: Path) -> list[int]:
    """Return the processes with this folder for temporary files."""
    wanted = f"TMPDIR={temporary}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # gone, or another user's
            if wanted in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found


def ends(pid: int) -> bool:
    """Wait for the end of a process; return whether it came."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([process], [], [], PATIENCE_S)[0])
    finally:
        os.close(process)


def put(board: VirtualBoard, regions: list[Region]) -> None:
    """Write regions into a board's flash image."""
    flash = bytearray(board.flash())
    for offset, content in regions:
        flash[offset : offset + len(content)] = content
    (board.folder / "flash.bin").write_bytes(flash)


@pytest.fixture
def walk(server, tmp_path, report):
    """Interrupt flashes of boards with these regions in their flash, then flash them all, and check the end.

    `online`: they have been before, and have credentials.
    """

    def run(name: str, moments: list[Moment], regions: list[Region], *more: str, online: bool = False) -> None:
        cases = list(product(moments, How) if budget.WALK else zip(moments[::2], cycle(How), strict=False))
        arguments = options(server, *more)
        with ExitStack() as stack:
            victims = []
            for at, (moment, how) in enumerate(cases):
                board = VirtualBoard.create(tmp_path / f"board{at}", blank=True)
                put(board, regions)
                if online:
                    with board.power_on() as power:
                        power.expect_event("connected")
                had = vault_slots(board) if online else []
                wire = Tripwire(moment)
                line = stack.enter_context(tripwires.serve(board, wire))
                victims.append(Victim(board, line, wire, how, tmp_path / f"temporary{at}", had))
            with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
                wrong = list(pool.map(lambda each: each.interrupt(arguments), victims))
            failures = [f"{victim}: {why}" for victim, why in zip(victims, wrong, strict=True) if why]
            for victim in victims:
                if victim.how is How.PULLED:
                    victim.line.plug_in()
            for at in range(0, len(victims), TRAY):
                tray = victims[at : at + TRAY]
                ports = [word for victim in tray for word in ("--port", victim.line.url)]
                done = bench("flash", *ports, *arguments, "--json", "--tray", str(at))
                assert done.stdout, done.stderr
                results = json.loads(done.stdout)
                failures += [
                    f"{victim}: {end['error']}" for victim, end in zip(tray, results, strict=True) if end["error"]
                ]
        failures += [
            f"{each}: other credentials" for each in victims if each.had and vault_slots(each.board) != each.had
        ]
        assert not failures, "\n" + "\n".join(failures)
        assert set(server.device_names()) == {f"firstboot-{each.board.mac}" for each in victims}
        report(f"interrupted flashes: {len(victims)} of {name}")

    return run


def test_blank_board(walk):
    every = [Moment(f"in block {number}", BLOCK, number) for number in range(1, 75, 6)]
    walk("blank boards", [*BLANK, *every] if budget.WALK else BLANK, [])


def test_board_whose_bootloader_alone_is_missing(walk):
    walk("boards without a bootloader", NEW_FILES, PARTS[1:])


@pytest.fixture
def settings_file(server) -> dict[str, bytes]:
    key, secret = server.profile.provision_key, server.profile.provision_secret
    assert key
    assert secret
    return {"settings.json": settings.encode(host="127.0.0.1", port=server.ports.mqtt, key=key, secret=secret)}


def test_board_with_older_files(walk, settings_file, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    (own / "main.py").write_text("from firstboot import app\napp.main()\n")
    (own / "table.bin").write_bytes(os.urandom(5000))
    files = filesystem.regions(BOARD, {**firmware.files(), **settings_file})
    walk("boards with older files", OTHER_FILES, [*PARTS, *files], "--files", str(own), online=True)


def test_board_with_another_image(walk, settings_file):
    offset, content = PARTS[2]
    other = bytearray(content)
    other[len(other) // 2] ^= 1
    files = filesystem.regions(BOARD, {**firmware.files(), **settings_file})
    walk("boards with another image", OTHER_IMAGE, [*PARTS[:2], (offset, bytes(other)), *files], online=True)
