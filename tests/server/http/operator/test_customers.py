"""Customers: their users, their devices, and what they may not see."""

import uuid

import pytest

from bench.registry import claims
from bench.registry.clock import now_ms
from bench.registry.model import ClaimOffer
from tests.support.operators import client, login, name, new_customer, new_device, ok, plain, refused

ABSENT = uuid.UUID(int=1)
ABSENT_CUSTOMER = {"entityType": "CUSTOMER", "id": str(ABSENT)}
DENIED = "You don't have permission to perform this operation!"
IDS = {"d": ABSENT, "p": ABSENT, "c": ABSENT, "u": ABSENT}


@pytest.fixture(scope="module")
def acme(shared_server, shared_operator):
    """A customer, and a client of their user."""
    customer, user = new_customer(shared_server, shared_operator)
    with user:
        yield customer["id"]["id"], user


def device_of(operator, customer_id=None, **fields):
    device = new_device(operator, **fields)
    if customer_id:
        ok(operator.post(f"/api/customer/{customer_id}/device/{device['id']['id']}"))
    return device


OPERATORS_ONLY = [
    ("GET", "/api/deviceProfiles?pageSize=1&page=0"),
    ("GET", "/api/deviceProfile/{p}"),
    ("POST", "/api/deviceProfile"),
    ("DELETE", "/api/deviceProfile/{p}"),
    ("POST", "/api/deviceProfile/{p}/default"),
    ("POST", "/api/device-with-credentials"),
    ("DELETE", "/api/device/{d}"),
    ("GET", "/api/tenant/devices?pageSize=1&page=0"),
    ("GET", "/api/tenant/deviceInfos?pageSize=1&page=0"),
    ("GET", "/api/tenant/device?deviceName=x"),
    ("POST", "/api/device/credentials"),
    ("POST", "/api/device/bulk_import"),
    ("POST", "/api/customer"),
    ("GET", "/api/customers?pageSize=1&page=0"),
    ("DELETE", "/api/customer/{c}"),
    ("POST", "/api/customer/{c}/device/{d}"),
    ("POST", "/api/customer/public/device/{d}"),
    ("DELETE", "/api/customer/device/{d}"),
    ("POST", "/api/user"),
    ("GET", "/api/user/{u}"),
    ("DELETE", "/api/user/{u}"),
    ("GET", "/api/user/{u}/activationLink"),
    ("GET", "/api/user/{u}/token"),
    ("POST", "/api/user/{u}/userCredentialsEnabled"),
    ("GET", "/api/users?pageSize=1&page=0"),
    ("GET", "/api/devices/count/FIRMWARE/{p}"),
    ("GET", "/api/customer/{c}/users?pageSize=1&page=0"),
    ("GET", "/api/audit/logs?pageSize=1&page=0"),
    ("GET", "/api/audit/logs/user/{u}?pageSize=1&page=0"),
    ("GET", "/api/audit/logs/customer/{c}?pageSize=1&page=0"),
    ("GET", "/api/audit/logs/entity/DEVICE/{d}?pageSize=1&page=0"),
    ("GET", "/api/deviceProfile/devices/keys/timeseries"),
    ("GET", "/api/deviceProfile/devices/keys/attributes"),
    ("GET", "/api/tenant/{c}"),
    ("GET", "/api/tenant/info/{c}"),
    ("GET", "/api/usage"),
]


@pytest.mark.parametrize(("method", "path"), OPERATORS_ONLY)
def test_operators_side_is_closed_to_customers(acme, method, path):
    refused(acme[1].request(method, path.format(**IDS), json={} if method == "POST" else None), 403, 20, DENIED)


