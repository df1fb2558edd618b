"""Clips and their play counters."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "clips",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False, server_default="1"),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("description", sa.Text),
        sa.Column("artist", sa.Text),
        sa.Column("album", sa.Text),
        sa.Column("album_artist", sa.Text),
        sa.Column("genre", sa.Text),
        sa.Column("date", sa.Text),
        sa.Column("track_number", sa.Integer),
        sa.Column("disc_number", sa.Integer),
        sa.Column("duration", sa.Double),
        sa.Column("tags", JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
        sa.Column("file_name", sa.Text),
        sa.Column("blob_key", sa.Text),
        sa.Column("external_url", sa.Text),
        sa.Column("media_type", sa.Text),
        sa.Column("codec", sa.Text),
        sa.Column("bitrate", sa.Integer),
        sa.Column("sample_rate", sa.Integer),
        sa.Column("channels", sa.Integer),
        sa.Column("size", sa.BigInteger),
        sa.Column("sha256", sa.LargeBinary),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.CheckConstraint("(blob_key IS NULL) <> (external_url IS NULL)", name=op.f("ck_clips_one_source")),
        sa.CheckConstraint(
            "blob_key IS NULL OR (size IS NOT NULL AND sha256 IS NOT NULL AND media_type IS NOT NULL)",
            name=op.f("ck_clips_blob_facts"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clips")),
        sa.UniqueConstraint("blob_key", name=op.f("uq_clips_blob_key")),
        sa.UniqueConstraint("sha256", name=op.f("uq_clips_sha256")),
    )
    op.create_table(
        "clip_plays",
        sa.Column("clip_id", sa.Uuid, nullable=False),
        sa.Column("play_count", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("bytes_streamed", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("last_played_at", sa.DateTime(timezone=True)),
        sa.ForeignKeyConstraint(
            ["clip_id"], ["clips.id"], name=op.f("fk_clip_plays_clip_id_clips"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("clip_id", name=op.f("pk_clip_plays")),
        postgresql_with={"fillfactor": "50"},
    )


def downgrade() -> None:
    op.drop_table("clip_plays")
    op.drop_table("clips")
