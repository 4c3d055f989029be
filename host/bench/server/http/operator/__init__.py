"""ThingsBoard's REST API, as far as managing devices needs it: same paths, same JSON, same errors."""

from bench.server.http.operator import auth, devices, profiles
from bench.server.http.operator.guard import Operators
from bench.server.http.operator.refusals import HANDLERS

ROUTERS = (auth.public, auth.guarded, profiles.router, devices.router)

__all__ = ["HANDLERS", "ROUTERS", "Operators"]
