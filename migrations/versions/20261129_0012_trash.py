"""Clips in the trash, and bytes that take the place of others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("clips", sa.Column("deleted_at", sa.DateTime(timezone=True)))
    op.add_column("clips", sa.Column("stored_at", sa.DateTime(timezone=True)))
    op.create_index(
        op.f("ix_clips_deleted_at"),
        "clips",
        ["deleted_at"],
        postgresql_where=sa.text("deleted_at IS NOT NULL"),
    )
    # A blob that a clip gets later is claimed like one that it is made with.
    op.execute(
        "CREATE TRIGGER claim_other_blob BEFORE UPDATE OF blob_key ON clips FOR EACH ROW"
        " WHEN (NEW.blob_key IS NOT NULL AND NEW.blob_key IS DISTINCT FROM OLD.blob_key)"
        " EXECUTE FUNCTION claim_blob()"
    )


def downgrade() -> None:
    # What was deleted must not come back to listeners.
    op.execute("DELETE FROM clips WHERE deleted_at IS NOT NULL")
    op.execute("DROP TRIGGER claim_other_blob ON clips")
    op.drop_index(op.f("ix_clips_deleted_at"), table_name="clips")
    op.drop_column("clips", "stored_at")
    op.drop_column("clips", "deleted_at")
