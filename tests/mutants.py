"""Mutation tests of the device's decisions, against the fast tests of each module: `make mutants`.

cosmic-ray makes the mutants; two operators of our own remove a statement and change a word. Every
mutant is tested in a copy of the checkout, where its module's tests import it on MicroPython; one that
hangs them counts as killed. A survivor fails the run, unless `mutants.toml` gives the reason why no test
can distinguish it from the original; so does an entry there whose mutant is no longer made, or is killed.
"""

import argparse
import difflib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import parso
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator, operator_names
from parso.python.tree import String

ROOT = Path(__file__).parents[1]
PACKAGE = Path("firmware/firstboot")
EQUIVALENTS = Path(__file__).with_suffix(".toml")
# The modules that decide about vault and provisioning, and the tests that have to kill their mutants.
TESTS = {
    "app": ("app",),
    "login": ("app",),
    "backoff": ("backoff",),
    "proof": ("proof",),
    "credentials": ("credentials", "memory"),
    "provisioning": ("provisioning",),
    "factory_reset": ("factory_reset",),
    "rotation": ("rotation",),
    "vault": ("vault", "memory"),
}
# Of app.py only this; the rest is wiring, for tests/e2e.
FUNCTIONS = {
    "app": (
        "_attempt",
        "_offline",
    ),
}
TIMEOUT_S = 30


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


@dataclass(frozen=True)
class Mutant:
    """A module's source with one change, and the changed lines before and after."""

    module: str
    line: int
    was: str
    now: str
    source: str

    @property
    def change(self) -> tuple[str, str, str]:
        return self.module, self.was, self.now

    def __str__(self) -> str:
        return f"{PACKAGE}/{self.module}.py:{self.line}\n    - {self.was}\n    + {self.now}"


def operators() -> Iterator[Operator]:
    """Yield cosmic-ray's operators, except two kinds, and ours."""
    for name in operator_names():
        # `|` is in annotations only, which MicroPython ignores; `is` for `==` depends on how texts are interned
        if "_BitOr_" in name or name.endswith(("_Is", "_IsNot")) or "Variable" in name:
            continue
        yield get_operator(name)()
    yield RemoveStatement()
    yield ChangeWord()


def mutants(module: str) -> Iterator[Mutant]:
    """Yield every mutant of a module, each once."""
    source = (ROOT / PACKAGE / f"{module}.py").read_text()
    wanted = lines(source, FUNCTIONS.get(module, ()))
    seen = {source}
    for operator in operators():
        number = 0
        while (mutated := mutate_code(source, operator, number)) is not None:
            number += 1
            mutant = described(module, source, mutated)
            if mutated not in seen and mutant.line in wanted:
                seen.add(mutated)
                yield mutant


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


def described(module: str, source: str, mutated: str) -> Mutant:
    """Return the mutant with the lines that differ."""
    before, after = source.splitlines(), mutated.splitlines()
    _, first, last, start, end = next(
        change
        for change in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
        if change[0] != "equal"
    )
    was, now = (" ".join(line.strip() for line in part) for part in (before[first:last], after[start:end]))
    return Mutant(module, first + 1, was, now, mutated)


class Copies:
    """Copies of the checkout, one for each parallel job."""

    def __init__(self, folder: Path, count: int) -> None:
        self._free: SimpleQueue[Path] = SimpleQueue()
        for number in range(count):
            copy = folder / str(number)
            for part in ("firmware", "host", "tests"):
                shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
            shutil.copy(ROOT / "pyproject.toml", copy)
            # what is fetched is shared, what is compiled of a mutant goes with the copy
            (copy / "build").mkdir()
            for made in (ROOT / "build").glob("micropython-*"):
                (copy / "build" / made.name).symlink_to(made)
            self._free.put(copy)

    def survives(self, mutant: Mutant) -> bool:
        """Return whether the tests of its module pass with this mutant."""
        copy = self._free.get()
        path = copy / PACKAGE / f"{mutant.module}.py"
        original = path.read_text()
        path.write_text(mutant.source)
        try:
            return passes(copy, mutant.module)
        finally:
            path.write_text(original)
            self._free.put(copy)


def passes(copy: Path, module: str) -> bool:
    """Return whether a module's tests pass in a copy: without plugins and conftest.py, which cost most of the time."""
    files = [f"tests/firmware/test_{name}.py" for name in TESTS[module]]
    # pytest_timeout: an option of its own is in pyproject.toml
    options = ["-q", "-x", "--noconftest", "-p", "no:cacheprovider", "-p", "pytest_timeout"]
    command = [sys.executable, "-m", "pytest", *options, *files]
    environment = {**os.environ, "PYTHONPATH": str(copy / "host"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    process = subprocess.Popen(
        command, cwd=copy, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        return process.wait(TIMEOUT_S) == 0
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # MicroPython as well
        process.wait()
        return False


def survivors(made: list[Mutant], modules: list[str], jobs: int) -> Iterator[Mutant]:
    """Yield the mutants that no test kills; exit if the tests of a module fail without any."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as pool:
        copies = Copies(Path(folder), jobs)
        for module in modules:
            if not passes(Path(folder, "0"), module):
                sys.exit(f"the tests of {module} fail without any mutant")
        for mutant, survived in zip(made, pool.map(copies.survives, made), strict=True):
            if survived:
                yield mutant


def table(modules: list[str], made: list[Mutant], equivalent: list[Mutant], unexplained: list[Mutant]) -> Iterator[str]:
    """Yield the lines of the table: a module each, and the total."""
    counts = [Counter(mutant.module for mutant in group) for group in (made, equivalent, unexplained)]
    rows = [(module, *(count[module] for count in counts)) for module in modules]
    yield f"{'module':<14}{'mutants':>9}{'killed':>9}{'equivalent':>12}{'survived':>10}{'score':>8}"
    for name, total, same, lost in [*rows, ("all", *(len(group) for group in (made, equivalent, unexplained)))]:
        killed = total - same - lost
        yield f"{name:<14}{total:>9}{killed:>9}{same:>12}{lost:>10}{killed / (total - same):>8.1%}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("modules", nargs="*", default=sorted(TESTS), help="these only")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="tests at the same time")
    options = parser.parse_args()
    start = time.monotonic()
    known = {
        (each["module"], each["was"], each["now"])
        for each in tomllib.loads(EQUIVALENTS.read_text())["equivalent"]
        if each["module"] in options.modules
    }
    made = [mutant for module in options.modules for mutant in mutants(module)]
    equivalent, unexplained = [], []
    for mutant in survivors(made, options.modules, options.jobs):
        if mutant.change in known:
            equivalent.append(mutant)
        else:
            unexplained.append(mutant)
            print(f"survived: {mutant}", flush=True)
    stale = known - {mutant.change for mutant in equivalent}
    for module, was, now in sorted(stale):
        print(f"no survivor, though {EQUIVALENTS.name} says so: {module}\n    - {was}\n    + {now}")
    for line in table(options.modules, made, equivalent, unexplained):
        print(line)
    print(f"in {time.monotonic() - start:.0f} s")
    return 1 if unexplained or stale else 0


if __name__ == "__main__":
    sys.exit(main())
