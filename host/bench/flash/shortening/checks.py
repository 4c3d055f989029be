"""Everything in a module that short names could break, which is refused."""

import ast
import io
import tokenize
from collections.abc import Collection

from bench.flash.shortening.module import Module, identifiers, is_private, texts_with

# At the end of a line that accesses attributes by a computed name: its author's word that none of them is private.
_MARKER = "# public names only"
_ACCESS = ("getattr", "setattr", "hasattr", "delattr", "dir")
_BY_TEXT = (*_ACCESS, "globals", "locals", "vars", "eval", "exec", "__import__", "__dict__")
_HOOKS = ("__getattr__", "__getattribute__", "__setattr__", "__delattr__")


def check(module: Module) -> None:
    """Raise BenchError for anything whose meaning depends on private names in a way that cannot be seen here."""
    _Checker(module).visit(module.tree)


def check_texts(module: Module, names: Collection[str]) -> None:
    """Raise BenchError if one of these private names is in a text: it might be used to access it."""
    for line, name in texts_with(module, names):
        raise module.refusal(line, f"the private name {name} is in a text: rename it, or write the text otherwise")
    for line, name in module.in_texts:
        if name in names:
            raise module.refusal(line, f"the private name {name} is in an f-string: write it outside of that")


class _Checker(ast.NodeVisitor):
    """A walk through a module that knows whose method it is in."""

    def __init__(self, module: Module) -> None:
        self._module = module
        self._own: set[str] = set()  # the method's own object, usually `self`
        self._first: ast.arg | None = None  # the parameter that it came by
        self._parent: ast.AST = module.tree
        self._caught = {node.name for node in ast.walk(module.tree) if isinstance(node, ast.ExceptHandler)}
        self._marked = {
            token.start[0]
            for token in tokenize.generate_tokens(io.StringIO(module.text).readline)
            if token.string == _MARKER
        }

    def generic_visit(self, node: ast.AST) -> None:
        for name in identifiers(node):
            if name.startswith("__") and not name.endswith("__"):
                self._refuse(node, f"{name} is mangled inside classes: begin it with one underscore")
            if name in _HOOKS:
                self._refuse(node, f"{name} is given private names as texts: do without")
            is_read = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
            if name in self._own and not (is_read or node is self._first or isinstance(node, ast.Attribute)):
                self._refuse(node, f"{name} gets another meaning: take another name for that")
        outer, self._parent = self._parent, node
        super().generic_visit(node)
        self._parent = outer

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        if node.keywords:
            self._refuse(node, f"class {node.name} has a metaclass: do without")
        self._inside(node, set())

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        is_static = any(isinstance(each, ast.Name) and each.id == "staticmethod" for each in node.decorator_list)
        if isinstance(self._parent, ast.ClassDef) and not is_static:
            self._first = (*node.args.posonlyargs, *node.args.args, None)[0]
            self._inside(node, {self._first.arg} if self._first else set())
        else:
            self._inside(node, self._own)

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in _BY_TEXT:
            is_called = isinstance(self._parent, ast.Call) and self._parent.func is node
            if not (is_called and self._is_harmless(self._parent)):
                self._refuse(node, f"{node.id} may reach private names by texts: do without, or say {_MARKER}")
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if node.attr in _BY_TEXT:
            self._refuse(node, f"{node.attr} may reach private names by texts: do without")
        if is_private(node.attr) and not (isinstance(node.value, ast.Name) and node.value.id in self._own):
            self._refuse(node, f"{node.attr} is another object's: make it public, or use it in that object's methods")
        if node.attr in ("__name__", "__qualname__") and not self._is_class_of_caught(node.value):
            self._refuse(node, f"{node.attr} may be a short name: ask only type() of an exception that was caught")
        self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg and is_private(node.arg):
            self._refuse(node, f"an argument is given by the private name {node.arg}: make that public")
        self.generic_visit(node)

    def _inside(self, node: ast.AST, own: set[str]) -> None:
        outer, self._own = self._own, own
        self.generic_visit(node)
        self._own = outer

    def _is_harmless(self, call: ast.AST) -> bool:
        """Return whether a call that reaches names by texts cannot reach private ones."""
        match call:
            case ast.Call(lineno=line) if line in self._marked:
                return True
            case ast.Call(func=ast.Name(id=name), args=[target, *names]) if name in _ACCESS:
                # check_texts looks at a literal
                return self._module.is_foreign(target) or isinstance((*names, None)[0], ast.Constant)
            case _:
                return False

    def _is_class_of_caught(self, node: ast.expr) -> bool:
        match node:
            case ast.Call(func=ast.Name(id="type"), args=[ast.Name(id=name)]):
                return name in self._caught
            case _:
                return False

    def _refuse(self, node: ast.AST, why: str) -> None:
        raise self._module.refusal(getattr(node, "lineno", 1), why)
