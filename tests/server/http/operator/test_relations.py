"""Relations between entities, and devices that are found along them."""

import uuid

import pytest

from bench.registry import relations
from tests.support.operators import client, login, new_customer, new_device, new_profile, ok, refused
from tests.support.servers import on_both_databases

ABSENT = "00000000-0000-0000-0000-000000000001"
DENIED = "You don't have permission to perform this operation!"


@pytest.fixture(scope="module")
def acme(shared_server, shared_operator):
    """A customer's id, a client of their user, and their device."""
    customer, user = new_customer(shared_server, shared_operator)
    device = new_device(shared_operator)
    ok(shared_operator.post(f"/api/customer/{customer['id']['id']}/device/{device['id']['id']}"))
    with user:
        yield customer["id"], user, device["id"]


def relate(operator, from_, to, kind="Contains", **more):
    return ok(operator.post("/api/v2/relation", json={"from": from_, "to": to, "type": kind, **more}))


def key(from_, to, kind="Contains", **more):
    return {**end(from_), **end(to, "to"), "relationType": kind, **more}


def end(of, direction="from"):
    return {f"{direction}Id": of["id"], f"{direction}Type": of["entityType"]}


def devices(operator, count):
    return [new_device(operator)["id"] for _ in range(count)]


def names(found):
    return sorted((each["from"]["id"], each["to"]["id"]) for each in found)


BAD = [
    ({"to": None}, 400, 31, "Relation should contain to entity!"),
    ({"from": None}, 400, 31, "Relation should contain from entity!"),
    ({"type": ""}, 400, 31, "Relation type should be specified!"),
    ({"type": None}, 400, 31, "Relation type should be specified!"),
    ({"type": "x" * 256}, 400, 31, "Validation error: type length must be equal or less than 255"),
    ({"to": {"entityType": "ASSET", "id": ABSENT}}, 404, 32, f"Asset with id [{ABSENT}] is not found"),
    ({"to": {"entityType": "DEVICE", "id": ABSENT}}, 404, 32, f"Device with id [{ABSENT}] is not found"),
    ({"to": {"entityType": "TENANT", "id": ABSENT}}, 404, 32, f"Tenant with id [{ABSENT}] is not found"),
    ({"to": {"entityType": "x", "id": ABSENT}}, 400, 31, None),
    ({"additionalInfo": "x" * relations.INFO}, 400, 31, None),
]


@pytest.mark.parametrize(("change", "status", "code", "message"), BAD, ids=str)
def test_relation_that_cannot_be_stored_is_refused(shared_operator, change, status, code, message):
    one, other = devices(shared_operator, 2)
    form = {"from": one, "to": other, "type": "Contains", **change}
    refused(shared_operator.post("/api/relation", json=form), status, code, message)
    assert ok(shared_operator.get("/api/relations", params=end(one))) == []


@on_both_databases
def test_relation_is_stored_changed_and_deleted(server):
    with login(server) as operator:
        one, other = devices(operator, 2)
        saved = relate(operator, one, other, additionalInfo={"a": 1})
        assert saved == {
            "from": one,
            "to": other,
            "type": "Contains",
            "typeGroup": "COMMON",
            "additionalInfo": {"a": 1},
            "version": 1,
        }
        assert ok(operator.get("/api/relation", params=key(one, other))) == saved
        changed = {"from": one, "to": other, "type": "Contains", "typeGroup": "COMMON"}
        assert operator.post("/api/relation", json=changed).content == b""
        found = ok(operator.get("/api/relation", params=key(one, other)))
        assert (found["additionalInfo"], found["version"]) == (None, 2)
        for absent in (key(other, one), key(one, other, "Manages"), key(one, other, relationTypeGroup="EDGE")):
            for method in ("GET", "DELETE"):
                refused(
                    operator.request(method, "/api/relation", params=absent), 404, 32, "Requested item wasn't found!"
                )
        assert ok(operator.delete("/api/v2/relation", params=key(one, other)))["version"] == 2
        refused(operator.delete("/api/relation", params=key(one, other)), 404, 32)


def test_relations_of_an_entity_are_listed_by_direction_type_and_group(shared_operator):
    root, one, two = devices(shared_operator, 3)
    relate(shared_operator, root, one)
    relate(shared_operator, root, two, "Manages")
    relate(shared_operator, one, root, typeGroup="EDGE")
    get = shared_operator.get
    both = names([{"from": root, "to": one}, {"from": root, "to": two}])
    assert names(ok(get("/api/relations", params=end(root)))) == both
    assert names(ok(get("/api/relations", params={**end(root), "relationTypeGroup": "unknown"}))) == both
    assert names(ok(get(f"/api/relations/from/DEVICE/{root['id']}"))) == both
    managed = [(root["id"], two["id"])]
    assert names(ok(get("/api/relations", params={**end(root), "relationType": "Manages"}))) == managed
    assert names(ok(get(f"/api/relations/from/DEVICE/{root['id']}/Manages"))) == managed
    assert names(ok(get("/api/relations", params=end(two, "to")))) == managed
    assert names(ok(get(f"/api/relations/to/DEVICE/{two['id']}"))) == managed
    assert ok(get("/api/relations", params=end(root, "to"))) == []
    assert names(ok(get("/api/relations", params={**end(root, "to"), "relationTypeGroup": "EDGE"}))) == [
        (one["id"], root["id"])
    ]
    refused(get("/api/relations"), 400, 31)
    refused(get("/api/relations", params={"fromId": root["id"]}), 400, 31)
    refused(get(f"/api/relations/beside/DEVICE/{root['id']}"), 400, 31)


