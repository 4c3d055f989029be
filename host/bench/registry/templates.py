"""Templates of profiles and devices' own values, as they are stored. Functions run in a transaction.

A device stores nothing but its own values, so a change of its template shows at once, and takes nothing from it: the
values of a field that is gone, or has another type now, are hidden until it is back. Values are stored as JSON text,
as those of attributes are: so queries compare all of them in one way.
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import and_, case, func, select
from sqlalchemy.orm import Session

from bench.contract import broker_topics, templates
from bench.contract.broker_topics import Topics
from bench.contract.templates import Template, Value, ValueType
from bench.registry.model import Device, Profile


def of_profile(profile: Profile) -> Template:
    """Return the template of a profile."""
    found = dict(profile.template)
    fields = {name: {**each} for name, each in found.get("fields", {}).items()}
    for each in fields.values():
        if "default" in each:
            each["default"] = json.loads(each["default"])
    return templates.parse({**found, "fields": fields})


def set_template(profile: Profile, template: Template) -> None:
    """Replace the template of a profile."""
    found = template.to_json()
    for each in found.get("fields", {}).values():
        if "default" in each:
            each["default"] = json.dumps(each["default"])
    profile.template = found


def topics(prefix: str, profile_name: str, name: str, stored: Mapping[str, Any]) -> Topics:
    """Return the topics of a device.

    Args:
        prefix: The server's.
        profile_name: The name of its profile.
        name: Its own.
        stored: The template of its profile, as it is stored.
    """
    return Topics.of(prefix, profile_name, name, stored.get("topics", broker_topics.PATTERN))


def value(name: str) -> Any:
    """Return the value of a field as SQL: JSON text, of rows of `device` and `profile`; NULL where there is none.

    Raises:
        KeyError: No field has such a name.
    """
    if not templates.is_name(name):
        raise KeyError(name)
    kind = Profile.template["fields", name, "type"].as_string()
    default = Profile.template["fields", name, "default"].as_string()
    text = Device.fields[name].as_string()
    own_kind = case(
        (func.substr(text, 1, 1) == '"', ValueType.TEXT.value),
        (text.in_(["true", "false"]), ValueType.BOOLEAN.value),
        else_=ValueType.NUMBER.value,
    )
    return case((and_(text.is_not(None), own_kind == kind), text), else_=default)


def values(session: Session, device_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, dict[str, Value | None]]:
    """Return the values of all fields of devices."""
    found = session.scalars(select(Device).where(Device.id.in_(device_ids))).all()
    profiles = session.scalars(select(Profile).where(Profile.id.in_({each.profile_id for each in found})))
    inherited = {each.id: of_profile(each) for each in profiles}
    return {each.id: templates.effective(inherited[each.profile_id], own(each)) for each in found}


def of_device(session: Session, device: Device) -> Template:
    """Return the template that a device inherits from."""
    return of_profile(session.get_one(Profile, device.profile_id))


def own(device: Device) -> dict[str, Value]:
    """Return the values that a device has of its own, hidden ones among them."""
    return {name: json.loads(text) for name, text in device.fields.items()}


def shown(template: Template, device: Device) -> dict[str, Value]:
    """Return the values that a device has of its own and shows, by name: without hidden ones."""
    values = own(device)
    return {name: values[name] for name, each in sorted(template.fields.items()) if each.is_valid(values.get(name))}


def change_own(session: Session, device: Device, changes: Mapping[str, Value | None]) -> None:
    """Change values of a device; None removes one. Raises Refused as `templates.changed` does."""
    device.fields = stored(templates.changed(of_device(session, device), own(device), changes))


def of_new_device(template: Template, values: Mapping[str, Value | None]) -> dict[str, str]:
    """Return what a new device stores.

    Args:
        template: Its profile's.
        values: Of fields; None: it has none yet, even of a required field.

    Raises:
        Refused: It must not have them, or lacks some.
    """
    found = templates.changed(template, {}, {name: each for name, each in values.items() if each is not None})
    template.check_complete(found, values.keys() - found.keys())
    return stored(found)


def stored(values: Mapping[str, Value]) -> dict[str, str]:
    """Return values as a device stores them."""
    return {name: json.dumps(value) for name, value in values.items()}
