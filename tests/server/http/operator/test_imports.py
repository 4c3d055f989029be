"""Bulk import: devices from CSV, each line for itself."""

import json
import queue
import uuid

import pytest

from bench.server.presence import SessionEnd
from tests.support.operators import name, new_device, new_profile, ok, refused, values
from tests.support.servers import PATIENCE_S

PATH = "/api/device/bulk_import"
JSON = {"Content-Type": "application/json"}


def columns(*types):
    return [dict(zip(("type", "key"), each.split(":"), strict=False)) for each in types]


def load(operator, file, *types, **mapping):
    """Import, and the result."""
    form = {
        "file": file,
        "mapping": {"columns": columns(*types), "delimiter": ",", "header": False, "update": False, **mapping},
    }
    return ok(operator.post(PATH, json=form))


def device(operator, device_name):
    return ok(operator.get("/api/tenant/device", params={"deviceName": device_name}))


def credentials(operator, device_name):
    return ok(operator.get(f"/api/device/{device(operator, device_name)['id']['id']}/credentials"))


def mapped(file="a", **mapping):
    return {"file": file, "mapping": {"columns": [{"type": "NAME"}], "delimiter": ",", "update": False, **mapping}}


def without(key):
    form = mapped()
    return {**form, "mapping": {each: value for each, value in form["mapping"].items() if each != key}}


BAD = {
    "nothing": {},
    "no mapping": {"file": "a"},
    "no columns": without("columns"),
    "no delimiter": without("delimiter"),
    "no word of updates": without("update"),
}
UNREADABLE = {
    "unknown column": mapped(columns=[{"type": "COLOUR"}]),
    "delimiter of two": mapped(delimiter=",,"),
    "empty delimiter": mapped(delimiter=""),
    "quote as delimiter": mapped(delimiter='"'),
    "line end as delimiter": mapped(delimiter="\n"),
    "file that is a list": mapped(["a"]),
    "NUL": mapped("a\0b"),
    "half a surrogate pair": mapped("\ud800"),
    "empty file": mapped(""),
    "file of empty lines": mapped("\r\n\n"),
}


@pytest.mark.parametrize("form", BAD.values(), ids=BAD)
def test_import_that_lacks_something_is_400(shared_operator, form):
    refused(shared_operator.post(PATH, content=json.dumps(form), headers=JSON), 400, 31)


@pytest.mark.parametrize("form", UNREADABLE.values(), ids=UNREADABLE)
def test_import_that_cannot_be_read_is_500(shared_operator, form):
    refused(shared_operator.post(PATH, content=json.dumps(form), headers=JSON), 500, 2)


def test_file_beyond_the_limit_is_413(shared_operator):
    answer = shared_operator.post(PATH, content=b"x" * ((16 << 20) + 1), headers=JSON)
    assert (answer.status_code, answer.json()) == (413, "Payload size exceeds the limit of 16777216 bytes")


def test_file_beyond_the_limit_of_other_requests_is_taken(shared_operator):
    one = name()
    result = load(shared_operator, f"{one},{'x' * 100_000}\n", "NAME", "DESCRIPTION")
    assert result == {"created": 1, "updated": 0, "errors": 0, "errorsList": []}