DEVICE_ROUTES = [
    ("GET", "/api/device/{}", None),
    ("GET", "/api/device/info/{}", None),
    ("GET", "/api/device/{}/credentials", None),
    ("GET", "/api/device-connectivity/{}", None),
    ("GET", "/api/plugins/telemetry/DEVICE/{}/keys/attributes", None),
    ("GET", "/api/plugins/telemetry/DEVICE/{}/values/attributes", None),
    ("GET", "/api/plugins/telemetry/DEVICE/{}/values/attributes/SERVER_SCOPE", None),
    ("GET", "/api/plugins/telemetry/DEVICE/{}/keys/timeseries", None),
    ("GET", "/api/plugins/telemetry/DEVICE/{}/values/timeseries", None),
    ("GET", "/api/plugins/telemetry/DEVICE/{}/values/timeseries?keys=a&startTs=0&endTs=1", None),
    ("POST", "/api/plugins/telemetry/{}/SHARED_SCOPE", {"a": 1}),
    ("POST", "/api/plugins/telemetry/DEVICE/{}/SHARED_SCOPE", {"a": 1}),
    ("POST", "/api/plugins/telemetry/DEVICE/{}/timeseries/ANY", {"a": 1}),
    ("DELETE", "/api/plugins/telemetry/{}/SHARED_SCOPE?keys=a", None),
    ("DELETE", "/api/plugins/telemetry/DEVICE/{}/timeseries/delete?keys=a&deleteAllDataForKeys=true", None),
    ("POST", "/api/rpc/oneway/{}", {"method": "a"}),
    ("POST", "/api/plugins/rpc/twoway/{}", {"method": "a"}),
]


@pytest.mark.parametrize(("method", "path", "body"), DEVICE_ROUTES)
@pytest.mark.parametrize("whose", ["nobody's", "another customer's"])
def test_customer_cannot_touch_a_device_of_others(shared_server, shared_operator, acme, method, path, body, whose):
    other = None
    if whose != "nobody's":
        other = ok(shared_operator.post("/api/customer", json={"title": name()}))["id"]["id"]
    device = device_of(shared_operator, other)
    answer = acme[1].request(method, path.format(device["id"]["id"]), json=body)
    if "/telemetry/" in path or "/rpc/" in path:
        plain(answer, 403, DENIED)
    else:
        refused(answer, 403, 20, DENIED)
    row = shared_server.query(lambda registry: registry.device(device["name"]))
    assert (row.attributes, row.telemetry) == ({}, {})


def test_customer_sees_their_own_devices_only(shared_operator, acme):
    customer_id, user = acme
    device_of(shared_operator)
    own = device_of(shared_operator, customer_id)
    device_id = own["id"]["id"]
    assert ok(user.get(f"/api/device/{device_id}"))["customerId"]["id"] == customer_id
    ok(user.post(f"/api/plugins/telemetry/{device_id}/SHARED_SCOPE", json={"a": 1}))
    for path in (f"/api/customer/{customer_id}/devices", f"/api/customer/{customer_id}/deviceInfos"):
        found = ok(user.get(path, params={"pageSize": 99, "page": 0}))["data"]
        assert {each["customerId"]["id"] for each in found} == {customer_id}
        assert own["name"] in [each["name"] for each in found]
    found = ok(user.get("/api/deviceInfos/all", params={"pageSize": 99, "page": 0}))["data"]
    assert {each["customerId"]["id"] for each in found} == {customer_id}
    ids = f"{device_id},{device_of(shared_operator)['id']['id']}"
    assert [each["name"] for each in ok(user.get("/api/devices", params={"deviceIds": ids}))] == [own["name"]]
    assert {each["type"] for each in ok(user.get("/api/device/types"))} == {"default"}


def test_customer_sees_themselves_only(shared_operator, acme):
    customer_id, user = acme
    other = ok(shared_operator.post("/api/customer", json={"title": name()}))["id"]["id"]
    assert ok(user.get(f"/api/customer/{customer_id}"))["id"]["id"] == customer_id
    for path in ("", "/shortInfo", "/title", "/devices?pageSize=1&page=0", "/deviceInfos?pageSize=1&page=0"):
        refused(user.get(f"/api/customer/{other}{path}"), 403, 20)
    me = ok(user.get("/api/auth/user"))
    assert (me["authority"], me["customerId"]["id"]) == ("CUSTOMER_USER", customer_id)


# Customers and users.


