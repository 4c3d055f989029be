"""What a run of tests is on: what its options say."""

import os
import secrets
import shlex
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest

from bench import addresses
from bench.errors import BenchError, UsageError
from bench.flash import inventory
from bench.serial import ports

_KINDS = ("unix", "virtual")
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """`kind` is `unix`, `virtual` or `port`; only the last has `ports`."""

    kind: str
    ports: tuple[str, ...]
    definition: str
    """Empty: what the inventory, or the chip, says."""
    host: str
    """This machine, as the boards reach it."""
    wifi: str
    destructive: bool
    patience_s: float
    """For a port that another run has."""
    seed: int
    options: str
    """What has to be typed for the same boards again."""

    @classmethod
    def of(cls, config: pytest.Config) -> "Choice":
        """What the command line says. Raises UsageError."""
        option = config.option
        targets: list[str] = option.target or ["unix"]
        # the workers of xdist are given what was drawn, and found, for all of them
        given = getattr(config, "workerinput", {})
        kinds = {target for target in targets if target in (*_KINDS, "auto")}
        if kinds and len(targets) > 1:
            raise UsageError(f"--target {min(kinds)} is as many boards as there have to be: name no other beside it")
        found: tuple[str, ...] = ()
        if "bench_ports" in given:
            found = tuple(given["bench_ports"])
        elif targets == ["auto"]:
            found = tuple(ports.fitting()) or (inventory.choose(None),)
        elif not kinds:
            found = tuple(inventory.choose(target) for target in targets)
        if len(set(found)) < len(found):
            raise UsageError("--target names a port twice")
        seed = given.get("bench_seed", option.seed)
        return cls(
            kind="port" if found else targets[0],
            ports=found,
            definition=option.definition,
            host=option.bench_host or _reached_at(found),
            wifi=option.wifi,
            destructive=option.destructive,
            patience_s=option.board_wait,
            seed=secrets.randbelow(1 << 31) if seed is None else seed,
            options=shlex.join(_typed(option, targets)),
        )

    @property
    def again(self) -> str:
        """What has to be typed for the same boards and the same faults again."""
        return f"{self.options} --seed {self.seed}"

    @property
    def reasons_to_skip(self) -> dict[str, str]:
        """Marker -> why tests with it make no sense here."""
        if self.kind != "port":
            return {"hardware": f"needs a real board, this is {self.kind}: --target PORT"}
        reasons = {}
        if not self.destructive:
            reasons["destructive"] = "would wipe or wear a real board: --destructive says that it may"
        if not self.wifi:
            reasons["needs_wifi"] = "needs a Wi-Fi network for the board: --wifi SSID"
        return reasons

    def definition_of(self, port: str) -> str:
        """What the board on a port is: as the options, the inventory, or else its chip says. Raises BenchError."""
        known = inventory.find(port)
        if given := self.definition or (known.definition if known else ""):
            return given
        # esptool and all that: for boards that nobody has said anything about
        from bench.flash import probe  # noqa: PLC0415
        from bench.flash.esptool import EsptoolError  # noqa: PLC0415
        from bench.flash.progress import Unattended  # noqa: PLC0415

        try:
            found = probe.probe(port, Unattended())
        except EsptoolError as error:
            raise BenchError(f"{port}: {error}") from error
        fits = probe.definitions_for(found)
        if not fits:
            raise BenchError(
                f"{port}: no definition in boards/ is for an {found.chip} with {found.flash_mb} MB: name one by "
                "--definition"
            )
        return fits[0]

    @property
    def wifi_password(self) -> str:
        """The Wi-Fi network's, from the environment."""
        return os.environ.get("BENCH_WIFI_PASSWORD", "")


def _typed(option: Any, targets: list[str]) -> list[str]:
    """The options that say which boards, and what may be done with them."""
    words = [word for each in targets for word in ("--target", each)]
    for name, value in (
        ("--definition", option.definition),
        ("--bench-host", option.bench_host),
        ("--wifi", option.wifi),
    ):
        words += [name, value] if value else []
    return [*words, "--destructive"] if option.destructive else words


def _reached_at(found: tuple[str, ...]) -> str:
    """This machine's address: loopback, unless there is a real board that is here or on another machine."""
    if all(ports.is_url(port) and addresses.is_loopback(urlsplit(port).hostname or "") for port in found):
        return _LOOPBACK
    try:
        return addresses.outbound()
    except OSError:
        raise UsageError("this machine has no network that boards could reach it by: --bench-host") from None
