"""Whose key made a resumable upload, so that what one key has unfinished can be bounded."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("uploads", sa.Column("key_name", sa.Text))


def downgrade() -> None:
    op.drop_column("uploads", "key_name")
