"""The classes of a package and their bases: these decide whose objects a private name may be on."""

import ast
import builtins
from collections.abc import Sequence

from bench.errors import BenchError
from bench.flash.shortening.module import Module, identifiers, is_private

_PLAIN = "object"
_FOREIGN = ""
_PLAIN_BASES = {_PLAIN} | {
    name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, BaseException)
}


class Classes:
    """The classes of a package.

    Attributes:
        kept: Private names that stay: those of classes with a base, since events show errors by their class, and all
            in a class that has a base from another package, where they may be that base's.
    """

    def __init__(self, modules: Sequence[Module]) -> None:
        """Look at all classes.

        Raises:
            BenchError: The base of a class is not known.
        """
        self.kept: set[str] = set()
        self._bases: dict[str, list[str]] = {}
        self._paths = {module.dotted: module.path for module in modules}
        names: dict[str, set[str]] = {}
        for module in modules:
            for node in ast.walk(module.tree):
                if isinstance(node, ast.ClassDef):
                    names[self._add(module, node)] = {
                        name for part in ast.walk(node) for name in identifiers(part) if is_private(name)
                    }
                    if node.bases:
                        self.kept.update(filter(is_private, [node.name]))
        for name in self._bases:
            if self._is_foreign(name):
                self.kept |= names[name]

    def related(self) -> list[set[str]]:
        """Return the modules, by their paths, in groups: those whose classes are related share objects."""
        groups = {path: {path} for path in self._paths.values()}
        for name, bases in self._bases.items():
            for base in set(bases) & self._bases.keys():
                joined = groups[self._path(name)] | groups[self._path(base)]
                groups.update(dict.fromkeys(joined, joined))
        return [group for path, group in sorted(groups.items()) if path == min(group)]

    def _path(self, name: str) -> str:
        """Return the path of the module that has this class."""
        return self._paths[name.rpartition(".")[0]]

    def _add(self, module: Module, node: ast.ClassDef) -> str:
        name = f"{module.dotted}.{node.name}"
        if name in self._bases:
            raise module.refusal(node.lineno, f"there are two classes {node.name}: give one another name")
        self._bases[name] = [self._resolved(module, base) for base in node.bases]
        return name

    def _resolved(self, module: Module, base: ast.expr) -> str:
        """Return the whole name of a base, `_FOREIGN` or `_PLAIN`."""
        match base:
            case ast.Name(id=name) if f"{module.dotted}.{name}" in self._bases:
                return f"{module.dotted}.{name}"
            case ast.Name(id=name) if name in module.imported:
                return module.imported[name]
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name in module.imported:
                return f"{module.imported[name]}.{attribute}"
            case ast.Name(id=name) if name in _PLAIN_BASES and name not in module.foreign:
                return _PLAIN
            case _ if module.is_foreign(base):
                return _FOREIGN
            case _:
                raise module.refusal(
                    base.lineno, "the base of a class is not a class that is defined or imported before"
                )

    def _is_foreign(self, name: str) -> bool:
        if name in (_FOREIGN, _PLAIN):
            return name == _FOREIGN
        if name not in self._bases:
            raise BenchError(f"{name} is the base of a class, but no class: import it from where it is defined")
        return any(self._is_foreign(base) for base in self._bases[name])
