"""The JSON of the device API: what the readers take, what they refuse, and as which kind of error."""

import json

import pytest

from bench.registry.credentials import access_token, mqtt_basic, x509
from bench.registry.provisioning import ProvisionOutcome, Status
from bench.server import device_json, json_reader

SECRET = "do-not-repeat-me"
NOW = 1_700_000_000_000


def request(**fields):
    body = {"provisionDeviceKey": "key", "provisionDeviceSecret": SECRET, **fields}
    return device_json.read_request(
        json.dumps({key: value for key, value in body.items() if value is not ...}).encode()
    )


def request_text(fields):
    return device_json.read_request(b'{"provisionDeviceKey":"key","provisionDeviceSecret":"secret",' + fields + b"}")


def series(text):
    return device_json.read_series(text.encode(), NOW)


def value(text):
    """The stored value of a value in telemetry."""
    ((ts, key, found),) = series('{"k":' + text + "}")
    assert (ts, key) == (NOW, "k")
    attribute = device_json.read_attributes(b'{"k":%s}' % text.encode())["k"]
    assert (attribute, type(attribute)) == (found, type(found))
    return found


# What is no JSON.

NO_JSON = {
    "nothing": b"",
    "space": b" \n",
    "comment": b"// {}",
    "null, and more": b"null {}",
    "word": b"hello",
    "quoted": b"'{}'",
    "open object": b"{",
    "open text": b'{"a":"b',
    "no value": b'{"a":}',
    "trailing comma": b'{"a":1,}',
    "trailing data": b'{"a":1}x',
    "two objects": b"{}{}",
    "two words": b'{"a":b c}',
    "open comment": b'{"a":1/*}',
    "comment behind it": b'{"a":1}//',
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
    with pytest.raises(json_reader.Malformed):
        device_json.read_request(payload)
    with pytest.raises(json_reader.Malformed):
        device_json.read_series(payload, NOW)
    with pytest.raises(json_reader.Malformed):
        device_json.read_attributes(payload)
    with pytest.raises(json_reader.Malformed):
        device_json.read_rotation(payload)
    with pytest.raises(json_reader.Malformed):
        device_json.read_attribute_request(payload)
    with pytest.raises(json_reader.Malformed):
        device_json.read_rpc_call(payload)
    if payload:
        with pytest.raises(json_reader.Malformed):
            device_json.read_claim(payload)


@pytest.mark.parametrize("payload", [b"[]", b"null", b"1", b"true", b'"text"', b"[{}]", b'["provisionDeviceKey"]'])
def test_request_that_is_no_object_is_malformed(payload):
    with pytest.raises(json_reader.Malformed):
        device_json.read_request(payload)


# A request's fields.


@pytest.mark.parametrize("missing", ["provisionDeviceKey", "provisionDeviceSecret"])
def test_request_without_key_or_secret_names_the_field_and_no_value(missing):
    with pytest.raises(json_reader.BadField) as caught:
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
        with pytest.raises(json_reader.BadField):
            request(**{name: bad})


@pytest.mark.parametrize("name", [*FIELDS, "credentialsType", "gateway"])
def test_list_of_another_size_than_one_is_malformed(name):
    for bad, size in (([], 0), (["a", "b"], 2), ([[]], 0), ([[1, 2, 3]], 3)):
        with pytest.raises(json_reader.Malformed, match=f"Array must have size 1, but has size {size}$"):
            request(**{name: bad})


@pytest.mark.parametrize("bad", ["", "access_token", "ACCESS_TOKEN ", "BASIC", "0", 0, True])
def test_unknown_credentials_type_is_a_bad_field(bad):
    with pytest.raises(json_reader.BadField, match=r"^credentialsType is not one of ACCESS_TOKEN,"):
        request(credentialsType=bad)


def test_first_field_that_is_wrong_decides_the_error():
    with pytest.raises(json_reader.BadField):
        request(deviceName=None, token=[])
    with pytest.raises(json_reader.BadField):
        request(credentialsType="?", token=[])
    with pytest.raises(json_reader.Malformed):
        request(token=[], password=None)
    with pytest.raises(json_reader.Malformed):
        request(hash=[], provisionDeviceKey=...)
    with pytest.raises(json_reader.BadField):
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
        found = getattr(device_json.read_request(body), attribute)
        assert (found, type(found)) == (read, str)


@pytest.mark.parametrize(
    ("written", "read"),
    [(b"true", True), (b'"TRUE"', True), (b'["True"]', True), (b"false", False), (b'"yes"', False), (b"1", False)],
)
def test_gateway_is_read_as_java_parses_booleans(written, read):
    assert request_text(b'"gateway":' + written).gateway is read


def test_request_with_nothing_but_key_and_secret_has_the_defaults():
    requested = request()
    assert (requested.key, requested.secret) == ("key", SECRET)
    assert (requested.device_name, requested.credentials_type, requested.token, requested.gateway) == (
        "",
        "ACCESS_TOKEN",
        "",
        False,
    )
    assert not requested.has_material


def test_request_does_not_show_its_secrets():
    assert SECRET not in repr(request(token=SECRET, password=SECRET, provisionDeviceProof=SECRET))


@pytest.mark.parametrize("odd", [None, {}, [], ["nonce"], ["a", "b"], True])
def test_field_of_the_extensions_that_is_no_text_is_ignored_as_thingsboard_ignores_it(odd):
    names = ("proof", "provisionDeviceNonce", "provisionDeviceProof")
    requested = request(**dict.fromkeys(names, odd))
    assert (requested.wants_nonce, requested.nonce, requested.proof) == (False, "", "")


def test_fields_of_the_extensions_are_read():
    requested = request(proof="nonce", provisionDeviceNonce="n", provisionDeviceProof="p")
    assert (requested.wants_nonce, requested.nonce, requested.proof) == (True, "n", "p")
    assert not any(request(proof=other).wants_nonce for other in ("", "Nonce", "nonce ", 1))


def test_byte_order_mark_is_skipped():
    assert device_json.read_request(b'\xef\xbb\xbf{"provisionDeviceKey":"k","provisionDeviceSecret":"s"}').key == "k"


def test_last_of_a_doubled_key_counts():
    assert request_text(b'"deviceName":null,"deviceName":"a","deviceName":"b"').device_name == "b"


@pytest.mark.parametrize(
    "payload",
    [
        b"{provisionDeviceKey:k,provisionDeviceSecret:s,deviceName:007}",
        b"{'provisionDeviceKey'='k';\"provisionDeviceSecret\"=>'s';deviceName='007'}\n",
        b")]}'\n# all of it\n{provisionDeviceKey:/**/k,provisionDeviceSecret:s//\n,deviceName:[007]}",
        b"\xef\xbb\xbf{provisionDeviceKey:k;provisionDeviceSecret:s;deviceName:x;deviceName:007}",
    ],
)
def test_request_is_read_in_its_lenient_forms(payload):
    requested = device_json.read_request(payload)
    assert (requested.key, requested.secret, requested.device_name) == ("k", "s", "007")


def test_word_that_is_no_number_is_read_as_its_text():
    for word in ("hello", "NaN", "-Infinity", "+1", "01", ".5", "1.", "a'b"):
        assert request_text(b"deviceName:" + word.encode()).device_name == word
    with pytest.raises(json_reader.BadField):
        request_text(b"deviceName:NULL")


def test_unknown_keys_are_ignored_and_keys_are_case_sensitive():
    requested = request(DeviceName="x", devicename="y", deviceType="z", other={"deep": [None]})
    assert requested.device_name == ""


def test_deepest_nesting_that_is_allowed_is_read():
    assert [key for _, key, _ in series('{"k":' + "[" * 254 + "]" * 254 + "}")] == ["k"]
    with pytest.raises(json_reader.Malformed):
        series('{"k":' + "[" * 255 + "]" * 255 + "}")


# Answers.


@pytest.mark.parametrize(
    ("outcome", "body"),
    [
        (
            ProvisionOutcome(status=Status.NOT_FOUND),
            b'{"errorMsg":"Provision data was not found!","status":"NOT_FOUND"}',
        ),
        (ProvisionOutcome(status=Status.FAILURE), b'{"errorMsg":"Failed to provision device!","status":"FAILURE"}'),
        (
            ProvisionOutcome(
                status=Status.SUCCESS,
                credentials=access_token('t"\\é'),
                device_name="not told",
            ),
            b'{"credentialsValue":"t\\"\\\\\xc3\xa9","credentialsType":"ACCESS_TOKEN","status":"SUCCESS"}',
        ),
        (ProvisionOutcome(status=Status.NONCE, nonce="0f-a"), b'{"nonce":"0f-a","status":"NONCE"}'),
    ],
    ids=["not found", "failure", "success", "nonce"],
)
def test_answer_is_written_with_upstream_s_keys_in_their_order(outcome, body):
    assert device_json.write_answer(outcome) == body


@pytest.mark.parametrize(
    ("own", "value"),
    [
        (
            x509("-----BEGIN CERTIFICATE-----\nAB CD\n-----END CERTIFICATE-----"),
            '"AB CD","credentialsType":"X509_CERTIFICATE"',
        ),
        (mqtt_basic("c", "", ""), '{"clientId":"c","userName":"","password":""},"credentialsType":"MQTT_BASIC"'),
        # as operators leave parts out
        (
            mqtt_basic(None, "u", None),
            '{"clientId":null,"userName":"u","password":null},"credentialsType":"MQTT_BASIC"',
        ),
    ],
    ids=["certificate", "parts that are empty", "parts that are left out"],
)
def test_answer_has_the_value_of_credentials_that_are_no_token(own, value):
    answer = device_json.write_answer(ProvisionOutcome(status=Status.SUCCESS, credentials=own))
    assert answer.decode() == f'{{"credentialsValue":{value},"status":"SUCCESS"}}'


# Telemetry and attributes.


@pytest.mark.parametrize(
    "text",
    [
        "null",
        "1",
        '"a"',
        "[1]",
        "[null]",
        "[,]",
        "[[]]",
        "[[{}]]",
        '[{"a":1},2]',
        '{"ts":1,"values":null}',
        '{"ts":1,"values":[]}',
        '{"ts":1,"values":[{}]}',
        '{"ts":1,"values":1}',
        '{"ts":1,"values":"{}"}',
        '{"ts":[],"values":{}}',
        '{"ts":[1,2],"values":{}}',
        '{"ts":[[1,null]],"values":{}}',
    ],
)
def test_telemetry_of_another_form_is_malformed(text):
    with pytest.raises(json_reader.Malformed):
        series(text)


@pytest.mark.parametrize(
    "ts",
    [
        "null",
        "{}",
        "[null]",
        "true",
        "now",
        '""',
        '"1.5"',
        '"1e3"',
        '" 1"',
        '"1_0"',
        '"0x1"',
        '"--1"',
        "NaN",
        ".5",
        "9223372036854775808",
        "-9223372036854775809",
        '"9223372036854775808"',
        "1e19",
        "1e99999",
        "1e99999999999999999999",
        "9" * 5000,
        '"' + "9" * 5000 + '"',
    ],
)
def test_ts_that_is_no_time_is_a_bad_field(ts):
    with pytest.raises(json_reader.BadField, match=r"^ts(:| is out of range$| must be a whole number$)"):
        series('{"ts":' + ts + ',"values":{"a":1}}')


@pytest.mark.parametrize(
    ("written", "ts"),
    [
        ("1700000000000", 1_700_000_000_000),
        ("-1", -1),
        ("-0", 0),
        ("1.5", 1),
        ("-1.9", -1),
        ("1.7e12", 1_700_000_000_000),
        ("1e-99", 0),
        ('"5"', 5),
        ('"+5"', 5),
        ('"-5"', -5),
        ("007", 7),
        ('"' + "0" * 5000 + '7"', 7),
        ("[5]", 5),
        ('[["5"]]', 5),
        ("9223372036854775807", (1 << 63) - 1),
        ("-9223372036854775808", -1 << 63),
    ],
)
def test_ts_is_read_as_java_reads_a_long(written, ts):
    ((found, _, _),) = series('{"ts":' + written + ',"values":{"a":1}}')
    assert (found, type(found)) == (ts, int)


def test_first_thing_wrong_in_telemetry_decides_the_error():
    with pytest.raises(json_reader.BadField):
        series('{"ts":null,"values":null}')
    with pytest.raises(json_reader.Malformed):
        series('[{"ts":1,"values":null},{"ts":null,"values":{}}]')
    with pytest.raises(json_reader.BadField):
        series('[{"ts":null,"values":{}},1]')


@pytest.mark.parametrize("text", ["[]", "null", "1", '"a"', '[{"a":1}]'])
def test_attributes_that_are_no_object_are_malformed(text):
    with pytest.raises(json_reader.Malformed):
        device_json.read_attributes(text.encode())


def test_telemetry_is_read_in_its_three_forms():
    assert series('{"a":1,"b":null}') == [(NOW, "a", 1)]
    assert series('{"ts":5,"values":{"a":1,"b":null}}') == [(5, "a", 1)]
    assert series('[{"a":1},{"ts":5,"values":{"b":2}},{}]') == [(NOW, "a", 1), (5, "b", 2)]
    assert series("{}") == series("[]") == series("[{},{}]") == series('{"ts":-1,"values":{}}') == []


def test_telemetry_is_read_in_its_lenient_forms():
    assert series("{a:hello;b=1.50,c=>'2'}") == [(NOW, "a", "hello"), (NOW, "b", 1.5), (NOW, "c", 2)]
    assert series("[{ts:5,values:{a:TRUE,b:Null}}] ") == [(5, "a", True)]
    assert series("{a:007,b:+1,c:NaN,d:1e,e:.5}") == [
        (NOW, "a", 7),
        (NOW, "b", "+1"),
        (NOW, "c", "NaN"),
        (NOW, "d", "1e"),
        (NOW, "e", 0.5),
    ]


def test_ts_or_values_alone_are_keys_like_any_other():
    assert series('{"ts":5}') == [(NOW, "ts", 5)]
    assert series('{"values":{"a":1}}') == [(NOW, "values", {"a": 1})]


def test_what_stands_beside_ts_and_values_is_ignored():
    assert series('{"a":1,"values":{"b":2},"ts":5}') == [(5, "b", 2)]


def test_every_value_of_a_key_is_kept_in_order():
    text = '[{"ts":9,"values":{"a":"new","b":1}},{"ts":5,"values":{"a":"old"}},{"ts":9,"values":{"a":"2nd"}}]'
    assert series(text) == [(9, "a", "new"), (9, "b", 1), (5, "a", "old"), (9, "a", "2nd")]


def test_last_of_a_doubled_key_counts_where_the_first_stands():
    assert series('{"a":1,"b":2,"a":3}') == [(NOW, "a", 3), (NOW, "b", 2)]
    assert series('{"ts":1,"ts":2,"values":null,"values":{"a":1}}') == [(2, "a", 1)]


def test_ts_and_values_in_attributes_are_attributes():
    assert device_json.read_attributes(b'{"ts":1,"values":{"a":2},"none":null}') == {"ts": 1, "values": {"a": 2}}


@pytest.mark.parametrize("number", ["1e1025", "-1E+99999", "1e-1025", "1.5e99999999999999999999", "1e2147483648"])
def test_number_of_too_great_an_exponent_is_a_bad_field(number):
    for text in (f'{{"k":{number}}}', f'{{"a":1,"k":{number}}}'):
        with pytest.raises(json_reader.BadField):
            series(text)
        with pytest.raises(json_reader.BadField):
            device_json.read_attributes(text.encode())


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("1", 1),
        ("-5", -5),
        ("-0", 0),
        ("9223372036854775807", 9223372036854775807),
        ("-9223372036854775808", -9223372036854775808),
        # whole, unless there is a point and no exponent
        ("1e5", 100000),
        ("1.5e3", 1500),
        ("1.0E1", 10),
        ("100e-2", 1),
        ("0e-17", 0),
        ("1e18", 1000000000000000000),
        ("1.0", 1.0),
        ("-0.0", 0.0),
        ("1.5", 1.5),
        ("15e-1", 1.5),
        ("1e-15", 1e-15),
        # a whole double from 1e7 on: upstream's transport writes it with an exponent, and its rule engine reads that
        ("9999999.0", 9999999.0),
        ("10000000.0", 10000000),
        ("-10000000.0", -10000000),
        ("1700000000.0", 1700000000),
        ("1700000000.5", 1700000000.5),
        ("9007199254740993.0", 9007199254740992),
        ("9223372036854775808.0", "9223372036854776000"),
        ("1" + "0" * 22 + ".0", "1" + "0" * 22),
        # and one decimal more than there were
        ("1e-16", "0.00000000000000010"),
        ("0.1234567890123456", 0.1234567890123456),
        # more than 64 bits, or 16 decimals
        ("9223372036854775808", "9223372036854775808"),
        ("-9223372036854775809", "-9223372036854775809"),
        ("1e19", "1" + "0" * 19),
        ("1e400", "1" + "0" * 400),
        ("-1e1024", "-1" + "0" * 1024),
        ("9" * 5000, "9" * 5000),
        ("1e-17", "0.00000000000000001"),
        ("0.30000000000000004", "0.30000000000000004"),
        ("-0.00000000000000000", "0.00000000000000000"),
        ("1e-400", "0." + "0" * 399 + "1"),
        ("1.5e-1000", "0." + "0" * 999 + "15"),
        # what upstream takes for an infinite double
        ("9" * 400 + ".5", "Infinity"),
        ("-" + "9" * 400 + ".5", "-Infinity"),
        # a number too long to be one
        ("1e" + "0" * 1024, "1e" + "0" * 1024),
        ("true", True),
        ("false", False),
    ],
)
def test_number_or_boolean_is_stored_as_upstream_has_it(written, stored):
    found = value(written)
    assert (found, type(found), str(found)) == (stored, type(stored), str(stored))


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
        ("\u0663", 3),
        ("9223372036854775807", 9223372036854775807),
        ("0009223372036854775808", "9223372036854775808"),
        ("007.12345678901234567", "7.12345678901234567"),
        ("00123456", 123456),
        ("1700000000.0", 1700000000),
        ("9" * 400 + ".5", "Infinity"),
        # PostgreSQL has no NUL: it is dropped, once it is clear that this is no number
        ("1\0", "1"),
        ("\0a\0b\0", "ab"),
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
        "0.00000000000000001",
    ],
)
def test_text_that_is_no_number_or_too_big_for_one_stays_text(text):
    assert value(json.dumps(text)) == text


