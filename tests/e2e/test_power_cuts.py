"""The power fails at every single write to the flash, before it and in its middle."""

import pytest

from bench.virtual.environment import Conditions, Cut
from tests.support.boards import KINDS, ca_file, vault_slots, way_settings
from tests.support.power_cuts import MODES, cuts, loses_power_before

pytestmark = pytest.mark.slow


def boot(board, cut: Cut | None = None):
    """Boot up to the first telemetry; returns the power cycle, and whether the power failed before."""
    with board.power_on(Conditions(cut=cut)) as power:
        lost = loses_power_before(power, "telemetry")
    return power, lost


def assert_provisioned_once(server, board) -> None:
    name = f"firstboot-{board.mac}"
    assert server.device_names().count(name) == 1
    own = server.query(lambda registry: registry.device(name)).credentials
    record = vault_slots(board)[0]
    assert record.keys() == {"active"}
    assert [each["type"] for each in record["active"]] == [own.type]
    if own.type == "ACCESS_TOKEN":
        assert record["active"][0]["token"] == own.id


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("torn", MODES)
def test_first_boot_survives_a_cut_at_every_write(server, make_board, kind, torn, report):
    way = way_settings(server, "mqtt", tls=kind == "X509_CERTIFICATE", kind=kind)
    for cut in cuts(torn):
        board = make_board(server, files=ca_file(server), **way)
        power, lost = boot(board, cut)
        vault_slots(board)
        if not lost:
            break
        _, lost_again = boot(board)
        assert not lost_again
        assert_provisioned_once(server, board)
    assert cut.at == len(power.writes) > 0
    assert_provisioned_once(server, board)
    report(f"first boot with {kind}: {cut.at} writes to the flash, {'torn' if torn else 'cut before'} at each")


@pytest.mark.parametrize("torn", MODES)
def test_boot_after_a_cut_survives_another_cut_at_every_write(server, make_board, torn, report):
    """Twice in a row: at every write of the first boot, then at every write of the boot that repairs it."""
    pairs = 0
    for first in cuts(torn):
        for second in cuts(torn):
            board = make_board(server)
            _, lost = boot(board, first)
            if not lost:
                break
            power, lost_again = boot(board, second)
            vault_slots(board)
            if not lost_again:
                assert second.at == len(power.writes)
                break
            assert not boot(board)[1]
            assert_provisioned_once(server, board)
            pairs += 1
        if not lost:
            break
    assert pairs > 0
    report(f"two cuts in a row: {pairs} pairs")


@pytest.mark.parametrize("torn", MODES)
def test_second_boot_has_no_write_to_cut(server, make_board, torn, report):
    board = make_board(server)
    assert not boot(board)[1]
    before = board.flash()
    for cut in cuts(torn):
        power, lost = boot(board, cut)
        if not lost:
            break
    assert (cut.at, power.writes) == (0, [])
    assert board.flash() == before
    assert_provisioned_once(server, board)
    report("second boot: 0 writes to the flash")


# Writes the next of a row of records for ever, over a few sizes; says which one is in the flash.
UPDATES = b"""
from firstboot import events
from firstboot.vault import Vault
vault = Vault()
last = int(vault.record["active"][0]["token"]) if vault.record else 0
for number in range(last + 1, 21):
    vault.save({"active": [{"token": str(number), "padding": "x" * (number * 37 % 200)}]})
    events.emit("saved", number=number)
events.emit("done")
"""


@pytest.mark.parametrize("torn", MODES)
def test_vault_update_keeps_the_old_or_the_new_record_at_every_write(server, make_board, torn, report):
    for cut in cuts(torn):
        board = make_board(server, files={"main.py": UPDATES})
        with board.power_on(Conditions(cut=cut)) as power:
            lost = loses_power_before(power, "done")
        saved = [event["number"] for event in power.events if event["event"] == "saved"]
        acknowledged = saved[-1] if saved else 0
        slots = vault_slots(board)
        newest = int(slots[0]["active"][0]["token"]) if slots else 0
        assert newest in (acknowledged, acknowledged + 1)
        if not lost:
            break
        with board.power_on() as power:
            assert power.expect_event("done")
        assert int(vault_slots(board)[0]["active"][0]["token"]) == 20
    assert newest == 20
    assert cut.at == len(power.writes) > 40
    report(f"vault updates: {cut.at} writes to the flash, {'torn' if torn else 'cut before'} at each")
