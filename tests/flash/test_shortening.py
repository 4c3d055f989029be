"""Short names in the firmware's sources: what is refused, what becomes short, and what must stay as it is."""

import ast
import io
import tokenize

import pytest

from bench import paths
from bench.errors import BenchError
from bench.flash.shortening import shorten

SOURCES = {
    str(path.relative_to(paths.FIRMWARE)): path.read_text()
    for path in sorted((paths.FIRMWARE / "firstboot").rglob("*.py"))
}


def one(text):
    """Return the shortened text of a package's only module."""
    return shorten({"pkg/one.py": text}).sources["pkg/one.py"]


METHOD = "class Box:\n    def __init__(self):\n        self._held = 1\n    def get(self, name):\n        "


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (METHOD + "return getattr(self, name)", 5),
        (METHOD + "return getattr(self, '_' + name)", 5),
        (METHOD + "return getattr(self, '_held')", 5),
        (METHOD + "return hasattr(self, '_held')", 5),
        (METHOD + "setattr(self, name, 1)", 5),
        (METHOD + "delattr(self, name)", 5),
        (METHOD + "return list(map(getattr, [self], [name]))", 5),
        (METHOD + "import builtins; return builtins.getattr(self, name)", 5),
        (METHOD + "return self.__dict__[name]", 5),
        (METHOD + "return vars(self)[name]", 5),
        (METHOD + "return dir(self)", 5),
        (METHOD + "return eval('self.' + name)", 5),
        (METHOD + "exec(name)", 5),
        (METHOD + "return '{0._held}'.format(self)", 5),
        (METHOD + "return '{self._held}'.format(self=self)", 5),
        (METHOD + "return f'{self._held}'", 5),
        (METHOD + "return f'{self._held=}'", 5),
        (METHOD + "return f'{1:{self._held}}'", 5),
        (METHOD + "return name._held", 5),
        (METHOD + "return Box._held", 5),
        (METHOD + "return [each._held for each in name]", 5),
        (METHOD + "name._held = 2", 5),
        (METHOD + "self = name; return self._held", 5),
        (METHOD + "return (lambda self: self._held)(name)", 5),
        (METHOD + "return [self._held for self in name]", 5),
        (METHOD + "\n        def of(self):\n            return self._held\n        return of(name)", 6),
        (METHOD + "try: 1 / 0\n        except Exception as self: return self._held", 6),
        (METHOD + "return Box.get.__name__", 5),
        (METHOD + "return type(self).__name__", 5),
        ("class Box:\n    __slots__ = ('_held',)\n    def __init__(self):\n        self._held = 1", 2),
        ("class Box:\n    def __getattr__(self, name):\n        return 1", 2),
        ("class Box:\n    def __init__(self):\n        self.__held = 1", 3),
        ("class Box(metaclass=type):\n    pass", 1),
        ("class Box:\n    @staticmethod\n    def of(self):\n        return self._held", 4),
        ("def get(self):\n    return self._held", 2),
        ("_held = 1\ndef get():\n    return globals()['_held']", 3),
        ("_held = 1\ndef get(name):\n    return globals()[name]", 3),
        ("_held = 1\ndef get():\n    return locals()", 3),
        ("_held = 1\n__all__ = ['_held']", 2),
        ("_held = 1\nTEXT = 'of a name like _held here'", 2),
        ("_held = 1\nTEXT = b'_held'", 2),
        ("_held = 1\nTEXT = f'{_held}'", 2),
        ("_held = 1\nTEXT = f'{1} _held'", 2),
        ("def _of(_held):\n    return _held\n_of(_held=1)", 3),
        ("_held = dict(_held=1)", 1),
        ("_held = '%(_held)s' % {'_held': 1}", 1),
        ("from pkg.two import *", 1),
        ("from machine import *", 1),
        ("from . import two", 1),
        ("from .two import _held", 1),
        ("import pkg.two\npkg.two._held = 1", 2),
        ("def base():\n    return object\nclass Box(base()):\n    pass", 3),
        ("class Box(Late):\n    pass\nclass Late:\n    pass", 1),
        ("class Box:\n    pass\nclass Box:\n    pass", 3),
        ("import machine\ndef get(machine, name):\n    return getattr(machine, name)", 3),
        ("import machine\nmachine = 1\nprint(getattr(machine, 'a' + 'b'))", 3),
        ("def get(:\n    pass", 1),
    ],
)  # fmt: skip
def test_source_that_short_names_might_break_is_refused(text, where):
    with pytest.raises(BenchError, match=rf"^pkg/one\.py:{where}: "):
        one(text)


