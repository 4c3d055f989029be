"""The gateway that made a device."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("device", sa.Column("gateway_id", sa.Uuid()))
    op.create_index("ix_device_gateway_id", "device", ["gateway_id"])


def downgrade() -> None:
    raise NotImplementedError("restore a copy of the data folder that was made before")
