"""Lenient JSON: what Gson takes, what it refuses, and the value it makes of it.

The tables hold what Gson 2.13.2 itself answers.
"""

import contextlib
import json
import re
import string
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.server import json_reader, lenient_json


def number(text):
    """A number, told from the text that unquoted words are."""
    return ("number", text)


def read(text):
    return lenient_json.parse(text, number)


REFUSED = [
    # not whole
    "{",
    "[",
    "{a",
    "{a:",
    "{a:1",
    "[1",
    "'",
    '"',
    "'a",
    '"a\\"',
    "'a\"",
    "{a:[}",
    "[{]",
    "[}",
    "}",
    "]",
    ",",
    ";",
    ":",
    "=",
    # names and what stands behind them
    "{a}",
    "{a:}",
    "{a 1}",
    "{a:1,}",
    "{a:1;}",
    "{,}",
    "{;a:1}",
    "{=1}",
    "{:1}",
    "{{}:1}",
    "{[a]:1}",
    "{a:,b:1}",
    "{a:b:c}",
    "{a==1}",
    "{a:=1}",
    "{a=>=1}",
    "{a>1}",
    "{a,b}",
    "{a:1 b:2}",
    "{a:1:b:2}",
    # between and behind values
    "[1 2]",
    "[a b]",
    "['a' 'b']",
    "[1:2]",
    "[1=2]",
    "{a:hello world}",
    "1 2",
    "{}x",
    "{}{}",
    "{},",
    "[];",
    "{} null",
    "{}\0",
    "{}\f",
    "{a:1}//x",
    "{a:1}#",
    "1/**/",
    "a//b",
    "a#b",
    # comments
    "/",
    "/ /",
    "/*",
    "/*/",
    "/* *",
    "[1/2]",
    "[1/*/]",
    "{a: /}",
    "[/**/*/]",
    "[//]",
    "[#]",
    # characters that end a word and are no space
    "\f1",
    "[\f]",
    "[1\f]",
    "{a\f:1}",
    "[a\\b]",
    "\\a",
    # escapes
    r'"\0"',
    r'"\x41"',
    r'"\a"',
    r'"\u12"',
    r'"\u12g4"',
    r'"\u 123"',
    r'"\u+123"',
    r'"\U0041"',
    r"'\v'",
    '"\\\r"',
    '"\\\t"',
    '"\\é"',
    # the prefix
    ")]}'",
    ")]}'{}",
    ")]}'\r\n{}",
    ")]}'\n)]}'\n{}",
    "{})]}'\n",
    # depth
    "[" * 256 + "]" * 256,
    "{a:" * 256 + "1" + "}" * 256,
    "[{a:" * 128 + "}]" * 128,
]

# Gson reads these; a database could not store them.
HALF_PAIRS = [r'"\ud800"', r"'\uDC00x'", r"{'\udfff':1}", r'"\ude00\ud83d"', r'"\ud83d\n\ude00"']

