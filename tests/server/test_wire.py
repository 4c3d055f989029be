"""The JSON of the device API: what the readers take, what they refuse, and as which kind of error."""

import json

import pytest

from bench.registry import Outcome, Status
from bench.registry.credentials import access_token
from bench.server import wire

SECRET = "do-not-repeat-me"
NOW = 1_700_000_000_000


def request(**fields):
    body = {"provisionDeviceKey": "key", "provisionDeviceSecret": SECRET, **fields}
    return wire.read_request(json.dumps({key: value for key, value in body.items() if value is not ...}).encode())


def request_text(fields):
    return wire.read_request(b'{"provisionDeviceKey":"key","provisionDeviceSecret":"secret",' + fields + b"}")


def telemetry(text):
    return wire.read_telemetry(text.encode(), NOW)


def value(text):
    """What a value of telemetry is stored as."""
    (found,) = telemetry('{"k":' + text + "}").values()
    assert found[0] == NOW
    attribute = wire.read_attributes(b'{"k":%s}' % text.encode())["k"]
    assert (attribute, type(attribute)) == (found[1], type(found[1]))
    return found[1]


# What is no JSON.

NO_JSON = {
    "nothing": b"",
    "space": b" \n",
    "word": b"hello",
    "open object": b"{",
    "open text": b'{"a":"b',
    "no value": b'{"a":}',
    "trailing comma": b'{"a":1,}',
    "trailing data": b'{"a":1}x',
    "two objects": b"{}{}",
    "NaN": b'{"a":NaN}',
    "Infinity": b'{"a":-Infinity}',
    "plus": b'{"a":+1}',
    "leading zero": b'{"a":01}',
    "invalid UTF-8": b'{"a":"\xff"}',
    "overlong UTF-8": b'{"a":"\xc0\xaf"}',
    "surrogate in UTF-8": b'{"a":"\xed\xa0\x80"}',
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "two byte order marks": b"\xef\xbb\xbf\xef\xbb\xbf{}",
    "half a pair": b'{"a":"\\ud800"}',
    "half a pair, upper case": b'{"a":"\\uDC00x"}',
    "half a pair as key": b'{"\\udfff":1}',
    "pair the wrong way round": b'{"a":"\\ude00\\ud83d"}',
    "open lists": b"[" * 65536,
    "deep lists": b"[" * 256 + b"]" * 256,
    "deep objects": b'{"a":' * 256 + b"1" + b"}" * 256,
    "very deep objects": b'{"a":' * 900 + b"1" + b"}" * 900,
}


@pytest.mark.parametrize("payload", NO_JSON.values(), ids=NO_JSON)
def test_every_reader_refuses_what_is_no_json(payload):
    with pytest.raises(wire.Malformed):
        wire.read_request(payload)
    with pytest.raises(wire.Malformed):
        wire.read_telemetry(payload, NOW)
    with pytest.raises(wire.Malformed):
        wire.read_attributes(payload)


@pytest.mark.parametrize("payload", [b"[]", b"null", b"1", b"true", b'"text"', b"[{}]", b'["provisionDeviceKey"]'])
def test_request_that_is_no_object_is_malformed(payload):
    with pytest.raises(wire.Malformed):
        wire.read_request(payload)


# A request's fields.


@pytest.mark.parametrize("missing", ["provisionDeviceKey", "provisionDeviceSecret"])
def test_request_without_key_or_secret_names_the_field_and_no_value(missing):
    with pytest.raises(wire.BadField) as caught:
        request(**{missing: ..., "deviceName": "name-of-it", "token": SECRET})
    assert str(caught.value).startswith(f"Failed to find the field {missing} in JSON body {{")
    assert '"deviceName": "***"' in str(caught.value)
    assert SECRET not in str(caught.value)
    assert "name-of-it" not in str(caught.value)


FIELDS = {
    "deviceName": "device_name",
    "token": "token",
    "clientId": "client_id",
    "username": "username",
    "password": "password",
    "hash": "certificate",
    "provisionDeviceKey": "key",
    "provisionDeviceSecret": "secret",
}


@pytest.mark.parametrize("name", [*FIELDS, "credentialsType", "gateway"])
def test_field_that_is_null_or_an_object_is_a_bad_field(name):
    for bad in (None, {}, {"a": 1}, [None], [{}], [[None]]):
        with pytest.raises(wire.BadField):
            request(**{name: bad})


@pytest.mark.parametrize("name", [*FIELDS, "credentialsType", "gateway"])
def test_list_of_another_size_than_one_is_malformed(name):
    for bad, size in (([], 0), (["a", "b"], 2), ([[]], 0), ([[1, 2, 3]], 3)):
        with pytest.raises(wire.Malformed, match=f"Array must have size 1, but has size {size}$"):
            request(**{name: bad})


