"""Firmware with seeded bugs: each is found, by the check that is for it."""

import pytest

from bench.conformance.board import CHECKS, subject
from bench.conformance.check import Verdict, chosen, run
from tests.conformance.bugs import BUGS

# A few of every kind are looked for each time.
FAST = {
    "credentials are never written",
    "makes another secret for each request",
    "tries again at once",
    "believes any certificate",
    "has packet id 0",
    "prints its token",
    "makes its secret of its MAC",
}


def seeded(name):
    return pytest.param(name, id=name.replace(" ", "_"), marks=() if name in FAST else pytest.mark.slow)


@pytest.mark.parametrize("name", [seeded(name) for name in BUGS])
def test_bug_is_found_by_its_check(tmp_path, name):
    bug = BUGS[name]
    with subject("unix", tmp_path, files=bug.files()) as board:
        outcomes = list(run(chosen(CHECKS, [bug.check]), board))
    assert [(each.name, each.verdict) for each in outcomes] == [(bug.check, Verdict.BROKEN)], outcomes[0].detail
    assert outcomes[0].detail
