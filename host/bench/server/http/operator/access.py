"""The routes that each role may use; docs/roles.md has them all.

What is not listed here is open to the role `operator` alone, unless it only reads: that the role `read-only` may, too.
"""

from collections.abc import Collection

from bench.registry.roles import Role

READING = {"GET", "HEAD"}
READING_POSTS = {
    "/api/entitiesQuery/find",
    "/api/entitiesQuery/count",
    "/api/relations",
    "/api/relations/info",
    "/api/devices",
}
"""They only read, as their queries are too long for a URL."""
LOGOUT = "/api/auth/logout"
WEBSOCKET = "/api/ws"
# What everybody with an account may do with it.
_OWN = {("POST", LOGOUT), ("POST", "/api/auth/changePassword"), ("GET", "/api/auth/user")}
# Reading them is as good as what they open.
_CREDENTIALS = {
    "/api/device/{deviceId}/credentials",
    "/api/user/{userId}/token",
    "/api/user/{userId}/activationLink",
    "/api/hooks",
    "/api/hooks/dead",
}
_PROVISIONING = "/api/provisioning/deviceProfile/{deviceProfileId}"
# The requests of `bench flash` and `bench board new`, for one board or a tray, with labels or without.
LINE = {
    ("GET", "/api/deviceProfiles"),
    ("GET", "/api/deviceProfile/{deviceProfileId}"),
    ("GET", _PROVISIONING),
    ("POST", f"{_PROVISIONING}/deviceKeys"),
    ("GET", "/api/tenant/devices"),
    ("GET", "/api/device-connectivity/{deviceId}"),
}


def may_use(roles: Collection[Role], method: str, path: str) -> bool:
    """Return whether somebody with these roles, all of which bind them, may use a route.

    Args:
        roles: The account's, and that of the API key.
        method: HTTP's.
        path: The route's path, with its parameters' names.
    """
    return all(_allows(role, method, path) for role in roles)


def _allows(role: Role, method: str, path: str) -> bool:
    if role is Role.OPERATOR or (method, path) in _OWN:
        return True
    if role is Role.LINE:
        return ("GET" if method == "HEAD" else method, path) in LINE
    return is_reading(method, path) and path not in _CREDENTIALS


def is_reading(method: str, path: str) -> bool:
    """Return whether a request changes nothing."""
    return method in READING or (method == "POST" and path in READING_POSTS)


def may_read_credentials(roles: Collection[Role]) -> bool:
    """Return whether somebody with these roles may read what devices log in with."""
    return all(role is Role.OPERATOR for role in roles)


def may_read_provisioning_secrets(roles: Collection[Role]) -> bool:
    """Return whether somebody with these roles may read the secrets that boards are flashed with."""
    return Role.READ_ONLY not in roles