def test_customers_user_edits_a_device_of_the_customer_alone(shared_operator, acme):
    customer_id, user = acme
    own, foreign = device_of(shared_operator, customer_id), device_of(shared_operator)
    mine = {"entityType": "CUSTOMER", "id": customer_id}
    own = ok(user.get(f"/api/device/{own['id']['id']}"))
    own = ok(user.post("/api/device", json={**own, "label": "theirs"}))
    assert (own["label"], own["customerId"]) == ("theirs", mine)
    refused(user.post("/api/device", json={**foreign, "label": "theirs"}), 403, 20, DENIED)
    refused(user.post("/api/device", json={"name": name()}), 403, 20, DENIED)
    other = ok(shared_operator.post("/api/customer", json={"title": name()}))["id"]
    refused(user.post("/api/device", json={**own, "customerId": other}), 403, 20, DENIED)
    refused(user.post("/api/device", json={**own, "deviceProfileId": None, "type": name()}), 404, 32)
    left = ok(user.post("/api/device", json={**own, "customerId": None}))
    assert left["customerId"]["id"] == "13814000-1dd2-11b2-8080-808080808080"
    refused(user.get(f"/api/device/{own['id']['id']}"), 403, 20, DENIED)


def test_devices_of_a_customer_who_is_not_there_are_404(shared_operator):
    for path in ("devices", "deviceInfos"):
        absent = f"Customer with id [{ABSENT}] is not found"
        refused(shared_operator.get(f"/api/customer/{ABSENT}/{path}?pageSize=1&page=0"), 404, 32, absent)


BAD_CUSTOMERS = [{}, {"title": ""}, {"title": " "}, {"title": "x" * 256}, {"title": "<b>x"}]
BAD_CUSTOMERS += [{"title": "a", "phone": "<b>1"}, {"title": "a", "additionalInfo": {"a": "{{x}}"}}]


@pytest.mark.parametrize("form", BAD_CUSTOMERS, ids=str)
def test_customer_that_cannot_be_stored_is_400(shared_operator, form):
    refused(shared_operator.post("/api/customer", json=form), 400, 31)


def test_customers_are_made_changed_listed_and_deleted(shared_operator):
    title = name("customer")
    made = ok(shared_operator.post("/api/customer", json={"title": title}))
    assert (made["title"], made["name"], made["id"]["entityType"]) == (title, title, "CUSTOMER")
    taken = "Customer with such title already exists!"
    refused(shared_operator.post("/api/customer", json={"title": title}), 400, 31, taken)
    changed = ok(shared_operator.post("/api/customer", json={**made, "title": f"{title}-2"}))
    assert changed == {**made, "title": f"{title}-2", "name": f"{title}-2", "version": 2}
    outdated = "Customer was already changed by someone else"
    refused(shared_operator.post("/api/customer", json={**made, "title": name()}), 409, 35, outdated)
    found = ok(shared_operator.get("/api/customers", params={"pageSize": 9, "page": 0, "textSearch": title.upper()}))
    assert found["data"] == [changed]
    assert ok(shared_operator.get("/api/tenant/customers", params={"customerTitle": changed["title"]})) == changed
    assert ok(shared_operator.get("/api/customers/list", params={"customerIds": made["id"]["id"]})) == [changed]
    path = f"/api/customer/{made['id']['id']}"
    ok(shared_operator.delete(path))
    refused(shared_operator.get(path), 404, 32)
    refused(shared_operator.delete(path), 404, 32)


DETAILS = {
    "country": "DE", "state": "BE", "city": "Berlin", "address": "a", "address2": "b", "zip": "10115",
    "phone": "1", "email": "a@b.example", "additionalInfo": {"description": "x"},
}  # fmt: skip


def test_fields_of_a_customer_are_kept_and_replaced_as_a_whole(shared_operator):
    made = ok(shared_operator.post("/api/customer", json={"title": name(), **DETAILS}))
    assert {key: made[key] for key in DETAILS} == DETAILS
    assert ok(shared_operator.get(f"/api/customer/{made['id']['id']}")) == made
    bare = ok(shared_operator.post("/api/customer", json={"id": made["id"], "title": made["title"]}))
    assert {bare[key] for key in DETAILS} == {None}
    unreadable = {"title": name(), "country": ["DE"]}
    refused(shared_operator.post("/api/customer", json=unreadable), 500, 2)


