"""docs/thingsboard.md: its commands in order, for a server with other ports and another name."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench import cli, paths
from tests.support import forks
from tests.support.flash_commands import IMAGE, WIFI_PASSWORD
from tests.support.servers import free_port

PAGE = paths.CHECKOUT / "docs" / "thingsboard.md"
BLOCK = re.compile(r"^```(.*?)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PATIENCE_S = 60.0
TROUBLE = ("next attempt", "offline", "rejected", "refused")


def commands(page: str) -> list[str]:
    """Return the commands of a page in order; those of the shell between two of the bench are one."""
    found: list[str] = []
    for block in [text for language, text in BLOCK.findall(page) if not language]:
        shell: list[str] = []
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("bench "):
                found += ["\n".join(shell), line]
                shell = []
            else:
                shell.append(line)
        found.append("\n".join(shell))
    return [each for each in found if each.strip()]


def own_name() -> tuple[str, str]:
    """Return the name of this host, and its address; those of the loopback if the host has no name."""
    name = socket.gethostname()
    try:
        return name, socket.gethostbyname(name)
    except OSError:
        return "localhost", "127.0.0.1"


class Reader:
    """Somebody who follows the page, without a ThingsBoard and without hardware, in a folder of their own."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.stack = stack
        self.name, self.address = own_name()
        self.instead: dict[str, str] = {
            "--wifi shopfloor": "--wifi bench",
            "tenant@example.org": "operator@firstboot.local",
        }
        for number in range(3):
            self.instead[f"--port {4000 + number}"] = f"--port {(port := free_port())}"
            self.instead[f"/dev/ttyUSB{number}"] = f"rfc2217://127.0.0.1:{port}"
        self.environment = {
            "BENCH_IMAGES": str(IMAGE.parent),
            "BENCH_WIFI_PASSWORD": WIFI_PASSWORD,
            "XDG_CONFIG_HOME": str(folder / "config"),
        }

    def follow(self, command: str) -> str:
        """Run a command, and return what it prints; a server runs on."""
        for theirs, ours in self.instead.items():
            command = command.replace(theirs, ours)
        if not command.startswith("bench "):
            subprocess.run(["sh", "-ec", command], cwd=self.folder, check=True, capture_output=True, timeout=PATIENCE_S)
            return ""
        words = shlex.split(command, comments=True)[1:]
        if words[:1] == ["serve"]:
            self._stay([*words, "--free-ports", "--host", self.address, "--hostname", self.name])
            account = json.loads((self.folder / "tb" / "operator.json").read_bytes())
            self.environment["BENCH_PASSWORD"] = account["password"]
        elif words[:2] == ["board", "serve"]:
            self._stay(words)
        else:
            done = forks.bench_command(*words, cwd=self.folder, env=self.environment, timeout=PATIENCE_S)
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
            return done.stdout
        return ""

    def _stay(self, words: list[str]) -> None:
        ready = self.folder / f"ready{free_port()}.json"
        process = forks.process(_run, [*words, "--ready-file", str(ready)], str(self.folder))
        process.start()
        self.stack.callback(process.join)
        self.stack.callback(process.terminate)
        deadline = time.monotonic() + PATIENCE_S
        while not ready.exists():
            assert process.is_alive(), words
            assert time.monotonic() < deadline
            time.sleep(0.01)  # a ready file cannot be awaited
        if words[0] == "serve":
            ports = json.loads(ready.read_bytes())
            self.instead["http://tb.example:8080"] = f"http://{self.name}:{ports['http_port']}"


def _run(words: list[str], folder: str) -> None:
    os.chdir(folder)
    forks.redirect(Path("output"), 1)
    forks.redirect(Path("output"), 2)
    sys.argv[:] = ["bench", *words]
    cli.main()


def test_commands_are_taken_in_their_order() -> None:
    page = "```\nbench a \\\n  --b\ncat <<E\nx\nE\nbench c\n```\n```toml\nbench d\n```\n```\ncp\n```\n"
    assert [each.split() for each in commands(page)] == [
        ["bench", "a", "--b"],
        ["cat", "<<E", "x", "E"],
        ["bench", "c"],
        ["cp"],
    ]


@pytest.mark.slow
def test_each_command_of_the_page_works_as_it_stands_there(tmp_path: Path) -> None:
    page = PAGE.read_text()
    devices = ""
    with ExitStack() as stack:
        reader = Reader(tmp_path, stack)
        for theirs in [each for each in reader.instead if not each.startswith("--port")]:
            assert theirs in page
        for command in commands(page):
            output = reader.follow(command)
            if "board boot" in command:
                assert "telemetry acknowledged" in output, command
                assert not [each for each in TROUBLE if each in output], f"{command}\n{output}"
            if command == "bench device list":
                devices = output
    names = [line.split()[0] for line in devices.splitlines()[1:]]
    assert [each for each in names if not each.startswith("firstboot-")] == [
        "first",
        "press-1",
        "press-2",
        "press-4",
        "press-9",
    ]
    assert len(names) == 5 + 6, "boards of the page's first three parts"