@pytest.mark.parametrize("bad", ["", "access_token", "ACCESS_TOKEN ", "BASIC", "0", 0, True])
def test_unknown_credentials_type_is_a_bad_field(bad):
    with pytest.raises(wire.BadField, match=r"^credentialsType is none of ACCESS_TOKEN,"):
        request(credentialsType=bad)


def test_first_field_that_is_wrong_decides_the_error():
    with pytest.raises(wire.BadField):
        request(deviceName=None, token=[])
    with pytest.raises(wire.BadField):
        request(credentialsType="?", token=[])
    with pytest.raises(wire.Malformed):
        request(token=[], password=None)
    with pytest.raises(wire.Malformed):
        request(hash=[], provisionDeviceKey=...)
    with pytest.raises(wire.BadField):
        request(provisionDeviceKey=..., gateway=[])


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (b"12", "12"),
        (b"-0", "-0"),
        (b"1.50", "1.50"),
        (b"1e5", "1e5"),
        (b"1E+400", "1E+400"),
        (b"1e99999999999999999999", "1e99999999999999999999"),
        (b"9" * 5000, "9" * 5000),
        (b"true", "true"),
        (b"false", "false"),
        (b'["one"]', "one"),
        (b"[12]", "12"),
        (b'[["deep"]]', "deep"),
        (b'""', ""),
        (b'"NaN"', "NaN"),
        (b'"a\tb\nc\x01"', "a\tb\nc\x01"),
        (b'"a\\u0000b"', "a\0b"),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b'"\\\\ud800"', "\\ud800"),
        ('"é漢😀"'.encode(), "é漢😀"),
    ],
)
def test_field_is_read_as_its_text(written, read):
    for name, attribute in FIELDS.items():
        body = b'{"provisionDeviceKey":"k","provisionDeviceSecret":"s","%s":%s}' % (name.encode(), written)
        found = getattr(wire.read_request(body), attribute)
        assert (found, type(found)) == (read, str)


@pytest.mark.parametrize(
    ("written", "read"),
    [(b"true", True), (b'"TRUE"', True), (b'["True"]', True), (b"false", False), (b'"yes"', False), (b"1", False)],
)
def test_gateway_is_read_as_java_parses_booleans(written, read):
    assert request_text(b'"gateway":' + written).gateway is read


def test_request_with_nothing_but_key_and_secret_has_the_defaults():
    asked = request()
    assert (asked.key, asked.secret) == ("key", SECRET)
    assert (asked.device_name, asked.credentials_type, asked.token, asked.gateway) == ("", "ACCESS_TOKEN", "", False)
    assert not asked.has_material


def test_request_does_not_show_its_secrets():
    assert SECRET not in repr(request(token=SECRET, password=SECRET))


def test_byte_order_mark_is_skipped():
    assert wire.read_request(b'\xef\xbb\xbf{"provisionDeviceKey":"k","provisionDeviceSecret":"s"}').key == "k"


def test_last_of_a_doubled_key_counts():
    assert request_text(b'"deviceName":null,"deviceName":"a","deviceName":"b"').device_name == "b"


def test_unknown_keys_are_ignored_and_keys_are_case_sensitive():
    asked = request(DeviceName="x", devicename="y", deviceType="z", other={"deep": [None]})
    assert asked.device_name == ""


def test_deepest_nesting_that_is_allowed_is_read():
    assert telemetry('{"k":' + "[" * 254 + "]" * 254 + "}").keys() == {"k"}
    with pytest.raises(wire.Malformed):
        telemetry('{"k":' + "[" * 255 + "]" * 255 + "}")


# Answers.


@pytest.mark.parametrize(
    ("outcome", "body"),
    [
        (Outcome(status=Status.NOT_FOUND), b'{"errorMsg":"Provision data was not found!","status":"NOT_FOUND"}'),
        (Outcome(status=Status.FAILURE), b'{"errorMsg":"Failed to provision device!","status":"FAILURE"}'),
        (
            Outcome(
                status=Status.SUCCESS,
                credentials=access_token('t"\\é'),
                device_name="not told",
            ),
            b'{"credentialsValue":"t\\"\\\\\\u00e9","credentialsType":"ACCESS_TOKEN","status":"SUCCESS"}',
        ),
    ],
    ids=["not found", "failure", "success"],
)
def test_answer_is_written_with_upstream_s_keys_in_their_order(outcome, body):
    assert wire.write_answer(outcome) == body


# Telemetry and attributes.


