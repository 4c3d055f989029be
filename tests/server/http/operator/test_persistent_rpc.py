"""Routes of persistent calls: their shapes, who may see them, and what is refused."""

import uuid

import pytest

from bench.registry import calls
from bench.registry.clock import now_ms
from tests.support.operators import new_customer, new_device, ok, plain, refused

ABSENT = "8e3ff6a0-53f5-4d3a-9e4b-0b1f4fc3d4a1"
ABSENT_TEXT = "Device with requested id wasn't found!"
FORBIDDEN = "You don't have permission to perform this operation!"


@pytest.fixture
def device(shared_operator):
    return new_device(shared_operator)["id"]["id"]


def keep(operator, device, way="twoway", version="rpc", **fields):
    form = {"method": "m", "params": {"pin": 7, "é": [1.5, None]}, "persistent": True, "timeout": 600_000, **fields}
    return operator.post(f"/api/{version}/{way}/{device}", json=form)


def listed(operator, device, **query):
    return operator.get(f"/api/rpc/persistent/device/{device}", params={"pageSize": 100, "page": 0, **query})


@pytest.mark.parametrize("version", ["rpc", "plugins/rpc"])
@pytest.mark.parametrize("way", ["oneway", "twoway"])
def test_call_is_given_back_as_thingsboard_gives_it(shared_operator, device, version, way):
    expires = now_ms() + 100_000
    kept = keep(shared_operator, device, way, version, expirationTime=expires, retries=2, additionalInfo={"a": [1]})
    call_id = ok(kept)["rpcId"]
    own = {"entityType": "DEVICE", "id": device}
    call = ok(shared_operator.get(f"/api/rpc/persistent/{call_id}"))
    assert abs(call.pop("createdTime") - now_ms()) < 10_000
    tenant = call["tenantId"]
    assert tenant["entityType"] == "TENANT"
    assert call == {
        "id": {"entityType": "RPC", "id": call_id},
        "tenantId": tenant,
        "deviceId": own,
        "expirationTime": expires,
        "request": {
            "id": call_id,
            "tenantId": tenant,
            "deviceId": own,
            "oneway": way == "oneway",
            "expirationTime": expires,
            "body": {"method": "m", "params": '{"pin":7,"é":[1.5,null]}'},
            "persisted": True,
            "retries": 2,
        },
        "response": None,
        "status": "QUEUED",
        "additionalInfo": {"a": [1]},
    }
    page = ok(listed(shared_operator, device))
    assert [each["id"]["id"] for each in page.pop("data")] == [call_id]
    assert page == {"totalPages": 1, "totalElements": 1, "hasNext": False}


PERSISTENT = [(True, True), ("true", True), (" true ", True), (1, True), (-1, True), (0, False), ("yes", False)]
PERSISTENT += [(1.5, False), (None, False), ([True], False), ("false", False), (False, False)]


@pytest.mark.parametrize(("value", "kept"), PERSISTENT, ids=str)
def test_flag_is_read_as_thingsboard_reads_it(shared_operator, device, value, kept):
    # a call that is not kept is over already: nobody is to wait
    answer = keep(shared_operator, device, persistent=value, expirationTime=now_ms() - 1)
    assert (answer.status_code, answer.content) == (504, b"")
    assert ok(listed(shared_operator, device))["totalElements"] == kept


RETRIES = [(None, 0), ("3", 3), ("x", 0), (2.9, 2), (1 << 40, 0), (-4, -4), ([1], 0)]


@pytest.mark.parametrize(("value", "read"), RETRIES, ids=str)
def test_retries_are_read_as_thingsboard_reads_them(shared_operator, device, value, read):
    call_id = ok(keep(shared_operator, device, retries=value))["rpcId"]
    assert ok(shared_operator.get(f"/api/rpc/persistent/{call_id}"))["request"]["retries"] == read


def test_time_is_the_later_one_of_timeout_and_five_seconds(shared_operator, device):
    for timeout, seconds in ((0, 5), (60_000, 60), ("abc", 5), (None, 5), (1e300, 5)):
        before = now_ms()
        call_id = ok(keep(shared_operator, device, timeout=timeout))["rpcId"]
        expires = ok(shared_operator.get(f"/api/rpc/persistent/{call_id}"))["expirationTime"]
        assert before + seconds * 1000 <= expires <= now_ms() + seconds * 1000


def test_id_may_be_the_callers_own_and_is_used_once(shared_operator, device):
    mine = str(uuid.uuid4())
    assert ok(keep(shared_operator, device, requestUUID=mine)) == {"rpcId": mine}
    plain(keep(shared_operator, device, requestUUID=mine), 400, "there is a persistent call with this id already")
    other = new_device(shared_operator)["id"]["id"]
    plain(keep(shared_operator, other, requestUUID=mine), 400, "there is a persistent call with this id already")
    for bad in ("no-id", 5, None, {}):
        refused(keep(shared_operator, device, requestUUID=bad), 400, 31, "Invalid request body")


