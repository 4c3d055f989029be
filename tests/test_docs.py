"""Everything that the documentation names exists: tests, files, commands and their options."""

import ast
import asyncio
import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from bench.cli.program import app
from tests.support import role_table

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)

TEST = re.compile(r"(tests/[\w/]+\.py)::(\w+)")
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)
BLOCK = re.compile(r"^```.*?\n(.*?)^```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
# What is printed by a command is indented; the command is not.
COMMAND = re.compile(r"^(?:\$ )?(bench [^\n]*)", re.MULTILINE)


@cache
def functions_in(path: str) -> frozenset[str]:
    """The definitions of a file, by name."""
    tree = ast.parse((ROOT / path).read_text())
    return frozenset(each.name for each in ast.walk(tree) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))


def commands(text: str) -> list[str]:
    """The command lines of the bench that a page shows, in blocks of code and inside sentences."""
    blocks = [block.replace("\\\n", " ") for block in BLOCK.findall(text)]
    return [line for piece in blocks + CODE.findall(BLOCK.sub("", text)) for line in COMMAND.findall(piece)]


def mistakes(line: str) -> list[str]:
    """The mistakes of a command line: commands and options that do not exist."""
    command: Any = typer.main.get_command(app)
    options: set[str] = {"--help"}
    found = []
    for word in shlex.split(line, comments=True)[1:]:
        inside = getattr(command, "commands", None)
        if word.startswith("-"):
            if (option := word.partition("=")[0]) not in options:
                found.append(option)
        elif inside is not None:
            if word not in inside:
                return [*found, word]
            command = inside[word]
            options = {"--help"} | {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
    return found


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("bench nothing", ["nothing"]),
        ("bench board nothing here", ["nothing"]),
        ("bench --port board nothing", ["--port", "nothing"]),
        ("bench serve --no-such --host 0.0.0.0 --neither=1", ["--no-such", "--neither"]),
        ("bench serve --json   # bench --nothing", []),
        ("bench device list --url 'https://tb.example'", []),
        ("bench serve --help", []),
        ("bench profile", []),
    ],
)
def test_mistakes_in_a_command_line_are_found(line: str, wrong: list[str]) -> None:
    assert mistakes(line) == wrong


def test_commands_are_found_in_blocks_and_in_sentences() -> None:
    text = "Say `bench a`, not\n```\nbench b --c \\\n  --d\n  bench   printed\n$ bench e\n```\n`cat` and `bench f`.\n"
    assert [line.split() for line in commands(text)] == [
        ["bench", "b", "--c", "--d"],
        ["bench", "e"],
        ["bench", "a"],
        ["bench", "f"],
    ]


@every_page
def test_commands_and_their_options_exist(page: Path) -> None:
    wrong = {line: found for line in commands(page.read_text()) if (found := mistakes(line))}
    assert wrong == {}


@every_page
def test_tests_that_are_named_exist(page: Path) -> None:
    named = set(TEST.findall(page.read_text()))
    assert [
        each for each in sorted(named) if not (ROOT / each[0]).is_file() or each[1] not in functions_in(each[0])
    ] == []


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    dead = []
    for link in LINK.findall(BLOCK.sub("", page.read_text())):
        path, _, anchor = link.partition("#")
        if "://" in link or link.startswith("mailto:"):
            continue
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


def anchors(page: Path) -> set[str]:
    """The targets of links on a page, as GitHub makes them of headings."""
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in HEADING.findall(page.read_text())}


def test_page_of_the_protocol_names_its_tests() -> None:
    assert len(TEST.findall((ROOT / "docs" / "protocol.md").read_text())) > 100


def test_page_of_roles_has_every_route_and_who_may_use_it() -> None:
    made = role_table.text(*asyncio.run(role_table.of_new_server()))
    assert role_table.on_page() == made, "python -m tests.support.role_table writes docs/roles.md anew"
