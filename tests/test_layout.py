"""Tests mirror the rooms of the bench, and none imports another."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Not of one room: whole ways, the device's code, real silicon, and what tests share.
BESIDE_ROOMS = {"e2e", "firmware", "hardware", "support"}


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{each.name}" for each in node.names)}
        elif isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
    return found


def test_folders_of_tests_have_the_names_of_rooms():
    rooms = {each.name for each in ROOT.glob("host/bench/*") if each.is_dir() and not each.name.startswith("_")}
    folders = {each.name for each in ROOT.glob("tests/*") if each.is_dir() and not each.name.startswith("_")}
    assert folders - BESIDE_ROOMS <= rooms


def test_no_module_imports_a_test():
    tests = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in ROOT.glob("tests/**/*.py")
        for name in imported(path)
        if name.startswith("tests.") and any(part.startswith("test_") for part in name.split("."))
    }
    assert tests == set()
