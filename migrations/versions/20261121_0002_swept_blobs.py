"""Blobs that the sweep has given up for lost: no clip may name them any more."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "swept_blobs",
        sa.Column("blob_key", sa.Text, nullable=False),
        sa.Column("swept_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("blob_key", name=op.f("pk_swept_blobs")),
    )


def downgrade() -> None:
    op.drop_table("swept_blobs")
