"""Packages of a server, made as operators make them."""

from tests.support.operators import name, ok

CONTENT = bytes(range(256)) * 9


def new_package(operator, content=CONTENT, kind="FIRMWARE", **fields):
    """Make a package with some content; None leaves it without."""
    form = {"type": kind, "title": name("package"), "version": "1.0", **fields}
    made = ok(operator.post("/api/otaPackage", json=form))
    return made if content is None else upload(operator, made, content)


def upload(operator, package, content=CONTENT, algorithm="SHA256", **query):
    return ok(send(operator, package, content, algorithm, **query))


def send(operator, package, content=CONTENT, algorithm="SHA256", **query):
    """Upload content, and return the answer."""
    path = f"/api/otaPackage/{package['id']['id']}"
    files = {"file": ("press.bin", content, "application/octet-stream")}
    return operator.post(path, params={"checksumAlgorithm": algorithm, **query}, files=files)


def assign(operator, device, package, key="firmwareId"):
    """Give a device a package of its own, or with None the one of its profile."""
    found = ok(operator.get(f"/api/device/{device['id']['id']}"))
    return ok(operator.post("/api/device", json={**found, key: None if package is None else package["id"]}))
