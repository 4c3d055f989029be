"""Mutation tests of the decisions of device, server and registry, against the fast tests of each: `make mutants`.

cosmic-ray makes the mutants; two operators of our own remove a statement and change a word. Every mutant is tested in
a copy of the checkout, with the tests that `mutants.toml` names for its module; one that hangs them counts as killed. A
survivor fails the run, unless `mutants.toml` gives the reason why no test can distinguish it from the original; so does
an entry there whose mutant is no longer made, or is killed.
"""

import argparse
import difflib
import importlib.util
import multiprocessing
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import tomllib
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import parso
import pytest
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator, operator_names
from parso.python.tree import String

ROOT = Path(__file__).parents[1]
CONFIGURATION = Path(__file__).with_suffix(".toml")
# What the tests need of a checkout.
PARTS = ("boards", "docs", "firmware", "host", "tests")
# Imported once, in the process from which those of the mutants are forked; the checkout's own modules they import anew.
PRELOADED = ["tests.conftest", "tests.support.operators", "cosmic_ray.mutating", "cosmic_ray.plugins"]
# A mutant's tests may take so many times as long as without it, and so many seconds in any case.
TIMES, LEAST_S = 5, 30


@dataclass(frozen=True, kw_only=True)
class Module:
    """A module that decides, and the fast tests that have to kill its mutants."""

    source: str
    tests: list[str]
    """Files, or tests in them. Whatever is likeliest to fail comes first."""
    functions: tuple[str, ...] = ()
    """Only these decide; the rest is wiring. None: all of it does."""


def modules() -> dict[str, Module]:
    """Return the modules of mutants.toml, by the names that this command takes."""
    return {
        name: Module(**{**fields, "functions": tuple(fields.get("functions", ()))})
        for name, fields in tomllib.loads(CONFIGURATION.read_text())["module"].items()
    }


class RemoveStatement(Operator):
    """The operator that replaces a statement with `pass`."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        # neither docstrings nor imports: without these nothing runs
        if node.type == "simple_stmt" and node.children[0].type not in ("string", "import_from", "import_name"):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:  # noqa: ARG002 - there is one mutation per position
        nothing = parso.parse("pass\n").children[0]
        nothing.get_first_leaf().prefix = node.get_first_leaf().prefix
        return nothing

    @classmethod
    def examples(cls) -> Any:
        return ()


class ChangeWord(Operator):
    """The operator that changes a string that is a name; prose is left alone."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        if isinstance(node, String) and " " not in node.value:
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:  # noqa: ARG002 - there is one mutation per position
        node.value = node.value[:-1] + "X" + node.value[-1]
        return node

    @classmethod
    def examples(cls) -> Any:
        return ()


class Deciding(Operator):
    """An operator without the places that decide nothing: annotations, and the `*` and `/` between parameters.

    Nor does it change exceptions of another module, whose dotted names cosmic-ray cannot replace.
    """

    def __init__(self, operator: Operator) -> None:
        self._operator = operator

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        positions = list(self._operator.mutation_positions(node))
        if positions and not _in_signature(node) and not (node.type == "except_clause" and "." in node.get_code()):
            yield from positions

    def mutate(self, node: Any, index: int) -> Any:
        return self._operator.mutate(node, index)

    @classmethod
    def examples(cls) -> Any:
        return ()


def _in_signature(node: Any) -> bool:
    if node.type == "operator" and node.parent.type == "parameters":
        return True
    while (parent := node.parent) is not None:
        sign = {"annassign": ":", "tfpdef": ":", "funcdef": "->"}.get(parent.type)
        if sign is not None and getattr(node.get_previous_sibling(), "value", None) == sign:
            return True
        node = parent
    return False


@dataclass(frozen=True)
class Mutant:
    """A module's source with one change, and the changed lines before and after."""

    module: str
    path: str
    line: int
    was: str
    now: str
    source: str

    @property
    def change(self) -> tuple[str, str, str]:
        return self.module, self.was, self.now

    def __str__(self) -> str:
        return f"{self.path}:{self.line}\n    - {self.was}\n    + {self.now}"


