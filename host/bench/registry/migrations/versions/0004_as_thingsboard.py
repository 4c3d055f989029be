"""Versions of what operators change, fields of customers, users and devices, and ids in the audit trail."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_VERSIONED = ("profile", "customer", "user_account", "device", "credentials")
_WITH_DETAILS = ("customer", "user_account", "device")


def upgrade() -> None:
    for table in _VERSIONED:
        with op.batch_alter_table(table) as altered:
            altered.add_column(sa.Column("version", sa.BigInteger(), nullable=False, server_default="1"))
            if table in _WITH_DETAILS:
                altered.add_column(sa.Column("details", sa.JSON(), nullable=False, server_default="{}"))
    with op.batch_alter_table("user_account") as user:
        user.add_column(sa.Column("enabled", sa.Boolean(), nullable=False, server_default=sa.true()))
    with op.batch_alter_table("audit") as audit:
        for name in ("entity_id", "user_id", "customer_id"):
            audit.add_column(sa.Column(name, sa.Uuid()))
        audit.create_index("ix_audit_entity_id", ["entity_id"])


def downgrade() -> None:
    raise NotImplementedError("restore a copy of the data folder that was made before")
