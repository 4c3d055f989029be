"""A check of the words in code and texts, run by `make check` after ruff: `python -m tests.wording [PATH...]`.

ruff asks for functions' docstrings in the imperative (D401). This looks at what no ruff rule does: how docstrings of
modules and classes open, words in names, and phrases in texts that users read. All of them are in `wording.toml`.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LIST = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
PHRASES = {re.compile(phrase.replace(" ", r"\s+")): instead for phrase, instead in LIST["phrases"].items()}
ANY_PHRASE = re.compile("|".join(phrase.pattern for phrase in PHRASES))
OPENING = re.compile(rf"({'|'.join(LIST['openings'])})\b")


def words(name: str) -> list[str]:
    """Split a name, in snake case or camel case, into its words in lower case."""
    return re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())


def names_in(node: ast.AST) -> Iterator[str]:
    """Yield the names that this node of a syntax tree defines."""
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name) | ast.arg(arg=name):
            yield name
        case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
            yield name


@cache
def wrong_names(name: str) -> list[str]:
    """Return a message for each word of a name that is on the list."""
    return [
        f"name {name}: instead of {word!r} write {LIST['names'][word]}" for word in words(name) if word in LIST["names"]
    ]


def wrong_phrases(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line of the text from 0, message) for each phrase that is on the list."""
    if not ANY_PHRASE.search(text):  # of most texts
        return
    for phrase, instead in PHRASES.items():
        for found in phrase.finditer(text):
            yield text.count("\n", 0, found.start()), f"instead of {found[0]!r} write {instead}"


def wrong_in_code(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, message) for all that is wrong in the text of a Python module."""
    for node in ast.walk(ast.parse(source)):
        for name in names_in(node):
            yield from ((getattr(node, "lineno", 1), message) for message in wrong_names(name))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            opening = (ast.get_docstring(node) or "").partition("\n")[0]
            if OPENING.match(opening):
                yield node.body[0].lineno, f"docstring opens with a question: {opening!r}"
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from ((node.lineno + line, message) for line, message in wrong_phrases(node.value))


def wrong_in_file(path: Path) -> list[str]:
    """Return a line `PATH:LINE: MESSAGE` for all that is wrong in a file, Python or Markdown."""
    text = path.read_text()
    found = list(wrong_in_code(text) if path.suffix == ".py" else wrong_phrases(text))
    if path.suffix == ".py":
        found += [(1, message) for message in wrong_names(path.stem)]
    else:
        found = [(line + 1, message) for line, message in found]
    return [f"{path.relative_to(ROOT)}:{line}: {message}" for line, message in sorted(found)]


def files(paths: list[Any]) -> Iterator[Path]:
    """Yield these files, and the Python and Markdown files in these folders but for the examples, in order."""
    examples = {ROOT / each for each in LIST["examples"]}
    for path in (ROOT / each for each in paths):
        found = sorted(each for each in path.rglob("*") if each.suffix in {".py", ".md"} and each not in examples)
        yield from [path] if path.is_file() else found


def main() -> None:
    """Print what is wrong in the paths of the command line, or in all that is to be checked; exit 1 if anything is."""
    found = [line for path in files(sys.argv[1:] or LIST["checked"]) for line in wrong_in_file(path)]
    print(*found, sep="\n", end="\n" if found else "")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
