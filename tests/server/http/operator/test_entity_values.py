"""Attributes and telemetry of entities that are not devices: profiles, customers, users, the tenant."""

import uuid

import pytest
from sqlalchemy import text

from bench.registry import pruning, timeseries
from bench.registry.retention import Retention
from tests.support.operators import login, new_customer, new_device, new_profile, ok, plain
from tests.support.servers import on_both_databases

ABSENT = "00000000-0000-0000-0000-000000000001"
DENIED = "You don't have permission to perform this operation!"
NAMES = {"DEVICE_PROFILE": "Device profile", "CUSTOMER": "Customer", "USER": "User", "TENANT": "Tenant"}


def base(of):
    return f"/api/plugins/telemetry/{of['entityType']}/{of['id']}"


def entities(operator, customer):
    me = ok(operator.get("/api/auth/user"))
    return [new_profile(operator)["id"], customer["id"], me["id"], me["tenantId"]]


@pytest.mark.parametrize("kind", NAMES)
def test_entity_that_is_not_there_has_no_values(shared_operator, kind):
    path = base({"entityType": kind, "id": ABSENT})
    absent = f"{NAMES[kind]} with requested id wasn't found!"
    plain(shared_operator.get(f"{path}/values/attributes"), 404, absent)
    plain(shared_operator.get(f"{path}/values/timeseries"), 404, absent)
    plain(shared_operator.post(f"{path}/SERVER_SCOPE", json={"a": 1}), 404, absent)
    plain(shared_operator.post(f"{path}/timeseries/ANY", json={"a": 1}), 404, absent)
    plain(shared_operator.delete(f"{path}/SERVER_SCOPE?keys=a"), 404, absent)
    plain(shared_operator.delete(f"{path}/timeseries/delete?keys=a&deleteAllDataForKeys=true"), 404, absent)


@on_both_databases
def test_values_of_every_kind_are_stored_read_and_deleted(server):
    with login(server) as operator:
        customer, user = new_customer(server, operator)
        user.close()
        for number, of in enumerate(entities(operator, customer)):
            path = base(of)
            ok(operator.post(f"{path}/SERVER_SCOPE", json={"mode": "auto", "n": number}))
            ok(operator.post(f"{path}/attributes/SHARED_SCOPE", json={"shared": "7"}))
            found = {each["key"]: each["value"] for each in ok(operator.get(f"{path}/values/attributes"))}
            assert found == {"mode": "auto", "n": number, "shared": 7}
            assert ok(operator.get(f"{path}/keys/attributes/SERVER_SCOPE")) == ["mode", "n"]
            ok(operator.delete(f"{path}/SERVER_SCOPE?keys=mode"))
            assert ok(operator.get(f"{path}/keys/attributes")) == ["n", "shared"]
            for ts in (1000, 2000, 3000):
                ok(operator.post(f"{path}/timeseries/ANY", json={"ts": ts, "values": {"t": ts + number}}))
            ok(operator.post(f"{path}/timeseries/ANY/60", json={"ts": 500, "values": {"t": 1}}))
            assert ok(operator.get(f"{path}/keys/timeseries")) == ["t"]
            assert ok(operator.get(f"{path}/values/timeseries?useStrictDataTypes=true")) == {
                "t": [{"ts": 3000, "value": 3000 + number}]
            }
            span = {"keys": "t", "startTs": 500, "endTs": 3000, "orderBy": "ASC"}
            entries = ok(operator.get(f"{path}/values/timeseries", params=span))["t"]
            assert [each["ts"] for each in entries] == [500, 1000, 2000]
            summed = ok(operator.get(f"{path}/values/timeseries", params={**span, "agg": "COUNT", "interval": 5000}))
            assert [each["value"] for each in summed["t"]] == ["3"]
            last = "keys=t&startTs=3000&endTs=3001&rewriteLatestIfDeleted=true"
            ok(operator.delete(f"{path}/timeseries/delete?{last}"))
            assert ok(operator.get(f"{path}/values/timeseries"))["t"][0]["ts"] == 2000
            ok(operator.delete(f"{path}/timeseries/delete?keys=t&deleteAllDataForKeys=true"))
            assert ok(operator.get(f"{path}/values/timeseries")) == {}


def test_changes_are_in_the_audit_trail(shared_operator):
    of = new_profile(shared_operator)["id"]
    ok(shared_operator.post(f"{base(of)}/SERVER_SCOPE", json={"a": 1}))
    ok(shared_operator.post(f"{base(of)}/timeseries/ANY", json={"a": 1}))
    ok(shared_operator.delete(f"{base(of)}/SERVER_SCOPE?keys=a"))
    page = f"/api/audit/logs/entity/DEVICE_PROFILE/{of['id']}?pageSize=9&page=0&sortProperty=createdTime"
    rows = ok(shared_operator.get(page))["data"][1:]
    assert [each["actionType"] for each in rows] == ["ATTRIBUTES_UPDATED", "TIMESERIES_UPDATED", "ATTRIBUTES_DELETED"]
    assert {each["entityId"]["entityType"] for each in rows} == {"DEVICE_PROFILE"}
    tenant = ok(shared_operator.get("/api/auth/user"))["tenantId"]
    ok(shared_operator.post(f"{base(tenant)}/SERVER_SCOPE", json={"a": 1}))
    (row,) = ok(shared_operator.get(f"/api/audit/logs/entity/TENANT/{tenant['id']}?pageSize=9&page=0"))["data"]
    assert (row["entityId"], row["actionType"]) == (tenant, "ATTRIBUTES_UPDATED")


