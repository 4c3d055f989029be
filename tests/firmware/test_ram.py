"""The firmware's RAM on 32 bits stays within its limits, with each kind of login."""

import pytest
from benchmarks import ram


@pytest.mark.parametrize("login", ram.LOGINS, ids=lambda login: login.label)
def test_ram_with_each_kind_of_login_is_within_its_limits(login):
    try:
        rows = ram.figures(login)
    except ram.NotAvailable as missing:
        pytest.skip(str(missing))
    figures = [(row, each) for row, found in rows.items() for each in found]
    beyond = {f"{row}, {each.name}": f"{each.value} > {each.aim}" for row, each in figures if each.verdict == "missed"}
    assert beyond == {}
