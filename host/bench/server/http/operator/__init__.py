"""ThingsBoard's REST API, as far as managing devices needs it: same paths, same JSON, same errors."""

from bench.server.http.operator import auth, customers, devices, imports, profiles, rpc, telemetry, trail, users
from bench.server.http.operator.guard import Operators
from bench.server.http.operator.refusals import HANDLERS

ROUTERS = (
    auth.public,
    auth.guarded,
    profiles.router,
    imports.router,
    devices.router,
    telemetry.router,
    rpc.router,
    customers.router,
    users.router,
    trail.router,
)

__all__ = ["HANDLERS", "ROUTERS", "Operators"]
