"""Users' tokens: JSON Web Tokens (RFC 7519) with ThingsBoard's claims."""

import time
import uuid
from dataclasses import dataclass
from typing import Any

import jwt
from sqlalchemy.orm import Session

from bench.registry import api_keys, customers, user_sessions, users
from bench.registry.encryption import SecretBox
from bench.registry.model import ApiKey, Customer, User
from bench.registry.roles import Role
from bench.server.http.operator import key_logins
from bench.server.http.operator.errors import Unauthorized
from bench.server.http.operator.key_logins import DISABLED, KeyClaims
from bench.server.http.operator.schemas.accounts import JwtPair
from bench.server.http.operator.schemas.common import NOBODY

TENANT_ADMIN, CUSTOMER_USER = "TENANT_ADMIN", "CUSTOMER_USER"
_REFRESH, _ACTIVATE = "REFRESH_TOKEN", "ACTIVATE"
_ACCESS_S = 9_000
_REFRESH_S = _ACTIVATE_S = 604_800
_ISSUER = "firstboot"
_PUBLIC = "Public"
_ALGORITHM = "HS256"
_EXPIRED = "Token has expired"


@dataclass(frozen=True)
class Claims:
    """The content of a token."""

    user_id: uuid.UUID
    session: str
    stamp: str
    expires_s: int
    """Seconds since the epoch."""
    public_id: uuid.UUID | None = None
    """Of somebody without an account: the customer whose devices everybody may see."""
    actor: "Actor | None" = None
    """The operator who acts as this user."""


@dataclass(frozen=True)
class Actor:
    """The login, or the API key, by which an operator got a token for somebody else; it is over with that."""

    user_id: uuid.UUID
    session: str
    """Empty for an API key."""
    stamp: str
    key_id: uuid.UUID | None = None

    def claim(self) -> dict[str, str]:
        """Return the claim `act` (RFC 8693, 4.1)."""
        key = {"apiKeyId": str(self.key_id)} if self.key_id else {}
        return {"sub": str(self.user_id), "sessionId": self.session, "stamp": self.stamp, **key}

    @classmethod
    def of_claim(cls, claim: Any) -> "Actor":
        """Return the actor of a claim `act`. Raises LookupError, TypeError or ValueError."""
        key_id = claim.get("apiKeyId")
        return cls(uuid.UUID(claim["sub"]), claim["sessionId"], claim["stamp"], uuid.UUID(key_id) if key_id else None)


