"""Profiles, devices, credentials, attributes, latest telemetry."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "profile",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("provision_type", sa.Text(), nullable=False),
        sa.Column("provision_key", sa.Text()),
        sa.Column("provision_secret", sa.Text()),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_profile"),
        sa.UniqueConstraint("name", name="uq_profile_name"),
        sa.UniqueConstraint("provision_key", name="uq_profile_provision_key"),
    )
    op.create_table(
        "device",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("profile_id", sa.Uuid(), nullable=False),
        sa.Column("additional_info", sa.JSON()),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["profile_id"], ["profile.id"], name="fk_device_profile_id_profile"),
        sa.PrimaryKeyConstraint("id", name="pk_device"),
        sa.UniqueConstraint("name", name="uq_device_name"),
    )
    op.create_index("ix_device_profile_id", "device", ["profile_id"])
    op.create_table(
        "credentials",
        sa.Column("device_id", sa.Uuid(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("credentials_id", sa.Text(), nullable=False),
        sa.Column("credentials_value", sa.Text()),
        sa.ForeignKeyConstraint(
            ["device_id"], ["device.id"], name="fk_credentials_device_id_device", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("device_id", name="pk_credentials"),
        sa.UniqueConstraint("credentials_id", name="uq_credentials_credentials_id"),
    )
    op.create_table(
        "attribute",
        sa.Column("device_id", sa.Uuid(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("ts_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["device.id"], name="fk_attribute_device_id_device", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("device_id", "scope", "key", name="pk_attribute"),
    )
    op.create_table(
        "telemetry",
        sa.Column("device_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("ts_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["device.id"], name="fk_telemetry_device_id_device", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("device_id", "key", name="pk_telemetry"),
    )


def downgrade() -> None:
    for table in ("telemetry", "attribute", "credentials", "device", "profile"):
        op.drop_table(table)
