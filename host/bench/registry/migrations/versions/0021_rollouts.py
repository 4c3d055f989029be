"""Rollouts of packages, and the result of each device."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0019"


def upgrade() -> None:
    op.create_table(
        "rollout",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("package_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("package_version", sa.Text(), nullable=False),
        sa.Column("profile_id", sa.Uuid(), nullable=False),
        sa.Column("attributes", sa.JSON(), nullable=False),
        sa.Column("canary", sa.Integer(), nullable=False),
        sa.Column("at_most", sa.Integer(), nullable=False),
        sa.Column("rate_number", sa.Integer(), nullable=False),
        sa.Column("rate_ms", sa.BigInteger(), nullable=False),
        sa.Column("stop_percent", sa.Float()),
        sa.Column("stop_failures", sa.Integer()),
        sa.Column("timeout_ms", sa.BigInteger(), nullable=False),
        sa.Column("then_profile", sa.Boolean(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("turned_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_ms", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name="pk_rollout"),
        sa.ForeignKeyConstraint(
            ["profile_id"], ["profile.id"], name="fk_rollout_profile_id_profile", ondelete="CASCADE"
        ),
    )
    for column in ("package_id", "profile_id", "ended_ms"):
        op.create_index(f"ix_rollout_{column}", "rollout", [column])
    op.create_table(
        "rollout_device",
        sa.Column("rollout_id", sa.Uuid(), nullable=False),
        sa.Column("device_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("previous_id", sa.Uuid()),
        sa.Column("assigned_ms", sa.BigInteger()),
        sa.Column("due_ms", sa.BigInteger()),
        sa.Column("ended_ms", sa.BigInteger()),
        sa.PrimaryKeyConstraint("rollout_id", "device_id", name="pk_rollout_device"),
        sa.ForeignKeyConstraint(
            ["rollout_id"], ["rollout.id"], name="fk_rollout_device_rollout_id_rollout", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_rollout_device_state", "rollout_device", ["rollout_id", "state"])


def downgrade() -> None:
    raise NotImplementedError("restore a copy of the data folder that was made before")
