"""Events and states are the same in the contract, the firmware's sources, the documentation and on the screen."""

import ast
import json
import re
from string import Formatter

import pytest

from bench import paths
from bench.cli.render import event_lines
from bench.contract.events import (
    BENCH_EVENTS,
    EVENTS,
    FOLLOW_UPS,
    MILESTONES,
    STUCK_STATES,
    TROUBLE,
    State,
    completes_boot,
    needs_person,
)
from bench.load.life import STEPS
from tests.support import firmware_sources as sources
from tests.support import micropython

PAGE = (paths.CHECKOUT / "docs" / "device-life.md").read_text()
# `emit(error.kind, ...)` and `emit(error.kind + "_refused", ...)`: these errors reach them, by name in `except`.
KINDS = ("NotFound", "Rejected")
REFUSED_KINDS = ("CertificateRefused", "PlaintextRefused")


def kinds(*errors):
    """The kinds of these errors of the firmware."""
    return set(
        micropython.run(f"from firstboot import errors\nfor e in {errors}: print(getattr(errors, e).kind)").split()
    )


def emitted():
    """The events in the firmware's sources: names, with the fields that each call gives."""
    for call in sources.calls("emit"):
        fields = frozenset(each.arg for each in call.keywords)
        match call.args[0]:
            case ast.Attribute(attr="kind"):
                names = kinds(*KINDS)
            case ast.BinOp(left=ast.Attribute(attr="kind"), op=ast.Add(), right=ast.Constant(value="_refused")):
                names = {f"{kind}_refused" for kind in kinds(*REFUSED_KINDS)}
            case literal:
                names = sources.texts(literal)
        assert names, f"line {call.lineno}: {ast.unparse(call)}"
        for name in names:
            yield name, fields


def test_firmware_emits_the_events_of_the_contract_with_their_fields():
    found = {}
    for name, fields in emitted():
        found.setdefault(name, set()).add(fields)
    assert found.keys() == EVENTS.keys()
    for name, variants in found.items():
        spec = EVENTS[name]
        assert frozenset.intersection(*variants) == set(spec.fields), name
        assert frozenset.union(*variants) == {*spec.fields, *spec.optional}, name


def test_firmware_has_the_states_of_the_contract():
    become = [sources.texts(call.args[0]) for call in sources.calls("_set_state")]
    start = [
        sources.texts(each.value) for call in sources.calls("emit") for each in call.keywords if each.arg == "state"
    ]
    assert set().union(*become, *start) == set(State)


def test_led_has_a_pattern_for_each_state():
    patterns = json.loads(
        micropython.run("import json\nfrom firstboot import led\nprint(json.dumps(list(led.PATTERNS)))", rom=True)
    )
    assert {each for each in patterns if not each.startswith("held_")} == set(State)


def test_page_lists_the_events_of_the_contract():
    rows = [
        f"| `{name}` | "
        f"{', '.join(f'`{each}`' for each in spec.fields)}{'; ' if spec.optional else ''}"
        f"{', '.join(f'`{each}`' for each in spec.optional)} | {spec.meaning} |".replace("|  |", "| |")
        for name, spec in EVENTS.items()
    ]
    table = PAGE.partition("| event | fields | when |\n|---|---|---|\n")[2].partition("\n\n")[0]
    assert table.splitlines() == rows


def test_page_lists_the_states_of_the_contract():
    table = PAGE.partition("| state | LED | ")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` ", table, re.MULTILINE) == list(State)


def test_command_line_has_words_for_nothing_else_and_for_no_other_fields():
    for name, words in event_lines._WORDS.items():
        assert name in EVENTS or name in BENCH_EVENTS
        if spec := EVENTS.get(name):
            used = {field for _, field, _, _ in Formatter().parse(words) if field}
            assert used <= {*spec.fields, *spec.optional}, name


def test_milestones_and_groups_are_events_of_the_firmware():
    assert set(MILESTONES) | TROUBLE | FOLLOW_UPS <= EVENTS.keys()
    assert not BENCH_EVENTS & EVENTS.keys()
    assert list(STEPS) == [each for each in MILESTONES if each in STEPS]


@pytest.mark.parametrize("name", EVENTS)
def test_which_events_end_a_wait(name):
    assert completes_boot({"event": name}) is (name == "telemetry")
    assert needs_person({"event": name, "state": "online"}) is (name == "crash")


@pytest.mark.parametrize("state", State)
def test_which_states_end_a_wait(state):
    assert needs_person({"event": "state", "state": str(state)}) is (state in STUCK_STATES)
