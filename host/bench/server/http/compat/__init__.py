"""APIs in the form of other systems: thin routes over the registry's functions, for operators and customers' users."""

from bench.server.http.compat import devicehub, xively

ROUTES = [*xively.router.routes, *devicehub.router.routes]

__all__ = ["ROUTES"]
