"""Updates over the air: a board fetches what is assigned to it, tries it, and keeps it only if it works."""

import itertools

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from bench.flash import firmware
from bench.flash.filesystem import change, read_files
from bench.flash.package import signing
from bench.server.mqtt.chunk_requests import ChunkRequests
from bench.virtual.environment import CHIP_HEAP, Conditions, Wear
from tests.support.boards import ca_file, way_settings
from tests.support.updates import NEXT, Updates, application_package, firmware_files, firmware_package, in_force

OLD = firmware.version()
KEY, OTHER_KEY = (ec.derive_private_key(number, ec.SECP256R1()) for number in (7, 8))
PUBLIC = signing.public_hex(KEY)
APPLICATION = b"""\
from firstboot import app
import words
app.main(extra={"word": lambda _: words.WORD})
"""
WORDS = b'WORD = "one"\n'


@pytest.fixture
def online(server, make_board):
    """A board that was online once, and who gives it updates."""
    opened = []

    def make(**options):
        board = make_board(server, **options)
        with board.power_on() as power:
            power.expect_event("telemetry")
        opened.append(Updates(server, f"firstboot-{board.mac}"))
        return board, opened[-1]

    yield make
    for each in opened:
        each.close()


def expect_kept(power, version=NEXT, kind="fw"):
    power.expect_event("update", step="updated", kind=kind, version=version)
    power.expect_event("listening")
    power.expect_event("telemetry")


def failed(power, updates, cause, kind="fw"):
    """Expect that an update failed for this cause, and that the server knows."""
    power.expect_event("listening")
    seen = updates.until(**{f"{kind}_state": "FAILED"})
    assert cause in seen[f"{kind}_error"]
    return seen


def test_firmware_is_updated_and_kept(online):
    board, updates = online()
    updates.assign(firmware_package())
    with board.power_on() as power:
        power.expect_event("update", step="unverified")
        power.expect_event("boot", firmware=NEXT)
        expect_kept(power)
    assert updates.until(fw_state="UPDATED")["current_fw_version"] == NEXT
    with board.power_on() as power:
        power.expect_event("boot", firmware=NEXT)
        power.expect_event("listening")
        assert power.writes == []


def test_update_that_is_assigned_in_a_session_begins_at_once_and_the_next_goes_to_the_other_tree(online):
    board, updates = online()
    with board.power_on() as power:
        power.expect_event("listening")
        for version in ("2.0", "3.0", "4.0"):
            updates.assign(firmware_package(version), version)
            expect_kept(power, version)
    assert in_force(power.events) == [OLD, "2.0", "3.0", "4.0"]
    trees = {path.split("/")[0] for path in read_files(board.flash()) if path.startswith("fw.")}
    assert trees == {"fw.a", "fw.b"}


def test_only_what_changed_is_fetched(online):
    board, updates = online()
    data = firmware_package()
    updates.assign(data)
    with board.power_on() as power:
        fetched = power.expect_event("update", step="downloaded")["fetched"]
    assert fetched < len(data) / 10


def test_application_is_updated_and_runs(online, give_orders, server):
    board, updates = online()
    orders = give_orders(server, f"firstboot-{board.mac}")
    with board.power_on() as power:
        power.expect_event("listening")
        for version, word in (("1", b"one"), ("2", b"two")):
            updates.assign(
                application_package({"main.py": APPLICATION, "words.py": b'WORD = "%s"' % word}, version),
                version,
                kind="SOFTWARE",
            )
            expect_kept(power, version, "sw")
            assert orders.call("word") == word.decode()
    assert in_force(power.events) == [OLD] * 3
    assert updates.until(sw_state="UPDATED")["current_sw_version"] == "2"


def test_firmware_and_application_are_updated_one_after_the_other(online):
    board, updates = online()
    updates.assign(firmware_package())
    updates.assign(application_package({"main.py": APPLICATION, "words.py": WORDS}), "1", kind="SOFTWARE")
    with board.power_on() as power:
        expect_kept(power)
        expect_kept(power, "1", "sw")
    assert in_force(power.events) == [OLD, NEXT, NEXT]


BAD_AT_BOOT = {
    "raises_at_import": ({"app": b"raise ValueError('no good')"}, "ValueError: no good"),
    "lacks_a_module": ({"session": None}, "ImportError"),
    "has_no_memory": ({"app": b"bytearray(1 << 40)"}, "Error"),
    "crashes": ({"session": b"def run(*_): raise KeyError('broken')"}, "KeyError: broken"),
    "restarts_for_ever": (
        {"app": b"from firstboot import board\ndef main(*_): board.reset()"},
        "3 boots without a login",
    ),
}