def test_text_inside_an_object_or_a_list_stays_text():
    assert value('{"a":"1","b":[2,"2",2.5,null]}') == {"a": "1", "b": [2, "2", 2.5, None]}
    assert value('["007"]') == ["007"]


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("1", 1),
        ("1.0", 1.0),
        ("1e3", 1000.0),
        ("0.30000000000000004", 0.30000000000000004),
        ("9" * 1000, int("9" * 1000)),
        ("9" * 1024, "9" * 1024),
        ("1e400", "Infinity"),
        ("-1e99999999999999999999", "-Infinity"),
    ],
)
def test_number_inside_an_object_or_a_list_stays_a_number_if_it_can(written, kept):
    for text, expected in ((f"[{written}]", [kept]), (f'{{"a":[[],{{"b":{written}}}]}}', {"a": [[], {"b": kept}]})):
        assert repr(value(text)) == repr(expected)


@pytest.mark.parametrize(
    "text", ["1" * 1_000_000 + "x", "1." * 500_000, "-" + "1" * 1_000_000 + "." + "1" * 1_000_000 + "."]
)
def test_text_that_looks_like_a_number_for_long_is_seen_through_at_once(text):
    """One pass for each of its digits would take hours."""
    assert value(json.dumps(text)) == text


def test_members_of_objects_that_are_null_vanish_and_elements_of_lists_stay():
    assert value('{"x":null}') == {}
    assert value('{"x":null,"y":[null,{"z":null,"a":1}],"o":{"p":{"q":null}}}') == {
        "y": [None, {"a": 1}],
        "o": {"p": {}},
    }
    assert value("[null,{a:null},[{b:null}]]") == [None, {}, [{}]]