READ = [
    # nothing
    ("", None),
    (" \t\r\n", None),
    ("// x", None),
    ("/* x */ # y", None),
    (")]}'\n", None),
    # words
    ("hello", "hello"),
    ("[hello]", ["hello"]),
    ("{a:hello}", {"a": "hello"}),
    ("a'b", "a'b"),
    ('a"b', 'a"b'),
    ("[a.b-c|d>e!]", ["a.b-c|d>e!"]),
    ("\0", "\0"),
    ("[\v]", ["\v"]),
    ("[\xa0]", ["\xa0"]),
    ("[\u2028]", ["\u2028"]),
    ("[é漢😀]", ["é漢😀"]),
    ("\ufeff1", "\ufeff1"),
    ("{a: >1}", {"a": ">1"}),
    ("{a= >1}", {"a": ">1"}),
    # words that mean something
    ("[true,TRUE,True,tRuE]", [True, True, True, True]),
    ("[false,FALSE,fAlSe]", [False, False, False]),
    ("[null,NULL,nUlL]", [None, None, None]),
    ("[truee,tru,nul,nulll,true1,true.]", ["truee", "tru", "nul", "nulll", "true1", "true."]),
    ("['true',\"null\"]", ["true", "null"]),
    ("{true:1,NULL:2}", {"true": number("1"), "NULL": number("2")}),
    # numbers
    ("[1,-1,0,-0]", [number(each) for each in ("1", "-1", "0", "-0")]),
    ("1.50", number("1.50")),
    ("[1e5,1E+5,1e-05,1.5e3]", [number(each) for each in ("1e5", "1E+5", "1e-05", "1.5e3")]),
    ("1E400", number("1E400")),
    ("9223372036854775808", number("9223372036854775808")),
    ("{1:2}", {"1": number("2")}),
    ("[1/**/,2#x\n]", [number("1"), number("2")]),
    # what is not quite a number
    ("[007,00,-01,+1,.5,-.5,1.,1.e5]", ["007", "00", "-01", "+1", ".5", "-.5", "1.", "1.e5"]),
    ("[1e,1e+,-,--1,1.2.3,0x10,1_000,12abc]", ["1e", "1e+", "-", "--1", "1.2.3", "0x10", "1_000", "12abc"]),
    ("[NaN,Infinity,-Infinity]", ["NaN", "Infinity", "-Infinity"]),
    ("[\u0661,\uff11]", ["\u0661", "\uff11"]),
    # quotes and escapes
    ("''", ""),
    ("{'':''}", {"": ""}),
    ("'a\"b'", 'a"b'),
    ('"a\'b"', "a'b"),
    (r"'a\'b'", "a'b"),
    (r'"a\'b"', "a'b"),
    (r"'a\"b'", 'a"b'),
    (r"'\t\b\n\r\f\\\/'", "\t\b\n\r\f\\/"),
    (r"'\u0041\u00e9\u00E9\u0000'", "Aéé\0"),
    (r"'\ud83d\ude00'", "\U0001f600"),
    (r"'\uD83D\uDE00\ud83d\ude00😀'", "\U0001f600" * 3),
    (r"'\\ud800'", r"\ud800"),
    ("'a\\\nb'", "a\nb"),
    ("'a\nb\tc\0d\x01'", "a\nb\tc\0d\x01"),
    ("['//x' // y\n]", ["//x"]),
    ("'/*x*/'", "/*x*/"),
    # separators
    ("{a:1;b=2,c=>3}", {"a": number("1"), "b": number("2"), "c": number("3")}),
    ("{'a'='b';\"c\"=>\"d\"}", {"a": "b", "c": "d"}),
    ("{a=>>1}", {"a": ">1"}),
    ("{a\n=\n1\n;\nb\n:\n2\n}", {"a": number("1"), "b": number("2")}),
    ("[1;2,3]", [number("1"), number("2"), number("3")]),
    # list elements left out
    ("[1,,2]", [number("1"), None, number("2")]),
    ("[1,]", [number("1"), None]),
    ("[,1]", [None, number("1")]),
    ("[,]", [None, None]),
    ("[;]", [None, None]),
    ("[,;,]", [None, None, None, None]),
    ("[[,],{a:[,]}]", [[None, None], {"a": [None, None]}]),
    ("[]", []),
    ("{}", {}),
    # doubled names: the last value, in the first place
    ("{a:1,b:2,'a':3}", {"a": number("3"), "b": number("2")}),
    ('{a:1,"a":{b:1,b:null}}', {"a": {"b": None}}),
    # comments
    ("#x\n{//y\r\na/*:*/:#]\r1/**/}", {"a": number("1")}),
    ("/***/[/* /* */1/*//*/]", [number("1")]),
    ("[1//]\n]", [number("1")]),
    ("/*\n*/ 1", number("1")),
    # the prefix
    (")]}'\n{}", {}),
    (" /*c*/\n)]}'\n/*d*/[1]", [number("1")]),
    # what stands behind
    ("{} \t\r\n", {}),
    ("null x", None),
    ("null}", None),
    ("NULL//x", None),
    ("null\0", "null\0"),
]


@pytest.mark.parametrize("text", REFUSED)
def test_what_gson_refuses_is_refused(text):
    with pytest.raises(ValueError, match=r"wanted at character \d+$|^nested more than 255 deep$"):
        read(text)
    with pytest.raises(json_reader.Malformed):
        json_reader.parse(text.encode())