@on_both_databases
def test_infos_have_the_names_of_entities_of_every_kind(server):
    with login(server) as operator:
        customer, user = new_customer(server, operator)
        who = ok(user.get("/api/auth/user"))
        user.close()
        device, profile = new_device(operator), new_profile(operator)
        tenant = ok(operator.get("/api/auth/user"))["tenantId"]
        named = {
            customer["title"]: customer["id"],
            who["email"]: who["id"],
            profile["name"]: profile["id"],
            "N/A": tenant,
        }
        for other in named.values():
            relate(operator, device["id"], other)
            relate(operator, other, device["id"], "Manages")
        for path in ("info", f"info/from/DEVICE/{device['id']['id']}"):
            found = ok(operator.get(f"/api/relations/{path}", params=end(device["id"]) if path == "info" else {}))
            assert {each["toName"]: each["to"] for each in found} == named
            assert {each["fromName"] for each in found} == {None}
        found = ok(operator.get("/api/relations/info", params=end(device["id"], "to")))
        assert {each["fromName"]: each["from"] for each in found} == named


def query(root, direction="FROM", filters=(), **more):
    parameters = {"rootId": root["id"], "rootType": root["entityType"], "direction": direction, **more}
    return {"parameters": parameters, "filters": list(filters)}


@on_both_databases
def test_search_follows_relations_level_by_level(server):
    with login(server) as operator:
        root, one, two, three = devices(operator, 4)
        for from_, to in ((root, one), (one, two), (two, three), (three, root)):  # a circle
            relate(operator, from_, to)
        relate(operator, one, three, "Manages")
        edges = {"a": (root["id"], one["id"]), "b": (one["id"], two["id"]), "c": (one["id"], three["id"])}
        edges |= {"d": (two["id"], three["id"]), "e": (three["id"], root["id"])}

        def found(**more):
            return names(ok(operator.post("/api/relations", json=query(root, **more))))

        def wanted(letters):
            return sorted(edges[letter] for letter in letters)

        assert found() == wanted("a")
        assert found(maxLevel=2) == wanted("abc")
        assert found(maxLevel=2, fetchLastLevelOnly=True) == wanted("bc")
        assert found(maxLevel=0) == wanted("abcde")
        assert found(direction="TO", maxLevel=2) == wanted("cde")
        manages = [{"relationType": "Manages", "entityTypes": ["DEVICE"]}]
        assert found(maxLevel=0, filters=manages) == wanted("c")
        assert found(maxLevel=0, filters=[{"relationType": "Manages", "entityTypes": ["ASSET"]}]) == []
        infos = ok(operator.post("/api/relations/info", json=query(root)))
        assert infos[0]["toName"] == ok(operator.get(f"/api/device/{one['id']}"))["name"]


@on_both_databases
def test_devices_are_found_along_relations_and_by_their_profile(server):
    with login(server) as operator:
        profile = new_profile(operator)
        root, plain, special = (
            new_device(operator)["id"],
            new_device(operator),
            new_device(operator, type=profile["name"]),
        )
        relate(operator, root, plain["id"])
        relate(operator, plain["id"], special["id"])
        relate(operator, root, profile["id"])
        form = {"parameters": {**query(root)["parameters"], "maxLevel": 2}, "deviceTypes": [profile["name"]]}
        assert [each["name"] for each in ok(operator.post("/api/devices", json=form))] == [special["name"]]
        form["deviceTypes"].append("default")
        assert {each["name"] for each in ok(operator.post("/api/devices", json=form))} == {
            plain["name"],
            special["name"],
        }
        assert ok(operator.post("/api/devices", json={**form, "relationType": "Manages"})) == []
        for missing in ("parameters", "deviceTypes"):
            refused(operator.post("/api/devices", json={**form, missing: None}), 404, 32)


@on_both_databases
def test_relations_end_with_their_entities(server):
    with login(server) as operator:
        customer, user = new_customer(server, operator)
        who = ok(user.get("/api/auth/user"))["id"]
        user.close()
        other_user = ok(operator.post("/api/user", json={"email": "a@b.c", "authority": "TENANT_ADMIN"}))["id"]
        device, profile, root = new_device(operator)["id"], new_profile(operator)["id"], new_device(operator)["id"]
        for entity in (customer["id"], who, other_user, device, profile):
            relate(operator, root, entity)
            relate(operator, entity, root)
        for path in (f"customer/{customer['id']['id']}", f"user/{other_user['id']}", f"device/{device['id']}"):
            ok(operator.delete(f"/api/{path}"))
        ok(operator.delete(f"/api/deviceProfile/{profile['id']}"))
        assert ok(operator.get("/api/relations", params=end(root))) == []
        assert ok(operator.get("/api/relations", params=end(root, "to"))) == []