BAD_KEYS = ["", " ", "\t\n", "x" * 256, "😀" * 128, "a\0b", "<b>", "</b>", "<!--", "a<b", "<?x", "{{x}}", "a{{\n}}b"]


@pytest.mark.parametrize("key", BAD_KEYS)
def test_one_bad_key_drops_the_whole_message_and_of_a_list_its_element(key):
    bad = json.dumps({"good": 1, key: 2})
    assert device_json.read_attributes(bad.encode()) == {}
    assert series(bad) == series(json.dumps({"ts": 5, "values": {"good": 1, key: 2}})) == []
    assert series(f'[{{"a":1}},{bad},{{"ts":5,"values":{{"b":2}}}}]') == [(NOW, "a", 1), (5, "b", 2)]


@pytest.mark.parametrize(
    "key", ["a b", " a ", "x" * 255, "😀" * 127, "a < b", "a<", "<!", "</", "{{x", "a,b", "é", "\u00a0"]
)
def test_odd_key_is_stored(key):
    assert device_json.read_attributes(json.dumps({key: 1}).encode()) == {key: 1}
    assert series(json.dumps({key: 1})) == [(NOW, key, 1)]


def test_bad_key_of_what_is_null_is_none():
    assert series('{"":null,"a":1}') == [(NOW, "a", 1)]


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ('"00123456"', 123456),
        ('"1.10"', 1.1),
        ('".5"', 0.5),
        ('"-0"', 0),
        ('"1e5"', "1e5"),
        ('"+5"', "+5"),
        ('"1,5"', "1,5"),
        ("1e3", 1000),
        ("1700000000.0", 1700000000.0),  # cast once, where a device's values are cast twice
        ("9223372036854775808", "9223372036854775808"),
        ('{"x":null,"y":"7"}', {"x": None, "y": "7"}),
        ("true", True),
    ],
)
def test_value_of_an_operator_is_cast_once(written, stored):
    ((ts, key, found),) = device_json.read_operator_series(b'{"k":%s,"none":null}' % written.encode(), NOW)
    assert (ts, key, repr(found)) == (NOW, "k", repr(stored))


