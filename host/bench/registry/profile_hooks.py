"""Hooks of profiles: each may refuse its profile's devices before they are provisioned instead of the hook of all.

The URL, which may have a secret in it, and the key of the signatures are encrypted.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bench.contract.pre_provisioning import TIMEOUT_S, Default
from bench.errors import Refused
from bench.registry import webhooks
from bench.registry.encryption import SecretBox
from bench.registry.model import Profile
from bench.registry.webhooks import Target

MOST = 50
"""Profiles with a hook of their own."""


@dataclass(frozen=True, kw_only=True)
class ProfileHook:
    """The hook of a profile."""

    target: Target
    timeout_s: float
    allows_by_default: bool
    """What counts if it does not answer in time, or not with an answer."""

    @property
    def default(self) -> Default:
        """The same, by its name."""
        return Default.ALLOW if self.allows_by_default else Default.REFUSE


class Asking(Protocol):
    """A request that a hook may be asked about."""

    @property
    def needs_approval(self) -> bool:
        """True if the server has a hook."""

    @property
    def is_approved(self) -> bool:
        """True once a hook has approved it."""


def is_due(asking: Asking, profile: Any) -> bool:
    """Return whether a hook is to decide a request first: the server's, or the profile's own."""
    return not asking.is_approved and (asking.needs_approval or profile.sealed_hook is not None)


def decrypted(secret_box: SecretBox, profile: Any) -> ProfileHook | None:
    """Return the hook of a profile, or of a row of one; None if it has none. Raises WrongKey."""
    if profile.sealed_hook is None:
        return None
    found = json.loads(secret_box.decrypt(profile.sealed_hook, *_place(profile)))
    return ProfileHook(**{**found, "target": Target(**found["target"])})


def replace(
    session: Session, profile: Profile, url: str, *, timeout_s: float = TIMEOUT_S, default: Default = Default.REFUSE
) -> ProfileHook:
    """Give a profile a hook, in the place of the one that it has, with a new key; nobody can read that again.

    Raises:
        Refused: Not a URL of a web server, or there are too many.
    """
    others = select(func.count()).select_from(Profile).where(Profile.sealed_hook.is_not(None), Profile.id != profile.id)
    if (session.scalar(others) or 0) >= MOST:
        raise Refused(f"{MOST} profiles have a hook of their own: remove one, or use the server's (--pre-provision)")
    target = webhooks.new_target(url)
    made = ProfileHook(target=target, timeout_s=timeout_s, allows_by_default=default is Default.ALLOW)
    profile.sealed_hook = session.info["secret_box"].encrypt(json.dumps(asdict(made)), *_place(profile))
    return made


def _place(profile: Any) -> tuple[object, ...]:
    return "profile", profile.id, "hook"
