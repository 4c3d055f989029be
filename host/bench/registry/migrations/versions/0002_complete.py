"""Secrets sealed, customers and their users, claims, history, audit trail.

What was stored in plain is sealed on the way.
"""

import json
from typing import Any

import sqlalchemy as sa
from alembic import context, op

from bench.contract.credentials import CredentialsType
from bench.registry.credentials import DeviceCredentials

revision = "0002"
down_revision = "0001"


def _own(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["device_id"], ["device.id"], name=f"fk_{table}_device_id_device", ondelete="CASCADE"
    )


def upgrade() -> None:
    secret_box = context.config.attributes["secret_box"]
    op.create_table(
        "customer",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_customer"),
        sa.UniqueConstraint("title", name="uq_customer_title"),
    )
    op.create_table(
        "user_account",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Uuid()),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_user_account"),
        sa.UniqueConstraint("email", name="uq_user_account_email"),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customer.id"], name="fk_user_account_customer_id_customer", ondelete="CASCADE"
        ),
    )
    _profiles(secret_box)
    with op.batch_alter_table("device") as device:
        device.add_column(sa.Column("label", sa.Text()))
        device.add_column(sa.Column("customer_id", sa.Uuid()))
        device.create_foreign_key(
            "fk_device_customer_id_customer", "customer", ["customer_id"], ["id"], ondelete="SET NULL"
        )
        device.create_index("ix_device_customer_id", ["customer_id"])
    _credentials(secret_box)
    op.create_table(
        "claim",
        sa.Column("device_id", sa.Uuid(), nullable=False),
        sa.Column("secret_digest", sa.Text(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        _own("claim"),
        sa.PrimaryKeyConstraint("device_id", name="pk_claim"),
    )
    op.create_table(
        "telemetry_history",
        sa.Column("device_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("ts_ms", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        _own("telemetry_history"),
        sa.PrimaryKeyConstraint("device_id", "key", "ts_ms", name="pk_telemetry_history"),
    )
    op.execute(
        "INSERT INTO telemetry_history (device_id, key, ts_ms, value) "
        "SELECT device_id, key, ts_ms, value FROM telemetry"
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("ts_ms", sa.BigInteger(), nullable=False),
        *(
            sa.Column(name, sa.Text(), nullable=False)
            for name in ("who", "what", "entity", "address", "transport", "result", "request")
        ),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    op.create_index("ix_audit_ts_ms", "audit", ["ts_ms"])
    op.create_table(
        "seal_check",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_seal_check"),
    )


def _profiles(secret_box: Any) -> None:
    with op.batch_alter_table("profile") as profile:
        profile.add_column(sa.Column("sealed_secret", sa.LargeBinary()))
        profile.add_column(sa.Column("certificate_pattern", sa.Text()))
        profile.add_column(sa.Column("allow_create", sa.Boolean(), nullable=False, server_default=sa.false()))
        profile.add_column(sa.Column("transport_type", sa.Text(), nullable=False, server_default="DEFAULT"))
        profile.add_column(sa.Column("is_default", sa.Boolean(), nullable=False, server_default=sa.false()))
        profile.add_column(sa.Column("details", sa.JSON(), nullable=False, server_default="{}"))
    connection = op.get_bind()
    table = sa.table(
        "profile",
        sa.column("id", sa.Uuid()),
        sa.column("name"),
        sa.column("provision_secret"),
        sa.column("sealed_secret", sa.LargeBinary()),
        sa.column("is_default", sa.Boolean()),
    )
    for row in connection.execute(sa.select(table).where(table.c.provision_secret.is_not(None))).all():
        sealed = secret_box.encrypt(row.provision_secret)
        connection.execute(sa.update(table).where(table.c.id == row.id).values(sealed_secret=sealed))
    connection.execute(sa.update(table).where(table.c.name == "default").values(is_default=True))
    with op.batch_alter_table("profile") as profile:
        profile.drop_column("provision_secret")


def _credentials(secret_box: Any) -> None:
    connection = op.get_bind()
    plain = sa.table(
        "credentials",
        sa.column("device_id", sa.Uuid()),
        *map(sa.column, ("type", "credentials_id", "credentials_value")),
    )
    rows = connection.execute(sa.select(plain)).all()
    op.drop_table("credentials")
    op.create_table(
        "credentials",
        sa.Column("device_id", sa.Uuid(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("lookup", sa.Text(), nullable=False),
        sa.Column("parts", sa.Text(), nullable=False),
        sa.Column("proof", sa.Text()),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        _own("credentials"),
        sa.PrimaryKeyConstraint("device_id", name="pk_credentials"),
        sa.UniqueConstraint("lookup", name="uq_credentials_lookup"),
    )
    sealed = sa.table(
        "credentials",
        sa.column("device_id", sa.Uuid()),
        *map(sa.column, ("type", "lookup", "parts", "proof", "sealed")),
    )
    for row in rows:
        own = DeviceCredentials(CredentialsType(row.type), row.credentials_id, row.credentials_value)
        connection.execute(sa.insert(sealed).values(device_id=row.device_id, **_columns(secret_box, own)))


def _columns(secret_box: Any, own: DeviceCredentials) -> dict[str, Any]:
    """Return the columns that store credentials, as this revision has them."""
    columns = {
        "type": own.type.value,
        "lookup": secret_box.digest(own.id),
        "parts": "",
        "proof": None,
        "sealed": secret_box.encrypt(json.dumps([own.id, own.value])),
    }
    if own.type is CredentialsType.MQTT_BASIC:
        stored = json.loads(own.value or "{}")
        parts = {"c": stored["clientId"], "u": stored["userName"], "p": stored["password"]}
        columns["parts"] = "".join(letter for letter, value in parts.items() if value)
        columns["proof"] = secret_box.digest(*(value or "" for value in parts.values()))
    return columns


def downgrade() -> None:
    raise NotImplementedError("secrets that were sealed are not put back in plain: restore a copy of the data folder")