def test_what_is_read_can_be_written_and_read_again():
    for text in ("1e400", "9" * 5000, "[1e400,-1e-400]", '{"a":' + "9" * 30 + "}"):
        assert json.loads(json.dumps(value(text))) == value(text)


# Attributes that are asked for, and told.


@pytest.mark.parametrize("text", ["", "null", "[]", '"a"', "1"])
def test_attribute_request_that_is_no_object_is_malformed(text):
    with pytest.raises(json_reader.Malformed):
        device_json.read_attribute_request(text.encode())


@pytest.mark.parametrize("bad", ["null", "{}", "[]", '["a","b"]', "[null]"])
@pytest.mark.parametrize("name", ["clientKeys", "sharedKeys"])
def test_attribute_request_for_what_is_no_text_is_malformed(name, bad):
    with pytest.raises(json_reader.Malformed):
        device_json.read_attribute_request(b'{"%s":%s}' % (name.encode(), bad.encode()))


@pytest.mark.parametrize(
    ("text", "client", "shared"),
    [
        ("{}", None, None),
        ('{"clientkeys":"a","other":null}', None, None),
        ('{"clientKeys":"a,b"}', ["a", "b"], None),
        ('{"sharedKeys":"c"}', None, ["c"]),
        ('{"clientKeys":"a,b","sharedKeys":"c"}', ["a", "b"], ["c"]),
        ('{"clientKeys":"a, b ,\\tc"}', ["a", " b ", "\tc"], None),
        ('{"clientKeys":"a,,b","sharedKeys":",c"}', ["a", "", "b"], ["", "c"]),
        ('{"clientKeys":"a,,,","sharedKeys":"c,"}', ["a"], ["c"]),
        ('{"clientKeys":""}', [""], None),
        ('{"clientKeys":",","sharedKeys":",,,"}', None, None),
        ('{"clientKeys":",","sharedKeys":"c"}', None, ["c"]),
        ('{"clientKeys":12,"sharedKeys":["c,d"]}', ["12"], ["c", "d"]),
        ("{clientKeys:'a,b'}", ["a", "b"], None),
    ],
)
def test_attribute_request_is_read(text, client, shared):
    assert device_json.read_attribute_request(text.encode()) == (client, shared)