@pytest.mark.parametrize("text", HALF_PAIRS)
def test_half_a_surrogate_pair_is_refused(text):
    with pytest.raises(ValueError, match=r"half a surrogate pair is wanted at character \d+$"):
        read(text)
    with pytest.raises(json_reader.Malformed):
        json_reader.parse(text.encode())


@pytest.mark.parametrize(
    "secret", ["'geheim", "{geheim}", "geheim geheim", r"'geheim\x'", r"'geheim\ud800'", "[geheim:1]"]
)
def test_error_tells_the_place_and_not_the_text(secret):
    with pytest.raises(ValueError) as caught:
        read(secret)
    assert "character" in str(caught.value)
    assert "geheim" not in str(caught.value)
    with pytest.raises(json_reader.Malformed) as refused:
        json_reader.parse(secret.encode())
    assert "geheim" not in str(refused.value)
    assert refused.value.__suppress_context__


@pytest.mark.parametrize(("text", "value"), READ)
def test_text_is_read_as_gson_reads_it(text, value):
    found = read(text)
    assert (found, repr(found)) == (value, repr(value))
    if not text.startswith("\ufeff"):
        assert repr(json_reader.parse(text.encode(), number)) == repr(value)


def test_names_keep_the_place_of_the_first_of_them():
    assert list(read("{a:1,b:2,'a':3}")) == ["a", "b"]


def test_deepest_nesting_that_is_allowed_is_read():
    assert read("[" * 255 + "]" * 255) == json.loads("[" * 255 + "]" * 255)
    value = read("{a:" * 255 + "x" + "}" * 255)
    for _ in range(255):
        value = value["a"]
    assert value == "x"


def test_wide_is_not_deep():
    assert read("[" + "[],{}," * 1000 + "1]") == [[], {}] * 1000 + [number("1")]


@pytest.mark.parametrize("character", [chr(code) for code in range(0x21)])
def test_only_four_characters_are_space(character):
    if character in " \t\r\n":
        assert read(f"{character}[{character}1{character},{character}2]{character}") == [number("1"), number("2")]
    elif character == "\f":
        with pytest.raises(ValueError):
            read(f"[{character}]")
    else:
        assert read(f"[{character}]") == [character]


@pytest.mark.parametrize("character", string.printable)
def test_every_escape_is_one_that_exists_or_is_refused(character):
    known = {
        "t": "\t",
        "b": "\b",
        "n": "\n",
        "r": "\r",
        "f": "\f",
        "\n": "\n",
        "'": "'",
        '"': '"',
        "\\": "\\",
        "/": "/",
    }
    for quote in "\"'":
        text = f"{quote}\\{character}{quote}"
        if character in known:
            assert read(text) == known[character]
        else:
            with pytest.raises(ValueError):
                read(text)


# Values of every kind, and the ways to write them.

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
WORDS = st.text("abe.+-01NTtrue'\"\\/#=;,:[]{}\u00e9\U0001f600 ", max_size=6)
VALUES = st.recursive(
    SCALARS | WORDS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5) | WORDS, inner, max_size=5),
    max_leaves=20,
)


@given(VALUES, st.booleans(), st.sampled_from([None, 0, 1, "\t"]))
def test_strict_json_is_read_the_same_both_ways(value, ascii_only, indent):
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    expected = json.loads(text, parse_int=number, parse_float=number)
    assert repr(read(text)) == repr(json_reader.parse(text.encode(), number)) == repr(expected)


@given(VALUES, st.randoms(use_true_random=False))
def test_value_is_the_same_however_loosely_it_is_written(value, random):
    text = random.choice(["", ")]}'\n"]) + space(random) + loose(value, random) + random.choice(["", " ", "\n"])
    assert json.dumps(lenient_json.parse(text, json.loads)) == json.dumps(value)


def loose(value, random, *, in_long_list=False):
    """A value, written in one of the ways that are allowed."""
    if isinstance(value, dict):
        members = (
            loose_text(name, random, bare=is_bare)
            + space(random)
            + random.choice([":", "= ", "=>"])
            + space(random)
            + loose(member, random)
            for name, member in value.items()
        )
        return "{" + space(random) + joined(members, random) + "}"
    if isinstance(value, list):
        elements = (loose(each, random, in_long_list=len(value) > 1) for each in value)
        return "[" + space(random) + joined(elements, random) + "]"
    if isinstance(value, str):
        return loose_text(value, random, bare=lambda text: is_bare(text) and not means_something(text))
    if value is None and in_long_list and random.random() < 0.5:
        return ""
    text = json.dumps(value)
    if value is None or isinstance(value, bool):
        return "".join(random.choice([str.lower, str.upper])(each) for each in text)
    return text


