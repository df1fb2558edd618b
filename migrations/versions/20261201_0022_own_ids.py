"""Own keys and own data of apps on a clip. docs/decisions/0034-own-ids.md."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0022"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("clips", sa.Column("external_id", sa.Text))
    op.add_column(
        "clips", sa.Column("metadata", JSONB, nullable=False, server_default=sa.text("'{}'::jsonb"))
    )
    op.create_unique_constraint(op.f("uq_clips_external_id"), "clips", ["external_id"])
    op.create_check_constraint(
        op.f("ck_clips_external_id"),
        "clips",
        r"length(external_id) BETWEEN 1 AND 200 AND external_id !~ '[\x01-\x1f\x7f]'",
    )
    op.create_check_constraint(op.f("ck_clips_metadata"), "clips", "jsonb_typeof(metadata) = 'object'")


def downgrade() -> None:
    op.drop_column("clips", "metadata")
    op.drop_column("clips", "external_id")
