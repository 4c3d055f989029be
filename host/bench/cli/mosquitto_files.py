"""Files for mosquitto: devices with their passwords and topics, for a broker that asks nobody."""

import hashlib
import json
import os
import re
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from bench.contract.broker_topics import Topics
from bench.contract.credentials import CredentialsType
from bench.errors import UsageError

# As mosquitto_passwd makes them. Boards make passwords of 128 random bits, for which any number of rounds will do.
_ROUNDS, _SALT_BYTES = 101, 12
# What a line of a password file cannot hold: it ends a name at the colon, and a line of an ACL file is stripped.
_UNFIT = re.compile(r"[\x00-\x1f\x7f:]|^[\s#]|\s$")
_ROLE = "firstboot device "


@dataclass(frozen=True)
class Account:
    """A device's account at a broker."""

    name: str
    username: str = field(repr=False)
    password: str = field(repr=False)
    topics: Topics


def account(device: dict[str, Any], own: dict[str, Any], prefix: str, pattern: str) -> Account | str:
    """Return the account of a device, or why it can have none.

    Args:
        device: As ThingsBoard's API has it: `name` and `type`.
        own: Its credentials, likewise.
        prefix: Of the topics.
        pattern: Of the topics of its profile.
    """
    topics = Topics.of(prefix, device["type"], device["name"], pattern)
    if own["credentialsType"] == CredentialsType.ACCESS_TOKEN:
        return _checked(Account(device["name"], own["credentialsId"], own["credentialsId"], topics))
    if own["credentialsType"] != CredentialsType.MQTT_BASIC:
        return f"{own['credentialsType']} is nothing that mosquitto compares with a file"
    parts = json.loads(own["credentialsValue"])
    if parts.get("clientId") not in (None, "", device["name"]):
        return "its client id is not its name"
    if not parts.get("userName") or not parts.get("password"):
        return "it has no user name and password"
    return _checked(Account(device["name"], parts["userName"], parts["password"], topics))


def _checked(found: Account) -> Account | str:
    return "a password file cannot hold its user name" if _UNFIT.search(found.username) else found


def passwords(accounts: Iterable[Account]) -> str:
    """Return lines of a password file (mosquitto.conf, password_file)."""
    return "".join(f"{each.username}:$7${_ROUNDS}${'$'.join(_hashed(each.password))}\n" for each in accounts)


def access(accounts: Iterable[Account]) -> str:
    """Return lines of an ACL file (mosquitto.conf, acl_file)."""
    return "".join(
        f"user {each.username}\ntopic write {each.topics.data}\ntopic write {each.topics.status}\n"
        f"topic read {each.topics.commands}\n"
        for each in accounts
    )


def dynamic_security(accounts: Iterable[Account], base: str) -> str:
    """Return the configuration of mosquitto's plugin for dynamic security.

    Args:
        accounts: The devices.
        base: The plugin's own file, of which everything stays but the devices of an earlier export.

    Raises:
        UsageError: The base is not such a file.
    """
    try:
        found = json.loads(base)
        roles, clients = ([*found.get(kind, [])] for kind in ("roles", "clients"))
        roles = [each for each in roles if not each["rolename"].startswith(_ROLE)]
        clients = [
            each for each in clients if not any(role["rolename"].startswith(_ROLE) for role in each.get("roles", []))
        ]
    except (ValueError, TypeError, LookupError, AttributeError):
        raise UsageError(
            "not a file of mosquitto's dynamic security: make one with mosquitto_ctrl dynsec init"
        ) from None
    taken = {each["username"] for each in clients}
    for each in accounts:
        if each.username in taken:
            raise UsageError(f"the device {each.name} has the user name of an account of the broker's own: rename one")
        rights = [("publishClientSend", topic) for topic in each.topics.published]
        rights += [("subscribeLiteral", each.topics.commands), ("publishClientReceive", each.topics.commands)]
        acls = [{"acltype": kind, "topic": topic, "priority": 0, "allow": True} for kind, topic in rights]
        salt, hashed = _hashed(each.password)
        roles.append({"rolename": _ROLE + each.name, "acls": acls})
        clients.append(
            {
                "username": each.username,
                "clientid": each.name,
                "password": hashed,
                "salt": salt,
                "iterations": _ROUNDS,
                "roles": [{"rolename": _ROLE + each.name}],
            }
        )
    return json.dumps({**found, "roles": roles, "clients": clients}, indent=1) + "\n"


def _hashed(password: str) -> tuple[str, str]:
    """Return the salt and the hash of a password, as base64."""
    salt = os.urandom(_SALT_BYTES)
    made = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ROUNDS)
    return b64encode(salt).decode(), b64encode(made).decode()
