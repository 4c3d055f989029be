"""Operators' regular expressions: what Python finds, in bounded time."""

import re
import time
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.registry import pattern_program, patterns

ORDINARY = [
    r"(.*)\.example",
    r"(\d+)$",
    r"^(?:dev-)(\w+)$",
    r"([a-z]+?)b",
    r"(a|ab)(c|bcd)",
    r"(?i)(DEV)",
    r"(?P<x>a)\1",
    r"(?i)(a)\1",
    r"(?<=a)(b)",
    r"(?<!a)(b)",
    r"(?!a)(.)",
    r"(?=(a))a",
    r"(?>a*)(b)",
    r"(a++)b",
    r"([^a-c]+)",
    r"(?i)([^A-C]+)",
    r"(\w{2,4})x?",
    r"x*(a{0,3}?)b",
    r"(?m)^(b)$",
    r"(?s)(.+)",
    r"(\s|\S)\Z",
    r"\A(\D\W?)",
    r"\b(a)\B",
    "()",
    "(a)|b",
    "a",
]
TEXTS = [
    "press-4.example",
    "dev-12",
    "aab",
    "abcd",
    "aa",
    "aA",
    "b\nb\n",
    "",
    "AdeV",
    "aaab",
    "xxaab",
    "a\nb",
    "\u00e9B",
]

_HOSTILE = [
    "(a+)+$",
    "(a|a)*$",
    "(a|aa)+$",
    "((a*)*)*b",
    "(.*)(.*)(.*)(.*)(.*)x",
    "(x+x+)+y",
    "(?:a?){30}a{30}b",
    r"(.*)\1\1\1x",
    "(?=(a+)+b)a",
    "(?>(a+)+b)",
    r"^(([a-z])+.)+[A-Z]([a-z])+$",
    "(?:(?:(?:a{0,9}){0,9}){0,9})b",
]


def found_by_python(pattern, text):
    found = re.search(pattern, text, re.ASCII)
    return found[1] if found and found.re.groups else None


@pytest.mark.parametrize("pattern", ORDINARY)
def test_group_is_the_one_that_python_finds(pattern):
    for text in TEXTS:
        assert patterns.first_group(pattern, text) == found_by_python(pattern, text), text


_PART = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\d", r"\w", "1"])
_NONEMPTY = st.recursive(
    _PART,
    lambda parts: st.one_of(
        st.tuples(parts, parts).map("".join),
        st.tuples(parts, parts).map(lambda both: f"(?:{both[0]}|{both[1]})"),
        parts.map(lambda part: f"({part})"),
        st.tuples(parts, st.sampled_from(["+", "{1,2}", "+?", "{2}"])).map(lambda both: f"(?:{both[0]}){both[1]}"),
    ),
    max_leaves=6,
)
_PATTERNS = st.tuples(_NONEMPTY, _PART, st.sampled_from(["", "*", "?", "*?", "??"])).map(
    lambda three: f"({three[0]}){three[1]}{three[2]}"
)


@given(_PATTERNS, st.text("ab1 ", max_size=8))
def test_any_pattern_finds_what_python_finds(pattern, text):
    assert patterns.first_group(pattern, text) == found_by_python(pattern, text)


@pytest.mark.parametrize("pattern", _HOSTILE)
def test_no_pattern_takes_long(pattern):
    for text in ("a" * 1023 + "!", "ab" * 512, "x" * 1024):
        start = time.process_time()
        patterns.first_group(pattern, text)
        assert time.process_time() - start < 2  # Python's own takes longer than the sun lives


@pytest.mark.parametrize(
    "pattern",
    ["(", "[", "*", "(?P<a>x)(?P<a>y)", "(?(1)a|b)", "(?<=a*)b", "(a{1000}){1000}", "a" * 1025],
)
def test_pattern_that_cannot_be_used_is_refused(pattern):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(pattern_program.InvalidPattern):
            pattern_program.compiled(pattern)
        assert patterns.first_group(pattern, "a") is None