class Tokens:
    """Makes tokens and reads them."""

    def __init__(self, secret_box: SecretBox, tenant_id: uuid.UUID) -> None:
        self._secret_box = secret_box
        self._tenant_id = tenant_id

    def pair(self, user: User, session: str | None = None, *, actor: Actor | None = None) -> JwtPair:
        """Return tokens for a user: of a new session, or of one that goes on.

        Args:
            user: The user.
            session: The session that goes on.
            actor: The operator who acts as the user, if one does.
        """
        session = session or str(uuid.uuid4())
        scope = authority(user)
        shared: dict[str, Any] = {"isPublic": is_public(user), **({"act": actor.claim()} if actor else {})}
        claims = {
            **shared,
            "enabled": True,
            "tenantId": str(self._tenant_id),
            "customerId": str(user.customer_id or NOBODY),
        }
        return JwtPair(
            token=self._sign(user, scope, session, _ACCESS_S, claims),
            refresh_token=self._sign(user, _REFRESH, session, _REFRESH_S, shared),
        )

    def activation(self, user: User) -> str:
        """Return a token by which a new user sets their password, once."""
        return self._sign(user, _ACTIVATE, "", _ACTIVATE_S, {})

    def read(self, token: str) -> Claims:
        """Return the content of an access token. Raises Unauthorized."""
        return self._read(token, {TENANT_ADMIN, CUSTOMER_USER})

    def read_refresh(self, token: str) -> Claims:
        """Return the content of a refresh token. Raises Unauthorized."""
        return self._read(token, {_REFRESH})

    def read_activation(self, token: str) -> Claims:
        """Return the content of an activation token. Raises Unauthorized."""
        return self._read(token, {_ACTIVATE})

    def user(self, session: Session, claims: Claims | KeyClaims) -> User:
        """Return the user of a token or a key.

        Raises:
            Unauthorized: It is not valid any more: the user, the password, the session or the key is gone, or those
                of whoever acts as the user.
        """
        if isinstance(claims, KeyClaims):
            return key_logins.owner(session, claims.shown)
        if claims.public_id is not None:
            return self._public_user(session, claims)
        if claims.actor is not None:
            self._check_actor(session, claims.actor)
        return self._logged_in(session, claims)

    def _logged_in(self, session: Session, login: Claims | Actor) -> User:
        user = users.find(session, login.user_id)
        if user is None or login.stamp != self._stamp(user) or user_sessions.is_ended(session, login.session):
            raise Unauthorized(_EXPIRED, expired=True, genuine=True)
        if not user.enabled:
            raise Unauthorized(DISABLED, genuine=True)
        return user

    def _check_actor(self, session: Session, actor: Actor) -> None:
        if actor.key_id is None:
            self._logged_in(session, actor)
            return
        key = session.get(ApiKey, actor.key_id)
        if key is None or actor.stamp != self._stamp_of(key.secret_digest):
            raise Unauthorized(_EXPIRED, expired=True, genuine=True)
        key_logins.user_of(session, key)

    def actor(self, session: Session, user: User, claims: Claims | KeyClaims) -> Actor:
        """Return whoever has these claims as the actor of a token for somebody else."""
        if isinstance(claims, KeyClaims):
            digest = api_keys.get(session, claims.shown.id).secret_digest
            return Actor(user.id, "", self._stamp_of(digest), claims.shown.id)
        return Actor(user.id, claims.session, claims.stamp)

    def public_user(self, session: Session, public_id: uuid.UUID) -> User:
        """Return who stands for everybody who may see what a public customer has. Raises Unauthorized."""
        customer = session.get(Customer, public_id)
        if customer is None or not customers.is_public(customer.details.get("additionalInfo")):
            raise Unauthorized("Invalid username or password")
        return User(
            id=NOBODY,
            email=str(public_id),
            password_hash="",
            customer_id=public_id,
            role=Role.OPERATOR,
            enabled=True,
            created_ms=customer.created_ms,
            version=1,
            details={"firstName": _PUBLIC, "lastName": _PUBLIC},
        )

    def _public_user(self, session: Session, claims: Claims) -> User:
        assert claims.public_id is not None
        if user_sessions.is_ended(session, claims.session):
            raise Unauthorized(_EXPIRED, expired=True, genuine=True)
        try:
            return self.public_user(session, claims.public_id)
        except Unauthorized:
            raise Unauthorized(_EXPIRED, expired=True, genuine=True) from None

    def end(self, session: Session, claims: Claims) -> None:
        """End a token's session: all its tokens are invalid from now on."""
        user_sessions.end(session, claims.session, _REFRESH_S * 1000)

    def _stamp(self, user: User) -> str:
        """Return what tells whether the password, or the role, was changed since."""
        return self._stamp_of(user.password_hash, *([] if user.role == Role.OPERATOR else [user.role]))

    def _stamp_of(self, *texts: str) -> str:
        return self._secret_box.digest("stamp", *texts)[:32]

    def _sign(self, user: User, scope: str, session: str, seconds: int, more: dict[str, Any]) -> str:
        now = int(time.time())
        claims = {
            "sub": user.email,
            "userId": str(user.id),
            "scopes": [scope],
            "sessionId": session,
            "stamp": self._stamp(user),
            "iss": _ISSUER,
            "iat": now,
            "exp": now + seconds,
            **more,
        }
        return jwt.encode(claims, self._secret_box.signing_key, _ALGORITHM)

    def _read(self, token: str, scopes: set[str]) -> Claims:
        try:
            claims = jwt.decode(
                token,
                self._secret_box.signing_key,
                [_ALGORITHM],
                issuer=_ISSUER,
                # a clock that was set back makes no token of before invalid
                options={"require": ["exp", "iat", "sub"], "verify_iat": False},
            )
            if not scopes.issuperset(claims["scopes"]):
                raise Unauthorized
            public_id = uuid.UUID(claims["sub"]) if claims.get("isPublic") else None
            user_id = uuid.UUID(claims["userId"])
            actor = Actor.of_claim(claims["act"]) if "act" in claims else None
            return Claims(user_id, claims["sessionId"], claims["stamp"], claims["exp"], public_id, actor)
        except jwt.ExpiredSignatureError:
            raise Unauthorized(_EXPIRED, expired=True, genuine=True) from None
        except jwt.InvalidSignatureError:  # clients log in again on this answer, as they do to ThingsBoard
            raise Unauthorized(_EXPIRED, expired=True) from None
        except (jwt.InvalidTokenError, LookupError, TypeError, ValueError, AttributeError):
            raise Unauthorized from None


def is_public(user: User) -> bool:
    """Return whether a user stands for everybody, without an account."""
    return user.id == NOBODY


def authority(user: User) -> str:
    """Return ThingsBoard's name for a user's role."""
    return TENANT_ADMIN if user.customer_id is None else CUSTOMER_USER
