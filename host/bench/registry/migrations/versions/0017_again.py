"""Group keys, what becomes of a device that provisions again, and the last proof of each device."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.add_column("profile", sa.Column("sealed_group_key", sa.LargeBinary()))
    op.add_column("profile", sa.Column("again", sa.Text(), nullable=False, server_default="refuse"))
    op.add_column("device", sa.Column("proven_ms", sa.BigInteger()))


def downgrade() -> None:
    raise NotImplementedError("restore a copy of the data folder that was made before")
