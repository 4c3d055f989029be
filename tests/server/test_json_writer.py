"""JSON as devices get it: Java's doubles, Gson's escapes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.server import json_reader, json_writer


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (0.1, "0.1"),
        (-1.5, "-1.5"),
        (1e-3, "0.001"),
        (9.99e-4, "9.99E-4"),
        (1e-7, "1.0E-7"),
        (9999999.0, "9999999.0"),
        (9999999.5, "9999999.5"),
        (1e7, "1.0E7"),
        (12345678.9, "1.23456789E7"),
        (-1.7e9, "-1.7E9"),
        (1e22, "1.0E22"),
        (1.7976931348623157e308, "1.7976931348623157E308"),
        (5e-324, "5.0E-324"),
        (float("inf"), "Infinity"),
        (float("-inf"), "-Infinity"),
        (float("nan"), "NaN"),
    ],
)
def test_double_is_written_as_java_does(value, written):
    assert json_writer.double(value) == written


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_double_is_written_so_wherever_it_is(value):
    written = json_writer.double(value)
    assert json_writer.write(value).decode() == written
    assert json_writer.write([1, value, [value]]).decode() == f"[1,{written},[{written}]]"
    assert json_writer.write({"3e5": "1e5,12345678.5:0.0001", "x": value}).decode() == (
        f'{{"3e5":"1e5,12345678.5:0.0001","x":{written}}}'
    )


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_double_is_read_as_what_was_written(value):
    assert float(json_writer.double(value)) == value


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("é漢😀", '"é漢😀"'),
        ("\u2028\u2029", '"\\u2028\\u2029"'),
        ("\x00\x1f\x7f\"\\/<>&'=", '"\\u0000\\u001f\x7f\\"\\\\/<>&\'="'),
        ("\b\t\n\f\r", '"\\b\\t\\n\\f\\r"'),
        ("1.5e9 and 12345678.5", '"1.5e9 and 12345678.5"'),
        ('"1e-9"', '"\\"1e-9\\""'),
        ({"a": [1e7, 1e-9, 5, None, True], "1e9": "1e9"}, '{"a":[1.0E7,1.0E-9,5,null,true],"1e9":"1e9"}'),
        (12345678901234567890, "12345678901234567890"),
        (1e300, "1.0E300"),
    ],
)
def test_value_is_written_as_gson_does(value, written):
    assert json_writer.write(value) == written.encode()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_what_is_written_is_the_same_value(value):
    assert json.loads(json_writer.write(value)) == value


# What reads a device's answer to a call, for the caller.


NOT_STRICT = [
    "",
    " ",
    "OK",
    "{a:1}",
    "{'a':1}",
    "'ok'",
    "NaN",
    "-Infinity",
    "007",
    "-",
    "1.",
    ".5",
    "+1",
    "1x",
    "nullx",
]
NOT_STRICT += ["[1,]", "{", '"a', "1,2", "// x\n1", '{"a":"\n"}', '"\\ud800"', "[" * 300 + "]" * 300]


@pytest.mark.parametrize("text", NOT_STRICT)
def test_strict_reader_refuses_what_jackson_refuses(text):
    with pytest.raises(json_reader.Malformed):
        json_reader.strict(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("null", None),
        (" 1 ", 1),
        ("1 2", 1),
        ("-0.5e3", -500.0),
        ('{"a":[1,{"b":null}]}x', {"a": [1, {"b": None}]}),
        ('"ok"', "ok"),
        ("[]", []),
        ("1e400", "Infinity"),
        ('{"a":-1e400}', {"a": "-Infinity"}),
        ('"\\ud83d\\ude00"', "😀"),
    ],
)
def test_strict_reader_reads_json_and_ignores_what_follows(text, value):
    assert repr(json_reader.strict(text)) == repr(value)


@pytest.mark.parametrize("value", [1e-7, 12345678.5, 1.7976931348623157e308])
@pytest.mark.parametrize("pad", range(8192 - 30, 8192 + 2))
def test_double_that_lies_between_two_searches_is_written_as_java_does(value, pad):
    assert json_writer.write(["." * pad, value]) == f'["{"." * pad}",{json_writer.double(value)}]'.encode()


@pytest.mark.parametrize("count", [0, 1, 499, 500, 501, 1000, 1700])
def test_many_values_are_written_as_few_are(count):
    values = {f"é{n}": [n, 1.5, "a.b"] for n in range(count)}
    for whole in (values, {"client": values, "shared": {}}, {"a": 1, "b": {"c": values}}):
        assert json_writer.write(whole).decode() == json.dumps(whole, separators=(",", ":"), ensure_ascii=False)