def test_list_is_filtered_by_status_and_sorted(shared_operator, device):
    over = str(uuid.uuid4())
    keep(shared_operator, device, expirationTime=0, requestUUID=over)
    made = [ok(keep(shared_operator, device, method=each))["rpcId"] for each in ("b", "a")]

    def found(**query):
        return [each["id"]["id"] for each in ok(listed(shared_operator, device, **query))["data"]]

    assert found() == [over, *made]
    assert found(rpcStatus="EXPIRED") == [over]
    assert found(rpcStatus="QUEUED", sortProperty="request") == made[::-1]
    assert found(rpcStatus="QUEUED", sortProperty="createdTime", sortOrder="DESC") == made[::-1]
    assert found(rpcStatus="SUCCESSFUL") == []
    assert found(textSearch="a text that is nowhere") == [over, *made]  # ThingsBoard does not look at it
    first = ok(listed(shared_operator, device, pageSize=2))
    assert (first["totalPages"], first["totalElements"], first["hasNext"]) == (2, 3, True)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"rpcStatus": "DELETED"}, 400),
        ({"rpcStatus": "queued"}, 400),
        ({"sortProperty": "unknown"}, 500),
        ({"pageSize": 0}, 400),
        ({"page": -1}, 400),
    ],
    ids=str,
)
def test_list_that_is_none_is_refused(shared_operator, device, query, status):
    assert listed(shared_operator, device, **query).status_code == status


def test_unknown_and_malformed_ids_are_refused(shared_operator, device):
    for method in ("GET", "DELETE"):
        unknown = shared_operator.request(method, f"/api/rpc/persistent/{ABSENT}")
        refused(unknown, 404, 32, f"Rpc with id [{ABSENT}] is not found")
        refused(shared_operator.request(method, "/api/rpc/persistent/no-id"), 400, 31, "Invalid UUID string: no-id")
    plain(listed(shared_operator, ABSENT), 404, ABSENT_TEXT)
    refused(listed(shared_operator, "no-id"), 400, 31)
    plain(keep(shared_operator, ABSENT), 404, ABSENT_TEXT)


def test_call_beyond_the_room_is_400(shared_operator, device, monkeypatch):
    answer = keep(shared_operator, device, params="x" * calls.ONE_SIZE)
    plain(answer, 400, "a persistent call has room for 65536 bytes")
    monkeypatch.setattr(calls, "OPEN", 1)
    ok(keep(shared_operator, device))
    assert keep(shared_operator, device).status_code == 400
    assert ok(listed(shared_operator, device))["totalElements"] == 1


def test_customers_users_see_the_calls_of_their_own_devices_and_delete_none(shared_server, shared_operator):
    customer, user = new_customer(shared_server, shared_operator)
    _, stranger = new_customer(shared_server, shared_operator)
    theirs, others = (new_device(shared_operator)["id"]["id"] for _ in range(2))
    ok(shared_operator.post(f"/api/customer/{customer['id']['id']}/device/{theirs}"))
    with user, stranger:
        call_id = ok(keep(user, theirs))["rpcId"]
        foreign = ok(keep(shared_operator, others))["rpcId"]
        ok(user.get(f"/api/rpc/persistent/{call_id}"))
        assert ok(listed(user, theirs))["totalElements"] == 1
        for who, call in ((user, foreign), (stranger, foreign), (stranger, call_id)):
            refused(who.get(f"/api/rpc/persistent/{call}"), 403, 20, FORBIDDEN)
        for who, device in ((user, others), (stranger, others), (stranger, theirs)):
            plain(listed(who, device), 403, FORBIDDEN)
            plain(keep(who, device), 403, FORBIDDEN)
        for who in (user, stranger):
            refused(who.delete(f"/api/rpc/persistent/{call_id}"), 403, 20, FORBIDDEN)
    ok(shared_operator.get(f"/api/rpc/persistent/{call_id}"))
    assert ok(listed(shared_operator, others))["totalElements"] == 1


def test_nobody_without_a_login(shared_server, shared_operator, device):
    call_id = ok(keep(shared_operator, device))["rpcId"]
    token = shared_operator.headers.pop("X-Authorization")
    try:
        for method, path in (
            ("GET", f"/{call_id}"),
            ("DELETE", f"/{call_id}"),
            ("GET", f"/device/{device}?pageSize=1&page=0"),
        ):
            assert shared_operator.request(method, f"/api/rpc/persistent{path}").status_code == 401
    finally:
        shared_operator.headers["X-Authorization"] = token


def test_calls_and_their_end_are_in_the_audit_trail(shared_operator):
    device = new_device(shared_operator)["id"]["id"]
    call_id = ok(keep(shared_operator, device, params="secret-parameter"))["rpcId"]
    keep(shared_operator, device, expirationTime=0)
    ok(shared_operator.delete(f"/api/rpc/persistent/{call_id}"))
    page = ok(shared_operator.get(f"/api/audit/logs/entity/DEVICE/{device}?pageSize=10&page=0&actionTypes=RPC_CALL"))
    found = [(row["actionType"], row["actionStatus"], row["actionFailureDetails"]) for row in page["data"]]
    assert found == [
        ("RPC_CALL", "SUCCESS", None),
        ("RPC_CALL", "FAILURE", "EXPIRED"),
        ("RPC_CALL", "SUCCESS", None),
    ]
    assert "secret-parameter" not in str(page)
