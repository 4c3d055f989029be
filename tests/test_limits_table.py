"""docs/limits.md says of every bound what the code does."""

import importlib
import re
from pathlib import Path

import pytest

from bench import paths

PAGE = paths.CHECKOUT / "docs" / "limits.md"
_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20}
# What has a name like a bound's, and is none of the server's resources.
_NO_RESOURCE = {
    "server.http.operator.profiles._KEY_LIMIT",
    "server.http.operator.telemetry._KEY_LIMIT",
    "server.http.operator.bodies._NESTING_LIMIT",
    "server.http.operator.authorization._NESTING_LIMIT",
    "server.coap.stack._TOKEN_LIMIT",
    "server.json_reader._NUMBER_LIMIT",
    "server.journal._TEXT_LIMIT",
    "server.journal._ITEM_LIMIT",
    "registry.users._EMAIL_LIMIT",
    "registry.names._LIMIT",
    "registry.profiles._NAME_LIMIT",
    "registry.imports._TEXT_LIMIT",
    "registry.customers._TITLE_LIMIT",
    "registry.relations._TYPE_LIMIT",
}


def rows():
    """Return the cells of each row, by the name in the code."""
    cells = [line.strip("|").split("|") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    return {each[-1].strip().strip("`"): each for each in cells if each[-1].strip().startswith("`")}


def number(cell):
    found = re.match(r"([0-9][0-9,.]*)(?: (KiB|MiB))?", cell.strip())
    assert found, cell
    return float(found[1].replace(",", "")) * _UNITS.get(found[2], 1)


def value(name):
    """Return what a name stands for: `server.limits.AT_ONCE`, or an attribute of a class."""
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(f"bench.{module}"), attribute)
    except ModuleNotFoundError:
        return getattr(value(module), attribute)


@pytest.mark.parametrize("name", rows())
def test_number_is_that_of_the_code(name):
    assert number(rows()[name][1]) == value(name)


def test_every_limit_of_the_server_is_in_the_table():
    found = set()
    for room in ("server", "registry"):
        for path in (Path(paths.CHECKOUT) / "host" / "bench" / room).rglob("*.py"):
            module = ".".join(path.relative_to(paths.CHECKOUT / "host" / "bench").with_suffix("").parts)
            found |= {
                f"{module}.{each}" for each in re.findall(r"^(_?(?:[A-Z_]+_)?LIMIT) = ", path.read_text(), re.MULTILINE)
            }
    assert found - _NO_RESOURCE == {name for name in rows() if name.split(".")[0] != "mqtt" and name.endswith("LIMIT")}


def test_options_exist():
    options = set(re.findall(r"`(--[a-z-]+)`", PAGE.read_text()))
    source = (paths.CHECKOUT / "host/bench/cli/commands/serve.py").read_text()
    for option in options:
        assert option in source or f"{option[2:].replace('-', '_')}: Annotated" in source, option