def test_title_that_is_taken_is_made_unique_if_requested(shared_operator):
    title = name()
    for wanted in (title, f"{title}_1", f"{title}_2"):
        query = {"nameConflictPolicy": "UNIQUIFY", "uniquifyStrategy": "INCREMENTAL"}
        assert ok(shared_operator.post("/api/customer", params=query, json={"title": title}))["title"] == wanted


def test_user_is_changed_by_their_id(shared_server, shared_operator):
    fields = {"firstName": "Jo", "lastName": "Doe", "phone": "1", "additionalInfo": {"lang": "en_US"}}
    form = {"email": f"{name()}@example.com", "authority": "TENANT_ADMIN", **fields}
    made = ok(shared_operator.post("/api/user?sendActivationMail=false", json=form))
    assert {key: made[key] for key in fields} == fields
    other = {**made, "email": f"{name()}@example.com", "firstName": "Joan"}
    changed = ok(shared_operator.post("/api/user", json=other))
    assert changed == {**other, "name": other["email"], "version": 2}
    assert ok(shared_operator.get(f"/api/user/{made['id']['id']}")) == changed
    refused(shared_operator.post("/api/user", json=other), 409, 35, "User was already changed by someone else")
    refused(shared_operator.post("/api/user", json={**changed, "email": "operator@firstboot.local"}), 400, 31)
    customer = ok(shared_operator.post("/api/customer", json={"title": name()}))["id"]
    refused(
        shared_operator.post("/api/user", json={**changed, "authority": "CUSTOMER_USER", "customerId": customer}),
        400,
        31,
    )
    refused(shared_operator.post("/api/user", json={**changed, "id": {"id": made["id"]["id"]}}), 500, 2)


def test_deleted_customer_leaves_devices_and_takes_users(shared_server, shared_operator):
    customer, user = new_customer(shared_server, shared_operator)
    device = device_of(shared_operator, customer["id"]["id"])
    ok(shared_operator.delete(f"/api/customer/{customer['id']['id']}"))
    assert ok(shared_operator.get(f"/api/device/{device['id']['id']}"))["customerId"] == device["customerId"]
    refused(user.get("/api/auth/user"), 401, 11)
    user.close()


BAD_USERS = [
    {},
    {"email": "x", "authority": "TENANT_ADMIN"},
    {"email": "x" * 250 + "@a.example", "authority": "TENANT_ADMIN"},
    {"email": "a@b.example"},
    {"email": "a@b.example", "authority": "TENANT_ADMIN", "firstName": "<b>x"},
    {"email": "a@b.example", "authority": "CUSTOMER_USER"},
    {"email": "operator@firstboot.local", "authority": "TENANT_ADMIN"},
]


@pytest.mark.parametrize("form", BAD_USERS, ids=str)
def test_user_that_cannot_be_stored_is_400(shared_operator, form):
    refused(shared_operator.post("/api/user", json=form), 400, 31)


def test_user_of_a_customer_that_is_not_there_is_404(shared_operator):
    form = {"email": "a@b.example", "authority": "CUSTOMER_USER", "customerId": ABSENT_CUSTOMER}
    refused(shared_operator.post("/api/user", json=form), 404, 32)


def test_mail_is_refused_because_none_is_sent(shared_operator):
    form = {"email": "a@b.example", "authority": "TENANT_ADMIN"}
    refused(shared_operator.post("/api/user?sendActivationMail=true", json=form), 400, 31)


