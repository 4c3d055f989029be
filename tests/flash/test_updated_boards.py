"""Boards that were updated over the air, or have a firmware from before that, and are then flashed by cable."""

from bench.flash import firmware, ownership, vault
from bench.flash.filesystem import read_files
from bench.flash.inspection import digest
from bench.virtual.line_server import serve
from tests.support.boards import vault_slots
from tests.support.flash_commands import bench, result
from tests.support.updates import NEXT, Updates, firmware_package

# As 0.1.0 had them.
FORMER_BOOT = b"# MicroPython runs this first, then main.py. Everything is main.py's.\n"
FORMER_MAIN = b"""\
# Hands over to the package, which does not raise. Ctrl-C still reaches the REPL.
try:
    from firstboot import app
except Exception as error:
    print('{"event": "crash", "ms": 0, "detail": "main.py: %s"}' % type(error).__name__)
else:
    app.main()
"""


def test_programs_of_former_firmware_are_known():
    assert {digest(FORMER_BOOT), digest(FORMER_MAIN)} <= ownership._FORMER


def test_deploy_to_a_board_that_was_updated_puts_what_is_deployed_in_force(server, make_board):
    board = make_board(server)
    with board.power_on() as power:
        power.expect_event("telemetry")
    updates = Updates(server, f"firstboot-{board.mac}")
    made = updates.assign(firmware_package())
    with board.power_on() as power:
        power.expect_event("update", step="updated")
        power.expect_event("listening")
    updates.give(None)
    secrets = vault_slots(board)
    with serve(board) as line:
        done = bench("deploy", "--port", line.url)
    assert done.returncode == 0, done.stderr
    assert "it was updated over the air: from now on what is flashed is in force again" in done.stdout + done.stderr
    found = read_files(board.flash())
    assert not [path for path in found if path.startswith(("fw.", "sw.", "trees.", "update."))]
    assert vault_slots(board) == secrets
    with board.power_on() as power:
        power.expect_event("boot", firmware=firmware.version())
        power.expect_event("listening")
        updates.give(made)
        power.expect_event("update", step="updated", version=NEXT)
    updates.close()


def test_deploy_brings_a_board_of_former_firmware_to_updates_with_its_credentials(server, make_board):
    board = make_board(server, files={"boot.py": FORMER_BOOT, "main.py": FORMER_MAIN})
    with board.power_on() as power:
        power.expect_event("telemetry")
    secrets = vault_slots(board)
    with serve(board) as line:
        deployed = result(bench("deploy", "--port", line.url, "--json"))
    assert sorted(deployed["written"]) == ["/boot.py", "/main.py"]
    assert vault_slots(board) == secrets
    updates = Updates(server, f"firstboot-{board.mac}")
    updates.assign(firmware_package())
    with board.power_on() as power:
        power.expect_event("boot", firmware=NEXT)
        power.expect_event("update", step="updated")
    updates.close()
    assert vault.newest(read_files(board.flash()), "trees")["fw"][0]["version"] == NEXT
