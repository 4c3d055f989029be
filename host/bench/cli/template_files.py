"""Templates of profiles as TOML files, which people write and commands print."""

import json
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from bench.contract import naming, templates
from bench.contract.templates import Template
from bench.errors import Refused, UsageError


def parse(text: str, where: str) -> Template:
    """Return the template in a file's text. Raises UsageError if there is none."""
    try:
        return templates.parse(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{where} is not TOML: {error}") from None
    except Refused as error:
        raise UsageError(f"{where}: {error}") from None


def text(template: Template) -> str:
    """Return a template as TOML that `parse` reads."""
    return "\n".join(_lines(template)) + "\n"


def _lines(template: Template) -> Iterator[str]:
    # A text of a template is printable, so that JSON writes it as TOML does.
    yield f"topics = {_toml(template.topics)}"
    yield f"naming = {_toml(template.naming)}" if template.naming else f"# naming = {_toml(naming.DEFAULT)}"
    found = template.to_json()
    for kind in ("fields", "telemetry"):
        for name, members in found.get(kind, {}).items():
            yield from ("", f"[{kind}.{_key(name)}]", *_members(members))


def _members(found: Mapping[str, Any]) -> Iterator[str]:
    return (f"{key} = {_toml(value)}" for key, value in found.items())


def _key(name: str) -> str:
    return name if name.isascii() and name.replace("_", "").replace("-", "").isalnum() else _toml(name)


def _toml(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
