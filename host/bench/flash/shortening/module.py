"""A parsed module: its names, and the texts in it."""

import ast
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from bench.errors import BenchError

_PRIVATE = re.compile(r"_[A-Za-z0-9]\w*")


@dataclass
class Module:
    """A parsed module."""

    path: str
    text: str
    tree: ast.Module
    identifiers: set[str] = field(default_factory=set)
    """All names, of whatever kind."""
    foreign: set[str] = field(default_factory=set)
    """Names that stand for a module of another package, or for something of one, wherever they are."""
    imported: dict[str, str] = field(default_factory=dict)
    """Name -> what was imported under it from this package, e.g. `Link` -> `firstboot.link.Link`."""
    kept: set[str] = field(default_factory=set)
    """Private names that belong to other packages, or are those of modules."""
    constants: set[str] = field(default_factory=set)
    """Private names of const(): mpy-cross leaves them out."""
    texts: list[tuple[int, str]] = field(default_factory=list)
    """Line and text of each literal, without docstrings."""
    in_texts: list[tuple[int, str]] = field(default_factory=list)
    """Line and name of each name in an f-string."""

    @property
    def dotted(self) -> str:
        """Return its name for imports."""
        return dotted(self.path)

    @property
    def private(self) -> set[str]:
        """Return its private names, without constants."""
        return {each for each in self.identifiers if is_private(each)} - self.constants

    def refusal(self, line: int, why: str) -> BenchError:
        """Return the error for a line of it that cannot have short names."""
        return BenchError(f"{self.path}:{line}: {why}")

    def is_foreign(self, node: ast.expr) -> bool:
        """Return whether an expression is a module of another package, or an attribute of one."""
        while isinstance(node, ast.Attribute):
            node = node.value
        return isinstance(node, ast.Name) and node.id in self.foreign


def dotted(path: str) -> str:
    """Return the name of the module that is at this path, `firstboot.app` for `firstboot/app.py`."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def is_private(name: str) -> bool:
    """Return whether a name has one underscore in front, and something after it."""
    return bool(_PRIVATE.fullmatch(name))


def parse(path: str, text: str, package: str) -> Module:
    """Parse a module.

    Args:
        path: Its path, `firstboot/app.py`.
        text: Its source.
        package: The name of the package whose names become short.

    Raises:
        BenchError: It is not Python, or imports in a way that hides names.
    """
    try:
        module = Module(path, text, ast.parse(text, path))
    except SyntaxError as error:
        raise BenchError(f"{path}:{error.lineno}: {error.msg}") from error
    module.kept.update(part for part in module.dotted.split(".") if is_private(part))
    for node in ast.walk(module.tree):
        module.identifiers.update(identifiers(node))
        if isinstance(node, ast.Import):
            _note_import(module, node, package)
        elif isinstance(node, ast.ImportFrom):
            _note_import_from(module, node, package)
        elif isinstance(node, ast.JoinedStr):
            module.in_texts += [(node.lineno, name) for part in ast.walk(node) for name in identifiers(part)]
    module.foreign -= set(_assigned(module.tree, in_class=False))
    _note_constants(module)
    _note_texts(module, module.tree)
    return module


def identifiers(node: ast.AST) -> Iterator[str]:
    """Yield the names that a node itself has, not those in its parts."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
            yield name
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.keyword(arg=str(name)) | ast.ExceptHandler(name=str(name)):
            yield name
        case ast.Global(names=names) | ast.Nonlocal(names=names):
            yield from names
        case ast.alias(name=name, asname=asname):
            yield from name.split(".")
            if asname:
                yield asname
        case _:
            pass


def _note_import(module: Module, node: ast.Import, package: str) -> None:
    for alias in node.names:
        parts = alias.name.split(".")
        module.kept.update(filter(is_private, parts))
        if parts[0] != package:
            module.foreign.add(alias.asname or parts[0])


def _note_import_from(module: Module, node: ast.ImportFrom, package: str) -> None:
    source = node.module or ""
    if node.level:
        raise module.refusal(node.lineno, "a relative import: write the whole name of the module")
    module.kept.update(filter(is_private, source.split(".")))
    for alias in node.names:
        if alias.name == "*":
            raise module.refusal(node.lineno, "an import of *: write the names")
        if source.split(".")[0] == package:
            module.imported[alias.asname or alias.name] = f"{source}.{alias.name}"
        else:
            module.kept.update(filter(is_private, [alias.name]))
            module.foreign.add(alias.asname or alias.name)


def _assigned(node: ast.AST, *, in_class: bool) -> Iterator[str]:
    """Yield the names that are assigned or are parameters, without those in a class, whose names are attributes."""
    for child in ast.iter_child_nodes(node):
        is_scope = isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        is_stored = isinstance(child, ast.Name) and not isinstance(child.ctx, ast.Load)
        is_named = is_stored or is_scope or isinstance(child, ast.ExceptHandler)
        if isinstance(child, ast.arg) or (is_named and not in_class):
            yield from identifiers(child)
        yield from _assigned(child, in_class=isinstance(child, ast.ClassDef) if is_scope else in_class)


def _note_constants(module: Module) -> None:
    others = {name for node in ast.walk(module.tree) if not isinstance(node, ast.Name) for name in identifiers(node)}
    for node in module.tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(func=ast.Name(id="const"))):
                if is_private(name) and name not in others:
                    module.constants.add(name)
            case _:
                pass


def _note_texts(module: Module, node: ast.AST) -> None:
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant):
                continue  # a docstring
            if isinstance(each, ast.Constant) and isinstance(each.value, str | bytes):
                text = each.value if isinstance(each.value, str) else each.value.decode("latin-1")
                module.texts.append((each.lineno, text))
            elif isinstance(each, ast.AST):
                _note_texts(module, each)


def texts_with(module: Module, names: Collection[str]) -> Iterator[tuple[int, str]]:
    """Yield line and name where a text of a module has one of these names as a word."""
    for line, text in module.texts:
        yield from ((line, word) for word in re.findall(r"\w+", text, re.ASCII) if word in names)
