"""Secrets and logins bound to their rows, passwords to the key beside the database; sessions that were logged out."""

import json
from typing import Any

import sqlalchemy as sa
from alembic import context, op

revision = "0003"
down_revision = "0002"

_PARTS = {"c": "clientId", "u": "userName", "p": "password"}


def upgrade() -> None:
    secret_box = context.config.attributes["secret_box"]
    op.create_table(
        "ended_session",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("forget_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_ended_session"),
    )
    _key_check(secret_box)
    _profiles(secret_box)
    _credentials(secret_box)
    _users(secret_box)


def _key_check(secret_box: Any) -> None:
    connection = op.get_bind()
    table = sa.table("seal_check", sa.column("id"), sa.column("sealed", sa.LargeBinary()))
    for row in connection.execute(sa.select(table)).all():
        sealed = secret_box.encrypt(secret_box.decrypt(row.sealed), "seal_check", row.id)
        connection.execute(sa.update(table).where(table.c.id == row.id).values(sealed=sealed))


def _profiles(secret_box: Any) -> None:
    connection = op.get_bind()
    table = sa.table("profile", sa.column("id", sa.Uuid()), sa.column("sealed_secret", sa.LargeBinary()))
    for row in connection.execute(sa.select(table).where(table.c.sealed_secret.is_not(None))).all():
        sealed = secret_box.encrypt(secret_box.decrypt(row.sealed_secret), "profile", row.id)
        connection.execute(sa.update(table).where(table.c.id == row.id).values(sealed_secret=sealed))


def _credentials(secret_box: Any) -> None:
    connection = op.get_bind()
    table = sa.table(
        "credentials",
        sa.column("device_id", sa.Uuid()),
        *map(sa.column, ("type", "lookup", "parts", "proof")),
        sa.column("sealed", sa.LargeBinary()),
    )
    for row in connection.execute(sa.select(table)).all():
        text = secret_box.decrypt(row.sealed)
        shown = {}
        if row.type == "MQTT_BASIC":
            stored = json.loads(json.loads(text)[1])
            shown = {letter: stored[name] or "" for letter, name in _PARTS.items()}
        place = ("credentials", row.device_id, row.type)
        parts = (shown.get(letter, "") for letter in _PARTS)
        proof = secret_box.digest(*map(str, place), row.lookup, row.parts, *parts)
        values = {"proof": proof, "sealed": secret_box.encrypt(text, *place)}
        connection.execute(sa.update(table).where(table.c.device_id == row.device_id).values(values))
    with op.batch_alter_table("credentials") as credentials:
        credentials.alter_column("proof", existing_type=sa.Text(), nullable=False)


def _users(secret_box: Any) -> None:
    connection = op.get_bind()
    table = sa.table(
        "user_account",
        sa.column("id", sa.Uuid()),
        sa.column("customer_id", sa.Uuid()),
        sa.column("password_hash"),
    )
    for row in connection.execute(sa.select(table).where(table.c.password_hash != "")).all():
        settings, _, derived = row.password_hash.rpartition("$")
        bound = f"{settings}${secret_box.digest('password', str(row.id), str(row.customer_id), derived)}"
        connection.execute(sa.update(table).where(table.c.id == row.id).values(password_hash=bound))


def downgrade() -> None:
    raise NotImplementedError("what is bound to its row is not set free: restore a copy of the data folder")
