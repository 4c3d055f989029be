"""The page about the checks of boards has them all, as they say themselves what they are."""

import re
from pathlib import Path

from bench.conformance.board import CHECKS

PAGE = Path(__file__).parents[2] / "docs" / "conformance-boards.md"
ROW = re.compile(r"^\| `([a-z_]+\.[a-z_0-9]+)` \| (.*?) \| (.+) \|$", re.MULTILINE)


def test_page_has_every_check_in_its_order():
    rows = ROW.findall(PAGE.read_text())
    assert [(name, rule) for name, rule, _ in rows] == [(each.name, each.rule) for each in CHECKS]
