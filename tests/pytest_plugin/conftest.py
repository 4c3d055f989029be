"""Runs of pytest inside of tests load the plugins of a project with boards, and not all that this checkout has."""

import pytest


@pytest.fixture(autouse=True)
def few_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what takes seconds to load, in every process of each run."""
    names = ("schemathesis", "hypothesispytest", "anyio")
    monkeypatch.setenv("PYTEST_ADDOPTS", " ".join(f"-p no:{name}" for name in names))
