"""Base of virtual boards under test, with a serial line or without one."""

from collections.abc import Mapping
from pathlib import Path

from bench.dut.board import Board
from bench.virtual.board import VirtualBoard


class VirtualBase(Board):
    """A board under test whose flash and console are files."""

    virtual: VirtualBoard
    """The board itself."""

    @property
    def log(self) -> Path:
        """See Board."""
        return self.virtual.console

    def install(self, files: Mapping[str, bytes]) -> None:
        """See Board."""
        self.power_off()
        self.installed = dict(files)
        self.virtual.install(self.installed)

    def read_flash(self) -> bytes:
        """See Board."""
        return self.virtual.flash()
