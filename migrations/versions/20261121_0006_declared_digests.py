"""The SHA-256 that the sender of a resumable upload declares for its bytes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("uploads", sa.Column("sha256", sa.LargeBinary))


def downgrade() -> None:
    op.drop_column("uploads", "sha256")
