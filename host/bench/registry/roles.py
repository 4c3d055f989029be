"""Roles: what an operator, or an API key, may do at most."""

from enum import StrEnum


class Role(StrEnum):
    """A bound on what an account or an API key may do. An account's never changes."""

    OPERATOR = "operator"
    """No bound: an operator may do everything, a customer's user what customers' users may."""
    READ_ONLY = "read-only"
    """May change nothing, and read no credentials."""
    LINE = "line"
    """May only provision and flash."""
