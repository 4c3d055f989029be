"""Templates of profiles, and devices' own values of their fields."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0011"


def upgrade() -> None:
    for table, column in (("profile", "template"), ("device", "fields")):
        op.add_column(table, sa.Column(column, sa.JSON(), server_default="{}", nullable=False))


def downgrade() -> None:
    raise NotImplementedError("restore a copy of the data folder that was made before")