def operators() -> Iterator[Operator]:
    """Yield cosmic-ray's operators, except two kinds, and ours."""
    for name in operator_names():
        # `is` for `==` depends on how texts are interned
        if not name.endswith(("_Is", "_IsNot")) and "Variable" not in name:
            yield Deciding(get_operator(name)())
    yield RemoveStatement()
    yield Deciding(ChangeWord())


def mutants(name: str, module: Module) -> Iterator[Mutant]:
    """Yield every mutant of a module, each once."""
    source = (ROOT / module.source).read_text()
    wanted = lines(source, module.functions)
    seen = {source}
    for operator in operators():
        number = 0
        while (mutated := mutate_code(source, operator, number)) is not None:
            number += 1
            mutant = described(name, module.source, source, mutated)
            if mutated not in seen and mutant.line in wanted and is_python(mutated):
                seen.add(mutated)
                yield mutant


def is_python(source: str) -> bool:
    """Return whether a source is one: an operator's sign may also stand where another one cannot."""
    with warnings.catch_warnings(action="ignore"):  # e.g. of `is` with a number
        try:
            compile(source, "mutant", "exec")
        except SyntaxError:
            return False
    return True


def lines(source: str, functions: tuple[str, ...]) -> set[int]:
    """Return the line numbers of these functions; of the whole source if none are given."""
    if not functions:
        return set(range(1, source.count("\n") + 2))
    found: set[int] = set()
    pending: list[Any] = [parso.parse(source)]
    while pending:
        node = pending.pop()
        if node.type == "funcdef" and node.name.value in functions:
            found |= set(range(node.start_pos[0], node.end_pos[0] + 1))
        pending += getattr(node, "children", [])
    return found


def described(name: str, path: str, source: str, mutated: str) -> Mutant:
    """Return the mutant with the lines that differ."""
    before, after = source.splitlines(), mutated.splitlines()
    _, first, last, start, end = next(
        change
        for change in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
        if change[0] != "equal"
    )
    was, now = (" ".join(line.strip() for line in part) for part in (before[first:last], after[start:end]))
    return Mutant(name, path, first + 1, was, now, mutated)


class Copies:
    """Copies of the checkout, one for each parallel job."""

    def __init__(self, folder: Path, count: int) -> None:
        self._free: SimpleQueue[Path] = SimpleQueue()
        self._fork = multiprocessing.get_context("forkserver")
        self._fork.set_forkserver_preload(PRELOADED)
        for number in range(count):
            copy = folder / str(number)
            for part in PARTS:
                shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
            shutil.copy(ROOT / "pyproject.toml", copy)
            # what is fetched is shared, what is compiled of a mutant goes with the copy
            (copy / "build").mkdir()
            for made in (ROOT / "build").glob("micropython-*"):
                (copy / "build" / made.name).symlink_to(made)
            self._free.put(copy)

    def survives(self, mutant: Mutant, tests: list[str], limit_s: float) -> bool:
        """Return whether these tests pass with a mutant, within so many seconds."""
        copy = self._free.get()
        path = copy / mutant.path
        original = path.read_text()
        _write(path, mutant.source)
        try:
            return self._pass(copy, tests, limit_s)
        finally:
            _write(path, original)
            self._free.put(copy)

    def duration_s(self, tests: list[str]) -> float | None:
        """Return how long tests take without any mutant, in seconds; None if they fail."""
        copy, start = self._free.get(), time.monotonic()
        try:
            return time.monotonic() - start if self._pass(copy, tests, None) else None
        finally:
            self._free.put(copy)

    def _pass(self, copy: Path, tests: list[str], limit_s: float | None) -> bool:
        process = self._fork.Process(target=run_tests, args=(str(copy), tests))
        process.start()
        process.join(limit_s)
        with suppress(ProcessLookupError):
            os.killpg(process.pid or 0, signal.SIGKILL)  # with what it started
        process.join()
        return process.exitcode == 0


def _write(path: Path, source: str) -> None:
    path.write_text(source)
    # what is compiled of it is found by the second of the change, and by the size
    Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)


