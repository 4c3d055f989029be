"""The operators' API: the part of ThingsBoard's REST API that the bench needs, with its paths and JSON."""

from bench.server.http.operator import audit, auth, customers, devices, imports, profiles, rpc, telemetry, users
from bench.server.http.operator.authorization import Operators
from bench.server.http.operator.errors import HANDLERS

ROUTERS = (
    auth.public,
    auth.authenticated,
    profiles.router,
    imports.router,
    devices.router,
    telemetry.router,
    rpc.router,
    customers.router,
    users.router,
    audit.router,
)

__all__ = ["HANDLERS", "ROUTERS", "Operators"]