@pytest.mark.parametrize(
    ("client", "shared", "body"),
    [
        ({}, {}, b"{}"),
        ({"a": 1}, {}, b'{"client":{"a":1}}'),
        ({}, {"b": None, "c": [1.5, "x"]}, b'{"shared":{"b":null,"c":[1.5,"x"]}}'),
        ({"a": True}, {"a": {"b": "\u00e9"}}, b'{"client":{"a":true},"shared":{"a":{"b":"\xc3\xa9"}}}'),
    ],
)
def test_attributes_are_written_by_group(client, shared, body):
    assert device_json.write_attributes(client, shared) == body


@pytest.mark.parametrize(
    ("changed", "deleted", "body"),
    [
        ({}, [], b"{}"),
        ({"a": 1, "b": "x"}, [], b'{"a":1,"b":"x"}'),
        ({}, ["a", "b"], b'{"deleted":["a","b"]}'),
        ({"a": 1}, ["b"], b'{"a":1,"deleted":["b"]}'),
        ({"deleted": 1}, [], b'{"deleted":1}'),
        ({"deleted": 1}, ["b"], b'{"deleted":["b"]}'),
    ],
)
def test_update_is_written_flat(changed, deleted, body):
    assert device_json.write_update(changed, deleted) == body


# Claiming.