def test_only_common_relations_of_an_entity_are_deleted_at_once(shared_operator):
    root, other = devices(shared_operator, 2)
    relate(shared_operator, root, other)
    relate(shared_operator, other, root)
    relate(shared_operator, root, other, typeGroup="EDGE")
    ok(shared_operator.delete("/api/relations", params={"entityId": root["id"], "entityType": "DEVICE"}))
    assert ok(shared_operator.get("/api/relations", params=end(root))) == []
    assert ok(shared_operator.get("/api/relations", params=end(root, "to"))) == []
    assert len(ok(shared_operator.get("/api/relations", params={**end(root), "relationTypeGroup": "EDGE"}))) == 1


def test_customer_relates_only_what_is_theirs(shared_server, shared_operator, acme):
    customer, user, own = acme
    me, foreign = ok(user.get("/api/auth/user"))["id"], new_device(shared_operator)["id"]
    tenant = ok(shared_operator.get("/api/auth/user"))["tenantId"]
    relate(user, own, me)
    for other in (foreign, customer, tenant, new_profile(shared_operator)["id"]):
        for form in ({"from": own, "to": other}, {"from": other, "to": own}):
            refused(user.post("/api/relation", json={**form, "type": "Contains"}), 403, 20, DENIED)
    relate(shared_operator, own, foreign)
    relate(shared_operator, own, customer)
    seen = sorted([(own["id"], me["id"]), (own["id"], customer["id"])])
    assert names(ok(user.get("/api/relations", params=end(own)))) == seen
    assert names(ok(user.post("/api/relations", json=query(own, maxLevel=9)))) == seen
    refused(user.get("/api/relation", params=key(own, foreign)), 403, 20, DENIED)
    refused(user.delete("/api/relation", params=key(own, foreign)), 403, 20, DENIED)
    refused(user.delete("/api/relations", params={"entityId": foreign["id"], "entityType": "DEVICE"}), 403, 20, DENIED)
    for other in (foreign, tenant):
        refused(user.get("/api/relations", params=end(other)), 403, 20, DENIED)
        refused(user.get("/api/relations/info", params=end(other, "to")), 403, 20, DENIED)
        refused(user.post("/api/relations", json=query(other)), 403, 20, DENIED)
        refused(user.post("/api/devices", json={**query(other), "deviceTypes": ["default"]}), 403, 20, DENIED)
    found = ok(user.post("/api/devices", json={**query(customer, "TO"), "deviceTypes": ["default"]}))
    assert [each["id"] for each in found] == [own]
    with client(shared_server) as anonymous:
        refused(anonymous.get("/api/relations", params=end(own)), 401, 10)


def test_both_ends_are_in_the_audit_trail(shared_operator):
    one, other = devices(shared_operator, 2)
    relate(shared_operator, one, other)
    ok(shared_operator.delete("/api/relation", params=key(one, other)))
    ok(shared_operator.delete("/api/relations", params={"entityId": one["id"], "entityType": "DEVICE"}))

    def actions(of):
        page = f"/api/audit/logs/entity/DEVICE/{of['id']}?pageSize=9&page=0&sortProperty=createdTime"
        return [each["actionType"] for each in ok(shared_operator.get(page))["data"]][1:]

    assert actions(one) == ["RELATION_ADD_OR_UPDATE", "RELATION_DELETED", "RELATIONS_DELETED"]
    assert actions(other) == ["RELATION_ADD_OR_UPDATE", "RELATION_DELETED"]


def test_relations_of_an_entity_are_bounded(shared_operator, monkeypatch):
    monkeypatch.setattr(relations, "RELATIONS", 3)
    root, *others = devices(shared_operator, 5)
    for other in others[:3]:
        relate(shared_operator, root, other)
    relate(shared_operator, root, others[0])  # it is there
    for from_, to in ((root, others[3]),):
        refused(shared_operator.post("/api/relation", json={"from": from_, "to": to, "type": "Contains"}), 400, 31)
    refused(shared_operator.post("/api/relations", json=query(root)), 400, 31)


def test_kind_that_thingsboard_does_not_have_is_400(shared_operator):
    unknown = "No enum constant org.thingsboard.server.common.data.EntityType.x"
    answer = shared_operator.get("/api/relations", params={"fromId": str(uuid.uuid4()), "fromType": "x"})
    refused(answer, 400, 31, unknown)
    refused(
        shared_operator.get("/api/relations", params={"fromId": "x", "fromType": "DEVICE"}),
        400,
        31,
        "Invalid UUID string: x",
    )