def loose_text(text, random, *, bare):
    quoted = json.dumps(text, ensure_ascii=random.random() < 0.5)
    ways = [quoted, "'" + quoted[1:-1].replace("'", "\\'") + "'"]
    return random.choice([*ways, text] if bare(text) else ways)


def joined(parts, random):
    text = ""
    for at, part in enumerate(parts):
        text += (random.choice(",;") + space(random) if at else "") + part + space(random)
    return text


def space(random):
    return random.choice(["", "", " ", "\n", "\t", "\r", "/* ] */", "// }\n", "# ,\r", "/**/ /***/"])


def is_bare(text):
    return bool(text) and text[0] not in "\"'" and not set(text) & set("/\\;#={}[]:, \t\f\r\n")


def means_something(text):
    return text.lower() in {"true", "false", "null"} or re.fullmatch(
        r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", text, re.ASCII
    )


# Text that means no good.

PIECES = st.lists(
    st.sampled_from(
        [*string.printable, *"\0\ufeffé😀", "//", "/*", "*/", "=>", ")]}'\n", "null", "TRUE", "1.5e3", "\\u", "\\ud83d"]
    )
    | st.text(max_size=3)
).map("".join)


@given(st.text() | PIECES)
def test_any_text_is_read_or_refused_and_nothing_else(text):
    reason = refusal(text)
    assert reason is None or re.search(r"wanted at character \d+$", reason)


def refusal(text):
    try:
        read(text)
    except ValueError as error:
        return str(error)
    return None


@given(st.text() | PIECES | VALUES.map(json.dumps).map(lambda text: text.replace('"', "")))
def test_text_is_read_the_same_in_large_steps_and_in_small_ones(text):
    """Simple parts are read at once, others character by character."""

    def outcome():
        try:
            return read(text)
        except ValueError as error:
            return str(error)

    at_once = outcome()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lenient_json._Reader, "_simple_parts", lambda _reader, _holder: None)
        assert outcome() == at_once


@given(st.binary() | PIECES.map(str.encode))
def test_any_payload_is_read_or_malformed_and_nothing_else(payload):
    with contextlib.suppress(json_reader.Malformed):
        json_reader.parse(payload)


HOSTILE = [
    "[",
    "{a:",
    "[{a:",
    "[,",
    ",",
    "[1,",
    "{a=1;",
    "a",
    "1",
    "-",
    "1.",
    "1e",
    "'",
    '"',
    "\\",
    "'\\",
    "'\\'",
    "\\u0041",
    "\\ud83d",
    "/",
    "/*",
    "//",
    "// \n",
    "/**/",
    "*/",
    "/*/",
    "#",
    "#\n",
    " ",
    "\n",
    "\f",
    ")]}'\n",
    "true",
    "null ",
    "=",
    "=>",
    "]",
    "}",
    "\0",
]


@pytest.mark.parametrize("before", ["", "[", "[[],", "{a:", "'", '"', "/*", "//", "{'", '{a:"', "[1,"])
@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_text_takes_steps_in_proportion_to_its_length(before, piece):
    for after in ("", "x", "'", "]", "*/", "\n1"):
        short, long = (steps(before + piece * times + after) for times in (500, 1000))
        assert long <= 2 * short + 20


def steps(text):
    """The calls it takes to read a text or refuse it, those of the regular expressions included."""
    calls = 0

    def count(_frame, event, _argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        refusal(text)
    finally:
        sys.setprofile(before)
    return calls


@pytest.mark.parametrize("before", ["", "[", "'", "/*", "{a:"])
@pytest.mark.parametrize("piece", HOSTILE)
def test_no_pattern_passes_over_hostile_text_more_than_once(before, piece):
    """A second pass for each character of these would take hours."""
    text = before + piece * (1_000_000 // len(piece)) + "\n\f"
    with pytest.raises(ValueError):
        read(text if not text.startswith("null") else "[" + text)