@pytest.mark.parametrize("text", [" ", "null", "[]", "[{}]", '"secret"', "1"])
def test_claim_that_is_no_object_is_malformed(text):
    with pytest.raises(json_reader.Malformed):
        device_json.read_claim(text.encode())


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('{"secretKey":null}', json_reader.BadField),
        ('{"secretKey":{}}', json_reader.BadField),
        ('{"secretKey":[]}', json_reader.Malformed),
        ('{"durationMs":null}', json_reader.BadField),
        ('{"durationMs":{}}', json_reader.BadField),
        ('{"durationMs":true}', json_reader.BadField),
        ('{"durationMs":"soon"}', json_reader.BadField),
        ('{"durationMs":"1.5"}', json_reader.BadField),
        ('{"durationMs":1e19}', json_reader.BadField),
        ('{"durationMs":[]}', json_reader.Malformed),
        ('{"durationMs":[],"secretKey":null}', json_reader.BadField),
        ('{"durationMs":null,"secretKey":[]}', json_reader.Malformed),
    ],
)
def test_claim_with_a_field_that_is_wrong_is_refused(text, error):
    with pytest.raises(error):
        device_json.read_claim(text.encode())


@pytest.mark.parametrize(
    ("text", "secret", "duration"),
    [
        ("", "", None),
        ("{}", "", None),
        ('{"secretKey":"s","durationMs":60000}', "s", 60000),
        ('{"secretKey":12.50}', "12.50", None),
        ('{"secretKey":["s"],"durationMs":["60000"]}', "s", 60000),
        ('{"durationMs":1.9}', "", 1),
        ('{"durationMs":0.9}', "", None),
        ('{"durationMs":0}', "", None),
        ('{"durationMs":-1}', "", None),
        ("{secretKey:true;durationMs=+5}", "true", 5),
    ],
)
def test_claim_is_read(text, secret, duration):
    assert device_json.read_claim(text.encode()) == (secret, duration)


