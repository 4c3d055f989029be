"""Modules for a moment: those that a `with` block imports are unloaded at its end.

    with temporary.Imports():
        from firstboot import clock

        clock.ensure(settings)

Most of the firmware runs once, or now and then, and RAM is scarce all the time. Three rules make this safe:

- The block is most of a function that returns soon: a local name holds its module for as long as the function runs.
- An object that outlives the block is of a class that is loaded for good: text, numbers, this package's errors.
- A module that keeps something between two uses is loaded for good, before the block.
"""

import gc
import sys


class Imports:
    """Unloads this package's modules that were not loaded at its beginning. Blocks may be nested."""

    def __enter__(self) -> None:
        self._before = set(sys.modules)

    def __exit__(self, *_error: object) -> None:
        for name in set(sys.modules) - self._before:
            package, _, own = name.rpartition(".")
            if package.startswith("firstboot"):
                del sys.modules[name]
                if package in sys.modules:
                    delattr(sys.modules[package], own)  # public names only
        gc.collect()
