"""The messages of gateways, and those to them."""

import pytest

from bench.server import gateway_json
from bench.server.gateway_json import AttributeRequest, EmptyList
from bench.server.json_reader import BadField, Malformed, PayloadError

NOW = 1_700_000_000_000
READERS = {
    "connect": gateway_json.read_connect,
    "disconnect": gateway_json.read_disconnect,
    "telemetry": lambda payload: gateway_json.read_telemetry(payload, NOW),
    "attributes": gateway_json.read_attributes,
    "claim": gateway_json.read_claims,
    "request": gateway_json.read_attribute_request,
    "answer": gateway_json.read_answer,
}
every_reader = pytest.mark.parametrize("read", READERS.values(), ids=READERS)


@every_reader
@pytest.mark.parametrize("payload", [b"{", b"\xff", b'{"device":"\\ud800"}', b"[" * 300 + b"]" * 300, b'{"a":1}x'])
def test_what_is_no_json_is_malformed(read, payload):
    with pytest.raises(Malformed):
        read(payload)


@every_reader
@pytest.mark.parametrize("payload", [b"", b"null", b"1", b'"a"', b"[]", b"[{}]", b"{}", b'{"device":null}'])
def test_json_of_another_form_is_a_bad_field(read, payload):
    with pytest.raises(BadField):
        read(payload)


@pytest.mark.parametrize(
    "payload",
    [b'{"device":""}', b'{"device":{}}', b'{"device":["a","b"]}', b'{"device":"a","type":{}}', b'{"type":"t"}'],
)
def test_connect_needs_a_name_and_no_strange_type(payload):
    with pytest.raises(BadField):
        gateway_json.read_connect(payload)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b'{"device":"a"}', ("a", "default")),
        (b'{"device":"a","type":null}', ("a", "default")),
        (b'{"device":"a","type":""}', ("a", "")),
        (b'{"device":["a"],"type":7}', ("a", "7")),
        (b"{device:' a ',type:t}", (" a ", "t")),
    ],
)
def test_connect_is_read(payload, expected):
    assert gateway_json.read_connect(payload) == expected
    assert gateway_json.read_disconnect(payload) == expected[0]


def test_telemetry_of_each_device_is_read_by_itself():
    found = gateway_json.read_telemetry(
        b'{"a":[{"ts":5,"values":{"x":1}},{"y":"2.5"}],"left out":{"x":1},"bad":[1],"worse":[{"x":1},[]],'
        b'"empty":[],"bad time":[{"ts":"no","values":{}}],"nothing":[{}]}',
        NOW,
    )
    assert found["a"] == [(5, "x", 1), (NOW, "y", 2.5)]
    assert found["nothing"] == []
    assert isinstance(found["empty"], EmptyList)
    assert all(isinstance(found[name], PayloadError) for name in ("bad", "worse", "bad time"))
    assert "left out" not in found


@pytest.mark.parametrize(
    ("metadata", "good"),
    [
        ('{"connector":"modbus","receivedTs":1,"publishedTs":"2"}', True),
        ('{"connector":"modbus","receivedTs":1}', False),
        ('{"receivedTs":1,"publishedTs":2}', False),
        ('{"connector":"modbus","receivedTs":"a","publishedTs":2}', False),
        ("null", False),
        ("1", False),
    ],
)
def test_metadata_is_checked_and_taken_out(metadata, good):
    (part,) = gateway_json.read_telemetry(f'{{"a":[{{"x":1,"metadata":{metadata}}}]}}'.encode(), NOW).values()
    assert part == [(NOW, "x", 1)] if good else isinstance(part, PayloadError)


def test_attributes_and_claims_of_each_device_are_read_by_themselves():
    attributes = gateway_json.read_attributes(b'{"a":{"x":"1","n":null},"bad":{"x":1e2000},"left out":[1],"none":{}}')
    assert (attributes["a"], attributes["none"], list(attributes)) == ({"x": 1}, {}, ["a", "bad", "none"])
    assert isinstance(attributes["bad"], PayloadError)
    claims = gateway_json.read_claims(b'{"a":{"secretKey":"s","durationMs":5},"b":{},"bad":{"secretKey":{}}}')
    assert (claims["a"], claims["b"]) == (("s", 5), ("", None))
    assert isinstance(claims["bad"], PayloadError)


