"""The power fails at every write to the flash of an update: a board ends on a version that works, with its secrets."""

import hashlib
import itertools
import random

import pytest

from bench.flash import vault
from bench.flash.filesystem import read_files
from bench.virtual.environment import Conditions, Cut
from tests.support.boards import vault_slots
from tests.support.budget import WALK
from tests.support.power_cuts import MODES, loses_power_before
from tests.support.updates import NEXT, Updates, application_package, firmware_package

pytestmark = pytest.mark.slow
APPLICATION = b"from firstboot import app\nimport words\napp.main()\n"
FILES = {"main.py": APPLICATION, "lib/words.py": b"WORD = 'one'\n" * 40, "words.py": b"from lib.words import WORD\n"}
# Of a whole firmware, whose update has some thousand writes, every so many-th by day.
STRIDE = 1 if WALK else 149


@pytest.fixture
def cut_off(server, make_board, report):
    """A board before an update, and a function that boots it with cuts in a row."""
    opened = []

    def prepare(data, version, kind):
        board = make_board(server)
        with board.power_on() as power:
            power.expect_event("telemetry")
        opened.append(Updates(server, f"firstboot-{board.mac}"))
        opened[-1].assign(data, version, kind=kind)
        return Walk(board, board.flash(), report)

    yield prepare
    for each in opened:
        each.close()


class Walk:
    """Cuts at writes of an update, each from the same flash before it."""

    def __init__(self, board, before, report):
        self._board = board
        self._before = before
        self._secret = vault_slots(board)[0]
        self._report = report
        self.seen = set()

    def boot(self, cuts, *last, **fields):
        """Begin anew, cut the power in boots one after the other, and return whether the last cut came to be."""
        self._board.burn(self._before)
        for cut in cuts:
            with self._board.power_on(Conditions(cut=cut)) as power:
                if not loses_power_before(power, *last, **fields):
                    return False
            flash = self._board.flash()
            self.seen.add(hashlib.sha256(flash).digest())
            assert vault_slots(self._board)[0] == self._secret
        return True

    def record(self):
        return vault.newest(read_files(self._board.flash()), "trees")

    def expect_in_force(self, kind, version):
        """Without further cuts, the board comes to this version."""
        found = self.record()
        is_there = not found.get("trial") and found.get(kind, [{}])[0].get("version") == version
        with self._board.power_on() as power:
            if not is_there:
                power.expect_event("update", step="updated", version=version)
            power.expect_event("listening")
        assert self.record()[kind][0]["version"] == version
        assert vault_slots(self._board)[0] == self._secret
        return read_files(self._board.flash())

    def report(self, what, torn):
        self._report(f"{what}: {len(self.seen)} states of the flash after cuts {'in' if torn else 'before'} writes")


@pytest.mark.parametrize("torn", MODES)
def test_update_of_an_application_survives_a_cut_at_every_write(cut_off, torn):
    walk = cut_off(application_package(FILES), "1", "SOFTWARE")
    for at in itertools.count():
        if not walk.boot([Cut(at=at, torn=torn)], "update", "listening", step="updated"):
            break
        files = walk.expect_in_force("sw", "1")
        assert {path[5:]: content for path, content in files.items() if path.startswith("sw.a/")} == FILES
    assert at > 20
    walk.report("update of an application", torn)


@pytest.mark.parametrize("torn", MODES)
def test_update_survives_two_cuts_in_a_row(cut_off, torn):
    walk = cut_off(application_package(FILES), "1", "SOFTWARE")
    pairs = list(itertools.product(range(60), range(60)))
    for first, second in pairs if WALK else random.Random(20).sample(pairs, 30):
        walk.boot([Cut(at=first, torn=torn), Cut(at=second, torn=torn)], "update", "listening", step="updated")
        walk.expect_in_force("sw", "1")
    walk.report("two cuts in an update", torn)


@pytest.mark.parametrize("torn", MODES)
def test_update_of_the_firmware_survives_cuts(cut_off, torn):
    walk = cut_off(firmware_package(), NEXT, "FIRMWARE")
    for at in itertools.count(step=STRIDE):
        if not walk.boot([Cut(at=at, torn=torn)], "update", "listening", step="updated"):
            break
        walk.expect_in_force("fw", NEXT)
    walk.report("update of the firmware", torn)


@pytest.mark.parametrize("torn", MODES)
def test_return_to_the_old_version_survives_a_cut_at_every_write(cut_off, torn):
    walk = cut_off(application_package({"main.py": b"raise ValueError\n"}), "1", "SOFTWARE")
    for at in itertools.count():
        if not walk.boot([Cut(at=at, torn=torn)], "update", "update", step="failed"):
            break
        with walk._board.power_on() as power:
            power.expect_event("listening")
        assert "sw" not in walk.record()
    walk.report("return to the old version", torn)
