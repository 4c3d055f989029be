"""Names in a source replaced, token by token, on the lines where they are."""

import ast
import io
import tokenize
from collections.abc import Mapping

from bench.flash.shortening.module import Module


def rewrite(module: Module, names: Mapping[str, str]) -> str:
    """Return a module's text with other names.

    Args:
        module: The module; attributes of other packages keep their names.
        names: Name -> new name.
    """
    lines = module.text.splitlines(keepends=True)
    foreign = _ends_of_foreign_attributes(module, lines)
    for token in reversed(list(tokenize.generate_tokens(io.StringIO(module.text).readline))):
        if token.type == tokenize.NAME and token.string in names and token.end not in foreign:
            row, (start, end) = token.start[0] - 1, (token.start[1], token.end[1])
            lines[row] = lines[row][:start] + names[token.string] + lines[row][end:]
    return "".join(lines)


def _ends_of_foreign_attributes(module: Module, lines: list[str]) -> set[tuple[int, int]]:
    """Return line and column of the end of each attribute of another package, in characters."""
    ends = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and module.is_foreign(node.value):
            assert node.end_lineno is not None
            before = lines[node.end_lineno - 1].encode()[: node.end_col_offset]
            ends.add((node.end_lineno, len(before.decode())))
    return ends
