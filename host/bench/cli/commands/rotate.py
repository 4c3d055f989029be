"""`bench rotate`: new credentials for many devices, which choose them, and a report of who has taken them."""

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bench import paths
from bench.cli import file_kinds, rotation
from bench.cli.file_kinds import FileKind
from bench.cli.options import text_files
from bench.cli.options.operator_session import with_server
from bench.cli.render import progress, tables
from bench.cli.render.tables import Json
from bench.errors import BenchError, UsageError
from bench.rest_client import NoAnswer, ThingsBoard, device_query, in_parallel

_LAST_LOGIN, _LOOK_S = "lastConnectTime", 0.5


class Status(StrEnum):
    """The state of a device's rotation."""

    TAKEN = "taken"
    CHANGED = "changed"
    OFFLINE = "offline"
    FAILED = "failed"


@dataclass(frozen=True)
class FoundDevice:
    """A device's id and name."""

    id: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Rotated:
    """The rotation of one device. Never a secret. `when_ms` is when it began, in Unix milliseconds."""

    id: str
    name: str
    status: str
    detail: str = ""
    when_ms: int


class Report:
    """The report in a file, a line for each device and step: an interrupted run goes on from it.

    Args:
        path: The file, for its owner alone; None keeps the report in memory.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._torn = False
        self.known: dict[str, Rotated] = {}
        if path is None or not path.exists():
            return
        file_kinds.check(path, FileKind.ROTATION)
        text = text_files.read(path)
        self._torn = not text.endswith("\n")
        for line in text.split("\n"):
            with suppress(ValueError, TypeError):  # a line that was cut off
                each = Rotated(**json.loads(line))
                self.known[each.id] = each
        if text.strip() and not self.known:
            raise UsageError(f"{path} is not a report of bench rotate: name another file")

    def add(self, each: Rotated) -> Rotated:
        """Keep the rotation of a device."""
        self.known[each.id] = each
        if self._path is not None:
            paths.private_file(self._path)
            with self._path.open("a") as file:
                file.write("\n" * self._torn + json.dumps(asdict(each)) + "\n")
            self._torn = False
        return each


@with_server()
async def rotate(
    server: ThingsBoard,
    where: Annotated[
        list[str],
        typer.Option(metavar="KEY=VALUE", help="Devices with this attribute; VALUE is JSON or text. Repeatable: all."),
    ] = [],  # noqa: B006
    profile: Annotated[str, typer.Option(metavar="NAME", help="Devices of this profile.")] = "",
    state: Annotated[
        str, typer.Option(help="Devices with this provisioningState; only the bench's own server knows it.")
    ] = "",
    report: Annotated[
        Path | None, typer.Option(help="Keep the report in this file; with it, an interrupted run goes on.")
    ] = None,
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=1, metavar="SECONDS", help="Longest wait for each device, and each step.")
    ] = 60,
    as_json: Json = False,
) -> None:
    """Have many online devices choose new credentials, and say who has taken them. Safe to repeat.

    A device keeps its old credentials until it has logged in with the new ones. It is `taken` after that, `changed`
    while only the server is known to have them, `offline` if it did not answer, and `failed` for another reason. Those
    that are offline or failed have what they had. Some sixteen devices are asked at a time.
    """
    if not (where or profile or state):
        raise UsageError("name the devices: --profile, --state, or --where KEY=VALUE")
    attributes = [_condition(each) for each in where]
    if report:
        paths.check_place(report)
    kept = Report(report)
    fields = {"provisioningState": state} if state else {}
    rows = await device_query.find(server, profile=profile, fields=fields, attributes=attributes)
    found = [FoundDevice(each["id"], each["name"]) for each in rows]
    done = itertools.count(1)
    with progress.counting(f"rotating {len(found):,} devices", quiet=as_json) as on_progress:
        rotated = await in_parallel(
            found, lambda each: _one(server, each, kept, timeout_s), lambda: on_progress(next(done), len(found))
        )
    _show(rotated, as_json=as_json)
    left = [each for each in rotated if each.status in (Status.OFFLINE, Status.FAILED)]
    if left:
        raise BenchError(f"{len(left):,} of {len(rotated):,} devices keep their old credentials: run this again later")


async def _one(server: ThingsBoard, device: FoundDevice, kept: Report, timeout_s: float) -> Rotated:
    begun_ms = time.time_ns() // 1_000_000  # a device logs in again before the answer about its credentials is here

    def now(status: Status, detail: str = "") -> Rotated:
        return kept.add(Rotated(id=device.id, name=device.name, status=status, detail=detail, when_ms=begun_ms))

    known = kept.known.get(device.id)
    if known and known.status == Status.TAKEN:
        return known
    try:
        if known and known.status == Status.CHANGED:  # asked again, it would choose others
            login = await _last_login(server, device)
            return now(Status.TAKEN) if login is not None and login > known.when_ms else known
        before = await _last_login(server, device)
        await rotation.rotate(server, device.id, device.name, timeout_s)
        changed = now(Status.CHANGED)
        # a server keeps a login a moment after it: where it had none yet, one counts that is later than our request
        after = changed.when_ms if before is None else before
        return now(Status.TAKEN) if await _logs_in(server, device, after, timeout_s) else changed
    except NoAnswer:
        return now(Status.OFFLINE)
    except BenchError as error:
        return now(Status.FAILED, str(error))


async def _logs_in(server: ThingsBoard, device: FoundDevice, after_ms: int, timeout_s: float) -> bool:
    """Return whether a device logs in after a time, within the timeout."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if (login := await _last_login(server, device)) is not None and login > after_ms:
            return True
        await asyncio.sleep(_LOOK_S)
    return False


async def _last_login(server: ThingsBoard, device: FoundDevice) -> int | None:
    found = (await server.attributes(device.id, "SERVER_SCOPE")).get(_LAST_LOGIN)
    return found if isinstance(found, int) else None


def _condition(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise UsageError(f"--where {text}: write KEY=VALUE")
    return key, value


def _show(rotated: Sequence[Rotated], *, as_json: bool) -> None:
    if as_json:
        tables.print_json([asdict(each) for each in rotated])
        return
    rows = [
        {"name": each.name, "status": each.status, "detail": each.detail}
        for each in rotated
        if each.status != Status.TAKEN
    ]
    if rows:
        tables.table(rows, as_json=False, empty="")
    counts = Counter(each.status for each in rotated)
    tables.echo(", ".join(f"{counts[each]:,} {each}" for each in Status))