@pytest.mark.parametrize(
    "text",
    [
        "null",
        "1",
        '"a"',
        "[1]",
        "[null]",
        "[[]]",
        '[{"a":1},2]',
        '{"ts":1,"values":null}',
        '{"ts":1,"values":[]}',
        '{"ts":1,"values":1}',
        '{"ts":null,"values":{}}',
        '{"ts":1.5,"values":{}}',
        '{"ts":"now","values":{}}',
        '{"ts":true,"values":{}}',
        '{"ts":{},"values":{}}',
        '{"ts":9223372036854775808,"values":{}}',
        '{"ts":' + "9" * 5000 + ',"values":{}}',
    ],
)
def test_telemetry_of_another_form_is_malformed(text):
    with pytest.raises(wire.Malformed):
        telemetry(text)


@pytest.mark.parametrize("text", ["[]", "null", "1", '"a"', '[{"a":1}]'])
def test_attributes_that_are_no_object_are_malformed(text):
    with pytest.raises(wire.Malformed):
        wire.read_attributes(text.encode())


def test_telemetry_is_read_in_its_three_forms():
    assert telemetry('{"a":1,"b":null}') == {"a": (NOW, 1)}
    assert telemetry('{"ts":5,"values":{"a":1,"b":null}}') == {"a": (5, 1)}
    assert telemetry('[{"a":1},{"ts":5,"values":{"b":2}},{}]') == {"a": (NOW, 1), "b": (5, 2)}
    assert telemetry("{}") == telemetry("[]") == telemetry('{"ts":-1,"values":{}}') == {}


def test_ts_or_values_alone_are_keys_like_any_other():
    assert telemetry('{"ts":5}') == {"ts": (NOW, 5)}
    assert telemetry('{"values":{"a":1}}') == {"values": (NOW, {"a": 1})}


def test_newest_value_of_a_key_counts_wherever_it_stands():
    newest_first = '[{"ts":9,"values":{"a":"new"}},{"ts":5,"values":{"a":"old"}}]'
    assert telemetry(newest_first) == {"a": (9, "new")}
    assert telemetry('[{"ts":9,"values":{"a":"1st"}},{"ts":9,"values":{"a":"2nd"}}]') == {"a": (9, "2nd")}


def test_ts_and_values_in_attributes_are_attributes():
    assert wire.read_attributes(b'{"ts":1,"values":{"a":2},"none":null}') == {"ts": 1, "values": {"a": 2}}


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("1", 1),
        ("-5", -5),
        ("1.5", 1.5),
        ("1.0", 1.0),
        ("1e5", 100000.0),
        ("9223372036854775807", 9223372036854775807),
        ("-9223372036854775808", -9223372036854775808),
        ("9223372036854775808", "9223372036854775808"),
        ("1e400", "1e400"),
        ("-1e400", "-1e400"),
        ("1e-400", 0.0),
        ("1e99999999999999999999", "1e99999999999999999999"),
        ("1e-99999999999999999999", 0.0),
        ("9" * 5000, "9" * 5000),
        ("true", True),
        ("false", False),
    ],
)
def test_number_or_boolean_is_stored_as_what_it_is(written, stored):
    assert (value(written), type(value(written))) == (stored, type(stored))


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("1", 1),
        ("-1", -1),
        ("007", 7),
        ("-0", 0),
        ("1.50", 1.5),
        (".5", 0.5),
        ("-.5", -0.5),
        ("9223372036854775807", 9223372036854775807),
    ],
)
def test_text_that_looks_like_a_number_is_stored_as_a_number(text, stored):
    found = value(json.dumps(text))
    assert (found, type(found)) == (stored, type(stored))


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 1",
        "1 ",
        "1\n",
        "+1",
        "-",
        ".",
        "-.",
        "5.",
        "1.2.3",
        "1,5",
        "1e5",
        "1E5",
        "0x10",
        "1_000",
        "--1",
        "NaN",
        "Infinity",
        "true",
        "null",
        "one",
        "9223372036854775808",
        "9" * 400,
        "9" * 5000,
        "9" * 400 + ".5",
    ],
)
def test_text_that_is_no_number_or_too_big_for_one_stays_text(text):
    assert value(json.dumps(text)) == text


def test_text_inside_an_object_or_a_list_stays_text():
    assert value('{"a":"1","b":[2,"2",2.5,null]}') == {"a": "1", "b": [2, "2", 2.5, None]}
    assert value('["007"]') == ["007"]


def test_what_is_read_can_be_written_and_read_again():
    for text in ("1e400", "9" * 4000, "[1e400,-1e-400]", '{"a":' + "9" * 30 + "}"):
        assert json.loads(json.dumps(value(text))) == value(text)
