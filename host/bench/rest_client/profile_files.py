"""Profiles as files: in the form that ThingsBoard's own pages export and import."""

import json
from contextlib import suppress
from enum import StrEnum
from typing import Any

from bench.contract import templates
from bench.errors import BenchError, NotFound, UsageError
from bench.registry.names import random_text
from bench.registry.provision_type import ProvisionType
from bench.rest_client.session import id_of, json_object
from bench.rest_client.thingsboard import ThingsBoard

# Of one server alone; ThingsBoard's pages leave them out, too.
_OWN = ("id", "tenantId", "customerId", "createdTime", "externalId", "version", "searchText")
# What a profile names and another server may not have: the member, its route, and the word for it.
_REFERENCES = (
    ("defaultRuleChainId", "/api/ruleChain/{}", "rule chain"),
    ("defaultEdgeRuleChainId", "/api/ruleChain/{}", "edge rule chain"),
    ("defaultDashboardId", "/api/dashboard/info/{}", "dashboard"),
    ("firmwareId", "/api/otaPackage/info/{}", "firmware package"),
    ("softwareId", "/api/otaPackage/info/{}", "software package"),
)
_CHAIN = ProvisionType.X509_CERTIFICATE_CHAIN


class Secret(StrEnum):
    """A choice for a profile's provisioning key and secret at the other server."""

    KEEP = "keep"
    NEW = "new"
    NONE = "none"


def parse(text: str, where: str) -> dict[str, Any]:
    """Return the profile in a file's text. Raises UsageError if there is none, also for its template."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("name"), str) or not found["name"]:
        raise UsageError(f"{where} holds no profile: name a file of bench profile export, or of ThingsBoard's pages")
    if not isinstance(found.get("profileData"), dict):
        raise UsageError(f"{where} holds a profile without profileData: export it again")
    if "template" in found:
        templates.parse(found["template"])
    return found


def portable(profile: dict[str, Any], secret: Secret) -> dict[str, Any]:
    """Return a profile without what belongs to its server alone.

    Args:
        profile: As a server gave it.
        secret: `new` gives it a random key and secret; `none` leaves it without, so that it provisions nobody.

    Raises:
        UsageError: A new secret is wanted for certificate chains, whose secret is the CA's certificate.
    """
    found = {key: value for key, value in profile.items() if key not in _OWN}
    found["default"] = False
    kind = found.get("provisionType") or ProvisionType.DISABLED
    if secret is Secret.KEEP or kind == ProvisionType.DISABLED:
        return found
    data = dict(found.get("profileData") or {})
    if secret is Secret.NONE:
        found |= {"provisionType": ProvisionType.DISABLED, "provisionDeviceKey": None}
        data["provisionConfiguration"] = {"type": ProvisionType.DISABLED}
    elif kind == _CHAIN:
        raise UsageError("a profile for certificate chains has a CA's certificate, not a secret: use keep or none")
    else:
        found["provisionDeviceKey"] = random_text()
        configuration = dict(data.get("provisionConfiguration") or {})
        data["provisionConfiguration"] = {**configuration, "provisionDeviceSecret": random_text()}
    return {**found, "profileData": data}


async def export(server: ThingsBoard, profile: dict[str, Any], secret: Secret) -> dict[str, Any]:
    """Return a profile of a server as `portable` does, with its template if it has one. Raises UsageError likewise."""
    template = await server.template(id_of(profile))
    found = portable(profile, secret)
    return {**found, "template": template.to_json()} if template and template.to_json() else found


async def store(
    server: ThingsBoard, profile: dict[str, Any], *, replace: bool
) -> tuple[dict[str, Any], bool, list[str]]:
    """Store a profile from another server, and return it with what this server did not take.

    Args:
        server: Where to.
        profile: As `portable` returns it.
        replace: Change the profile of this name if there is one; its devices stay.

    Returns:
        The profile as it is now, whether it was made, and a line for each part that is not as in the file.

    Raises:
        BenchError: There is a profile of this name, and `replace` is false.
        Declined: The server refuses it.
    """
    name, old = profile["name"], None
    with suppress(NotFound):
        old = await server.profile(name)
    if old is not None and not replace:
        raise BenchError(f"there is a profile {name}: give the other one a --name, or change this one with --replace")
    wanted, lost = await _without_missing(server, profile)
    template = wanted.pop("template", None)
    if old is not None:
        own = {key: old[key] for key in ("id", "version", "default") if old.get(key) is not None}
        wanted = {**wanted, **own}
    stored = json_object(await server.post("/api/deviceProfile", wanted))
    kept = {key: value for key, value in wanted.items() if key not in {*_OWN, "default"}}
    lost += [f"{path}: this server does not keep it" for path in _missing(kept, stored)]
    if template is not None:
        try:
            await server.set_template(id_of(stored), templates.parse(template))
        except NotFound:
            lost.append("template: this server does not keep it")
    return stored, old is None, lost


async def _without_missing(server: ThingsBoard, profile: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return a profile without references to what this server does not have, and a line for each."""
    found, lost = dict(profile), []
    for member, route, what in _REFERENCES:
        reference = found.get(member)
        if reference is None:
            continue
        own = reference.get("id") if isinstance(reference, dict) else None
        try:
            await server.get(route.format(own))
        except BenchError:  # whatever the reason, it cannot be named here
            del found[member]
            lost.append(f"{member}: this server does not have that {what}")
    return found, lost


def _missing(wanted: dict[str, Any], got: dict[str, Any], above: str = "") -> list[str]:
    """Return the paths of members that are not, or not the same, in the other object. Null is as good as none."""
    found = []
    for key, value in wanted.items():
        other, path = got.get(key), f"{above}{key}"
        if isinstance(value, dict) and isinstance(other, dict):
            found += _missing(value, other, f"{path}.")
        elif value != other and value not in (None, [], {}, ""):
            found.append(path)
    return found
