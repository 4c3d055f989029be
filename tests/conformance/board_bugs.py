"""Bugs of a firmware, seeded into ours."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from bench import paths
from bench.flash.shortening import checks
from bench.flash.shortening.module import parse


@dataclass(frozen=True, kw_only=True)
class Bug:
    """In `module`, texts are replaced. `check` finds it; `fast`: that is tried each time."""

    name: str
    check: str
    module: str
    change: list[dict[str, str]]
    fast: bool = False

    def files(self) -> dict[str, bytes]:
        """The changed module as source, which MicroPython takes before the compiled one."""
        path = f"firstboot/{self.module}.py"
        source = (paths.FIRMWARE / path).read_text()
        for each in self.change:
            assert source.count(each["text"]) == 1, f"{path} has {source.count(each['text'])} times {each['text']!r}"
            source = source.replace(each["text"], each["by"])
        checks.check(parse(path, source, "firstboot"))  # other modules' private names are short on a board
        return {path: source.encode()}


BUGS = [Bug(**each) for each in tomllib.loads(Path(__file__).with_suffix(".toml").read_text())["bug"]]
