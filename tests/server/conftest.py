"""A device that is there before a test: what it stored, or its id."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from bench.registry.provision_type import ProvisionType
from tests.support.servers import TOKEN, RunningServer


@pytest.fixture
def device(server: RunningServer) -> Callable[[], tuple[dict[str, Any], dict[str, Any]]]:
    """Make a device, and return a function that reads its telemetry and client attributes."""
    profile = server.new_profile(ProvisionType.CHECK_PRE_PROVISIONED_DEVICES)
    server.query(lambda registry: registry.create_device("device", profile.name, token=TOKEN))

    def stored() -> tuple[dict[str, Any], dict[str, Any]]:
        found = server.query(lambda registry: registry.device("device"))
        return found.telemetry, found.attributes.get("CLIENT_SCOPE", {})

    return stored


@pytest.fixture
def device_id(server: RunningServer, device: Callable[[], Any]) -> UUID:
    """Make a device, and return its id."""
    login = server.query(lambda registry: registry.token_login(TOKEN))
    assert login is not None
    return login.id
