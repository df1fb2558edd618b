"""How much of a resumable upload is on the disk for good: docs/decisions/0008-tus-writers.md."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("uploads", sa.Column("confirmed", sa.BigInteger, nullable=False, server_default="0"))
    # Of uploads that are under way: what their files have is synced before it is counted.
    op.add_column("uploads", sa.Column("rest_counts", sa.Boolean, nullable=False, server_default=sa.true()))


def downgrade() -> None:
    op.drop_column("uploads", "rest_counts")
    op.drop_column("uploads", "confirmed")
