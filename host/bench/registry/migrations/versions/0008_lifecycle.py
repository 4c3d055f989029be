"""The life of a device: serial number, times of its steps, and names and credentials that nobody gets again."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_TIMES = ("activated_ms", "provisioned_ms", "associated_ms", "deactivated_ms", "decommissioned_ms")


def upgrade() -> None:
    op.add_column("device", sa.Column("serial_number", sa.Text()))
    op.add_column("device", sa.Column("is_online", sa.Boolean(), nullable=False, server_default=sa.false()))
    for column in _TIMES:
        op.add_column("device", sa.Column(column, sa.BigInteger()))
    op.create_index("ix_device_serial_number", "device", ["serial_number"])
    # Devices that are there already: those that provisioned, or were seen.
    seen = (
        "SELECT min(ts_ms) FROM attribute WHERE device_id = device.id AND scope = 'SERVER_SCOPE'"
        " AND key IN ('provisionState', 'lastConnectTime', 'lastActivityTime')"
    )
    op.execute(f"UPDATE device SET provisioned_ms = ({seen})")  # noqa: S608 - our own
    op.execute("UPDATE device SET activated_ms = provisioned_ms")
    op.create_table(
        "tombstone",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Uuid(), nullable=False),
        sa.Column("buried_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_tombstone"),
    )


def downgrade() -> None:
    raise NotImplementedError("restore a copy of the data folder that was made before")
