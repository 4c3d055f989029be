"""Relations between entities, and values of entities that are not devices."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_VALUES = {
    "entity_attribute": ("entity_id", "scope", "key"),
    "entity_telemetry": ("entity_id", "key"),
    "entity_telemetry_history": ("entity_id", "key", "ts_ms"),
}


def upgrade() -> None:
    op.create_table(
        "relation",
        sa.Column("from_id", sa.Uuid(), nullable=False),
        sa.Column("from_type", sa.Text(), nullable=False),
        sa.Column("type_group", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("to_id", sa.Uuid(), nullable=False),
        sa.Column("to_type", sa.Text(), nullable=False),
        sa.Column("additional_info", sa.JSON()),
        sa.Column("version", sa.BigInteger(), nullable=False, server_default="1"),
        sa.PrimaryKeyConstraint("from_id", "from_type", "type_group", "type", "to_id", "to_type", name="pk_relation"),
    )
    op.create_index("ix_relation_to_id", "relation", ["to_id"])
    for table, key in _VALUES.items():
        op.create_table(
            table,
            sa.Column("entity_id", sa.Uuid(), nullable=False),
            *([sa.Column("scope", sa.Text(), nullable=False)] if "scope" in key else []),
            sa.Column("key", sa.Text(), nullable=False),
            sa.Column("value", sa.Text(), nullable=False),
            sa.Column("ts_ms", sa.BigInteger(), nullable=False),
            sa.PrimaryKeyConstraint(*key, name=f"pk_{table}"),
        )


def downgrade() -> None:
    raise NotImplementedError("restore a copy of the data folder that was made before")