@pytest.mark.parametrize("bad", BAD_AT_BOOT)
def test_version_that_does_not_work_is_tried_twice_and_ends_on_the_old_one(online, bad):
    changes, cause = BAD_AT_BOOT[bad]
    board, updates = online()
    updates.assign(firmware_package(files=firmware_files(**changes)))
    with board.power_on() as power:
        for _ in range(2):
            power.expect_event("update", step="trial")
            power.expect_event("boot", firmware=OLD)
        seen = failed(power, updates, cause)
        assert seen["current_fw_version"] == OLD
    with board.power_on() as power:
        power.expect_event("boot", firmware=OLD)
        failed(power, updates, cause)
        assert power.writes == []
        updates.give(None)
        updates.assign(firmware_package("10.0"), "10.0")
        expect_kept(power, "10.0")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"app": b"while True: pass"}, "watchdog"),
        (
            {"link": b"from firstboot.errors import LinkError\n\ndef find(_):\n    raise LinkError('no link')"},
            "LinkError",
        ),
        (
            {"login": b"from firstboot.errors import LoginRefused\n\nclass Login:\n    refusals = 0\n"
             b"    def __init__(self, *_): pass\n    def connect(self): raise LoginRefused(5)"},
            "no telemetry acknowledged in 30 s: rejected",
        ),
    ],
    ids=["hangs", "has_no_network", "cannot_log_in"],
)  # fmt: skip
def test_version_that_does_not_come_online_ends_on_the_old_one(online, changes, cause):
    board, updates = online(update={"trial_s": 30})
    updates.assign(firmware_package(files=firmware_files(**changes)))
    with board.power_on() as power:
        power.expect_event("update", step="trial")
        power.expect_event("boot", firmware=OLD, timeout_s=90)
        power.expect_event("update", step="trial")
        power.expect_event("boot", firmware=OLD, timeout_s=90)
        failed(power, updates, cause)


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (firmware_package(), "not signed"),
        (firmware_package(key=OTHER_KEY), "another signature"),
        (firmware_package(key=KEY, board="esp32_c3"), "for the board esp32_c3"),
        (firmware_package(key=KEY, chip="esp32p4"), "for the chip esp32p4"),
        (firmware_package(key=KEY, least="9.0"), "needs firmware 9.0"),
        (firmware_package(key=KEY, files={"firstboot/app.mpy": b"M\x05"}), "another MicroPython"),
        (firmware_package("8.0", key=KEY), "another is assigned"),
        (b"x", "no size"),
        (b"not a package" * 99, "not a package"),
        (firmware_package(key=KEY)[:-1], "bytes, and"),
        (firmware_package(key=KEY) + b"\0", "bytes, and"),
    ],
    ids=["unsigned", "other_key", "board", "chip", "least", "abi", "other", "tiny", "garbage", "short", "long"],
)
def test_package_that_is_not_for_this_board_is_refused_with_its_cause(online, data, cause):
    board, updates = online(update={"key": PUBLIC})
    before = read_files(board.flash())
    updates.assign(data)
    with board.power_on() as power:
        failed(power, updates, cause)
    after = read_files(board.flash())
    assert {path for path in after if path not in before} <= {"trees.0", "trees.1", "update.list"}
    assert in_force(power.events) == [OLD]


def test_signed_package_with_a_new_key_is_the_last_of_the_old_key(online):
    replacing = firmware_package("2.0", key=KEY, new_key=signing.public_hex(OTHER_KEY))
    board, updates = online(update={"key": PUBLIC})
    with board.power_on() as power:
        power.expect_event("listening")
        updates.assign(replacing, "2.0")
        expect_kept(power, "2.0")
        updates.assign(firmware_package("3.0", key=KEY), "3.0")
        power.expect_event("update", step="failed")
        assert "another signature" in updates.until(fw_state="FAILED")["fw_error"]
        updates.assign(firmware_package("4.0", key=OTHER_KEY), "4.0")
        expect_kept(power, "4.0")


def test_main_that_came_by_cable_is_not_replaced_and_nothing_is_written(online):
    board, updates = online(files={"main.py": b"from firstboot import app\napp.main()\n"})
    updates.assign(application_package({"a.py": b"A = 1\n", "main.py": APPLICATION}), "1", kind="SOFTWARE")
    with board.power_on() as power:
        failed(power, updates, "put on this board by cable", kind="sw")
    assert not [path for path in read_files(board.flash()) if path.startswith("sw.")]


