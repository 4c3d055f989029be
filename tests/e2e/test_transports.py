"""First boot over every transport, with every kind of credentials."""

import pytest

from tests.support.boards import KINDS, WAYS, ca_file, states, steps, vault_slots, way_settings

CELLS = [
    pytest.param("sqlite", transport, tls, kind, id=f"{transport}{'-tls' * tls}-{kind}")
    for transport, tls in WAYS
    for kind in KINDS
    if tls or kind != "X509_CERTIFICATE"
]
# What a database has to store differs by the kind of credentials, not by the way they came.
CELLS += [
    pytest.param("postgresql", "mqtt", True, kind, id=f"mqtt-tls-{kind}-postgresql", marks=pytest.mark.slow)
    for kind in KINDS
]


@pytest.mark.parametrize(("database", "transport", "tls", "kind"), CELLS, indirect=["database"])
def test_first_boot_ends_online(server, make_board, transport, tls, kind):
    board = make_board(server, files=ca_file(server), **way_settings(server, transport, tls=tls, kind=kind))
    with board.power_on() as power:
        power.expect_event("telemetry")
    assert states(power) == ["new", "linking", "provisioning", "pending", "online"]
    assert ("clock_set" in steps(power)) is tls
    name = f"firstboot-{board.mac}"
    assert server.device_names() == [name]
    own = server.query(lambda registry: registry.device(name)).credentials
    assert own.type == kind
    active = vault_slots(board)[0]["active"]
    assert [each["type"] for each in active] == [kind]
    with board.power_on() as power:
        power.expect_event("telemetry")
    assert power.writes == []
    assert "provisioning" not in steps(power)
    assert vault_slots(board)[0]["active"] == active
