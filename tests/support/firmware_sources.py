"""The firmware's sources, as syntax trees, and the texts of their literals."""

import ast
from collections.abc import Iterator

from bench import paths


def trees() -> Iterator[ast.Module]:
    """Yield the syntax tree of each module."""
    for path in sorted(paths.FIRMWARE.rglob("*.py")):
        yield ast.parse(path.read_text(), str(path))


def calls(*functions: str) -> Iterator[ast.Call]:
    """Yield all calls of functions or methods of these names."""
    for tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = node.func
                name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
                if name in functions:
                    yield node


def texts(node: ast.expr) -> set[str]:
    """Return the possible texts of an expression that is a literal or a choice of literals; else an empty set."""
    match node:
        case ast.Constant(value=str(text)):
            return {text}
        case ast.IfExp():
            return texts(node.body) | texts(node.orelse)
        case _:
            return set()
