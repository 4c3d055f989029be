"""Users' tokens: JSON Web Tokens (RFC 7519) with ThingsBoard's claims."""

import time
import uuid
from dataclasses import dataclass
from typing import Any

import jwt
from sqlalchemy.orm import Session

from bench.registry import customers, user_sessions, users
from bench.registry.encryption import SecretBox
from bench.registry.model import Customer, User
from bench.server.http.operator.errors import Unauthorized
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
DISABLED = "User account is not active"


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


class Tokens:
    """Makes tokens and reads them."""

    def __init__(self, secret_box: SecretBox, tenant_id: uuid.UUID) -> None:
        self._secret_box = secret_box
        self._tenant_id = tenant_id

    def pair(self, user: User, session: str | None = None) -> JwtPair:
        """Return tokens for a user: of a new session, or of one that goes on."""
        session = session or str(uuid.uuid4())
        scope = authority(user)
        shared = {"isPublic": is_public(user)}
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

    def user(self, session: Session, claims: Claims) -> User:
        """Return a token's user. Raises Unauthorized if it is not valid any more: user, password or session is gone."""
        if claims.public_id is not None:
            return self._public_user(session, claims)
        user = users.find(session, claims.user_id)
        if user is None or claims.stamp != self._stamp(user) or user_sessions.is_ended(session, claims.session):
            raise Unauthorized(_EXPIRED, expired=True, genuine=True)
        if not user.enabled:
            raise Unauthorized(DISABLED, genuine=True)
        return user

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
        """Return what tells whether the password was changed since."""
        return self._secret_box.digest("stamp", user.password_hash)[:32]

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
            return Claims(user_id, claims["sessionId"], claims["stamp"], claims["exp"], public_id)
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