def test_account_is_activated_once(shared_server, shared_operator):
    form = {"email": f"{name()}@example.com", "authority": "TENANT_ADMIN"}
    user = ok(shared_operator.post("/api/user?sendActivationMail=false", json=form))
    path = f"/api/user/{user['id']['id']}"
    assert ok(shared_operator.get(path)) == user
    token = shared_operator.get(f"{path}/activationLink").text.split("activateToken=")[1]
    with client(shared_server) as anonymous:
        for password in ("", "x"):
            no_login = {"username": form["email"], "password": password}
            refused(anonymous.post("/api/auth/login", json=no_login), 401, 10)
        activate = {"activateToken": token, "password": "short"}
        refused(anonymous.post("/api/noauth/activate", json=activate), 400, 31)
        refused(anonymous.post("/api/noauth/activate", json={**activate, "activateToken": "x"}), 401, 10)
        activate["password"] = "long-enough"
        pair = ok(anonymous.post("/api/noauth/activate", json=activate))
        refused(anonymous.post("/api/noauth/activate", json=activate), 401, 11)
    refused(shared_operator.get(f"{path}/activationLink"), 400, 31)
    with client(shared_server, pair["token"]) as new:
        ok(new.get("/api/customers?pageSize=1&page=0"))
        refused(new.delete(path), 400, 31, "Nobody can delete their own account!")
    with login(shared_server, {"username": form["email"], "password": "long-enough"}) as new:
        ok(shared_operator.delete(path))
        refused(new.get("/api/auth/user"), 401, 11)


def test_users_are_listed(shared_server, shared_operator):
    _, user = new_customer(shared_server, shared_operator)
    query = {"pageSize": 99, "page": 0, "textSearch": ok(user.get("/api/auth/user"))["email"]}
    found = ok(shared_operator.get("/api/users", params=query))
    assert found["data"] == [ok(user.get("/api/auth/user"))]
    user.close()


def test_user_who_is_disabled_has_no_session_and_no_login(shared_server, shared_operator):
    _, user = new_customer(shared_server, shared_operator)
    me = ok(user.get("/api/auth/user"))
    path, who = f"/api/user/{me['id']['id']}", {"username": me["email"], "password": "a-password"}
    pair = ok(shared_operator.get(f"{path}/token"))
    with client(shared_server, pair["token"]) as acting:
        assert ok(acting.get("/api/auth/user")) == me
    ok(shared_operator.post(f"{path}/userCredentialsEnabled?userCredentialsEnabled=false"))
    refused(user.get("/api/auth/user"), 401, 10, "User account is not active")
    refused(shared_operator.get(f"{path}/token"), 403, 20)
    with client(shared_server) as anonymous:
        refused(anonymous.post("/api/auth/login", json=who), 401, 10, "User account is not active")
        refused(
            anonymous.post("/api/auth/login", json={**who, "password": "x"}), 401, 10, "Invalid username or password"
        )
        ok(shared_operator.post(f"{path}/userCredentialsEnabled"))
        ok(anonymous.post("/api/auth/login", json=who))
    own = ok(shared_operator.get("/api/auth/user"))["id"]["id"]
    refused(shared_operator.post(f"/api/user/{own}/userCredentialsEnabled?userCredentialsEnabled=false"), 400, 31)
    user.close()


def test_customers_users_are_listed(shared_server, shared_operator):
    customer, user = new_customer(shared_server, shared_operator)
    path = f"/api/customer/{customer['id']['id']}/users"
    found = ok(shared_operator.get(path, params={"pageSize": 5, "page": 0}))
    assert [each["customerId"] for each in found["data"]] == [customer["id"]]
    assert found["data"] == [ok(user.get("/api/auth/user"))]
    user.close()


# Devices that change hands.


def test_device_is_handed_over_and_taken_back(shared_operator, acme):
    customer_id, user = acme
    device = new_device(shared_operator)
    device_id = device["id"]["id"]
    refused(shared_operator.delete(f"/api/customer/device/{device_id}"), 400, 31)
    refused(shared_operator.post(f"/api/customer/{ABSENT}/device/{device_id}"), 404, 32)
    refused(shared_operator.post(f"/api/customer/{customer_id}/device/{ABSENT}"), 404, 32)
    handed = ok(shared_operator.post(f"/api/customer/{customer_id}/device/{device_id}"))
    assert handed["customerId"]["id"] == customer_id
    ok(user.get(f"/api/device/{device_id}"))
    back = ok(shared_operator.delete(f"/api/customer/device/{device_id}"))
    assert back == {**device, "version": 3}
    refused(user.get(f"/api/device/{device_id}"), 403, 20)


def claimable(server, operator, secret="s3cret", device_name=None):
    """A device that said that it may be claimed."""
    device = new_device(operator, name=device_name or name())
    offer = (claims.offer, uuid.UUID(device["id"]["id"]), secret, None)
    assert server.query(lambda registry: registry.write(*offer)).accepted
    return device


