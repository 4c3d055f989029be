"""Devices that were not notified of their packages are found by indexes, however many others there are."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    for kind in ("firmware", "software"):
        op.create_index(f"ix_device_profile_{kind}", "device", ["profile_id", f"{kind}_id", f"{kind}_notified"])
        own, notified = sa.column(f"{kind}_id"), sa.column(f"{kind}_notified")
        differs = own.is_not(None) & own.is_distinct_from(notified)
        name = f"ix_device_{kind}_notified"
        op.create_index(name, "device", [own.name], sqlite_where=differs, postgresql_where=differs)
    op.drop_index("ix_device_profile_id", "device")


def downgrade() -> None:
    raise NotImplementedError("restore a copy of the data folder that was made before")