# Calls, both ways.


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", json_reader.Malformed),
        ("null", json_reader.Malformed),
        ('["method"]', json_reader.Malformed),
        ('{"method":[]}', json_reader.Malformed),
        ("{}", json_reader.BadField),
        ('{"Method":"m","params":{}}', json_reader.BadField),
        ('{"method":null}', json_reader.BadField),
        ('{"method":{"a":1}}', json_reader.BadField),
    ],
)
def test_call_without_a_method_is_refused(text, error):
    with pytest.raises(error):
        device_json.read_rpc_call(text.encode())


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ("null", json_reader.Malformed),
        ('"token"', json_reader.Malformed),
        ("[]", json_reader.Malformed),
        ('[{"token":"t"}]', json_reader.Malformed),
        ('{"token":["a","b"]}', json_reader.Malformed),
        ('{"token":null}', json_reader.BadField),
        ('{"hash":{}}', json_reader.BadField),
        ('{"credentialsType":"?"}', json_reader.BadField),
    ],
)
def test_rotation_to_what_is_no_wish_is_refused(params, error):
    with pytest.raises(error):
        device_json.read_rotation(b'{"params":%s}' % params.encode())
    with pytest.raises(json_reader.Malformed):
        device_json.read_rotation(b"{}")


def test_rotation_is_read_as_a_request_is():
    fields = b'"credentialsType":"MQTT_BASIC","token":1.50,"clientId":["c"],"username":"u","password":true,"hash":"h"'
    wish, requested = device_json.read_rotation(b'{"params":{%s,"x":1}}' % fields), request_text(fields)
    assert (wish.token, wish.client_id, wish.password) == ("1.50", "c", "true")
    assert vars(wish).items() <= vars(requested).items()