def test_operator_claims_nothing(shared_operator):
    refused(shared_operator.post("/api/customer/device/x/claim", json={}), 403, 20, DENIED)


@pytest.mark.parametrize("device_name", ["device", "{}", "claim"])
def test_customer_claims_a_device_once(shared_server, shared_operator, acme, device_name):
    customer_id, user = acme
    device = claimable(shared_server, shared_operator, device_name=device_name.replace("{}", name()))
    path = f"/api/customer/device/{device['name']}/claim"
    claimed = ok(user.post(path, json={"secretKey": "s3cret"}))
    assert claimed["response"] == "SUCCESS"
    assert claimed["device"] == {**device, "customerId": {"entityType": "CUSTOMER", "id": customer_id}, "version": 2}
    again = user.post(path, json={"secretKey": "s3cret"})
    assert (again.status_code, again.json()) == (400, "CLAIMED")
    ok(user.delete(path))
    refused(user.delete(path), 403, 20)
    ok(shared_operator.delete(f"/api/device/{device['id']['id']}"))


@pytest.mark.parametrize("body", [{"secretKey": "wrong"}, {"secretKey": None}, {}, None])
def test_wrong_secret_claims_nothing_and_uses_up_the_offer(shared_server, shared_operator, acme, body):
    device = claimable(shared_server, shared_operator)
    for form in (body, {"secretKey": "s3cret"}):
        answer = acme[1].post(f"/api/customer/device/{device['name']}/claim", json=form)
        assert (answer.status_code, answer.json()) == (400, "FAILURE")
    newest = {"pageSize": 1, "page": 0, "sortProperty": "createdTime", "sortOrder": "DESC"}
    row = ok(shared_operator.get("/api/audit/logs", params={**newest, "textSearch": device["name"]}))
    assert (row["data"][0]["actionStatus"], row["data"][0]["actionFailureDetails"]) == ("FAILURE", "FAILURE")


def test_first_offer_counts_until_its_time_is_over(server):
    def ends(session):
        session.get(ClaimOffer, device_id).expires_ms = now_ms() - 1

    with login(server) as operator:
        device_id = uuid.UUID(new_device(operator)["id"]["id"])
    for secret, reason in (("first", ""), ("second", "an earlier word counts still")):
        offer = (claims.offer, device_id, secret, None)
        assert server.query(lambda registry, offer=offer: registry.write(*offer)).reason == reason
    server.query(lambda registry: registry.write(ends))
    assert server.query(lambda registry: registry.write(claims.offer, device_id, "third", None)).accepted


def test_offer_whose_time_is_over_claims_nothing(shared_server, shared_operator, acme):
    device = claimable(shared_server, shared_operator)

    def ends(session):
        session.get(ClaimOffer, uuid.UUID(device["id"]["id"])).expires_ms = now_ms() - 1

    shared_server.query(lambda registry: registry.write(ends))
    answer = acme[1].post(f"/api/customer/device/{device['name']}/claim", json={"secretKey": "s3cret"})
    assert (answer.status_code, answer.json()) == (400, "FAILURE")


def test_empty_secret_is_one(shared_server, shared_operator, acme):
    device = claimable(shared_server, shared_operator, secret="")
    assert ok(acme[1].post(f"/api/customer/device/{device['name']}/claim"))["response"] == "SUCCESS"


def test_claim_of_nothing_is_404(acme):
    refused(acme[1].post("/api/customer/device/nobody/claim", json={}), 404, 32)
    refused(acme[1].post("/api/customer/device/a%00b/claim", json={}), 400, 31)
    refused(acme[1].delete("/api/customer/device/nobody/claim"), 404, 32)


# The audit trail.


