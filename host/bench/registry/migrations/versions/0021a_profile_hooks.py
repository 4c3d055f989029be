"""Hooks of profiles, which may refuse devices before they are provisioned."""

import sqlalchemy as sa
from alembic import op

revision = "0021a"
down_revision = "0021"


def upgrade() -> None:
    op.add_column("profile", sa.Column("sealed_hook", sa.LargeBinary()))


def downgrade() -> None:
    raise NotImplementedError("restore a copy of the data folder that was made before")
