"""An upload can go on in another staged file: docs/decisions/0008-tus-writers.md."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("uploads", sa.Column("file_id", sa.Uuid))
    op.execute("UPDATE uploads SET file_id = id")
    op.alter_column("uploads", "file_id", nullable=False)


def downgrade() -> None:
    op.drop_column("uploads", "file_id")
