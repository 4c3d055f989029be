"""Whatever goes wrong with whichever message: the board ends online, with one device on the server."""

import pytest

from tests.e2e.fault_matrix import COLUMNS, Cell, Matrix, Rotation, drawn, every_cell
from tests.support import budget, operators

pytestmark = pytest.mark.slow

FULL = budget.MATRIX == "full"
ALONE = Cell.parse(budget.MATRIX) if budget.MATRIX and not FULL else None
WANTED = [ALONE.column] if ALONE else COLUMNS


def cells_of(column, steps):
    return [ALONE] if ALONE else every_cell(column, steps) if FULL else drawn(column, steps)


@pytest.mark.parametrize("column", WANTED, ids=str)
def test_first_boot_ends_online_whatever_goes_wrong_once(server, tmp_path, column, report):
    with Matrix(server, column, tmp_path / "boards") as matrix:
        steps = matrix.steps()
        cells = cells_of(column, steps)
        failures = matrix.run(cells)
    assert not failures, "\n" + "\n".join(failures)
    report(f"fault matrix, first boot: {len(cells)} cells of {column}, {len(steps)} steps")


# Rotation is over MQTT, however a board was provisioned. Under TLS the kinds differ by a message: a draw has one.
ROTATING = [each for each in WANTED if each.transport == "mqtt"]
if not budget.MATRIX:
    ROTATING = [each for each in ROTATING if not each.tls or each.kind == "X509_CERTIFICATE"]


@pytest.mark.parametrize("column", ROTATING, ids=str)
def test_rotation_ends_online_whatever_goes_wrong_once(server, tmp_path, column, report):
    with operators.login(server) as operator, Matrix(server, column, tmp_path / "boards", Rotation(operator)) as matrix:
        steps = matrix.steps()
        cells = cells_of(column, steps)
        failures = matrix.run(cells)
    assert not failures, "\n" + "\n".join(failures)
    report(f"fault matrix, rotation: {len(cells)} cells of {column}, {len(steps)} steps")