@pytest.mark.parametrize(
    "text",
    [
        "import machine\nprint(getattr(machine, 'PIN_%d' % 1))",
        "import machine\nprint([getattr(machine.Pin, each) for each in dir(machine.Pin)])",
        "import machine\nclass Chip:\n    machine = 1\n    def get(self, name):\n        return getattr(machine, name)",
        "class Box:\n    def get(self):\n        return getattr(self, 'public', None)",
        "class Box:\n    def get(self, name):\n        return getattr(self, name)  # public names only",
        "try:\n    pass\nexcept Exception as error:\n    print(type(error).__name__)",
        "_held = 1\nTEXT = 'a_held _helder held'",
        "def of():\n    '''Of _held.'''\n    return _held\n_held = 1",
        "TEXT = f'{len(str(1))}'",
    ],
)
def test_source_that_only_looks_like_it_is_taken(text):
    assert len(one(text).splitlines()) == len(text.splitlines())


def test_private_name_of_one_module_in_a_text_of_another_is_refused():
    """An object may get there: `getattr(box, "_held")`."""
    with pytest.raises(BenchError, match=r"^pkg/two\.py:1: .*_held"):
        shorten({"pkg/one.py": "_held = 1", "pkg/two.py": "NAME = '_held'"})


def test_base_that_is_no_class_of_the_package_is_refused():
    with pytest.raises(BenchError, match="base"):
        shorten({"pkg/one.py": "from pkg.two import make\nclass A(make):\n    pass", "pkg/two.py": "make = object"})


def test_all_kinds_of_private_names_become_short_and_nothing_else():
    text = '''\
import machine
from micropython import const
_LIMIT = const(3)  # mpy-cross leaves it out
_count = 0
NAME = "public"
class _Box:
    """A _Box, with a _count."""
    _kinds = (1, 2)
    def __init__(self, size: "int" = 0) -> None:
        self._size, self.size = size, machine.unique_id()
    def _grow(self, *_rest, _by=1):
        global _count
        _count = sum([_each for _each in self._kinds if _each]) + _LIMIT
        def _inner():
            nonlocal _by
            _by += 1
            return lambda _x: _x + _by
        try:
            return _inner()(self._size)
        except ValueError as _error:
            raise RuntimeError(_error)
'''
    short = one(text)
    tree = ast.parse(short)
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    names |= {
        node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.ExceptHandler))
    }
    names |= {name for node in ast.walk(tree) if isinstance(node, (ast.Global, ast.Nonlocal)) for name in node.names}
    assert {name for name in names if name[0] == "_" and len(name) > 2} == {"_LIMIT", "__init__"}
    assert {"NAME", "size", "self", "machine", "unique_id", "sum", "const"} <= names
    assert short.count("\n") == text.count("\n")
    assert '"""A _Box, with a _count."""' in short


def test_names_that_are_taken_are_not_given_again():
    """Not even one that another module uses."""
    names = shorten({"pkg/one.py": "_first = _b = 1\ndef _c():\n    _a = 2", "pkg/two.py": "_d = 1"}).names
    assert "_first" in names
    assert not set(names.values()) & {"_a", "_b", "_c", "_d"}


def test_classes_with_a_base_keep_their_names():
    """Events show errors by their class."""
    text = "class _Wrong(ValueError):\n    pass\nclass _Box:\n    pass\nclass _Small(_Box):\n    pass\n_other = 1"
    assert shorten({"pkg/one.py": text}).names.keys() == {"_Box", "_other"}


def test_names_of_a_class_with_a_base_of_another_package_stay():
    """They may be the base's, which calls them or sets them."""
    text = (
        "from umqtt import simple\n"
        "class Client(simple.MQTTClient):\n    def _recv_len(self):\n        return self._own\n"
        "class Mine(Client):\n    def _send(self):\n        pass\n_other = 1"
    )
    short = shorten({"pkg/one.py": text, "pkg/two.py": "def _recv_len():\n    pass"})
    assert short.names.keys() == {"_other"}


