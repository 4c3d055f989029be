"""Measurements of `bench fleet` as a user runs it: boards, and light devices, that arrive in three ways."""

import json
import os
import subprocess
from collections.abc import Callable
from typing import Any

from bench import paths
from bench.errors import BenchError
from benchmarks import commands
from benchmarks.report import Aim, Figure, Section

BOARDS = 200
LIGHT = 10_000
_BOARDS_A_SECOND, _LIGHT_A_SECOND = 10, 200  # with --arrival poisson
_PATIENCE_S = 900.0
_MB = 1e6


def measure(step: Callable[[str], None]) -> list[Section]:
    """Run fleets of boards and of light devices.

    Args:
        step: Called with the name of each step before it.

    Returns:
        A table of boards, and one of light devices.

    Raises:
        BenchError: A device did not get online.
        subprocess.TimeoutExpired: A fleet took more than 900 s.
    """
    return [
        _fleets("boards", BOARDS, _BOARDS_A_SECOND, [], step),
        _fleets("light devices", LIGHT, _LIGHT_A_SECOND, ["--light"], step),
    ]


def _fleets(kind: str, devices: int, rate: int, options: list[str], step: Callable[[str], None]) -> Section:
    section = Section(
        name=f"fleet_{kind.split(maxsplit=1)[0]}",
        title=f"{devices:,} {kind}: seconds from power-on to the first telemetry acknowledged",
        matrix=True,
    )
    for arrival, words in (
        ("all", "all at once"),
        ("poisson", f"{rate} a second"),
        ("restart", "all at once, then back after a restart"),
    ):
        step(f"{devices:,} {kind}, {words}")
        found = _fleet(["-n", str(devices), "--arrival", arrival, "--rate", str(rate), *options])
        section.rows[words] = _row(found, devices)
    return section


def _row(found: dict[str, Any], devices: int) -> list[Figure]:
    took, back = found["from_power_on_s"]["telemetry"], found["after_restart_s"].get("telemetry") or {}
    memory, cpu = found["memory_bytes"], found["cpu_used_s"]
    waited, ran = found["waited_for_cpu_s"], found["cpu_s"]
    attempts = found["attempts"]
    return [
        Figure(name="failed", value=len(found["failed"]), unit="count", aim=Aim(limit=0)),
        Figure(name="p50", value=took["p50"], unit="s"),
        Figure(name="p95", value=took["p95"], unit="s"),
        Figure(name="max", value=took["max"], unit="s"),
        Figure(name="of p50: on a CPU", value=ran and ran["p50"], unit="s"),
        Figure(name="waiting for one", value=waited and waited["p50"], unit="s"),
        Figure(name="back, p50", value=back.get("p50"), unit="s"),
        Figure(name="back, max", value=back.get("max"), unit="s"),
        Figure(name="attempts", value=sum(int(n) * count for n, count in attempts.items()) / devices, unit="each"),
        Figure(name="exchanges", value=found["registry"]["exchanges_per_s"], unit="1/s"),
        Figure(name="memory of all", value=memory["devices"] and memory["devices"] / _MB, unit="MB"),
        Figure(name="memory of the server", value=memory["server"] and memory["server"] / _MB, unit="MB"),
        Figure(name="CPU of all", value=cpu["devices"], unit="s"),
        Figure(name="CPU of the server", value=cpu["server"], unit="s"),
        Figure(name="whole", value=found["took_s"], unit="s"),
    ]


def _fleet(options: list[str]) -> dict[str, Any]:
    done = subprocess.run(
        [*commands.BENCH, "fleet", "--json", *options],
        cwd=paths.CHECKOUT,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"bench fleet {' '.join(options)} failed: {(done.stderr or done.stdout)[-500:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
