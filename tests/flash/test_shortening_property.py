"""Random packages do the same with short names as before, in CPython and in MicroPython."""

import re
import subprocess
import sys
import types
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.flash import shortening
from bench.virtual import unix_port
from tests.support import micropython

# Few, so that names of all kinds meet; some are what short names look like.
NAMES = ["_x", "_y", "_total", "_held", "_of", "_a", "_b", "_c", "public", "text"]
PIECES = [
    """\
{0} = {n}
def {1}({2}, *{3}, by={n}):
    global {0}
    {0} += {2}
    {4} = {0}
    def {5}({6}):
        nonlocal {4}
        {4} += {6}
        return {4} * by
    return [{5}({7}) for {7} in range({2})] + [len({3}), {4}]
def piece{i}():
    return {1}({n}), {1}(2, 3, by=4), {0}
""",
    """\
from micropython import const
{0} = const({n})
{1} = ({0}, {n})
def {2}():
    yield from ({3} * {0} for {3} in {1})
def piece{i}():
    {4} = {{}}
    for {5}, {6} in enumerate({2}()):
        {4}[{5}] = lambda {7}={6}: ({7}, {6})
    return [{4}[{5}]() for {5} in sorted({4})], {1}
""",
    """\
class Class{i}{base}:
    {0} = {n}
    def __init__(self, {1}=3):
        {super}self.{2} = {1}
        self.{3} = self.{0} + {1}
    def {4}(self, {5}):
        return [{6} + self.{2} for {6} in range({5}) if {6} != self.{3}]
    @property
    def {7}(self):
        return self.{3}
    def shown(self):
        return self.{0}, self.{4}(3), self.{7}, self.{2}
def piece{i}():
    {0} = Class{i}({n})
    return {0}.shown()
""",
    """\
class {0}{i}:
    def __init__(self):
        self.{1} = 0
    def __enter__(self):
        self.{1} += {n}
        return self
    def __exit__(self, *{2}):
        self.{1} += 1
    def get(self):
        return self.{1}, (lambda {3}: {3} + self.{1})({n})
def {4}({5}):
    try:
        with {0}{i}() as {6}:
            {7} = {6}.get()
            return {7}, 1 // {5}
    except ZeroDivisionError as {2}:
        return type({2}).__name__
    finally:
        del {5}
def piece{i}():
    return {4}(0), {4}({n})
""",
    """\
def {0}(count, given=2, {1}=3, named=4):
    {2} = count + given
    def inner(count):
        return count + given + {2}
    return [inner({3}) + given for {3} in range(count)], (lambda given: given + {1})(named), {2}
def {4}(count, given=0):
    count += given; given = [given for given in range(count)]
    return given, count
def {5}(call, count):
    return call(count, given={n})
def piece{i}():
    return {0}({n}, 1), {0}(2, named={n}), {4}({n}, 1), {5}({4}, 2), {5}(call={4}, count=1)
""",
    """\
def {0}({1}, {2}=(1, 2), **{3}):
    {4}, (*{5}, {6}) = {1}, {2}
    {4} += {6}; {7} = ["%d" % {4}, '''
{{text}}'''.format(text={4})]
    return {7}, {5}, sorted({3}.items())
def piece{i}():
    return {0}({n}, (4, 5, {n})), {0}(1, more={n})
""",
]
MAIN = """
def results():
    found = []
    for piece in pieces:
        try:
            found.append(repr(piece()))
        except Exception as error:
            found.append(type(error).__name__)
    return found
"""


@st.composite
def packages(draw):
    """Return path -> text of a package of three modules, whose classes have bases in any module before."""
    sources: dict[str, str] = {}
    classes: list[str] = []
    number = 0
    for module in ("first", "second", "third"):
        text, pieces = "", []
        for template in draw(st.lists(st.sampled_from(PIECES), min_size=1, max_size=4)):
            number += 1
            names = draw(st.permutations(NAMES))
            base = draw(st.sampled_from(["", *classes])) if "{base}" in template else ""
            if base and not base.startswith(f"{module}."):
                home, name = base.split(".")
                text += f"from pkg.{home} import {name}\n"
            values = {
                "i": number,
                "n": draw(st.integers(0, 5)),
                "base": f"({base.split('.')[1]})" if base else "",
                "super": "super().__init__()\n        " if base else "",
            }
            text += template.format(*names, **values)
            pieces.append(f"piece{number}")
            if "{base}" in template:
                classes.append(f"{module}.Class{number}")
        sources[f"pkg/{module}.py"] = f"{text}pieces = [{', '.join(pieces)}]\n{MAIN}"
    return sources


def in_cpython(sources):
    """Return what the package's modules give, run here."""
    constants = types.ModuleType("micropython")
    constants.const = lambda value: value
    mine = {"micropython": constants, "pkg": types.ModuleType("pkg")}
    sys.modules.update(mine)
    found = []
    try:
        for path, text in sources.items():
            name = path.removesuffix(".py").replace("/", ".")
            sys.modules[name] = mine[name] = types.ModuleType(name)
            try:
                exec(compile(text, path, "exec"), mine[name].__dict__)
                found.append(mine[name].results())
            except Exception as error:  # noqa: BLE001 - a random package may do anything
                found.append(type(error).__name__)
    finally:
        for name in mine:
            del sys.modules[name]
    return found


def in_micropython(sources):
    """Return what the package's modules print in MicroPython's unix port."""
    code = ""
    for path in sources:
        name = path.removesuffix(".py").replace("/", ".")
        code += f"try:\n    from {name} import results\n    print(results())\n"
        code += "except Exception as error:\n    print(type(error).__name__)\n"
    with TemporaryDirectory() as folder:
        for path, text in sources.items():
            file = Path(folder) / path
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
        done = subprocess.run(
            [unix_port.interpreter(), "-c", code],
            env=micropython.finding(folder),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    return done.stdout


def without_addresses(found):
    """Return results without the texts of functions and objects, which differ in every run."""
    return re.sub("<.*?>", "", str(found))


@pytest.mark.parametrize(("run", "examples"), [(in_cpython, 100), (in_micropython, 30)])
def test_package_does_the_same_with_short_names(run, examples):
    @settings(max_examples=examples, deadline=None)
    @given(sources=packages())
    def check(sources):
        short = shortening.shorten(sources)
        assert without_addresses(run(short.sources)) == without_addresses(run(sources))
        for path, text in sources.items():
            assert short.sources[path].count("\n") == text.count("\n")

    check()
