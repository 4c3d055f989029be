"""New credentials for old ones: whatever is lost on the way, one of them logs in."""

import time

import pytest

from bench.virtual.environment import Conditions
from tests.support.boards import KINDS, ca_file, steps, vault_slots, way_settings
from tests.support.power_cuts import MODES, cuts, loses_power_before

# Credentials need TLS where they are certificates.
WITH_TLS = [pytest.param(kind, kind == "X509_CERTIFICATE", id=kind) for kind in KINDS]


def provisioned(server, make_board, give_orders, *, kind="ACCESS_TOKEN", tls=False, **options):
    """A board that was online once, and its operator."""
    files = ca_file(server) | options.pop("files", {})
    board = make_board(server, files=files, **way_settings(server, "mqtt", tls=tls, kind=kind), **options)
    with board.power_on() as power:
        power.expect_event("telemetry")
    return board, give_orders(server, f"firstboot-{board.mac}")


def active(board):
    return vault_slots(board)[0]["active"][0]


@pytest.mark.parametrize(("kind", "tls"), WITH_TLS)
def test_rotation_by_a_call_ends_with_the_new_credentials_only(server, make_board, give_orders, kind, tls):
    board, operator = provisioned(server, make_board, give_orders, kind=kind, tls=tls)
    old = active(board)
    with board.power_on() as power:
        power.expect_event("listening")
        time.sleep(server.api.lateness.session_s)  # new credentials of a session that just began may leave it open
        operator.save(operator.call("rotateCredentials"))
        power.expect_event("offline", kind="closed")
        power.expect_event("rotation", step="done")
        power.expect_event("telemetry")
    assert vault_slots(board)[0].keys() == {"active"}
    assert active(board)["type"] == kind
    assert active(board) != old
    with board.power_on() as power:
        power.expect_event("telemetry")
    assert power.writes == []
    assert server.device_names() == [f"firstboot-{board.mac}"]


def test_rotation_requested_twice_names_the_same_credentials(server, make_board, give_orders):
    board, operator = provisioned(server, make_board, give_orders)
    with board.power_on() as power:
        power.expect_event("listening")
        first = operator.call("rotateCredentials")
        writes = len(power.writes)
        assert operator.call("rotateCredentials") == first
        power.expect_event("rotation", step="asked")
        assert len(power.writes) >= writes
    with board.power_on() as power:
        power.expect_event("listening")
        assert operator.call("rotateCredentials") == first


def test_rotation_that_nobody_saved_keeps_the_old_credentials(server, make_board, give_orders):
    board, operator = provisioned(server, make_board, give_orders)
    old = active(board)
    with board.power_on() as power:
        power.expect_event("listening")
        assert operator.call("rotateCredentials")["token"] != old["token"]
    with board.power_on() as power:
        power.expect_event("telemetry")
    assert "refused" not in steps(power)
    assert active(board) == old
    assert len(vault_slots(board)[0]["pending"]) == 1


def test_rotation_of_a_certificate_from_flash_is_refused(server, make_board, give_orders):
    main = b"""
from firstboot import app, rotation
from firstboot.errors import SettingsError
def refuse(*_):
    raise SettingsError("flash another one")
rotation.prepare = refuse
app.main()
"""
    board = make_board(server, identity={"name": "other"}, files={"main.py": main})
    with board.power_on() as power:
        power.expect_event("listening")
        assert give_orders(server, "other").call("rotateCredentials") == {"error": "flash another one"}


@pytest.mark.slow
@pytest.mark.parametrize("torn", MODES)
@pytest.mark.parametrize(("kind", "tls"), WITH_TLS)
def test_rotation_survives_a_cut_at_every_write(server, make_board, give_orders, kind, tls, torn, report):
    for cut in cuts(torn):
        board, operator = provisioned(server, make_board, give_orders, kind=kind, tls=tls)
        with board.power_on(Conditions(cut=cut)) as power:
            power.expect_event("listening")
            if answer := operator.call("rotateCredentials"):
                operator.save(answer)
            lost = loses_power_before(power, "rotation", "telemetry", step="done")
        vault_slots(board)
        with board.power_on() as power:
            power.expect_event("telemetry")
            assert "provisioning" not in steps(power)
        if not lost:
            break
    assert cut.at > 4
    report(f"rotation of {kind}: {cut.at} writes to the flash, {'torn' if torn else 'cut before'} at each")


@pytest.mark.parametrize(("kind", "tls"), WITH_TLS)
def test_rotation_by_an_attribute_needs_nobody_to_save(server, make_board, give_orders, kind, tls):
    board, operator = provisioned(server, make_board, give_orders, kind=kind, tls=tls)
    old = active(board)
    with board.power_on() as power:
        power.expect_event("listening")
        operator.share(rotateCredentials=1)
        power.expect_event("rotation", step="done")
        power.expect_event("listening")
        assert active(board)["type"] == kind
        assert active(board) != old
        new = active(board)
        # the same value again is the same rotation; a board that was away learns of it when it is back
        operator.share(rotateCredentials=1)
    operator.share(rotateCredentials=2)
    with board.power_on() as power:
        power.expect_event("rotation", step="done")
        power.expect_event("listening")
    assert active(board) not in (old, new)
    with board.power_on() as power:
        power.expect_event("listening")
    assert power.writes == []
    assert vault_slots(board)[0].keys() == {"active", "rotation"}


@pytest.mark.slow
@pytest.mark.parametrize("torn", MODES)
def test_rotation_by_an_attribute_survives_a_cut_at_every_write(server, make_board, give_orders, torn, report):
    for cut in cuts(torn):
        board, operator = provisioned(server, make_board, give_orders)
        old = active(board)
        operator.share(rotateCredentials=cut.at)
        with board.power_on(Conditions(cut=cut)) as power:
            lost = loses_power_before(power, "rotation", "telemetry", step="done")
        with board.power_on() as power:
            power.expect_event("listening")
            if lost and "rotation" not in steps(power):
                power.expect_event("rotation", step="done")
                power.expect_event("listening")
        assert active(board) != old
        assert operator.credentials()["credentialsId"] == active(board)["token"]
        if not lost:
            break
    assert cut.at > 4
    report(f"rotation by an attribute: {cut.at} writes to the flash, {'torn' if torn else 'cut before'} at each")


def test_call_that_is_not_known_is_answered(server, make_board, give_orders):
    board, operator = provisioned(server, make_board, give_orders)
    with board.power_on() as power:
        power.expect_event("listening")
        assert operator.call("selfDestruct") == {"error": "unknown method"}


EXTRA = b"""
from firstboot import app
def broken(params):
    raise RuntimeError("a secret")
app.main(sample=lambda: {"temperature": 21}, extra={"double": lambda params: params["n"] * 2, "broken": broken})
"""


def test_application_adds_calls_and_values_of_its_own(server, make_board, give_orders):
    board = make_board(server, files={"main.py": EXTRA})
    name = f"firstboot-{board.mac}"
    with board.power_on() as power:
        power.expect_event("listening")
        operator = give_orders(server, name)
        assert operator.call("double", {"n": 21}) == 42
        assert operator.call("double", {}) == {"error": "KeyError"}
        assert operator.call("broken") == {"error": "RuntimeError"}
        power.expect_event("command", method="broken")
    assert server.query(lambda registry: registry.device(name)).telemetry["temperature"] == 21
