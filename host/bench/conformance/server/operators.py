"""Checks of what operators see, as far as releases of ThingsBoard differ in it."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from bench.conformance.check import Broken
from bench.conformance.server import mqtt_wire
from bench.conformance.server.check_list import CheckList
from bench.conformance.server.subject import CheckedServer
from bench.errors import NotFound
from bench.rest_client import Declined, ThingsBoard, id_of, json_object

_SOURCE = "ThingsBoard: operators' REST"
_SHARED = "SHARED_SCOPE"
# A session that has just begun may survive new credentials; one that ends may take a moment to.
_SETTLED_S, _ENDED_S = 0.2, 0.5
_PAUSE_S = 0.05

checks = CheckList()


@checks.add("operator.unchanged_credentials", _SOURCE, about="keeps_sessions")
def _unchanged_credentials(server: CheckedServer) -> None:
    """Credentials that are saved unchanged leave the session of their device; before 4.3.1.3 they end it."""

    async def save(operator: ThingsBoard) -> None:
        async with made_device(operator, server) as device:
            own = await operator.credentials(id_of(device))
            with mqtt_wire.session(server.addresses, own["credentialsId"]) as line:
                await asyncio.sleep(_SETTLED_S)
                await operator.post("/api/device/credentials", own)
                try:
                    ended = line.receive(time.monotonic() + _ENDED_S) is None
                except Broken:  # nothing came: it is still open
                    ended = False
        server.as_release.see("keeps_sessions", not ended, "the session ends" if ended else "the session stays")

    server.operate(save)


@checks.add("operator.json_cell", _SOURCE, about="reads_json_cells")
def _json_cell(server: CheckedServer) -> None:
    """JSON in a cell of an import is a value; before 4.3.1.3 it is text."""

    async def load(operator: ThingsBoard) -> None:
        name, columns = server.new_name(), [{"type": "NAME"}, {"type": "SHARED_ATTRIBUTE", "key": "conformance"}]
        await operator.bulk_import(f'name;value\n{name};"{{""a"":1}}"\n', columns, ";")
        device_id = await operator.device_id(name)
        try:
            value = await _attribute(server, operator, device_id)
        finally:
            await operator.delete(device_id)
        if value not in ({"a": 1}, '{"a":1}'):
            raise Broken("the cell has another value")
        is_json = isinstance(value, dict)
        server.as_release.see("reads_json_cells", is_json, "the cell is a value" if is_json else "the cell is text")

    server.operate(load)


@checks.add("operator.unique_name", _SOURCE, about="makes_names_unique")
def _unique_name(server: CheckedServer) -> None:
    """nameConflictPolicy=UNIQUIFY makes another name of one that is taken; before 4.3 that is refused."""

    async def save(operator: ThingsBoard) -> None:
        async with made_device(operator, server) as device:
            try:
                made = await operator.request(
                    "POST",
                    "/api/device",
                    params={"nameConflictPolicy": "UNIQUIFY"},
                    json={"name": device["name"], "type": device["type"]},
                )
            except Declined:
                made = None
            else:
                await operator.delete(id_of(json_object(made)))
        unique = made is not None
        server.as_release.see("makes_names_unique", unique, "a name is made" if unique else "the name is refused")

    server.operate(save)


@checks.add("operator.api_keys", _SOURCE, about="has_api_keys")
def _api_keys(server: CheckedServer) -> None:
    """A user's API keys are listed; before 4.3 there are none, and the route is 404."""

    async def look(operator: ThingsBoard) -> None:
        me = id_of(json_object(await operator.get("/api/auth/user")))
        there = await _is_there(operator, f"/api/apiKeys/{me}", {"pageSize": 1, "page": 0})
        server.as_release.see("has_api_keys", there, "there are API keys" if there else "there are no API keys")

    server.operate(look)


@checks.add("operator.newer_routes", _SOURCE, about="has_newer_routes")
def _newer_routes(server: CheckedServer) -> None:
    """tenant/device, deviceInfos/all, deviceProfileInfos/list and customers/list exist; before 4.4 they are 404."""

    async def look(operator: ThingsBoard) -> None:
        async with made_device(operator, server) as device:
            routes: dict[str, dict[str, Any]] = {
                "tenant/device": {"deviceName": device["name"]},
                "deviceInfos/all": {"pageSize": 1, "page": 0},
                "deviceProfileInfos/list": {"deviceProfileIds": device["deviceProfileId"]["id"]},
                "customers/list": {"customerIds": str(uuid.uuid4())},
            }
            there = [each for each, query in routes.items() if await _is_there(operator, f"/api/{each}", query)]
        if there and len(there) < len(routes):
            raise Broken(f"only {', '.join(there)} is there: no release has some of these routes")
        server.as_release.see("has_newer_routes", bool(there), "they exist" if there else "they are 404")

    server.operate(look)


@asynccontextmanager
async def made_device(operator: ThingsBoard, server: CheckedServer) -> AsyncIterator[dict[str, Any]]:
    """Make a device of the default profile, and delete it at the end."""
    made = json_object(await operator.post("/api/device", {"name": server.new_name()}))
    try:
        yield made
    finally:
        await operator.delete(id_of(made))


async def _attribute(server: CheckedServer, operator: ThingsBoard, device_id: str) -> Any:
    """Return the attribute `conformance`, which may be stored some time after the answer. Raises Broken."""
    deadline = time.monotonic() + server.addresses.patience_s
    while "conformance" not in (found := await operator.attributes(device_id, _SHARED)):
        if time.monotonic() > deadline:
            raise Broken("the attribute of the cell never came")
        await asyncio.sleep(_PAUSE_S)
    return found["conformance"]


async def _is_there(operator: ThingsBoard, path: str, query: dict[str, Any]) -> bool:
    try:
        await operator.get(path, **query)
    except NotFound:
        return False
    return True