LINES = {
    "name": (",x", ("NAME", "LABEL"), "Device name should be specified!"),
    "blank name": (" ,x", ("NAME", "LABEL"), "Device name should be specified!"),
    "markup": ("<b>x,", ("NAME", "LABEL"), "Validation error: name is malformed"),
    "cells": ("a,b,c", ("NAME", "LABEL"), "there are 3 cells for 2 columns"),
    "label": ("a," + "x" * 256, ("NAME", "LABEL"), "Validation error: label length must be"),
    "description": ("a,<b>x", ("NAME", "DESCRIPTION"), "Validation error: additionalInfo is malformed"),
    "password": ("a,p", ("NAME", "MQTT_PASSWORD"), "Invalid device credentials: Both mqtt client id"),
    "client id and password": ("a,c,p", ("NAME", "MQTT_CLIENT_ID", "MQTT_PASSWORD"), "Invalid device credentials: "),
    "token": ("a,x\ty", ("NAME", "ACCESS_TOKEN"), "Invalid device credentials: Control characters"),
    "LwM2M": ("a,x", ("NAME", "LWM2M_CLIENT_ENDPOINT"), "Invalid device credentials: LWM2M_CLIENT_ENDPOINT is not"),
    "SNMP": ("a,x", ("NAME", "SNMP_HOST"), "Invalid device credentials: SNMP_HOST is not"),
    "key": ("a,x", ("NAME", "SERVER_ATTRIBUTE:" + "k" * 256), "Validation error: key length must be"),
    "profile": ("a," + "x" * 256, ("NAME", "TYPE"), "Validation error: type length must be"),
    "quotes": ('"a,x', ("NAME", "LABEL"), "this is not CSV"),
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_bad_line_is_explained_and_stores_nothing(server_operator, line):
    text, types, message = line
    result = load(server_operator, f"first{',' * (len(types) - 1)}\n{text}\n", *types)
    assert (result["created"], result["updated"], result["errors"]) == (1, 0, 1)
    (error,) = result["errorsList"]
    kind = "DeviceCredentials" if message.startswith("Invalid device credentials") else "Data"
    assert error.startswith(f"Line 2: {kind}ValidationException: {message}")
    assert ok(server_operator.get("/api/tenant/devices?pageSize=9&page=0"))["totalElements"] == 1
    assert "kind" not in json.dumps(ok(server_operator.get("/api/deviceProfile/names")))


def test_bad_line_spoils_no_other(shared_operator):
    good = [name() for _ in range(3)]
    file = f"NAME,TOKEN\n{good[0]},t-{good[0]}\n,x\n{good[1]},t-{good[0]}\n{good[2]},t-{good[2]}\n"
    result = load(shared_operator, file, "NAME", "ACCESS_TOKEN", header=True)
    assert (result["created"], result["errors"]) == (2, 2)
    assert result["errorsList"] == [
        "Line 3: DataValidationException: Device name should be specified!",
        "Line 4: DeviceCredentialsValidationException: Device credentials are already assigned to another device!",
    ]
    assert "t-" not in "".join(result["errorsList"])
    assert credentials(shared_operator, good[2])["credentialsId"] == f"t-{good[2]}"


def test_line_that_is_refused_leaves_a_known_device_as_it_was(shared_operator):
    made = new_device(shared_operator, label="old")
    load(shared_operator, f"{made['name']},new,bad\ttoken\n", "NAME", "LABEL", "ACCESS_TOKEN")
    assert device(shared_operator, made["name"]) == made


def test_every_column(shared_operator):
    kind, one = name("kind"), name()
    types = ["NAME", "TYPE", "LABEL", "DESCRIPTION", "IS_GATEWAY", "ACCESS_TOKEN"]
    types += ["SHARED_ATTRIBUTE:shared", "SERVER_ATTRIBUTE:server", "TIMESERIES:series", "SERVER_ATTRIBUTE:empty"]
    line = f'{one};{kind};"left; or\nright";a press;TRUE;t-{one};21.5;true;7;\n'
    assert load(shared_operator, line, *types, delimiter=";")["created"] == 1
    made = device(shared_operator, one)
    assert (made["type"], made["label"]) == (kind, "left; or\nright")
    assert made["additionalInfo"] == {"description": "a press", "gateway": True}
    assert credentials(shared_operator, one)["credentialsId"] == f"t-{one}"
    device_id = made["id"]["id"]
    assert values(shared_operator, device_id, "SHARED_SCOPE") == {"shared": 21.5}
    assert values(shared_operator, device_id, "SERVER_SCOPE") == {"server": True}
    latest = ok(shared_operator.get(f"/api/plugins/telemetry/DEVICE/{device_id}/values/timeseries"))
    assert latest["series"][0]["value"] == "7"
    profile = ok(shared_operator.get(f"/api/deviceProfile/{made['deviceProfileId']['id']}"))
    assert profile["provisionType"] == "DISABLED"


CELLS = {"7": 7, "-7": -7, "+7": 7, "7.5": 7.5, ".5": 0.5, "1,5": 1.5, "5.": 5.0, "007": 7, "08": 8, "1e3": 1000}
CELLS |= {"1.5e1": 15, "1.5e-1": 0.15, "2,0": 2.0, "1e999": "1e999", "1e-99": "1e-99", "9" * 20: "9" * 20, "TRUE": True}
CELLS |= {"False": False, "x": "x", " 7": " 7", "0x10": "0x10", "1_000": "1_000", "\u0663": 3, "NaN": "NaN", "7L": "7L"}
CELLS |= {"{'a':1}": "{'a':1}", "[1]": [1], "{a": "{a", "[x]": "[x]", "1.2.3": "1.2.3", "-": "-"}
CELLS |= {"9223372036854775807": (1 << 63) - 1, "9223372036854775808": "9223372036854775808"}


@pytest.mark.parametrize("cell", CELLS)
def test_value_is_what_it_looks_like(shared_operator, cell):
    one = name()
    load(shared_operator, f"{one};{cell}\n", "NAME", "SERVER_ATTRIBUTE:a", delimiter=";")
    value = values(shared_operator, device(shared_operator, one)["id"]["id"], "SERVER_SCOPE")["a"]
    assert (value, type(value)) == (CELLS[cell], type(CELLS[cell]))


CREDENTIALS = {
    "X.509 before all": ("ABCD,c,u,p,t", "X509_CERTIFICATE", "ABCD"),
    "MQTT before token": (",c,u,p,t", "MQTT_BASIC", '{"clientId":"c","userName":"u","password":"p"}'),
    "user name alone": (",,user,,t", "MQTT_BASIC", '{"clientId":null,"userName":"user","password":null}'),
    "token": (",,,,t", "ACCESS_TOKEN", None),
    "none": (",,,,", "ACCESS_TOKEN", None),
}


@pytest.mark.parametrize("case", CREDENTIALS.values(), ids=CREDENTIALS)
@pytest.mark.parametrize("known", [False, True])
def test_credentials_have_thingsboards_order(server_operator, case, known):
    cells, kind, value = case
    before = new_device(server_operator, name="d") and credentials(server_operator, "d") if known else None
    types = ("NAME", "X509", "MQTT_CLIENT_ID", "MQTT_USER_NAME", "MQTT_PASSWORD", "ACCESS_TOKEN")
    result = load(server_operator, f"d,{cells}\n", *types)
    assert (result["created"], result["updated"]) == ((0, 1) if known else (1, 0))
    own = credentials(server_operator, "d")
    assert (own["credentialsType"], own["credentialsValue"]) == (kind, value)
    if not any(cells.split(",")):
        assert own == before if known else len(own["credentialsId"]) == 20


@pytest.mark.parametrize("update", [False, True])
def test_known_device_gets_values_only_if_requested(shared_operator, shared_server, update):
    made = new_device(shared_operator, label="old", additionalInfo={"keep": 1})
    profile = new_profile(shared_operator)
    device_id, received = made["id"]["id"], queue.Queue()
    stop = shared_server.api.presence.listen_attributes(uuid.UUID(device_id), lambda *args: received.put(args))
    types = ("NAME", "TYPE", "LABEL", "SHARED_ATTRIBUTE:a", "DESCRIPTION")
    result = load(shared_operator, f"{made['name']},{profile['name']},new,1,x\n", *types, update=update)
    if update:  # listeners are called after the answer
        assert received.get(timeout=PATIENCE_S) == ({"a": 1}, [])
    shared_server.call(lambda _api: None)
    stop()
    assert received.empty()
    assert (result["created"], result["updated"]) == (0, 1)
    changed = device(shared_operator, made["name"])
    assert (changed["label"], changed["type"]) == ("new", profile["name"])
    assert changed["additionalInfo"] == {"keep": 1, "description": "x"}
    assert values(shared_operator, device_id, "SHARED_SCOPE") == ({"a": 1} if update else {})


def test_sessions_end_where_credentials_change(shared_operator, shared_server):
    made, received = new_device(shared_operator), []
    stop = shared_server.api.presence.listen_session_end(uuid.UUID(made["id"]["id"]), received.append)
    load(shared_operator, f"{made['name']},\n", "NAME", "ACCESS_TOKEN")
    assert received == []
    load(shared_operator, f"{made['name']},{name('token')}\n", "NAME", "ACCESS_TOKEN")
    stop()
    assert received == [SessionEnd.CREDENTIALS_CHANGED]


def test_imported_device_can_be_provisioned_once(shared_operator):
    profile, one = new_profile(shared_operator, "CHECK_PRE_PROVISIONED_DEVICES"), name()
    load(shared_operator, f"{one},{profile['name']},t-{one}\n", "NAME", "TYPE", "ACCESS_TOKEN")
    request = {
        "deviceName": one,
        "provisionDeviceKey": profile["provisionDeviceKey"],
        "provisionDeviceSecret": profile["profileData"]["provisionConfiguration"]["provisionDeviceSecret"],
    }
    first = ok(shared_operator.post("/api/v1/provision", json=request))
    assert (first["status"], first["credentialsValue"]) == ("SUCCESS", f"t-{one}")
    assert ok(shared_operator.post("/api/v1/provision", json=request))["status"] == "FAILURE"


@pytest.mark.parametrize("state", ["provisioned", "0"])
def test_imported_state_keeps_a_device_from_being_provisioned(shared_operator, state):
    profile, one = new_profile(shared_operator, "CHECK_PRE_PROVISIONED_DEVICES"), name()
    types = ("NAME", "TYPE", "SERVER_ATTRIBUTE:provisionState")
    assert load(shared_operator, f"{one},{profile['name']},{state}\n", *types)["created"] == 1
    request = {
        "deviceName": one,
        "provisionDeviceKey": profile["provisionDeviceKey"],
        "provisionDeviceSecret": profile["profileData"]["provisionConfiguration"]["provisionDeviceSecret"],
    }
    assert ok(shared_operator.post("/api/v1/provision", json=request))["status"] == "FAILURE"


def test_new_device_without_a_type_belongs_to_the_default_profile_and_a_known_one_keeps_its_own(shared_operator):
    one, kind = name(), name("kind")
    load(shared_operator, f"{one},\n", "NAME", "TYPE")
    assert device(shared_operator, one)["type"] == "default"
    load(shared_operator, f"{one},{kind}\n", "NAME", "TYPE")
    for line, types in ((f"{one},\n", ("NAME", "TYPE")), (f"{one}\n", ("NAME",))):
        assert load(shared_operator, line, *types)["updated"] == 1
        assert device(shared_operator, one)["type"] == kind


def test_names_are_taken_as_they_are(shared_operator):
    one = f" {name()} "
    load(shared_operator, f"{one}\n{one.strip()}\n", "NAME")
    assert {device(shared_operator, each)["name"] for each in (one, one.strip())} == {one, one.strip()}


def test_lines_are_counted_without_empty_ones(shared_operator):
    result = load(shared_operator, f"NAME,LABEL\n\n{name()},\n\n\n,x\n", "NAME", "LABEL", header=True)
    assert result["errorsList"] == ["Line 3: DataValidationException: Device name should be specified!"]


@pytest.mark.parametrize("file", ["NAME\n", "\nNAME", "NAME"])
def test_file_without_a_device(shared_operator, file):
    empty = {"created": 0, "updated": 0, "errors": 0, "errorsList": []}
    assert load(shared_operator, file, "NAME", header=True) == empty
