"""Parts of the bench that need packages which not everyone installs: the extras in pyproject.toml."""

from importlib.util import find_spec

from bench.errors import BenchError

MODULES = {"postgresql": "asyncpg", "plots": "matplotlib", "labels": "segno", "test": "pytest_html"}
"""The module by which each extra is recognized."""


def require(extra: str, purpose: str) -> None:
    """Check that an extra is installed.

    Args:
        extra: Its name.
        purpose: The subject of the message: what needs it, in the plural.

    Raises:
        BenchError: It is not installed. The message names it.
    """
    if extra in missing():
        raise BenchError(f"{purpose} need {MODULES[extra]}: pip install 'firstboot[{extra}]'")


def missing() -> list[str]:
    """Return the names of the extras that are not installed."""
    return [extra for extra, module in MODULES.items() if find_spec(module) is None]
