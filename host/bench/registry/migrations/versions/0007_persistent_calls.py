"""Persistent calls of devices."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "persistent_call",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("device_id", sa.Uuid(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("is_open", sa.Boolean(), nullable=False),
        sa.Column("oneway", sa.Boolean(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("params", sa.Text(), nullable=False),
        sa.Column("retries", sa.Integer()),
        sa.Column("timeouts", sa.Integer(), nullable=False),
        sa.Column("additional_info", sa.Text()),
        sa.Column("response", sa.Text()),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_persistent_call"),
        sa.ForeignKeyConstraint(
            ["device_id"], ["device.id"], name="fk_persistent_call_device_id_device", ondelete="CASCADE"
        ),
        sa.UniqueConstraint("id", name="uq_persistent_call_id"),
    )
    op.create_index("ix_persistent_call_device_id", "persistent_call", ["device_id"])
    op.create_index("ix_persistent_call_expiry", "persistent_call", ["is_open", "expires_ms"])


def downgrade() -> None:
    raise NotImplementedError("restore a copy of the data folder that was made before")