def test_modules_of_other_packages_keep_their_names():
    text = "try:\n    import _thread\nexcept ImportError:\n    _thread = None\nfrom esp32 import _flash as _of_chip\n"
    short = shorten({"pkg/one.py": text, "pkg/two.py": "from pkg.one import _thread, _of_chip"})
    assert short.names.keys() == {"_of_chip"}
    assert "import _thread" in short.sources["pkg/one.py"]
    assert "from esp32 import _flash as _a" in short.sources["pkg/one.py"]
    assert short.sources["pkg/two.py"] == "from pkg.one import _thread, _a"


def test_modules_of_the_package_keep_their_names():
    short = shorten(
        {"pkg/_one.py": "_x1 = 1", "pkg/two.py": "from pkg import _one\nfrom pkg._one import _x1\n_one = 1"}
    )
    assert short.names.keys() == {"_x1"}


def test_modules_share_short_names_and_each_is_unique_within_one():
    short = shorten({"pkg/one.py": "_first = _second = 1", "pkg/two.py": "_third = _fourth = 1"})
    assert len(set(short.names.values())) == 2
    for path in short.modules:
        assert len(short.modules[path]) == 2


def test_modules_with_a_class_and_its_base_share_no_short_name():
    sources = {
        "pkg/one.py": "class A:\n    def __init__(self):\n        self._one = 1",
        "pkg/two.py": "from pkg.one import A\nclass B(A):\n    def two(self):\n        self._two = 2",
        "pkg/three.py": "from pkg import two\nclass C(two.B):\n    def three(self):\n        self._three = 3",
        "pkg/four.py": "_four = 4",
    }
    names = shorten(sources).names
    assert len({names["_one"], names["_two"], names["_three"]}) == 3
    assert names["_four"] in {names["_one"], names["_two"], names["_three"]}


def test_name_in_several_modules_is_the_same_everywhere():
    short = shorten({"pkg/one.py": "_own = _shared = 1", "pkg/two.py": "from pkg.one import _shared\n_mine = 1"})
    assert short.sources["pkg/two.py"].startswith(f"from pkg.one import {short.names['_shared']}\n")
    assert len({*short.names.values()}) == 2


def test_new_name_in_one_module_changes_no_other():
    """`bench deploy` sends the files that differ."""
    sources = {"pkg/one.py": "_a1 = _shared = 1", "pkg/two.py": "_b1 = _b2 = _shared = 1"}
    before = shorten(sources).sources
    after = shorten({**sources, "pkg/one.py": "_a0 = _a1 = _shared = 1"}).sources
    assert after["pkg/two.py"] == before["pkg/two.py"]


def test_result_does_not_depend_on_the_order_of_sources():
    assert shorten(dict(reversed(SOURCES.items()))) == shorten(SOURCES)


def test_firmware_keeps_every_token_except_private_names_on_its_line():
    short = shorten(SOURCES)
    for path, text in SOURCES.items():
        back = short.modules[path]
        before = tokenize.generate_tokens(io.StringIO(text).readline)
        after = tokenize.generate_tokens(io.StringIO(short.sources[path]).readline)
        for old, new in zip(before, after, strict=True):
            assert old.start[0] == new.start[0]
            assert old.string == new.string or back[new.string] == old.string


def test_firmware_needs_few_short_names():
    """Each different one is a name more in MicroPython's table."""
    short = shorten(SOURCES)
    assert len(short.names) > 200
    assert len(set(short.names.values())) < 40


class TestAppliedTo:
    """Code that uses private parts of the package."""

    short = shorten({"pkg/one.py": "class Box:\n    def _get(self):\n        self._held = _power = 1\n_last = 2"})

    def applied(self, code):
        return self.short.applied_to(code)

    def test_names_are_replaced(self):
        names = self.short.names
        code = "from pkg import one\nbox = one.Box()\nbox._get = lambda: box._held + one._last\n"
        wanted = code.replace("_get", names["_get"]).replace("_held", names["_held"]).replace("_last", names["_last"])
        assert self.applied(code) == wanted

    def test_other_names_stay(self):
        code = "import machine, sys\n_mine = machine._power\nprint(machine.deep._last, _mine, '_mine')\n"
        assert self.applied(code) == code

    @pytest.mark.parametrize(
        "code",
        [
            "import machine\nprint(machine._power); setattr(box, '_get', 1)",
            "box._get; setattr(box, '_get', 1)",
            "box._get; print(f'{box._get}')",
            "box._get = box._a",
        ],
    )
    def test_code_that_short_names_might_break_is_refused(self, code):
        with pytest.raises(BenchError, match=r"^main\.py:"):
            self.applied(code)
