"""Help texts at the width of a terminal: whole words, plain English, and all commands in their sections."""

import re
from types import SimpleNamespace

import pytest
import typer

from bench.cli import program
from bench.cli.render import help as help_texts
from tests.support.commands import bench

ROOT = typer.main.get_command(program.app)


def _all(command, path=()):
    yield path, command
    for name, each in getattr(command, "commands", {}).items():
        yield from _all(each, (*path, name))


ALL = dict(_all(ROOT))


def help_of(path, width=80, option="--help"):
    done = bench(*path, option, env={"COLUMNS": str(width), "TERMINAL_WIDTH": str(width)})
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_has_whole_words_in_80_columns(path):
    lines = help_of(path).splitlines()
    assert max(map(len, lines)) <= 80
    narrow, wide = (" ".join(each.split()) for each in ("\n".join(lines), help_of(path, 400)))
    assert sorted(narrow.split()) == sorted(wide.split())
    assert not re.search(r"…|\w\.\.\.$", "\n".join(lines), re.MULTILINE)


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_names_values_in_plain_english(path):
    text = help_of(path)
    assert not re.search(r"<\w+|\b(bool|str|int|float|list\[|dict|None|True|False|INTEGER|FLOAT|RANGE)\b|<=|>=", text)
    if ALL[path].params:
        own = [each for each in ALL[path].params if not each.hidden and each.param_type_name == "option"]
        assert [each.opts[-1] for each in own if not each.help] == []


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_ends_with_an_example_of_this_command(path):
    _, example = help_of(path, 400).split("\n  Example: ")
    assert " ".join(("bench", *path)) in example


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_has_a_text_of_its_own_for_each_option(path):
    texts = [each.help for each in ALL[path].params if each.param_type_name == "option"]
    assert [each for each in set(texts) if texts.count(each) > 1] == []


@pytest.mark.parametrize("path", [("device", "list"), ("board", "new"), ("flash",), ("conformance",)], ids=" ".join)
def test_help_has_options_in_sections(path):
    text = help_of(path)
    section = "With --board:" if path == ("conformance",) else "On any ThingsBoard:"
    assert text.index("Options:\n") < text.index("--help ") < text.index(section)


def test_help_names_its_own_option_in_one_order():
    for names in (["-h", "--help"], ["--help", "-h"]):  # they come from a set
        option = SimpleNamespace(param_type_name="option", opts=names, secondary_opts=[], is_flag=True)
        assert help_texts._label(option, None, None) == "-h, --help"


@pytest.mark.parametrize("path", [each for each in ALL if hasattr(ALL[each], "commands")], ids=" ".join)
def test_group_without_a_command_shows_its_help(path):
    done = bench(*path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == help_of(path)


def test_help_of_h_is_the_same():
    for path in ((), ("device",), ("device", "list")):
        assert help_of(path, option="-h") == help_of(path)


def test_sections_have_each_command_once():
    listed = [name for names in program.SECTIONS.values() for name in names]
    assert sorted(listed) == sorted(ROOT.commands)
    text = help_of(())
    titles = [text.index(f"\n{each}:\n") for each in ("Boards", "Server", "Tests", "Tools")]
    assert titles == sorted(titles)


def test_version_is_shown():
    done = bench("--version")
    assert re.fullmatch(r"firstboot \d+\.\d+\.\d+\S*\n", done.stdout)
    assert done.returncode == 0


@pytest.mark.parametrize(("typed", "offered"), [("bench dev", "device"), ("bench flash --cred", "--credentials")])
def test_shell_completion_offers_commands_and_options(typed, offered):
    words = {"_BENCH_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
    done = bench(env=words)
    assert done.stdout.split() == [offered]
