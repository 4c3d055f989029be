"""Firmware with seeded bugs: each is found, by the check that is for it."""

import pytest

from bench.conformance.board import CHECKS, subject
from bench.conformance.check import Verdict, chosen, run
from tests.conformance.board_bugs import BUGS

# Where waits are compared, a machine that is busy for a moment makes them look as if they were random.
ATTEMPTS = {"backoff.jitter": 4}


def seeded(bug):
    return pytest.param(bug, id=bug.name.replace(" ", "_"), marks=() if bug.fast else pytest.mark.slow)


@pytest.mark.parametrize("bug", [seeded(bug) for bug in BUGS])
def test_bug_is_found_by_its_check(tmp_path, bug):
    with subject("unix", tmp_path, files=bug.files(), patience_s=5 if bug.fast else 0) as board:
        for _ in range(ATTEMPTS.get(bug.check, 1)):
            outcomes = list(run(chosen(CHECKS, [bug.check]), board))
            if outcomes[0].verdict is Verdict.BROKEN:
                break
    assert [(each.name, each.verdict) for each in outcomes] == [(bug.check, Verdict.BROKEN)], outcomes[0].detail
    assert outcomes[0].detail


@pytest.mark.slow
@pytest.mark.parametrize("name", ["makes a short secret", "sends everything as if it were sent again"])
def test_bug_is_all_that_is_found(tmp_path, name):
    [bug] = [each for each in BUGS if each.name == name]
    with subject("unix", tmp_path, files=bug.files()) as board:
        found = [each.name for each in run(CHECKS, board) if each.verdict is not Verdict.HOLDS]
    assert found == [bug.check]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name.replace(" ", "_"))
def test_bug_has_its_place_in_the_firmware(bug):
    assert bug.files()


def test_every_check_finds_a_bug():
    assert {each.name for each in CHECKS} - {bug.check for bug in BUGS} == set()
