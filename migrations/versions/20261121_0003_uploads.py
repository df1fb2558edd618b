"""Resumable uploads."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "uploads",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("length", sa.BigInteger),
        sa.Column("raw_metadata", sa.Text, nullable=False),
        sa.Column("hints", JSONB, nullable=False),
        sa.Column("writer", sa.Uuid),
        sa.Column("clip_id", sa.Uuid),
        sa.Column("refused_code", sa.Text),
        sa.Column("refused_detail", sa.Text),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("clip_id IS NULL OR refused_code IS NULL", name=op.f("ck_uploads_one_outcome")),
        sa.CheckConstraint(
            "(refused_code IS NULL) = (refused_detail IS NULL)", name=op.f("ck_uploads_whole_refusal")
        ),
        sa.ForeignKeyConstraint(
            ["clip_id"], ["clips.id"], name=op.f("fk_uploads_clip_id_clips"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
    )
    op.create_index(op.f("ix_uploads_clip_id"), "uploads", ["clip_id"])
    op.create_index(
        op.f("ix_uploads_expires_at"),
        "uploads",
        ["expires_at"],
        postgresql_where=sa.text("clip_id IS NULL"),
    )


def downgrade() -> None:
    op.drop_table("uploads")
