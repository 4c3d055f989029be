"""API keys and association codes of devices."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    for table, *more in (
        ("device_key",),
        ("association_code", sa.Column("expires_ms", sa.BigInteger(), nullable=False)),
    ):
        op.create_table(
            table,
            sa.Column("device_id", sa.Uuid(), nullable=False),
            sa.Column("lookup", sa.Text(), nullable=False),
            sa.Column("proof", sa.Text(), nullable=False),
            *more,
            sa.PrimaryKeyConstraint("device_id", name=f"pk_{table}"),
            sa.ForeignKeyConstraint(
                ["device_id"], ["device.id"], name=f"fk_{table}_device_id_device", ondelete="CASCADE"
            ),
            sa.UniqueConstraint("lookup", name=f"uq_{table}_lookup"),
        )


def downgrade() -> None:
    raise NotImplementedError("restore a copy of the data folder that was made before")
