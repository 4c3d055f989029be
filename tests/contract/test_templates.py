"""Templates of profiles: what is refused, and what devices inherit."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.contract import broker_topics, naming, templates
from bench.contract.broker_topics import Topics
from bench.contract.naming import NumberedNames
from bench.contract.templates import FIELDS, OWN_SIZE, TELEMETRY, TEXT, Template
from bench.errors import Refused

NESTED: dict = {}
for _ in range(500):
    NESTED = {"fields": NESTED}
TEXT_FIELD, NUMBER_FIELD = {"type": "text"}, {"type": "number"}


def field(**members):
    return {"fields": {"color": members}}


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        [],
        "fields",
        {"colour": 1},
        NESTED,
        {"fields": []},
        {"fields": {"color": "red"}},
        {"fields": {"": TEXT_FIELD}},
        {"fields": {"a.b": TEXT_FIELD}},
        {"fields": {"a\0": TEXT_FIELD}},
        {"fields": {"a\n": TEXT_FIELD}},
        {"fields": {"a=b": TEXT_FIELD}},
        {"fields": {"x" * 65: TEXT_FIELD}},
        {"fields": {"serialNumber": TEXT_FIELD}},  # Xively's JSON has it beside the fields
        {"fields": {f"f{number}": TEXT_FIELD for number in range(FIELDS + 1)}},
        field(),
        field(type="colour"),
        field(type=["text"]),
        field(type={}),
        field(type="text", unit="m"),
        field(type="text", default=1),
        field(type="text", default=["red"]),
        field(type="text", default="a\0b"),
        field(type="text", default="a\x1b[2J"),
        field(type="text", default="\ud800"),
        field(type="text", default="x" * (TEXT + 1)),
        field(type="number", default="1"),
        field(type="number", default=True),
        field(type="number", default=math.inf),
        field(type="number", default=math.nan),
        field(type="number", default=1 << 54),
        field(type="boolean", default=0),
        field(type="text", required="yes"),
        field(type="text", required=1),
        field(type="text", required=True, default="red"),
        {"telemetry": {"": NUMBER_FIELD}},
        {"telemetry": {"a\0": NUMBER_FIELD}},
        {"telemetry": {"x" * 256: NUMBER_FIELD}},
        {"telemetry": {"t": {"type": "number", "unit": "x" * 33}}},
        {"telemetry": {"t": {"type": "number", "unit": "\n"}}},
        {"telemetry": {"t": {"type": "number", "unit": 1}}},
        {"telemetry": {"t": {"unit": "m"}}},
        {"telemetry": {f"t{number}": NUMBER_FIELD for number in range(TELEMETRY + 1)}},
        {"telemetry": {f"{number:0200}": NUMBER_FIELD for number in range(TELEMETRY)}},  # too large
        {"topics": 1},
        {"naming": ["{NNN}"]},
    ],
    ids=lambda wrong: json.dumps(wrong)[:40],
)
def test_template_that_cannot_be_is_refused_in_one_line(wrong):
    with pytest.raises(Refused) as refused:
        templates.parse(wrong)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    "pattern",
    [
        "{id}",  # a board needs a level before its name
        "/{id}",
        "iot/{type}",
        "{id}/{type}",
        "{prefix}/{id}/{type}",  # another profile's pattern could make these topics, too
        "iot/{id}x",
        "iot/x{id}",
        "iot/{id}/{id}",
        "iot/+/{id}",
        "iot/#/{id}",
        "#",
        "$SYS/{id}",
        "$share/a/{id}",
        "iot//{id}",
        "iot/a.b/{id}",
        "iot/a b/{id}",
        "iot/ü/{id}",
        "iot/{serial}/{id}",
        "iot/{/{id}",
        "iot\0/{id}",
        "iot/{id}\n",
        "a" * 65 + "/{id}",
        "a/" * 9 + "{id}",
    ],
)
def test_pattern_of_topics_that_a_board_or_a_broker_cannot_serve_is_refused(pattern):
    with pytest.raises(Refused, match="not a pattern of topics"):
        broker_topics.check_pattern(pattern)
    with pytest.raises(Refused):
        templates.parse({"topics": pattern})


@pytest.mark.parametrize(
    "pattern",
    [
        *("x", "{type}-", "{NNN}-{type}", "{type}{NNN}{NNN}", "{name}-{NNN}", "{NNNNNNNNNN}", "{{NNN}}", "<b>{NNN}"),
        *("a\0{NNN}", "a\n{NNN}", "x" * 200 + "{NNN}", "{type}-{nnn}"),
    ],
)
def test_pattern_of_names_that_cannot_be_numbered_is_refused(pattern):
    with pytest.raises(Refused, match="not a pattern of names"):
        naming.check_pattern(pattern)


def test_numbers_are_padded_and_never_cut_off():
    names = NumberedNames("{prefix}{type}/{NN}", "press {prefix}", "a-{type}-")
    assert [names.name(number) for number in (1, 99, 100)] == [
        f"a-{{type}}-press {{prefix}}/{each}" for each in ("01", "99", "100")
    ]
    assert NumberedNames("", "press", "a-").name(7) == "a-press-007"


_LEVEL = st.sampled_from(["{prefix}", "{type}", "iot", "press", "x", "data", "a"])
_PATTERN = st.lists(_LEVEL, min_size=1, max_size=4).map(lambda levels: "/".join([*levels, "{id}"]))
_NAME = st.sampled_from(["x", "press", "data", "a/b", "a", "iot", "+", "cmd"])


@given(_PATTERN, _PATTERN, _NAME, _NAME, _NAME, _NAME)
def test_two_devices_share_no_topic_whatever_their_profiles(one, other, type_of_one, type_of_other, first, second):
    both = [
        set(vars(Topics.of("iot", kind, name, broker_topics.check_pattern(pattern))).values())
        for pattern, kind, name in ((one, type_of_one, first), (other, type_of_other, second))
    ]
    assert first == second or not both[0] & both[1]


FOUND = {
    "fields": {
        "color": {"type": "text", "default": "red"},
        "on": {"type": "boolean", "default": False},
        "voltage": {"type": "number", "required": True},
        "site": {"type": "text"},
    },
    "telemetry": {"temperature": {"type": "number", "unit": "°C"}, "a b": {"type": "text"}},
    "topics": "plant/{type}/{id}",
    "naming": "{type}-{NNNN}",
}


def test_template_is_given_back_as_it_is():
    template = templates.parse(FOUND)
    assert json.loads(json.dumps(template.to_json())) == FOUND
    assert templates.parse({}) == Template()
    assert Template().to_json() == {}


def test_own_values_come_before_the_defaults_and_do_not_go_with_their_fields():
    template = templates.parse(FOUND)
    own = templates.changed(template, {}, {"color": "blue", "voltage": 230})
    assert templates.effective(template, own) == {"color": "blue", "on": False, "voltage": 230, "site": None}
    retyped = templates.parse({"fields": {"color": {"type": "number", "default": 1}}})
    assert templates.effective(retyped, own) == {"color": 1}
    assert templates.changed(retyped, own, {"voltage": None}) == {"color": "blue"}
    assert templates.effective(template, own)["color"] == "blue"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": "red"}, "no field colour"),
        ({"color": 1}, "the field color takes text"),
        ({"color": {"a": 1}}, "the field color takes text"),
        ({"color": "a\nb"}, "the field color takes text"),
        ({"voltage": "230"}, "the field voltage takes a number"),
        ({"voltage": True}, "the field voltage takes a number"),
        ({"on": 1}, "the field on takes true or false"),
        ({"voltage": None}, "is required"),
    ],
)
def test_value_that_does_not_fit_its_field_is_refused(changes, message):
    with pytest.raises(Refused, match=message):
        templates.changed(templates.parse(FOUND), {}, changes)


def test_values_of_a_device_are_bounded_with_hidden_ones_among_them():
    many = {f"f{number}": TEXT_FIELD for number in range(FIELDS)}
    template = templates.parse({"fields": many})
    full = templates.changed(template, {}, dict.fromkeys(many, "x"))
    other = templates.parse({"fields": {"g": TEXT_FIELD}})
    with pytest.raises(Refused, match="at most 64 values"):
        templates.changed(other, full, {"g": "x"})
    assert templates.changed(other, full, {"f0": None, "g": "x"})["g"] == "x"
    with pytest.raises(Refused, match="8,192 bytes"):
        templates.changed(template, {}, dict.fromkeys(many, "x" * (OWN_SIZE // FIELDS)))


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [("color", "1", "1"), ("color", "", ""), ("on", "true", True), ("voltage", "1.5", 1.5), ("voltage", "-3", -3)],
)
def test_text_is_read_as_the_fields_type(name, text, value):
    found = templates.parse(FOUND).read({name: text})
    assert found == {name: value}
    assert type(found[name]) is type(value)


@pytest.mark.parametrize(
    ("name", "text"), [("on", "yes"), ("on", "1"), ("voltage", "x"), ("voltage", "1e999"), ("voltage", "9" * 5000)]
)
def test_text_of_another_type_is_refused(name, text):
    with pytest.raises(Refused, match="the field"):
        templates.parse(FOUND).read({name: text})


def test_new_device_needs_the_required_fields():
    template = templates.parse(FOUND)
    with pytest.raises(Refused, match="requires the field voltage"):
        template.check_complete({"color": "red"})
    template.check_complete({"voltage": 0})
