"""The choice of boards for a run of tests, read from its options."""

import os
import secrets
import shlex
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest

from bench import addresses
from bench.contract import releases
from bench.contract.releases import Release
from bench.errors import BenchError, UsageError
from bench.flash import inventory
from bench.pytest_plugin.server_choice import ServerChoice
from bench.serial import ports

_KINDS = ("unix", "virtual")
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The boards and options of a run. `kind` is `unix`, `virtual` or `port`; only the last has `ports`."""

    kind: str
    ports: tuple[str, ...]
    definition: str
    """Name of a definition in boards/; empty: by the inventory, or else by the chip."""
    host: str
    """Address at which the boards reach this machine."""
    wifi: str
    server: ServerChoice | None
    """The ThingsBoard of the run, if it is not the bench's own."""
    like: Release
    """The release of ThingsBoard that the tests' servers are like."""
    like_production: bool
    """True if the tests' servers are as late as a busy ThingsBoard."""
    destructive: bool
    patience_s: float
    """Seconds to wait for a port that another run has."""
    seed: int
    options: str
    """Command-line options that select the same boards again."""

    @classmethod
    def of(cls, config: pytest.Config) -> "Choice":
        """Return the choice that the command line makes.

        A worker of xdist is given the seed and the ports of the main process. Without a given seed it is random.

        Args:
            config: The run's configuration, with the options parsed.

        Raises:
            UsageError: The targets do not go together, name a port twice, or are not ports; there is no network that
                real boards could reach this machine by; or the options of a ThingsBoard are not complete.
            BenchError: The inventory is not in its form.
        """
        option = config.option
        targets: list[str] = option.bench_target or ["unix"]
        # the workers of xdist share the seed that was drawn, and the ports that were found
        given = getattr(config, "workerinput", {})
        kinds = {target for target in targets if target in (*_KINDS, "auto")}
        if kinds and len(targets) > 1:
            raise UsageError(
                f"--bench-target {min(kinds)} stands for as many boards as are needed: name no other beside it"
            )
        found: tuple[str, ...] = ()
        if "bench_ports" in given:
            found = tuple(given["bench_ports"])
        elif targets == ["auto"]:
            found = tuple(ports.fitting()) or (inventory.choose(None),)
        elif not kinds:
            found = tuple(inventory.choose(target) for target in targets)
        if len(set(found)) < len(found):
            raise UsageError("--bench-target names a port twice")
        seed = given.get("bench_seed", option.bench_seed)
        return cls(
            kind="port" if found else targets[0],
            ports=found,
            definition=option.bench_definition,
            host=option.bench_host or _reached_at(found),
            wifi=option.bench_wifi,
            server=ServerChoice.of(config),
            like=releases.release(option.bench_like),
            like_production=option.bench_like_production,
            destructive=option.bench_destructive,
            patience_s=option.bench_board_wait,
            seed=secrets.randbelow(1 << 31) if seed is None else seed,
            options=shlex.join(_typed(option, targets)),
        )

    @property
    def again(self) -> str:
        """Command-line options for the same boards and the same faults again."""
        return f"{self.options} --bench-seed {self.seed}"

    @property
    def reasons_to_skip(self) -> dict[str, str]:
        """The reasons to skip tests on these boards, by marker."""
        if self.kind != "port":
            return {"hardware": f"needs a real board, this is {self.kind}: --bench-target PORT"}
        reasons = {}
        if not self.destructive:
            reasons["destructive"] = "would wipe or wear a real board: --bench-destructive says that it may"
        if not self.wifi:
            reasons["needs_wifi"] = "needs a Wi-Fi network for the board: --bench-wifi SSID"
        return reasons

    def definition_of(self, port: str) -> str:
        """Return the name of the definition of the board on a port: by the options, the inventory, or else its chip.

        A board that neither the options nor the inventory define is identified, which restarts it.

        Args:
            port: A device's path, or a URL.

        Returns:
            The name of a definition in boards/; of several that fit, the first.

        Raises:
            PortError: The port cannot be opened, or is gone.
            BenchError: No chip answers, no definition fits it, or the inventory is not in its form.
        """
        known = inventory.find(port)
        if given := self.definition or (known.definition if known else ""):
            return given
        # esptool takes a while to import, and only boards without a known definition need it
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
                "--bench-definition"
            )
        return fits[0]

    @property
    def wifi_password(self) -> str:
        """Password of the Wi-Fi network, from the environment: `BENCH_WIFI_PASSWORD`, empty if it is not set."""
        return os.environ.get("BENCH_WIFI_PASSWORD", "")


def _typed(option: Any, targets: list[str]) -> list[str]:
    """Return the options that select the boards and their server, and allow destructive tests."""
    words = [word for each in targets for word in ("--bench-target", each)]
    for name, value in (
        ("--bench-definition", option.bench_definition),
        ("--bench-host", option.bench_host),
        ("--bench-wifi", option.bench_wifi),
        ("--bench-url", option.bench_url),
        ("--bench-user", option.bench_user),
        ("--bench-password-file", option.bench_password_file),
        ("--bench-api-key-file", option.bench_api_key_file),
        ("--bench-ca", option.bench_ca),
        ("--bench-like", option.bench_like if option.bench_like != releases.NEWEST.version else ""),
    ):
        words += [name, value] if value else []
    flags = {"--bench-like-production": option.bench_like_production, "--bench-destructive": option.bench_destructive}
    return [*words, *(name for name, given in flags.items() if given)]


def _reached_at(found: tuple[str, ...]) -> str:
    """Return this machine's address: loopback, unless a port is a device here, or on another machine."""
    if all(ports.is_url(port) and addresses.is_loopback(urlsplit(port).hostname or "") for port in found):
        return _LOOPBACK
    try:
        return addresses.outbound()
    except OSError:
        raise UsageError("this machine has no network that boards could reach it by: --bench-host") from None