@pytest.mark.parametrize(
    ("text", "method", "params"),
    [
        ('{"method":"m"}', "m", None),
        ('{"method":"m","params":null}', "m", None),
        ('{"method":"m","params":"007"}', "m", "007"),
        ('{"method":"m","params":1.0}', "m", 1.0),
        ('{"method":"m","params":12345678901234567890}', "m", 12345678901234567890),
        ('{"method":["m"],"params":{"a":[1,"2",{"b":1e3}]},"id":5}', "m", {"a": [1, "2", {"b": 1000.0}]}),
        ('{"method":5,"params":[]}', "5", []),
        ("{method:getTime;params={}}", "getTime", {}),
    ],
)
def test_call_is_read(text, method, params):
    assert repr(device_json.read_rpc_call(text.encode())) == repr((method, params))


@pytest.mark.parametrize("payload", [b"{", b"two words", b"\xff", b'{"a":1}x'])
def test_reply_that_is_no_json_is_malformed(payload):
    with pytest.raises(json_reader.Malformed):
        device_json.read_rpc_response(payload)


@pytest.mark.parametrize(
    ("text", "reply"),
    [("", None), ("null", None), ("1", 1), ("1.50", 1.5), ('"7"', "7"), ("ok", "ok"), ('{"a":[1]}', {"a": [1]})],
)
def test_reply_is_read_whatever_it_is(text, reply):
    assert repr(device_json.read_rpc_response(text.encode())) == repr(reply)


def test_call_is_written_with_its_id_where_it_has_one():
    assert device_json.write_rpc_request(None, "m", None) == b'{"method":"m","params":null}'
    assert device_json.write_rpc_request(0, "m", {"a": [1, "x"]}) == b'{"id":0,"method":"m","params":{"a":[1,"x"]}}'
    assert device_json.write_rpc_request(None, "m", "😀") == '{"method":"m","params":"😀"}'.encode()
