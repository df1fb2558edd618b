"""What is learnt of a clip after its upload is a row: docs/decisions/0035-works.md.

Clips that are there already get theirs from the services, in batches.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0013"
branch_labels = None
depends_on = None

_RULES = (
    ("kind", "kind ~ '^[a-z][a-z0-9-]{0,31}$'"),
    ("state", "state IN ('waiting', 'running', 'done', 'failed')"),
    ("priority", "priority IN (0, 1)"),
    ("attempts", "attempts >= 0"),
    ("lease", "(state = 'running') = (owner IS NOT NULL) AND (owner IS NULL) = (leased_until IS NULL)"),
    ("reason", "state <> 'failed' OR code IS NOT NULL"),
    ("outcome", "code ~ '^[a-z][a-z0-9-]{0,63}$' AND length(detail) <= 1000"),
)


def upgrade() -> None:
    op.create_table(
        "works",
        sa.Column("clip_id", sa.Uuid, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False, server_default="waiting"),
        sa.Column("priority", sa.SmallInteger, nullable=False, server_default="0"),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("owner", sa.Uuid),
        sa.Column("leased_until", sa.DateTime(timezone=True)),
        sa.Column("version", sa.Integer),
        sa.Column("code", sa.Text),
        sa.Column("detail", sa.Text),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("clip_id", "kind", name=op.f("pk_works")),
        sa.ForeignKeyConstraint(
            ["clip_id"], ["clips.id"], name=op.f("fk_works_clip_id_clips"), ondelete="CASCADE"
        ),
        *(sa.CheckConstraint(rule, name=op.f(f"ck_works_{name}")) for name, rule in _RULES),
    )
    waiting, running = sa.text("state = 'waiting'"), sa.text("state = 'running'")
    op.create_index("ix_works_waiting", "works", ["priority", "due_at"], postgresql_where=waiting)
    op.create_index("ix_works_running", "works", ["leased_until"], postgresql_where=running)


def downgrade() -> None:
    op.drop_table("works")
