"""Chapters and lyrics that files carry: docs/decisions/0038-carried.md.

Those of clips that are there already are read by a work.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_RULES = (
    ("chapters", "jsonb_typeof(chapters) = 'array'"),
    ("lyrics", "jsonb_typeof(lyrics) = 'object'"),
    (
        "size",
        "coalesce(octet_length(chapters::text), 0) + coalesce(octet_length(lyrics::text), 0) < 8000000",
    ),
)


def upgrade() -> None:
    # No row is written for a column with a constant default.
    for name in ("has_chapters", "has_lyrics"):
        op.add_column("clips", sa.Column(name, sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_table(
        "clip_carried",
        sa.Column("clip_id", sa.Uuid, nullable=False),
        sa.Column("chapters", JSONB),
        sa.Column("lyrics", JSONB),
        sa.PrimaryKeyConstraint("clip_id", name=op.f("pk_clip_carried")),
        sa.ForeignKeyConstraint(
            ["clip_id"], ["clips.id"], name=op.f("fk_clip_carried_clip_id_clips"), ondelete="CASCADE"
        ),
        *(sa.CheckConstraint(rule, name=op.f(f"ck_clip_carried_{name}")) for name, rule in _RULES),
    )


def downgrade() -> None:
    op.drop_table("clip_carried")
    op.drop_column("clips", "has_lyrics")
    op.drop_column("clips", "has_chapters")
