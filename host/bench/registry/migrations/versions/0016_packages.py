"""Packages that devices fetch over the air, and who is to have which."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0014"


def upgrade() -> None:
    op.create_table(
        "package",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("package_version", sa.Text(), nullable=False),
        sa.Column("tag", sa.Text()),
        sa.Column("profile_id", sa.Uuid()),
        sa.Column("url", sa.Text()),
        sa.Column("additional_info", sa.JSON()),
        sa.Column("file_name", sa.Text()),
        sa.Column("content_type", sa.Text()),
        sa.Column("size", sa.BigInteger()),
        sa.Column("algorithm", sa.Text()),
        sa.Column("checksum", sa.Text()),
        sa.Column("digest", sa.Text()),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="1", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_package"),
        sa.ForeignKeyConstraint(
            ["profile_id"], ["profile.id"], name="fk_package_profile_id_profile", ondelete="CASCADE"
        ),
        sa.UniqueConstraint("title", "package_version", name="uq_package_title"),
    )
    op.create_index("ix_package_profile_id", "package", ["profile_id"])
    for table, columns in (
        ("profile", ("firmware_id", "software_id")),
        ("device", ("firmware_id", "software_id", "firmware_notified", "software_notified")),
    ):
        for column in columns:
            op.add_column(table, sa.Column(column, sa.Uuid()))
    for column in ("firmware_id", "software_id"):
        op.create_index(f"ix_device_{column}", "device", [column])


def downgrade() -> None:
    raise NotImplementedError("restore a copy of the data folder that was made before")