def test_lower_number_needs_a_package_that_may_go_back(online):
    board, updates = online(update={"key": PUBLIC})
    with board.power_on() as power:
        power.expect_event("listening")
        updates.assign(firmware_package("5.0", key=KEY, number=5), "5.0")
        expect_kept(power, "5.0")
        updates.assign(firmware_package("4.0", key=KEY, number=4), "4.0")
        power.expect_event("update", step="failed")
        assert "number 4, and this board had 5" in updates.until(fw_state="FAILED")["fw_error"]
        updates.assign(firmware_package("4.1", key=KEY, number=4, downgrade=True), "4.1")
        expect_kept(power, "4.1")
        updates.assign(firmware_package("4.2", key=KEY, number=4), "4.2")
        expect_kept(power, "4.2")


def test_application_that_fails_later_leaves_the_board_online_without_it(online):
    board, updates = online()
    fragile = b"import os, sys\ntry:\n    os.stat('/broken')\nexcept OSError:\n    pass\nelse:\n    raise ValueError\n"
    updates.assign(application_package({"main.py": fragile + APPLICATION, "words.py": WORDS}), "1", kind="SOFTWARE")
    with board.power_on() as power:
        expect_kept(power, "1", "sw")
    board.burn(change(board.flash(), lambda fs: fs.open("broken", "wb").close()))
    with board.power_on() as power:
        power.expect_event("safe_mode", detail="main.py: ValueError")
        power.expect_event("listening")
        updates.assign(application_package({"main.py": APPLICATION, "words.py": WORDS}, "2"), "2", kind="SOFTWARE")
        expect_kept(power, "2", "sw")


FAULTS = {
    "cut_off": lambda part: part[: len(part) // 2],
    "too_long": lambda part: part + b"x",
    "empty": lambda _: b"",
    "larger_than_the_buffer": lambda part: part * 4,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_chunk_that_is_not_whole_is_requested_again(online, monkeypatch, fault):
    counter = itertools.count()
    original = ChunkRequests.part

    async def part(self, request, size, number):
        whole = await original(self, request, size, number)
        return FAULTS[fault](whole) if next(counter) % 2 else whole

    monkeypatch.setattr(ChunkRequests, "part", part)
    board, updates = online()
    updates.assign(firmware_package())
    with board.power_on() as power:
        expect_kept(power)


def test_chunk_of_garbage_is_never_installed(online, monkeypatch):
    original = ChunkRequests.part

    async def part(self, request, size, number):
        found = await original(self, request, size, number)
        return found if number == 0 else bytes(each ^ 0x55 for each in found)

    monkeypatch.setattr(ChunkRequests, "part", part)
    board, updates = online()
    updates.assign(firmware_package())
    with board.power_on() as power:
        power.expect_event("update", step="failed")
        assert "damaged" in updates.until(fw_state="FAILED")["fw_error"]
    assert in_force(power.events) == [OLD]


@pytest.mark.parametrize("kind", ["ACCESS_TOKEN", "X509_CERTIFICATE"])
def test_update_fits_into_the_heap_of_a_chip_under_tls(online, server, kind):
    board, updates = online(
        files=ca_file(server), update={"key": PUBLIC}, **way_settings(server, "mqtt", tls=True, kind=kind)
    )
    updates.assign(firmware_package(key=KEY))
    with board.power_on(Conditions(heap=CHIP_HEAP)) as power:
        expect_kept(power)
    assert not [each for each in power.events if each["event"] == "no_memory"]


def test_update_for_which_there_is_no_room_is_refused_before_anything_is_written(online):
    board, updates = online()

    def fill(fs):
        with fs.open("filler", "wb") as file:
            file.write(bytes(1_700_000))

    board.burn(change(board.flash(), fill))
    updates.assign(firmware_package())
    with board.power_on() as power:
        failed(power, updates, "no room")
    assert not [path for path in read_files(board.flash()) if path.startswith("fw.")]


@pytest.mark.slow
@pytest.mark.parametrize("after", [0, 1, 5, 20, 60, 200, 500, 900])
def test_flash_that_fails_from_some_write_on_keeps_the_old_version(online, after):
    board, updates = online()
    updates.assign(firmware_package())
    with board.power_on(Conditions(wear=Wear(after=after, blocks=()))) as power:
        power.expect_event("listening")
        for event in power.follow(20):
            if event["event"] == "update" and event["step"] in ("failed", "updated"):
                break
    with board.power_on() as power:
        expect_kept(power)


def test_update_that_is_cancelled_leaves_nothing_to_do(online):
    board, updates = online()
    updates.assign(firmware_package())
    updates.give(None)
    with board.power_on() as power:
        power.expect_event("listening")
        power.expect_event("telemetry")
    assert not [each for each in power.events if each["event"] == "update"]