def test_refused_changes_are_in_the_audit_trail(server):
    with login(server) as operator:
        new_device(operator, name="twice")
        refused(operator.post("/api/device", json={"name": "twice"}), 400, 31)
        with client(server) as anonymous:
            refused(anonymous.post("/api/auth/login", json={"username": "guess", "password": "wrong"}), 401, 10)
        rows = ok(operator.get("/api/audit/logs?pageSize=9&page=0&sortOrder=ASC"))["data"]
        found = [(row["userName"], row["actionType"], row["entityName"], row["actionStatus"]) for row in rows]
        who = "operator@firstboot.local"
        assert found == [
            (who, "LOGIN", who, "SUCCESS"),
            (who, "ADDED", "twice", "SUCCESS"),
            (who, "ADDED", "twice", "FAILURE"),
            ("guess", "LOGIN", "guess", "FAILURE"),
        ]
        added = ok(operator.get("/api/audit/logs?pageSize=9&page=0&actionTypes=ADDED,DELETED"))
        assert added["totalElements"] == 2
        refused(operator.get("/api/audit/logs?pageSize=9&page=0&actionTypes=ADDED,NOTHING"), 400, 31)
        until = rows[0]["createdTime"] - 1
        assert ok(operator.get(f"/api/audit/logs?pageSize=9&page=0&endTime={until}"))["data"] == []
        for wrong in ("pageSize=0", "startTime=x", f"endTime={1 << 63}"):
            refused(operator.get(f"/api/audit/logs?pageSize=9&page=0&{wrong}"), 400, 31)


def test_rows_name_the_entity_the_user_and_the_customer(server):
    with login(server) as operator:
        me = ok(operator.get("/api/auth/user"))["id"]
        customer, user = new_customer(server, operator)
        device = device_of(operator, customer["id"]["id"], name="press-4")
        form = {**ok(operator.get(f"/api/device/{device['id']['id']}")), "label": "x"}
        ok(user.post("/api/device", json=form))
        theirs = ok(user.get("/api/auth/user"))["id"]
        user.close()

        def rows(path="", **query):
            return ok(operator.get(f"/api/audit/logs{path}", params={"pageSize": 99, "page": 0, **query}))["data"]

        every = rows(f"/entity/DEVICE/{device['id']['id']}")
        assert [row["actionType"] for row in every] == ["ADDED", "ASSIGNED_TO_CUSTOMER", "UPDATED"]
        assert {(row["entityId"]["entityType"], row["entityId"]["id"]) for row in every} == {
            ("DEVICE", device["id"]["id"])
        }
        assert [row["userId"] for row in every] == [me, me, theirs]
        assert [row["customerId"]["id"] == customer["id"]["id"] for row in every] == [False, True, True]
        assert every[0]["id"].keys() == {"id"}
        assert rows(f"/user/{theirs['id']}") == [every[-1]] or every[-1] in rows(f"/user/{theirs['id']}")
        assert every[-1] in rows(f"/customer/{customer['id']['id']}")
        assert every[0] not in rows(f"/customer/{customer['id']['id']}")
        (entry, *_) = rows(actionTypes="LOGIN")
        assert entry["actionData"]["clientAddress"] == "127.0.0.1"
        assert (entry["entityId"], entry["userId"]) == (me, me)


def test_provisioning_with_an_unknown_key_is_no_device_s_row(server):
    body = {"provisionDeviceKey": "none", "provisionDeviceSecret": "none", "deviceName": "press-4"}
    with client(server) as anonymous:
        assert ok(anonymous.post("/api/v1/provision", json=body))["status"] == "NOT_FOUND"
        right = {
            "provisionDeviceKey": server.profile.provision_key,
            "provisionDeviceSecret": server.profile.provision_secret,
            "deviceName": "press-4",
        }
        for status in ("SUCCESS", "FAILURE"):
            assert ok(anonymous.post("/api/v1/provision", json=right))["status"] == status
    with login(server) as operator:
        device = ok(operator.get("/api/tenant/device?deviceName=press-4"))["id"]
        kinds = ("PROVISION_FAILURE", "PROVISION_SUCCESS")
        query = {"pageSize": 9, "page": 0, "actionTypes": kinds[0]}
        unknown, again = ok(operator.get("/api/audit/logs", params=query))["data"]
        assert unknown["entityId"]["entityType"] == "TENANT"
        assert again["entityId"] == device
        query["actionTypes"] = kinds[1]
        assert [row["entityId"] for row in ok(operator.get("/api/audit/logs", params=query))["data"]] == [device]
