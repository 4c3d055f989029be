"""Whatever goes wrong with whichever message of a first boot: it ends online, with one device on the server."""

import pytest

from tests import budget
from tests.e2e.matrix import COLUMNS, Cell, Matrix, every_cell, spread

FULL = budget.MATRIX == "full"
ALONE = Cell.parse(budget.MATRIX) if budget.MATRIX and not FULL else None


@pytest.mark.parametrize("column", [ALONE.column] if ALONE else COLUMNS, ids=str)
def test_first_boot_ends_online_whatever_goes_wrong_once(server, tmp_path, column, tell):
    with Matrix(server, column, tmp_path / "boards") as matrix:
        count = len(matrix.steps())
        cells = [ALONE] if ALONE else every_cell(column, count) if FULL else spread(column, count)
        failures = matrix.run(cells)
    assert not failures, "\n" + "\n".join(failures)
    tell(f"fault matrix: {len(cells)} of {column}, {count} steps")
