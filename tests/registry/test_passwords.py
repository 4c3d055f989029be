"""Passwords as they are stored."""

import uuid

import pytest

from bench.registry import passwords
from bench.registry.encryption import SecretBox
from bench.registry.model import User

RIGHT = "the right one"


@pytest.fixture
def secret_box(tmp_path):
    return SecretBox.from_folder(tmp_path)


def user_with(secret_box, how):
    """A user whose password is chosen or random, or who has none; or nobody."""
    if how == "nobody":
        return None
    user = User(id=uuid.uuid4(), email="user", customer_id=None, password_hash="")
    if how != "none":
        hashed = passwords.hashed(RIGHT, is_random=how == "random")
        user.password_hash = passwords.bound(secret_box, user, hashed)
    return user


@pytest.mark.parametrize("how", ["chosen", "random", "none", "nobody"])
def test_wrong_password_costs_as_much_whatever_is_stored(secret_box, how, monkeypatch):
    """Else the time says which accounts there are."""
    user = user_with(secret_box, how)
    costs = []
    derive = passwords._derive

    def counted(password, salt, n, r, p):
        costs.append((n, r, p))
        return derive(password, salt, n, r, p)

    monkeypatch.setattr(passwords, "_derive", counted)
    assert not passwords.is_correct(secret_box, user, "a wrong one")
    assert [each for each in costs if each != passwords._QUICK] == [passwords._SLOW]


@pytest.mark.parametrize("how", ["chosen", "random"])
def test_right_password_is_correct(secret_box, how):
    assert passwords.is_correct(secret_box, user_with(secret_box, how), RIGHT)


@pytest.mark.parametrize("password", ["", RIGHT, "-", "AA=="])
@pytest.mark.parametrize("how", ["none", "nobody"])
def test_nothing_is_correct_where_nothing_is_stored(secret_box, how, password):
    assert not passwords.is_correct(secret_box, user_with(secret_box, how), password)
