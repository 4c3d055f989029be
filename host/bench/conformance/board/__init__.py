"""Does a board's firmware keep the provisioning contract? It is heard by the bench's server, and judged by the wire.

What it says on its console is its own affair, but for secrets. `subject` opens a board, CHECKS are for it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from bench.conformance import check
from bench.conformance.board.checks import CHECKS
from bench.conformance.board.opening import subject
from bench.conformance.board.subject import Subject
from bench.conformance.check import Check, Outcome

__all__ = ["CHECKS", "Subject", "run", "subject"]


def run(checks: Iterable[Check[Subject]], board: Subject) -> Iterator[Outcome]:
    """Run checks one after the other; their outcomes as they end, fit to be shown."""
    for outcome in check.run(checks, board):
        yield replace(outcome, detail=board.shown(outcome.detail))