@pytest.mark.parametrize(
    "payload",
    [
        b'{"device":"a","client":true,"key":"k"}',
        b'{"id":1,"client":true,"key":"k"}',
        b'{"id":1,"device":"a","key":"k"}',
        b'{"id":1,"device":"a","client":true}',
        b'{"id":1,"device":"a","client":true,"keys":"k"}',
        b'{"id":1,"device":"a","client":true,"keys":[null]}',
        b'{"id":1,"device":"a","client":true,"key":{}}',
        b'{"id":2147483648,"device":"a","client":true,"key":"k"}',
        b'{"id":"x","device":"a","client":true,"key":"k"}',
        b'{"id":true,"device":"a","client":true,"key":"k"}',
    ],
)
def test_attribute_request_that_lacks_something_is_a_bad_field(payload):
    with pytest.raises(BadField):
        gateway_json.read_attribute_request(payload)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b'{"id":1,"device":"a","client":true,"key":"k"}', AttributeRequest(1, "a", True, ["k"])),
        (b'{"id":"-7","device":"a","client":"TRUE","keys":["k","l","k"]}', AttributeRequest(-7, "a", True, ["k", "l"])),
        (b'{"id":1.9,"device":"a","client":1,"keys":[]}', AttributeRequest(1, "a", False, [])),
        (b'{"id":1,"device":"a","client":false,"key":"k","keys":5}', AttributeRequest(1, "a", False, ["k"])),
    ],
)
def test_attribute_request_is_read(payload, expected):
    assert gateway_json.read_attribute_request(payload) == expected


@pytest.mark.parametrize(
    ("keys", "groups", "expected"),
    [
        (["k"], ({"k": 1}, {}), b'{"id":3,"device":"a","value":1}'),
        (["k"], ({}, {}), b'{"id":3,"device":"a"}'),
        (["k", "l"], ({}, {"k": 1}), b'{"id":3,"device":"a","values":{"k":1}}'),
        (["k", "l"], ({"k": 1, "l": {"m": [2.0]}}, {}), b'{"id":3,"device":"a","values":{"k":1,"l":{"m":[2.0]}}}'),
        ([], ({"k": 1, "l": 2}, {"m": 3, "n": 4}), b'{"id":3,"device":"a","values":{"k":1,"l":2,"m":3,"n":4}}'),
    ],
)
def test_attributes_are_written_as_one_value_or_several(keys, groups, expected):
    assert gateway_json.write_attributes(AttributeRequest(3, "a", True, keys), *groups) == expected


@pytest.mark.parametrize(
    "payload",
    [b'{"device":"a","id":1}', b'{"device":"a","data":1}', b'{"id":1,"data":1}', b'{"device":"a","id":"","data":1}'],
)
def test_answer_that_lacks_something_is_a_bad_field(payload):
    with pytest.raises(BadField):
        gateway_json.read_answer(payload)


@pytest.mark.parametrize(
    ("data", "expected"), [("null", None), ("1.50", 1.5), ('"t"', "t"), ('{"ok":[true]}', {"ok": [True]})]
)
def test_answer_is_read(data, expected):
    assert gateway_json.read_answer(f'{{"device":"a","id":5,"data":{data}}}'.encode()) == ("a", 5, expected)


def test_messages_to_gateways_are_written_as_thingsboard_writes_them():
    assert gateway_json.write_call("a", 0, "m", None) == b'{"device":"a","data":{"id":0,"method":"m","params":null}}'
    assert gateway_json.write_update("a", {"k": 1}, []) == b'{"device":"a","data":{"k":1}}'
    assert gateway_json.write_update("a", {}, ["k"]) == b'{"device":"a","data":{"deleted":["k"]}}'
