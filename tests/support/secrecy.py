"""A search of a server's output for every secret that it has."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from bench.contract.credentials import CredentialsType
from bench.contract.proof import claim_secret, derived_token
from bench.registry import credentials, group_keys
from bench.registry.encryption import SecretBox
from bench.registry.files import DATABASE_FILE, KEY_FILE
from bench.registry.model import Credentials, Device, Profile, Webhook
from bench.registry.provision_type import ProvisionType
from tests.support.at_rest import on_database

# Secrets that tests choose are sometimes shorter, and would be found in any output.
_SHORTEST = 8


@dataclass
class Count:
    """The extent of the searches so far: numbers of secrets, of servers, and of characters of their output."""

    secrets: int = 0
    servers: int = 0
    characters: int = 0

    def add(self, other: "Count") -> None:
        self.secrets += other.secrets
        self.servers += other.servers
        self.characters += other.characters


searched = Count()
issued: set[str] = set()
"""Secrets that servers told once, and keep as digests alone: API keys."""


@dataclass(frozen=True)
class _Secret:
    what: str
    text: str = field(repr=False)


def expect_none_printed(folder: Path, url: str | None, output: str) -> None:
    """Fail if a server's output has one of the secrets in its data folder and database; the failure hides it."""
    try:
        known, names = on_database(folder, url, lambda connection: _all(connection, folder))
    except SQLAlchemyError:  # a test broke the database on purpose
        return
    if (operator := folder / "operator.json").exists():
        known.append(_Secret("the operator's password", json.loads(operator.read_bytes())["password"]))
    known += [_Secret("an API key", each) for each in issued]
    looked_for = [
        secret for secret in known if len(secret.text) >= _SHORTEST and not any(secret.text in name for name in names)
    ]
    found = [secret.what for secret in looked_for if _is_in(secret.text, output)]
    if found:
        pytest.fail(f"the server printed {len(found)} secrets: {', '.join(found[:3])}", pytrace=False)
    searched.add(Count(len(looked_for), 1, len(output)))


def _is_in(text: str, output: str) -> bool:
    return text in output or json.dumps(text)[1:-1] in output


def _all(connection: Connection, folder: Path) -> tuple[list[_Secret], list[str]]:
    """Return every secret, and the names that are not secret."""
    key = (folder / KEY_FILE).read_bytes()
    with Session(connection) as session:
        rows = session.execute(select(Device.id, Device.name, Device.profile_id)).all()
        devices = {row.id: row.name for row in rows}
        profiles = session.scalars(select(Profile)).all()
        stored = session.scalars(select(Credentials)).all()
        secret_box = SecretBox(key)
        secrets = {
            each.id: (each.name, secret_box.decrypt(each.sealed_secret, "profile", each.id))
            for each in profiles
            if each.sealed_secret and each.provision_type != ProvisionType.X509_CERTIFICATE_CHAIN
        }
        group_keys_of = {each.id: group_keys.decrypted(secret_box, each) for each in profiles if each.sealed_group_key}
        known = [_Secret(f"the provisioning secret of profile {name!r}", text) for name, text in secrets.values()]
        known += [_Secret("a group key", each) for each in group_keys_of.values()]
        for row in rows:
            for parent in {secrets.get(row.profile_id, ("", ""))[1], group_keys_of.get(row.profile_id, "")} - {""}:
                own = claim_secret(parent, row.name)
                known.append(_Secret(f"the claim secret of device {row.name!r}", own))
                known.append(_Secret(f"the derived token of device {row.name!r}", derived_token(own, row.name)))
        for row in stored:
            known += _of_device(devices[row.device_id], credentials.from_row(secret_box, row))
        for each in session.scalars(select(Webhook)):
            sealed = json.loads(secret_box.decrypt(each.sealed, "webhook", each.id))
            known += [_Secret("a webhook's secret", sealed["secret"]), _Secret("a webhook's URL", sealed["url"])]
        known.append(_Secret("the key of all secrets", key.hex()))
        return known, [*devices.values(), *(each.name for each in profiles)]


def _of_device(name: str, own: credentials.DeviceCredentials) -> Iterator[_Secret]:
    if own.type is CredentialsType.ACCESS_TOKEN:
        yield _Secret(f"the token of device {name!r}", own.id)
    elif own.type is CredentialsType.MQTT_BASIC:
        parts = json.loads(own.value or "{}")
        if parts["password"]:
            yield _Secret(f"the password of device {name!r}", parts["password"])
        elif not parts["clientId"]:
            yield _Secret(f"the user name, which is all there is, of device {name!r}", parts["userName"])


def has_registry(folder: Path, url: str | None) -> bool:
    """Return whether there is a registry, and so secrets to search for."""
    return (folder / KEY_FILE).exists() and (url is not None or (folder / DATABASE_FILE).exists())
