"""Shorter names in the firmware's sources, because each different name takes RAM on a chip for as long as it is on.

Private names (`_attempt`) become short ones (`_a`), the same ones in each module. Every line stays where it is, so
that line numbers in tracebacks are true; `bench.flash.tracebacks` has the names back. Public names stay: applications
and the server use them. Docstrings, annotations and local names need nothing done: mpy-cross leaves them out.

What could behave differently afterwards is refused, in one line that names the place and the cure: attributes that are
accessed by a computed name, private names in texts, keyword arguments, star imports and more (`checks.py`).

It is a tool of our own, as no kept one fits: python-minifier and pyminifier print code anew, which moves lines, do not
rename attributes, and do not know that a module of MicroPython shares its names with all the others. Two steps were
measured and left out: const() around literals, and short parameters of private functions, save 0.1 KB each.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError
from bench.flash.shortening import checks, rewriting
from bench.flash.shortening.assignment import assign
from bench.flash.shortening.classes import Classes
from bench.flash.shortening.module import dotted, parse

__all__ = ["VERSION", "Shortened", "dotted", "shorten"]

VERSION = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))).hexdigest()
"""A digest of this tool: with the sources, all that its result depends on."""


@dataclass(frozen=True)
class Shortened:
    """The sources of a package, with short names."""

    sources: dict[str, str]
    """Path -> text, with the same lines as before."""
    names: dict[str, str]
    """Private name -> short name, in all modules."""
    modules: dict[str, dict[str, str]]
    """Path -> short name -> private name, of the names in this module."""

    def applied_to(self, code: str, path: str = "main.py") -> str:
        """Return code that uses private parts of the package, as tests do, with the names that these have.

        Args:
            code: MicroPython source.
            path: The code's path in errors.

        Raises:
            BenchError: It has these names in texts, or two of its names would become one.
        """
        module = parse(path, code, next(iter(self.sources)).partition("/")[0])
        names = {name: short for name, short in self.names.items() if name in module.identifiers}
        clashes = {name for name, short in names.items() if short in module.identifiers}
        if clashes or len(set(names.values())) < len(names):
            raise BenchError(f"{path}: two names would become one: {', '.join(sorted(clashes or names))}")
        checks.check_texts(module, self.names)
        return rewriting.rewrite(module, names)


def shorten(sources: Mapping[str, str]) -> Shortened:
    """Shorten the private names of a package.

    Args:
        sources: Path -> text of all its modules, e.g. `firstboot/app.py`.

    Raises:
        BenchError: A module has something that might behave differently with short names.
    """
    modules = [parse(path, text, path.partition("/")[0]) for path, text in sorted(sources.items())]
    for module in modules:
        checks.check(module)
    classes = Classes(modules)
    kept = classes.kept.union(*(module.kept for module in modules))
    private = {module.path: module.private - kept for module in modules}
    names = assign(classes.related(), private, taken={name for module in modules for name in module.identifiers})
    for module in modules:
        checks.check_texts(module, names)
    return Shortened(
        sources={
            module.path: rewriting.rewrite(module, {name: names[name] for name in private[module.path]})
            for module in modules
        },
        names=names,
        modules={module.path: {names[name]: name for name in sorted(private[module.path])} for module in modules},
    )