def run_tests(copy: str, tests: list[str]) -> None:
    """Run tests of a copy in this process, which is one of its own, and exit with 0 if they pass."""
    os.setpgid(0, 0)
    os.chdir(copy)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    own = [f"{copy}/host", copy]
    os.environ.update(PYTHONPATH=os.pathsep.join(own), PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    sys.path[:0] = own
    for name in [each for each in sys.modules if re.match(r"(bench|tests)(\.|$)", each)]:
        del sys.modules[name]
    # no other plugins: they cost time
    sys.exit(pytest.main(["-q", "-x", "-m", "not slow", "-p", "no:cacheprovider", *PLUGINS, *tests]))


PLUGINS = ("-p", "pytest_timeout", "-p", "bench.pytest_plugin")


def survivors(made: list[Mutant], chosen: dict[str, Module], jobs: int) -> Iterator[Mutant]:
    """Yield the mutants that no test kills; exit if the tests of a module fail without any."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as pool:
        copies = Copies(Path(folder), jobs)
        limits_s = {}
        for name, module in chosen.items():
            copies.duration_s(module.tests)  # compiles them
            if (duration_s := copies.duration_s(module.tests)) is None:
                sys.exit(f"the tests of {name} fail without any mutant")
            limits_s[name] = max(LEAST_S, TIMES * duration_s)

        def survives(mutant: Mutant) -> bool:
            return copies.survives(mutant, chosen[mutant.module].tests, limits_s[mutant.module])

        for mutant, survived in zip(made, pool.map(survives, made), strict=True):
            if survived:
                yield mutant


def table(names: list[str], made: list[Mutant], equivalent: list[Mutant], unexplained: list[Mutant]) -> Iterator[str]:
    """Yield the lines of the table: a module each, and the total."""
    counts = [Counter(mutant.module for mutant in group) for group in (made, equivalent, unexplained)]
    rows = [(name, *(count[name] for count in counts)) for name in names]
    yield f"{'module':<24}{'mutants':>9}{'killed':>9}{'equivalent':>12}{'survived':>10}{'score':>8}"
    for name, total, same, lost in [*rows, ("all", *(len(group) for group in (made, equivalent, unexplained)))]:
        killed = total - same - lost
        yield f"{name:<24}{total:>9}{killed:>9}{same:>12}{lost:>10}{killed / max(1, total - same):>8.1%}"


def part(text: str) -> slice:
    """Return which of all mutants an option like `1/4` chooses: every fourth, from the first on."""
    number, _, of = text.partition("/")
    if not 1 <= int(number) <= int(of):
        raise ValueError
    return slice(int(number) - 1, None, int(of))


def main() -> int:
    known_modules = modules()
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("modules", nargs="*", default=sorted(known_modules), help="these only")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="tests at the same time")
    parser.add_argument("--part", type=part, default="1/1", help="of each module's mutants, e.g. every fourth: 1/4")
    options = parser.parse_args()
    start = time.monotonic()
    chosen = {name: known_modules[name] for name in options.modules}
    made = [mutant for name, module in chosen.items() for mutant in list(mutants(name, module))[options.part]]
    entries = tomllib.loads(CONFIGURATION.read_text())["equivalent"]
    known = {(each["module"], each["was"], each["now"]) for each in entries if each["module"] in chosen}
    if options.part != part("1/1"):
        known &= {mutant.change for mutant in made}
    equivalent, unexplained = [], []
    for mutant in survivors(made, chosen, options.jobs):
        if mutant.change in known:
            equivalent.append(mutant)
        else:
            unexplained.append(mutant)
            print(f"survived: {mutant}", flush=True)
    stale = known - {mutant.change for mutant in equivalent}
    for module, was, now in sorted(stale):
        print(f"no survivor, though {CONFIGURATION.name} says so: {module}\n    - {was}\n    + {now}")
    for line in table(list(chosen), made, equivalent, unexplained):
        print(line)
    print(f"in {time.monotonic() - start:.0f} s")
    return 1 if unexplained or stale else 0


if __name__ == "__main__":
    sys.exit(main())
