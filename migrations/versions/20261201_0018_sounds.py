"""What clips sound like: waveform, loudness and silence. docs/decisions/0037-sounds.md."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "clip_sounds",
        sa.Column("clip_id", sa.Uuid, nullable=False),
        sa.Column("blob_key", sa.Text, nullable=False),
        sa.Column("integrated_lufs", sa.Double),
        sa.Column("range_lu", sa.Double),
        sa.Column("true_peak_dbtp", sa.Double),
        sa.Column("leading_silence", sa.Double, nullable=False),
        sa.Column("trailing_silence", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("clip_id", name=op.f("pk_clip_sounds")),
        sa.ForeignKeyConstraint(
            ["clip_id"], ["clips.id"], name=op.f("fk_clip_sounds_clip_id_clips"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["blob_key"], ["blobs.key"], name=op.f("fk_clip_sounds_blob_key_blobs"), onupdate="CASCADE"
        ),
        sa.CheckConstraint(
            "integrated_lufs > '-Infinity' AND integrated_lufs < 'Infinity'"
            " AND range_lu >= 0 AND range_lu < 'Infinity'"
            " AND true_peak_dbtp > '-Infinity' AND true_peak_dbtp < 'Infinity'",
            name=op.f("ck_clip_sounds_loudness"),
        ),
        sa.CheckConstraint(
            "leading_silence >= 0 AND leading_silence < 'Infinity'"
            " AND trailing_silence >= 0 AND trailing_silence < 'Infinity'",
            name=op.f("ck_clip_sounds_silence"),
        ),
    )
    # Two clips may have the same waveform: silence of one length.
    op.create_index(op.f("ix_clip_sounds_blob_key"), "clip_sounds", ["blob_key"])


def downgrade() -> None:
    # The rows of their blobs go with the next sweep, which takes for an orphan what nothing refers to.
    op.drop_table("clip_sounds")
