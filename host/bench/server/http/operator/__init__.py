"""The operators' API: the part of ThingsBoard's REST API that the bench needs, with its paths and JSON."""

from bench.server.http.operator import (
    attributes,
    audit,
    auth,
    connectivity,
    customers,
    devices,
    entity_query,
    group_keys,
    hooks,
    imports,
    keys,
    lifecycle,
    packages,
    persistent_rpc,
    profiles,
    records,
    relations,
    rpc,
    saving,
    system,
    telemetry,
    templates,
    users,
)
from bench.server.http.operator.authorization import Operators
from bench.server.http.operator.errors import HANDLERS

_ROUTERS = (
    auth.logins,
    auth.public,
    auth.authenticated,
    profiles.router,
    group_keys.router,
    imports.router,
    devices.router,
    records.router,
    saving.router,
    lifecycle.router,
    templates.router,
    packages.router,
    attributes.router,
    telemetry.router,
    rpc.router,
    persistent_rpc.router,
    persistent_rpc.list_router,
    customers.router,
    users.router,
    keys.router,
    audit.router,
    hooks.router,
    entity_query.router,
    connectivity.router,
    relations.router,
    connectivity.public,
    system.router,
    system.public,
)
ROUTES = [route for router in _ROUTERS for route in router.routes]

__all__ = ["HANDLERS", "ROUTES", "Operators"]