def test_customer_s_user_reads_the_customer_and_changes_only_themselves(shared_server, shared_operator):
    customer, user = new_customer(shared_server, shared_operator)
    other, stranger = new_customer(shared_server, shared_operator)
    with user, stranger:
        me, them = ok(user.get("/api/auth/user"))["id"], ok(stranger.get("/api/auth/user"))["id"]
        ok(shared_operator.post(f"{base(customer['id'])}/SERVER_SCOPE", json={"plan": "gold"}))
        assert ok(user.get(f"{base(customer['id'])}/values/attributes"))[0]["value"] == "gold"
        ok(user.post(f"{base(me)}/SERVER_SCOPE", json={"theme": "dark"}))
        ok(user.post(f"{base(me)}/timeseries/ANY", json={"seen": 1}))
        tenant, profile = ok(shared_operator.get("/api/auth/user"))["tenantId"], new_profile(shared_operator)["id"]
        for of in (other["id"], them, tenant, profile):
            plain(user.get(f"{base(of)}/values/attributes"), 403, DENIED)
            plain(user.get(f"{base(of)}/values/timeseries"), 403, DENIED)
        for of in (customer["id"], other["id"], them, tenant, profile):
            plain(user.post(f"{base(of)}/SERVER_SCOPE", json={"a": 1}), 403, DENIED)
            plain(user.post(f"{base(of)}/timeseries/ANY", json={"a": 1}), 403, DENIED)
            plain(user.delete(f"{base(of)}/SERVER_SCOPE?keys=a"), 403, DENIED)
            plain(user.delete(f"{base(of)}/timeseries/delete?keys=a&deleteAllDataForKeys=true"), 403, DENIED)


def test_values_of_an_entity_are_bounded(shared_operator):
    of = new_profile(shared_operator)["id"]
    full = "a device has room for 10000 keys, and for 4194304 characters of keys and values"
    many = {f"k{number}": 1 for number in range(10_001)}
    plain(shared_operator.post(f"{base(of)}/SERVER_SCOPE", json=many), 400, full)
    plain(shared_operator.post(f"{base(of)}/timeseries/ANY", json=many), 400, full)
    assert ok(shared_operator.get(f"{base(of)}/keys/attributes")) == []


@on_both_databases
def test_values_end_with_their_entity(server):
    with login(server) as operator:
        customer, user = new_customer(server, operator)
        profile, their = new_profile(operator)["id"], ok(user.get("/api/auth/user"))["id"]
        alone = ok(operator.post("/api/user", json={"email": "a@b.c", "authority": "TENANT_ADMIN"}))["id"]
        user.close()
        for of in (customer["id"], their, profile, alone):
            ok(operator.post(f"{base(of)}/SERVER_SCOPE", json={"a": 1}))
            ok(operator.post(f"{base(of)}/timeseries/ANY", json={"a": 1}))
        device = new_device(operator)
        ok(operator.post(f"{base(device['id'])}/SERVER_SCOPE", json={"a": 1}))
        ok(operator.delete(f"/api/customer/{customer['id']['id']}"))
        ok(operator.delete(f"/api/deviceProfile/{profile['id']}"))
        ok(operator.delete(f"/api/user/{alone['id']}"))
        assert ok(operator.get(f"{base(device['id'])}/keys/attributes/SERVER_SCOPE"))
    for table in ("entity_attribute", "entity_telemetry", "entity_telemetry_history"):
        assert rows_in(server, table) == 0


def rows_in(server, table):
    counted = text(f"SELECT count(*) FROM {table}")
    return server.query(lambda registry: registry.read(lambda session: session.scalar(counted)))


@on_both_databases
def test_history_of_entities_is_pruned_by_age_and_size(run):
    day, now = 86_400_000, 100 * 86_400_000
    talkative, quiet = uuid.uuid4(), uuid.uuid4()

    async def scenario(registry):
        def fill(session):
            for age in (95, 80, 1):
                timeseries.add_telemetry(session, quiet, [(now - age * day, "t", age)], timeseries.OTHERS)
            many = [(now - number, "t", "x" * 500) for number in range(3_000)]
            timeseries.add_telemetry(session, talkative, many, timeseries.OTHERS)

        await registry.write(fill)
        pruned = await pruning.prune(registry, Retention(history_days=90, history_mb=1), now)

        def left(session):
            span = timeseries.Span(from_ms=0, to_ms=now + 1, limit=9_999)
            return [len(timeseries.history(session, of, "t", span, timeseries.OTHERS)) for of in (quiet, talkative)]

        return pruned.history, await registry.read(left)

    deleted, (of_quiet, of_talkative) = run(scenario)
    assert of_quiet == 2
    assert 1_000 < of_talkative < 2_000
    assert deleted == 1 + 3_000 - of_talkative
